package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// SealedFile names what is encrypted in a directory; it is there only if something is.
const SealedFile = "encrypted.json"

const (
	sealedVersion = "1"
	sealedSuffix  = ".age"
)

// Sealed is a file whose place another one takes: Path with ".age" at its end holds
// it, encrypted. Digest and size are those of the file itself.
type Sealed struct {
	Path   string `json:"path"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"` // in bytes
	Mode   string `json:"mode"` // "0644" or "0755"
}

// sealedDocument is encrypted.json.
type sealedDocument struct {
	Version string   `json:"version"`
	Files   []Sealed `json:"files"`
}

// Encrypted gives the files of a flight's directory that are there in encrypted form
// only, sorted by their paths.
func Encrypted(root *os.Root) ([]Sealed, error) {
	raw, err := readSmall(root, SealedFile, limits.StorageSealed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(SealedFile, err)
	}
	return parseSealed(raw)
}

func parseSealed(raw []byte) ([]Sealed, error) {
	var d sealedDocument
	err := protocol.CheckCanonical(raw)
	if err == nil {
		err = protocol.Decode(raw, &d)
	}
	if err == nil && (d.Version != sealedVersion || len(d.Files) == 0) {
		err = fmt.Errorf("it has version %q and %d files", d.Version, len(d.Files))
	}
	last := ""
	for _, f := range d.Files {
		if err == nil {
			err = f.check(last)
		}
		last = f.Path
	}
	if err != nil {
		return nil, malformed(SealedFile, "what is encrypted cannot be told: %w", err)
	}
	return d.Files, nil
}

func (f Sealed) check(last string) error {
	if err := checkPath(f.Path); err != nil {
		return fmt.Errorf("the path %s %w", quoted(f.Path), err)
	}
	_, err := protocol.ParseDigest(f.Digest)
	switch {
	case last != "" && before(last, f.Path) >= 0:
		return fmt.Errorf("%s is not in order", quoted(f.Path))
	case err != nil || f.Size < 0 || f.Size > limits.StorageFile || f.Mode != "0644" && f.Mode != "0755":
		return fmt.Errorf("%s is not described as a file", quoted(f.Path))
	case !strings.HasPrefix(f.Path, "steps/"):
		return fmt.Errorf("%s is no artifact", quoted(f.Path))
	}
	return nil
}

// checkSealed refuses a flight in which a file is there both encrypted and in the
// clear, or in neither form: what was stored, and what it is, could not be told.
func checkSealed(sealed []Sealed, there func(path string) bool) error {
	for _, f := range sealed {
		switch {
		case there(f.Path):
			return malformed(SealedFile, "%s is there in the clear, too", quoted(f.Path))
		case !there(f.Path + sealedSuffix):
			return malformed(SealedFile, "%s is not there", quoted(f.Path+sealedSuffix))
		}
	}
	return nil
}

// sealing is a flight's list with encrypted files in place of what must not leave.
type sealing struct {
	entries []entry
	sealed  []Sealed
	temps   []*os.File
}

func (s *sealing) close() {
	for _, f := range s.temps {
		_ = f.Close() // its bytes are in the archive, or nobody needs them
	}
}

// sealState encrypts every file of artifacts with the role state, and every one
// whose role cannot be told.
func sealState(ctx context.Context, root *os.Root, entries []entry, o PackOptions) (_ *sealing, err error) {
	before, err := Encrypted(root)
	if err != nil {
		return nil, err
	}
	s := &sealing{sealed: slices.Clone(before)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	files, already := map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		files[e.path] = !e.dir
	}
	if err := checkSealed(before, func(p string) bool { return files[p] }); err != nil {
		return nil, err
	}
	for _, f := range before {
		already[f.Path+sealedSuffix] = true
	}
	roles := roles{root: root, steps: map[string]map[string]string{}}
	var open []string
	for _, e := range entries {
		switch {
		case e.path == SealedFile:
			continue
		case e.dir || already[e.path] || !roles.secret(e.path):
			s.entries = append(s.entries, e)
			continue
		case len(o.Recipients) == 0:
			open = append(open, e.path)
			s.entries = append(s.entries, e)
			continue
		}
		if err := s.seal(ctx, root, e, o); err != nil {
			return nil, err
		}
	}
	if len(open) > 0 && !o.PlainState {
		return nil, protocol.Errorf(protocol.ExitUsage, "state_unencrypted", "%d files of artifacts with the role state would leave this machine in the clear", len(open)).At(open[0]).
			WithHint("name age recipients with --encrypt-to, or in storage.encrypt_to before the flight is planned; --plain-state lets it pass where it holds no secret")
	}
	err = s.document()
	return s, err
}

// document adds encrypted.json and puts everything in order.
func (s *sealing) document() error {
	if len(s.sealed) > 0 {
		slices.SortFunc(s.sealed, func(a, b Sealed) int { return before(a.Path, b.Path) })
		raw, err := protocol.Canonical(sealedDocument{Version: sealedVersion, Files: s.sealed})
		if err != nil {
			return err
		}
		s.entries = append(s.entries, entry{path: SealedFile, mode: plainMode, size: int64(len(raw)), data: raw})
	}
	slices.SortFunc(s.entries, func(a, b entry) int { return before(a.path, b.path) })
	o := newOrder()
	for _, e := range s.entries {
		if err := o.add(e.path, e.dir); err != nil {
			return protocol.Errorf(protocol.ExitIntegrity, "path_unsafe", "the path %w", err).At(quoted(e.path))
		}
	}
	return nil
}

