package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/storage/file"
)

// isStored says whether an argument names an archive or a stored flight.
func isStored(name string) bool {
	if bundle.IsRef(name) {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && !info.IsDir() && strings.HasSuffix(name, bundle.Suffix)
}

// stored is an archive that was unpacked.
type stored struct {
	dir  string // of the flight
	ref  string // by digest; "" for a file
	from bundle.Packed
}

// openStored unpacks an archive for commands that only read. What is encrypted is
// decrypted where CABINCREW_AGE_IDENTITY names identities.
func (s *session) openStored(name string) (*file.Flight, error) {
	u, err := s.unpack(name, "")
	if err != nil {
		return nil, err
	}
	left, err := s.restore(u.dir, s.app.env["CABINCREW_AGE_IDENTITY"])
	if err != nil {
		return nil, err
	}
	s.app.tellEncrypted(left)
	s.stored = true
	return s.keep(file.OpenDir(u.dir))
}

// unpack fetches an archive, if it is a reference's, and unpacks it into a directory
// that lasts until the session is done.
func (s *session) unpack(name, registryConfig string) (stored, error) {
	var u stored
	top, err := s.temp("stored-")
	if err != nil {
		return u, err
	}
	archive, err := s.archive(name, registryConfig, top, &u)
	if err != nil {
		return u, err
	}
	defer func() { _ = archive.Close() }() // only read from here on
	u.dir = filepath.Join(top, "flight")
	if err := os.Mkdir(u.dir, 0o700); err != nil {
		return u, unwritable(u.dir, err)
	}
	root, err := os.OpenRoot(u.dir)
	if err != nil {
		return u, unwritable(u.dir, err)
	}
	defer func() { _ = root.Close() }() // every file in it is closed
	u.from, err = bundle.Unpack(s.app.ctx, archive, root)
	return u, err
}

// tempForm is that of the names that session.temp gives outside of a state directory.
var tempForm = regexp.MustCompile(`^cabincrew-(?:stored|push|export)-[0-9]{1,10}$`)

// sweepTemps removes what killed commands left: old directories of this user with
// exactly such a name. That is a service to the disk, and nothing depends on it.
func sweepTemps(dir string, now time.Time) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer func() { _ = root.Close() }() // what is removed is removed
	top, err := root.Open(".")
	if err != nil {
		return
	}
	names, _ := top.Readdirnames(limits.StorageEntries)
	_ = top.Close() // only read
	for _, name := range names {
		if !tempForm.MatchString(name) {
			continue
		}
		info, err := root.Lstat(name)
		if err != nil || !info.IsDir() || now.Sub(info.ModTime()) < limits.StorageTemp {
			continue
		}
		if by, ok := info.Sys().(*syscall.Stat_t); ok && int(by.Uid) == os.Getuid() {
			_ = root.RemoveAll(name) // another process may have done it
		}
	}
}

// archive opens the file of an archive, or fetches it.
func (s *session) archive(name, registryConfig, top string, u *stored) (*os.File, error) {
	if !bundle.IsRef(name) {
		f, err := openRegular(name)
		if err != nil {
			return nil, usageError("flight_unknown", "the archive cannot be opened: %w", err).At(name)
		}
		return f, nil
	}
	ref, err := bundle.ParseRef(name)
	if err != nil {
		return nil, err
	}
	store, err := s.app.storage(ref, registryConfig)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(top, "archive"+bundle.Suffix), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, unwritable(top, err)
	}
	got, err := store.Get(s.app.ctx, ref, f)
	if err != nil {
		_ = f.Close() // the error above is the one that counts
		return nil, err
	}
	if u.ref = got.String(); ref.Digest == "" {
		_, _ = fmt.Fprintf(s.app.err, "%s is %s\n", visible(name), visible(u.ref)) // a tag moves, what was read does not
	}
	return f, nil
}

// storage opens a storage with the credentials of this user.
func (a *app) storage(ref bundle.Ref, registryConfig string) (bundle.Store, error) {
	o := bundle.Options{Now: time.Now, Progress: a.moved()}
	if ref.Kind == bundle.OCI {
		host, _, _ := strings.Cut(ref.Place, "/")
		o.Plain = loopback(host)
		var err error
		if o.DockerConfig, err = a.registryConfig(registryConfig); err != nil {
			return nil, err
		}
	}
	return bundle.Open(ref, o)
}

