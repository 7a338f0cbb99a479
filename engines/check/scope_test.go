//go:build unix

package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/patch"
	"github.com/cabincrew/action/internal/workspace"
)

// patching makes the good engine's evidence a patch that writes 1.5.0 into VERSION.
func patching(t *testing.T, replace ...string) string {
	t.Helper()
	const applyLine = `echo 1.5.0 >"$CABINCREW_WORKSPACE/VERSION"`
	pairs := append([]string{
		"evidence", `printf -- 'diff --git a/VERSION b/VERSION\nindex 9df886c..bc80560 100644\n--- a/VERSION\n+++ b/VERSION\n@@ -1 +1 @@\n-1.4.2\n+1.5.0\n' >notes/body.data; old=sha256:$(digest "$CABINCREW_WORKSPACE/VERSION"); new=sha256:$(echo 1.5.0 | sha256sum | cut -d' ' -f1)`,
		"description", `printf '{"artifact_type":"patch","action":"change","mime":"text/x-diff","body_file":"body.data","metadata":{"state":"%s","files":[{"op":"modify","old_path":"VERSION","new_path":"VERSION","old_mode":"100644","new_mode":"100644","before":"%s","after":"%s","added":1,"deleted":1,"binary":false}]}}' "$(digest saved/body.data)" "$old" "$new" >notes/artifact.json`,
		"apply", applyLine,
	}, replace...)
	if i := slices.Index(pairs[6:], "apply"); i >= 0 {
		pairs = slices.Delete(pairs, 4, 6) // it is replaced itself
	}
	return bad(t, pairs...)
}

// TestTakeOffBesideThePlan holds engines that do in take-off what they did not plan.
func TestTakeOffBesideThePlan(t *testing.T) {
	t.Parallel()
	more := func(name string) []string {
		return []string{"applied", `echo "* @me" >"$CABINCREW_WORKSPACE/` + name + `"`}
	}
	for name, c := range map[string]struct {
		patch  bool
		with   []string
		status Status
		want   string
	}{
		"as patched":         {true, nil, Pass, "exactly what the patches say"},
		"a file more":        {true, more("CODEOWNERS"), Fail, "take-off changed CODEOWNERS, which no patch of the plan does"},
		"removes":            {true, []string{"applied", `rm "$CABINCREW_WORKSPACE/LICENSE"`}, Fail, "take-off changed LICENSE"},
		"many":               {true, []string{"applied", `cd "$CABINCREW_WORKSPACE"; touch a b c d e f g`}, Fail, "take-off changed a, b, c, d, e, and 2 more"},
		"other bytes":        {true, []string{"apply", `echo 6.6.6 >"$CABINCREW_WORKSPACE/VERSION"`}, Fail, "after take-off VERSION is not what the patch makes of it"},
		"another mode":       {true, []string{"applied", `chmod +x "$CABINCREW_WORKSPACE/VERSION"`}, Fail, "it is an executable file, "},
		"nothing":            {true, []string{"apply", ""}, Fail, "after take-off VERSION is not what the patch makes of it"},
		"gone":               {true, []string{"apply", `rm "$CABINCREW_WORKSPACE/VERSION"`}, Fail, "after take-off VERSION is not there"},
		"target":             {false, nil, Pass, "the artifacts name each file"},
		"unnamed":            {false, more("CODEOWNERS"), Warn, "no artifact names CODEOWNERS, which take-off wrote"},
		"part of a name":     {false, append(more("er"), "evidence", "echo renewed new/er >notes/body.data"), Warn, "no artifact names er,"},
		"named in the body":  {false, append(more("docs/CODEOWNERS"), "evidence", "echo will write ./docs/CODEOWNERS. >notes/body.data"), Pass, "the artifacts name each file"},
		"name to be escaped": {false, append(more(`a \\\"b\\\"`), "evidence", `echo '{"name":"a \"b\""}' >notes/body.data`), Pass, "the artifacts name each file"},
		"no file":            {false, []string{"apply", ""}, Pass, "it changed nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			write := bad
			if c.patch {
				write = patching
			}
			r := newRig(t, best().Isolation.Tier, write(t, c.with...), TakeOffScope, TakeOff)
			got := r.result(r.run(), TakeOffScope)
			if got.Status != c.status || !strings.Contains(got.Detail, c.want) || (got.Remedy != "") != (c.status != Pass) {
				t.Errorf("%+v, want %s %q", got, c.status, c.want)
			}
		})
	}
}

