package check

import (
	"encoding/xml"
	"fmt"
)

// JUnit's elements, as far as readers of it agree.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		Suite   junitSuite
	}
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Skipped *junitMessage `xml:"skipped"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a report as JUnit XML.
func JUnit(r Report) ([]byte, error) {
	suite := junitSuite{Name: "cabincrew engine check", Tests: len(r.Checks), Failures: r.Failed, Skipped: r.Skipped}
	total := 0.0
	for _, c := range r.Checks {
		total += c.Seconds
		item := junitCase{Name: c.ID, Class: "engine." + r.Engine, Time: seconds(c.Seconds)}
		switch c.Status {
		case Fail:
			item.Failure = &junitMessage{Message: c.Detail, Type: "check", Text: c.Detail + "\nremedy: " + c.Remedy}
		case Skip:
			item.Skipped = &junitMessage{Message: c.Detail}
		case Pass:
			item.Output = c.Detail
		case Warn: // there is no such outcome in JUnit
			item.Output = "warning: " + c.Detail + "\nremedy: " + c.Remedy
		}
		suite.Cases = append(suite.Cases, item)
	}
	suite.Time = seconds(total)
	body, err := xml.MarshalIndent(junitSuites{Suite: suite}, "", "  ")
	return append([]byte(xml.Header), append(body, '\n')...), err
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }
