package cli

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace/gittree"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/policies/rules"
	"github.com/cabincrew/action/protocol"
)

// governing names everything of a commit that governs.
func (s *session) governing(o *origin) []string {
	return slices.Concat(governancePaths(s.place, o.config), codeOwners, s.pipelines())
}

// endorsement says whether anybody approved the governance of a commit.
type endorsement struct {
	why string  // nobody knows that; "": the flight of the change that brought it took off
	by  *origin // the newest governance that is endorsed, of this commit or before; nil: none is known
}

// owners are by what governance policy owners must approve too.
type owners struct {
	by  *origin // nil: nobody can
	tip orchestrator.Tip
}

// unendorsed says why nobody knows that the governance of a commit was approved; "":
// the flight of the change that brought it took off, under the governance before it,
// which is endorsed in the same way. The very first one has none before it. Who holds
// the role that answers for governance is not said by what nobody approved alone: the
// newest one that is endorsed must agree. SPEC: docs/protocol.md 8, docs/threats.md T33
func (s *session) unendorsed(o *origin) string {
	e, known := s.endorsements[o.commit]
	if !known {
		e = s.endorsement(o, 0)
		if s.endorsements == nil {
			s.endorsements = map[string]endorsement{}
		}
		s.endorsements[o.commit] = e
	}
	if e.why == "" {
		return ""
	}
	tip := orchestrator.Tip{Role: rules.OwnerRole}
	if e.by == nil {
		s.owned(owners{tip: tip})
		return e.why + " No governance before it is known to be endorsed, so nobody can approve it."
	}
	people, _, err := s.app.approvers(e.by.config, e.by.dir)
	if err != nil {
		s.owned(owners{tip: tip})
		return e.why + " Who approves by commit " + e.by.commit + ", the newest that is endorsed, cannot be read: " + err.Error() + "."
	}
	tip.Approvals = e.by.config.Approvals
	tip.Governance = orchestrator.Governance{Approvers: people, Roles: governanceRoles(tip.Approvals)}
	s.owned(owners{by: e.by, tip: tip})
	return e.why + " Who owns policies is also said by commit " + e.by.commit + ", the newest that is endorsed."
}

// owned adds a governance by which policy owners must approve, once.
func (s *session) owned(x owners) {
	if !slices.ContainsFunc(s.owners, func(y owners) bool { return x.by == y.by || x.by != nil && y.by != nil && x.by.commit == y.by.commit }) {
		s.owners = append(s.owners, x)
	}
}

// endorsement looks for the change that brought a governance, and at what was before
// that. later is how many changes there are after it.
func (s *session) endorsement(o *origin, later int) endorsement {
	if later == limits.Endorsements {
		return endorsement{why: fmt.Sprintf("More than %d changes of governance are not looked at, so whether that of commit %s was approved cannot be told.", limits.Endorsements, o.commit)}
	}
	// The configuration's path is the first of them.
	last, err := o.tree.LastChange(s.governing(o), limits.EndorsementLine)
	if err != nil {
		return endorsement{why: fmt.Sprintf("Which change brought the governance of commit %s cannot be told: %v.", o.commit, err)}
	}
	if last.First {
		return endorsement{by: o}
	}
	if last.Commit == "" {
		return endorsement{why: fmt.Sprintf("None of the last %d commits of the branch brought the governance of commit %s.", limits.EndorsementLine, o.commit)}
	}
	before, right, err := s.governanceBefore(o.tree, last.Commit)
	if err != nil {
		return endorsement{why: fmt.Sprintf("What governed before commit %s cannot be told: %v.", last.Commit, err)}
	}
	if before == nil {
		return endorsement{by: o}
	}
	was := s.endorsement(before, later+1)
	if was.by == nil {
		return was
	}
	why := " (nothing governed before it)"
	if right {
		why, err = s.tookOffAt(o.tree, last.Commit, later > 0, before, was.by)
	}
	if err != nil {
		return endorsement{why: fmt.Sprintf("Whether the governance of commit %s took off cannot be told: %v.", last.Commit, err), by: was.by}
	}
	if why == "" {
		return endorsement{by: o}
	}
	return endorsement{why: fmt.Sprintf("Commit %s changed what judges, and no flight of it took off%s: it was pushed or merged past the judges before it.", last.Commit, why), by: was.by}
}

// governanceBefore gives the governance before a commit; nil: there was none. right: it is
// that of the commit's parent, not an earlier one that was removed or broken by then, so
// that nothing flew under it.
func (s *session) governanceBefore(tree *gittree.Tree, commit string) (o *origin, right bool, err error) {
	for right = true; ; right = false {
		at, err := tree.At(commit)
		if err != nil || len(at.Parents()) == 0 {
			return nil, false, err
		}
		if at, err = tree.At(at.Parents()[0]); err != nil {
			return nil, false, err
		}
		c, err := s.configurationOf(at)
		if err == nil {
			o, err = s.endorser(at, c)
			return o, right, err
		}
		if protocol.ExitCode(err) == protocol.ExitUnreachable {
			return nil, false, err
		}
		last, err := at.LastChange([]string{s.place.configPath}, limits.EndorsementLine)
		if err != nil || last.Commit == "" && last.Whole {
			return nil, false, err
		}
		if last.Commit == "" {
			return nil, false, fmt.Errorf("none of the last %d commits changed the configuration", limits.EndorsementLine)
		}
		commit = last.Commit
	}
}

