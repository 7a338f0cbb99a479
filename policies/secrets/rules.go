package secrets

import (
	_ "embed" // the rules
	"encoding/json"
	"regexp"
	"strings"
	"sync"

	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/protocol"
)

// ruleText is the copy of gitleaks' default rules. "go test -run TestRulesAreCurrent
// -update ./policies/secrets" writes it anew from the module in go.mod.
//
//go:embed rules.json
var ruleText []byte

// ruleFile is the form of rules.json.
type ruleFile struct {
	Source     string       `json:"source"`
	Allowlists []*allowlist `json:"allowlists"`
	Rules      []*rule      `json:"rules"`
}

// rule is one rule of gitleaks. What is compiled is compiled when it is first needed.
type rule struct {
	ID          string       `json:"id"`
	Description string       `json:"description"`
	Regex       string       `json:"regex,omitempty"`
	Path        string       `json:"path,omitempty"`
	SecretGroup int          `json:"secret_group,omitempty"`
	Entropy     float64      `json:"entropy,omitempty"`
	Keywords    []string     `json:"keywords,omitempty"` // in small letters
	Allowlists  []*allowlist `json:"allowlists,omitempty"`

	regex   func() *regexp.Regexp
	path    func() *regexp.Regexp
	locator func() *locator
	generic bool // it guesses by names, so a more exact rule goes before it
}

// allowlist says what is not a finding although a rule matches.
type allowlist struct {
	All       bool     `json:"all,omitempty"` // all kinds of conditions must hold, not one of them
	Paths     []string `json:"paths,omitempty"`
	Target    string   `json:"target,omitempty"` // of regexes: the secret unless "match" or "line"
	Regexes   []string `json:"regexes,omitempty"`
	Stopwords []string `json:"stopwords,omitempty"`

	paths, regexes func() *regexp.Regexp
	stopwords      func() *redact.Automaton
}

// loadRules reads the rules. They are few milliseconds of work less than their
// expressions are.
func loadRules(text []byte) (*ruleFile, error) {
	var f ruleFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, protocol.Errorf(protocol.ExitFailure, "secrets_rules", "the rules for secrets do not parse: %w", err)
	}
	for _, a := range f.Allowlists {
		a.prepare()
	}
	for _, r := range f.Rules {
		r.regex, r.path = compileOnce(r.Regex), compileOnce(r.Path)
		r.locator = sync.OnceValue(func() *locator { return newLocator(r.Regex, r.Keywords) })
		r.generic = strings.Contains(r.ID, "generic")
		for _, a := range r.Allowlists {
			a.prepare()
		}
	}
	return &f, nil
}

func (a *allowlist) prepare() {
	a.paths, a.regexes = compileOnce(joined(a.Paths)), compileOnce(joined(a.Regexes))
	a.stopwords = sync.OnceValue(func() *redact.Automaton {
		words := make([][]byte, len(a.Stopwords))
		for i, w := range a.Stopwords {
			words[i] = []byte(w)
		}
		return redact.NewAutomaton(words, false)
	})
}

// joined puts expressions into one as gitleaks does: a flag such as (?i) at the
// beginning of one also holds for all that follow.
func joined(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return "(?:" + strings.Join(list, "|") + ")"
}

// compileOnce compiles an expression when it is first asked for; nil for none.
// Tests compile every rule.
func compileOnce(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp {
		if expr == "" {
			return nil
		}
		return regexp.MustCompile(expr)
	})
}
