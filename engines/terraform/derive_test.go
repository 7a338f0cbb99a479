package terraform

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/cabincrew/action/protocol"
)

func asError(err error, to **protocol.Error) bool { return errors.As(err, to) }

func (f *flight) derive(config map[string]any, keys DeriveKeys) (bool, error) {
	f.t.Helper()
	root, err := os.OpenRoot(f.artifacts)
	must(f.t, err)
	defer func() { must(f.t, root.Close()) }()
	return Derive(context.Background(), root, config, keys)
}

func TestDerive(t *testing.T) {
	t.Parallel()
	show := ShowWith(realTerraform(t), t.TempDir())
	id, other := newIdentity(t), newIdentity(t)
	f := newFlight(t)
	f.write("main.tf", module+"variable \"token\" {}\nresource \"terraform_data\" \"t\" {\n  input = var.token\n}\n")
	secrets := map[string]string{"TF_VAR_token": "0123456789abcdef"}
	f.plan(plain(), secrets)
	if opaque, err := f.derive(plain(), DeriveKeys{Show: show}); opaque || err != nil {
		t.Fatalf("a readable plan: %v, %v", opaque, err)
	}
	if opaque, err := f.derive(plain(), DeriveKeys{}); !opaque || err != nil {
		t.Errorf("without a program: %v, %v", opaque, err)
	}
	broken := func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no") }
	if opaque, err := f.derive(plain(), DeriveKeys{Show: broken}); !opaque || err != nil {
		t.Errorf("with a broken program: %v, %v", opaque, err)
	}
	for name, edit := range map[string][3]string{
		"plan":    {"plan/artifact.json", `"update"`, `"no-op"`},
		"hidden":  {"plan/artifact.json", `"size"`, `"sixe"`},
		"summary": {"summary/artifact.json", `"create":`, `"crate":`},
		"serial":  {"tfplan/artifact.json", `"serial":"0"`, `"serial":"7"`},
		"version": {"tfplan/artifact.json", `"terraform_version":"`, `"terraform_version":"9`},
		"secrets": {"tfplan/artifact.json", `["token"]`, `[]`},
	} {
		kept := f.read(edit[0])
		if !bytes.Contains(kept, []byte(edit[1])) {
			edit[1], edit[2] = `"create"`, `"no-op"`
		}
		f.edit(edit[0], edit[1], edit[2])
		_, err := f.derive(plain(), DeriveKeys{Show: show})
		if !errors.Is(err, protocol.Code("evidence_differs")) || protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Errorf("%s: %v", name, err)
		}
		must(t, os.WriteFile(filepath.Join(f.artifacts, edit[0]), kept, 0o600))
	}
	must(t, os.Mkdir(filepath.Join(f.artifacts, "more"), 0o755))
	if _, err := f.derive(plain(), DeriveKeys{Show: show}); protocol.ExitCode(err) != protocol.ExitIntegrity {
		t.Errorf("an artifact more: %v", err)
	}

	f.plan(sealed(id), secrets)
	if opaque, err := f.derive(sealed(id), DeriveKeys{Show: show, Age: []age.Identity{other, id}}); opaque || err != nil {
		t.Errorf("an encrypted plan: %v, %v", opaque, err)
	}
	for _, ids := range [][]age.Identity{nil, {other}} {
		if opaque, err := f.derive(sealed(id), DeriveKeys{Show: show, Age: ids}); !opaque || err != nil {
			t.Errorf("a plan for others: %v, %v", opaque, err)
		}
	}
	body := f.read("tfplan/body.data")
	body[len(body)-1] ^= 1
	must(t, os.WriteFile(filepath.Join(f.artifacts, "tfplan/body.data"), body, 0o600))
	if _, err := f.derive(sealed(id), DeriveKeys{Show: show, Age: []age.Identity{id}}); protocol.ExitCode(err) != protocol.ExitIntegrity {
		t.Errorf("a changed byte: %v", err)
	}
}

func zipped(t testing.TB, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	must(t, err)
	_, err = w.Write([]byte(content))
	must(t, err)
	must(t, z.Close())
	return b.Bytes()
}

func TestSavedState(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		saved []byte
		want  string
	}{
		"no zip":       {[]byte(`{"remote_plan_format":1}`), "not a saved plan"},
		"no state":     {zipped(t, "tfplan", ""), "no tfstate"},
		"no JSON":      {zipped(t, "tfstate", "x"), "cannot be read"},
		"old version":  {zipped(t, "tfstate", `{"version":3,"serial":1}`), "version 4"},
		"no serial":    {zipped(t, "tfstate", `{"version":4}`), "version 4"},
		"no object":    {zipped(t, "tfstate", `[]`), "version 4"},
		"serial text":  {zipped(t, "tfstate", `{"version":4,"serial":"1"}`), "version 4"},
		"deep nesting": {zipped(t, "tfstate", strings.Repeat("[", 1000)), "nested deeper"},
	} {
		if _, err := savedState(tc.saved, zipState); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := savedState(zipped(t, "tfstate", `{"version":4,"serial":18446744073709551615,"lineage":"l","resources":[
		{"module":"module.m[0]","mode":"data","type":"a","name":"b","instances":[{"index_key":"k\u001b"},{"index_key":3,"deposed":"00"}]},{"type":"c","name":"d","instances":[{}]},7]}`), zipState)
	must(t, err)
	empty, err := readState(nil)
	must(t, err)
	if s.serial != "18446744073709551615" || s.lineage != "l" {
		t.Error(s.serial, s.lineage)
	}
	if got := some(empty.differences(s)); got != `c.d (new), "module.m[0].data.a.b[\"k\x1b\"] (new)", module.m[0].data.a.b[3] (deposed 00) (new)` {
		t.Error(got)
	}
	if got := some(s.differences(empty)); !strings.HasPrefix(got, "c.d (gone), ") {
		t.Error(got)
	}
	if got := some(strings.Split(strings.Repeat("x", 30), "")); !strings.HasSuffix(got, "x and 10 more") {
		t.Error(got)
	}
}

func FuzzSaved(f *testing.F) {
	f.Add(zipped(f, "tfstate", `{"version":4,"serial":1,"lineage":"x","resources":[]}`))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(_ *testing.T, saved []byte) {
		if s, err := savedState(saved, zipState); err == nil {
			_ = s.differences(s)
		}
		_, _ = readState(saved) // must not panic
	})
}
