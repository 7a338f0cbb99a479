//go:build unix

package check

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/engines/sandbox"
)

// TestMachineInEvidence holds an engine for each thing that only this machine has.
// That which the sandbox hides is tried without one.
func TestMachineInEvidence(t *testing.T) {
	t.Parallel()
	here := thisHost()
	isolated := best().Isolation.Tier
	for name, c := range map[string]struct {
		line string // makes the evidence
		tier string
		have string // "" where the machine has none of it
		want string
	}{
		"boot id":          {"{ printf 'on '; cat /proc/sys/kernel/random/boot_id; } >notes/body.data", isolated, here.BootID, `artifact notes, body.data, byte 3: "` + here.BootID + `" is the boot id of this machine`},
		"boot id, bare":    {"tr -d - </proc/sys/kernel/random/boot_id >notes/body.data", isolated, here.BootID, "is the boot id"},
		"boot id, upper":   {"tr a-f A-F </proc/sys/kernel/random/boot_id >notes/body.data", isolated, here.BootID, "is the boot id"},
		"boot id, base64":  {"base64 </proc/sys/kernel/random/boot_id >notes/body.data", isolated, here.BootID, "is the boot id"},
		"boot id, digest":  {"sha256sum /proc/sys/kernel/random/boot_id >notes/body.data", isolated, here.BootID, fmt.Sprintf("byte 0: %q is the boot id", fmt.Sprintf("%x", sha256.Sum256([]byte(here.BootID+"\n"))))},
		"machine id":       {"cat /etc/machine-id /var/lib/dbus/machine-id >notes/body.data 2>/dev/null || :", sandbox.TierC, here.MachineID, "is the id of this machine"},
		"kernel's release": {"uname -r >notes/body.data", isolated, here.Release, "is the release of this machine's kernel"},
		"kernel's version": {"uname -v >notes/body.data", isolated, here.Version, "is the version of this machine's kernel"},
		"kernel, in words": {"cp /proc/version notes/body.data", isolated, here.Release, "is the release of this machine's kernel"},
		"processor":        {"grep -m1 'model name' /proc/cpuinfo >notes/body.data", isolated, here.Processor, "is the model of this machine's processor"},
		"boot time":        {"grep btime /proc/stat >notes/body.data", isolated, here.Booted, "is the time at which this machine was started"},
		"memory":           {"head -1 /proc/meminfo >notes/body.data", isolated, fmt.Sprint(here.Memory), "is the size of this machine's memory"},
		"name":             {"uname -n >notes/body.data", sandbox.TierC, longer(here.Name), "is the name of this machine"},
		"path":             {`echo "$CABINCREW_WORKSPACE" >notes/body.data`, sandbox.TierC, "yes", "is where the workspace lies outside of the sandbox"},
		"described":        {`cp "$CABINCREW_WORKSPACE/VERSION" notes/body.data; on=$(cat /proc/sys/kernel/random/boot_id)`, isolated, here.BootID, "artifact notes, artifact.json, byte "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.have == "" {
				t.Skip("this machine has none")
			}
			script := strings.Replace(bad(t, "evidence", c.line), `"metadata":{`, `"metadata":{"on":"'${on-}'",`, 1)
			r := newRig(t, c.tier, script, PlanMachine)
			got := r.result(r.run(), PlanMachine)
			if got.Status != Fail || !strings.Contains(got.Detail, c.want) || got.Remedy == "" {
				t.Errorf("%+v, want %q", got, c.want)
			}
		})
	}
}

func longer(name string) string {
	if len(name) < 4 || name == "localhost" {
		return "" // too short to say anything for sure
	}
	return name
}

// TestProcessors: the second run has one processor only. The number of all of them,
// which stays, may be a chance.
func TestProcessors(t *testing.T) {
	t.Parallel()
	if !processors() {
		t.Skip("this machine has one processor")
	}
	r := newRig(t, best().Isolation.Tier, bad(t, "evidence", "nproc >notes/body.data"), PlanRepeat)
	got := r.result(r.run(), PlanRepeat)
	if got.Status != Fail || !strings.HasSuffix(got.Detail, "it depends on the number of processors") {
		t.Errorf("%+v", got)
	}
	r = newRig(t, best().Isolation.Tier, bad(t, "evidence", "echo jobs=$(nproc) >notes/body.data"), PlanMachine)
	report := r.run()
	got = r.result(report, PlanMachine)
	want := fmt.Sprintf("artifact notes, body.data, byte 5: \"%d\" may be the number of this machine's processors", thisHost().Processors)
	if got.Status != Warn || got.Detail != want || got.Remedy == "" || report.Warned != 1 || report.Failed != 0 {
		t.Errorf("%+v, want %s", got, want)
	}
}

