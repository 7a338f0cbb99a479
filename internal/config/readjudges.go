package config

import (
	"fmt"
	"path"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// The patterns stand in schemas/config.schema.json too; a test compares.
var (
	ruleID     = lazily(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	ruleRef    = lazily(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,255}$`)
	hexDigest  = lazily(`^[0-9a-f]{64}$`)
	share      = lazily(`^(?:0(?:\.[0-9]{1,6})?|1(?:\.0{1,6})?)$`)
	pinnedRef  = lazily(`^[a-z0-9][a-z0-9._:/-]{0,400}@sha256:[0-9a-f]{64}$`)
	gitRef     = lazily(`^[A-Za-z0-9][A-Za-z0-9._/@+-]{0,200}$`)
	roleName   = lazily(`^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$`)
	tensorName = lazily(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$`)
)

// decisionWords are the decisions, mildest first.
var decisionWords = []string{string(protocol.Allow), string(protocol.Warn), string(protocol.RequireApproval), string(protocol.Deny)}

func (o *object) decision(key string, def protocol.Decision, words ...string) protocol.Decision {
	if len(words) == 0 {
		words = decisionWords
	}
	return protocol.Decision(o.text(key, string(def), oneOf(words...)))
}

// role reads the role of a decision, which only require_approval has.
func (o *object) role(d protocol.Decision) string {
	role := o.text("role", "", matching(roleName, "a role's name"))
	if n, p := o.at("role"); n != nil && d != protocol.RequireApproval {
		o.r.failf(n, "config_value", "remove it, or decide require_approval", "%s is only for the decision require_approval", p)
	}
	return role
}

// each reads the maps of a list.
func (o *object) each(key string, most int, f func(n *yaml.Node, path string)) {
	n, p := o.at(key)
	if n == nil || !o.r.list(n, p, 0, most) {
		return
	}
	for i, e := range n.Content {
		f(e, fmt.Sprintf("%s[%d]", p, i))
	}
}

// exactlyOne reports a map that has none or several of some keys.
func (o *object) exactlyOne(keys ...string) {
	if o == nil {
		return
	}
	var have []string
	for _, k := range keys {
		if o.values[k] != nil {
			have = append(have, k)
		}
	}
	if len(have) != 1 {
		o.r.failf(o.node, "config_value", "give exactly one of "+list(keys), "%s has %d of %s", o.path, len(have), list(keys))
	}
}

// only reports keys that make no sense beside the one that is given.
func (o *object) only(key string, with ...string) {
	if o == nil || o.values[key] != nil {
		return
	}
	for _, k := range with {
		if n, p := o.at(k); n != nil {
			o.r.failf(n, "config_value", "remove it", "%s belongs to %s only", p, key)
		}
	}
}

func (r *reader) policySource(n *yaml.Node, p string) Source {
	o := r.object(n, p, "name", "bundle", "key", "sha256", "oci", "oci_layout", "git", "ref", "path")
	o.exactlyOne("bundle", "oci", "git")
	o.only("bundle", "key", "sha256")
	o.only("oci", "oci_layout")
	o.only("git", "ref", "path")
	s := Source{
		Where:  r.where(n),
		Name:   o.text("name", "", matching(engineName, "a policy set's name")),
		Bundle: o.text("bundle", "", inside), Key: o.text("key", "", inside), SHA256: o.text("sha256", "", matching(hexDigest, "a SHA-256 in hex")),
		OCI: o.text("oci", "", matching(pinnedRef, "a reference with a digest")), Layout: o.text("oci_layout", "", inside),
		Git: o.text("git", "", gitSource), Ref: o.text("ref", "", matching(gitRef, "a branch, tag or commit")), Dir: o.text("path", ".", inside),
	}
	if o != nil && s.Bundle != "" && (s.Key == "") == (s.SHA256 == "") {
		r.failf(n, "config_value", "name the key that signed the bundle, or the bundle's sha256", "%s needs exactly one of key and sha256", p)
	}
	if o != nil && s.Git != "" && s.Ref == "" {
		o.require("ref")
	}
	for _, to := range []*string{&s.Bundle, &s.Key, &s.Layout, &s.Dir} {
		if *to != "" {
			*to = path.Clean(*to)
		}
	}
	return s
}

// gitSource accepts "." (this repository), an absolute path, or a URL without
// credentials. A relative path lies in the workspace, where a change edits it.
// SPEC: docs/protocol.md 8
func gitSource(s string) (string, string) {
	if strings.Contains(s, "://") {
		if !strings.HasPrefix(s, "https://") && !strings.HasPrefix(s, "ssh://") && !strings.HasPrefix(s, "http://127.0.0.1:") {
			return fmt.Sprintf("has an unknown scheme: %q", short(s)), "write https:// or ssh://"
		}
		return signingKey(s)
	}
	if s != "." && !path.IsAbs(s) {
		return fmt.Sprintf("lies in the workspace: %q", short(s)), "write . for the workspace's own repository, or the absolute path or URL of another one"
	}
	return secretFile(s)
}

func (r *reader) secretScan(top *object) SecretScan {
	n, p := top.at("secrets")
	o := r.object(n, p, "scan", "decision", "role", "baseline")
	s := SecretScan{Scan: true, Decision: o.decision("decision", protocol.Deny, decisionWords[1:]...), Baseline: o.text("baseline", "", inside)}
	s.Role = o.role(s.Decision)
	if on, set := o.bool("scan"); set {
		s.Scan = on
	}
	return s
}

func (r *reader) exemption(n *yaml.Node, p string) Exemption {
	o := r.object(n, p, "rule", "paths", "until", "reason")
	o.require("rule", "paths", "until", "reason")
	return Exemption{
		Rule: o.text("rule", "", matching(ruleRef, "a rule's id")), Paths: o.texts("paths", 1, true, glob),
		Until: o.date("until"), Reason: o.text("reason", "", plain),
	}
}

// date reads a day, which lasts until its end, or a point in time.
func (o *object) date(key string) time.Time {
	var t time.Time
	o.text(key, "", func(s string) (string, string) {
		var err error
		if t, err = time.Parse(time.DateOnly, s); err == nil {
			t = t.Add(24*time.Hour - time.Second)
			return "", ""
		}
		if t, err = time.Parse(time.RFC3339, s); err != nil {
			t = time.Time{}
			return fmt.Sprintf("is not a day: %q", short(s)), "write it as 2026-12-31"
		}
		t = t.UTC()
		return "", ""
	})
	return t
}

func (r *reader) after(top *object) After {
	n, p := top.at("after")
	o := r.object(n, p, "bundled", "rego")
	a := After{Bundled: o.texts("bundled", 0, true, matching(engineName, "a policy set's name")), Rego: []string{}}
	for _, dir := range o.texts("rego", 0, true, inside) {
		a.Rego = append(a.Rego, path.Clean(dir))
	}
	return a
}

func (r *reader) rule(n *yaml.Node, p string) Rule {
	o := r.object(n, p, "id", "match", "except", "decision", "role", "reason")
	o.require("id", "match", "decision", "reason")
	rule := Rule{
		Where: r.where(n), ID: o.text("id", "", matching(ruleID, "a rule's id")), Decision: o.decision("decision", protocol.Deny), Reason: o.text("reason", "", plain),
	}
	rule.Role = o.role(rule.Decision)
	if m, where := o.at("match"); m != nil {
		rule.Match = r.match(m, where)
	}
	if m, where := o.at("except"); m != nil {
		except := r.match(m, where)
		rule.Except = &except
	}
	return rule
}

func (r *reader) match(n *yaml.Node, p string) Match {
	o := r.object(n, p, "steps", "branches", "labels", "artifact_types", "actions", "targets", "paths", "operations", "files", "lines", "bytes", "artifacts")
	return Match{
		Steps: o.texts("steps", 1, true, stepID), Branches: o.texts("branches", 1, true, glob), Labels: o.texts("labels", 1, true, plain),
		ArtifactTypes: o.texts("artifact_types", 1, true, plain), Actions: o.texts("actions", 1, true, plain), Targets: o.texts("targets", 1, true, textGlob),
		Paths: o.texts("paths", 1, true, glob), Operations: o.texts("operations", 1, true, oneOf("add", "delete", "modify", "rename")),
		Files: o.bounds("files"), Lines: o.bounds("lines"), Bytes: o.bounds("bytes"), Artifacts: o.bounds("artifacts"),
	}
}

func (o *object) bounds(key string) Range {
	n, p := o.at(key)
	if n == nil {
		return Range{}
	}
	b := o.r.object(n, p, "at_least", "at_most")
	var out Range
	for k, to := range map[string]**int64{"at_least": &out.AtLeast, "at_most": &out.AtMost} {
		if v, _ := b.at(k); v != nil {
			number := b.int(k, 0, 0, maxSafe)
			*to = &number
		}
	}
	if b != nil && out.AtLeast == nil && out.AtMost == nil {
		o.r.failf(n, "config_value", "give at_least or at_most", "%s has no bound", p)
	}
	if out.AtLeast != nil && out.AtMost != nil && *out.AtLeast > *out.AtMost {
		o.r.failf(n, "config_value", "exchange them", "%s can never hold: at_least is more than at_most", p)
	}
	return out
}

func (r *reader) model(n *yaml.Node, p string) Model {
	o := r.object(n, p, "name", "bundled", "path", "oci", "oci_layout", "file", "sha256", "input", "reads", "window", "overlap", "output", "labels", "decisions", "timeout", "on_error")
	o.require("name")
	o.exactlyOne("bundled", "path", "oci")
	o.only("oci", "oci_layout", "file")
	m := Model{
		Where: r.where(n), Name: o.text("name", "", matching(engineName, "a model's name")),
		Bundled: o.text("bundled", "", matching(engineName, "a model's name")), Path: o.text("path", "", inside),
		OCI: o.text("oci", "", matching(pinnedRef, "a reference with a digest")), Layout: o.text("oci_layout", "", inside), File: o.text("file", "", inside),
		SHA256: o.text("sha256", "", matching(hexDigest, "a SHA-256 in hex")), Input: o.text("input", ModelString, oneOf(ModelString, ModelFeatures)),
		Window: o.int("window", limits.OnnxWindow, limits.OnnxWindowMin, limits.OnnxWindowMax), Overlap: o.int("overlap", limits.OnnxOverlap, 0, limits.OnnxWindowMax),
		Output: o.text("output", "", matching(tensorName, "an output's name")), Labels: o.texts("labels", 0, true, plain),
		Timeout: o.duration("timeout", limits.ModelTimeoutText, limits.OnnxTimeMax), OnError: o.decision("on_error", protocol.Deny, decisionWords[1:]...),
		Decisions: []ModelDecision{},
	}
	for _, to := range []*string{&m.Path, &m.Layout, &m.File} {
		if *to != "" {
			*to = path.Clean(*to)
		}
	}
	reads, where := o.at("reads")
	in := r.object(reads, where, "types", "roles", "mime", "parts")
	m.Types, m.Roles = in.texts("types", 1, true, plain), in.texts("roles", 1, true, oneOf(protocol.RoleEvidence, protocol.RoleState))
	m.Mime, m.Parts = in.texts("mime", 1, true, textGlob), in.texts("parts", 1, true, oneOf("added", "body", "metadata"))
	if len(m.Parts) == 0 {
		m.Parts = []string{"added", "body"}
	}
	o.each("decisions", limits.ConfigList, func(n *yaml.Node, p string) {
		d := r.object(n, p, "label", "at_least", "decision", "role")
		d.require("label", "at_least", "decision")
		row := ModelDecision{Label: d.text("label", "", plain), AtLeast: d.share("at_least"), Decision: d.decision("decision", protocol.Deny)}
		row.Role = d.role(row.Decision)
		m.Decisions = append(m.Decisions, row)
	})
	if m.Path != "" || m.OCI != "" {
		o.require("sha256", "labels", "decisions")
	}
	if o != nil && m.Overlap >= m.Window {
		r.failf(n, "config_value", "windows must go forward: make overlap smaller than window", "%s: overlap is not smaller than window", p)
	}
	return m
}

// share reads a number from 0 to 1 as the file writes it.
func (o *object) share(key string) string {
	n, p := o.at(key)
	if n == nil || !o.r.is(n, p, yaml.ScalarNode) {
		return ""
	}
	if !share().MatchString(n.Value) {
		o.r.failf(n, "config_value", "write a number from 0 to 1 with at most six places, such as 0.9", "%s is out of bounds: %s", p, clip(n.Value))
		return ""
	}
	return n.Value
}

// textGlob accepts a glob over text that is no path.
func textGlob(s string) (string, string) {
	if wrong, hint := plain(s); wrong != "" {
		return wrong, hint
	}
	return globText(s)
}
