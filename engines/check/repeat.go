package check

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/protocol"
)

// variation is one thing that differs around the second flight-plan.
type variation struct {
	name  string
	apply func(t *trial, copied *surroundings)
}

// variations lists what differs. Time has passed as well.
func (b *bench) variations() []variation {
	env := func(pairs ...string) func(*trial, *surroundings) {
		return func(t *trial, _ *surroundings) {
			for i := 0; i < len(pairs); i += 2 {
				t.stage.Env[pairs[i]] = pairs[i+1]
			}
		}
	}
	list := []variation{
		{"the time zone", env("TZ", zone(b.o.Now()))},
		{"the locale", env("LANG", "de_DE.UTF-8", "LC_ALL", "de_DE.UTF-8", "LANGUAGE", "de")},
		{"HOME", func(t *trial, _ *surroundings) { t.stage.Home = true }},
		{"user and host in the environment", env("USER", "somebody", "LOGNAME", "somebody", "HOSTNAME", "elsewhere")},
		{"the umask", func(t *trial, _ *surroundings) { mask := 0o077; t.stage.Umask = &mask }},
		{"the order of the environment", func(t *trial, _ *surroundings) { t.stage.Reverse = true }},
		{"workflow_id", func(t *trial, _ *surroundings) { t.workflow = "engine-check-2" }},
		{"the files' order and inodes", func(_ *trial, s *surroundings) { s.backwards = true }},
		{"the files' times", func(_ *trial, s *surroundings) { s.modified = long(1) }},
	}
	if processors() {
		list = append(list, variation{"the number of processors", func(t *trial, _ *surroundings) { t.stage.OneCPU = true }})
	}
	if b.o.Faketime != "" {
		list = append(list, variation{"the clock", env("LD_PRELOAD", b.o.Faketime, "FAKETIME", "+500d", "FAKETIME_DONT_FAKE_MONOTONIC", "1", "FAKETIME_DISABLE_SHM", "1")})
	}
	return list
}

// zone is a time zone in which it is another day than in UTC, spelled so that it
// works without a data base where there is none.
func zone(now time.Time) string {
	const noon = 10 // from this hour on it is the next day 14 hours further east
	far, spelled := "Pacific/Kiritimati", "CHK-14"
	if now.UTC().Hour() < noon {
		far, spelled = "Etc/GMT+12", "CHK12"
	}
	if _, err := os.Stat("/usr/share/zoneinfo/" + far); err != nil {
		return spelled
	}
	return far
}

// repeat makes the flight-plan again, in other surroundings, and compares.
func (b *bench) repeat(ctx context.Context) error {
	if !b.ok {
		b.skip("there is no plan to compare with", PlanRepeat, PlanClock, PlanMachine)
		return nil
	}
	if b.begin(PlanRepeat) {
		if err := b.repeatPlan(ctx); err != nil {
			return err
		}
		b.repeated = true
	}
	if b.begin(PlanClock) {
		if err := b.judgeClock(); err != nil {
			return err
		}
	}
	if b.begin(PlanMachine) {
		return b.judgeMachine()
	}
	return nil
}

func (b *bench) repeatPlan(ctx context.Context) error {
	if err := b.nextSecond(ctx, b.ended); err != nil {
		return err
	}
	var reordered bool
	again := func(ctx context.Context, list []variation) (wrong string, err error) {
		reordered, wrong, err = b.again(ctx, list)
		return wrong, err
	}
	wrong, err := b.compared(ctx, again)
	if err != nil {
		return err
	}
	if wrong != "" {
		b.addf(PlanRepeat, Fail, "%s", wrong)
		return nil
	}
	detail := "the evidence is the same, byte for byte"
	if len(b.first.withRole(protocol.RoleState, protocol.RoleLog)) > 0 {
		detail += ", state and log are exempt"
	}
	b.addf(PlanRepeat, Pass, "%s; not varied: %s", detail, b.unvaried(reordered))
	return nil
}

// nextSecond waits until the second after a moment: an engine that writes the second
// into its results is to show it.
func (b *bench) nextSecond(ctx context.Context, after time.Time) error {
	next := after.Truncate(time.Second).Add(time.Second + 10*time.Millisecond)
	return b.o.Wait(ctx, next.Sub(b.o.Now()))
}

