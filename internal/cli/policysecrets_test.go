package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secretName is a name that holds a secret; it is put together here, so that no
// scanner finds it in the source.
const secretName = "gh" + "p_" + "k3Jd82hFq0ZxT5vN7bWm" + "1RcYp9LsAu4GeXyz"

// secretPolicy prints names of files, as policies do.
const secretPolicy = `package cabincrew.desk

warn contains {"id": "seen", "files": [f.path], "msg": sprintf("see %v", [f])} if {
	some a in input.artifacts
	some f in a.patch.files
}
`

func secretDesk(t *testing.T, run string) *desk {
	t.Helper()
	d := newDesk(t, map[string]string{"policies/desk.rego": secretPolicy})
	config := read(t, d.path(".cabincrew.yaml"))
	from := strings.Index(config, "run: ")
	if from < 0 {
		t.Fatalf("the configuration has no command: %s", config)
	}
	rest := config[from:]
	end := strings.IndexByte(rest, ']')
	d.write(".cabincrew.yaml", config[:from]+"run: [sh, -c, "+yamlText(run)+rest[end:])
	return d
}

// TestSecretNames has a secret in a file's name and looks for it in everything that a
// denied flight tells and records.
func TestSecretNames(t *testing.T) {
	t.Parallel()
	d := secretDesk(t, "echo x > gh\"\"p_"+secretName[4:]+".txt")
	id := d.plan(3)
	clean := func(what, text string) {
		t.Helper()
		if strings.Contains(text, secretName) || strings.Contains(text, secretName[4:]) {
			t.Errorf("%s holds the secret:\n%s", what, text)
		}
	}
	clean("the plan", d.must(3, []string{"[secret github-pat "}, "policy", "eval", "--flight", id))
	for _, format := range []string{"text", "json", "junit", "sarif", "github"} {
		_, out, errs := d.run("policy", "eval", "--flight", id, "--explain", "--format", format)
		clean("policy eval in "+format, out)
		clean("policy eval in "+format, errs)
	}
	clean("policy secrets", d.must(3, []string{"github-pat"}, "policy", "secrets", "--flight", id))
	dir := filepath.Dir(d.flightFile(id, "wal.jsonl"))
	seen := 0
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || strings.Contains(path, "/artifacts/") {
			return err
		}
		seen++
		clean(path, read(t, path))
		return nil
	})
	if err != nil || seen < 4 {
		t.Errorf("%d files, %v", seen, err)
	}
}

func TestPolicySecrets(t *testing.T) {
	t.Parallel()
	d := secretDesk(t, "printf 'token gh%s' "+secretName[2:]+" > notes.txt")
	id := d.plan(3)
	d.must(2, []string{"--flight or --path"}, "policy", "secrets")
	d.must(2, []string{"--reason"}, "policy", "secrets", "--flight", id, "--write-baseline", d.path("known.json"))
	var doc struct {
		Findings []foundSecret
		Written  int
	}
	d.json(3, &doc, "policy", "secrets", "--flight", id)
	if len(doc.Findings) != 1 || doc.Findings[0].File != "notes.txt" || doc.Findings[0].Rule != "github-pat" || len(doc.Findings[0].Fingerprint) != 24 || doc.Written != 0 {
		t.Fatalf("%+v", doc)
	}
	out := d.must(0, []string{"github-pat", "1 of them written"}, "policy", "secrets", "--flight", id, "--write-baseline", d.path("known.json"), "--reason", "an example")
	first := read(t, d.path("known.json"))
	if strings.Contains(out+first, secretName) || !strings.Contains(first, doc.Findings[0].Fingerprint) || !strings.Contains(first, "an example") {
		t.Errorf("%s\n%s", out, first)
	}
	d.write("more.txt", "id = AK"+"IA"+"Z5Q7RTWBPNX3"+"KLDV\n")
	d.must(3, []string{"more.txt:1:6"}, "policy", "secrets", "--path", d.path("more.txt"))
	d.must(0, nil, "policy", "secrets", "--path", d.path("more.txt"), "--write-baseline", d.path("known.json"), "--reason", "another")
	both := read(t, d.path("known.json"))
	if !strings.Contains(both, doc.Findings[0].Fingerprint) || strings.Count(both, "fingerprint") != 2 || !strings.Contains(both, "an example") {
		t.Errorf("%s", both)
	}
	d.must(0, nil, "policy", "secrets", "--path", d.path("more.txt"), "--write-baseline", d.path("known.json"), "--reason", "again")
	if again := read(t, d.path("known.json")); again != both {
		t.Errorf("the baseline changed:\n%s", again)
	}
	d.must(2, []string{"input_unreadable"}, "policy", "secrets", "--path", d.path("policies"))
	d.write("bad.json", "{")
	d.must(2, []string{"secrets_baseline"}, "policy", "secrets", "--path", d.path("more.txt"), "--write-baseline", d.path("bad.json"), "--reason", "x")
	d.change(d.path(".cabincrew.yaml"), "{rego: [policies/]}", "{rego: [policies/], secrets: {baseline: known.json}}")
	d.must(0, []string{"0 found"}, "policy", "secrets", "--path", d.path("more.txt"))
}
