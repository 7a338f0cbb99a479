package forge

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/cli"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/test/githubtest"
)

// initFiles are what init writes for GitHub.
var initFiles = []string{
	".cabincrew.yaml", "policies/house.rego", "policies/house_test.rego", ".github/workflows/cabincrew.yml", ".github/workflows/cabincrew-base.yml",
}

// clone makes a checkout whose origin is the fake's.
func (r *rig) clone(url string) string {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir(), "infra")
	r.git(filepath.Dir(dir), "init", "-q", dir)
	r.git(dir, "remote", "add", "origin", url)
	return dir
}

// run runs the program in a checkout, as a person does at a terminal.
func (r *rig) run(dir string, env map[string]string, args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	list := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.t.TempDir(), "GITHUB_SERVER_URL=" + r.hub.WebURL(), "GITHUB_API_URL=" + r.hub.URL()}
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	var out, errs bytes.Buffer
	code = cli.Main(r.t.Context(), append(args, "--config", filepath.Join(dir, ".cabincrew.yaml")), strings.NewReader(""), &out, &errs, list)
	return code, out.String(), errs.String()
}

const somePin = "0123456789abcdef0123456789abcdef01234567"

// TestInitFlies lets what init wrote fly from pull request to merge. Only how plans are
// signed is changed: certificates have tests of their own.
func TestInitFlies(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	dir := r.clone(r.hub.WebURL() + "/acme/infra.git")
	if code, out, errs := r.run(dir, map[string]string{"GITHUB_TOKEN": r.token}, "init", "--for", "github", "--pin", somePin); code != 0 {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	files := map[string]string{}
	for _, name := range initFiles {
		files[name] = read(t, filepath.Join(dir, name))
	}
	text, _, found := strings.Cut(files[".cabincrew.yaml"], "\n# Plans are signed by")
	if !found {
		t.Fatal("there is no section for signing")
	}
	files[".cabincrew.yaml"] = text + "\nsigning: {key: " + filepath.Join(r.keys, "plan") + "}\n"
	r.repo.Allow(r.bob, "maintain")
	r.repo.Push("main", r.repo.Commit(githubtest.Commit{Author: r.author, Message: "init", Parents: []string{r.repo.Tip("refs/heads/main")}, Files: files}), r.author)
	r.endorse(r.repo.Tip("refs/heads/main")) // in this repository it is not the first
	p := r.open("feature", "two\n")
	if got := r.plan(p, "opened", 0); got.got.outputs["decision"] != "require_approval" {
		t.Errorf("the outputs are %v", got.got.outputs)
	}
	p.Review(r.carol, githubtest.Approved, "I may write, and not maintain")
	r.later()
	p.Review(r.bob, githubtest.Approved, "fine")
	r.later()
	if done := r.land(p, 0); read(t, filepath.Join(done.workspace, "hello-cabincrew.txt")) != "Hello from CabinCrew\n" {
		t.Error("the take-off did nothing")
	}
}

// TestInitAsksTheForge: with a token, numbers and branch are the repository's; without
// one they are left open, and the configuration is refused until they are filled in.
func TestInitAsksTheForge(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	for _, c := range []struct {
		name, origin string
		env          map[string]string
		args         []string
		unfilled     int
		holds, lacks []string
	}{
		{
			"with a token", r.hub.WebURL() + "/acme/infra", map[string]string{"GITHUB_TOKEN": r.token}, []string{"--pin", somePin}, 1, // it is private: where to sign is for people to say
			[]string{`repository_id: "` + strconv.FormatInt(r.repo.ID, 10) + `"`, `signer_digests: ["` + somePin + `"]`, "take-off.yml@" + somePin}, []string{"@v1"},
		},
		{
			"without a token", r.hub.WebURL() + "/acme/infra.git", nil, []string{"--pin", somePin}, 5,
			[]string{"<fill in: the repository's number", `branches: ["main"]`}, []string{"@v1"},
		},
		{
			"without a release", r.hub.WebURL() + "/acme/infra.git", nil, nil, 5,
			[]string{"flight-plan.yml@refs/tags/v1", "flight-plan.yml@v1", "review.yml@v1"}, []string{"signer_digests"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := r.clone(c.origin)
			code, out, errs := r.run(dir, c.env, append([]string{"init", "--for", "github", "--output", "json"}, c.args...)...)
			var told struct{ Files, Unfilled, Warnings, Settings []string }
			if err := json.Unmarshal([]byte(out), &told); err != nil || code != 0 {
				t.Fatalf("exit %d, %v\n%s%s", code, err, out, errs)
			}
			if len(told.Files) != len(initFiles) || len(told.Unfilled) != c.unfilled || len(told.Settings) < 5 || (c.env == nil) != (len(told.Warnings) > 0) {
				t.Errorf("it tells %+v", told)
			}
			all := ""
			for _, name := range initFiles {
				all += read(t, filepath.Join(dir, name))
			}
			for _, want := range c.holds {
				if !strings.Contains(all, want) {
					t.Errorf("%q is missing", want)
				}
			}
			for _, not := range c.lacks {
				if strings.Contains(all, not) {
					t.Errorf("%q is there", not)
				}
			}
			for _, p := range told.Unfilled {
				if !strings.HasPrefix(p, ".cabincrew.yaml:") {
					t.Errorf("%q has no place", p)
				}
			}
			at := filepath.Join(dir, ".cabincrew.yaml")
			filled := strings.NewReplacer(`"<fill in: true publishes the repository's name and each commit for good; otherwise name your own fulcio_url and timestamp_url and remove this line>"`, "true",
				`"<fill in: the repository's number, in quotes; gh api repos/OWNER/NAME --jq .id prints it>"`, `"7"`,
				`"<fill in: its owner's number, in quotes; gh api repos/OWNER/NAME --jq .owner.id prints it>"`, `"8"`).Replace(read(t, at))
			loaded, err := config.Parse(at, []byte(filled))
			if err != nil || !loaded.Signing.Keyless || len(loaded.Signing.Trusted.Identities) != 2 {
				t.Errorf("filled in, it is %v", err)
			}
			if code, _, errs = r.run(dir, c.env, append([]string{"init", "--for", "github"}, c.args...)...); code != 2 || !strings.Contains(errs, "config_exists") {
				t.Errorf("a second time: exit %d\n%s", code, errs)
			}
		})
	}
}

// TestInitOverwritesNothing: one file that is there already, and nothing is written.
func TestInitOverwritesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	for _, name := range initFiles {
		dir := r.clone(r.hub.WebURL() + "/acme/infra.git")
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := r.run(dir, nil, "init", "--for", "github"); code != 2 || !strings.Contains(errs, "config_exists") || read(t, at) != "mine" {
			t.Errorf("%s: exit %d\n%s", name, code, errs)
		}
		for _, other := range initFiles {
			if _, err := os.Lstat(filepath.Join(dir, other)); err == nil && other != name {
				t.Errorf("%s is there: %s was written", name, other)
			}
		}
	}
}

