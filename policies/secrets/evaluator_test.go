package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf16"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

const stamp = "2026-01-02T03:04:05.000Z"

// Secrets are put together here, so that no scanner finds them in the source.
func awsKey() string    { return "AK" + "IA" + "Z5Q7RTWBPNX3" + "KLDV" }
func githubPat() string { return "gh" + "p_" + "k3Jd82hFq0ZxT5vN7bWm" + "1RcYp9LsAu4GeXyz" }

func privateKey() string {
	random := rand.New(rand.NewPCG(3, 3))
	var b strings.Builder
	b.WriteString("-----BEGIN RSA PRIV" + "ATE KEY-----\n")
	for range 12 {
		line := make([]byte, 48)
		for i := range line {
			line[i] = byte(random.IntN(256))
		}
		b.WriteString(base64.StdEncoding.EncodeToString(line) + "\n")
	}
	return b.String() + "-----END RSA PRIV" + "ATE KEY-----\n"
}

// stored is Bodies of a map.
type stored map[string]string

func (s stored) Open(name string) (io.ReadCloser, error) {
	body, ok := s[name]
	if !ok {
		return nil, errors.New("there is no such body")
	}
	return io.NopCloser(iotest.OneByteReader(strings.NewReader(body))), nil
}

type quick map[string]string

func (s quick) Open(name string) (io.ReadCloser, error) {
	body, ok := s[name]
	if !ok {
		return nil, errors.New("there is no such body")
	}
	return io.NopCloser(strings.NewReader(body)), nil
}

