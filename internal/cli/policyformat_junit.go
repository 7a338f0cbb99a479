package cli

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

// junitReport is a report in the form that CI systems read, as far as they agree.
type junitReport struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Error   *junitMessage `xml:"error"`
	Skipped *junitMessage `xml:"skipped"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

func newJUnitMessage(kind, message, more string) *junitMessage {
	m := &junitMessage{Message: oneLine(message), Type: oneLine(kind), Text: visible(message)}
	if more != "" {
		m.Text += "\n" + visible(more)
	}
	return m
}

// document counts the cases and writes the report.
func (r junitReport) document() ([]byte, error) {
	for i := range r.Suites {
		s := &r.Suites[i]
		s.Tests = len(s.Cases)
		for _, c := range s.Cases {
			switch {
			case c.Failure != nil:
				s.Failures++
			case c.Error != nil:
				s.Errors++
			case c.Skipped != nil:
				s.Skipped++
			}
		}
		r.Tests, r.Failures, r.Errors, r.Skipped = r.Tests+s.Tests, r.Failures+s.Failures, r.Errors+s.Errors, r.Skipped+s.Skipped
	}
	body, err := xml.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	return tameXML(append([]byte(xml.Header), append(body, '\n')...)), nil
}

func junitTime(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }

// junitClass makes a name of parts, which readers take apart at dots.
func junitClass(parts ...string) string { return oneLine(strings.Join(parts, ".")) }
