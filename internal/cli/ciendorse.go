package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
)

// governing names everything of a commit that governs.
func (s *session) governing(o *origin) []string {
	return slices.Concat(governancePaths(s.place, o.config), codeOwners, s.pipelines())
}

// unendorsed says why nobody knows that the governance of a commit was approved; "":
// the flight of the change that brought it took off, under the governance before it.
// The very first one has none before it. SPEC: docs/threats.md T33
func (s *session) unendorsed(o *origin) string {
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
	tags, err := o.tree.Tags(tagTop)
	if err != nil {
		return fmt.Sprintf("Whether the governance of commit %s took off cannot be told: %v.", last.Commit, err)
	}
	for name, at := range tags {
		if at == last.Commit && strings.HasSuffix(name, "/begun") && !strings.HasPrefix(name, lineTop) {
			return ""
		}
	}
	return fmt.Sprintf("Commit %s changed what judges, and no flight of it took off: it was pushed or merged past the judges before it.", last.Commit)
}
