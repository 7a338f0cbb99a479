package rego

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// judgement gathers the findings of one policy.
type judgement struct {
	entry    entry
	role     string
	findings []policies.Finding
	text     int // bytes of all texts so far
}

// fields is what one member of a set, or one decision, says.
type fields struct {
	msg, role, artifact, id, file string
	files                         []string
	cut                           bool // there are more files
}

var ruleID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// evidenceFiles is how many file names of one finding are kept as evidence.
const evidenceFiles = 100

// unjudged adds a denial that no aggregation method outvotes.
func (j *judgement) unjudged(id, where, why string) {
	j.add(protocol.Deny, id, where, fields{msg: fmt.Sprintf(
		"policy %s could not be judged: %s (%s). Mend the policy; until then everything that it judges is denied.", id, clean(why), where)})
	j.findings[len(j.findings)-1].Unjudged = true
}

func (j *judgement) add(d protocol.Decision, id, where string, f fields) {
	evidence := map[string]any{"at": where}
	for key, v := range map[string]string{"artifact": f.artifact, "file": f.file, "rule": f.id} {
		if v != "" {
			evidence[key] = v
		}
	}
	if len(f.files) > 0 {
		evidence["files"] = f.files[:min(len(f.files), evidenceFiles)]
	}
	finding := policies.Finding{Artifact: f.artifact, Rule: f.id, Files: f.files, Cut: f.cut}
	if f.file != "" {
		finding.Files = append([]string{f.file}, f.files...)
	}
	if d == protocol.RequireApproval {
		finding.Role = f.role
		if finding.Role == "" {
			finding.Role = j.role
		}
		evidence["role"] = finding.Role
	}
	if f.id != "" {
		id += "/" + f.id
	}
	finding.PolicyEvaluation = protocol.PolicyEvaluation{
		Source: protocol.SourceOPA, PolicyID: id, Decision: d, Severity: d.Severity(),
		Reason: f.msg, Evidence: evidence,
	}
	j.findings = append(j.findings, finding)
}

// rule turns the answer of one rule into findings. wrapped is the list that
// holds the rule's value, or nothing if the rule is undefined.
func (j *judgement) rule(r answer, wrapped *ast.Term) {
	id := j.entry.name + "/" + r.name
	list, ok := wrapped.Value.(*ast.Array)
	if ok && list.Len() == 0 && r.list {
		return
	}
	if !ok || list.Len() != 1 {
		j.unjudged(id, r.at, "it is undefined where an answer was promised")
		return
	}
	value := list.Elem(0).Value
	if r.decision == "" {
		j.decision(id, r, value)
		return
	}
	members, ok := membersOf(value, r.list)
	if !ok {
		j.unjudged(id, r.at, fmt.Sprintf("it is %s and not a set; write: %s contains msg if { ... }", typeName(value), r.name))
		return
	}
	for i, m := range members {
		if i >= limits.PolicyFindings {
			j.unjudged(id, r.at, fmt.Sprintf("it gives %d findings, more than %d", len(members), limits.PolicyFindings))
			return
		}
		f, why := member(m.Value)
		if why != "" {
			j.unjudged(id, r.at, why)
			continue
		}
		if j.text += len(f.msg) + textLen(f.files); j.text > limits.PolicyAnswer {
			j.unjudged(id, r.at, fmt.Sprintf("its texts have more than %d bytes", limits.PolicyAnswer))
			return
		}
		j.add(r.decision, id, r.at, f)
	}
}

// membersOf gives what a rule's value holds: a set's members, sorted, or a list's
// where the rule may be one.
func membersOf(v ast.Value, list bool) ([]*ast.Term, bool) {
	switch v := v.(type) {
	case ast.Set:
		return v.Slice(), true
	case *ast.Array:
		var out []*ast.Term
		v.Foreach(func(t *ast.Term) { out = append(out, t) })
		return out, list
	}
	return nil, false
}