// TestInitRefuses what it cannot do, and never sends the token to a host that only the
// checkout names.
func TestInitRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, byReview, nil)
	for _, c := range []struct {
		name, origin, code string
		args               []string
	}{
		{"another host", "https://evil.example/acme/infra.git", "forge_options", nil},
		{"no repository's URL", "/srv/git/infra", "forge_options", nil},
		{"a forge that nobody knows", r.hub.WebURL() + "/acme/infra", "usage", []string{"--for", "sourcehut"}},
		{"a short pin", r.hub.WebURL() + "/acme/infra", "usage", []string{"--pin", "0123456"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := r.clone(c.origin)
			code, out, errs := r.run(dir, map[string]string{"GITHUB_TOKEN": r.token}, append([]string{"init", "--for", "github"}, c.args...)...)
			if code != 2 || !strings.Contains(errs, "["+c.code+"]") {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		})
	}
	dir := r.clone(r.hub.WebURL() + "/acme/infra")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := r.run(filepath.Join(dir, "sub"), nil, "init", "--for", "github"); code != 2 || !strings.Contains(errs, "init_place") {
		t.Errorf("below the top: exit %d\n%s", code, errs)
	}
	if n := len(r.hub.Requests()); n != 0 {
		t.Errorf("the forge was asked %d times", n)
	}
}