// compared makes a run again with all variations, and where its results differ says
// how and which variations are to blame.
func (b *bench) compared(ctx context.Context, again func(context.Context, []variation) (string, error)) (string, error) {
	all := b.variations()
	wrong, err := again(ctx, all)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(wrong, secondFailed) && b.o.Faketime != "" {
		// Some programs do not work with the library. That is not their fault.
		b.o.Faketime = ""
		all = b.variations()
		if wrong, err = again(ctx, all); err != nil {
			return "", err
		}
	}
	if wrong == "" {
		return "", nil
	}
	culprits, err := b.culprits(ctx, all, again)
	return wrong + "\n" + culprits, err
}

const secondFailed = "the second run failed: "

// unvaried says honestly what did not differ.
func (b *bench) unvaried(reordered bool) string {
	var same []string
	switch {
	case b.o.FixedClock:
	case b.o.Faketime == "":
		same = append(same, "the clock beyond a second and the time zone's day (libfaketime is not installed)")
	case !preloads(b.o.Argv[0]):
		same = append(same, "the clock beyond a second and the time zone's day (libfaketime does not reach Go or static programs)")
	}
	if !reordered {
		same = append(same, "the order of files (this file system has only one)")
	}
	if !processors() {
		same = append(same, "the number of processors (there is only one)")
	}
	same = append(same, "kernel and memory")
	if b.o.Hold.Tier == sandbox.TierA {
		return strings.Join(append(same, "hostname and paths (the sandbox fixes them)"), ", ")
	}
	return strings.Join(append(same, "the hostname"), ", ")
}

// differently prepares a run with variations: how it is started, and its workspace.
// remove undoes what dir would not.
func (b *bench) differently(ctx context.Context, t *trial, list []variation, modified time.Time) (reordered bool, remove func(), err error) {
	s := surroundings{modified: modified}
	t.stage = &stage{Env: map[string]string{}}
	for _, v := range list {
		v.apply(t, &s)
	}
	if s.backwards {
		t.workspace, reordered, remove, err = b.reordered(ctx, s)
		return reordered, remove, err
	}
	t.workspace, err = b.copyWorkspace(ctx, s)
	return false, func() {}, err
}

// again makes a flight-plan with variations and compares it with the first one.
func (b *bench) again(ctx context.Context, list []variation) (reordered bool, wrong string, err error) {
	t := trial{name: "the second flight-plan", mode: protocol.FlightPlan, workflow: "engine-check-1"}
	reordered, remove, err := b.differently(ctx, &t, list, long(0))
	defer remove()
	if err != nil {
		return reordered, "", err
	}
	out, err := b.run(ctx, t)
	if err != nil {
		return reordered, "", err
	}
	if out.err != nil {
		return reordered, secondFailed + reason(out.err) + out.log.said(), nil
	}
	second, failed, err := b.collect(ctx, out)
	if err != nil {
		return reordered, "", err
	}
	if failed != nil {
		return reordered, "the artifacts of the second flight-plan: " + reason(failed), nil
	}
	wrong, err = compare(b.first, second)
	return reordered, wrong, err
}

// culprits makes a run with one variation at a time, to name those that make a
// difference.
func (b *bench) culprits(ctx context.Context, all []variation, again func(context.Context, []variation) (string, error)) (string, error) {
	wrong, err := again(ctx, nil)
	if err != nil {
		return "", err
	}
	if wrong != "" {
		paths := ""
		if b.o.Hold.Tier != sandbox.TierA {
			paths = "on paths, "
		}
		return "two runs in equal surroundings differ already: it depends on the time, " + paths + "on chance, or on what runs at once", nil
	}
	var names []string
	for _, v := range all {
		wrong, err := again(ctx, []variation{v})
		if err != nil {
			return "", err
		}
		if wrong != "" {
			names = append(names, v.name)
		}
	}
	if len(names) == 0 {
		return "no single change of the surroundings makes a difference, several together do", nil
	}
	return "it depends on " + strings.Join(names, ", "), nil
}

// reordered copies the workspace backwards, to where a directory lists its files
// in another order than that of the first run. remove undoes what dir would not.
func (b *bench) reordered(ctx context.Context, s surroundings) (at string, different bool, remove func(), err error) {
	remove = func() {}
	at, err = b.copyWorkspace(ctx, s)
	if err != nil {
		return at, false, remove, err
	}
	before, err := orders(b.bound)
	if err != nil {
		return at, false, remove, err
	}
	now, err := orders(at)
	if err != nil || !slices.Equal(before, now) {
		return at, err == nil, remove, err
	}
	// A file system that sorts by a hash of the name lists both alike. One in memory
	// lists files as they were made.
	s.parent = sharedMemory(b.files)
	if s.parent == "" {
		return at, false, remove, nil
	}
	memory, err := b.copyWorkspace(ctx, s)
	if memory != "" {
		remove = func() { _ = os.RemoveAll(memory) } // nothing of worth is in it
	}
	if err != nil {
		return at, false, remove, nil //nolint:nilerr // the copy on disk is as good but for the order
	}
	if now, err = orders(memory); err != nil || slices.Equal(before, now) {
		return at, false, remove, err
	}
	return memory, true, remove, nil
}