// member reads one member of a set: a text, or an object with msg. Members that
// an object has beside the known ones are left alone, as other tools do.
func member(v ast.Value) (fields, string) {
	switch v := v.(type) {
	case ast.String:
		if strings.TrimSpace(string(v)) == "" {
			return fields{}, "a message is empty"
		}
		return fields{msg: clean(string(v))}, ""
	case ast.Object:
		return object(v)
	}
	return fields{}, fmt.Sprintf("a member is %s and neither a text nor an object with msg", typeName(v))
}

func object(o ast.Object) (fields, string) {
	var f fields
	for _, m := range []struct {
		key   string
		to    *string
		exact bool
	}{{"msg", &f.msg, false}, {"role", &f.role, true}, {"artifact", &f.artifact, true}, {"id", &f.id, true}, {"file", &f.file, false}} {
		t := o.Get(ast.StringTerm(m.key))
		if t == nil {
			continue
		}
		s, ok := t.Value.(ast.String)
		if !ok || strings.TrimSpace(string(s)) == "" {
			return f, fmt.Sprintf("the %s of a member is no text", m.key)
		}
		*m.to = clean(string(s))
		if m.exact && *m.to != string(s) {
			return f, fmt.Sprintf("the %s of a member is too long or has control characters", m.key)
		}
	}
	if f.msg == "" {
		return f, "a member has no msg"
	}
	if f.id != "" && !ruleID.MatchString(f.id) {
		return f, fmt.Sprintf("the id %q of a member is not made of letters, digits, dots, dashes and underscores", f.id)
	}
	if t := o.Get(ast.StringTerm("files")); t != nil {
		value, cut := firstOf(t.Value)
		files, ok := texts(value)
		if !ok {
			return f, "the files of a member are no list of texts"
		}
		f.files, f.cut = files, cut
	}
	return f, ""
}

// decision reads the answer at "decision": a text, or a PreflightOutput.
func (j *judgement) decision(id string, r answer, v ast.Value) {
	if s, ok := v.(ast.String); ok {
		d := protocol.Decision(s)
		if !d.Valid() {
			j.unjudged(id, r.at, fmt.Sprintf("its decision %q is unknown; use allow, warn, require_approval or deny", string(s)))
			return
		}
		j.add(d, id, r.at, fields{msg: "decision: " + string(d)})
		return
	}
	o, ok := v.(ast.Object)
	if !ok {
		j.unjudged(id, r.at, fmt.Sprintf("its decision is %s and neither a text nor an object", typeName(v)))
		return
	}
	d, f, why := preflight(o)
	if why != "" {
		j.unjudged(id, r.at, why)
		return
	}
	j.add(d, id, r.at, f)
}

// preflight reads a PreflightOutput strictly. An object that says less than
// its own parts (allow beside violations) counts as what its parts say.
func preflight(o ast.Object) (protocol.Decision, fields, string) {
	var d protocol.Decision
	var f fields
	var msgs []string
	lift := func(to protocol.Decision) { d = protocol.MostSevere(d, to) }
	t := o.Get(ast.StringTerm("decision"))
	if t == nil {
		return d, f, "its decision object has no decision"
	}
	s, _ := t.Value.(ast.String) // any other type is no valid decision either
	if d = protocol.Decision(s); !d.Valid() {
		return d, f, fmt.Sprintf("its decision %s is unknown; use allow, warn, require_approval or deny", typeOrText(t.Value))
	}
	for _, key := range o.Keys() {
		name, _ := key.Value.(ast.String) // another type is an unknown member
		value := o.Get(key).Value
		switch name {
		case "decision":
		case "violations", "warnings":
			list, ok := texts(value)
			if !ok {
				return d, f, fmt.Sprintf("%s of its decision are no list of texts", name)
			}
			msgs = append(msgs, list...)
			switch {
			case len(list) > 0 && name == "violations":
				lift(protocol.Deny)
			case len(list) > 0:
				lift(protocol.Warn)
			}
		case "requires":
			needs, why := requires(value)
			if why != "" {
				return d, f, why
			}
			f = needs
			lift(protocol.RequireApproval)
		default:
			return d, f, fmt.Sprintf("its decision has the unknown member %s", typeOrText(key.Value))
		}
	}
	slices.Sort(msgs)
	if f.msg != "" {
		msgs = append([]string{f.msg}, msgs...)
	}
	if len(msgs) == 0 {
		msgs = []string{"decision: " + string(d)}
	}
	f.msg = clean(strings.Join(msgs, "; "))
	return d, f, ""
}

