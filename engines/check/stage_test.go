//go:build unix

package check

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"
	"testing"
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
		Engine: "notes <&>", Tier: "A", Passed: 1, Failed: 1, Skipped: 1,
		Checks: []Result{
			{PlanReceipt, Pass, "engine \x1b[2J", "", 0.25},
			{PlanRepeat, Fail, "byte 0 is <\nsecond line \u202e", "Sort ]]> it.", 1},
			{TakeOff, Skip, "left out & asked", "", 0},
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
1 passed, 1 failed, 1 skipped (tier A)
`
	if got := Text(report()); got != want {
		t.Errorf("%s", got)
	}
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
	if !bytes.HasPrefix(data, []byte("<?xml ")) || s.Tests != 3 || s.Failures != 1 || s.Errors != 0 || s.Skipped != 1 || s.Time != "1.250" || len(s.Cases) != 3 {
		t.Fatalf("%+v in\n%s", s, data)
	}
	switch pass, failure, skip := s.Cases[0], s.Cases[1], s.Cases[2]; {
	case pass.Name != PlanReceipt || pass.Class != "engine.notes <&>" || pass.Failure != nil || pass.Skipped != nil,
		failure.Failure == nil || !strings.Contains(*failure.Failure, "remedy: Sort ]]> it."),
		skip.Skipped == nil || skip.Skipped.Message != "left out & asked":
		t.Errorf("%s", data)
	}
}
