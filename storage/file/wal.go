package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// appendFile is what a WAL needs of its file; tests give one that fails.
type appendFile interface {
	io.Writer
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

// A WAL appends to the write-ahead log of a flight. Entries are made by Prepare
// and written by Commit, so that audit events, which name their checksums, can
// be made durable in between. The caller holds the flight's lock.
type WAL struct {
	mu      sync.Mutex
	file    appendFile
	id      string
	size    int64
	entries []protocol.WALEntry // durable ones
	pending []protocol.WALEntry // prepared ones
	broken  error               // why nothing can be written any more
}

// OpenWAL opens the WAL of a flight for appending and makes it if there is
// none. All entries are checked first. A torn last line is cut off, a missing
// last newline is written (Tail says so, and the caller records it in the
// audit); anything else is refused and the file stays as it is.
// SPEC: docs/protocol.md 5.
func OpenWAL(f *Flight) (*WAL, Tail, error) {
	file, err := openWALFile(f)
	if err != nil {
		return nil, Tail{}, err
	}
	// Whatever locks a command holds elsewhere: a WAL has one writer.
	if err := flock(file, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = protocol.Errorf(protocol.ExitUnreachable, "locked", "another process writes to this flight").At(f.path(WALName)).
				WithHint("wait for it to end")
		} else {
			err = walUnwritable(err)
		}
		return nil, Tail{}, errors.Join(err, file.Close())
	}
	w, tail, err := openWAL(f, file)
	if err != nil {
		return nil, tail, errors.Join(err, file.Close())
	}
	return w, tail, nil
}

func openWALFile(f *Flight) (*os.File, error) {
	file, _, err := f.openRegular(WALName, os.O_RDWR|os.O_APPEND)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	file, err = f.root.OpenFile(WALName, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, walUnwritable(err)
	}
	if err := syncDir(f.root, "."); err != nil {
		return nil, errors.Join(walUnwritable(err), file.Close())
	}
	return file, nil
}

func openWAL(f *Flight, file *os.File) (*WAL, Tail, error) {
	data, err := io.ReadAll(io.LimitReader(file, limits.WALFile+1))
	if err != nil {
		return nil, Tail{}, walUnwritable(err)
	}
	if len(data) > limits.WALFile {
		return nil, Tail{}, protocol.Errorf(protocol.ExitIntegrity, "wal_too_large", "the WAL is larger than %d bytes", limits.WALFile).At(f.path(WALName))
	}
	entries, tail, err := parseWAL(data, f.id)
	if err != nil {
		return nil, tail, err
	}
	w := &WAL{file: file, id: f.id, size: tail.Bytes, entries: entries}
	if len(entries) > 0 {
		w.id = entries[0].WorkflowID
	}
	switch {
	case tail.Torn:
		err = file.Truncate(tail.Bytes)
	case tail.Newline:
		_, err = file.Write([]byte{'\n'})
		w.size++
	}
	if err == nil && (tail.Torn || tail.Newline) {
		err = file.Sync()
	}
	if err == nil {
		err = f.cleanTemps()
	}
	if err != nil {
		return nil, tail, walUnwritable(err)
	}
	return w, tail, nil
}

// Entries gives the durable entries.
func (w *WAL) Entries() []protocol.WALEntry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.entries)
}

// Prepare makes the next entry, with sequence and checksum, and writes nothing.
// data is the *Data struct that the type has. Several may be prepared before
// they are committed together.
func (w *WAL) Prepare(at time.Time, kind protocol.WALEntryType, data any) (protocol.WALEntry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, err := w.prepare(at, kind, data)
	if err != nil {
		var own *protocol.Error
		if !errors.As(err, &own) {
			err = protocol.Errorf(protocol.ExitFailure, "wal_entry_invalid", "the WAL entry %s cannot be written: %w", kind, err)
		}
		return protocol.WALEntry{}, err
	}
	w.pending = append(w.pending, e)
	return e, nil
}

