package check

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// searchTime looks for the time of the first run in its evidence. It finds what
// a second run a moment later cannot show: the date.
func (b *bench) searchTime() (string, error) {
	given, err := b.given()
	if err != nil {
		return "", err
	}
	forms := timeForms(b.begun, b.ended)
	for _, a := range b.first.withRole(protocol.RoleEvidence) {
		texts := [][]byte{a.Raw}
		if a.BodyDigest != "" {
			body, err := readSome(b.first.body(a))
			if err != nil {
				return "", err
			}
			texts = append(texts, body)
		}
		for _, text := range texts {
			for _, f := range forms {
				if bytes.Contains(text, []byte(f)) && !contains(given, f) {
					return fmt.Sprintf("artifact %s holds %q, which is when it was made", a.Name, f), nil
				}
			}
		}
	}
	return "", nil
}

// given is everything that the engine could have copied: what happens to look
// like the time there is none.
func (b *bench) given() ([][]byte, error) {
	var out [][]byte
	for _, f := range b.files {
		if f.Size > limits.CheckSearch {
			continue
		}
		data, err := readSome(filepath.Join(b.source, filepath.FromSlash(f.Path)))
		if err != nil && !os.IsNotExist(err) { // a link may lead nowhere
			return nil, err
		}
		out = append(out, []byte(f.Path), data)
	}
	for _, f := range b.o.Files {
		data, err := readSome(f.Source)
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	if len(b.o.Argv) > 0 && filepath.IsAbs(b.o.Argv[0]) {
		if data, err := readSome(b.o.Argv[0]); err == nil { // where it cannot be read, it still can be run
			out = append(out, data)
		}
	}
	config, err := protocol.Canonical(b.o.Config)
	if err != nil {
		config = nil // settings with fractions have no canonical form
	}
	return append(out, config), nil
}

func contains(texts [][]byte, s string) bool {
	for _, t := range texts {
		if bytes.Contains(t, []byte(s)) {
			return true
		}
	}
	return false
}

func readSome(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // of the sample, the engine or our own copies
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, limits.CheckSearch))
}

// preloads says whether a library that is preloaded reaches a program: one that is
// linked statically loads none, and one in Go asks the kernel for the time.
func preloads(at string) bool {
	f, err := elf.Open(at)
	if err != nil {
		return true // a script, of whose interpreter the same is hoped
	}
	defer func() { _ = f.Close() }() // only read
	dynamic := slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	return dynamic && f.Section(".go.buildinfo") == nil
}

// timeForms gives how programs write the moments between two times.
func timeForms(begin, end time.Time) []string {
	seen := map[string]bool{}
	var out []string
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	at := begin.UTC().Add(-time.Second)
	for n := 0; n < limits.CheckSpan && !at.After(end.Add(time.Second)); n++ {
		for _, layout := range []string{
			time.DateOnly, "20060102", "02.01.2006", "01/02/2006", "02/01/2006", "Jan _2 15:04", "02 Jan 2006", "2 Jan 2006", "January 2, 2006", "2 January 2006", time.TimeOnly,
		} {
			add(at.Format(layout))
		}
		add(strconv.FormatInt(at.Unix(), 10)) // also the beginning of milliseconds and nanoseconds
		at = at.Add(time.Second)
	}
	return out
}
