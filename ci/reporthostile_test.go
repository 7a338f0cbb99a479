package ci_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	ghtml "github.com/yuin/goldmark/renderer/html"
	"golang.org/x/net/html"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// hostile are texts that mean something to a forge, a renderer, a terminal or a CI
// platform, and pieces that change what others mean.
var hostile = []string{
	"@octocat", "@org/team", "#123", "GH-1", "owner/repo#1", "c0ffee42c0ffee42c0ffee42c0ffee42c0ffee42", "https://evil.test/x", "www.evil.test", "evil@evil.test",
	"![x](https://evil.test/p.png)", "[x](https://evil.test)", "[x]: https://evil.test", "[x]", "<https://evil.test>", "<img src=x onerror=y>", "<script>x</script>", "<a href=x>y</a>",
	"<!-- hidden -->", "<!--", "-->", "</details>", "<details open>", "</summary>", "<code>", "</code>", "</pre>", "<b>", "&lt;b&gt;", "&#64;octocat", "<![CDATA[", "<?x?>",
	"`", "``", "```", "````", "`````````", "```diff", "~~~", "~~~~", "\n```\n", "\n~~~\n", "\r\n```\r\n", "\n\n", "\n", "\r", "\t", " ", "    ", "\x00",
	"# title", "\n# title\n", "\n===\n", "\n---\n", "***", "**bold**", "__x__", "~~x~~", "> quote", "\n> [!WARNING]\n> x\n", "- item", "1. item", "- [x] done", "| a | b |\n|---|---|\n| c | d |\n", "|", "\\", "\\`", "\\|",
	":tada:", "$x$", "$`x`$", "$$\nx\n$$", "[^1]", "[^1]: note",
	"\x1b[31m", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u2028", "\u00ad", "\ufe0f", "\U000e0041", "\ue000", "\xff", "\xc3", "\u0085",
	"::error::x", "##[error]x", "\n::stop-commands::x\n", "**Approval code:** `" + "000000000000`", "*1 entry left out*", strings.Repeat("`", 300), strings.Repeat("`", 90) + "\n",
	"é", "你好", "a", "word", "12", "- ", "{{", "{% raw %}",
}

func mixed(rng *rand.Rand, most int) string {
	var b strings.Builder
	for range rng.IntN(most + 1) {
		b.WriteString(hostile[rng.IntN(len(hostile))])
	}
	return b.String()
}

const okLink = "https://forge.test/run/1"

// hostileReport puts texts of next wherever a report holds foreign text.
func hostileReport(next func() string, n int) *ci.Report {
	r := &ci.Report{
		WorkflowID: next(), FlightToken: next(), Workflow: next(), State: next(), Change: next(), Head: next(), Decision: protocol.RequireApproval,
		Failure: &ci.ReportFailure{Code: next(), Message: next(), Where: next(), Hint: next(), Exit: 1},
		Code:    testCode, CodeNeeded: true, Bundle: []byte(next()), BundleDigest: next(), BundleAt: next(),
		Links: ci.ReportLinks{Run: okLink, Report: okLink, Replan: "https://forge.test/)" + next(), Artifacts: "git:" + next()},
	}
	for range n {
		s := ci.ReportStep{ID: next(), Target: next(), Engine: next(), Token: next(), Decision: next(), Isolation: next()}
		for range n {
			s.Evaluations = append(s.Evaluations, protocol.PolicyEvaluation{Source: next(), PolicyID: next(), Decision: protocol.Decision(next()), Reason: next(), Evidence: map[string]any{next(): next()}})
			s.Evaluations = append(s.Evaluations, protocol.PolicyEvaluation{PolicyID: next(), Decision: protocol.Warn, Evidence: map[string]any{"file": next(), "line": 1}})
			s.Effects = append(s.Effects, ci.Effect{Action: next(), What: next(), Detail: next(), Diff: next(), Path: next(), Line: 1}, ci.Effect{Action: "update", What: next(), Diff: next()})
			s.Artifacts = append(s.Artifacts, ci.ReportArtifact{Name: next(), Role: next(), Hash: next(), Size: 1})
		}
		r.Steps = append(r.Steps, s)
		r.Approvals = append(r.Approvals, ci.ReportApproval{Step: next(), Role: next(), Status: next(), How: next(), Need: 1, By: []string{next(), next()}, Refused: []string{next()}})
		r.Notes = append(r.Notes, next())
	}
	return r
}