// TestAnotherDay: local time is of another day in the second run, at any hour.
func TestAnotherDay(t *testing.T) {
	t.Parallel()
	r := newRig(t, best().Isolation.Tier, bad(t, "evidence", "date +%j >notes/body.data"), PlanRepeat)
	if got := r.result(r.run(), PlanRepeat); got.Status != Fail || !strings.HasSuffix(got.Detail, "it depends on the time zone") {
		t.Errorf("%+v", got)
	}
	for hour := range 24 {
		now := time.Date(2026, 3, 1, hour, 30, 0, 0, time.UTC)
		location, err := time.LoadLocation(zone(now))
		if err != nil {
			t.Skip("there is no data base of time zones:", err)
		}
		if now.In(location).YearDay() == now.YearDay() {
			t.Errorf("at %s it is the same day in %s", now, location)
		}
	}
}

// TestGivenIsNoFact: what stands in the workspace may be copied.
func TestGivenIsNoFact(t *testing.T) {
	t.Parallel()
	release := thisHost().Release
	if release == "" {
		t.Skip("the kernel's release is not known")
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/VERSION", []byte("made for "+release+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, best().Isolation.Tier, good, PlanMachine)
	r.o.Workspace = dir
	if got := r.result(r.run(), PlanMachine); got.Status != Pass {
		t.Errorf("%+v", got)
	}
}

func testHost() host {
	return host{
		BootID: "0f0e0d0c-0b0a-4908-8706-050403020100", Release: "6.1.0-13-amd64", Version: "#1 SMP Debian", Name: "runner7.example.com",
		Processor: "Some CPU @ 2.00GHz", Processors: 16, Booted: "1790000000", Memory: 16_000_000 << 10,
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"":                                     "",
		"0F0E0D0C-0B0A-4908-8706-050403020100": "boot id",
		"x0f0e0d0c0b0a49088706050403020100x":   "boot id",
		"Linux 6.1.0-13-amd64":                 "release of this machine's kernel",
		"needs 6.1.0":                          "?release of this machine's kernel",
		"needs 6.1.01":                         "",
		"needs 6.1.0.1":                        "",
		"on runner7":                           "name of this machine",
		"on runner71":                          "",
		"1790000000000":                        "started",
		"MemTotal: 16000000 kB":                "size of this machine's memory",
		"116000000":                            "",
		"15625 MiB":                            "?size of this machine's memory",
		"15 files, 16 lines":                   "",
		"memory: 15 GiB":                       "?size of this machine's memory",
		"16":                                   "?number of this machine's processors",
		"a\n  16\nb":                           "?number of this machine's processors",
		`{"workers": 16}`:                      "?number of this machine's processors",
		`{"lines": 16}`:                        "",
		"workers 1.16 16.2 16,000 a16 16b":     "",
		"workers: 16.":                         "?number of this machine's processors",
	} {
		hits := search([]text{{"it", []byte(data)}}, testHost().facts(), given{})
		switch {
		case want == "" && len(hits) == 0:
		case want == "" || len(hits) == 0 || !strings.HasSuffix(hits[0].fact.name, strings.TrimPrefix(want, "?")) && !strings.Contains(hits[0].fact.name, strings.TrimPrefix(want, "?")) || hits[0].fact.weak != strings.HasPrefix(want, "?"):
			t.Errorf("%q: %v, want %q", data, hits, want)
		}
	}
	if hits := search([]text{{"it", []byte("on runner7, 16 cores")}}, testHost().facts(), given{texts: []text{{data: []byte("runner7 has 16 cores")}}}); len(hits) > 0 {
		t.Error("what was given was found:", hits)
	}
}

func FuzzSearch(f *testing.F) {
	f.Add([]byte("16\n6.1.0-13-amd64 \xff\x00 memory 15"), []byte("16"))
	facts := append(testHost().facts(), timeFacts(time.Unix(1790000000, 0), time.Unix(1790000001, 0))...)
	f.Fuzz(func(t *testing.T, data, copied []byte) {
		var g given
		g.add(copied)
		for _, h := range search([]text{{"it", data}}, facts, g) {
			if h.offset < 0 || string(data[h.offset:h.offset+len(h.form)]) != h.form {
				t.Fatalf("%+v in %q", h, data)
			}
		}
	})
}
