package cli

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	enginecheck "github.com/cabincrew/action/engines/check"
	"github.com/cabincrew/action/engines/process"
	"github.com/cabincrew/action/protocol"
)

// checkEngine runs engine check and gives what it printed.
func checkEngine(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := []string{"PATH=" + process.Path, "HOME=" + t.TempDir(), "CABINCREW_CONFIG=/nowhere.yaml", "CABINCREW_WORKSPACE=/nowhere"}
	code = Main(t.Context(), append([]string{"engine", "check"}, args...), strings.NewReader(""), &out, &errs, env)
	if code == protocol.ExitUnreachable && strings.Contains(errs.String(), "cannot be isolated") {
		t.Skip("this machine cannot isolate engines")
	}
	return code, out.String(), errs.String()
}

// fileOf writes a file into a directory of its own.
func fileOf(t *testing.T, name, content string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(at, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return at
}

func TestEngineCheckBuiltin(t *testing.T) {
	t.Parallel()
	with := fileOf(t, "with.json", `{"run":["sh","-c","echo 2.0.0 > VERSION"]}`)
	code, out, errs := checkEngine(t, "--use", "command", "--with", with)
	if code != 0 || !strings.Contains(out, "PASS  take-off          changed VERSION\n") || !strings.Contains(out, " passed, 0 failed, ") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if !strings.HasPrefix(errs, "engine command, isolation tier ") || !strings.Contains(errs, "checking plan-repeat\n") {
		t.Errorf("progress: %s", errs)
	}
}

// skips leaves out all checks but some.
func skips(but ...string) []string {
	var out []string
	for _, c := range enginecheck.Catalogue() {
		if !strings.Contains(strings.Join(but, " ")+" ", c.ID+" ") {
			out = append(out, "--skip", c.ID)
		}
	}
	return out
}

func TestEngineCheckFormats(t *testing.T) {
	t.Parallel()
	engine := fileOf(t, "silent \x1b[2J.sh", "#!/bin/sh\necho 'bad \033[31mword' >&2\nexit 1\n")
	args := append(skips(enginecheck.PlanReceipt), "--isolation", "none", engine)
	for name, c := range map[string]struct {
		flags []string
		judge func(t *testing.T, out string)
	}{
		"text": {nil, func(t *testing.T, out string) {
			t.Helper()
			clean(t, out)
			if !strings.HasPrefix(out, "FAIL  plan-receipt      the engine ended with exit code 1 (engine failure); its log ends with \"bad \\x1b[31mword\"\n      remedy: ") {
				t.Error(out)
			}
		}},
		"json":        {[]string{"--format", "json"}, judgeJSON},
		"output json": {[]string{"--output", "json"}, judgeJSON},
		"junit": {[]string{"--format", "junit"}, func(t *testing.T, out string) {
			t.Helper()
			var doc struct {
				Suite struct {
					Failures int `xml:"failures,attr"`
				} `xml:"testsuite"`
			}
			if err := xml.Unmarshal([]byte(out), &doc); err != nil || doc.Suite.Failures != 1 {
				t.Errorf("%v\n%s", err, out)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := checkEngine(t, append(c.flags, args...)...)
			if code != protocol.ExitFailure || strings.Contains(errs, "error:") {
				t.Errorf("exit %d\n%s", code, errs)
			}
			clean(t, errs)
			c.judge(t, out)
		})
	}
}

func judgeJSON(t *testing.T, out string) {
	t.Helper()
	var report enginecheck.Report
	dec := json.NewDecoder(strings.NewReader(out))
	if err := dec.Decode(&report); err != nil || dec.More() {
		t.Fatalf("%v\n%s", err, out)
	}
	if report.Failed != 1 || report.Tier != "C" || len(report.Checks) != len(enginecheck.Catalogue()) || report.Checks[0].ID != enginecheck.PlanReceipt || report.Checks[0].Remedy == "" {
		t.Errorf("%+v", report)
	}
}

// TestEngineCheckCommand: files that a command line names lie in the workspace, as
// they do in a flight.
func TestEngineCheckCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"tools/engine.sh": "#!/bin/sh\necho \"$0 $*\" >&2; cat \"$1\" \"$(dirname \"$0\")/beside\" >&2; exit 1\n", "tools/beside": "beside\n", "table.txt": "table\n",
	} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	engine, table := filepath.Join(dir, "tools/engine.sh"), filepath.Join(dir, "table.txt")
	for name, args := range map[string][]string{
		"script":      {"--workspace", dir, "--", engine, table},
		"interpreter": {"--workspace", dir, "--", "sh", engine, table},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := checkEngine(t, append(skips(enginecheck.PlanReceipt), args...)...)
			if code != protocol.ExitFailure || !strings.Contains(out, `its log ends with "beside"`) {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		})
	}
}

