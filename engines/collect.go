package engines

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/protocol"
)

// DescriptionFile is the file that describes an artifact in its directory.
const DescriptionFile = "artifact.json"

// Artifact is one artifact that was checked.
type Artifact struct {
	Name, Role  string
	Description protocol.Artifact
	Raw         []byte // artifact.json's bytes
	RawDigest   string // digest of artifact.json's bytes
	BodyDigest  string // digest of the body file's bytes, "" without one
	Size        int64  // bytes of the body file, 0 without one
	// RawExec and BodyExec say that the files may be executed, where they are not copied.
	RawExec, BodyExec bool
}

// Collector checks the artifacts that a receipt declares.
type Collector struct {
	Limits  Limits
	Secrets *redact.Redactor // values that no artifact may hold; nil for none
	Step    string           // named in errors
}

// Collect checks every artifact below from and copies it below to, hashing while
// the bytes stream. With to == nil nothing is copied: that is how artifacts which
// are in the flight already are validated again. The result is sorted by name.
func (c Collector) Collect(ctx context.Context, from, to *os.Root, declared []protocol.EngineArtifact) ([]Artifact, error) {
	c.Limits = c.Limits.WithDefaults()
	if err := c.names(from, declared); err != nil {
		return nil, err
	}
	top, err := from.Open(".")
	if err != nil {
		return nil, c.fail("artifact_unreadable", "", "the artifacts directory cannot be read: %w", err)
	}
	defer func() { _ = top.Close() }() // only read
	b := &batch{Collector: c, from: from, to: to, top: top, known: map[string]protocol.Artifact{}}
	b.budget.Store(c.Limits.ArtifactBytes)
	out := make([]Artifact, len(declared))
	err = each(ctx, len(declared), func(ctx context.Context, i int) (err error) {
		out[i], err = b.one(ctx, declared[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Artifact) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// names checks the declared names against each other and against the directory.
func (c Collector) names(from *os.Root, declared []protocol.EngineArtifact) error {
	if len(declared) > c.Limits.Artifacts {
		return c.fail("artifact_count", "", "%d artifacts are declared, the limit is %d", len(declared), c.Limits.Artifacts)
	}
	folded := make(map[string]string, len(declared))
	for _, a := range declared {
		if !protocol.ValidArtifactName(a.Name) {
			return c.fail("artifact_name", "", "the artifact name %q is not allowed", printable(a.Name)).
				WithHint("names match [A-Za-z0-9][A-Za-z0-9._-]{0,127}")
		}
		if other, dup := folded[strings.ToLower(a.Name)]; dup {
			return c.fail("artifact_duplicate", a.Name, "the name equals %q but for case", other)
		}
		folded[strings.ToLower(a.Name)] = a.Name
		if a.Path != a.Name {
			return c.fail("artifact_path", a.Name, "its path is %q; an artifact's path is its name", printable(a.Path))
		}
		switch a.Role {
		case protocol.RoleEvidence, protocol.RoleState, protocol.RoleLog:
		default:
			return c.fail("artifact_role", a.Name, "its role is %q; roles are evidence, state and log", printable(a.Role))
		}
	}
	entries, err := list(from, c.Limits.Artifacts+1)
	if err != nil {
		return c.fail("artifact_unreadable", "", "the artifacts directory cannot be read: %w", err)
	}
	for _, e := range entries {
		if _, ok := folded[strings.ToLower(e.Name())]; !ok || folded[strings.ToLower(e.Name())] != e.Name() {
			return c.fail("artifact_undeclared", "", "the artifacts directory holds %q, which the receipt does not declare", printable(e.Name()))
		}
		if !e.IsDir() {
			return c.fail("artifact_kind", e.Name(), "it is not a directory")
		}
	}
	if len(entries) != len(declared) {
		return c.fail("artifact_missing", "", "the receipt declares %d artifacts, the artifacts directory holds %d", len(declared), len(entries))
	}
	return nil
}

// namesIn is list without looking at what the names are of.
func namesIn(dir *os.Root, most int) ([]string, error) {
	d, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // only read
	names, err := d.Readdirnames(most + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// list gives the names in a directory and what kind of thing each is of; at most one
// more than that many.
func list(root *os.Root, most int) ([]fs.DirEntry, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // only read
	entries, err := readDir(d, most+1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return entries, err
}

func (b *batch) one(ctx context.Context, a protocol.EngineArtifact) (Artifact, error) {
	out := Artifact{Name: a.Name, Role: a.Role}
	dir := b.enter(a.Name)
	defer dir.close()
	raw, mode, err := b.description(dir)
	if err != nil {
		return out, err
	}
	out.Raw, out.RawDigest, out.RawExec = raw, protocol.Digest(raw), b.to == nil && mode&executable != 0
	if b.budget.Add(-int64(len(raw))) < 0 {
		return out, b.tooMuch()
	}
	if out.Description, err = b.described(a.Name, raw); err != nil {
		return out, err
	}
	if err := b.files(dir, out.Description); err != nil {
		return out, err
	}
	if label := b.holdsSecret(raw); label != "" {
		return out, b.secret(a.Name, label)
	}
	var copied *os.Root
	if b.to != nil {
		if copied, err = b.begin(b.to, a.Name, raw); err != nil {
			return out, err
		}
		defer func() { _ = copied.Close() }() // its files are closed one by one
	}
	if body := out.Description.BodyFile; body != "" {
		var mode fs.FileMode
		if out.BodyDigest, out.Size, mode, err = b.body(ctx, dir, copied, body); err != nil {
			return out, err
		}
		out.BodyExec = b.to == nil && mode&executable != 0
	}
	return out, b.matches(a, out)
}

// begin makes an artifact's directory in the flight, with its description.
func (c Collector) begin(to *os.Root, name string, raw []byte) (*os.Root, error) {
	if err := to.Mkdir(name, 0o755); err != nil {
		return nil, c.fail("artifact_store", name, "its directory cannot be made in the flight: %w", err)
	}
	dir, err := to.OpenRoot(name)
	if err != nil {
		return nil, c.fail("artifact_store", name, "its directory cannot be opened in the flight: %w", err)
	}
	if err := dir.WriteFile(DescriptionFile, raw, 0o644); err != nil {
		_ = dir.Close() // the error above is the one that counts
		return nil, c.fail("artifact_store", name, "artifact.json cannot be written into the flight: %w", err)
	}
	return dir, nil
}

// matches compares what was found with what the receipt says.
func (c Collector) matches(a protocol.EngineArtifact, got Artifact) error {
	want, err := protocol.NormalDigest(a.Hash)
	if err != nil {
		return c.fail("artifact_hash", a.Name, "its hash: %s", printable(err.Error()))
	}
	have := got.BodyDigest
	if have == "" {
		have = got.RawDigest
	}
	if have != want {
		return c.fail("artifact_hash", a.Name, "the receipt says %s, the bytes give %s", want, have)
	}
	if a.Size != "" && got.BodyDigest != "" && a.Size.String() != strconv.FormatInt(got.Size, 10) {
		return c.fail("artifact_size", a.Name, "the receipt says %s bytes, the body has %d", printable(a.Size.String()), got.Size)
	}
	return nil
}

// executable is the bit of a file's mode that manifests tell.
const executable = 0o100

func (b *batch) description(dir *artifactDir) ([]byte, fs.FileMode, error) {
	if raw, mode, ok := dir.read(DescriptionFile, limits.ArtifactJSON, nil); ok {
		return raw, mode, nil
	}
	if _, err := dir.slow(); err != nil {
		return nil, 0, b.fail("artifact_unreadable", dir.name, "its directory: %w", err)
	}
	f, info, err := dir.open(DescriptionFile)
	if err != nil {
		return nil, 0, b.fail("artifact_unreadable", dir.name, "artifact.json: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	raw := []byte{}
	if info.Size() <= limits.ArtifactJSON {
		if raw, err = readSmall(f, info.Size()); err != nil {
			return nil, 0, b.fail("artifact_unreadable", dir.name, "artifact.json: %w", err)
		}
	}
	if size := max(info.Size(), int64(len(raw))); size > limits.ArtifactJSON {
		return nil, 0, b.fail("artifact_too_large", dir.name, "artifact.json has %d bytes, the limit is %d", size, limits.ArtifactJSON).
			WithHint("put the content into a body file")
	}
	return raw, info.Mode(), nil
}

// files refuses further files.
func (b *batch) files(dir *artifactDir, d protocol.Artifact) error {
	want := 1
	if d.BodyFile != "" {
		want = 2
	}
	names, err := dir.names(want)
	if err != nil {
		return b.fail("artifact_unreadable", dir.name, "its directory cannot be read: %w", err)
	}
	for _, n := range names {
		if n != DescriptionFile && n != d.BodyFile {
			return b.fail("artifact_extra_file", dir.name, "it holds the further file %q", printable(n))
		}
	}
	return nil
}

// plainName says whether a body file may have this name: one element of a path
// that prints as what it is, for it is shown to people and listed in manifests.
func plainName(s string) bool {
	return s != DescriptionFile && s != "." && s != ".." && len(s) <= limits.PathElementBytes &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) })
}

// OpenRegular opens a regular file that has one name and is no link. Nothing that
// an engine can put in its place is followed or waited for.
func OpenRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is a %s, not a regular file", name, kind(before.Mode()))
	}
	f, err := root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(before, info) {
		err = fmt.Errorf("%s was exchanged while it was opened", name)
	}
	if err == nil && linkCount(info) > 1 {
		err = fmt.Errorf("%s has %d hard links", name, linkCount(info))
	}
	if err != nil {
		_ = f.Close() // the error above is the one that counts
		return nil, nil, err
	}
	return f, info, nil
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m.IsDir():
		return "directory"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

func (b *batch) body(ctx context.Context, dir *artifactDir, to *os.Root, file string) (digest string, size int64, mode fs.FileMode, err error) {
	buf := b.buffer()
	defer b.release(buf)
	var in io.Reader
	data, mode, small := dir.read(file, chunkSize, *buf)
	if size = int64(len(data)); small {
		*buf = data
	} else {
		f, info, err := dir.open(file)
		if err != nil {
			return "", 0, 0, b.fail("artifact_unreadable", dir.name, "body file: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		in, size, mode = f, info.Size(), info.Mode()
	}
	if b.budget.Add(-size) < 0 {
		return "", 0, 0, b.tooMuch()
	}
	var sinks []io.Writer
	var copied *os.File
	if to != nil {
		copied, err = to.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return "", 0, 0, b.fail("artifact_store", dir.name, "the body cannot be written into the flight: %w", err)
		}
		sinks = append(sinks, copied)
	}
	detector := b.Secrets.Detector()
	if !b.Secrets.Empty() {
		sinks = append(sinks, detector)
	}
	n := size
	if small {
		digest, err = protocol.Digest(data), writeAll(data, sinks)
	} else {
		h := sha256.New()
		n, err = stream(ctx, in, size, append(sinks, h))
		digest = protocol.FormatDigest(h.Sum(nil))
	}
	if copied != nil {
		err = errors.Join(err, copied.Close())
	}
	switch {
	case err != nil:
		return "", 0, 0, b.fail("artifact_store", dir.name, "copying the body: %w", err)
	case n != size:
		return "", 0, 0, b.fail("artifact_changed", dir.name, "the body had %d bytes and then %d while it was read", size, n)
	case detector.Found() != "":
		return "", 0, 0, b.secret(dir.name, detector.Found())
	}
	return digest, n, mode, nil
}

func writeAll(data []byte, sinks []io.Writer) error {
	for _, s := range sinks {
		if _, err := s.Write(data); err != nil {
			return err
		}
	}
	return nil
}

func (c Collector) holdsSecret(b []byte) string {
	d := c.Secrets.Detector()
	_, _ = d.Write(b) // a detector never fails
	return d.Found()
}

func (c Collector) secret(name, label string) error {
	e := c.fail("artifact_secret", name, "it holds the value of a secret (%s)", label)
	e.Exit = protocol.ExitDenied
	return e.WithHint("the engine must not write secrets into what it plans")
}

// tooMuch names no artifact: which one overdraws the common budget depends on
// the order in which goroutines run.
func (c Collector) tooMuch() error {
	return c.fail("artifact_too_large", "", "the artifacts have more than %d bytes together", c.Limits.ArtifactBytes).
		WithHint("raise limits.artifact_bytes of the step if that much is meant")
}

func (c Collector) fail(code, artifact, format string, args ...any) *protocol.Error {
	e := fail(code, format, args...)
	where := "step " + c.Step
	if artifact != "" {
		where += ", artifact " + artifact
	}
	if code == "artifact_store" {
		e = e.WithHint("see that the state directory's disk has room and can be written, then plan again")
	}
	return e.At(where)
}

// each calls f for 0..n-1 on a few goroutines and gives the error of the lowest
// index that failed, so that the same input always names the same artifact.
func each(ctx context.Context, n int, f func(context.Context, int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				if errs[i] = f(ctx, i); errs[i] != nil {
					next.Store(int64(n)) // earlier indices are under way or done
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

const (
	nonblock  = syscall.O_NONBLOCK // a pipe that took a file's place must not hang us
	chunkSize = 256 << 10          // what is read is still in the cache when it is hashed
)

// readSmall reads what should have so many bytes, and one more if there is one, at once.
func readSmall(in io.Reader, size int64) ([]byte, error) {
	b := make([]byte, size+1)
	n, err := io.ReadFull(in, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return b[:n], err
}

// stream copies size bytes and looks at one more, writing to every sink at the
// same time on goroutines of their own: hashing and writing to disk overlap.
func stream(ctx context.Context, in io.Reader, size int64, sinks []io.Writer) (int64, error) {
	in = io.LimitReader(in, size+1)
	if size <= chunkSize {
		b, err := readSmall(in, size)
		if err == nil {
			err = writeAll(b, sinks)
		}
		return int64(len(b)), err
	}
	return pipeline(ctx, in, sinks)
}
