package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// flown is a take-off with its workspace before and after.
type flown struct {
	outcome
	dir           string
	before, after []workspace.File
	began, ended  time.Time
}

func (f flown) changes() string { return changes(f.before, f.after) }

// takeOffs runs take-off as a flight does, and as none should.
func (b *bench) takeOffs(ctx context.Context) error {
	all := []string{TakeOff, TakeOffScope, TakeOffRepeat, TakeOffTwice, TakeOffMissing, TakeOffChanged}
	if !b.ok {
		b.skip("there is no plan to take off with", all...)
		return nil
	}
	if slices.Contains(b.o.Skip, TakeOff) {
		b.skip("left out as asked: no take-off is run", all...) // it may do things that nobody wants twice
		return nil
	}
	b.begin(TakeOff)
	planned, err := b.planned(ctx, "")
	if err != nil {
		return err
	}
	good, err := b.takeOff(ctx, "take-off", planned)
	if err != nil {
		return err
	}
	after, err := scan(ctx, planned)
	if err != nil {
		return err
	}
	fresh, err := b.planned(ctx, "")
	if err != nil {
		return err
	}
	was, err := scan(ctx, fresh)
	if err != nil {
		return err
	}
	b.judgeTakeOff(good, changes(was, after))
	if good.err != nil {
		b.skip("take-off fails with the planned artifacts already", all...)
		return nil //nolint:nilerr // it is the engine's, and has been judged
	}
	for _, part := range []func(context.Context, flown) error{b.takeOffScope, b.takeOffRepeat, b.takeOffTwice, b.takeOffMissing, b.takeOffChanged} {
		if err := part(ctx, good); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) judgeTakeOff(f flown, artifacts string) {
	wrong := ""
	switch {
	case f.err != nil:
		wrong = reason(f.err) + f.log.said()
	case len(f.receipt.Artifacts) > 0:
		wrong = fmt.Sprintf("its receipt declares %d artifacts; only flight-plan makes some", len(f.receipt.Artifacts))
	case artifacts != "":
		wrong = "it wrote among the planned artifacts: " + artifacts
	case f.receipt.EngineID != b.engineID:
		wrong = fmt.Sprintf("its receipt is of engine %s, that of flight-plan of engine %s", quoted(f.receipt.EngineID), quoted(b.engineID))
	}
	right := f.changes()
	if right == "" {
		right = "it changed nothing in the workspace"
	}
	b.verdict(TakeOff, wrong, right)
}

// takeOff runs take-off over a fresh copy of the workspace.
func (b *bench) takeOff(ctx context.Context, name, artifacts string) (flown, error) {
	dir, err := b.copyWorkspace(ctx, surroundings{modified: long(2)})
	if err != nil {
		return flown{}, err
	}
	return b.takeOffIn(ctx, name, artifacts, dir)
}

func (b *bench) takeOffIn(ctx context.Context, name, artifacts, dir string) (flown, error) {
	f := flown{dir: dir}
	var err error
	if f.before, err = scan(ctx, dir); err != nil {
		return f, err
	}
	f.began = b.o.Now()
	f.outcome, err = b.run(ctx, trial{name: name, mode: protocol.TakeOff, workspace: dir, artifacts: artifacts, workflow: "engine-check-1"})
	if err != nil {
		return f, err
	}
	f.ended = b.o.Now()
	f.after, err = scan(ctx, dir)
	return f, err
}

// planned copies the planned evidence and state, as take-off finds them, without
// one artifact where that is asked for.
func (b *bench) planned(ctx context.Context, without string) (string, error) {
	at, err := b.dir("artifacts")
	if err != nil {
		return "", err
	}
	from, err := os.OpenRoot(b.first.dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }() // only read
	to, err := os.OpenRoot(at)
	if err != nil {
		return "", err
	}
	defer func() { _ = to.Close() }() // files are closed one by one
	for _, a := range b.first.withRole(protocol.RoleEvidence, protocol.RoleState) {
		if a.Name == without {
			continue
		}
		files := []string{engines.DescriptionFile}
		if a.BodyDigest != "" {
			files = append(files, a.Description.BodyFile)
		}
		for _, name := range files {
			if err := copyFile(from, to, workspace.File{Path: a.Name + "/" + name, Letter: workspace.Regular}); err != nil {
				return "", err
			}
		}
	}
	return at, ctx.Err()
}

// takeOffTwice takes off again, over what the first take-off made.
func (b *bench) takeOffTwice(ctx context.Context, good flown) error {
	if !b.begin(TakeOffTwice) {
		return nil
	}
	artifacts, err := b.planned(ctx, "")
	if err != nil {
		return err
	}
	again, err := b.takeOffIn(ctx, "the second take-off", artifacts, good.dir)
	if err != nil {
		return err
	}
	detail := "the second one succeeds and changes nothing"
	switch changed := again.changes(); {
	case again.err != nil:
		detail = "the second one fails: " + reason(again.err) + again.log.said()
	case changed != "":
		detail = "the second one succeeds, and " + changed
	}
	b.addf(TakeOffTwice, Pass, "%s", detail)
	return nil
}

// takeOffMissing takes off without any artifact, and without each that is state.
func (b *bench) takeOffMissing(ctx context.Context, _ flown) error {
	if !b.begin(TakeOffMissing) {
		return nil
	}
	empty, err := b.dir("artifacts")
	if err != nil {
		return err
	}
	f, err := b.takeOff(ctx, "take-off without artifacts", empty)
	if err != nil {
		return err
	}
	switch {
	case f.err == nil:
		b.addf(TakeOffMissing, Fail, "without any artifact, take-off succeeded")
		return nil
	case f.changes() != "":
		b.addf(TakeOffMissing, Fail, "without any artifact, take-off failed, but not before it had %s", f.changes())
		return nil
	}
	state := b.first.withRole(protocol.RoleState)
	for _, a := range state[:min(len(state), limits.CheckFlips)] {
		artifacts, err := b.planned(ctx, a.Name)
		if err != nil {
			return err
		}
		f, err := b.takeOff(ctx, "take-off without artifact "+a.Name, artifacts)
		if err != nil {
			return err
		}
		if f.err == nil || f.changes() != "" {
			b.addf(TakeOffMissing, Fail, "without the state artifact %s, take-off %s", a.Name, f.told())
			return nil
		}
	}
	b.addf(TakeOffMissing, Pass, "refused: exit %d", f.ExitCode)
	return nil
}

// told says what a take-off that should have been refused did.
func (f flown) told() string {
	what := "failed"
	if f.err == nil {
		what = "succeeded"
	}
	if c := f.changes(); c != "" {
		return what + " and " + c
	}
	return what
}

// takeOffChanged takes off with one byte of one artifact changed.
func (b *bench) takeOffChanged(ctx context.Context, good flown) error {
	if len(b.first.withRole(protocol.RoleState)) == 0 {
		b.skip("the engine has no state artifacts", TakeOffChanged)
		return nil
	}
	if !b.begin(TakeOffChanged) {
		return nil
	}
	var refused []string
	list := b.first.withRole(protocol.RoleState, protocol.RoleEvidence)
	for _, a := range list[:min(len(list), limits.CheckFlips)] {
		if a.BodyDigest != "" && a.Size == 0 {
			continue // there is no byte to change
		}
		artifacts, err := b.planned(ctx, "")
		if err != nil {
			return err
		}
		file, err := flip(filepath.Join(artifacts, a.Name), a)
		if err != nil {
			return err
		}
		f, err := b.takeOff(ctx, "take-off with artifact "+a.Name+" changed", artifacts)
		if err != nil {
			return err
		}
		if f.misled(a, good) {
			b.addf(TakeOffChanged, Fail, "with one byte of %s/%s changed, take-off %s", a.Name, quoted(file), f.told())
			return nil
		}
		if f.err != nil {
			refused = append(refused, a.Name)
		}
	}
	detail := "refused: " + strings.Join(refused, ", ")
	if len(refused) == 0 {
		detail = "nothing is done with what was changed"
	}
	b.addf(TakeOffChanged, Pass, "%s", detail)
	return nil
}

// misled says whether a take-off used what was changed. State has to be refused, or
// at least not applied; evidence, which not every engine reads again, must not lead
// to another result.
func (f flown) misled(a engines.Artifact, good flown) bool {
	changed := f.changes()
	if f.err != nil {
		return changed != ""
	}
	if a.Role == protocol.RoleState {
		// Where a take-off changes no file even if all is well, success is the only sign.
		return changed != "" || good.changes() == ""
	}
	return changed != "" && !slices.Equal(f.after, good.after)
}

// flip changes the byte in the middle of an artifact's body, or of its description
// where that is all, and names the file.
func flip(dir string, a engines.Artifact) (string, error) {
	name := a.Description.BodyFile
	if a.BodyDigest == "" {
		name = engines.DescriptionFile
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return name, err
	}
	defer func() { _ = root.Close() }() // the file is closed
	f, err := root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return name, err
	}
	at := sizeOf(a) / 2
	one := make([]byte, 1)
	if _, err = f.ReadAt(one, at); err == nil {
		one[0] ^= 1
		_, err = f.WriteAt(one, at)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return name, err
}

// tell adds what was seen over all runs.
func (b *bench) tell() {
	if b.begin(Secrets) {
		wrong := ""
		if len(b.leaks) > 0 {
			slices.Sort(b.leaks)
			wrong = "the value of a secret is in " + strings.Join(slices.Compact(b.leaks), ", ")
		}
		b.verdict(Secrets, wrong, "no receipt, artifact or log holds one")
	}
	if b.begin(Processes) {
		var wrong []string
		for _, name := range sortedKeys(b.survivors) {
			wrong = append(wrong, fmt.Sprintf("%d left after %s", b.survivors[name], name))
		}
		b.verdict(Processes, strings.Join(wrong, ", "), "none was left")
	}
	if b.begin(RefusedAttempts) {
		var list []string
		for _, call := range sortedKeys(b.attempts) {
			list = append(list, fmt.Sprintf("%s (%d times)", call, b.attempts[call]))
		}
		detail := "nothing that it could see"
		if len(list) > 0 {
			detail = strings.Join(list, ", ")
		}
		b.addf(RefusedAttempts, Pass, "%s", detail)
	}
}

func sortedKeys(m map[string]int) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
