package orchestrator

import (
	"fmt"

	"github.com/cabincrew/action/protocol"
)

// Fence remembers, outside of the flight's own directory, that a flight began its
// take-off and that it ended, so that a copy of the directory, or one whose logs
// were wound back, does not fly again. Marks are made once and never changed.
// SPEC: docs/protocol.md 9.
type Fence interface {
	Mark(name, content string) (made bool, err error)
	Marked(name string) (content string, made bool, err error)
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
	dir, begun, err := o.Fence.Marked(begunMark(f.ID()))
	if err != nil {
		return unfenced(err)
	}
	if !begun || f.Status.State.Terminal() {
		return nil
	}
	if !f.Status.State.Reached(protocol.StateTakeoffRunning) || dir != f.Dir.Dir() {
		return integrity("takeoff_replayed", "the take-off of flight %s began before, in %s; here (%s) it is %s: this is a copy, or its logs were wound back",
			f.ID(), dir, f.Dir.Dir(), f.Status.State).WithHint("plan again with cabincrew flight-plan")
	}
	return nil
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
	made, err := o.Fence.Mark(begunMark(f.ID()), f.Dir.Dir())
	if err != nil {
		return unfenced(err)
	}
	if !made {
		return o.once(f)
	}
	return nil
}

// end marks that the flight ended.
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
