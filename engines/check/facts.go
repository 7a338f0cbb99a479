package check

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"path/filepath"
	"strconv"
	"strings"
)

// host is what this machine has that another one has not, and that no second run
// on the same machine can show. What is not known is empty.
type host struct {
	BootID, MachineID string
	Release, Version  string // of the kernel
	Name              string
	Processor         string // its model
	Processors        int    // all of them
	Booted            string // in seconds since 1970
	Memory            uint64 // bytes
}

// facts gives what evidence must not hold of a machine.
func (h host) facts() []fact {
	facts := []fact{
		known("the boot id of this machine", h.BootID),
		known("the id of this machine", h.MachineID),
		known("the release of this machine's kernel", h.Release),
		known("the version of this machine's kernel", h.Version),
		known("the model of this machine's processor", h.Processor),
		known("the time at which this machine was started", h.Booted),
	}
	if name := h.Name; name != "" && name != "localhost" {
		f := known("the name of this machine", name)
		// A short name is a word that may occur anywhere.
		f.whole, f.weak = true, len(name) < 4
		facts = append(facts, f)
		if full, _, dotted := strings.Cut(name, "."); dotted && len(full) > 3 {
			facts = append(facts, fact{name: f.name, forms: []string{full}, whole: true})
		}
	}
	// 6.1.0 of 6.1.0-13-amd64 may be the version of anything.
	if base := strings.TrimRight(leading(h.Release), "."); strings.Count(base, ".") > 1 && base != h.Release {
		facts = append(facts, fact{name: "the release of this machine's kernel", forms: []string{base}, whole: true, weak: true})
	}
	if h.Processors > 0 {
		facts = append(facts, fact{
			name: "the number of this machine's processors", forms: []string{strconv.Itoa(h.Processors)}, whole: true, weak: true,
			near: []string{"cpu", "proc", "core", "thread", "parallel", "worker", "job"},
		})
	}
	return append(facts, h.memory()...)
}

func (h host) memory() []fact {
	const name = "the size of this machine's memory"
	if h.Memory == 0 {
		return nil
	}
	kib, mib, gib := h.Memory>>10, h.Memory>>20, h.Memory>>30
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return []fact{
		{name: name, forms: []string{number(h.Memory), number(kib)}, whole: true},
		{name: name, forms: []string{number(mib)}, whole: true, weak: true},
		{name: name, forms: []string{number(gib), number(gib + 1)}, whole: true, weak: true, near: []string{"mem", "ram"}},
	}
}

// leading gives the numbers with dots that a string begins with.
func leading(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		return s
	}
	return s[:end]
}

// known is a fact that is unlikely enough to be no chance wherever it is, in the
// ways in which scripts disguise it: without dashes, encoded, as a digest.
func known(name, value string) fact {
	const least = 6 // characters of what is encoded
	f := fact{name: name}
	if value == "" {
		return f
	}
	f.forms = append(f.forms, value)
	if len(value) < least {
		return f
	}
	if bare := strings.ReplaceAll(value, "-", ""); bare != value && len(bare) == 32 {
		f.forms = append(f.forms, bare)
	}
	for _, v := range []string{value, value + "\n"} {
		sum := sha256.Sum256([]byte(v))
		f.forms = append(f.forms, hex.EncodeToString(sum[:]))
	}
	// What stays the same whatever follows the value.
	whole := len(value) / 3 * 3
	f.forms = append(f.forms, base64.StdEncoding.EncodeToString([]byte(value[:whole])))
	return f
}

// judgeMachine searches the evidence for what this machine has of its own.
func (b *bench) judgeMachine() error {
	given, err := b.given()
	if err != nil {
		return err
	}
	texts, err := b.evidence()
	if err != nil {
		return err
	}
	if hits := search(texts, b.machine(), given); len(hits) > 0 {
		b.found(PlanMachine, hits)
		return nil
	}
	b.addf(PlanMachine, Pass, "no evidence holds the machine's ids, kernel, name, processor, memory or paths")
	return nil
}

// machine gives the facts of this machine and of where this check works.
func (b *bench) machine() []fact {
	facts := thisHost().facts()
	path := func(name, at string) {
		if len(at) > 1 {
			facts = append(facts, fact{name: name, forms: []string{at}})
		}
	}
	path("where the workspace lies outside of the sandbox", b.bound)
	path("where the workspace was copied from", b.o.Workspace)
	if abs, err := filepath.Abs(b.o.Temp); err == nil {
		path("a path outside of the sandbox", abs)
	}
	return facts
}
