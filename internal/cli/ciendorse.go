package cli

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/workspace/gittree"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// governing names everything of a commit that governs.
func (s *session) governing(o *origin) []string {
	return slices.Concat(governancePaths(s.place, o.config), codeOwners, s.pipelines())
}

// unendorsed says why nobody knows that the governance of a commit was approved; "":
// the flight of the change that brought it took off, under the governance before it.
// The very first one has none before it. SPEC: docs/protocol.md 8, docs/threats.md T33
func (s *session) unendorsed(o *origin) string {
	if why, known := s.endorsements[o.commit]; known {
		return why
	}
	why := s.endorsement(o)
	if s.endorsements == nil {
		s.endorsements = map[string]string{}
	}
	s.endorsements[o.commit] = why
	return why
}

func (s *session) endorsement(o *origin) string {
	// The configuration's path is the first of them.
	last, err := o.tree.LastChange(s.governing(o), limits.GitHubMerges)
	if err != nil {
		return fmt.Sprintf("Which change brought the governance of commit %s cannot be told: %v.", o.commit, err)
	}
	if last.First {
		return ""
	}
	if last.Commit == "" {
		return fmt.Sprintf("None of the last %d commits of the branch brought the governance of commit %s.", limits.GitHubMerges, o.commit)
	}
	why, err := s.tookOffAt(o.tree, last.Commit)
	if err != nil {
		return fmt.Sprintf("Whether the governance of commit %s took off cannot be told: %v.", last.Commit, err)
	}
	if why == "" {
		return ""
	}
	return fmt.Sprintf("Commit %s changed what judges, and no flight of it took off%s: it was pushed or merged past the judges before it.", last.Commit, why)
}

// doneTags are the only names of tags that tell of the end of a take-off.
var doneTags = regexp.MustCompile(`^` + tagTop + `([0-9a-f]{64})/done$`)

// tookOffAt looks for the tag that tells of the end of a commit's take-off, and verifies
// its signed statement by the trust of the governance before the commit: who may make
// tags, or brings a key of his own, endorses nothing.
func (s *session) tookOffAt(tree *gittree.Tree, commit string) (why string, err error) {
	tags, err := tree.Tags(tagTop)
	if err != nil {
		return "", err
	}
	for name, at := range tags {
		if at != commit || !doneTags.MatchString(name) {
			delete(tags, name)
		}
	}
	if len(tags) == 0 {
		return " (there is no tag of its end)", nil
	}
	at, err := gittree.Open(s.place.workspace, commit)
	if err != nil {
		return "", err
	}
	parents := at.Parents()
	if len(parents) == 0 {
		return " (nothing governed before it)", nil
	}
	before, err := s.originOf(parents[0])
	if err != nil {
		return "", err
	}
	trust, err := s.planTrust(before)
	if err != nil {
		return "", err
	}
	by := &signatures{now: time.Now, trust: trust}
	for i, name := range slices.Sorted(maps.Keys(tags)) {
		if i == limits.EndorsementTags {
			break
		}
		if err = s.endorses(tree, by, name, commit); err == nil {
			return "", nil
		}
	}
	return fmt.Sprintf(" (of the tag of its end: %v)", err), nil
}

// endorses verifies the tag of the end of a take-off.
func (s *session) endorses(tree *gittree.Tree, by orchestrator.Verifier, name, commit string) error {
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
	end, err := by.Ended(statement)
	if err != nil {
		return fmt.Errorf("tag %s: %w", name, err)
	}
	run := runOf(s.app.env, "")
	for _, x := range []struct{ what, says, is string }{
		{"flight", end.WorkflowID, flight}, {"flight token", end.FlightToken, "sha256:" + doneTags.FindStringSubmatch(name)[1]},
		{"verdict", end.Verdict, orchestrator.VerdictCompleted}, {"commit", end.Commit, commit},
		{"forge", end.Derived.Forge, run.Forge}, {"repository", end.Derived.RepositoryID, run.RepositoryID},
	} {
		if x.says != x.is || x.is == "" {
			return fmt.Errorf("the statement of tag %s says %s %q, not %q", name, x.what, x.says, x.is)
		}
	}
	return nil
}
