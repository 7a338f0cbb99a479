package secrets_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/secrets"
	"github.com/cabincrew/action/protocol"
)

// Made up, in parts, so that no scanner takes this file for a leak.
func awsKey() string                    { return "AKIA" + "Z3MSQ7TLXW5RQK2N" }
func ghToken() string                   { return "ghp_" + "x9Qk2mZ7Lr4TvB8nW1sYc6Hd3Jf5Gp0aEoUi" }
func textAt(at, v string) policies.Text { return policies.Text{At: at, Value: v} }

func messages(t testing.TB, toServer, toClient string) *secrets.Messages {
	t.Helper()
	ev, err := secrets.New(secrets.Options{Values: map[string]string{"UPSTREAM": "correct horse battery"}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ev.Messages(toServer, toClient)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTexts(t *testing.T) {
	t.Parallel()
	gh := ghToken()
	for name, c := range map[string]struct {
		texts []policies.Text
		rule  string
		at    string
	}{
		"argument":      {[]policies.Text{textAt("/params/arguments/x", "see "+gh)}, "github-pat", "/params/arguments/x"},
		"key":           {[]policies.Text{textAt("/params/arguments/"+gh, gh)}, "github-pat", "/params/arguments"},
		"name before":   {[]policies.Text{textAt("/params/arguments/api_key", "q8Zr2Lm9Xw4Tv7Kc1Pb6Ny3Hs5Jd0Gf")}, "generic-api-key", "/params/arguments/api_key"},
		"name of list":  {[]policies.Text{textAt("/params/arguments/api_key/0", "q8Zr2Lm9Xw4Tv7Kc1Pb6Ny3Hs5Jd0Gf")}, "generic-api-key", "/params/arguments/api_key/0"},
		"base64":        {[]policies.Text{textAt("/result/content/0/text", base64.StdEncoding.EncodeToString([]byte("token "+gh+" end")))}, "github-pat", "/result/content/0/text"},
		"split":         {[]policies.Text{textAt("/result/content/0/text", "x "+gh[:12]), textAt("/result/content/0/type", "text"), textAt("/result/content/1/text", gh[12:]+" y")}, "github-pat", "/result/content/0/text"},
		"split in list": {[]policies.Text{textAt("/params/arguments/parts/0", gh[:9]), textAt("/params/arguments/parts/1", gh[9:20]), textAt("/params/arguments/parts/2", gh[20:])}, "github-pat", "/params/arguments/parts/0"},
		"mapped":        {[]policies.Text{textAt("/result/x", "a correct horse battery b")}, secrets.RuleValue, "/result/x"},
		"mapped split":  {[]policies.Text{textAt("/result/content/0/text", "correct ho"), textAt("/result/content/1/text", "rse battery")}, secrets.RuleValue, "/result/content/0/text"},
	} {
		got, err := messages(t, "", "").JudgeTexts(t.Context(), c.texts, true)
		if err != nil || len(got.Findings) != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		f := got.Findings[0]
		if at, _ := f.Evidence["at"].([]string); f.Decision != protocol.Deny || f.PolicyID != "secrets/"+c.rule || len(at) == 0 || at[0] != c.at {
			t.Errorf("%s: %+v", name, f)
		}
		if strings.Contains(f.Reason, gh) || strings.Contains(f.Reason, "horse") {
			t.Errorf("%s: the reason tells the secret: %s", name, f.Reason)
		}
	}
}

// TestTextsNames says that a secret which is a name is not told by the place of it, or of
// what stands under it.
func TestTextsNames(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{awsKey(), ghToken(), "correct horse battery"} {
		for _, what := range []string{"deny", "warn", "require_approval", secrets.Redact} {
			at := "/params/arguments/" + secret
			texts := []policies.Text{textAt(at, secret), textAt(at+"/deep/x", "see "+secret), textAt(at+"/y", "see "+ghToken()), textAt("/params/arguments/a"+secret+"b", "and "+awsKey())}
			got, err := messages(t, what, "").JudgeTexts(t.Context(), texts, true)
			if err != nil || len(got.Findings) == 0 {
				t.Fatalf("%s: %+v, %v", what, got, err)
			}
			for _, f := range got.Findings {
				if said := fmt.Sprint(f.Reason, f.Evidence); strings.Contains(said, secret) || !strings.Contains(said, "/params/arguments") {
					t.Errorf("%s: %s", what, said)
				}
			}
			if said := fmt.Sprint(got.Findings); !strings.Contains(said, "/params/arguments/…/deep/x") {
				t.Errorf("%s: %s", what, said)
			}
		}
	}
}

func TestTextsWithoutSecrets(t *testing.T) {
	t.Parallel()
	for name, texts := range map[string][]policies.Text{
		"none":     nil,
		"empty":    {textAt("/params/arguments/x", "")},
		"ordinary": {textAt("/params/name", "read_file"), textAt("/params/arguments/path", "/srv/app/main.go")},
		"paging":   {textAt("/params/cursor", "q8Zr2Lm9Xw4Tv7Kc1Pb6Ny3Hs5Jd0Gf"), textAt("/result/nextPageToken", "q8Zr2Lm9Xw4Tv7Kc1Pb6Ny3Hs5Jd0Gf")},
		"apart":    {textAt("/params/arguments/a", ghToken()[:12]), textAt("/params/arguments/b", "and "+ghToken()[12:])},
		"redacted": {textAt("/params/arguments/api_key", "[REDACTED:generic-api-key]"), textAt("/params/arguments/x", "see [REDACTED:github-pat]")},
	} {
		got, err := messages(t, "", "").JudgeTexts(t.Context(), texts, true)
		if err != nil || len(got.Findings)+len(got.Changes) != 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestTextsRedacted(t *testing.T) {
	t.Parallel()
	gh, aws := ghToken(), awsKey()
	encoded := base64.StdEncoding.EncodeToString([]byte("the token is " + gh + " and that is all"))
	texts := []policies.Text{
		textAt("/result/content/0/text", "a "+gh+" b "+aws+" c "+gh), textAt("/result/content/1/text", "x "+gh[:12]), textAt("/result/content/2/text", gh[12:]+" y"),
		textAt("/result/blob", encoded), textAt("/result/other", "nothing"),
	}
	m := messages(t, "deny", secrets.Redact)
	got, err := m.JudgeTexts(t.Context(), texts, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got.Findings {
		if f.Decision != protocol.Warn {
			t.Errorf("%+v", f)
		}
	}
	changed := map[string]string{}
	for _, c := range got.Changes {
		changed[c.At], _ = c.Value.(string)
	}
	if changed["/result/content/0/text"] != "a [REDACTED:github-pat] b [REDACTED:aws-access-token] c [REDACTED:github-pat]" {
		t.Errorf("%q", changed)
	}
	if changed["/result/content/1/text"] != "x [REDACTED:github-pat]" || changed["/result/content/2/text"] != "[REDACTED:github-pat] y" {
		t.Errorf("%q", changed)
	}
	if len(changed) != 4 {
		t.Errorf("%q", changed)
	}
	// What was redacted holds nothing any more.
	for i := range texts {
		if c, ok := changed[texts[i].At]; ok {
			texts[i].Value = c
		}
	}
	if again, err := m.JudgeTexts(t.Context(), texts, false); err != nil || len(again.Findings) != 0 {
		t.Errorf("%+v, %v", again, err)
	}
	// A name cannot be redacted.
	key, err := m.JudgeTexts(t.Context(), []policies.Text{textAt("/result/"+gh, gh)}, false)
	if err != nil || len(key.Findings) != 1 || key.Findings[0].Decision != protocol.Deny {
		t.Errorf("%+v, %v", key, err)
	}
	// The other direction denies.
	if got, err := m.JudgeTexts(t.Context(), texts[:0:0], true); err != nil || len(got.Findings) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := m.JudgeTexts(t.Context(), []policies.Text{textAt("/params/x", gh)}, true); err != nil || got.Findings[0].Decision != protocol.Deny || len(got.Changes) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTextsBounds(t *testing.T) {
	t.Parallel()
	m := messages(t, "", "")
	huge := []policies.Text{textAt("/result/x", strings.Repeat("x", 33<<20))}
	got, err := m.JudgeTexts(t.Context(), huge, false)
	if err != nil || len(got.Findings) != 1 || !got.Findings[0].Unjudged || got.Findings[0].Decision != protocol.Deny {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.JudgeTexts(ctx, []policies.Text{textAt("/x", "api key token secret")}, false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ev, err := secrets.New(secrets.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ev.Messages("allow", ""); !errors.Is(err, protocol.Code("secrets_options")) {
		t.Error(err)
	}
}

func BenchmarkTexts(b *testing.B) {
	m := messages(b, "", "")
	call := []policies.Text{
		textAt("/params/name", "name"), textAt("/params/name", "read_file"), textAt("/params/arguments", "arguments"), textAt("/params/arguments/path", "path"),
		textAt("/params/arguments/path", "/srv/app/internal/server/handler.go"), textAt("/params/arguments/encoding", "utf-8"),
	}
	result := []policies.Text{textAt("/result/content", "content"), textAt("/result/content/0/type", "text"), textAt("/result/content/0/text",
		strings.Repeat("func handler(w http.ResponseWriter, r *http.Request) {\n\tfmt.Fprintf(w, \"hello %s\", r.URL.Path)\n}\n", 10))}
	for name, texts := range map[string][]policies.Text{"call": call, "result": result} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got, err := m.JudgeTexts(b.Context(), texts, true); err != nil || len(got.Findings) > 0 {
					b.Fatal(got, err)
				}
			}
		})
	}
}