var (
	ownTags = []string{"p", "h1", "h2", "h3", "ul", "li", "strong", "em", "code", "pre", "details", "summary", "a", "hr"}
	// lively finds what forges make something of outside of code.
	lively = regexp.MustCompile(`@[A-Za-z]|#[0-9]|\bGH-[0-9]|\b[0-9a-f]{7,40}\b|://|www\.|:[a-z0-9_+-]+:|\$|\[[^\]]*\]`)
)

func toHTML(t testing.TB, markdown string) string {
	t.Helper()
	var b bytes.Buffer
	md := goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote), goldmark.WithRendererOptions(ghtml.WithUnsafe()))
	if err := md.Convert([]byte(markdown), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// judge looks at a page as a forge renders it.
func judge(t testing.TB, what, markdown string) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf(what+": "+format, args...)
		if len(markdown) < 20_000 {
			t.Fatalf("the page is %q", markdown)
		}
		t.FailNow()
	}
	if !utf8.ValidString(markdown) {
		fail("no UTF-8")
	}
	for _, r := range markdown {
		if r != '\n' && r != '\t' && harmless.Hidden(r) {
			fail("%U is in it", r)
		}
	}
	markdown = strings.TrimPrefix(markdown, "<!-- marker -->\n\n")
	z := html.NewTokenizer(strings.NewReader(toHTML(t, markdown)))
	var open []string
	for {
		switch kind := z.Next(); kind {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) {
				fail("%v", z.Err())
			}
			if len(open) > 0 {
				fail("%v is not closed", open)
			}
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			if !slices.Contains(ownTags, tok.Data) {
				fail("there is a <%s>", tok.Data)
			}
			for _, a := range tok.Attr {
				if tok.Data != "a" && (tok.Data != "code" || !slices.Contains([]string{"language-diff", "language-json"}, a.Val)) || tok.Data == "a" && a.Val != okLink {
					fail("<%s> has %s=%q", tok.Data, a.Key, a.Val)
				}
			}
			if kind == html.StartTagToken && tok.Data != "hr" {
				open = append(open, tok.Data)
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				fail("</%s> in %v", name, open)
			}
			open = open[:len(open)-1]
		case html.TextToken:
			if text := z.Token().Data; !slices.Contains(open, "code") {
				if bad := lively.FindString(text); bad != "" {
					fail("%q stands in %q", bad, text)
				}
			}
		case html.CommentToken, html.DoctypeToken:
			fail("there is a comment: %s", z.Token().Data)
		}
	}
}

func judgeAll(t testing.TB, r *ci.Report, most int) {
	t.Helper()
	if title := r.Title(); len(title) > limits.CheckTitle || strings.ContainsAny(title, "\n@#`<[") {
		t.Errorf("the title is %q", title)
	}
	for _, part := range []struct {
		name string
		got  ci.Rendered
		ends bool // in links
	}{
		{"summary", r.Summary(most), true},
		{"text", r.Text(most), false},
		{"job", r.JobSummary(most), true},
		{"comment", r.Comment("marker", most), true},
	} {
		if len(part.got.Markdown) > most {
			t.Fatalf("the %s has %d bytes of %d", part.name, len(part.got.Markdown), most)
		}
		if part.got.Cut && strings.Contains(part.got.Markdown, testCode) {
			t.Fatalf("the %s is cut and shows the code", part.name)
		}
		if part.got.Cut && !strings.Contains(part.got.Markdown, "approval code") {
			t.Fatalf("the %s is cut and does not ask for the code", part.name)
		}
		judge(t, part.name, part.got.Markdown)
		if out := toHTML(t, part.got.Markdown); part.ends && !strings.Contains(out[max(0, len(out)-6_000):], `<a href="`+okLink) {
			t.Fatalf("the end of the %s was swallowed: %q", part.name, part.got.Markdown)
		}
	}
	if full := r.Full(); len(full) < 1<<20 {
		judge(t, "full", string(full))
	}
	for _, a := range r.Annotations() {
		if harmless.Tame(a.Message) != a.Message || !utf8.ValidString(a.Title+a.Message) || len(a.Title) > limits.CheckTitle {
			t.Fatalf("annotation %q, %q", a.Title, a.Message)
		}
	}
}

