package http

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/protocol"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const secret = "s3cret-value-of-the-test"

// flight is one workspace with one artifacts directory.
type flight struct {
	t                    *testing.T
	workspace, artifacts string
	workflow             string
	secrets              map[string]any
	env                  []string
	stdout, stderr       bytes.Buffer
}

func newFlight(t *testing.T) *flight {
	t.Helper()
	return &flight{t: t, workspace: t.TempDir(), artifacts: t.TempDir(), workflow: "w", secrets: map[string]any{"TOKEN": secret}}
}

func (f *flight) write(name, content string) {
	f.t.Helper()
	must(f.t, os.WriteFile(filepath.Join(f.workspace, name), []byte(content), 0o600))
}

func (f *flight) run(ctx context.Context, mode protocol.Mode, config string) (int, protocol.EngineOutput) {
	f.t.Helper()
	var with map[string]any
	must(f.t, protocol.Decode([]byte(config), &with))
	in := protocol.EngineInput{ProtocolVersion: "draft", Mode: mode, Meta: protocol.EngineMeta{WorkflowID: f.workflow, StepID: "s"}, Config: with}
	if mode == protocol.TakeOff {
		in.Secrets = f.secrets
	}
	input, err := json.Marshal(in)
	must(f.t, err)
	env := append([]string{"CABINCREW_WORKSPACE=" + f.workspace, "CABINCREW_ARTIFACTS_DIR=" + f.artifacts, "CABINCREW_TEMP_DIR=" + f.t.TempDir()}, f.env...)
	f.stdout.Reset()
	f.stderr.Reset()
	code := Run(ctx, []string{"--mode", string(mode)}, bytes.NewReader(input), &f.stdout, &f.stderr, env)
	var receipt protocol.EngineOutput
	must(f.t, protocol.Decode(f.stdout.Bytes(), &receipt))
	for _, name := range []string{secret, "echoed"} {
		if strings.Contains(f.stdout.String()+f.stderr.String(), name) {
			f.t.Errorf("%q left the engine:\n%s\n%s", name, f.stdout.String(), f.stderr.String())
		}
	}
	return code, receipt
}

func (f *flight) plan(config string) protocol.EngineOutput {
	f.t.Helper()
	code, receipt := f.run(context.Background(), protocol.FlightPlan, config)
	if code != 0 {
		f.t.Fatalf("exit %d: %s", code, receipt.Error)
	}
	return receipt
}

func (f *flight) takeOff(config string) (int, protocol.EngineOutput) {
	f.t.Helper()
	return f.run(context.Background(), protocol.TakeOff, config)
}

// read gives all files of the artifacts directory.
func (f *flight) read() map[string]string {
	f.t.Helper()
	out := map[string]string{}
	must(f.t, filepath.WalkDir(f.artifacts, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(p)
		rel, _ := filepath.Rel(f.artifacts, p)
		out[filepath.ToSlash(rel)] = string(body)
		return err
	}))
	return out
}

// results gives what a receipt tells of each request.
func results(t *testing.T, out protocol.EngineOutput) []outcome {
	t.Helper()
	raw, err := json.Marshal(out.Diagnostics)
	must(t, err)
	var d struct {
		Requests []outcome `json:"requests"`
	}
	must(t, protocol.Decode(raw, &d))
	return d.Requests
}

func ends(list []outcome) string {
	var all []string
	for _, o := range list {
		all = append(all, o.Outcome)
	}
	return strings.Join(all, " ")
}

const declared = `{"message":"Two things","values":{"user":"a\"b","list":[1,2]},"timeout":"1m","requests":[
	{"name":"create","method":"POST","url":"https://api.example.com/users?x=1","headers":{"content-type":"application/json","X-Trace":"on"},
	 "secrets":{"authorization":{"secret":"TOKEN","format":"Bearer {{secret}}"},"X-Key":"TOKEN"},
	 "body_template":"{\"user\":{{json .user}},\"list\":{{json .list}}}","expect":{"status":[201,"3xx"]},"idempotency_key":true},
	{"name":"upload","method":"PUT","url":"https://[2001:db8::1]:8443/blob","body_file":"blob"},
	{"name":"say","method":"PATCH","url":"https://api.example.com","body":"text\n"},
	{"name":"purge","method":"DELETE","url":"https://api.example.com/cache"}]}`

