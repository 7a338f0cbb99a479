package jsonrpc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each parser gets base64 documents, one a line, and prints of each a dump that has
// one form: names in the order of their UTF-8, numbers as doubles, texts in hex.
const (
	inNode = `
const dump = v => v === null ? "n" : v === true ? "t" : v === false ? "f" :
  typeof v === "number" ? (() => { const b = Buffer.alloc(8); b.writeDoubleBE(v === 0 ? 0 : v); return "d" + b.toString("hex") })() :
  typeof v === "string" ? "s" + Buffer.from(v, "utf8").toString("hex") :
  Array.isArray(v) ? "[" + v.map(dump).join(",") + "]" :
  "{" + Object.keys(v).map(k => [Buffer.from(k, "utf8"), v[k]]).sort((a, b) => Buffer.compare(a[0], b[0])).map(e => e[0].toString("hex") + ":" + dump(e[1])).join(",") + "}";
const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(l => l);
console.log(lines.map(l => { try { return dump(JSON.parse(new TextDecoder("utf-8", {fatal: true, ignoreBOM: true}).decode(Buffer.from(l, "base64")))) } catch (e) { return "refused: " + e } }).join("\n"));`
	inPython = `
import sys, json, base64, struct
def dump(v):
    if v is None: return "n"
    if v is True: return "t"
    if v is False: return "f"
    if isinstance(v, (int, float)): return "d" + struct.pack(">d", float(v) if v else 0.0).hex()
    if isinstance(v, str): return "s" + v.encode("utf-8").hex()
    if isinstance(v, list): return "[" + ",".join(map(dump, v)) + "]"
    return "{" + ",".join(k.hex() + ":" + dump(e) for k, e in sorted((k.encode("utf-8"), e) for k, e in v.items())) + "}"
def one(line):
    try: return dump(json.loads(base64.b64decode(line).decode("utf-8")))
    except Exception as e: return "refused: " + repr(e)
print("\n".join(one(l) for l in sys.stdin.read().split()))`
)

func dump(v any) string {
	switch v := v.(type) {
	case nil:
		return "n"
	case bool:
		return map[bool]string{true: "t", false: "f"}[v]
	case json.Number:
		f, err := strconv.ParseFloat(v.String(), 64)
		if err != nil {
			return "refused: " + err.Error()
		}
		if f == 0 {
			f = 0
		}
		return fmt.Sprintf("d%016x", math.Float64bits(f+0))
	case string:
		return "s" + hexOf([]byte(v))
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			parts = append(parts, dump(e))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		parts := make([]string, 0, len(v))
		for _, k := range keys {
			parts = append(parts, hexOf([]byte(k))+":"+dump(v[k]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	return fmt.Sprintf("refused: %T", v)
}

// mutants are messages with a few bytes of another one, or of what parsers stumble
// over, in them.
func mutants(n int) [][]byte {
	r := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // the same on every run
	seeds := taken()
	for _, all := range refusals() {
		for _, raw := range all {
			if len(raw) < 1000 {
				seeds = append(seeds, raw)
			}
		}
	}
	slices.Sort(seeds)
	bits := []string{`"`, `\`, `\u0000`, `\ud800`, "\xff", "\ufeff", "\u200b", ",", ":", "{}", "[]", "1e5", "-0", "null", ` `, "\n", "\x00", `"a":1,`, `"name":"x",`, "\u017f", "\u212a", `\u006e`, "/*x*/", "0", ".", "}", "]"}
	out := make([][]byte, 0, n)
	for len(out) < n {
		b := []byte(seeds[r.IntN(len(seeds))])
		for range 1 + r.IntN(2) {
			if len(b) == 0 {
				break
			}
			at := r.IntN(len(b))
			to := at
			if r.IntN(2) == 0 {
				to = min(len(b), at+1+r.IntN(3))
			}
			b = slices.Concat(b[:at], []byte(bits[r.IntN(len(bits))]), b[to:])
		}
		out = append(out, b)
	}
	return out
}

// TestOthersReadTheSame holds what is taken against other parsers: they take it too,
// and read the same.
func TestOthersReadTheSame(t *testing.T) {
	t.Parallel()
	all := mutants(20000)
	for _, raw := range taken() {
		if _, err := Scan([]byte(raw), Options{}); err != nil {
			t.Errorf("%q is refused: %v", raw, err)
		}
		all = append(all, []byte(raw))
	}
	for _, list := range refusals() {
		for _, raw := range list {
			all = append(all, []byte(raw))
		}
	}
	var docs, dumps []string
	for _, raw := range all {
		if m, err := Scan(raw, Options{}); err == nil {
			faithful(t, raw, m)
			docs = append(docs, string(m.Raw))
			dumps = append(dumps, dump(plainTree(t, m.Raw)))
		}
	}
	t.Logf("%d of %d messages are taken", len(docs), len(all))
	if len(docs) < 500 {
		t.Errorf("too few are taken to say anything")
	}
	for name, command := range map[string][]string{"node": {"-e", inNode}, "python3": {"-c", inPython}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(name)
			if err != nil {
				t.Skipf("no %s on this machine: %v", name, err)
			}
			var in bytes.Buffer
			for _, d := range docs {
				in.WriteString(base64.StdEncoding.EncodeToString([]byte(d)) + "\n")
			}
			run := exec.CommandContext(t.Context(), path, command...) //nolint:gosec // a program of this test
			run.Stdin = &in
			out, err := run.Output()
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if len(lines) != len(docs) {
				t.Fatalf("%d answers to %d documents", len(lines), len(docs))
			}
			for i := range docs {
				if lines[i] != dumps[i] {
					t.Errorf("%q\n %s reads %s\n Go reads %s", docs[i], name, lines[i], dumps[i])
				}
			}
		})
	}
}

func hexOf(b []byte) string { return fmt.Sprintf("%x", b) }
