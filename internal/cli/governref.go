package cli

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace"
	"github.com/cabincrew/action/internal/workspace/gittree"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rules"
	"github.com/cabincrew/action/protocol"
)

// origin is where governance comes from: the workspace's own files, or a commit.
// SPEC: docs/protocol.md 8.
type origin struct {
	config *config.Config
	dir    string // paths of the configuration are relative to it
	commit string // "": the workspace
	root   string // where the files of the commit are that govern
	// changed are files of the governance in which the workspace differs from the commit.
	changed []string
	tree    *gittree.Tree
}

// originOf reads the configuration, of the workspace or of a ref of its repository.
func (s *session) originOf(ref string) (*origin, error) {
	o := &origin{dir: filepath.Dir(s.place.config)}
	var err error
	if ref == "" {
		if o.config, err = config.Load(s.place.config); err != nil {
			return nil, err
		}
		return o, resolve(o.config)
	}
	if o.tree, err = gittree.Open(s.place.workspace, ref); err != nil {
		return nil, err
	}
	o.commit = o.tree.Commit()
	file, err := o.tree.Read(s.place.configPath, limits.ConfigBytes)
	if errors.Is(err, protocol.Code("git_file_missing")) {
		return nil, usageError("governance_missing", "commit %s of %s has no %s, so nothing judges there", o.commit, ref, s.place.configPath).
			WithHint("the change that adds it is for people to look at: merge it without a flight, or name the configuration's place in the commit")
	}
	if err != nil {
		return nil, err
	}
	if o.config, err = config.Parse(ref+":"+s.place.configPath, file.Data); err != nil {
		return nil, err
	}
	if err := resolve(o.config); err != nil {
		return nil, err
	}
	if o.root, err = s.temp("governance-"); err != nil {
		return nil, err
	}
	o.dir = filepath.Join(o.root, filepath.FromSlash(path.Dir(s.place.configPath)))
	return o, s.export(o)
}

// read gives the place to read a file of the governance from that may lie anywhere:
// that of the commit, if the workspace has it. SPEC: docs/protocol.md 8
func (o *origin) read(p place, name string) (string, error) {
	at := p.file(name)
	if o.commit == "" {
		return at, nil
	}
	if rel, err := filepath.Rel(p.workspace, at); err == nil && filepath.IsLocal(rel) {
		return filepath.Join(o.root, rel), nil
	}
	if workspace.Through(p.workspace, at) {
		return "", usageError("governance_path", "%s leads through the workspace, which does not govern: commit %s does", name, o.commit).
			At(o.config.Name).WithHint("name the file itself: relative to the configuration, or one outside of the workspace")
	}
	return at, nil
}

// export writes what the configuration names out of the commit, and compares it
// with the workspace. What the commit does not have is not there: the reader of it
// says so.
func (s *session) export(o *origin) error {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	for _, name := range s.governing(o) {
		files, err := o.take(name)
		if err != nil {
			return err
		}
		changed, err := s.differs(name, files)
		if err != nil {
			return err
		}
		o.changed = append(o.changed, changed...)
	}
	slices.Sort(o.changed)
	o.changed = slices.Compact(o.changed)
	return nil
}

// take writes a file or directory out of the commit, if it has it.
func (o *origin) take(name string) ([]gittree.File, error) {
	files, err := treeFiles(o.tree, name)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		at := filepath.Join(o.root, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(at, f.Data, 0o600); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// codeOwners are the places where forges look for them.
var codeOwners = []string{"CODEOWNERS", ".github/CODEOWNERS", ".gitlab/CODEOWNERS", "docs/CODEOWNERS"}

// pipelines are the places of what a forge runs for the repository: whoever edits it
// edits what calls the judges, and what takes off.
func (s *session) pipelines() []string {
	switch s.platform() {
	case ci.GitHub:
		return []string{".github/workflows/", ".github/actions/"}
	case ci.Gitea:
		return []string{".gitea/workflows/", ".github/workflows/"}
	case ci.Forgejo:
		return []string{".forgejo/workflows/", ".gitea/workflows/", ".github/workflows/"}
	case ci.GitLab:
		return []string{".gitlab-ci.yml"}
	case ci.Jenkins:
		return []string{"Jenkinsfile"}
	case ci.None:
	}
	return nil
}

// treeFiles gives a file, or the files of a directory (with a slash at the end).
func treeFiles(tree *gittree.Tree, name string) ([]gittree.File, error) {
	there, err := tree.Has(name)
	if err != nil || !there {
		return nil, err
	}
	if strings.HasSuffix(name, "/") {
		return tree.Files(name, limits.PolicySet)
	}
	f, err := tree.Read(name, limits.OnnxFile)
	if err != nil {
		return nil, err
	}
	return []gittree.File{f}, nil
}

// differs gives the files of a governance path in which the workspace is another
// than the commit. What cannot be looked at, as behind a link that leads out of the
// workspace, is another.
func (s *session) differs(name string, files []gittree.File) ([]string, error) {
	root, err := os.OpenRoot(s.place.workspace)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only read from
	var out []string
	known := map[string]bool{}
	for _, f := range files {
		known[f.Path] = true
		if !sameFile(root, f) {
			out = append(out, f.Path)
		}
	}
	top := strings.TrimSuffix(name, "/")
	// A walk would follow the first name.
	if info, err := root.Lstat(filepath.FromSlash(top)); err != nil || !info.IsDir() {
		if !errors.Is(err, fs.ErrNotExist) && !known[top] {
			out = append(out, top)
		}
		return out, nil
	}
	err = fs.WalkDir(root.FS(), top, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil, !d.IsDir() && !known[p]:
			out = append(out, p)
		}
		if len(out) > limits.PolicyEntries {
			return fs.SkipAll
		}
		return nil
	})
	return out, err
}