// TestT21ReportsCannotBeInjected renders reports of hostile texts as a forge does.
func TestT21ReportsCannotBeInjected(t *testing.T) {
	t.Parallel()
	for _, one := range hostile {
		judgeAll(t, hostileReport(func() string { return one }, 1), limits.CheckField)
		judgeAll(t, hostileReport(func() string { return one + "x" + one }, 1), limits.ReportLeast)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 90 {
		r := hostileReport(func() string { return mixed(rng, 1+i%7) }, 1+i%3)
		judgeAll(t, r, []int{limits.ReportLeast, 3_000, 8_000, 20_000, limits.CheckField, limits.StepSummary}[i%6])
	}
}

// TestEveryLimitHolds: whatever the room and whatever the report.
func TestEveryLimitHolds(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 12 {
		r := hostileReport(func() string { return strings.Repeat(mixed(rng, 3), rng.IntN(40)) }, 1+i%4)
		if i%2 == 0 {
			r = hostileReport(func() string { return strings.Repeat("W\u202e", rng.IntN(200)) }, 1+i%4)
		}
		for most := limits.ReportLeast; most < 90_000; most += 1 + rng.IntN(20_000) {
			for name, got := range map[string]ci.Rendered{"summary": r.Summary(most), "text": r.Text(most), "job": r.JobSummary(most), "comment": r.Comment(strings.Repeat("m", 200), most)} {
				if len(got.Markdown) > most || got.Cut && strings.Contains(got.Markdown, testCode) {
					t.Fatalf("%s: %d bytes of %d, cut %v", name, len(got.Markdown), most, got.Cut)
				}
			}
		}
	}
}

// TestLongReportsAreQuick: time grows with the size, not faster.
func TestLongReportsAreQuick(t *testing.T) {
	t.Parallel()
	r := sample()
	for range 10_000 {
		r.Steps[0].Effects = append(r.Steps[0].Effects, ci.Effect{Action: "update", What: "a`b\u202e", Diff: "+x\n"})
	}
	r.Steps[1].Evaluations[0].Reason = strings.Repeat("`\x00", 1<<19)
	began := time.Now()
	for _, got := range []ci.Rendered{r.Summary(limits.CheckField), r.Text(limits.CheckField), r.Comment("m", limits.Comment)} {
		if !got.Cut || len(got.Markdown) > limits.Comment {
			t.Errorf("cut %v, %d bytes", got.Cut, len(got.Markdown))
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

func FuzzReport(f *testing.F) {
	for i, s := range hostile {
		f.Add(s, hostile[(i*7+3)%len(hostile)], i*997)
	}
	f.Fuzz(func(t *testing.T, a, b string, most int) {
		if len(a)+len(b) > 4_000 {
			return
		}
		if strings.Contains(a+b, testCode) {
			return
		}
		n := 0
		next := func() string {
			n++
			return []string{a, b, a + b, b + "\n" + a, ""}[n%5]
		}
		judgeAll(t, hostileReport(next, 1), limits.ReportLeast+max(0, most%100_000))
	})
}
