package rego

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
)

var errBundleSize = errors.New("too large")

// bounded reads so many bytes and no more.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errBundleSize
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// unpackBundle reads the archive of a bundle: regular files and directories below
// one root, everything once, and nothing behind the end.
func unpackBundle(raw []byte, where string) ([]policies.SetFile, error) {
	if len(raw) > limits.PolicyBundleBytes {
		return nil, largeBundle(where, "has more than %d bytes", limits.PolicyBundleBytes)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, badBundle(where, "the bundle is not compressed by gzip: %w", err).WithHint("name a bundle as opa build writes it, .tar.gz")
	}
	most := min(limits.PolicyBundleContent, limits.PolicyBundleRatioFree+limits.PolicyBundleRatio*int64(len(raw)))
	in := &bounded{r: z, left: most}
	u := &unpacking{where: where, seen: map[string]bool{}}
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, tornBundle(where, most, err)
		}
		if err := u.entry(h, t, most); err != nil {
			return nil, err
		}
	}
	if err := nothingMore(in); err != nil {
		return nil, tornBundle(where, most, err)
	}
	return u.finish()
}

func largeBundle(where, format string, args ...any) error {
	return badBundle(where, "the bundle "+format, args...).WithHint("put policies and their data into it only")
}

func tornBundle(where string, most int64, err error) error {
	if errors.Is(err, errBundleSize) {
		return largeBundle(where, "unpacks to more than %d bytes", most)
	}
	return badBundle(where, "the bundle's archive cannot be read: %s", clean(err.Error())).WithHint("name a bundle as opa build writes it, .tar.gz")
}

// nothingMore reads to the end of the stream, where only the archive's padding may be.
func nothingMore(r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if bytes.Trim(buf[:n], "\x00") != nil && len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return errors.New("there is something behind its end")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// unpacking gathers the files of a bundle.
type unpacking struct {
	where   string
	files   []policies.SetFile
	seen    map[string]bool // files
	entries int
}

func (u *unpacking) entry(h *tar.Header, r io.Reader, most int64) error {
	if u.entries++; u.entries > limits.PolicyBundleEntries {
		return largeBundle(u.where, "has more than %d files", limits.PolicyBundleEntries)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // a comment, such as git archive writes
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return u.bad(h.Name, "is a sparse file")
		}
	}
	name, why := bundlePath(h.Name)
	if why != "" {
		return u.bad(h.Name, why)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeReg:
	case tar.TypeSymlink, tar.TypeLink:
		return u.bad(h.Name, "is a link")
	default:
		return u.bad(h.Name, "is neither a file nor a directory")
	}
	if why := unusable(name); why != "" {
		return u.bad(name, why)
	}
	if u.seen[name] {
		return u.bad(name, "is there twice")
	}
	u.seen[name] = true
	if h.Size > limits.PolicyFile {
		return largeBundle(u.where, "has a file of more than %d bytes: %q", limits.PolicyFile, clean(name))
	}
	data, err := io.ReadAll(io.LimitReader(r, limits.PolicyFile+1))
	if err != nil || int64(len(data)) != h.Size {
		return tornBundle(u.where, most, errors.Join(err, io.ErrUnexpectedEOF))
	}
	u.files = append(u.files, policies.SetFile{Path: name, Data: data})
	return nil
}

func (u *unpacking) bad(name, why string) error {
	return badBundle(u.where, "%q in the bundle %s", clean(name), why).WithHint("build the bundle again without it: opa build -b DIRECTORY")
}

// finish refuses a file whose name is another one's directory.
func (u *unpacking) finish() ([]policies.SetFile, error) {
	for _, f := range u.files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if u.seen[dir] {
				return nil, u.bad(dir, "is a file and a directory")
			}
		}
	}
	slices.SortFunc(u.files, func(a, b policies.SetFile) int { return strings.Compare(a.Path, b.Path) })
	return u.files, nil
}

// bundlePath gives the path of an entry relative to the bundle's root, or why it is
// refused. OPA writes "/x", tar writes "./x".
func bundlePath(name string) (clean, why string) {
	rel := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(name, "."), "/"), "/")
	if strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "./") && name != "." {
		rel = strings.TrimSuffix(name, "/") // a name that begins with a dot
	}
	switch {
	case len(name) > limits.PolicyBundlePath:
		return "", "has a path that is too long"
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) || strings.Contains(name, `\`):
		return "", "has a path with a backslash, a control character or no UTF-8"
	case rel == "":
		return ".", ""
	case path.Clean(rel) != rel || rel == ".." || strings.HasPrefix(rel, "../") || path.IsAbs(rel):
		return "", "has a path that leads out of the bundle, or is not in its shortest form"
	case strings.Count(rel, "/") > limits.PolicyDepth:
		return "", "is nested too deep"
	}
	return rel, ""
}

// unusable says why a file of a bundle cannot be judged by, or "".
func unusable(name string) string {
	base := path.Base(name)
	switch {
	case base == signaturesFile && name != base:
		return "is a signature that is not the bundle's"
	case strings.HasSuffix(base, ".wasm"):
		return "is compiled policy, which nobody can read; policies are Rego here"
	case base == "plan.json" || base == "plan.pb":
		return "is a compiled plan, which nobody can read; policies are Rego here"
	case base == "patch.json":
		return "makes it a delta bundle, which is not a whole policy set"
	}
	return ""
}
