package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

func TestInstallReplacesNothing(t *testing.T) {
	t.Parallel()
	s, err := file.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // a test's
	made := func() string {
		t.Helper()
		top, remove, err := s.Temp("x-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = remove() })
		dir := filepath.Join(top, "flight")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "flight.json"), []byte("{}"), 0o600)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	if err := s.Install(made(), "one"); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(s.Dir(), "flights", "one", "flight.json")); err != nil || string(data) != "{}" {
		t.Fatal(string(data), err)
	}
	if err := s.Install(made(), "one"); !errors.Is(err, protocol.Code("flight_exists")) {
		t.Error(err)
	}
	if _, err := s.Create("two"); err != nil { // an empty one would be replaced by a plain rename
		t.Fatal(err)
	}
	if err := s.Install(made(), "two"); !errors.Is(err, protocol.Code("flight_exists")) {
		t.Error(err)
	}
	if err := s.Install(made(), "../x"); !errors.Is(err, protocol.Code("flight_id")) {
		t.Error(err)
	}
	if err := s.Install(t.TempDir(), "three"); !errors.Is(err, protocol.Code("path_unsafe")) {
		t.Error(err)
	}
	old := made()
	if err := os.WriteFile(filepath.Join(old, "flight.json"), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(old, "one"); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{filepath.Join(s.Dir(), "flights", "one"): "[]", old: "{}"} {
		if data, err := os.ReadFile(filepath.Join(at, "flight.json")); err != nil || string(data) != want {
			t.Error(string(data), err)
		}
	}
	for id, dir := range map[string]string{"absent": made(), "../x": made(), "one": t.TempDir()} {
		if err := s.Replace(dir, id); err == nil {
			t.Errorf("%s was replaced", id)
		}
	}
}
