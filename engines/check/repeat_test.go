//go:build unix

package check

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/engines"
	"github.com/cabincrew/action/engines/sandbox"
)

// TestEvidenceThatDepends holds one bad engine for each thing that varies, and sees
// the kit name just that.
func TestEvidenceThatDepends(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		line string // makes the evidence
		want string // culprits
		diff string // in the detail
	}{
		"all at once": {
			`{ date -d @1700000000 +%H; echo "${LC_ALL-none}"; basename "$HOME"; echo "${USER-none}"; umask; grep -o 'engine-check-[0-9]' "$CABINCREW_INPUT_FILE"; tr '\0' '\n' </proc/$$/environ | cut -d= -f1 | grep '^[CP]' | head -1; stat -c %Y "$CABINCREW_WORKSPACE/VERSION"; } >notes/body.data`,
			"the time zone, the locale, HOME, user and host in the environment, the umask, the order of the environment, workflow_id, the files' times",
			"artifact notes, body.data: byte 0 is \"2\" in the first run and \"1\" in the second\nfirst:  \"\"»\"2\"«\"2\\nnone\\nhome\\nnone\\n002\"\nsecond: \"\"»\"1\"«\"2\\nde_DE.UTF-8\\nelsewh\"",
		},
		"length": {`[ "$TZ" = UTC ] && echo longer >notes/body.data || printf long >notes/body.data`, "the time zone", "byte 4 is \"e\" in the first run and the end in the second"},
		"fails":  {`[ "$TZ" = UTC ] || fail "no zone"`, "the time zone", "the second run failed: the engine ended with exit code 2"},
		"chance": {`head -c 8 /dev/urandom >notes/body.data`, "two runs in equal surroundings differ already", "byte 0"},
		"two":    {`[ "${HOME##*/}" = home ] || [ "$LANG" = C.UTF-8 ] || echo both >notes/body.data`, "no single change", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sandbox.TierC, bad(t, "state", "printf x >saved/body.data; cp \"$CABINCREW_WORKSPACE/VERSION\" notes/body.data; "+c.line), PlanRepeat)
			r.o.Now = noon()
			got := r.result(r.run(), PlanRepeat)
			want := "it depends on " + c.want
			if strings.Contains(c.want, " surroundings ") || strings.HasPrefix(c.want, "no single") {
				want = c.want
			}
			lines := strings.Split(got.Detail, "\n")
			if got.Status != Fail || !strings.HasPrefix(lines[len(lines)-1], want) || !strings.Contains(got.Detail, c.diff) {
				t.Errorf("%s: %s\nwant %q and %q", got.Status, got.Detail, want, c.diff)
			}
			if strings.HasPrefix(want, "it depends") && lines[len(lines)-1] != want {
				t.Errorf("further culprits: %s", lines[len(lines)-1])
			}
		})
	}
}

// TestStateMayDiffer: only evidence has to be the same.
func TestStateMayDiffer(t *testing.T) {
	t.Parallel()
	r := newRig(t, best().Isolation.Tier, bad(t,
		"state", "head -c 8 /dev/urandom >saved/body.data",
		"description", `echo '{"artifact_type":"report","action":"none","mime":"text/plain","body_file":"body.data"}' >notes/artifact.json`), PlanRepeat)
	if got := r.result(r.run(), PlanRepeat); got.Status != Pass || !strings.Contains(got.Detail, "state and log are exempt") {
		t.Errorf("%+v", got)
	}
}

// TestOrderOfFiles: an engine that takes files as they come is found where this
// machine can list them in another order.
func TestOrderOfFiles(t *testing.T) {
	t.Parallel()
	for name, temp := range map[string]string{"on disk": t.TempDir(), "in memory": ""} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, best().Isolation.Tier, bad(t, "evidence", `ls -U "$CABINCREW_WORKSPACE" >notes/body.data`), PlanRepeat)
			if temp != "" {
				r.o.Temp = temp
			}
			got := r.result(r.run(), PlanRepeat)
			if got.Status == Pass && strings.Contains(got.Detail, "the order of files") {
				t.Skip("this file system lists files in one order only")
			}
			if got.Status != Fail || !strings.HasSuffix(got.Detail, "it depends on the files' order and inodes") {
				t.Errorf("%+v", got)
			}
		})
	}
	left, err := filepath.Glob("/dev/shm/cabincrew-check-*/engine.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if data, err := os.ReadFile(name); err == nil && strings.Contains(string(data), "ls -U ") {
			t.Errorf("%s was left", name)
		}
	}
}

// TestSeconds: time that passes is found even by the second.
func TestSeconds(t *testing.T) {
	t.Parallel()
	r := newRig(t, best().Isolation.Tier, bad(t, "evidence", "date +%S >notes/body.data"), PlanRepeat)
	r.realWait()
	if got := r.result(r.run(), PlanRepeat); got.Status != Fail || !strings.Contains(got.Detail, "the time") {
		t.Errorf("%+v", got)
	}
}