func must(t testing.TB, o Options) *Evaluator {
	t.Helper()
	ev, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func judge(t testing.TB, ev *Evaluator, in policies.Input) []policies.Finding {
	t.Helper()
	r, err := ev.Evaluate(t.Context(), in, stamp)
	if err != nil {
		t.Fatal(err)
	}
	return r.Discreet().Findings
}

// brief describes findings in a line each.
func brief(list []policies.Finding) string {
	var out []string
	for i := range list {
		f := &list[i]
		text := strings.TrimPrefix(f.PolicyID, "secrets/") + "@" + fmt.Sprint(f.Evidence["part"])
		if l, ok := f.Evidence["line"]; ok {
			text += fmt.Sprintf(":%v:%v", l, f.Evidence["column"])
		}
		if e, ok := f.Evidence["encoding"]; ok {
			text += " " + fmt.Sprint(e)
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// safe checks what holds for each finding: no value anywhere, a valid form.
func safe(t *testing.T, list []policies.Finding, values ...string) {
	t.Helper()
	for i := range list {
		f := &list[i]
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if bytes.Contains(text, []byte(v)) || len(v) > 12 && bytes.Contains(text, []byte(v[:12])) {
				t.Errorf("the finding holds the value: %s", f.PolicyID)
			}
		}
		if _, err := protocol.Canonical(f.Evidence); err != nil {
			t.Errorf("the evidence is not canonical: %v", err)
		}
		if f.Source != "custom" || f.EvaluatedAt != stamp || !f.Decision.Valid() || f.Severity != f.Decision.Severity() || f.Reason == "" {
			t.Errorf("malformed: %+v", f)
		}
	}
}

func body(text string) policies.Input {
	return policies.Input{Artifacts: []policies.Artifact{{Name: "out.txt", Role: "evidence", ArtifactType: "report", Mime: "text/plain", Body: text, Size: int64(len(text))}}}
}

func lines64(s string, width int) string {
	var b strings.Builder
	for i := 0; i < len(s); i += width {
		b.WriteString(s[i:min(i+width, len(s))] + "\n")
	}
	return b.String()
}

func wideText(s string) []byte {
	var out []byte
	for _, c := range utf16.Encode([]rune(s)) {
		out = append(out, byte(c), byte(c>>8))
	}
	return out
}

func std(s string) string   { return base64.StdEncoding.EncodeToString([]byte(s)) }
func hexed(s string) string { return hex.EncodeToString([]byte(s)) }

// spaced writes bytes one by one.
func spaced(format, sep, s string) string {
	var out []string
	for i := range len(s) {
		out = append(out, fmt.Sprintf(format, s[i]))
	}
	return strings.Join(out, sep)
}

func percentAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02x", s[i])
	}
	return b.String()
}

func TestBodies(t *testing.T) {
	t.Parallel()
	ev := must(t, Options{})
	aws, pat, pem := awsKey(), githubPat(), privateKey()
	long := "some text before it, so that it has several lines; token " + pat + " and more behind it, up to the end of it all."
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":               {"hello\nworld, no secret = here\n", ""},
		"empty":                 {"", ""},
		"plain":                 {"id: " + aws + "\n", "aws-access-token@body:1:5"},
		"no newline":            {"a\n\n  " + pat, "github-pat@body:3:3"},
		"allow comment":         {pat + " # gitleaks:" + "allow\n", "github-pat@body:1:1"},
		"twice on a line":       {pat + " " + pat + "\n", "github-pat@body:1:1"},
		"on two lines":          {pat + "\n" + pat + "\n", "github-pat@body:1:1; github-pat@body:2:1"},
		"private key":           {"x\n" + pem, "private-key@body:2:1"},
		"crlf":                  {"a\r\nb " + pat + "\r\n", "github-pat@body:2:3"},
		"invalid utf-8":         {"\xff\xfe\x00" + pat + "\xc3\n", "github-pat@body:1:4"},
		"base64":                {"data: " + std("user:"+aws+"\n") + "\n", "aws-access-token@body:1:13 base64"},
		"base64 url":            {"d=" + base64.URLEncoding.EncodeToString([]byte("???>>>~"+pat+"???")) + "\n", "github-pat@body:1:12 base64"},
		"base64 raw":            {base64.RawStdEncoding.EncodeToString([]byte(" id " + aws)), "aws-access-token@body:1:6 base64"},
		"base64 url raw":        {base64.RawURLEncoding.EncodeToString([]byte("\xff\xff " + aws)), "aws-access-token@body:1:5 base64"},
		"base64 after a path":   {"https://host/some/path/" + std("{\"id\":\""+aws+"\"}"), "aws-access-token@body:1:33 base64"},
		"base64 in lines":       {"-- begin\n" + lines64(std(long), 40) + "-- end\n", "github-pat@body:3:37 base64"},
		"base64 indented":       {"a: |\n    " + strings.ReplaceAll(lines64(std(long), 60), "\n", "\r\n    "), "github-pat@body:3:21 base64"},
		"base64 in quotes":      {"x = \"" + strings.ReplaceAll(strings.TrimSpace(lines64(std(long), 60)), "\n", "\" +\n\t\"") + "\"\n", "github-pat@body:2:19 base64"},
		"base64 of utf-16":      {"powershell -enc " + base64.StdEncoding.EncodeToString(wideText("$t = '"+pat+"'")), "github-pat@body:1:33 base64>UTF-16"},
		"key outside":           {"aws_secret_key = " + std(aws), "aws-access-token@body:1:18 base64; generic-api-key@body:1:18"},
		"hex":                   {"x " + hexed("id="+aws), "aws-access-token@body:1:9 hex"},
		"HEX":                   {strings.ToUpper(hexed(aws)), "aws-access-token@body:1:1 hex"},
		"odd hex":               {"0" + hexed(aws), "aws-access-token@body:1:2 hex"},
		"percent":               {"u=1&k=" + percentAll(aws) + "&z", "aws-access-token@body:1:7 percent"},
		"some percent":          {"https://h/?t=gh" + "p%5F" + pat[4:] + "&x=y", "github-pat@body:1:14 percent"},
		"query":                 {url.QueryEscape("{\"token\": \"" + pat + "\"}"), "github-pat@body:1:22"},
		"unicode escapes":       {`{"id": "\u0041` + aws[1:] + `"}`, "aws-access-token@body:1:9 backslash"},
		"hex escapes":           {`"\x41` + aws[1:] + `"`, "aws-access-token@body:1:2 backslash"},
		"quotes in quotes":      {`{"sh": "export API_TOKEN=\"` + "q8Zr2" + `Lw0vXs71Kd9\""}`, "generic-api-key@body:1:28 backslash"},
		"hex in base64":         {std(hexed("key " + aws)), "aws-access-token@body:1:11 base64>hex"},
		"base64 thrice":         {std("a " + std("b "+std("c "+aws+" "))), "aws-access-token@body:1:10 base64>base64>base64"},
		"percent in base64":     {std("k=" + percentAll(aws)), "aws-access-token@body:1:3 base64>percent"},
		"all three":             {percentAll(std(hexed(aws))), "aws-access-token@body:1:1 percent>base64>hex"},
		"utf-16":                {string(wideText("id: " + aws + "\n")), "aws-access-token@body:1:9 UTF-16"},
		"utf-16 with a mark":    {"\xff\xfe" + string(wideText("a\nid: "+aws)), "aws-access-token@body:2:10 UTF-16"},
		"utf-16 big endian":     {"\xfe\xff\x00" + string(wideText("a\nid: "+aws)), "aws-access-token@body:2:10 UTF-16"},
		"utf-16 at odd":         {"x\x00\x01" + string(wideText("Ā𝄞: "+aws+" é")), "aws-access-token@body:1:14 UTF-16"},
		"utf-16 after text":     {"plain text\n" + string(wideText("漢字 漢字 "+pat+"漢")), "github-pat@body:2:13 UTF-16"},
		"base64 in utf-16":      {string(wideText("漢 " + std("id "+aws))), "aws-access-token@body:1:13 UTF-16>base64"},
		"hex of utf-16":         {hexed(string(wideText("id " + aws))), "aws-access-token@body:1:13 hex>UTF-16"},
		"thrice, of utf-16":     {std("a " + std("b "+std(string(wideText("c "+aws+" "))))), "aws-access-token@body:1:15 base64>base64>base64>UTF-16"},
		"key outside utf-16":    {"api_key = " + std(string(wideText("q8Zr2"+"Lw0vXs71Kd9"))), "generic-api-key@body:1:11"},
		"escaped utf-16":        {strings.ReplaceAll(string(wideText("id "+aws)), "\x00", `\u0000`), "aws-access-token@body:1:22 backslash>UTF-16"},
		"braces":                {`"\u{41}` + aws[1:] + `"`, "aws-access-token@body:1:2 backslash"},
		"hex braces":            {`"\x{0041}` + aws[1:] + `"`, "aws-access-token@body:1:2 backslash"},
		"eight digits":          {`"\U00000041` + aws[1:] + `"`, "aws-access-token@body:1:2 backslash"},
		"octal":                 {`"\101` + aws[1:] + `"`, "aws-access-token@body:1:2 backslash"},
		"hex with spaces":       {spaced("%02x", " ", "id "+aws), "aws-access-token@body:1:10 hex"},
		"hex with colons":       {spaced("%02X", ":", "id "+aws), "aws-access-token@body:1:10 hex"},
		"hex numbers":           {"{" + spaced("0x%02x", ", ", "id "+aws) + "}", "aws-access-token@body:1:22 hex"},
		"hex numbers, tight":    {"{" + spaced("0x%02x", ",", "id "+aws) + "}", "aws-access-token@body:1:19 hex"},
		"base64 with newlines":  {`{"k": "` + strings.ReplaceAll(lines64(std(long), 76), "\n", `\n`) + `"}`, "github-pat@body:1:86 base64"},
		"base64 with crlf":      {`{"k": "` + strings.ReplaceAll(lines64(std(long), 76), "\n", `\r\n`) + `"}`, "github-pat@body:1:88 base64"},
		"base64 in comments":    {"// " + strings.ReplaceAll(lines64(std(long), 76), "\n", "\n// "), "github-pat@body:2:4 base64"},
		"base64 after #":        {"# " + strings.ReplaceAll(lines64(std(long), 76), "\n", "\n# "), "github-pat@body:2:3 base64"},
		"base64 in a list":      {"  - \"" + strings.ReplaceAll(lines64(std(long), 76), "\n", "\"\n  - \""), "github-pat@body:2:6 base64"},
		"base64 in short lines": {lines64(std(long), 12), "github-pat@body:7:5 base64"},
		"base64, four a line":   {"x = \\\n" + lines64(std(long), 4), "github-pat@body:21:1 base64"},
		"base64, both lengths":  {std(long)[:20] + "\n" + lines64(std(long)[20:], 15), "github-pat@body:5:12 base64"},
		"four are too many":     {std("a " + std("b "+std("c "+std("d "+aws+" ")))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := judge(t, ev, body(tc.text))
			if b := brief(got); b != tc.want {
				t.Errorf("found %q, want %q", b, tc.want)
			}
			safe(t, got, aws, pat)
		})
	}
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	for d, role := range map[protocol.Decision]string{"": "", protocol.Deny: "", protocol.Warn: "", protocol.RequireApproval: "security"} {
		ev := must(t, Options{Decision: d, Role: "security", Values: map[string]string{"TOKEN": "opensesame"}})
		list := judge(t, ev, body(awsKey()+" opensesame"))
		safe(t, list, awsKey(), "opensesame")
		want := d
		if want == "" {
			want = protocol.Deny
		}
		if len(list) != 2 {
			t.Fatalf("%d findings", len(list))
		}
		for _, f := range list {
			if f.PolicyID == "secrets/value" {
				if f.Decision != protocol.Deny || f.Rule != "" || f.Evidence["secret"] != "TOKEN" || f.Evidence["fingerprint"] != nil {
					t.Errorf("a mapped value: %+v", f)
				}
			} else if f.Decision != want || f.Role != role || f.Rule != "aws-access-token" || f.Artifact != "out.txt" {
				t.Errorf("%s: %+v", d, f)
			}
		}
	}
	for name, o := range map[string]Options{"allow": {Decision: protocol.Allow}, "else": {Decision: "maybe"}, "short": {Values: map[string]string{"A": "abc"}}} {
		if _, err := New(o); protocol.ExitCode(err) != protocol.ExitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	value := "correct horse/battery+staple"
	ev := must(t, Options{Values: map[string]string{"PASS": value, "SAME": value}})
	for name, text := range map[string]string{
		"plain": value, "base64": std("x:" + value), "hex": hexed(value), "percent": url.QueryEscape(value),
		"utf-16": string(wideText("a\n" + value)), "big endian": "\x00" + string(wideText(value))[:2*len(value)-1], "powershell": std(string(wideText(value))),
		"twice": std("a " + hexed("b "+value)), "thrice": percentAll(std(std(value))),
	} {
		list := judge(t, ev, body("log: "+text+"\n"))
		safe(t, list, value)
		if len(list) == 0 || list[0].PolicyID != "secrets/value" || list[0].Decision != protocol.Deny {
			t.Errorf("%s: %s", name, brief(list))
		}
	}
	for _, value := range []string{"h7-Zz%q!pw/9\n", "h7-Zz%q!pw/9\r", " h7-Zz%q!pw/9"} {
		ev := must(t, Options{Values: map[string]string{"TOK": value}})
		if list := judge(t, ev, body("h7-Zz%q!pw/9")); brief(list) != "value@body:1:1" {
			t.Errorf("%q: %s", value, brief(list))
		}
	}
	// A value that a patch takes out still leaves with the patch.
	in := policies.Input{Artifacts: []policies.Artifact{{Name: "p", ArtifactType: "patch", Patch: &policies.Patch{Files: []policies.PatchFile{{
		Op: "modify", Path: "f", Hunks: []policies.Hunk{{Lines: []policies.Line{{Op: "-", Line: 1, Text: value}, {Op: "-", Line: 2, Text: githubPat()}}}},
	}}}}}}
	if got := brief(judge(t, ev, in)); got != "value@deleted" {
		t.Errorf("deleted: %q", got)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	ev := must(t, Options{Values: map[string]string{"V": "open sesame now"}})
	line := strings.Repeat("ordinary text of a log; ", 4) + "\n"
	for _, at := range []int{0, limits.SecretChunk - limits.SecretOverlap - 20, limits.SecretChunk - 20, limits.SecretChunk, 2*limits.SecretChunk - limits.SecretOverlap - 5} {
		filler := strings.Repeat(line, at/len(line))
		filler += strings.Repeat(" ", at-len(filler))
		text := filler + "\n\tx = \"" + githubPat() + "\"; open sesame now\n" + strings.Repeat(line, limits.SecretChunk/len(line))
		in := body("")
		in.Artifacts[0].Body, in.Artifacts[0].Size, in.Artifacts[0].Digest = nil, int64(len(text)), protocol.Digest([]byte(text))
		in.Bodies = quick(map[string]string{"out.txt": text})
		n := strings.Count(filler, "\n") + 2
		want := fmt.Sprintf("github-pat@body:%d:7; value@body:%d:50", n, n)
		if got := brief(judge(t, ev, in)); got != want {
			t.Errorf("at %d: found %q, want %q", at, got, want)
		}
	}
	in := body("")
	in.Artifacts[0].Body, in.Artifacts[0].Size, in.Artifacts[0].Digest = nil, 1, protocol.Digest([]byte("x"))
	in.Bodies = stored(map[string]string{"out.txt": "one " + githubPat()})
	if got := brief(judge(t, ev, in)); got != "github-pat@body:1:5" {
		t.Errorf("byte by byte: %q", got)
	}
	in.Bodies = stored(nil)
	if got := brief(judge(t, ev, in)); got != "unjudged@<nil>" {
		t.Errorf("no body: %q", got)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	if list := judge(t, must(t, Options{Bytes: 2000}), body(strings.Repeat("x ", 2000))); brief(list) != "unjudged@<nil>" || !list[0].Unjudged || list[0].Decision != protocol.Deny || list[0].Rule != "" {
		t.Errorf("bytes: %+v", list)
	}
	ev := must(t, Options{Decision: protocol.Warn})
	ev.o.Time = time.Nanosecond
	if list := judge(t, ev, body("x")); len(list) != 1 || !list[0].Unjudged || list[0].Decision != protocol.Deny {
		t.Errorf("time: %+v", list)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := must(t, Options{}).Evaluate(ctx, body("x"), stamp); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := must(t, Options{Bytes: 2000}).Scan(t.Context(), "x", strings.NewReader(strings.Repeat("x", 3000))); protocol.ExitCode(err) != protocol.ExitDenied {
		t.Errorf("scan: %v", err)
	}
	many := strings.Builder{}
	for i := range limits.SecretFindings + 7 {
		fmt.Fprintf(&many, "%s%04d\n", githubPat()[:36], i)
	}
	list := judge(t, must(t, Options{}), body(many.String()))
	if len(list) != limits.SecretFindings+1 || !list[len(list)-1].Unjudged {
		t.Errorf("%d findings", len(list))
	}
	if _, err := must(t, Options{}).Scan(t.Context(), "x", strings.NewReader(many.String())); protocol.ExitCode(err) != protocol.ExitDenied {
		t.Errorf("scan: %v", err)
	}
}

// TestHostile holds every text to a bound of time; all but the last are searched.
func TestHostile(t *testing.T) {
	t.Parallel()
	ev := must(t, Options{})
	var soup strings.Builder
	for soup.Len() < 1<<17/share {
		soup.WriteString(strings.Join(ev.e.keywords, ""))
	}
	nested := "x" + githubPat()
	for range 12 {
		nested = std(nested)
	}
	for name, text := range map[string]string{
		"one letter":       strings.Repeat("a", 8<<20/share),
		"V is U is U":      strings.Repeat("V", 1<<20/share),
		"percent signs":    strings.Repeat("%", 4<<20/share),
		"percent percent":  strings.Repeat("%25", 1<<20/share),
		"backslashes":      strings.Repeat("\\", 4<<20/share),
		"quotes":           strings.Repeat("\\\"", 1<<20/share),
		"keywords":         soup.String(),
		"keys":             strings.Repeat("key=", 1<<16/share),
		"tokens":           strings.Repeat("token = abcdefghijklmnop.", 1<<13/share),
		"begins":           strings.Repeat("-----BEGIN PRIV"+"ATE KEY-----", 1<<14/share),
		"curls":            strings.Repeat("curl -H ", 1<<16/share),
		"short lines":      strings.Repeat("abcdefghijklmnop\n", 1<<16/share),
		"newlines":         strings.Repeat("\n", 4<<20/share),
		"nested":           nested,
		"invalid":          strings.Repeat("\xff\xc3key=\xe2\x84", 1<<17/share),
		"kelvin":           "\u212a" + strings.Repeat("ordinary text, a key and a token\n", 1<<12/share),
		"base64 of base64": std(std(std(strings.Repeat("token ", 1<<17/share)))),
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			list := judge(t, ev, body(text))
			t.Logf("%d bytes in %s: %.200s", len(text), time.Since(begin).Round(time.Millisecond), brief(list))
			if time.Since(begin) > 60*time.Second {
				t.Errorf("%d bytes took %s", len(text), time.Since(begin))
			}
		})
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	ev := must(t, Options{Values: map[string]string{"V": "open sesame now"}})
	list, err := ev.Scan(t.Context(), "prompt", strings.NewReader("b\n "+githubPat()+" open sesame now"))
	if err != nil || len(list) != 2 {
		t.Fatalf("%v %v", list, err)
	}
	m := list[0]
	if m.Rule != "github-pat" || m.Line != 2 || m.Column != 2 || m.File != "prompt" || m.Fingerprint != Fingerprint("github-pat", githubPat()) || m.Entropy == "" {
		t.Errorf("%+v", m)
	}
	if m := list[1]; m.Rule != RuleValue || m.Secret != "V" || m.Fingerprint != "" || m.Entropy != "" {
		t.Errorf("%+v", m)
	}
	broken := io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errors.New("broken")))
	if _, err := ev.Scan(t.Context(), "x", broken); protocol.ExitCode(err) != protocol.ExitDenied {
		t.Errorf("%v", err)
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	ev := must(t, Options{})
	done := make(chan string)
	for i := range 8 {
		go func() {
			r, err := ev.Evaluate(t.Context(), body(strings.Repeat("key\n", i)+githubPat()+"\n"+std(awsKey()+"\n")), stamp)
			if err != nil {
				done <- err.Error()
				return
			}
			done <- brief(r.Findings)
		}()
	}
	for range 8 {
		if got := <-done; !strings.HasPrefix(got, "github-pat@body:") || !strings.Contains(got, "; aws-access-token@body:") {
			t.Error(got)
		}
	}
}

func TestCanary(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no rules":      `{"rules": []}`,
		"another rule":  `{"rules": [{"id": "aws-access-token", "regex": "nothing like it", "keywords": ["akia"]}]}`,
		"all is secret": `{"rules": [{"id": "aws-access-token", "regex": "[a-zA-Z0-9]{4,}"}]}`,
	} {
		f, err := loadRules([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		ev := &Evaluator{o: Options{Time: time.Minute, Bytes: 1 << 20}, e: newEngine(f)}
		ev.workers.New = func() any { return &worker{s: newScanner(ev.e)} }
		if err := ev.canary(); protocol.ExitCode(err) != protocol.ExitDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := loadRules([]byte("{")); protocol.ExitCode(err) != protocol.ExitFailure {
		t.Errorf("%v", err)
	}
}
