package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

// takeOffRepeat takes off a second time with the same plan, over another copy of
// the workspace and in other surroundings, and compares the files. Then it searches
// what was written for what the second take-off cannot show.
func (b *bench) takeOffRepeat(ctx context.Context, good flown) error {
	if !b.begin(TakeOffRepeat) {
		return nil
	}
	if err := b.nextSecond(ctx, good.ended); err != nil {
		return err
	}
	var reordered bool
	wrong, err := b.compared(ctx, func(ctx context.Context, list []variation) (wrong string, err error) {
		reordered, wrong, err = b.takeOffAgain(ctx, good, list)
		return wrong, err
	})
	if err != nil {
		return err
	}
	if wrong != "" {
		b.addf(TakeOffRepeat, Fail, "%s", wrong)
		return nil
	}
	hits, err := b.searchWritten(good)
	if err != nil {
		return err
	}
	if len(hits) > 0 {
		b.found(TakeOffRepeat, hits)
		return nil
	}
	b.addf(TakeOffRepeat, Pass, "the files are the same, byte for byte; not varied: %s", b.unvaried(reordered))
	return nil
}

// takeOffAgain takes off with variations and compares with the first take-off.
func (b *bench) takeOffAgain(ctx context.Context, good flown, list []variation) (reordered bool, wrong string, err error) {
	t := trial{name: "take-off in other surroundings", mode: protocol.TakeOff, workflow: "engine-check-1"}
	reordered, remove, err := b.differently(ctx, &t, list, long(2))
	defer remove()
	if err != nil {
		return reordered, "", err
	}
	if t.artifacts, err = b.planned(ctx, ""); err != nil {
		return reordered, "", err
	}
	out, err := b.run(ctx, t)
	if err != nil {
		return reordered, "", err
	}
	if out.err != nil {
		return reordered, secondFailed + reason(out.err) + out.log.said(), nil
	}
	after, err := scan(ctx, t.workspace)
	if err != nil {
		return reordered, "", err
	}
	wrong, err = compareTrees(good, flown{dir: t.workspace, after: after})
	return reordered, wrong, err
}

// compareTrees says how the files after two take-offs differ first, "" where they
// do not. Modes count as far as git keeps them.
func compareTrees(one, two flown) (string, error) {
	first, second := byPath(one.after), byPath(two.after)
	for _, name := range sortedNames(first, second) {
		x, inFirst := first[name]
		y, inSecond := second[name]
		switch {
		case !inFirst:
			return fmt.Sprintf("file %s is there after the second take-off only", quoted(name)), nil
		case !inSecond:
			return fmt.Sprintf("file %s is there after the first take-off only", quoted(name)), nil
		case x.Letter != y.Letter:
			return fmt.Sprintf("file %s is %s after the first take-off and %s after the second", quoted(name), workspaceMode(x.Letter), workspaceMode(y.Letter)), nil
		case x.Digest == y.Digest:
			continue
		}
		d, err := filesDiffer(one.dir, two.dir, x)
		return fmt.Sprintf("file %s: %s", quoted(name), d), err
	}
	return "", nil
}

func filesDiffer(one, two string, f workspace.File) (string, error) {
	name := filepath.FromSlash(f.Path)
	if f.Letter != workspace.Link {
		return bodiesDiffer(filepath.Join(one, name), filepath.Join(two, name))
	}
	x, err := os.Readlink(filepath.Join(one, name))
	if err != nil {
		return "", err
	}
	y, err := os.Readlink(filepath.Join(two, name))
	if err != nil {
		return "", err
	}
	return difference(strings.NewReader(x), strings.NewReader(y)), nil
}

// searchWritten searches what a take-off wrote for the time and for what only this
// machine has. What stands in the plan is planned.
func (b *bench) searchWritten(f flown) ([]hit, error) {
	given, err := b.given()
	if err != nil {
		return nil, err
	}
	for _, a := range b.first.withRole(protocol.RoleEvidence, protocol.RoleState) {
		texts, err := b.first.texts(a)
		if err != nil {
			return nil, err
		}
		for _, t := range texts {
			given.texts = append(given.texts, text{data: lowered(t.data)})
		}
	}
	var texts []text
	is := byPath(f.after)
	for _, name := range changedPaths(f.before, f.after) {
		file, there := is[name]
		if !there || file.Letter == workspace.Link || file.Size > limits.CheckSearch {
			continue
		}
		data, err := readSome(filepath.Join(f.dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		texts = append(texts, text{"file " + quoted(name), data})
	}
	facts := b.machine()
	if !b.o.FixedClock {
		facts = append(facts, timeFacts(f.began, f.ended)...)
	}
	facts = append(facts, fact{name: "where the workspace lies outside of the sandbox", forms: []string{f.dir}})
	return search(texts, facts, given), nil
}