func TestEngineCheckRefusals(t *testing.T) {
	t.Parallel()
	engine := fileOf(t, "engine", "#!/bin/sh\nexit 1\n")
	for name, c := range map[string]struct {
		code string
		args []string
	}{
		"no engine":         {"usage", nil},
		"no such file":      {"engine_not_found", []string{"./nowhere"}},
		"no such program":   {"engine_not_found", []string{"nowhere-engine"}},
		"a directory":       {"engine_not_found", []string{t.TempDir()}},
		"no such module":    {"engine_not_found", []string{"nowhere.wasm"}},
		"format":            {"usage", []string{"--format", "xml", engine}},
		"isolation":         {"usage", []string{"--isolation", "required", engine}},
		"timeout":           {"usage", []string{"--timeout", "-1s", engine}},
		"unknown check":     {"check_unknown", []string{"--skip", "plan", "--isolation", "none", engine}},
		"two engines":       {"usage", []string{"--use", "files", engine}},
		"unknown built-in":  {"engine_unknown", []string{"--use", "nothing"}},
		"settings refused":  {"command_config", []string{"--use", "command"}},
		"with without use":  {"usage", []string{"--with", engine, engine}},
		"with and config":   {"usage", []string{"--use", "files", "--with", engine, "--config", engine}},
		"no settings":       {"check_config", []string{"--config", "/nowhere.json", engine}},
		"settings no JSON":  {"check_config", []string{"--config", engine, engine}},
		"settings no map":   {"check_config", []string{"--config", fileOf(t, "list.json", "[]"), engine}},
		"settings twice":    {"check_config", []string{"--config", fileOf(t, "twice.json", `{"a":1,"a":2}`), engine}},
		"settings too much": {"check_config", []string{"--config", fileOf(t, "large.json", strings.Repeat(" ", 16<<20)+"{}"), engine}},
		"workspace":         {"usage", []string{"--workspace", "/nowhere", engine}},
		"workspace a file":  {"usage", []string{"--workspace", engine, engine}},
		"tool":              {"tool_not_found", []string{"--tool", "nowhere-tool", engine}},
		"absolute tool":     {"tool_not_found", []string{"--tool", "/nowhere/tool", engine}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := checkEngine(t, append([]string{"--output", "json"}, c.args...)...)
			var doc struct {
				Error struct {
					Code string `json:"code"`
				} `json:"error"`
			}
			if err := json.Unmarshal([]byte(out), &doc); err != nil || code != protocol.ExitUsage || doc.Error.Code != c.code {
				t.Errorf("exit %d, %v, %q, want %s\n%s", code, err, doc.Error.Code, c.code, errs)
			}
		})
	}
}

// TestEngineCheckLeavesNothing: all that it makes is removed, also what an engine locks.
func TestEngineCheckLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	engine := fileOf(t, "engine", "#!/bin/sh\nmkdir -p \"$CABINCREW_TEMP_DIR/locked/deep\"\nchmod 0 \"$CABINCREW_TEMP_DIR/locked\"\nexit 1\n")
	if code, out, errs := checkEngine(t, "--isolation", "none", engine); code != protocol.ExitFailure {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
