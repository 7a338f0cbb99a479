package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// SARIF 2.1.0, as far as it is needed to tell what policies found:
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
const (
	sarifVersion = "2.1.0"
	sarifSchema  = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	// sarifRoot stands for the directory that paths are relative to.
	sarifRoot = "%SRCROOT%"
	// sarifPrint names the fingerprint and its version.
	sarifPrint = "cabincrew/v1"
)

// Words for results that a comparison knows.
const (
	sarifNew       = "new"
	sarifUnchanged = "unchanged"
	sarifUpdated   = "updated"
	sarifAbsent    = "absent"
)

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool       sarifTool     `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	URI     string      `json:"informationUri"`
	Version string      `json:"version"`
	Rules   []sarifRule `json:"rules"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifRule struct {
	ID      string          `json:"id"`
	Short   *sarifText      `json:"shortDescription,omitempty"`
	Full    *sarifText      `json:"fullDescription,omitempty"`
	Help    *sarifText      `json:"help,omitempty"`
	Default sarifConfig     `json:"defaultConfiguration"`
	More    sarifProperties `json:"properties"`
}

type sarifConfig struct {
	Level string `json:"level"`
}

type sarifProperties struct {
	Decision string   `json:"decision,omitempty"`
	Subject  string   `json:"subject,omitempty"`
	Policy   string   `json:"policy,omitempty"` // where the rule stands
	Tags     []string `json:"tags,omitempty"`
}

type sarifResult struct {
	RuleID    string            `json:"ruleId"`
	RuleIndex int               `json:"ruleIndex"`
	Level     string            `json:"level"`
	Message   sarifText         `json:"message"`
	Locations []sarifLocation   `json:"locations,omitempty"`
	Prints    map[string]string `json:"partialFingerprints"`
	Baseline  string            `json:"baselineState,omitempty"`
	More      sarifProperties   `json:"properties"`
}

type sarifLocation struct {
	Physical sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   *sarifRegion  `json:"region,omitempty"`
}

type sarifArtifact struct {
	URI  string `json:"uri"`
	Base string `json:"uriBaseId"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

// sarif writes remarks with the rules that they come from. What a policy allows is
// left out.
func sarif(list []remark, book map[string]rego.Rule) ([]byte, error) {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "CabinCrew", URI: "https://github.com/cabincrew/action", Version: Version(), Rules: []sarifRule{}}
	index := map[string]int{}
	seen := map[string]int{}
	for _, r := range list {
		if r.Decision == protocol.Allow {
			continue
		}
		i, ok := index[r.Rule]
		if !ok {
			i = len(run.Tool.Driver.Rules)
			index[r.Rule] = i
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(r, book))
		}
		run.Results = append(run.Results, sarifResultOf(r, i, seen))
	}
	data, err := json.MarshalIndent(sarifLog{Schema: sarifSchema, Version: sarifVersion, Runs: []sarifRun{run}}, "", "  ")
	if err != nil {
		return nil, err
	}
	return tameJSON(append(data, '\n')), nil
}

// sarifLevel is the word of GitHub's annotations, where SARIF has one for silence too.
func sarifLevel(d protocol.Decision) string {
	if level := githubLevel(d); level != "" {
		return level
	}
	return "none"
}

func sarifRuleOf(r remark, book map[string]rego.Rule) sarifRule {
	out := sarifRule{ID: oneLine(r.Rule), Default: sarifConfig{sarifLevel(r.Decision)}}
	rule, ok := book[r.Rule]
	if !ok {
		out.Short = &sarifText{oneLine(r.Rule)}
		return out
	}
	text := func(s string) *sarifText {
		if s == "" {
			return nil
		}
		return &sarifText{visible(s)}
	}
	out.Short, out.Full, out.Help = text(rule.Title), text(rule.Description), text(rule.Remedy)
	if out.Short == nil {
		out.Short = &sarifText{oneLine(r.Rule)}
	}
	out.More = sarifProperties{Policy: rule.At, Tags: []string{"policy", oneLine(rule.Policy)}}
	return out
}

func sarifResultOf(r remark, rule int, seen map[string]int) sarifResult {
	message := r.Message
	if message == "" {
		message = r.Rule
	}
	out := sarifResult{
		RuleID: oneLine(r.Rule), RuleIndex: rule, Level: sarifLevel(r.Decision), Message: sarifText{visible(message)}, Baseline: r.Change,
		More: sarifProperties{Decision: string(r.Decision), Subject: oneLine(r.Subject)},
	}
	var names []string
	for _, s := range r.Spots {
		names = append(names, s.File)
		uri, ok := sarifURI(s.File)
		if !ok {
			continue // the message names it
		}
		at := sarifLocation{Physical: sarifPhysical{Artifact: sarifArtifact{uri, sarifRoot}}}
		if s.Line > 0 {
			at.Physical.Region = &sarifRegion{s.Line}
		}
		out.Locations = append(out.Locations, at)
	}
	slices.Sort(names)
	// Neither line nor message: a finding stays the same while text moves around it.
	key := fingerprint(r.Rule, r.Subject, strings.Join(names, "\x00"))
	seen[key]++
	out.Prints = map[string]string{sarifPrint: key + ":" + strconv.Itoa(seen[key])}
	return out
}

// fingerprint tells findings apart.
func fingerprint(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// sarifURI gives a path as a relative reference. A path that leads out of the
// directory, or is none, has no place that a viewer may open.
func sarifURI(name string) (string, bool) {
	if !filepath.IsLocal(name) || path.Clean(name) == "." {
		return "", false
	}
	segments := strings.Split(name, "/")
	for i, s := range segments {
		// A colon in the first segment would make a scheme of it.
		segments[i] = strings.ReplaceAll(url.PathEscape(s), ":", "%3A")
	}
	return strings.Join(segments, "/"), true
}
