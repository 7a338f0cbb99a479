package file_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cabincrew/action/storage/file"
)

func TestMarkIsMadeOnce(t *testing.T) {
	t.Parallel()
	s, err := file.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // a test's
	if _, made, err := s.Marked("f.begun"); err != nil || made {
		t.Fatal(made, err)
	}
	var wg sync.WaitGroup
	var n atomic.Int64
	for range 16 {
		wg.Go(func() {
			made, err := s.Mark("f.begun", "/somewhere")
			if err != nil {
				t.Error(err)
			}
			if made {
				n.Add(1)
			}
		})
	}
	wg.Wait()
	content, made, err := s.Marked("f.begun")
	if n.Load() != 1 || !made || content != "/somewhere" || err != nil {
		t.Fatal(n.Load(), made, content, err)
	}
	for _, name := range []string{"", "../x", "a/b"} {
		if _, err := s.Mark(name, ""); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}