// TestPatchThatIsNone: a flight would refuse it.
func TestPatchThatIsNone(t *testing.T) {
	t.Parallel()
	for name, with := range map[string][]string{
		"nonsense": {"planned", "echo nonsense >notes/body.data; artifacts=$(echo \"$artifacts\" | sed 's/path\":\"notes\",\"hash\":\"[0-9a-f]*/path\":\"notes\",\"hash\":\"'$(digest notes/body.data)'/')"},
		"no list":  {"planned", `sed -i 's/"files":\[.*\]/"files":[]/' notes/artifact.json`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sandbox.TierC, patching(t, with...), PlanArtifacts, TakeOff)
			report := r.run()
			if got := r.result(report, PlanArtifacts); got.Status != Fail || !strings.HasPrefix(got.Detail, "artifact notes is no valid patch: ") {
				t.Errorf("%+v", got)
			}
			if got := r.result(report, TakeOffScope); got.Status != Skip {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestTakeOffThatComputesAgain holds engines whose take-off depends on more than
// the plan.
func TestTakeOffThatComputesAgain(t *testing.T) {
	t.Parallel()
	into := func(command string) string {
		return `{ cat saved/body.data; ` + command + `; } >"$CABINCREW_WORKSPACE/VERSION"`
	}
	for name, c := range map[string]struct{ apply, want, culprit string }{
		"local date":  {into("date +%F"), "file VERSION: byte ", "it depends on the time zone"},
		"date":        {into("date -u +%F"), `file VERSION, byte 12: "` + time.Now().UTC().Format(time.DateOnly) + `" is when it was made`, ""},
		"year":        {into("date +%Y"), "is the year in which it was made", ""},
		"boot id":     {into("cat /proc/sys/kernel/random/boot_id"), "file VERSION, byte 12: \"" + thisHost().BootID + `" is the boot id of this machine`, ""},
		"locale":      {into(`echo "${LC_ALL-none}"`), "file VERSION: byte 12 is \"n\" in the first run and \"d\" in the second", "it depends on the locale"},
		"chance":      {into("head -c 8 /dev/urandom"), "file VERSION: byte 1", "two runs in equal surroundings differ already"},
		"fails":       {into(`[ "$TZ" = UTC ] || fail "no zone"`), `the second run failed: the engine ended with exit code 2 (validation failure); its log ends with "no zone"`, "it depends on the time zone"},
		"only a mode": {into(`(cd "$CABINCREW_WORKSPACE" && touch made && ls -l made >&2)`), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "boot id" && thisHost().BootID == "" {
				t.Skip("this machine has no boot id")
			}
			r := newRig(t, best().Isolation.Tier, bad(t, "apply", c.apply), TakeOffRepeat, TakeOff)
			got := r.result(r.run(), TakeOffRepeat)
			if c.want == "" {
				if got.Status != Pass || !strings.HasPrefix(got.Detail, "the files are the same, byte for byte; not varied: the clock beyond a second") {
					t.Errorf("%+v", got)
				}
				return
			}
			lines := strings.Split(got.Detail, "\n")
			if got.Status != Fail || !strings.Contains(got.Detail, c.want) || !strings.HasPrefix(lines[len(lines)-1], c.culprit) || got.Remedy == "" {
				t.Errorf("%+v, want %q and %q", got, c.want, c.culprit)
			}
		})
	}
}

// TestTreesThatDiffer names the first file that differs, and how.
func TestTreesThatDiffer(t *testing.T) {
	t.Parallel()
	tree := func(files map[string]string) flown {
		f := flown{dir: t.TempDir()}
		for name, content := range files {
			at := filepath.Join(f.dir, name)
			var err error
			switch target, isLink := strings.CutPrefix(content, "-> "); {
			case isLink:
				err = os.Symlink(target, at)
			case strings.HasPrefix(content, "#!"):
				err = os.WriteFile(at, []byte(content), 0o700)
			default:
				err = os.WriteFile(at, []byte(content), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if f.after, err = scan(t.Context(), f.dir); err != nil {
			t.Fatal(err)
		}
		return f
	}
	one := tree(map[string]string{"a": "1", "b": "2", "c": "-> C"})
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"same":   {map[string]string{"a": "1", "b": "2", "c": "-> C"}, ""},
		"more":   {map[string]string{"a": "1", "aa": "", "b": "2", "c": "-> C"}, "file aa is there after the second take-off only"},
		"less":   {map[string]string{"a": "1", "c": "-> C"}, "file b is there after the first take-off only"},
		"bytes":  {map[string]string{"a": "1", "b": "23", "c": "-> D"}, "file b: byte 1 is the end in the first run and \"3\" in the second"},
		"link":   {map[string]string{"a": "1", "b": "2", "c": "-> D"}, "file c: byte 0 is \"C\" in the first run and \"D\" in the second"},
		"kind":   {map[string]string{"a": "-> 1", "b": "2", "c": "-> C"}, "file a is a file after the first take-off and a link after the second"},
		"script": {map[string]string{"a": "#!", "b": "2", "c": "-> C"}, "file a is a file after the first take-off and an executable file after the second"},
	} {
		if got, err := compareTrees(one, tree(c.files)); err != nil || !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}

// TestPlannedTimeIsPlanned: a time that stands in the plan may be written.
func TestPlannedTimeIsPlanned(t *testing.T) {
	t.Parallel()
	r := newRig(t, best().Isolation.Tier, bad(t, "state", "date -u +%F >saved/body.data"), TakeOffRepeat, TakeOff)
	if got := r.result(r.run(), TakeOffRepeat); got.Status != Pass {
		t.Errorf("%+v", got)
	}
}

func TestDiffers(t *testing.T) {
	t.Parallel()
	file := func(name, digest string) workspace.File {
		return workspace.File{Path: name, Letter: workspace.Regular, Digest: digest}
	}
	files := func(list ...workspace.File) []workspace.File { return list }
	before := files(file("a", "1"), file("b", "2"))
	rename := patch.File{Op: patch.Rename, OldPath: "a", NewPath: "c", NewMode: patch.ModeFile, After: "1"}
	link := patch.File{Op: patch.Add, NewPath: "l", NewMode: patch.ModeLink, After: "3"}
	swap := []patch.File{{Op: patch.Rename, OldPath: "a", NewPath: "b", NewMode: patch.ModeFile, After: "1"}, {Op: patch.Rename, OldPath: "b", NewPath: "a", NewMode: patch.ModeExecutable, After: "2"}}
	for name, c := range map[string]struct {
		after   []workspace.File
		patches []patch.File
		want    string
	}{
		"renamed":    {files(file("b", "2"), file("c", "1")), []patch.File{rename}, ""},
		"copied":     {files(file("a", "1"), file("b", "2"), file("c", "1")), []patch.File{rename}, "after take-off a is still there, and the patch removes it"},
		"not moved":  {before, []patch.File{rename}, "after take-off a is still there, and the patch removes it"},
		"linked":     {append(files(workspace.File{Path: "l", Letter: workspace.Link, Digest: "3"}), before...), []patch.File{link}, ""},
		"not linked": {append(files(file("l", "3")), before...), []patch.File{link}, "after take-off l is not what the patch makes of it: it is a file, 3, and should be a link, 3"},
		"swapped":    {files(workspace.File{Path: "a", Letter: workspace.Executable, Digest: "2"}, file("b", "1")), swap, ""},
		"beside":     {files(file("b", "9"), file("c", "8")), []patch.File{rename}, "take-off changed b, which no patch of the plan does"},
	} {
		if got := differs(flown{before: before, after: c.after}, c.patches); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func FuzzIsPathIn(f *testing.F) {
	f.Add([]byte("a ./b. c/b"), "b")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		if isPathIn(data, name) && !strings.Contains(string(data), name) {
			t.Fatalf("%q in %q", name, data)
		}
	})
}
