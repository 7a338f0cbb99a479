package orchestrator

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// Fence remembers, outside of the flight's own directory, that a flight began its
// take-off and that it ended, so that a copy of the directory, or one whose logs
// were wound back, does not fly again. Marks are made once and never changed.
// SPEC: docs/protocol.md 9.
type Fence interface {
	Mark(name, content string) (made bool, err error)
	Marked(name string) (content string, made bool, err error)
	// Marks gives the content of all marks whose names begin so, by name.
	Marks(prefix string) (map[string]string, error)
}

func begunMark(id string) string { return id + ".begun" }
func endedMark(id string) string { return id + ".ended" }

// once refuses a flight whose marks tell of more than its own WAL does.
func (o *Orchestrator) once(f *Flight) error {
	if o.Fence == nil {
		return nil
	}
	_, ended, err := o.Fence.Marked(endedMark(f.ID()))
	if err != nil {
		return unfenced(err)
	}
	if ended && !f.Status.State.Terminal() {
		return integrity("flight_ended", "flight %s ended before, yet here it is %s: this is a copy, or its logs were wound back", f.ID(), f.Status.State).
			WithHint("plan again with cabincrew flight-plan")
	}
	content, begun, err := o.Fence.Marked(begunMark(f.ID()))
	if err != nil {
		return unfenced(err)
	}
	if !begun {
		return nil
	}
	mark, err := readBegun(content)
	if err != nil {
		return err
	}
	here := mark.Dir == place(f)
	switch {
	case f.Status.State.Terminal() && !here:
		return nil // a copy of a flight that ended may be looked at
	case !f.Status.State.Terminal() && (!here || !f.Status.State.Reached(protocol.StateTakeoffRunning)):
		return integrity("takeoff_replayed", "the take-off of flight %s began before, in %s; here (%s) it is %s: this is a copy, or its logs were wound back",
			f.ID(), mark.Dir, f.Dir.Dir(), f.Status.State).WithHint("plan again with cabincrew flight-plan")
	case mark.Audit == nil:
		return nil
	}
	_, err = o.logHolds(f, AuditHead{Size: mark.Audit.Size, Root: mark.Audit.Root, Last: unknownLast}, "the mark of its take-off")
	return err
}

// begun is the content of the mark that a take-off began: where, and how far its audit
// log had come, so that a tail that is lost or cut with its runner shows.
type begun struct {
	Dir   string     `json:"dir"`
	Audit *begunHead `json:"audit"`
}

type begunHead struct {
	Size uint64 `json:"size"`
	Root string `json:"root"`
}

// place gives the flight's directory as a mark can hold it.
func place(f *Flight) string { return strings.ToValidUTF8(f.Dir.Dir(), "\uFFFD") }

// readBegun reads a mark. One that an earlier version made holds the directory alone,
// which is an absolute path.
func readBegun(content string) (begun, error) {
	if strings.HasPrefix(content, "/") {
		return begun{Dir: strings.ToValidUTF8(content, "\uFFFD")}, nil
	}
	var b begun
	err := readOwn([]byte(content), &b)
	if err == nil && (b.Dir == "" || b.Audit == nil) {
		err = errors.New("directory or audit head is missing")
	}
	if err != nil {
		return b, integrity("mark_malformed", "the mark that the take-off began cannot be read: %w", err).WithHint("plan again with cabincrew flight-plan")
	}
	return b, nil
}

func stepMark(id, step string) string { return id + "." + step + ".begun" }

// beganBefore says whether the engine of a step was started in a take-off before.
// The WAL may tell less: it may have been cut or wound back.
func (o *Orchestrator) beganBefore(f *Flight, step string) (bool, error) {
	if o.Fence == nil {
		return false, nil
	}
	_, made, err := o.Fence.Marked(stepMark(f.ID(), step))
	if err != nil {
		return false, unfenced(err)
	}
	return made, nil
}

// beginStep marks that a step's engine is about to start. Unless this is a retry
// that was asked for, it must be the first time.
func (o *Orchestrator) beginStep(f *Flight, step string, retry bool) error {
	if o.Fence == nil {
		return nil
	}
	made, err := o.Fence.Mark(stepMark(f.ID(), step), f.Dir.Dir())
	if err != nil {
		return unfenced(err)
	}
	if !made && !retry {
		return indeterminate(f)
	}
	return nil
}

// begin marks, right before the first engine starts, that the take-off began here.
func (o *Orchestrator) begin(f *Flight) error {
	if o.Fence == nil {
		return nil
	}
	size := f.Journal.AuditHead()
	root, _, err := o.auditRoot(f, uint64(size)) //nolint:gosec // a count
	if err != nil {
		return err
	}
	content, err := protocol.Canonical(begun{Dir: place(f), Audit: &begunHead{Size: uint64(size), Root: root}}) //nolint:gosec // a count
	if err != nil {
		return err
	}
	made, err := o.Fence.Mark(begunMark(f.ID()), string(content))
	if err != nil {
		return unfenced(err)
	}
	if !made {
		return o.once(f)
	}
	return nil
}

// end marks that the flight ended. The mark of its token comes after its signed
// statement: see tokenEnds.
func (o *Orchestrator) end(f *Flight) error {
	if o.Fence == nil {
		return nil
	}
	if _, err := o.Fence.Mark(endedMark(f.ID()), string(f.Status.State)); err != nil {
		return unfenced(err)
	}
	return nil
}

func unfenced(err error) error {
	return fmt.Errorf("whether the flight took off before cannot be told: %w", err)
}