// TestTimeInEvidence: the date, which a second run does not show, is found; what
// the engine only copied is not.
func TestTimeInEvidence(t *testing.T) {
	t.Parallel()
	today := time.Now().UTC().Format(time.DateOnly)
	workspace := t.TempDir()
	if err := os.WriteFile(filepath.Join(workspace, "VERSION"), []byte("1.0 of "+today+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		line      string
		workspace string
		want      Status
	}{
		"date":        {"date +%F >notes/body.data", "", Fail},
		"german":      {"date +%d.%m.%Y >notes/body.data", "", Fail},
		"in words":    {"LC_ALL=C date '+%d %b %Y' >notes/body.data", "", Fail},
		"seconds":     {"date +%s%N >notes/body.data", "", Fail},
		"time of day": {"echo at $(date +%T) >notes/body.data", "", Fail},
		"described":   {`cp "$CABINCREW_WORKSPACE/VERSION" notes/body.data; on=$(date +%Y%m%d)`, "", Fail},
		"year":        {"echo © $(date +%Y) >notes/body.data", "", Fail},
		"month":       {"date +%Y%m >notes/body.data", "", Fail},
		"ISO week":    {"date +%G-W%V >notes/body.data", "", Fail},
		"ordinal":     {"date +%Y%j >notes/body.data", "", Fail},
		"day of year": {"echo built on $(date +%j) >notes/body.data; echo day $(date +%-j) >>notes/body.data", "", Warn},
		"week":        {"date +%V >notes/body.data", "", Warn},
		"week's name": {"echo {\\\"week\\\": $(date +%U)} >notes/body.data", "", Warn},
		"copied":      {`cp "$CABINCREW_WORKSPACE/VERSION" notes/body.data`, workspace, Skip},
		"long ago":    {"echo 2001-02-03 >notes/body.data", "", Skip},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := bad(t, "evidence", c.line)
			if name == "described" {
				script = strings.Replace(script, `"metadata":{`, `"metadata":{"on":"'$on'",`, 1)
			}
			r := newRig(t, best().Isolation.Tier, script, PlanClock)
			r.o.Workspace = c.workspace
			if got := r.result(r.run(), PlanClock); got.Status != c.want || (got.Status != Skip) != (strings.HasPrefix(got.Detail, "artifact notes, ") && strings.Contains(got.Detail, ", byte ")) || (got.Remedy != "") != (got.Status != Skip) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestConfigIsNoClock: a date among the settings is none of the engine's.
func TestConfigIsNoClock(t *testing.T) {
	t.Parallel()
	r := newRig(t, best().Isolation.Tier, bad(t, "evidence", `grep -o '20[0-9-]*' "$CABINCREW_INPUT_FILE" | head -1 >notes/body.data`), PlanClock)
	r.o.Config = map[string]any{"since": time.Now().UTC().Format(time.DateOnly)}
	if got := r.result(r.run(), PlanClock); got.Status != Skip {
		t.Errorf("%+v", got)
	}
}

// TestOtherClock stands in for libfaketime with a library of its own.
func TestOtherClock(t *testing.T) {
	t.Parallel()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("there is no gcc to build a library with:", err)
	}
	dir := t.TempDir()
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, []byte(`#include <time.h>
int clock_gettime(clockid_t c, struct timespec *t) { t->tv_sec = 1000000000; t->tv_nsec = 0; return 0; }
time_t time(time_t *t) { if (t) *t = 1000000000; return 1000000000; }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Skipf("gcc builds no library: %v\n%s", err, out)
	}
	r := newRig(t, sandbox.TierC, bad(t, "evidence", "date +%Y >notes/body.data"), PlanRepeat)
	r.o.Faketime = library
	if got := r.result(r.run(), PlanRepeat); got.Status != Fail || !strings.HasSuffix(got.Detail, "it depends on the clock") || !strings.Contains(got.Detail, `»"0"«"1\n"`) {
		t.Errorf("%+v", got)
	}
	r = newRig(t, sandbox.TierC, good, PlanRepeat, PlanClock)
	r.o.Faketime = library
	report := r.run()
	if got := r.result(report, PlanRepeat); got.Status != Pass || strings.Contains(got.Detail, "clock") {
		t.Errorf("%+v", got)
	}
	if got := r.result(report, PlanClock); got.Status != Pass || !strings.Contains(got.Detail, "another in plan-repeat") {
		t.Errorf("%+v", got)
	}
	// A program that does not work with the library is not blamed for it.
	r = newRig(t, sandbox.TierC, bad(t, "planned", `[ -z "${LD_PRELOAD-}" ] || exit 1`), PlanRepeat)
	r.o.Faketime = library
	if got := r.result(r.run(), PlanRepeat); got.Status != Pass || !strings.Contains(got.Detail, "the clock beyond a second") {
		t.Errorf("%+v", got)
	}
}

func TestPreloads(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]bool{self: false, script: preloads("/bin/sh"), "/nowhere": false} {
		if got := preloads(at); got != want {
			t.Errorf("%s: %t", at, got)
		}
	}
}

// TestPaths: without a sandbox, paths differ between the runs.
func TestPaths(t *testing.T) {
	t.Parallel()
	r := newRig(t, sandbox.TierC, bad(t, "evidence", `echo "$CABINCREW_WORKSPACE" >notes/body.data`), PlanRepeat)
	if got := r.result(r.run(), PlanRepeat); got.Status != Fail || !strings.HasSuffix(got.Detail, "it depends on the time, on paths, on chance, or on what runs at once") {
		t.Errorf("%+v", got)
	}
}

func TestArtifactsThatComeAndGo(t *testing.T) {
	t.Parallel()
	artifact := func(name, role, raw string) engines.Artifact {
		return engines.Artifact{Name: name, Role: role, Raw: []byte(raw)}
	}
	notes, saved := artifact("notes", "evidence", "{}"), artifact("saved", "state", "{}")
	for name, c := range map[string]struct {
		one, two []engines.Artifact
		want     string
	}{
		"nothing":     {nil, nil, ""},
		"the same":    {[]engines.Artifact{notes, saved}, []engines.Artifact{notes, saved}, ""},
		"second only": {[]engines.Artifact{saved}, []engines.Artifact{notes, saved}, "artifact notes is in the second plan only"},
		"last":        {[]engines.Artifact{notes}, []engines.Artifact{notes, saved}, "artifact saved is in the second plan only"},
		"first only":  {[]engines.Artifact{notes, saved}, []engines.Artifact{saved}, "artifact notes is in the first plan only"},
		"all gone":    {[]engines.Artifact{notes}, nil, "artifact notes is in the first plan only"},
		"role":        {[]engines.Artifact{saved}, []engines.Artifact{artifact("saved", "log", "{}")}, "artifact saved is state in the first plan and log in the second"},
		"state":       {[]engines.Artifact{saved}, []engines.Artifact{artifact("saved", "state", "[]")}, ""},
		"description": {[]engines.Artifact{notes}, []engines.Artifact{artifact("notes", "evidence", "{ ")}, "artifact notes, artifact.json: byte 1 is \"}\" in the first run and \" \" in the second\nfirst:  \"{\"»\"}\"«\"\"\nsecond: \"{\"»\" \"«\"\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := compare(plan{artifacts: c.one}, plan{artifacts: c.two}); err != nil || got != c.want {
				t.Errorf("%s, %v, want %s", got, err, c.want)
			}
		})
	}
	r := newRig(t, sandbox.TierC, bad(t, "planned", `[ "$TZ" = UTC ] || rm notes/artifact.json`), PlanRepeat)
	if got := r.result(r.run(), PlanRepeat); got.Status != Fail || !strings.HasPrefix(got.Detail, "the artifacts of the second flight-plan: ") {
		t.Errorf("%+v", got)
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct{ one, two, want string }{
		{"", "", ""},
		{long, long, ""},
		{"a", "", "byte 0 is \"a\" in the first run and the end in the second\nfirst:  \"\"»\"a\"«\"\"\nsecond: \"\"»the end«"},
		{long + "1" + long, long + "2", "byte 100000 is \"1\" in the first run and \"2\" in the second\nfirst:  \"" +
			long[:around] + "\"»\"1\"«\"" + long[:around] + "\"\nsecond: \"" + long[:around] + "\"»\"2\"«\"\""},
		{"\x1b[2Ja", "\x1b[2Jb", "byte 4 is \"a\" in the first run and \"b\" in the second\nfirst:  \"\\x1b[2J\"»\"a\"«\"\"\nsecond: \"\\x1b[2J\"»\"b\"«\"\""},
	} {
		if got := difference(strings.NewReader(c.one), strings.NewReader(c.two)); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
}

func FuzzDifference(f *testing.F) {
	f.Add([]byte("a"), []byte("b"))
	f.Add([]byte(strings.Repeat("x", 50)), []byte(strings.Repeat("x", 49)+"\x1b\u202e"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		got := difference(bytes.NewReader(one), bytes.NewReader(two))
		if (got == "") != bytes.Equal(one, two) {
			t.Fatalf("%q for %q and %q", got, one, two)
		}
		if got == "" {
			return
		}
		at := 0
		for at < min(len(one), len(two)) && one[at] == two[at] {
			at++
		}
		if !strings.HasPrefix(got, fmt.Sprintf("byte %d is ", at)) || harmless(strings.ReplaceAll(got, "\n", "")) != strings.ReplaceAll(got, "\n", "") {
			t.Fatalf("%q for %q and %q", got, one, two)
		}
	})
}

func TestTimeForms(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 5, 23, 59, 59, 0, time.UTC)
	forms := timeForms(begin, begin.Add(2*time.Second))
	for _, want := range []string{"2026-11-05", "2026-11-06", "20261105", "05.11.2026", "11/05/2026", "Nov  5 23:59", "5 November 2026", "23:59:58", "00:00:02", "1793923200"} {
		if !slices.Contains(forms, want) {
			t.Errorf("%s is missing in %q", want, forms)
		}
	}
	if forms = timeForms(begin, begin.Add(1000*time.Hour)); len(forms) > 2000 {
		t.Errorf("%d forms", len(forms))
	}
}