func (s *session) configurationOf(tree *gittree.Tree) (*config.Config, error) {
	file, err := tree.Read(s.place.configPath, limits.ConfigBytes)
	if err != nil {
		return nil, err
	}
	return config.Parse(tree.Commit()+":"+s.place.configPath, file.Data)
}

// endorser reads of the governance of a commit who signs and who approves by it.
func (s *session) endorser(tree *gittree.Tree, c *config.Config) (_ *origin, err error) {
	o := &origin{tree: tree, commit: tree.Commit(), config: c}
	if o.root, err = s.temp("endorser-"); err != nil {
		return nil, err
	}
	dir := path.Dir(s.place.configPath)
	o.dir = filepath.Join(o.root, filepath.FromSlash(dir))
	names := slices.Clone(codeOwners)
	for _, k := range o.config.Signing.Trusted.Keys {
		names = append(names, path.Join(dir, filepath.ToSlash(k.Key)))
	}
	for _, who := range o.config.Approvals.Approvers {
		names = append(names, path.Join(dir, filepath.ToSlash(who.Key)))
	}
	if root := o.config.Signing.TrustedRoot; root != "" {
		names = append(names, path.Join(dir, filepath.ToSlash(root)))
	}
	if rel, err := filepath.Rel(s.place.workspace, s.place.file(o.config.Signing.Key+".pub")); err == nil && filepath.IsLocal(rel) {
		names = append(names, filepath.ToSlash(rel))
	}
	for _, name := range names {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			continue // the machine's
		}
		if _, err := o.take(name); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// doneTags are the only names of tags that tell of the end of a take-off.
var doneTags = regexp.MustCompile(`^` + tagTop + `([0-9a-f]{64})/done$`)

// endsAt gives the tags of the checkout that tell of the end of a take-off of a commit.
func (s *session) endsAt(tree *gittree.Tree, commit string) ([]string, error) {
	if s.ends == nil {
		tags, err := tree.Tags(tagTop)
		if err != nil {
			return nil, err
		}
		s.ends = map[string][]string{}
		for _, name := range slices.Sorted(maps.Keys(tags)) {
			if doneTags.MatchString(name) {
				s.ends[tags[name]] = append(s.ends[tags[name]], name)
			}
		}
	}
	return s.ends[commit], nil
}

// tookOffAt looks for the tag that tells of the end of a commit's take-off, and verifies
// its signed statement by the trust of each of some governances: who may make tags, or
// brings a key of his own, endorses nothing. then: as of when it ended, not as of now.
func (s *session) tookOffAt(tree *gittree.Tree, commit string, then bool, governed ...*origin) (why string, err error) {
	tags, err := s.endsAt(tree, commit)
	if err != nil {
		return "", err
	}
	if len(tags) == 0 {
		return " (there is no tag of its end)", nil
	}
	var by []*signatures
	for _, o := range governed {
		trust, err := s.planTrust(o)
		if err != nil {
			return "", err
		}
		by = append(by, &signatures{now: time.Now, trust: trust})
	}
	for _, name := range tags[:min(len(tags), limits.EndorsementTags)] {
		if err = s.endorses(tree, by, then, governed[0], name, commit); err == nil {
			return "", nil
		}
	}
	return fmt.Sprintf(" (of the tag of its end: %v)", err), nil
}

// endorses verifies the tag of the end of a take-off.
func (s *session) endorses(tree *gittree.Tree, by []*signatures, then bool, before *origin, name, commit string) error {
	message, ok, err := tree.TagMessage(name, commit)
	if err != nil {
		return err
	}
	var m markMessage
	if ok {
		err = protocol.Decode([]byte(strings.TrimSpace(message)), &m)
	}
	if !ok || err != nil {
		return fmt.Errorf("tag %s is no mark of ours", name)
	}
	flight, statement, err := orchestrator.ReadDone(m.Content)
	if err != nil {
		return fmt.Errorf("tag %s: %w", name, err)
	}
	var end *orchestrator.TakeOffFacts
	for _, b := range by {
		verify := b.Ended
		if then {
			verify = b.endedThen
		}
		if end, err = verify(statement); err != nil {
			return fmt.Errorf("tag %s: %w", name, err)
		}
	}
	run := runOf(s.app.env, "")
	for _, x := range []struct{ what, says, is string }{
		{"flight", end.WorkflowID, flight}, {"flight token", end.FlightToken, "sha256:" + doneTags.FindStringSubmatch(name)[1]},
		{"verdict", end.Verdict, orchestrator.VerdictCompleted}, {"commit", end.Commit, commit},
		{"forge", end.Derived.Forge, run.Forge}, {"repository", end.Derived.RepositoryID, run.RepositoryID},
		{"workflow", end.Workflow, before.config.Workflow}, {"configuration", end.ConfigPath, tree.Path(s.place.configPath)},
	} {
		if x.says != x.is || x.is == "" {
			return fmt.Errorf("the statement of tag %s says %s %q, not %q", name, x.what, x.says, x.is)
		}
	}
	// Another flight of the same repository was not judged by this governance.
	within, err := before.tree.Contains(end.Derived.GovernanceCommit)
	if err == nil && !within {
		err = fmt.Errorf("the statement of tag %s says governance commit %q, which the history before it does not have", name, end.Derived.GovernanceCommit)
	}
	return err
}