// registryConfig reads the Docker configuration: the one that is named, or this
// user's if there is one.
func (a *app) registryConfig(name string) ([]byte, error) {
	named := name != ""
	switch {
	case named:
	case len(a.registryAuth) > 0:
		return a.registryAuth, nil
	case a.env["DOCKER_CONFIG"] != "":
		name = filepath.Join(a.env["DOCKER_CONFIG"], "config.json")
	case a.env["HOME"] != "":
		name = filepath.Join(a.env["HOME"], ".docker", "config.json")
	default:
		return nil, nil
	}
	raw, err := readBounded(name, limits.OCIDockerConfig)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, usageError("storage_credentials", "the Docker configuration cannot be read: %w", err).At(name).
			WithHint("name one with --registry-config")
	}
	return raw, nil
}

// readBounded reads a regular file that the user named.
func readBounded(name string, most int64) ([]byte, error) {
	f, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(raw)) > most {
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	return raw, err
}

// openRegular opens a regular file that the user named. It waits for nobody who would
// write into a FIFO.
func openRegular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // #nosec G304 -- the path is the user's own choice
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// restore decrypts what the identities of a file can read; "" names none.
func (s *session) restore(dir, identity string) ([]bundle.Sealed, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // every file in it is closed
	text := s.app.ageIdentities
	switch {
	case identity != "":
		if text, err = readBounded(identity, limits.StorageKeys); err != nil {
			return nil, usageError("storage_identity", "the identities cannot be read: %w", err).At(identity).WithHint("name the file that age-keygen wrote")
		}
	case len(text) == 0:
		return bundle.Encrypted(root)
	}
	ids, err := bundle.Identities(text)
	if err != nil {
		return nil, err
	}
	return bundle.Restore(s.app.ctx, root, ids)
}

func (a *app) tellEncrypted(left []bundle.Sealed) {
	for _, f := range left {
		_, _ = fmt.Fprintf(a.err, "encrypted: %s (%d bytes); --age-identity decrypts it\n", visible(f.Path), f.Size)
	}
}

// moved tells of long transfers: a line each time that a tenth is through.
func (a *app) moved() func(done, total int64) {
	const worth = 16 << 20
	last := int64(0)
	return func(done, total int64) {
		if total < worth || done*10/total <= last {
			return
		}
		last = done * 10 / total
		_, _ = fmt.Fprintf(a.err, "%d of %d MiB\n", done>>20, total>>20)
	}
}

// storageConfig gives the storage block of the configuration that governs; none
// where there is no configuration.
func (s *session) storageConfig() (config.Storage, error) {
	if _, err := os.Lstat(s.place.config); errors.Is(err, fs.ErrNotExist) && s.app.flags.governanceRef == "" {
		return config.Storage{}, nil
	}
	o, err := s.originOf(s.app.flags.governanceRef)
	if err != nil {
		return config.Storage{}, err
	}
	out := o.config.Storage
	if dir, ok := strings.CutPrefix(out.Flights, bundle.Dir+":"); ok {
		out.Flights = bundle.Dir + ":" + s.place.file(dir)
	}
	return out, nil
}

// destination gives where a flight goes: what the command line says, or the
// configuration.
func destination(args []string, c config.Storage) (bundle.Ref, error) {
	text := c.Flights
	if len(args) > 1 {
		text = args[1]
	}
	if text == "" {
		return bundle.Ref{}, usageError("storage_ref", "there is no place to put the flight").
			WithHint("name one (dir:PATH or oci:HOST/REPOSITORY), or set storage.flights")
	}
	ref, err := bundle.ParseRef(text)
	if err != nil {
		return ref, err
	}
	if ref.Digest != "" {
		return ref, usageError("storage_ref", "a storage is named without a digest: it is the flight's to have one").At(text)
	}
	if ref.Kind == bundle.Dir {
		if ref.Place, err = filepath.Abs(ref.Place); err != nil {
			return ref, err
		}
	}
	return ref, nil
}

func notStored(where string) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "storage_ref", "it is neither an archive nor the reference of a stored flight").At(where).
		WithHint("name a file that ends in %s, dir:PATH@sha256:… or oci:HOST/REPOSITORY@sha256:…", bundle.Suffix)
}