func (w *WAL) prepare(at time.Time, kind protocol.WALEntryType, data any) (protocol.WALEntry, error) {
	var e protocol.WALEntry
	if w.broken != nil {
		return e, w.unusable()
	}
	before := w.entries
	if len(w.pending) > 0 {
		before = w.pending
	}
	if problem := order(before, kind); problem != "" {
		return e, errors.New(problem)
	}
	if !protocol.ValidWorkflowID(w.id) {
		return e, errors.New("the flight has no id")
	}
	shape, known := shapes().data[kind]
	if !known {
		return e, errors.New("unknown entry type")
	}
	raw, err := protocol.Canonical(data)
	if err != nil {
		return e, err
	}
	if err := shape.Scan(raw, nil); err != nil {
		return e, fmt.Errorf("its data is not that of the type: %w", err)
	}
	e = protocol.WALEntry{
		Sequence: int64(len(w.entries) + len(w.pending)), Timestamp: at.UTC().Format(time.RFC3339Nano),
		WorkflowID: w.id, EntryType: kind, Data: raw,
	}
	if e.Sequence >= limits.WALEntries {
		return e, fmt.Errorf("a WAL has at most %d entries", limits.WALEntries)
	}
	e.Checksum, err = checksum(e)
	return e, err
}

// checksum covers the entry without itself. SPEC: docs/protocol.md 5.
func checksum(e protocol.WALEntry) (string, error) {
	e.Checksum = ""
	line, err := protocol.Canonical(e)
	if err != nil {
		return "", err
	}
	var cut protocol.Member
	if err := protocol.ScanCanonical(line, func(m protocol.Member) error {
		if string(m.Key) == "checksum" {
			cut = m
		}
		return nil
	}); err != nil {
		return "", err
	}
	if len(line)+len("sha256:")+64 > limits.WALLine {
		return "", fmt.Errorf("it is longer than %d bytes", limits.WALLine)
	}
	return protocol.H(protocol.KindWAL, protocol.AppendWithout(nil, line, cut)), nil
}

// Commit writes prepared entries, all of them and in their order, in one write
// and one fsync. When it returns nil they are durable. After an error of
// writing, what is on disk is unknown, so the WAL refuses everything from then
// on; the next OpenWAL mends the file.
func (w *WAL) Commit(entries ...protocol.WALEntry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.unusable()
	}
	if !slices.EqualFunc(entries, w.pending, func(x, y protocol.WALEntry) bool {
		return x.Sequence == y.Sequence && x.Checksum == y.Checksum
	}) {
		return protocol.Errorf(protocol.ExitFailure, "wal_entry_invalid", "the entries to commit are not the %d that were prepared", len(w.pending))
	}
	if len(entries) == 0 {
		return nil
	}
	var lines []byte
	for _, e := range w.pending { // not the caller's copies, which may have changed
		line, err := protocol.Canonical(e)
		if err != nil {
			return protocol.Errorf(protocol.ExitFailure, "wal_entry_invalid", "the WAL entry %s cannot be written: %w", e.EntryType, err)
		}
		lines = append(append(lines, line...), '\n')
	}
	if w.size+int64(len(lines)) > limits.WALFile {
		return protocol.Errorf(protocol.ExitFailure, "wal_too_large", "the WAL would be larger than %d bytes", limits.WALFile)
	}
	if err := w.write(lines); err != nil {
		w.broken = err
		return walUnwritable(err)
	}
	w.size += int64(len(lines))
	w.entries, w.pending = append(w.entries, w.pending...), nil
	return nil
}

func (w *WAL) write(lines []byte) error {
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != w.size {
		return fmt.Errorf("the WAL has %d bytes where this process left %d: somebody else writes to it", info.Size(), w.size)
	}
	n, err := w.file.Write(lines)
	if err == nil && n != len(lines) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	return w.file.Sync()
}

// Discard forgets prepared entries that will not be committed.
func (w *WAL) Discard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = nil
}

// Close closes the file. Everything committed is durable already.
func (w *WAL) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = fs.ErrClosed
	}
	if f, ok := w.file.(*os.File); ok {
		_ = flock(f, unix.LOCK_UN) // as in release; where it fails, closing does it
	}
	return w.file.Close()
}

func (w *WAL) unusable() error {
	return protocol.Errorf(protocol.ExitUnreachable, "wal_unusable", "the WAL takes no more entries after an earlier failure: %w", w.broken).
		At(WALName).WithHint("start the command again: it checks the WAL and goes on from what is on disk")
}

func walUnwritable(err error) error {
	return protocol.Errorf(protocol.ExitUnreachable, "wal_unwritable", "the WAL cannot be written, so the flight cannot go on: %w", err).
		At(WALName).WithHint("free space or mend the file system, then resume the flight")
}
