package check

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/protocol"
)

// plan makes the first flight-plan, as a flight makes it, and judges it.
func (b *bench) plan(ctx context.Context) error {
	wanted := b.begin(PlanReceipt)
	var err error
	if b.bound, err = b.copyWorkspace(ctx, surroundings{modified: long(0)}); err != nil {
		return err
	}
	before, err := scan(ctx, b.bound)
	if err != nil {
		return err
	}
	b.begun = b.o.Now()
	out, err := b.run(ctx, trial{name: "flight-plan", mode: protocol.FlightPlan, workspace: b.bound, workflow: "engine-check-1"})
	if err != nil {
		return err
	}
	b.ended = b.o.Now()
	b.engineID = out.receipt.EngineID
	if wanted {
		b.planReceipt(out)
	}
	if b.begin(PlanWorkspace) {
		after, err := scan(ctx, b.bound)
		if err != nil {
			return err
		}
		wrong := changes(before, after)
		if wrong != "" {
			wrong = "flight-plan changed the workspace: " + wrong
		}
		b.verdict(PlanWorkspace, wrong, "nothing was added, changed or removed")
	}
	if out.err != nil {
		b.skip("there was no receipt to compare the artifacts with", PlanArtifacts)
		return nil //nolint:nilerr // it is the engine's, and has been judged
	}
	return b.planArtifacts(ctx, out)
}

func (b *bench) planReceipt(out outcome) {
	wrong := ""
	if out.err != nil {
		wrong = reason(out.err) + out.log.said()
	}
	b.verdict(PlanReceipt, wrong, "engine "+quoted(out.receipt.EngineID)+", exit 0")
}

func (b *bench) planArtifacts(ctx context.Context, out outcome) error {
	wanted := b.begin(PlanArtifacts)
	p, wrong, err := b.collect(ctx, out)
	if err != nil {
		return err
	}
	if wrong == nil {
		_, wrong = p.patches()
	}
	if wrong == nil {
		b.first, b.ok = p, true
	}
	if !wanted {
		return nil
	}
	if wrong != nil {
		b.addf(PlanArtifacts, Fail, "%s", reason(wrong))
		return nil
	}
	list := make([]string, 0, len(p.artifacts))
	for _, a := range p.artifacts {
		list = append(list, fmt.Sprintf("%s (%s, %d bytes)", a.Name, a.Role, sizeOf(a)))
	}
	switch {
	case len(list) == 0:
		b.addf(PlanArtifacts, Fail, "there are none: nobody could judge what the engine would do")
	case len(p.withRole(protocol.RoleEvidence)) == 0:
		b.addf(PlanArtifacts, Fail, "none of them is evidence: nobody could judge what the engine would do")
	default:
		b.addf(PlanArtifacts, Pass, "%s", strings.Join(list, ", "))
	}
	return nil
}

// sizeOf gives the size of an artifact's body, or of its description where that is all.
func sizeOf(a engines.Artifact) int64 {
	if a.BodyDigest == "" {
		return int64(len(a.Raw))
	}
	return a.Size
}

// collect checks what a flight-plan left and copies it out of the engine's reach.
// wrong is what the engine did wrong.
func (b *bench) collect(ctx context.Context, out outcome) (p plan, wrong, err error) {
	if p.dir, err = b.dir("planned"); err != nil {
		return p, nil, err
	}
	from, err := os.OpenRoot(out.artifacts)
	if err != nil {
		return p, fmt.Errorf("the artifacts directory: %w", err), nil
	}
	defer func() { _ = from.Close() }() // only read
	to, err := os.OpenRoot(p.dir)
	if err != nil {
		return p, nil, err
	}
	defer func() { _ = to.Close() }() // files are closed one by one
	p.artifacts, wrong = engines.Collector{Step: stepID}.Collect(ctx, from, to, out.receipt.Artifacts)
	if wrong != nil {
		return p, wrong, ctx.Err()
	}
	return p, nil, b.searchSecrets(p)
}

// searchSecrets looks for the made-up secrets in artifacts.
func (b *bench) searchSecrets(p plan) error {
	for _, a := range p.artifacts {
		d := b.finder.Detector()
		_, _ = d.Write(a.Raw) // a detector never fails
		if a.BodyDigest != "" {
			body := b.finder.Detector()
			if err := readInto(body, p.body(a)); err != nil {
				return err
			}
			if body.Found() != "" {
				d = body
			}
		}
		if d.Found() != "" {
			b.leaks = append(b.leaks, "artifact "+a.Name)
		}
	}
	return nil
}

// body gives the path of an artifact's body.
func (p plan) body(a engines.Artifact) string {
	return filepath.Join(p.dir, a.Name, a.Description.BodyFile)
}

func readInto(w io.Writer, name string) error {
	f, err := os.Open(name) //nolint:gosec // our own copy
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	_, err = io.Copy(w, f)
	return err
}

// long gives times of modification that are long ago, so that no engine takes them
// for now.
func long(n int) time.Time {
	return time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC).AddDate(7*n, n, n)
}
