package secrets

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/zricethezav/gitleaks/v8/detect"
	"github.com/zricethezav/gitleaks/v8/report"
)

// oracle is gitleaks' own detector with the rules that it comes with.
func oracle(t testing.TB) *detect.Detector {
	t.Helper()
	c, err := upstream()
	if err != nil {
		t.Fatal(err)
	}
	d := detect.NewDetector(c)
	d.IgnoreGitleaksAllow = true
	return d
}

var testRules = sync.OnceValues(func() (*ruleFile, error) { return loadRules(ruleText) })

// exactEngine passes over the paths that gitleaks passes over.
func exactEngine(t testing.TB) *engine {
	t.Helper()
	f, err := testRules()
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(f)
	e.everyPath = true
	return e
}

// seen is a finding in the words of gitleaks, without its value in full when shown.
type seen struct {
	rule                        string
	line, column, toLine, toCol int
	secret, match, around       string
	entropy                     float64
}

func (s seen) String() string {
	return fmt.Sprintf("%s at %d:%d-%d:%d, secret of %d bytes, entropy %.3f", s.rule, s.line, s.column, s.toLine, s.toCol, len(s.secret), s.entropy)
}

func theirs(list []report.Finding) []seen {
	var out []seen
	for i := range list {
		f := &list[i]
		if strings.HasPrefix(f.Match, "file detected: ") {
			continue // by the path alone
		}
		out = append(out, seen{f.RuleID, f.StartLine, f.StartColumn, f.EndLine, f.EndColumn, f.Secret, f.Match, f.Line, float64(f.Entropy)})
	}
	return sorted(out)
}

// ours says of findings what gitleaks says, places counted in its way.
func ours(text string, list []finding) []seen {
	var ends []int
	for i := range len(text) {
		if text[i] == '\n' {
			ends = append(ends, i)
		}
	}
	lines := &lineIndex{text: []byte(text)}
	var out []seen
	for _, f := range list {
		s := plainLocation(ends, text, f.from, f.to)
		s.rule, s.secret, s.match, s.entropy = f.rule.ID, f.secret, text[f.at:f.at], f.entropy
		whole := text[f.from:]
		s.match = strings.TrimLeft(whole, "\n")[:f.to-f.from]
		from, to := lines.around(f.from, f.to)
		s.around = text[from:to]
		if s.line != f.line || text[f.at:f.at+len(f.secret)] != f.secret {
			s.rule += " (misplaced)"
		}
		out = append(out, s)
	}
	return sorted(out)
}

// plainLocation is how gitleaks counts lines and columns, one newline after another.
func plainLocation(ends []int, text string, from, to int) seen {
	if len(ends) == 0 {
		ends = []int{len(text)}
	}
	var s seen
	set, before := false, 0
	for i, end := range ends {
		if before <= from && from < end {
			set, s.line, s.toLine, s.column = true, i, i, from-before+1
		}
		if before < to && to <= end {
			s.toLine, s.toCol = i, to-before
		}
		before = end
	}
	if !set {
		s.line, s.toLine, s.column, s.toCol = len(ends), len(ends), from-before+1, to-before
	}
	return s
}

func sorted(list []seen) []seen {
	slices.SortFunc(list, func(a, b seen) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column), cmp.Compare(a.rule, b.rule), cmp.Compare(a.match, b.match))
	})
	return list
}

// compare gives what differs between the two ways to scan a text.
func compare(t testing.TB, d *detect.Detector, s *scanner, text, name string) (int, string) {
	t.Helper()
	found, err := s.rules(t.Context(), []byte(text), name)
	if err != nil {
		t.Fatal(err)
	}
	have, want := ours(text, found), theirs(d.Detect(detect.Fragment{Raw: text, FilePath: name})) //nolint:staticcheck // there is no other way in this version
	same := slices.EqualFunc(have, want, func(a, b seen) bool {
		near := math.Abs(a.entropy-b.entropy) < 1e-4
		a.entropy, b.entropy = 0, 0
		return near && a == b
	})
	if same {
		return len(want), ""
	}
	return len(want), fmt.Sprintf("%s (%d bytes): found\n  %v\ngitleaks found\n  %v", name, len(text), have, want)
}

