package engines

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// TestQuickTakesPlainFilesOnly lays each kind of thing where a file should be.
func TestQuickTakesPlainFilesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := filepath.Join(dir, "a")
	for _, err := range []error{
		os.Mkdir(a, 0o700), os.Mkdir(filepath.Join(a, "dir"), 0o700), os.WriteFile(filepath.Join(a, "plain"), []byte("12345"), 0o755), //nolint:gosec // its mode is looked at
		os.WriteFile(filepath.Join(a, "empty"), nil, 0o600), os.WriteFile(filepath.Join(dir, "twice"), []byte("x"), 0o600),
		os.Link(filepath.Join(dir, "twice"), filepath.Join(a, "hard")), os.Symlink("plain", filepath.Join(a, "soft")),
		syscall.Mkfifo(filepath.Join(a, "pipe"), 0o600), os.Symlink("a", filepath.Join(dir, "b")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = top.Close() }()
	q := enterQuick(top, "a")
	defer q.close()
	for name, want := range map[string]string{"plain": "12345", "empty": ""} {
		if data, mode, ok := q.read(name, 5, nil); !ok || string(data) != want || (mode&executable != 0) != (name == "plain") {
			t.Errorf("%s: %q %v %v", name, data, mode, ok)
		}
	}
	if _, _, ok := q.read("plain", 4, nil); ok {
		t.Error("more is read than may be")
	}
	for _, name := range []string{"dir", "hard", "soft", "pipe", "none", ""} {
		if data, _, ok := q.read(name, 5, nil); ok {
			t.Errorf("%q is read: %q", name, data)
		}
	}
	names, ok := q.names(100)
	slices.Sort(names)
	if got := strings.Join(names, " "); !ok || got != "dir empty hard pipe plain soft" {
		t.Errorf("%v %v", got, ok)
	}
	for _, name := range []string{"b", "twice", "none", "..", "."} {
		q := enterQuick(top, name)
		if _, ok := q.names(1); ok || q.fd >= 0 {
			t.Errorf("%s is a directory", name)
		}
		q.close()
	}
}

// TestReadDirTellsKinds holds what a directory says of its names to what they are.
func TestReadDirTellsKinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "dir"), 0o700), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600),
		os.Symlink("dir", filepath.Join(dir, "link")), syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	entries, err := list(root, 9)
	if err != nil || len(entries) != 4 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		info, err := os.Lstat(filepath.Join(dir, e.Name()))
		if err != nil || e.Type() != info.Mode().Type() || e.IsDir() != (e.Name() == "dir") {
			t.Errorf("%s is told as %v: %v", e.Name(), e.Type(), err)
		}
	}
	if few, err := list(root, 2); err != nil || len(few) != 3 {
		t.Error("not one more than asked for:", few, err)
	}
}

// TestDescriptionsThatAreKept takes the same bytes from memory, and never what was refused.
func TestDescriptionsThatAreKept(t *testing.T) {
	t.Parallel()
	b := &batch{known: map[string]protocol.Artifact{}}
	good, mapped, bad := `{"action":"a","artifact_type":"t","mime":"m","body_file":"f"}`,
		`{"action":"a","artifact_type":"t","mime":"m","metadata":{}}`, `{"action":"a","artifact_type":"t","mime":"m","body_file":"f","body":null}`
	for range 2 {
		if d, err := b.described("x", []byte(good)); err != nil || d.BodyFile != "f" {
			t.Error(d, err)
		}
		if _, err := b.described("x", []byte(mapped)); err != nil {
			t.Error(err)
		}
		if _, err := b.described("x", []byte(bad)); err == nil || !strings.Contains(err.Error(), "exclude") {
			t.Error(err)
		}
	}
	if len(b.known) != 1 {
		t.Error(b.known)
	}
}
