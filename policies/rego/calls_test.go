package rego_test

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// TestCallsThatMultiply: one call that would give more text than memory is a deny
// with the policy's place, and not the end of the process.
func TestCallsThatMultiply(t *testing.T) {
	t.Parallel()
	// About a MiB, by concatenation of what doubles.
	long := "a4 := \"aaaaaaaaaaaaaaaa\"\na8 := concat(\"\", [a4, a4, a4, a4, a4, a4, a4, a4, a4, a4, a4, a4, a4, a4, a4, a4])\n" +
		"a12 := concat(\"\", [a8 | some i in numbers.range(1, 64)])\n"
	// A comprehension of equal values has all of them, an array is no set.
	long = strings.ReplaceAll(long, "[a8 | some i in numbers.range(1, 64)]", "[x | some i in numbers.range(1, 4096); x := a8]") + "l := a12\n"
	for name, expr := range map[string]string{
		"concat":          `concat(l, split(l, ""))`,
		"concat of many":  `concat("", [x | some i in numbers.range(1, 200); x := l])`,
		"width":           `sprintf(concat("", [x | some i in numbers.range(1, 200); x := "%1000000d"]), [1])`,
		"star":            `sprintf(concat("", [x | some i in numbers.range(1, 200); x := "%[1]*[1]d"]), [999999])`,
		"precision":       `sprintf(concat("", [x | some i in numbers.range(1, 200); x := "%.1000000d"]), [1])`,
		"values again":    `sprintf(concat("", [x | some i in numbers.range(1, 200); x := "%[1]s"]), [l])`,
		"composite again": `sprintf(concat("", [x | some i in numbers.range(1, 200); x := "%[1]v"]), [[l]])`,
		"quoted":          `sprintf("%q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q", [l])`,
		"replace":         `replace(l, "a", l)`,
		"replace nothing": `replace(l, "", l)`,
		"replace_n":       `strings.replace_n({"a": l}, l)`,
		"replace_n many":  `strings.replace_n({sprintf("k%d", [i]): l | some i in numbers.range(1, 100)}, l)`,
		"regex":           `regex.replace(l, "a", l)`,
		"regex reference": `regex.replace(l, ".*", concat("", [x | some i in numbers.range(1, 200); x := "$0"]))`,
		"template":        `$"` + strings.Repeat("{l}", 200) + `"`,
		"flatten":         `array.flatten([numbers.range(1, 100000) | some i in numbers.range(1, 60)])`,
		"flatten deep":    `array.flatten([[[[x, x, x, x], [x, x, x, x]], [[x, x, x, x], [x, x, x, x]]] | x := numbers.range(1, 300000)])`,
		"query":           `urlquery.encode_object({l: {sprintf("%d", [i]) | some i in numbers.range(1, 100)}})`,
		"query values":    `urlquery.encode_object({"a": [x | some i in numbers.range(1, 30); x := l]})`,
		"split":           `concat("", split(concat("", [l, l, l, l, l]), ""))`,
		"marshal":         `json.marshal([x | some i in numbers.range(1, 100); x := l])`,
		"marshal YAML":    `yaml.marshal([x | some i in numbers.range(1, 100); x := l])`,
		"marshal tower":   `json.marshal([[[l, l, l, l], [l, l, l, l], [l, l, l, l], [l, l, l, l]], [[l, l, l, l], [l, l, l, l], [l, l, l, l], [l, l, l, l]], [[l, l, l, l], [l, l, l, l], [l, l, l, l], [l, l, l, l]], [[l, l, l, l], [l, l, l, l], [l, l, l, l], [l, l, l, l]], [[l, l, l, l], [l, l, l, l], [l, l, l, l], [l, l, l, l]], [[l, l, l, l], [l, l, l, l], [l, l, l, l], [l, l, l, l]]])`,
		"sprintf tower":   `sprintf("%v", [[x | some i in numbers.range(1, 100); x := [l]]])`,
		"indent":          `json.marshal_with_options([i | some i in numbers.range(1, 1000)], {"pretty": true, "indent": l})`,
		"prefix":          `json.marshal_with_options([i | some i in numbers.range(1, 1000)], {"pretty": true, "prefix": l})`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := "package main\n" + long + "deny contains \"more\" if count(" + expr + ") < 0\n"
			found := evaluate(t, mustNew(t, rego.Options{}, set("s", "p.rego", source)), policies.Input{})
			if len(found) != 1 || !found[0].Unjudged || found[0].Decision != protocol.Deny || !strings.Contains(found[0].Reason, "would give about") ||
				!strings.Contains(found[0].Reason, "p.rego:") {
				t.Errorf("%q", brief(found))
			}
		})
	}
}

// TestCallsAsBefore: what is not too large is what OPA gives.
func TestCallsAsBefore(t *testing.T) {
	t.Parallel()
	source := `package main
deny contains concat(", ", ["a", "b"])
deny contains sprintf("%5d|%-4s|%q|%v|%%", [7, "x", "q", {"k": [1]}])
deny contains replace("aXbX", "X", "--")
deny contains strings.replace_n({"a": "1", "b": "2"}, "ab c")
deny contains regex.replace("ab12", "([a-z])([0-9])", "$2$1")
deny contains $"t {input.mode}"
deny contains json.marshal_with_options([1], {"pretty": true, "indent": "  "})
deny contains "bad" if concat(1, ["a"])
`
	good := strings.Replace(source, "deny contains \"bad\" if concat(1, [\"a\"])\n", "", 1)
	found := evaluate(t, mustNew(t, rego.Options{}, set("s", "p.rego", good)), policies.Input{Mode: protocol.FlightPlan})
	var got []string
	for _, f := range found {
		got = append(got, f.Reason)
	}
	want := []string{"    7|x   |\"q\"|{\"k\": [1]}|%", "12 c", "[\n  1\n]", "a, b", "a--b--", "a1b2", "t flight-plan"}
	if strings.Join(got, "\x00") != strings.Join(want, "\x00") {
		t.Errorf("%q", got)
	}
}