func goSource(t testing.TB, dirs ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skipf("there is no go to ask for its source: %v", err)
	}
	base := strings.TrimSpace(string(goroot))
	for _, dir := range dirs {
		root := filepath.Join(base, "src", dir)
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(p)
			out[filepath.ToSlash(strings.TrimPrefix(p, base))] = string(data)
			return err
		})
		if err != nil {
			t.Skipf("the Go source is not here: %v", err)
		}
	}
	return out
}

// TestSameAsGitleaksOnSource compares over ordinary text: Go's own sources, tests
// with their keys and certificates among them.
func TestSameAsGitleaksOnSource(t *testing.T) {
	t.Parallel()
	d, s := oracle(t), newScanner(exactEngine(t))
	findings, size := 0, 0
	for name, text := range goSource(t, "crypto/tls", "net/http/httputil", "net/url", "encoding/pem", "net/smtp", "cmd/go/internal/auth") {
		if text = text[:len(text)/share]; share > 1 && len(text) < 1<<12 {
			continue
		}
		n, diff := compare(t, d, s, text, strings.TrimPrefix(name, "/"))
		if diff != "" {
			t.Error(diff)
		}
		findings, size = findings+n, size+len(text)
	}
	if findings < 5/share || size < 1<<20/share/2 {
		t.Fatalf("%d findings in %d bytes: the corpus is too poor", findings, size)
	}
	t.Logf("%d findings in %d bytes", findings, size)
}

// TestSameAsGitleaksOnEveryRule makes secrets of every rule from its expression, in
// several surroundings, and compares. No secret stands in this repository.
func TestSameAsGitleaksOnEveryRule(t *testing.T) {
	t.Parallel()
	d, e := oracle(t), exactEngine(t)
	s := newScanner(e)
	random := rand.New(rand.NewPCG(4, 2))
	hit := map[string]bool{}
	for _, r := range e.rules {
		if r.Regex == "" {
			continue
		}
		for round := range 4 {
			text := surround(random, round, sample(t, random, r))
			name := pathFor(r)
			if _, diff := compare(t, d, s, text, name); diff != "" {
				t.Error(diff)
			}
			found, err := s.rules(t.Context(), []byte(text), name)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				hit[f.rule.ID] = true
			}
		}
	}
	for _, r := range e.rules {
		if r.Regex != "" && !hit[r.ID] {
			t.Errorf("no secret of rule %s was found", r.ID)
		}
	}
}

// TestSameAsGitleaksOnSoup mixes secrets, keywords and pieces of them.
func TestSameAsGitleaksOnSoup(t *testing.T) {
	t.Parallel()
	d, e := oracle(t), exactEngine(t)
	s := newScanner(e)
	random := rand.New(rand.NewPCG(7, 7))
	separators := []string{" ", "\n", "=", " = \"", "\"", "\";\n", ": ", ",", "\\n", "\t", "ſ", "\u212a", "é", "\xff", "'", "`", "{", "-", "_", "."}
	findings := 0
	for round := range 24 / share {
		var b strings.Builder
		for b.Len() < 1500 {
			r := e.rules[random.IntN(len(e.rules))]
			text := ""
			switch {
			case r.Regex != "" && random.IntN(2) == 0:
				text = sample(t, random, r)
			case len(r.Keywords) > 0:
				text = r.Keywords[random.IntN(len(r.Keywords))]
			}
			if len(text) > 10 && random.IntN(3) == 0 {
				text = text[:random.IntN(len(text))]
			}
			sep := separators[random.IntN(len(separators))]
			if round%4 == 0 {
				odd := strings.NewReplacer("s", "ſ", "K", "\u212a", "i", "\u0130")
				text = []string{text, odd.Replace(text), strings.Replace(text, "s", "ſ", 1), strings.Replace(text, "k", "\u212a", 1)}[random.IntN(4)]
			}
			b.WriteString(text + sep)
		}
		n, diff := compare(t, d, s, b.String(), []string{"", "a.yaml", "b.tf", "c.php", "go.sum", "x/nuget.config"}[round%6])
		if findings += n; diff != "" {
			t.Error(diff)
		}
	}
	if findings < 150/share {
		t.Fatalf("only %d findings", findings)
	}
	t.Logf("%d findings", findings)
}

