package flight

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cabincrew/action/protocol"
)

// made is a program that the tests share.
type made struct {
	once sync.Once
	data []byte
	err  error
}

var tinyModule, tinyProgram made

// tiny gives testdata/tiny, built for another system or this one.
func (b *made) tiny(t *testing.T, env ...string) []byte {
	t.Helper()
	b.once.Do(func() {
		out := filepath.Join(t.TempDir(), "tiny")
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./testdata/tiny")
		cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false"), env...)
		var text []byte
		if text, b.err = cmd.CombinedOutput(); b.err != nil {
			b.err = &os.PathError{Op: "go build", Path: string(text), Err: b.err}
			return
		}
		b.data, b.err = os.ReadFile(out)
	})
	if b.err != nil {
		t.Skipf("the Go tool chain did not build the engine: %v", b.err)
	}
	return b.data
}

// TestModule flies a WASI module, which sees three directories and nothing else.
func TestModule(t *testing.T) {
	t.Parallel()
	module := string(tinyModule.tiny(t, "GOOS=wasip1", "GOARCH=wasm"))
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "tools/tiny.wasm": module, "pol/p.rego": quietPolicy,
		".cabincrew.yaml": config(quiet, "  - id: tiny\n    engine: {wasm: tools/tiny.wasm, args: [--some, thing]}\n    inputs: [hello.txt]\n"),
	})
	s := w.json(0, "flight-plan")
	saw := holds(t, s, "tiny", "note")
	if !strings.HasPrefix(saw, "args: --some thing --mode flight-plan\nhello: hello\nthe workspace is read-only\n") || strings.Contains(saw, "/usr") || strings.Contains(saw, "/proc") {
		t.Fatalf("the module saw\n%s", saw)
	}
	if s.Steps[0].Isolation.Tier != machine().Isolation.Tier {
		t.Errorf("%+v", s.Steps[0].Isolation)
	}
	// Another module is another engine.
	w.write("tools/tiny.wasm", module+"\x00\x01\x00")
	if got := w.json(6, "take-off", s.WorkflowID); got.Error.Code != "engine_changed" || w.exists("out.txt") {
		t.Fatalf("%+v", got.Error)
	}
	w.write("tools/tiny.wasm", module)
	w.json(0, "take-off", s.WorkflowID)
	if w.read("out.txt") != saw {
		t.Fatalf("it applied %q", w.read("out.txt"))
	}
	w.want(0, "verify", s.WorkflowID)

	w.write("tools/tiny.wasm", "no module")
	if got := w.json(1, "flight-plan"); got.Error.Code != "engine_failed" {
		t.Errorf("no module: %+v", got.Error)
	}
	if err := removeFile(filepath.Join(w.dir, "tools/tiny.wasm")); err != nil {
		t.Fatal(err)
	}
	if got := w.json(2, "flight-plan"); got.Error.Code != "engine_not_found" {
		t.Errorf("no file: %+v", got.Error)
	}
}

