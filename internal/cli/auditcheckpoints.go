package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/audit/merkle"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The first event of a run says how its trail is signed, for who verifies it.
const (
	aboutCheckpoints = "checkpoints" // the file that gets them
	aboutSign        = "sign"
	aboutGovernance  = "governance_hash"
)

// signatureMark begins each line of signatures of a note.
var signatureMark = []byte("— ")

// appendCheckpoint adds a checkpoint to a file, durably; an empty line parts them. What a
// crash left of the one before is parted from it, too.
func appendCheckpoint(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644) //nolint:gosec // checkpoints are public
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		tail := make([]byte, min(2, info.Size()))
		if _, err = f.ReadAt(tail, info.Size()-int64(len(tail))); err == nil && string(tail) != "\n\n" {
			text = append([]byte("\n\n"), text...)
		}
	}
	if err == nil {
		_, err = f.Write(append(text, '\n'))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// newestCheckpoint reads a file of checkpoints, of whatever runs, and gives the one of a
// run that tells most, as text. The file may be long; what is kept of it is not.
func newestCheckpoint(r io.Reader, runID string) (newest []byte, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, limits.AuditCheckpoint)
	in.Split(blocks)
	var size uint64
	var body []byte
	for in.Scan() {
		block := in.Bytes()
		if !bytes.HasPrefix(block, signatureMark) {
			body = append(body[:0], block...) // one before that was not signed was torn
			continue
		}
		note := append(append(bytes.Clone(body), "\n\n"...), block...)
		note = append(note, '\n')
		if _, id, err := audit.ParseOrigin(firstLine(body)); err != nil || id != runID {
			continue // it is of another run
		}
		c, _, err := merkle.ReadCheckpoint(note)
		if err != nil {
			return nil, fmt.Errorf("one of them cannot be read: %w", err)
		}
		if newest == nil || c.Size >= size {
			newest, size = note, c.Size
		}
	}
	return newest, in.Err()
}

func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return string(line)
}

// blocks parts a text at its empty lines. The last block is none where no empty line
// ends it: it may be half written.
func blocks(data []byte, atEnd bool) (advance int, block []byte, err error) {
	start := 0
	for start < len(data) && data[start] == '\n' {
		start++
	}
	at := bytes.Index(data[start:], []byte("\n\n"))
	switch {
	case at >= 0:
		return start + at + 2, data[start : start+at], nil
	case atEnd:
		return len(data), nil, nil
	}
	return start, nil, nil
}

// checkpointsOf opens the file of a run's checkpoints: the one that is named, or else the
// one that the trail's first event names. That event is part of every checkpoint, so who
// makes it name another file has none that holds.
func checkpointsOf(dir *os.Root, log eventLog, named string) (*os.File, string, error) {
	path := named
	if path == "" {
		about, err := aboutRun(log)
		if err != nil {
			return nil, "", err
		}
		path, _ = about[aboutCheckpoints].(string)
	}
	if path == "" {
		path = checkpointName
	}
	var f *os.File
	var err error
	if named == "" && !filepath.IsAbs(path) {
		if filepath.Base(path) != path {
			return nil, path, errors.New("it lies elsewhere")
		}
		f, err = dir.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	} else {
		f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // the person or the signed trail names it
	}
	if err != nil {
		return nil, path, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, path, errors.Join(err, f.Close())
	}
	return f, path, nil
}

// aboutRun gives what the first event says of its run; nil where it says nothing.
func aboutRun(log eventLog) (map[string]any, error) {
	first, err := firstEvent(log)
	if err != nil || first.Policy == nil || len(first.Policy.PolicyEvaluations) == 0 {
		return nil, err
	}
	return first.Policy.PolicyEvaluations[0].Evidence, nil
}

// firstEvent reads the first event of a log; an empty log has one that says nothing.
func firstEvent(log eventLog) (first protocol.AuditEvent, err error) {
	in, err := log.open()
	if err != nil {
		return first, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	for e, err := range audit.Events(in) {
		return e, err
	}
	return first, nil
}

// holdsRun verifies the newest checkpoint of a run, and the trail against it.
func (t *auditTrust) holdsRun(dir *os.Root, log eventLog, named string) (string, error) {
	f, path, err := checkpointsOf(dir, log, named)
	if errors.Is(err, fs.ErrNotExist) {
		return "", unsignedRun(path)
	}
	if err != nil {
		return "", protocol.Errorf(protocol.ExitIntegrity, "audit_checkpoint", "the checkpoints of the run cannot be read: %w", err).At(path).
			WithHint("name the file that has them with --checkpoints")
	}
	defer func() { _ = f.Close() }() // only read
	text, err := newestCheckpoint(f, log.id)
	switch {
	case err != nil:
		return "", protocol.Errorf(protocol.ExitIntegrity, "audit_checkpoint", "the checkpoints of the run cannot be read: %w", err).At(path).
			WithHint("name another copy of them with --checkpoints")
	case text == nil:
		return "", unsignedRun(path)
	}
	c, err := t.opened(log.id, text)
	if err != nil {
		return "", err
	}
	in, err := log.open()
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }() // only read
	return fmt.Sprintf("%d events are those of the newest checkpoint", c.Size), holdsTo(in, c, "restore the run's directory from a copy")
}

func unsignedRun(path string) error {
	return protocol.Errorf(protocol.ExitIntegrity, "audit_unsigned", "the run has no checkpoint in it, so nothing of its trail is signed").At(path).
		WithHint("name the file that has its checkpoints with --checkpoints; audit: {sign: checkpoint} signs trails")
}