func TestEvidence(t *testing.T) {
	t.Parallel()
	f, g := newFlight(t), newFlight(t)
	for _, x := range []*flight{f, g} {
		x.write("blob", "\xff\x00binary")
		receipt := x.plan(declared)
		if len(receipt.Artifacts) != 5 || receipt.Artifacts[0].Hash != protocol.Digest([]byte(`{"user":"a\"b","list":[1,2]}`)) {
			t.Errorf("%+v", receipt.Artifacts)
		}
	}
	got := f.read()
	want := map[string]string{
		"001-create/artifact.json": `{"action":"POST","artifact_type":"http-request","body_file":"body.data","metadata":{"body":{"bytes":28,` +
			`"digest":"` + protocol.Digest([]byte(`{"user":"a\"b","list":[1,2]}`)) + `","source":"body_template"},"expect":{"status":[201,"3xx"]},` +
			`"headers":{"Authorization":"Bearer {{secret:TOKEN}}","Content-Type":"application/json","User-Agent":"cabincrew-http/1","X-Key":"{{secret:TOKEN}}","X-Trace":"on"},` +
			`"host":"api.example.com:443","idempotency_key":true,"name":"create","order":1,"secrets":["TOKEN"],"timeout":"1m0s"},"mime":"application/json","target":"https://api.example.com/users?x=1"}`,
		"001-create/body.data": `{"user":"a\"b","list":[1,2]}`,
		"002-upload/artifact.json": `{"action":"PUT","artifact_type":"http-request","body_file":"body.data","metadata":{"body":{"bytes":8,"digest":"` + protocol.Digest([]byte("\xff\x00binary")) +
			`","source":"body_file"},"expect":{"status":["2xx"]},"headers":{"User-Agent":"cabincrew-http/1"},"host":"[2001:db8::1]:8443","idempotency_key":false,"name":"upload","order":2,"secrets":[],` +
			`"timeout":"1m0s"},"mime":"application/octet-stream","target":"https://[2001:db8::1]:8443/blob"}`,
		"002-upload/body.data": "\xff\x00binary",
		"003-say/body.data":    "text\n",
		"004-purge/artifact.json": `{"action":"DELETE","artifact_type":"http-request","metadata":{"expect":{"status":["2xx"]},"headers":{"User-Agent":"cabincrew-http/1"},"host":"api.example.com:443",` +
			`"idempotency_key":false,"name":"purge","order":4,"secrets":[],"timeout":"1m0s"},"mime":"message/http","target":"https://api.example.com/cache"}`,
		"summary/artifact.json": `{"action":"inform","artifact_type":"summary","body":{"requests":[` +
			`{"artifact":"001-create","body_bytes":28,"expect":[201,"3xx"],"method":"POST","secrets":["TOKEN"],"url":"https://api.example.com/users?x=1"},` +
			`{"artifact":"002-upload","body_bytes":8,"expect":["2xx"],"method":"PUT","secrets":[],"url":"https://[2001:db8::1]:8443/blob"},` +
			`{"artifact":"003-say","body_bytes":5,"expect":["2xx"],"method":"PATCH","secrets":[],"url":"https://api.example.com"},` +
			`{"artifact":"004-purge","body_bytes":0,"expect":["2xx"],"method":"DELETE","secrets":[],"url":"https://api.example.com/cache"}],"title":"Two things"},"mime":"application/json"}`,
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s:\n%s\nwant\n%s", name, got[name], text)
		}
	}
	for name, text := range g.read() {
		if got[name] != text {
			t.Errorf("%s differs between two runs", name)
		}
	}
	if len(got) != len(want)+1 {
		t.Errorf("%d files", len(got))
	}
}

func TestPlanRefusals(t *testing.T) {
	t.Parallel()
	file := func(p string) string {
		return `{"requests":[{"name":"a","method":"PUT","url":"https://h.example","body_file":"` + p + `"}]}`
	}
	tests := map[string]struct{ config, want string }{
		"no file":          {file("none"), `config.requests[0].body_file: "none" is not there`},
		"a directory":      {file("dir"), "no regular file"},
		"a link":           {file("link"), "no regular file"},
		"below a link":     {file("dirlink/x"), `"dirlink" is a link`},
		"below a file":     {file("body/x"), "no regular file"},
		"missing key":      {`{"requests":[{"name":"a","method":"PUT","url":"https://h.example","body_template":"a\n{{.b}}"}]}`, "config.requests[0].body_template:2:2: the template is refused: <.b>"},
		"output too large": {`{"requests":[{"name":"a","method":"PUT","url":"https://h.example","body_template":"{{range 2000}}` + strings.Repeat("x", 10_000) + `{{end}}"}]}`, "too large"},
		"too much work":    {`{"requests":[{"name":"a","method":"PUT","url":"https://h.example","body_template":"{{range 99999999}}{{end}}"}]}`, "more than a template may do"},
		"no configuration": {`{}`, "config.requests: it is missing"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlight(t)
			f.write("body", "b")
			must(t, os.Mkdir(filepath.Join(f.workspace, "dir"), 0o755))
			must(t, os.Symlink("body", filepath.Join(f.workspace, "link")))
			must(t, os.Symlink(t.TempDir(), filepath.Join(f.workspace, "dirlink")))
			if code, receipt := f.run(context.Background(), protocol.FlightPlan, tc.config); code != 2 || !strings.Contains(receipt.Error, tc.want) {
				t.Errorf("exit %d, %q, want %q", code, receipt.Error, tc.want)
			}
		})
	}
}
