package config

import (
	"fmt"
	"path"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func (r *reader) config(n *yaml.Node) *Config {
	o := r.object(n, "", "version", "workflow", "steps", "policies", "rules", "models", "after", "approvals", "signing", "audit", "retention", "sandbox", "storage", "take_off", "checks", "comment", "governance", "min_version")
	o.require("version", "workflow", "steps")
	if v := o.int("version", Version, 0, maxSafe); v != Version {
		at, _ := o.at("version")
		r.failf(at, "config_version", fmt.Sprintf("this program reads version %d; use a program that knows version %d", Version, v),
			"version %d of the configuration is not known", v)
	}
	c := &Config{
		Name:     r.name,
		Workflow: o.text("workflow", "", matching(workflowName, "a workflow's name")),
	}
	if steps, p := o.at("steps"); steps != nil && r.list(steps, p, 1, limits.ConfigSteps) {
		for i, s := range steps.Content {
			c.Steps = append(c.Steps, r.step(s, fmt.Sprintf("steps[%d]", i)))
		}
	}
	c.Policies = r.policies(o)
	c.Rules, c.Models, c.After = []Rule{}, []Model{}, r.after(o)
	o.each("rules", limits.ConfigList, func(n *yaml.Node, p string) {
		rule := r.rule(n, p)
		if slices.ContainsFunc(c.Rules, func(x Rule) bool { return x.ID == rule.ID && x.ID != "" }) {
			r.failf(n, "config_value", "give each rule an id of its own", "%s repeats the id %q", p, short(rule.ID))
		}
		c.Rules = append(c.Rules, rule)
	})
	o.each("models", limits.OnnxModels, func(n *yaml.Node, p string) {
		m := r.model(n, p)
		if slices.ContainsFunc(c.Models, func(x Model) bool { return x.Name == m.Name && x.Name != "" }) {
			r.failf(n, "config_value", "give each model a name of its own", "%s repeats the name %q", p, short(m.Name))
		}
		c.Models = append(c.Models, m)
	})
	c.Approvals = r.approvals(o)
	c.Signing = r.signing(o)
	c.Audit = r.audit(o, c.Signing)
	c.Storage = r.storage(o)
	r.forge(o, c)
	c.MinVersion = o.text("min_version", "", matching(version, "a version such as 0.3.0"))
	ret, p := o.at("retention")
	k := r.object(ret, p, "days", "flights")
	c.Retention = Retention{
		Days:    k.int("days", limits.RetentionDays, 0, limits.RetentionDaysMax),
		Flights: k.int("flights", limits.RetentionFlights, 0, limits.RetentionFlightMax),
	}
	box, p := o.at("sandbox")
	b := r.object(box, p, "require", "sudo")
	c.Sandbox = Sandbox{
		Require: b.texts("require", 0, true, oneOf("cgroup", "landlock", "namespaces")),
		Sudo:    b.text("sudo", SudoAuto, oneOf(SudoAuto, SudoNever)),
	}
	return c
}

func (r *reader) policies(top *object) Policies {
	n, p := top.at("policies")
	o := r.object(n, p, "aggregation", "bundled", "rego", "custom_rule", "allow_without_policies", "sources", "data", "timeout", "explain", "secrets", "exemptions")
	out := Policies{
		Aggregation: protocol.Aggregation(o.text("aggregation", string(protocol.MostRestrictive), oneOf(
			string(protocol.MostRestrictive), string(protocol.Unanimous), string(protocol.Majority),
			string(protocol.AnyDeny), string(protocol.AllAllow), string(protocol.CustomRule)))),
		Bundled:    o.texts("bundled", 0, true, matching(engineName, "a policy set's name")),
		Rego:       []string{},
		CustomRule: o.text("custom_rule", "", matching(ruleName, "a rule such as data.cabincrew.aggregate.decision")),
	}
	out.AllowWithoutPolicies, _ = o.bool("allow_without_policies")
	out.Sources, out.Exemptions, out.Data = []Source{}, []Exemption{}, o.free("data")
	out.Timeout, out.Secrets = o.duration("timeout", limits.PolicyTimeText, limits.PolicyTimeMax), r.secretScan(o)
	out.Explain, _ = o.bool("explain")
	o.each("sources", limits.ConfigList, func(n *yaml.Node, p string) { out.Sources = append(out.Sources, r.policySource(n, p)) })
	o.each("exemptions", limits.ConfigList, func(n *yaml.Node, p string) { out.Exemptions = append(out.Exemptions, r.exemption(n, p)) })
	for _, dir := range o.texts("rego", 0, true, inside) {
		out.Rego = append(out.Rego, path.Clean(dir))
	}
	return out
}

func (r *reader) approvals(top *object) Approvals {
	n, p := top.at("approvals")
	o := r.object(n, p, "expire", "default_role", "self_approval", "binding", "approvers", "roles", "distinct", "carry_over", "environments", "break_glass")
	out := Approvals{
		Expire:      o.duration("expire", limits.ApprovalExpireText, limits.ApprovalExpireMax),
		DefaultRole: o.text("default_role", "maintainer", plain),
		Binding:     o.text("binding", BindingAuto, oneOf(BindingAuto, BindingCode)),
		Approvers:   []Approver{},
	}
	out.SelfApproval, _ = o.bool("self_approval")
	if list, p := o.at("approvers"); list != nil && r.list(list, p, 0, limits.ConfigList) {
		for i, a := range list.Content {
			out.Approvers = append(out.Approvers, r.approver(a, fmt.Sprintf("%s[%d]", p, i)))
		}
	}
	r.roles(o, &out)
	return out
}

func (r *reader) approver(n *yaml.Node, p string) Approver {
	o := r.object(n, p, "name", "email", "roles", "key", "bot", "not_before", "not_after")
	o.require("name", "roles", "key")
	a := Approver{
		Where:     r.where(n),
		Name:      o.text("name", "", plain),
		Email:     o.text("email", "", matching(emailAddress, "an e-mail address")),
		Roles:     o.texts("roles", 1, true, plain),
		Key:       o.text("key", "", inside),
		NotBefore: o.time("not_before"),
		NotAfter:  o.time("not_after"),
	}
	if a.Key != "" {
		a.Key = path.Clean(a.Key)
	}
	a.Bot, _ = o.bool("bot")
	return a
}

// duration reads a length of time such as 90s, 10m or 1h30m.
func (o *object) duration(key, def string, most time.Duration) Duration {
	text := o.text(key, def, func(s string) (string, string) {
		hint := fmt.Sprintf("write a length of time such as 90s, 10m or 1h30m, at most %s", most)
		d, ok := parseDuration(s)
		switch {
		case !ok:
			return fmt.Sprintf("is not a length of time: %q", short(s)), hint
		case d <= 0 || d > most:
			return fmt.Sprintf("is out of bounds: %q", short(s)), hint
		}
		return "", ""
	})
	d, _ := parseDuration(text) // checked above; the default by a test
	return Duration{Duration: d, Text: text}
}

func parseDuration(s string) (time.Duration, bool) {
	if !durationText().MatchString(s) {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// time reads a point in time, RFC 3339; absent gives the zero time.
func (o *object) time(key string) time.Time {
	var t time.Time
	o.text(key, "", func(s string) (string, string) {
		var err error
		if t, err = time.Parse(time.RFC3339, s); err != nil || t.IsZero() {
			t = time.Time{}
			return fmt.Sprintf("is not a time: %q", short(s)), "write it as 2026-01-31T00:00:00Z"
		}
		t = t.UTC()
		return "", ""
	})
	return t
}