func sameFile(root *os.Root, f gittree.File) bool {
	name := filepath.FromSlash(f.Path)
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(f.Data)) {
		return false
	}
	data, err := root.ReadFile(name)
	return err == nil && bytes.Equal(data, f.Data)
}

// guarded adds what keeps a change from weakening its own judges. On a person's
// machine, governance is what lies in the workspace. SPEC: docs/protocol.md 8.
func (s *session) guarded(o *origin, by rules.Governed) policies.Evaluator {
	judge := s.overseen(o, by)
	if s.app.demandApproval {
		judge = demanding{judge: judge, role: o.config.Approvals.DefaultRole}
	}
	return judge
}

// demanding asks for an approval of every step that something was said of.
type demanding struct {
	judge policies.Evaluator
	role  string
}

var _ policies.Evaluator = demanding{}

func (d demanding) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	out, err := d.judge.Evaluate(ctx, in, evaluatedAt)
	if err != nil {
		return out, err
	}
	const rule = "approval-demanded"
	out.Findings = append(out.Findings, policies.Finding{
		PolicyEvaluation: protocol.PolicyEvaluation{
			Source: protocol.SourceCustom, PolicyID: "input/" + rule, Decision: protocol.RequireApproval, Severity: protocol.RequireApproval.Severity(),
			Reason: "The workflow demands an approval of every step.", Evidence: map[string]any{"rule": rule, "role": d.role}, EvaluatedAt: evaluatedAt,
		},
		Role: d.role, Rule: rule, Firm: true,
	})
	return out, nil
}

func (s *session) overseen(o *origin, by rules.Governed) policies.Evaluator {
	if o.commit == "" {
		if s.platform() == ci.None {
			return s.judges.plan
		}
		by.Unendorsed = "Governance comes from the workspace, where the change that it judges can edit it, and not from a protected ref (--governance-ref)."
	}
	if o.commit != "" && s.app.endorsing {
		by.Unendorsed = s.unendorsed(o)
	}
	return overseen{judge: s.judges.plan, by: by, alone: o.config.Policies.AllowWithoutPolicies}
}

// overseen is a judge beside which governance is looked after. A step that the judge
// itself has no word for is one that nobody judged, whatever it does to governance.
type overseen struct {
	judge policies.Evaluator
	by    rules.Governed
	alone bool // nobody else has to judge
}

var _ policies.Evaluator = overseen{}

func (o overseen) Evaluate(ctx context.Context, in policies.Input, evaluatedAt string) (policies.Result, error) {
	out, err := o.judge.Evaluate(ctx, in, evaluatedAt)
	if err != nil || len(out.Findings) == 0 && !o.alone {
		return out, err
	}
	more, err := o.by.Evaluate(ctx, in, evaluatedAt)
	out.Findings = append(out.Findings, more.Findings...)
	return out, err
}

// onRef refuses, on a CI platform, to take off from a commit that the protected ref
// does not have. SPEC: docs/protocol.md 8.
func (s *session) onRef() error {
	if s.origin.commit == "" || s.platform() == ci.None {
		return nil
	}
	head := s.checkout // of a change that was squashed, its own head is not part of the ref
	there, err := s.origin.tree.Contains(head)
	if err != nil || there {
		return err
	}
	return protocol.Errorf(protocol.ExitDenied, "governance_unprotected", "commit %q is not part of %s (%s): in CI only what the protected ref has takes off", head, s.app.flags.governanceRef, s.origin.commit).
		WithHint("merge the change first, and plan and take off there")
}

// underPlanned makes the governance that a flight was planned under that of the
// session, where it came from a commit. What the ref of the command names now
// judges beside it. SPEC: docs/protocol.md 8.
func (s *session) underPlanned(ctx context.Context, f *orchestrator.Flight, takeOff bool) error {
	if takeOff {
		if err := s.onRef(); err != nil {
			return err
		}
	}
	o, err := s.plannedUnder(f, takeOff)
	if err != nil || o == nil {
		return err
	}
	if s.origin.commit != "" {
		// Whether the checkout differs from governance is asked of that of the plan: a
		// checkout that is only older than the ref changes nothing.
		tip := s.setup.Governance
		tip.Judge = s.guarded(s.origin, rules.Governed{Commit: s.origin.commit})
		s.setup.Tip = &orchestrator.Tip{Governance: tip, Approvals: s.setup.Config.Approvals}
	}
	return s.under(ctx, o)
}

// plannedUnder reads the governance that a flight was planned under, which must be
// part of the history of the session's; nil where it is the session's own.
func (s *session) plannedUnder(f *orchestrator.Flight, takeOff bool) (*origin, error) {
	planned, sealed, err := f.GovernanceCommit()
	switch {
	case err != nil || !sealed || planned == s.origin.commit:
		return nil, err
	case planned == "":
		return nil, protocol.Errorf(protocol.ExitIntegrity, "governance_source", "the flight was planned under the workspace's own governance, not under that of commit %s", s.origin.commit).
			WithHint("plan again with --governance-ref")
	case s.origin.commit == "" && takeOff:
		return nil, usageError("governance_ref_missing", "the flight was planned under the governance of commit %s", planned).
			WithHint("name the protected ref: --governance-ref main")
	}
	if s.origin.commit != "" {
		within, err := s.origin.tree.Contains(planned)
		if err != nil {
			return nil, err
		}
		if !within {
			return nil, protocol.Errorf(protocol.ExitIntegrity, "governance_source", "the flight was planned under the governance of commit %s, which the history of %s does not have",
				planned, s.origin.commit).WithHint("plan again under the protected ref")
		}
	}
	return s.originOf(planned)
}