// FuzzSameAsGitleaks compares on any text.
func FuzzSameAsGitleaks(f *testing.F) {
	d, e := oracle(f), exactEngine(f)
	random := rand.New(rand.NewPCG(1, 1))
	for i, r := range e.rules {
		if r.Regex != "" {
			f.Add(surround(random, i, sample(f, random, r)), pathFor(r))
		}
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		if len(text) > 1<<14 {
			return
		}
		if _, diff := compare(t, d, newScanner(e), text, name); diff != "" {
			t.Fatal(diff)
		}
	})
}

func pathFor(r *rule) string {
	for _, p := range []string{"src/main.go", "a.php", "main.tf", "k8s.yaml", "nuget.config"} {
		if r.Path == "" || r.path().MatchString(p) {
			return p
		}
	}
	return "main.go"
}

func surround(random *rand.Rand, round int, secret string) string {
	filler := strings.Repeat("\tx := y + z // ordinary text\n", random.IntN(20))
	switch round % 6 {
	case 0:
		return secret
	case 1:
		return filler + "\"" + secret + "\"\n" + filler
	case 2:
		return filler + "value: " + secret + "\n" + secret + "\n" + filler
	case 3:
		return strings.Repeat("some prose with a key and a token; ", 40) + secret + strings.Repeat(" the access of the api", 40)
	case 4:
		return filler + "ä " + secret + " ö\r\n" + filler
	}
	return filler + secret
}

// sample gives a text that a rule matches and that holds one of its keywords.
func sample(t testing.TB, random *rand.Rand, r *rule) string {
	t.Helper()
	parsed, err := syntax.Parse(r.Regex, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		var b strings.Builder
		write(&b, random, parsed.Simplify(), 0)
		text := b.String()
		if r.regex().MatchString(text) && slices.ContainsFunc(r.Keywords, func(k string) bool { return strings.Contains(strings.ToLower(text), k) }) {
			return text
		}
	}
	text := ""
	if len(r.Keywords) > 0 {
		text = r.Keywords[0] + " "
	}
	var b strings.Builder
	write(&b, random, parsed.Simplify(), 0)
	return text + b.String()
}

// write writes a random text that an expression matches, assertions aside.
func write(b *strings.Builder, random *rand.Rand, re *syntax.Regexp, depth int) {
	repeat := func(low, high int) {
		n := low
		if high > low {
			n += random.IntN(high - low + 1)
		}
		for range n {
			write(b, random, re.Sub[0], depth+1)
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, c := range re.Rune {
			if re.Flags&syntax.FoldCase != 0 && random.IntN(2) == 0 {
				c = unicode.ToUpper(c)
			}
			b.WriteRune(c)
		}
	case syntax.OpCharClass:
		b.WriteRune(oneOf(random, re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte(byte('a' + random.IntN(26)))
	case syntax.OpCapture:
		write(b, random, re.Sub[0], depth)
	case syntax.OpStar:
		repeat(0, 30)
	case syntax.OpPlus:
		repeat(1, 30)
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			write(b, random, sub, depth)
		}
	case syntax.OpAlternate:
		write(b, random, re.Sub[random.IntN(len(re.Sub))], depth)
	}
}

// oneOf gives a character of a class, an ASCII one if there is any.
func oneOf(random *rand.Rand, class []rune) rune {
	var all []rune
	for i := 0; i < len(class); i += 2 {
		for c := class[i]; c <= min(class[i+1], 0x7e); c++ {
			if c >= ' ' || c == '\n' || c == '\t' {
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return class[0]
	}
	return all[random.IntN(len(all))]
}
