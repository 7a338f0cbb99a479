//go:build unix

package check

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestStageReadsItsArguments(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"nothing":     nil,
		"no engine":   {"{}", "--"},
		"no dashes":   {"{}", "/bin/true", "x"},
		"no order":    {"", "--", "/bin/true"},
		"not JSON":    {"{", "--", "/bin/true"},
		"not known":   {`{"chroot":"/"}`, "--", "/bin/true"},
		"not a mask":  {`{"umask":"x"}`, "--", "/bin/true"},
		"no temp dir": {"{}", "--", "/bin/true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, log bytes.Buffer
			if code := Stage(t.Context(), args, nil, &out, &log, nil); code != exitStage || !strings.HasPrefix(log.String(), stagePrefix) || out.Len() > 0 {
				t.Errorf("exit %d, %q, %q", code, &out, &log)
			}
		})
	}
}

func TestStageRefusesUnknownInput(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	code := Stage(t.Context(), []string{`{"input":"other"}`, "--", "/bin/true"}, nil, nil, &log, []string{"CABINCREW_TEMP_DIR=" + t.TempDir()})
	if code != exitStage || !strings.Contains(log.String(), `no input "other"`) {
		t.Errorf("exit %d, %q", code, &log)
	}
}

func TestStageEnvironment(t *testing.T) {
	t.Parallel()
	env := []string{"A=1", "B=2=3", "CABINCREW_TEMP_DIR=/temp", "HOME=/temp/home", engineDir + "=/further", "TZ=UTC"}
	s := stage{Env: map[string]string{"TZ": "X", "NEW": ""}, Home: true, Reverse: true}
	want := []string{"TZ=X", "NEW=", "HOME=/temp/elsewhere", "CABINCREW_TEMP_DIR=/temp", "B=2=3", "A=1"}
	if got := s.environment(env); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := (stage{}).environment(env); !slices.Equal(got, slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, engineDir) })) {
		t.Errorf("%q", got)
	}
}

func report() Report {
	return Report{
		Engine: "notes <&>", Tier: "A", Passed: 1, Failed: 1, Skipped: 1, Warned: 1,
		Checks: []Result{
			{PlanReceipt, Pass, "engine \x1b[2J", "", 0.25},
			{PlanRepeat, Fail, "byte 0 is <\nsecond line \u202e", "Sort ]]> it.", 1},
			{TakeOff, Skip, "left out & asked", "", 0},
			{PlanMachine, Warn, "may be it", "Look.", 0},
		},
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	const want = `PASS  plan-receipt      engine ?[2J
FAIL  plan-repeat       byte 0 is <
      second line ?
      remedy: Sort ]]> it.
SKIP  take-off          left out & asked
WARN  plan-machine      may be it
      remedy: Look.
1 passed, 1 failed, 1 skipped, 1 to look at (tier A)
`
	if got := Text(report()); got != want {
		t.Errorf("%s", got)
	}
}

// TestJUnitOfHostileOutput: whatever an engine writes, the document is XML, and what
// can stand in XML stands there as it was.
func TestJUnitOfHostileOutput(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for r := range rune(0x100) {
		all.WriteRune(r)
	}
	for name, said := range map[string]string{
		"control characters": "\x00\x01\x07\x08\x0b\x0c\x0e\x1f\x7f\u0085\u009b",
		"ANSI":               "\x1b[2J\x1b]0;title\x07\x1b[31mred",
		"end of CDATA":       "]]>]]>]]&gt;<![CDATA[ <failure/> ]]>",
		"markup":             "\"'></failure></testcase><testcase name=\"fine\"/><!-- & &amp; &#0; &#x1b; <?xml?>",
		"invalid UTF-8":      "\xff\xfe\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xc3",
		"no characters":      "\ufffe\uffff\U0001fffe",
		"turned":             "\u202e\u2066\u2028\u2029",
		"line ends":          "a\r\nb\rc\td\n",
		"all of a byte":      all.String(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Report{Engine: said, Tier: said}
			for _, s := range []Status{Pass, Fail, Skip, Warn} {
				r.Checks = append(r.Checks, Result{ID: PlanReceipt, Status: s, Detail: said, Remedy: said})
			}
			data, err := JUnit(r)
			if err != nil {
				t.Fatal(err)
			}
			cases, texts := parsed(t, data)
			if cases != 4 {
				t.Errorf("%d cases in\n%s", cases, data)
			}
			want := strings.Map(func(r rune) rune {
				if r < ' ' && !strings.ContainsRune("\t\n\r", r) || r&0xfffe == 0xfffe && r <= 0xffff {
					return '\ufffd'
				}
				return r
			}, strings.ToValidUTF8(said, "\ufffd"))
			if utf8.ValidString(said) && strings.Count(texts, want) < 5 {
				t.Errorf("%q is not in %q", want, texts)
			}
		})
	}
}

// parsed reads XML to its end, strictly, and gives the number of cases and all text.
func parsed(t *testing.T, data []byte) (cases int, texts string) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(data))
	var b strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return cases, b.String()
		}
		if err != nil {
			t.Fatalf("%v in\n%q", err, data)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if e.Name.Local == "testcase" {
				cases++
			}
			for _, a := range e.Attr {
				b.WriteString(a.Value)
			}
		case xml.CharData:
			b.Write(e)
		}
	}
}

func FuzzJUnit(f *testing.F) {
	f.Add("]]>\x1b\xff")
	f.Fuzz(func(t *testing.T, said string) {
		data, err := JUnit(Report{Engine: said, Checks: []Result{{ID: said, Status: Fail, Detail: said, Remedy: said}, {Status: Warn, Detail: said}}})
		if err != nil {
			t.Fatal(err)
		}
		if cases, _ := parsed(t, data); cases != 2 {
			t.Fatalf("%q", data)
		}
	})
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	data, err := JUnit(report())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Suite struct {
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
			Errors   int    `xml:"errors,attr"`
			Skipped  int    `xml:"skipped,attr"`
			Time     string `xml:"time,attr"`
			Cases    []struct {
				Name    string  `xml:"name,attr"`
				Class   string  `xml:"classname,attr"`
				Failure *string `xml:"failure"`
				Skipped *struct {
					Message string `xml:"message,attr"`
				} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &got); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	s := got.Suite
	if !bytes.HasPrefix(data, []byte("<?xml ")) || s.Tests != 4 || s.Failures != 1 || s.Errors != 0 || s.Skipped != 1 || s.Time != "1.250" || len(s.Cases) != 4 {
		t.Fatalf("%+v in\n%s", s, data)
	}
	switch pass, failure, skip := s.Cases[0], s.Cases[1], s.Cases[2]; {
	case pass.Name != PlanReceipt || pass.Class != "engine.notes <&>" || pass.Failure != nil || pass.Skipped != nil,
		failure.Failure == nil || !strings.Contains(*failure.Failure, "remedy: Sort ]]> it."),
		skip.Skipped == nil || skip.Skipped.Message != "left out & asked":
		t.Errorf("%s", data)
	}
}