func requires(v ast.Value) (fields, string) {
	o, ok := v.(ast.Object)
	if !ok {
		return fields{}, "requires of its decision is no object"
	}
	var f fields
	for _, key := range o.Keys() {
		name, _ := key.Value.(ast.String) // another type is an unknown member
		s, ok := o.Get(key).Value.(ast.String)
		switch {
		case !ok:
			return f, "a member of requires is no text"
		case name == "role":
			if f.role = clean(string(s)); f.role != string(s) {
				return f, "the role of requires is too long or has control characters"
			}
		case name == "reason":
			f.msg = clean(string(s))
		default:
			return f, fmt.Sprintf("requires has the unknown member %s", typeOrText(key.Value))
		}
	}
	return f, ""
}

// firstOf gives the first limits.PolicyFindings members of a list of files: a rule
// that finds more is no less right, but no exemption can cover what it does not name.
func firstOf(v ast.Value) (ast.Value, bool) {
	switch v := v.(type) {
	case *ast.Array:
		if v.Len() > limits.PolicyFindings {
			return v.Slice(0, limits.PolicyFindings), true
		}
	case ast.Set:
		if v.Len() > limits.PolicyFindings {
			return ast.NewArray(v.Slice()[:limits.PolicyFindings]...), true
		}
	}
	return v, false
}

// texts reads an array or a set of texts, at most limits.PolicyFindings of them.
func texts(v ast.Value) ([]string, bool) {
	var terms []*ast.Term
	switch v := v.(type) {
	case *ast.Array:
		for i := range min(v.Len(), limits.PolicyFindings+1) {
			terms = append(terms, v.Elem(i))
		}
	case ast.Set:
		terms = v.Slice()
	default:
		return nil, false
	}
	if len(terms) > limits.PolicyFindings {
		return nil, false
	}
	var out []string
	for _, t := range terms {
		s, ok := t.Value.(ast.String)
		if !ok {
			return nil, false
		}
		out = append(out, clean(string(s)))
	}
	return out, true
}

func textLen(list []string) int {
	n := 0
	for _, s := range list {
		n += len(s)
	}
	return n
}

func typeName(v ast.Value) string {
	switch v.(type) {
	case ast.Null:
		return "null"
	case ast.Boolean:
		return "a boolean"
	case ast.Number:
		return "a number"
	case ast.String:
		return "a text"
	case *ast.Array:
		return "a list"
	case ast.Object:
		return "an object"
	case ast.Set:
		return "a set"
	}
	return "a value of an unknown type"
}

func typeOrText(v ast.Value) string {
	if s, ok := v.(ast.String); ok {
		return fmt.Sprintf("%q", clean(string(s)))
	}
	return "(" + typeName(v) + ")"
}

// clean makes text of a policy, which may quote a hostile change, safe to show:
// valid UTF-8, no control or formatting characters (which move a terminal's
// cursor or turn text around) but newline and tab, and at most limits.PolicyText bytes.
func clean(s string) string {
	const cut = " … (cut off)"
	var b strings.Builder
	for _, r := range s {
		if b.Len() > limits.PolicyText {
			break
		}
		switch {
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case r == utf8.RuneError, unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	out := b.String()
	if len(out) <= limits.PolicyText {
		return out
	}
	end := limits.PolicyText - len(cut)
	for !utf8.RuneStart(out[end]) {
		end--
	}
	return out[:end] + cut
}
