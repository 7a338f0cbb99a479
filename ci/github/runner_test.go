package github

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
)

func TestRunner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := map[string]string{
		"GITHUB_OUTPUT": filepath.Join(dir, "out"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary"),
		"INPUT_WORKING-DIRECTORY": " sub dir ", "INPUT_FAIL_ON": "x",
	}
	var log bytes.Buffer
	r := NewRunner(env, &log)
	if got := r.Input("working-directory"); got != "sub dir" {
		t.Errorf("input %q", got)
	}
	if got := r.Input("none"); got != "" {
		t.Errorf("input %q", got)
	}
	must(t, r.Output("decision", "allow"))
	must(t, r.Output("report", "two\nlines"))
	must(t, r.Summary([]byte("# one")))
	must(t, r.Summary([]byte("# two")))
	if got := outputs(t, env["GITHUB_OUTPUT"]); got["decision"] != "allow" || got["report"] != "two\nlines" || len(got) != 2 {
		t.Errorf("outputs %q", got)
	}
	if data, err := os.ReadFile(env["GITHUB_STEP_SUMMARY"]); err != nil || string(data) != "# one\n# two\n" {
		t.Errorf("summary %q %v", data, err)
	}
	r.Mask("secret\n\n second%line ")
	r.Group("plan\n::error::x")
	r.EndGroup()
	resume := r.StopCommands("a token\n::error::")
	resume()
	r.Annotate(Annotation{Path: "a,b:c.tf", StartLine: 3, Level: "failure", Title: "T", Message: "no\n::error::%s"})
	r.Annotate(Annotation{Level: "warning", Message: "w"})
	r.Annotate(Annotation{Message: "n", StartLine: 2, EndLine: 5, Path: "x"})
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	want := []string{
		"::add-mask::secret", "::add-mask::second%25line", "::group::plan ::error::x", "::endgroup::",
		lines[4], "::" + strings.TrimPrefix(lines[4], "::stop-commands::") + "::",
		"::error endLine=3,file=a%2Cb%3Ac.tf,line=3,title=T::no%0A::error::%25s", "::warning::w", "::notice endLine=5,file=x,line=2::n",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") || len(lines[4]) != len("::stop-commands::")+64 {
		t.Errorf("log\n%s\nwant\n%s", log.String(), strings.Join(want, "\n"))
	}
}

// outputs reads the file as the runner does.
func outputs(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	out := map[string]string{}
	lines := strings.Split(string(data), "\n")
	for i := 0; i < len(lines)-1; i++ {
		name, end, ok := strings.Cut(lines[i], "<<")
		if !ok {
			t.Fatalf("line %q", lines[i])
		}
		var value []string
		for i++; lines[i] != end; i++ {
			value = append(value, lines[i])
		}
		out[name] = strings.Join(value, "\n")
	}
	return out
}

// TestOutputsCannotBeForged writes values that try to end themselves.
func TestOutputsCannotBeForged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	r := NewRunner(map[string]string{"GITHUB_OUTPUT": path}, &bytes.Buffer{})
	evil := "x\n_GitHubActionsFileCommandDelimeter_\ndecision<<E\nallow\nE\n"
	must(t, r.Output("report", evil))
	if got := outputs(t, path); len(got) != 1 || got["report"] != evil {
		t.Errorf("outputs %q", got)
	}
	for _, name := range []string{"", "a b", "a\nb", "a<<b", "a=b", "1a"} {
		wants(t, r.Output(name, "x"), "runner_output", 1)
	}
	wants(t, r.Output("big", strings.Repeat("x", limits.GitHubOutput+1)), "runner_output", 1)
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no") }

func TestRunnerThatCannotWrite(t *testing.T) {
	t.Parallel()
	r := NewRunner(map[string]string{"GITHUB_OUTPUT": t.TempDir(), "GITHUB_STEP_SUMMARY": "/nowhere/x"}, broken{})
	wants(t, r.Output("a", "b"), "runner_output", 7)
	wants(t, r.Summary([]byte("x")), "runner_output", 7)
	r.Mask("x")
	r.Group("g")
	r.EndGroup()
	r.Annotate(Annotation{Message: "m"})
	r.StopCommands("t")()
	r = NewRunner(nil, broken{})
	must(t, r.Output("a", "b"))
	must(t, r.Summary([]byte("x")))
}

func TestSummaryIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "summary")
	r := NewRunner(map[string]string{"GITHUB_STEP_SUMMARY": path}, &bytes.Buffer{})
	must(t, r.Summary(bytes.Repeat([]byte("é"), limits.GitHubSummary/2-8)))
	must(t, r.Summary([]byte("0123456789abcd")))
	wants(t, r.Summary([]byte("x")), "forge_too_long", 1)
	if info, err := os.Stat(path); err != nil || info.Size() > limits.GitHubSummary {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}
