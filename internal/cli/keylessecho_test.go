package cli

import (
	"encoding/base64"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cabincrew/action/signing/signingtest"
)

const keylessConfig = `signing:
  keyless: true
  fulcio_url: URL
  timestamp_url: URL/api/v1/timestamp
  trusted_root: trusted_root.json
  identity_token: env:JOB_TOKEN
  trusted:
    identities: [{issuer: "https://token.actions.githubusercontent.com", san: "https://github.com/acme/ci/.github/workflows/plan.yml@refs/heads/main", repository_id: "17", owner_id: "7"}]
approvals:`

// TestNoTokenLeaves has a Fulcio send the identity token back in ways that no search
// for it finds, and looks at everything that the program writes.
func TestNoTokenLeaves(t *testing.T) {
	t.Parallel()
	token := signingtest.Token("refused-and-sent-back")
	authority := signingtest.New(t, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	spread := func(between string) string {
		return strings.Join(strings.Split(token, ""), between)
	}
	for name, echo := range map[string]string{
		"as it is": token, "no UTF-8 between": spread("\xff"), "spaces": spread(" "), "lines": spread("\n"),
		"base64": base64.StdEncoding.EncodeToString([]byte(token)), "cut": token[:len(token)-3],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer "+token {
					t.Errorf("asked without the token")
				}
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(echo)) // the client may be gone
			}))
			t.Cleanup(server.Close)
			d := newDesk(t, map[string]string{
				".cabincrew.yaml":   strings.Replace(deskConfig, "approvals:", strings.ReplaceAll(keylessConfig, "URL", server.URL), 1),
				"trusted_root.json": string(authority.TrustedRoot(signingtest.Parts{CA: true, TSA: true})),
			})
			d.env = append(d.env, "JOB_TOKEN="+token)
			code, out, errs := d.run("flight-plan", "--log-level", "debug", "--output", "json")
			if code != 1 || !strings.Contains(out+errs, "signer_refused") {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
			told := map[string]string{"stdout": out, "stderr": errs}
			err := fs.WalkDir(os.DirFS(d.path(".cabincrew")), ".", func(p string, e fs.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() {
					told[p] = read(t, d.path(".cabincrew/"+p))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			logs := 0
			squeeze := strings.NewReplacer(" ", "", "\n", "", `\n`, "", "\xff", "", "\ufffd", "", `\ufffd`, "")
			for from, text := range told {
				if strings.HasSuffix(from, "/audit.jsonl") || strings.HasSuffix(from, "/wal.jsonl") {
					logs++
				}
				text = squeeze.Replace(text)
				for _, part := range append(strings.Split(token, "."), base64.StdEncoding.EncodeToString([]byte(token))) {
					if at := min(len(part), 24); strings.Contains(text, part[:at]) {
						t.Errorf("%s holds %.24s… of the token", from, part)
					}
				}
			}
			if logs != 2 {
				t.Errorf("looked at %d logs", logs)
			}
		})
	}
}
