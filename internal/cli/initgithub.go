package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cabincrew/action/ci"
	examples "github.com/cabincrew/action/examples/github"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/protocol"
)

const (
	ownAction   = "cabincrew/action"
	planFlow    = ownAction + "/.github/workflows/flight-plan.yml"
	takeOffFlow = ownAction + "/.github/workflows/take-off.yml"
	workflowDir = ".github/workflows"
)

var (
	wholeCommit = regexp.MustCompile(`^[0-9a-f]{40}$`)
	released    = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+)$`)
)

// firstPolicy is what init writes beside the bundled set: strict, and easy to read.
const firstPolicy = `# A policy of your own. It asks a maintainer about every change that does something;
# say here what needs nobody, or what nobody may do. Try: cabincrew policy test
package cabincrew.house

# METADATA
# title: Somebody looks at every change
# description: A plan that would change something needs the approval of a maintainer.
require_approval contains {"id": "every-change", "msg": "this changes something", "role": "maintainer"} if {
	count(input.artifacts) > 0
}
`

const firstPolicyTest = `package cabincrew.house_test

import data.cabincrew.house

test_a_change_is_looked_at if {
	count(house.require_approval) == 1 with input as {"artifacts": [{"name": "changes"}]}
}

test_nothing_needs_nobody if {
	count(house.require_approval) == 0 with input as {"artifacts": []}
}
`

// start is what init writes for a repository on GitHub.
type start struct {
	hub      hub
	on       config.OnGitHub
	branch   string // the default branch
	version  string // of the pinned release
	warnings []string
}

// beginOnGitHub writes what a repository on GitHub needs. It overwrites nothing, and
// what it cannot find out stands there as a value that is refused until it is filled in.
func (a *app) beginOnGitHub(ctx context.Context, pin string) error {
	p, err := a.place()
	if err != nil {
		return err
	}
	if pin != "" && !wholeCommit.MatchString(pin) {
		return usageError("usage", "--pin is %q, which is no full commit id", pin)
	}
	_, _, prefix, err := workspace.Repository(p.workspace)
	if err != nil {
		return err
	}
	if prefix != "" || p.configPath != config.FileName {
		return usageError("init_place", "%s would not be at the top of the repository, where workflows and the configuration of GitHub's jobs lie", p.configPath).
			WithHint("run it in the repository's top directory, without --config")
	}
	s := start{branch: "main", warnings: []string{}, on: config.OnGitHub{Workflow: filepath.Base(p.workspace), Commit: pin}}
	if s.hub, err = a.onGitHub(p.workspace); err != nil {
		return err
	}
	if err := s.ask(ctx); err != nil {
		return err
	}
	files := []written{
		{config.FileName, config.TemplateGitHub(s.on)},
		{"policies/house.rego", []byte(firstPolicy)},
		{"policies/house_test.rego", []byte(firstPolicyTest)},
		{workflowDir + "/cabincrew.yml", s.workflow(examples.Changes())},
		{workflowDir + "/cabincrew-base.yml", s.workflow(examples.Base())},
	}
	if err := writeAll(p.workspace, files); err != nil {
		return err
	}
	return a.tellStart(p, s, files)
}

// ask fills in what the API tells, where there is a token for it.
func (s *start) ask(ctx context.Context) error {
	version := ci.Release()
	if m := released.FindStringSubmatch(Version()); m != nil {
		version = m[1]
	}
	if s.hub.token != "" && s.hub.name != "" {
		c, err := s.hub.client(s.hub.name)
		if err != nil {
			return err
		}
		defer c.Close()
		r, err := c.Repository(ctx)
		if err != nil {
			return err
		}
		s.on.RepositoryID, s.on.OwnerID, s.on.Public, s.branch = r.ID, r.OwnerID, !r.Private, r.DefaultBranch
	} else {
		s.warnings = append(s.warnings, "GitHub was not asked about the repository: GITHUB_TOKEN is not set, or nothing names the repository. Fill in what "+config.FileName+" leaves open, and look whether main is the default branch.")
	}
	switch {
	case s.on.Commit != "":
		return nil
	case version == "":
		s.warnings = append(s.warnings, "There is no release of CabinCrew yet: the workflows call @v1, a tag that can be moved. Pin them, and signing.trusted, by a commit as soon as there is one (--pin).")
		return nil
	case s.hub.token == "":
		s.warnings = append(s.warnings, "The workflows call @v1, a tag that can be moved: without GITHUB_TOKEN the commit of release "+version+" was not asked for. Pin them, and signing.trusted, by that commit (--pin).")
		return nil
	}
	return s.pinned(ctx, version)
}

// pinned asks for the commit of a release. It must be one that installs that release.
func (s *start) pinned(ctx context.Context, version string) error {
	c, err := s.hub.client(ownAction)
	if err != nil {
		return err
	}
	defer c.Close()
	commit, err := c.CommitOf(ctx, "tags/v"+version)
	var data []byte
	found := false
	if err == nil {
		data, found, err = c.Content(ctx, "ci/release.json", commit, limits.GitHubContents)
	}
	if err != nil {
		s.warnings = append(s.warnings, "The workflows call @v1, a tag that can be moved: the commit of release "+version+" could not be asked for ("+err.Error()+"). Pin them, and signing.trusted, by that commit (--pin).")
		return nil
	}
	var pins struct {
		Version string `json:"version"`
	}
	if !found || json.Unmarshal(data, &pins) != nil || pins.Version != version {
		return protocol.Errorf(protocol.ExitIntegrity, "release_pin", "the tag v%s of %s is commit %s, which does not install version %s", version, ownAction, commit, version).
			WithHint("look who moved the tag; --pin names a commit that you trust")
	}
	s.on.Commit, s.version = commit, version
	return nil
}

// workflow gives an example as it is for this repository.
func (s *start) workflow(text string) []byte {
	text = strings.ReplaceAll(text, "#\n# Write a commit after the @ instead of v1: `cabincrew init` does.\n", "")
	if s.on.Commit != "" {
		pin := "@" + s.on.Commit
		if s.version != "" {
			pin += " # v" + s.version
		}
		text = strings.ReplaceAll(text, "@v1\n", pin+"\n")
	}
	branch, err := json.Marshal(s.branch) // JSON's text is YAML's
	if err != nil {
		return []byte(text)
	}
	return []byte(strings.ReplaceAll(text, "branches: [main]", "branches: ["+string(branch)+"]"))
}

// written is a file that init writes.
type written struct {
	name string
	data []byte
}

// writeAll writes files that must not be there yet, all or none.
func writeAll(top string, files []written) error {
	root, err := os.OpenRoot(top)
	if err != nil {
		return unwritable(top, err)
	}
	defer func() { _ = root.Close() }()
	for _, f := range files {
		if _, err := root.Lstat(filepath.FromSlash(f.name)); err == nil {
			return usageError("config_exists", "it is already there, and nothing was written").At(f.name).
				WithHint("edit what there is, or move it away and run cabincrew init again")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return unwritable(f.name, err)
		}
	}
	for i, f := range files {
		err := root.MkdirAll(filepath.FromSlash(filepath.Dir(f.name)), 0o755)
		if err == nil {
			err = writeIn(root, filepath.FromSlash(f.name), f.data)
		}
		if err != nil {
			for _, done := range files[:i] {
				err = errors.Join(err, root.Remove(filepath.FromSlash(done.name)))
			}
			return unwritable(f.name, err)
		}
	}
	return nil
}

func writeIn(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, root.Remove(name))
	}
	return err
}

// switches are the settings that only people can switch on.
func switches(branch string) []string {
	return []string{
		"Rulesets, tags: refs/tags/cabincrew/**/* with Restrict updates and Restrict deletions, nobody in the bypass list. Flights leave tags there, so that none takes off twice.",
		"Another ruleset for the same tags: Restrict creations, with nothing in the bypass list but the App with whose token take-off.yml makes them.",
		"Rulesets, branch " + branch + ": require a pull request with an approval, dismiss stale approvals, approval of the most recent push, review by code owners; block force pushes and deletions; nobody in the bypass list.",
		"The same ruleset: require the status check \"cabincrew / flight-plan\" from the app GitHub Actions.",
		"CODEOWNERS: owners for /.cabincrew.yaml, /policies/, /.github/.",
		"Environments, where take-off.yml names one: required reviewers, prevent self-review, no bypass by administrators, the branch " + branch + " only.",
		"Actions, General: workflow permissions read, not allowed to approve pull requests; actions pinned by full commit ids; approval for all external contributors' runs.",
	}
}

func (a *app) tellStart(p place, s start, files []written) error {
	var names []string
	for _, f := range files {
		names = append(names, f.name)
	}
	unfilled := []string{}
	_, err := config.Load(p.config)
	for _, e := range config.Problems(err) {
		unfilled = append(unfilled, strings.TrimPrefix(e.Where, p.workspace+string(filepath.Separator))+": "+e.Hint)
	}
	next := []string{
		"cosign trusted-root create --with-default-services --out trusted_root.json    writes the authorities that count; commit it beside " + config.FileName,
		"let the step in " + config.FileName + " do something that you need",
		"cabincrew doctor --for github    tells what is missing, with a token that may read the administration",
	}
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{"config": p.config, "files": names, "unfilled": unfilled, "warnings": s.warnings, "settings": switches(s.branch), "next": next})
		return nil
	}
	var b strings.Builder
	part := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		_, _ = fmt.Fprintf(&b, "\n%s\n", title)
		for _, line := range lines {
			_, _ = fmt.Fprintf(&b, "  %s\n", oneLine(line))
		}
	}
	part("wrote", names)
	part("warning", s.warnings)
	part("fill in", unfilled)
	part("switch on in the repository's settings", switches(s.branch))
	part("next", next)
	a.text(strings.TrimPrefix(b.String(), "\n"))
	return nil
}
