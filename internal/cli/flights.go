package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// newID gives the id of a new flight: its time, for people, and 40 random bits.
func newID(now time.Time, random io.Reader) (string, error) {
	b := make([]byte, 5)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", err
	}
	return now.UTC().Format("20060102-150405-") + hex.EncodeToString(b), nil
}

// begin makes a new flight, locked by this session.
func (s *session) begin() (*orchestrator.Flight, error) {
	id, err := newID(s.crew.Now(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := s.lock(s.home, "flight-"+id); err != nil {
		return nil, err
	}
	dir, err := s.store.Create(id)
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, dir.Close)
	j, err := s.journal(dir)
	if err != nil {
		return nil, err
	}
	return s.crew.Begin(dir, j, s.setup)
}

func (s *session) journal(dir *file.Flight) (*journal, error) {
	j, err := openJournal(dir, s.setup.Redactor, s.seal)
	if err != nil {
		return nil, err
	}
	j.failpoint = s.app.failpoint
	s.close = append(s.close, j.close)
	if s.seal == nil {
		return j, nil
	}
	events, _ := j.log.Head()
	err = s.seal.begin(dir, events)
	if err != nil && s.ending && protocol.ExitCode(err) == protocol.ExitIntegrity {
		j.seal, err = nil, nil // the flight is ended; what its checkpoint says stays
	}
	return j, err
}

// write opens a flight for writing: locked, both logs verified and mended.
func (s *session) write(args []string) (*orchestrator.Flight, error) {
	dir, err := s.find(args)
	if err != nil {
		return nil, err
	}
	if s.stored {
		return nil, usageError("flight_stored", "an archive is only read").At(args[0]).
			WithHint("bring the flight here with cabincrew pull %s", args[0])
	}
	if err := s.lock(s.home, "flight-"+dir.ID()); err != nil {
		return nil, err
	}
	j, err := s.journal(dir)
	if err != nil {
		return nil, err
	}
	f, err := orchestrator.Load(dir, j, j.Entries())
	if err != nil {
		return nil, err
	}
	f.Ahead, f.Recovered = j.ahead, j.mended
	return f, s.crew.Mend(f, s.ending)
}

// read opens a flight without changing anything. Its WAL is checked, no more.
func (s *session) read(args []string) (*orchestrator.Flight, *file.Flight, error) {
	dir, err := s.find(args)
	if err != nil {
		return nil, nil, err
	}
	entries, _, err := file.ReadWAL(dir)
	if err != nil {
		return nil, dir, err
	}
	f, err := orchestrator.Load(dir, nil, entries)
	return f, dir, err
}

// find finds the flight that an argument names: an id or an unambiguous beginning
// of one, a whole flight token, a directory, an archive, or the reference of a stored
// flight. Without an argument it is the one flight that is open.
func (s *session) find(args []string) (*file.Flight, error) {
	if len(args) == 0 {
		return s.onlyOpen()
	}
	name := args[0]
	if isStored(name) {
		return s.openStored(name)
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() && strings.ContainsRune(name, os.PathSeparator) || name == "." {
		return s.keep(file.OpenDir(name))
	}
	ids, err := s.store.List()
	if err != nil {
		return nil, err
	}
	var matches []string
	for _, id := range ids {
		if id == name || strings.HasPrefix(name, "sha256:") && s.tokenOf(id) == name {
			return s.keep(s.store.Flight(id))
		}
		if strings.HasPrefix(id, name) {
			matches = append(matches, id)
		}
	}
	switch len(matches) {
	case 1:
		return s.keep(s.store.Flight(matches[0]))
	case 0:
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			return s.keep(file.OpenDir(name))
		}
		return nil, usageError("flight_unknown", "there is no flight %q", name).WithHint("cabincrew list shows the flights")
	}
	return nil, usageError("flight_ambiguous", "%q may be %s", name, strings.Join(matches, ", ")).WithHint("give more of the id")
}

func (s *session) keep(dir *file.Flight, err error) (*file.Flight, error) {
	if err == nil {
		s.close = append(s.close, dir.Close)
	}
	return dir, err
}

// tokenOf gives the flight token that a flight's WAL tells, "" where it cannot be read.
func (s *session) tokenOf(id string) string {
	f, err := s.peek(id)
	if err != nil {
		return ""
	}
	return f.Status.FlightToken
}

// peek reads a flight's status; the directory is closed again.
func (s *session) peek(id string) (_ *orchestrator.Flight, err error) {
	dir, err := s.store.Flight(id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	entries, _, err := file.ReadWAL(dir)
	if err != nil {
		return nil, err
	}
	return orchestrator.Load(dir, nil, entries)
}

func (s *session) onlyOpen() (*file.Flight, error) {
	ids, err := s.store.List()
	if err != nil {
		return nil, err
	}
	var open []string
	for _, id := range ids {
		f, err := s.peek(id)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, protocol.Code("wal_empty")):
			// It was interrupted before it began.
		case err == nil && (&orchestrator.Orchestrator{Fence: s.home}).Ended(f):
		case err != nil || !f.Status.State.Terminal():
			// One that cannot be read may be open: then flights must be named.
			open = append(open, id)
		}
	}
	switch len(open) {
	case 1:
		return s.keep(s.store.Flight(open[0]))
	case 0:
		return nil, usageError("flight_unknown", "no flight is open").WithHint("name a flight; cabincrew list shows them")
	}
	return nil, usageError("flight_ambiguous", "%d flights are open: %s", len(open), strings.Join(open, ", ")).WithHint("name one of them")
}

// finish prints the document of a flight, and its error, and passes the error on.
func (s *session) finish(f *orchestrator.Flight, err error) error {
	if f == nil {
		return err
	}
	sum := orchestrator.Summarize(f)
	sum.ApprovalCode, sum.Preview = s.crew.Code(f), s.shown
	if err != nil {
		sum.Error = s.app.errorOf(err)
	}
	if s.app.flags.output == outputJSON {
		s.app.printJSON(struct {
			orchestrator.Summary

			Held []heldDocument `json:"held,omitempty"`
		}{sum, s.held})
	} else {
		s.app.text(renderSummary(sum) + renderNext(sum))
	}
	if err == nil {
		return nil
	}
	s.app.complain(err)
	return reportedError{err}
}

// with opens a session for one command and closes it again.
func (a *app) with(ctx context.Context, f func(*session) error) (err error) {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := s.done(); closeErr != nil {
			err = errors.Join(err, protocol.Errorf(protocol.ExitFailure, "close_failed", "closing files: %w", closeErr))
		}
	}()
	return f(s)
}
