package secrets

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/viper"
	"github.com/zricethezav/gitleaks/v8/config"
)

var update = flag.Bool("update", false, "write rules.json anew from gitleaks' module")

// upstream reads the rules as gitleaks does.
var upstream = sync.OnceValues(func() (config.Config, error) {
	v := viper.New()
	v.SetConfigType("toml")
	if err := v.ReadConfig(strings.NewReader(config.DefaultConfig)); err != nil {
		return config.Config{}, err
	}
	var raw config.ViperConfig
	if err := v.Unmarshal(&raw); err != nil {
		return config.Config{}, err
	}
	return raw.Translate()
})

func fromUpstream(a *config.Allowlist) *allowlist {
	out := &allowlist{All: a.MatchCondition == config.AllowlistMatchAnd, Target: a.RegexTarget, Stopwords: slices.Sorted(slices.Values(a.StopWords))}
	for _, p := range a.Paths {
		out.Paths = append(out.Paths, p.String())
	}
	for _, r := range a.Regexes {
		out.Regexes = append(out.Regexes, r.String())
	}
	return out
}

func TestRulesAreCurrent(t *testing.T) {
	t.Parallel()
	c, err := upstream()
	if err != nil {
		t.Fatal(err)
	}
	f := ruleFile{Source: "github.com/zricethezav/gitleaks/v8 " + upstreamVersion(t) + ", MIT License, see LICENSE.gitleaks"}
	for _, a := range c.Allowlists {
		if len(a.Commits) > 0 {
			t.Fatal("an allowlist has commits, which the driver does not know")
		}
		f.Allowlists = append(f.Allowlists, fromUpstream(a))
	}
	for _, u := range c.GetOrderedRules() {
		if len(u.RequiredRules) > 0 || u.SkipReport || u.RuleID != strings.ToLower(u.RuleID) {
			t.Fatalf("%s has what the driver does not know", u.RuleID)
		}
		r := &rule{ID: u.RuleID, Description: u.Description, SecretGroup: u.SecretGroup, Entropy: u.Entropy, Keywords: u.Keywords}
		if u.Regex != nil {
			r.Regex = u.Regex.String()
		}
		if u.Path != nil {
			r.Path = u.Path.String()
		}
		for _, a := range u.Allowlists {
			if len(a.Commits) > 0 {
				t.Fatalf("an allowlist of %s has commits, which the driver does not know", u.RuleID)
			}
			r.Allowlists = append(r.Allowlists, fromUpstream(a))
		}
		f.Rules = append(f.Rules, r)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(f); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("rules.json", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(b.Bytes(), ruleText) {
		t.Fatal("rules.json is not what gitleaks' module says; run this test with -update and look at the difference")
	}
}

// upstreamVersion reads the version of gitleaks from go.mod.
func upstreamVersion(t *testing.T) string {
	t.Helper()
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(mod)) {
		if f := strings.Fields(l); len(f) >= 2 && f[0] == "github.com/zricethezav/gitleaks/v8" {
			return f[1]
		}
	}
	t.Fatal("go.mod does not require gitleaks")
	return ""
}

func TestEveryRuleCompiles(t *testing.T) {
	t.Parallel()
	f, err := loadRules(ruleText)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Rules) < 200 {
		t.Fatalf("only %d rules", len(f.Rules))
	}
	near := 0
	for _, r := range f.Rules {
		if r.Regex == "" && r.Path == "" {
			t.Errorf("%s matches nothing", r.ID)
		}
		r.path()
		if r.Regex == "" {
			continue
		}
		r.regex()
		if l := r.locator(); l != nil {
			near++
			t.Logf("%s: left %d, %d instructions", r.ID, l.left, len(l.insts))
		} else {
			t.Logf("%s: whole", r.ID)
		}
		for _, a := range r.Allowlists {
			a.paths()
			a.regexes()
			a.stopwords()
		}
	}
	if near < 190 {
		t.Errorf("only %d rules are looked for near their keywords", near)
	}
}