// seal encrypts one file into a temporary one.
func (s *sealing) seal(ctx context.Context, root *os.Root, e entry, o PackOptions) error {
	in, _, err := openFile(root, e.from)
	if err != nil {
		return unreadable(e.from, err)
	}
	defer func() { _ = in.Close() }() // only read
	temp, err := os.CreateTemp(o.Temp, "sealed-")
	if err != nil {
		return unwritable(o.Temp, err)
	}
	s.temps = append(s.temps, temp)
	if err := os.Remove(temp.Name()); err != nil { // it lives as long as it is open
		return unwritable(temp.Name(), err)
	}
	to := &counter{w: temp}
	out, err := age.Encrypt(to, o.Recipients...)
	if err != nil && to.err == nil {
		return protocol.Errorf(protocol.ExitUsage, "storage_encrypt", "nothing can be encrypted to these recipients: %w", err)
	}
	hash, n := sha256.New(), int64(0)
	if err == nil {
		n, err = io.Copy(io.MultiWriter(out, hash), withContext{ctx, io.LimitReader(in, e.size+1)})
	}
	if stopped := interrupted(ctx); err != nil && stopped != nil {
		return stopped
	}
	if err == nil && n != e.size {
		err = errors.New("it changed while it was read")
	}
	if err == nil {
		err = out.Close()
	}
	switch {
	case to.err != nil:
		return unwritable(o.Temp, to.err)
	case err != nil:
		return unreadable(e.from, err)
	}
	size, err := temp.Seek(0, io.SeekEnd)
	if err != nil {
		return unwritable(o.Temp, err)
	}
	s.sealed = append(s.sealed, Sealed{Path: e.path, Digest: protocol.FormatDigest(hash.Sum(nil)), Size: n, Mode: sealedMode(e.mode)})
	s.entries = append(s.entries, entry{path: e.path + sealedSuffix, mode: plainMode, size: size, file: temp})
	return nil
}

func sealedMode(mode int64) string { return fmt.Sprintf("%04o", mode) }

// roles finds out which files belong to artifacts with the role state.
type roles struct {
	root  *os.Root
	steps map[string]map[string]string // roles by step and artifact; nil where they cannot be told
}

// secret says whether a file must not leave in the clear. Everything of a state
// artifact is the engine's, its description with the metadata too.
func (r *roles) secret(p string) bool {
	parts := strings.SplitN(p, "/", 5)
	if len(parts) < 4 || parts[0] != "steps" || parts[2] != "artifacts" {
		return false
	}
	role, known := r.of(parts[1])[parts[3]]
	return !known || role == protocol.RoleState
}

// of gives the roles of a step's artifacts, as its receipt declares them.
func (r *roles) of(step string) map[string]string {
	if known, ok := r.steps[step]; ok {
		return known
	}
	var out map[string]string
	raw, err := readSmall(r.root, path.Join("steps", step, "receipt.json"), limits.Receipt)
	var receipt protocol.EngineOutput
	if err == nil && protocol.Decode(raw, &receipt) == nil {
		out = map[string]string{}
		for _, a := range receipt.Artifacts {
			if _, twice := out[a.Name]; twice || a.Role != protocol.RoleEvidence && a.Role != protocol.RoleLog {
				out[a.Name] = protocol.RoleState // the role that is kept closest
				continue
			}
			out[a.Name] = a.Role
		}
	}
	r.steps[step] = out
	return out
}

// Recipients reads age recipients: each text is one (age1…), or the name of a file
// that holds them, which read gives. Native recipients only: plug-ins run programs.
func Recipients(list []string, read func(name string) ([]byte, error)) ([]age.Recipient, error) {
	var out []age.Recipient
	for _, text := range list {
		raw := []byte(text)
		if !strings.HasPrefix(text, "age1") {
			var err error
			if raw, err = read(text); err != nil {
				return nil, badRecipient(text, "the recipients cannot be read: %w", err)
			}
		}
		parsed, err := age.ParseRecipients(bytes.NewReader(raw))
		if err != nil {
			return nil, badRecipient(text, "it is no age recipient, or a file with such (age1…, as \"age-keygen -y\" prints it)")
		}
		if out = append(out, parsed...); len(out) > limits.StorageRecipients {
			return nil, badRecipient(text, "there are more than %d recipients", limits.StorageRecipients)
		}
	}
	return out, nil
}

// Identities reads age identities as age-keygen writes them.
func Identities(text []byte) ([]age.Identity, error) {
	found, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil { // its text could show a secret
		return nil, protocol.Errorf(protocol.ExitUsage, "storage_identity", "it holds no age identities (AGE-SECRET-KEY-1…, as age-keygen writes them)").
			WithHint("name the file that age-keygen wrote")
	}
	return found, nil
}

func badRecipient(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "storage_encrypt", format, args...).At(where).
		WithHint("storage.encrypt_to lists age recipients and files with recipients")
}
