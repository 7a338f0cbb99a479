package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cabincrew/action/protocol"
)

const receipt = `{"artifacts":[{"hash":"x","name":"plan","path":"plan","role":"evidence"},{"hash":"x","name":"saved","path":"saved","role":"state"},` +
	`{"hash":"x","name":"inline","path":"inline","role":"state"},{"hash":"x","name":"out","path":"out","role":"log"}],"engine_id":"e","error":"","metrics":[],` +
	`"mode":"flight-plan","protocol_version":"draft","receipt_id":"r","status":"success"}`

// flight is what a flight's directory may hold; keys that end in "/" are empty directories.
func flight() map[string]string {
	return map[string]string{
		"flight.json": "{}", "wal.jsonl": "{}\n", "audit.jsonl": "{}\n", "plan-manifest.json": "{}", "plan.sigstore.json": "{}",
		"approvals/a1.request.json": "{}", "steps/one/receipt.json": receipt, "steps/one/engine.log": "hello\n",
		"steps/one/artifacts/plan/artifact.json": `{"action":"apply","artifact_type":"t","body":{},"mime":"m"}`,
		"steps/one/artifacts/out/artifact.json":  `{"action":"inform","artifact_type":"t","body_file":"log.txt","mime":"m"}`,
		"steps/one/artifacts/out/log.txt":        "log\n",
		"steps/two/":                             "", ".tmp-1-1": "being written",
	}
}

// withState adds artifacts with the role state.
func withState() map[string]string {
	f := flight()
	maps.Copy(f, map[string]string{
		"steps/one/artifacts/saved/artifact.json":  `{"action":"apply","artifact_type":"t","body_file":"saved.bin","metadata":{"k":"SECRET-META"},"mime":"m"}`,
		"steps/one/artifacts/saved/saved.bin":      "SECRET-BODY" + strings.Repeat("x", 100_000),
		"steps/one/artifacts/inline/artifact.json": `{"action":"apply","artifact_type":"t","body":{"k":"SECRET-INLINE"},"mime":"m"}`,
	})
	return f
}

func tree(t testing.TB, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			p += "/x"
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return open(t, dir)
}

func open(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func empty(t testing.TB) *os.Root { return open(t, t.TempDir()) }

// contents gives all files and directories with their execute bit.
func contents(t testing.TB, root *os.Root) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == "." {
			return err
		}
		if d.IsDir() {
			out[p+"/"] = ""
			return nil
		}
		data, err := fs.ReadFile(root.FS(), p)
		info, _ := d.Info()
		out[p] = info.Mode().Perm().String()[3:4] + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func file(t testing.TB, data []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "archive"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	return f
}

func packed(t testing.TB, root *os.Root, o PackOptions) ([]byte, Packed) {
	t.Helper()
	if o.Temp == "" {
		o.Temp = t.TempDir()
	}
	var b bytes.Buffer
	p, err := Pack(t.Context(), root, &b, o)
	if err != nil {
		t.Fatal(err)
	}
	if p.Digest != protocol.Digest(b.Bytes()) || p.Size != int64(b.Len()) {
		t.Fatal("the digest is not the archive's")
	}
	return b.Bytes(), p
}

func wantError(t testing.TB, err error, exit int, code string) {
	t.Helper()
	if !errors.Is(err, protocol.Code(code)) || protocol.ExitCode(err) != exit {
		t.Fatalf("want %s (exit %d), have exit %d: %v", code, exit, protocol.ExitCode(err), err)
	}
}

// noise is what does not compress.
func noise(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// compress makes a zstd file of the kind that archives are.
func compress(t testing.TB, data []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, append([]zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type tarEntry struct {
	h    tar.Header
	data string
}

func plainEntry(name, data string) tarEntry {
	return tarEntry{*header(entry{path: name, mode: plainMode, size: int64(len(data))}), data}
}

func dirEntry(name string) tarEntry {
	return tarEntry{*header(entry{path: name, dir: true, mode: execMode}), ""}
}

func (e tarEntry) with(change func(h *tar.Header)) tarEntry {
	change(&e.h)
	return e
}

func tarOf(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(ctx context.Context, t testing.TB, archive []byte) (*os.Root, Packed, error) {
	t.Helper()
	into := empty(t)
	p, err := Unpack(ctx, file(t, archive), into)
	return into, p, err
}
