// Package storagetest is the suite that every driver of a storage of flights passes:
// the same bytes come back, under a digest, or an error whose exit code says why not.
// It knows no driver, so that a new one needs nothing but the functions of Driver.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/cabincrew/action/protocol"
)

// Driver is an empty storage under test.
type Driver struct {
	// Put stores an archive and gives its reference. It calls progress, if there
	// is one, while it does so, with the first part of the archive through.
	Put func(ctx context.Context, archive []byte, progress func()) (ref string, err error)
	// Get gives what a reference names.
	Get func(ctx context.Context, ref string) ([]byte, error)
	// Unpack gets an archive and reads it as one.
	Unpack func(ctx context.Context, ref string) error
	// Change changes the stored bytes of an archive behind the driver's back; nil removes it.
	Change func(t *testing.T, archive []byte, to []byte)
	// Named gives how many archives can be found by a name.
	Named func(t *testing.T) int
}

// Archives are what the suite stores.
type Archives struct {
	Good    []byte            // of at least 200,000 bytes, so that there is something to interrupt
	Other   []byte            // another good one
	Hostile map[string][]byte // none may be read
}

// Run tests a driver; open makes an empty storage.
func Run(t *testing.T, open func(t *testing.T) Driver, a Archives) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, d Driver, a Archives){
		"the same bytes": sameBytes, "twice": twice, "two flights": two, "at the same time": together,
		"another digest": otherDigest, "removed": removed, "every byte counts": tampered, "cut off": truncated, "longer": longer,
		"interrupted": interrupted, "cancelled before": cancelled, "hostile archives": hostile,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t), a)
		})
	}
}

func put(t *testing.T, d Driver, archive []byte) string {
	t.Helper()
	ref, err := d.Put(t.Context(), archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, digest, ok := strings.Cut(ref, "@")
	if _, err := protocol.ParseDigest(digest); !ok || err != nil {
		t.Fatalf("the reference %q has no digest", ref)
	}
	return ref
}

func same(t *testing.T, d Driver, ref string, want []byte) {
	t.Helper()
	got, err := d.Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes went in, others (%d) came out", len(want), len(got))
	}
}

// refused checks the exit code of a get.
func refused(t *testing.T, d Driver, ref string, exit int) {
	t.Helper()
	if _, err := d.Get(t.Context(), ref); protocol.ExitCode(err) != exit {
		t.Errorf("exit %d, want %d: %v", protocol.ExitCode(err), exit, err)
	}
}

func sameBytes(t *testing.T, d Driver, a Archives) {
	same(t, d, put(t, d, a.Good), a.Good)
	if n := d.Named(t); n != 1 {
		t.Errorf("%d archives have names", n)
	}
}

func twice(t *testing.T, d Driver, a Archives) {
	first := put(t, d, a.Good)
	if second := put(t, d, a.Good); first != second {
		t.Errorf("%s, then %s", first, second)
	}
	same(t, d, first, a.Good)
}

func two(t *testing.T, d Driver, a Archives) {
	first, second := put(t, d, a.Good), put(t, d, a.Other)
	same(t, d, first, a.Good)
	same(t, d, second, a.Other)
}

func together(t *testing.T, d Driver, a Archives) {
	refs := make([]string, 4)
	var wait sync.WaitGroup
	for i := range refs {
		wait.Go(func() {
			ref, err := d.Put(t.Context(), a.Good, nil)
			if err != nil {
				t.Error(err)
			}
			refs[i] = ref
		})
	}
	wait.Wait()
	for _, ref := range refs {
		if ref != refs[0] {
			t.Errorf("%s and %s", ref, refs[0])
		}
	}
	same(t, d, refs[0], a.Good)
}

func otherDigest(t *testing.T, d Driver, a Archives) {
	ref := put(t, d, a.Good)
	place, digest, _ := strings.Cut(ref, "@")
	other := byte('0')
	if digest[len(digest)-1] == other {
		other = '1'
	}
	refused(t, d, place+"@"+digest[:len(digest)-1]+string(other), protocol.ExitUnreachable)
}

func removed(t *testing.T, d Driver, a Archives) {
	ref := put(t, d, a.Good)
	d.Change(t, a.Good, nil)
	refused(t, d, ref, protocol.ExitUnreachable)
}

func tampered(t *testing.T, d Driver, a Archives) {
	ref := put(t, d, a.Good)
	for _, at := range []int{0, len(a.Good) / 2, len(a.Good) - 1} {
		changed := bytes.Clone(a.Good)
		changed[at] ^= 1
		d.Change(t, a.Good, changed)
		refused(t, d, ref, protocol.ExitIntegrity)
	}
	d.Change(t, a.Good, a.Good)
	same(t, d, ref, a.Good)
}

func truncated(t *testing.T, d Driver, a Archives) {
	ref := put(t, d, a.Good)
	for _, n := range []int{0, 1, len(a.Good) - 1} {
		d.Change(t, a.Good, append([]byte{}, a.Good[:n]...))
		refused(t, d, ref, protocol.ExitIntegrity)
	}
}

func longer(t *testing.T, d Driver, a Archives) {
	ref := put(t, d, a.Good)
	d.Change(t, a.Good, append(bytes.Clone(a.Good), 0))
	refused(t, d, ref, protocol.ExitIntegrity)
}

// interrupted leaves nothing that has a name, and a later put is whole.
func interrupted(t *testing.T, d Driver, a Archives) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ref, err := d.Put(ctx, a.Good, cancel)
	if !errors.Is(err, protocol.Code("interrupted")) || protocol.ExitCode(err) != protocol.ExitInterrupted {
		t.Fatalf("%q: %v", ref, err)
	}
	if n := d.Named(t); n != 0 {
		t.Errorf("%d archives have names", n)
	}
	same(t, d, put(t, d, a.Good), a.Good)
}

func cancelled(t *testing.T, d Driver, a Archives) {
	ref := put(t, d, a.Good)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Get(ctx, ref); protocol.ExitCode(err) != protocol.ExitInterrupted {
		t.Error("get:", err)
	}
	if _, err := d.Put(ctx, a.Other, nil); protocol.ExitCode(err) != protocol.ExitInterrupted {
		t.Error("put:", err)
	}
}

// hostile archives can be stored, as any bytes can, and not be read.
func hostile(t *testing.T, d Driver, a Archives) {
	for name, archive := range a.Hostile {
		ref, err := d.Put(t.Context(), archive, nil)
		if err == nil {
			err = d.Unpack(t.Context(), ref)
		}
		if protocol.ExitCode(err) != protocol.ExitIntegrity {
			t.Errorf("%s: %v", name, err)
		}
	}
}