// TestModuleOutside flies a module that does not lie in the workspace.
func TestModuleOutside(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "tiny.wasm")
	if err := os.WriteFile(at, tinyModule.tiny(t, "GOOS=wasip1", "GOARCH=wasm"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWS(t, map[string]string{
		"hello.txt": "hello\n", "pol/p.rego": quietPolicy,
		".cabincrew.yaml": config(quiet, "  - id: tiny\n    engine: {wasm: "+at+"}\n    inputs: [hello.txt]\n"),
	})
	s := w.json(0, "flight-plan")
	if saw := holds(t, s, "tiny", "note"); !strings.Contains(saw, "hello: hello\n") {
		t.Fatalf("the module saw\n%s", saw)
	}
	w.json(0, "take-off", s.WorkflowID)
}

// tarOf makes a layer of files; what is named bin/… is executable.
func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"etc/greeting", "bin/tiny", "bin/link"} {
		content, ok := files[name]
		if !ok {
			continue
		}
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}
		if strings.HasPrefix(name, "bin/") {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// imageOf makes an image with the engine and a greeting.
func imageOf(t *testing.T, greeting string) v1.Image {
	t.Helper()
	program := string(tinyProgram.tiny(t))
	i := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	i, err := mutate.AppendLayers(i, static.NewLayer(tarOf(t, map[string]string{"bin/tiny": program}), types.OCIUncompressedLayer),
		static.NewLayer(tarOf(t, map[string]string{"etc/greeting": greeting}), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	c, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", runtime.GOARCH
	c.Config.Entrypoint, c.Config.Cmd = []string{"tiny"}, []string{"--from", "the image"}
	c.Config.Env = []string{"PATH=/bin"}
	if i, err = mutate.ConfigFile(i, c); err != nil {
		t.Fatal(err)
	}
	return i
}

// layoutOf makes a directory in the OCI layout whose tag v1 is an image; others are
// there without a tag.
func layoutOf(t *testing.T, dir string, i v1.Image, others ...v1.Image) (digest string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(i, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"})); err != nil {
		t.Fatal(err)
	}
	for _, o := range others {
		if err := p.AppendImage(o); err != nil {
			t.Fatal(err)
		}
	}
	d, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// imageWS is a workspace whose step is an image of a layout beside it.
func imageWS(t *testing.T, reference, more string) (w *ws, vendor string) {
	t.Helper()
	vendor = filepath.Join(t.TempDir(), "engines")
	w = newWS(t, map[string]string{"hello.txt": "hello\n", "pol/p.rego": quietPolicy})
	w.names(reference, vendor, more)
	return w, vendor
}

func (w *ws) names(reference, vendor, more string) {
	w.t.Helper()
	w.write(".cabincrew.yaml", config(quiet, "  - id: tiny\n    engine: {oci: 'registry.example.com/engines/tiny"+reference+"', oci_layout: "+vendor+more+"}\n    inputs: [hello.txt]\n"))
}

const tinySaw = "args: --from the image --mode flight-plan\nhello: hello\nthe workspace is read-only\ngreeting: hi\n" +
	"/artifacts\n/bin\n/dev\n/etc\n/proc\n/temp\n/tmp\n/workspace\n"

// TestImage flies an image named by its digest, without a registry: it sees its own
// files, and nothing of the system's.
func TestImage(t *testing.T) {
	t.Parallel()
	isolates(t)
	w, vendor := imageWS(t, "", "")
	digest := layoutOf(t, vendor, imageOf(t, "hi\n"))
	w.names("@"+digest, vendor, "")
	s := w.json(0, "flight-plan")
	if saw := holds(t, s, "tiny", "note"); saw != tinySaw {
		t.Fatalf("the image saw\n%s\nwant\n%s", saw, tinySaw)
	}
	if tools := held(t, s, "tiny").Tools; len(tools) != 1 || tools[0].Digest != digest {
		t.Errorf("the flight keeps %+v", tools)
	}
	w.want(0, "verify", s.WorkflowID)
	w.json(0, "take-off", s.WorkflowID)
	if w.read("out.txt") != tinySaw {
		t.Fatalf("it applied %q", w.read("out.txt"))
	}
	if left, err := os.ReadDir(filepath.Join(w.dir, ".cabincrew", "tmp")); err != nil || len(left) != 0 {
		t.Errorf("unpacked files are left: %v, %v", left, err)
	}

	w.names("@"+digest, vendor, ", args: [/bin/tiny, other]")
	if saw := holds(t, w.json(0, "flight-plan"), "tiny", "note"); !strings.HasPrefix(saw, "args: other --mode flight-plan\n") {
		t.Errorf("with args it saw\n%s", saw)
	}
	w.names("@"+digest, vendor, ", args: [/bin/sh]")
	if got := w.json(2, "flight-plan"); got.Error.Code != "engine_not_found" {
		t.Errorf("a program that the image has not: %+v", got.Error)
	}
	w.names("@"+protocol.Digest(nil), vendor, "")
	if got := w.json(7, "flight-plan"); got.Error.Code != "oci_unreachable" {
		t.Errorf("an image that is not there: %+v", got.Error)
	}
}

// TestTagIsPinned plans with what a tag names now, and takes off with that, wherever
// the tag has moved.
func TestTagIsPinned(t *testing.T) {
	t.Parallel()
	isolates(t)
	w, vendor := imageWS(t, ":v1", "")
	hi, ho := imageOf(t, "hi\n"), imageOf(t, "ho\n")
	first := layoutOf(t, vendor, hi)
	if got := w.json(2, "flight-plan"); got.Error.Code != "oci_tag" || !strings.Contains(got.Error.Hint, "resolve: true") {
		t.Fatalf("a tag: %+v", got.Error)
	}
	w.names(":v1", vendor, ", resolve: true")
	s := w.json(0, "flight-plan")
	if tools := held(t, s, "tiny").Tools; len(tools) != 1 || tools[0].Digest != first {
		t.Fatalf("the flight keeps %+v, want %s", tools, first)
	}
	second := layoutOf(t, vendor, ho, hi)
	w.want(0, "verify", s.WorkflowID)
	w.json(0, "take-off", s.WorkflowID)
	if w.read("out.txt") != tinySaw {
		t.Fatalf("it applied %q", w.read("out.txt"))
	}
	s = w.json(0, "flight-plan")
	if tools := held(t, s, "tiny").Tools; tools[0].Digest != second || !strings.Contains(holds(t, s, "tiny", "note"), "greeting: ho\n") {
		t.Errorf("the tag is followed to %+v, want %s", tools, second)
	}
	// Between plan and seal the tag moves back: it is the digest that counts.
	s = w.json(0, "flight-plan", "--unsealed")
	layoutOf(t, vendor, hi, ho)
	if got := w.json(0, "seal", s.WorkflowID); got.State != protocol.StateReadyForTakeoff {
		t.Errorf("%+v", got)
	}
}

// TestImageNeedsIsolation never runs a program of the machine in place of one of
// the image.
func TestImageNeedsIsolation(t *testing.T) {
	t.Parallel()
	w, vendor := imageWS(t, "", "")
	digest := layoutOf(t, vendor, imageOf(t, "hi\n"))
	w.names("@"+digest, vendor, ", args: [/bin/tiny]")
	w.write(".cabincrew.yaml", w.read(".cabincrew.yaml")[:strings.Index(w.read(".cabincrew.yaml"), "policies:")]+bare+quiet)
	if got := w.json(7, "flight-plan"); got.Error.Code != "isolation_unavailable" {
		t.Fatalf("%+v", got.Error)
	}
}