// orders gives the names of each directory as the file system lists them.
func orders(dir string) ([]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read
	var out []string
	for queue := []string{"."}; len(queue) > 0; queue = queue[1:] {
		d, err := root.Open(queue[0])
		if err != nil {
			return nil, err
		}
		entries, err := d.ReadDir(-1)
		if err := errors.Join(err, d.Close()); err != nil {
			return nil, err
		}
		out = append(out, queue[0]+":")
		var below []string
		for _, e := range entries {
			out = append(out, e.Name())
			if e.IsDir() {
				below = append(below, queue[0]+"/"+e.Name())
			}
		}
		slices.Sort(below) // so that only the order within directories counts
		queue = append(queue, below...)
	}
	return out, nil
}

// compare says where the evidence of two plans differs, "" where it does not.
func compare(first, second plan) (string, error) {
	one, two := first.artifacts, second.artifacts
	for i := range max(len(one), len(two)) {
		switch {
		case i >= len(one) || i < len(two) && two[i].Name < one[i].Name:
			return fmt.Sprintf("artifact %s is in the second plan only", two[i].Name), nil
		case i >= len(two) || one[i].Name < two[i].Name:
			return fmt.Sprintf("artifact %s is in the first plan only", one[i].Name), nil
		case one[i].Role != two[i].Role:
			return fmt.Sprintf("artifact %s is %s in the first plan and %s in the second", one[i].Name, one[i].Role, two[i].Role), nil
		case one[i].Role != protocol.RoleEvidence:
			continue
		}
		if d := difference(bytes.NewReader(one[i].Raw), bytes.NewReader(two[i].Raw)); d != "" {
			return fmt.Sprintf("artifact %s, artifact.json: %s", one[i].Name, d), nil
		}
		if one[i].BodyDigest == two[i].BodyDigest {
			continue
		}
		d, err := bodiesDiffer(first.body(one[i]), second.body(two[i]))
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("artifact %s, %s: %s", one[i].Name, quoted(one[i].Description.BodyFile), d), nil
	}
	return "", nil
}

func bodiesDiffer(first, second string) (string, error) {
	one, err := os.Open(first) //nolint:gosec // our own copy
	if err != nil {
		return "", err
	}
	defer func() { _ = one.Close() }() // only read
	two, err := os.Open(second)        //nolint:gosec // as above
	if err != nil {
		return "", err
	}
	defer func() { _ = two.Close() }() // only read
	return difference(one, two), nil
}

// around is how many bytes before and after the first differing one are shown.
const around = 20

// difference describes the first byte in which two streams differ, "" for none.
func difference(first, second io.Reader) string {
	one, two := bufio.NewReader(first), bufio.NewReader(second)
	var before []byte
	for offset := int64(0); ; offset++ {
		x, err1 := one.ReadByte()
		y, err2 := two.ReadByte()
		if err1 != nil && err2 != nil {
			return ""
		}
		if err1 == nil && err2 == nil && x == y {
			if before = append(before, x); len(before) > around {
				before = before[1:]
			}
			continue
		}
		return fmt.Sprintf("byte %d is %s in the first run and %s in the second\nfirst:  %s\nsecond: %s",
			offset, shown(x, err1), shown(y, err2), excerpt(before, x, err1, one), excerpt(before, y, err2, two))
	}
}

func shown(b byte, err error) string {
	if err != nil {
		return "the end"
	}
	return fmt.Sprintf("%q", []byte{b})
}

// excerpt shows some bytes around a place, marked by » and «.
func excerpt(before []byte, at byte, err error, rest io.Reader) string {
	if err != nil {
		return fmt.Sprintf("%q»the end«", before)
	}
	after := make([]byte, around)
	n, _ := io.ReadFull(rest, after) // what is there is shown
	return fmt.Sprintf("%q»%q«%q", before, []byte{at}, after[:n])
}
