package github

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/cabincrew/action/ci"
	"github.com/cabincrew/action/internal/limits"
)

// ident is an id as the API writes it, a positive integer, or empty for none. It
// stays text: nothing is computed with it, and a number of a language could change it.
type ident string

// UnmarshalJSON takes digits and null.
func (i *ident) UnmarshalJSON(data []byte) error {
	s := string(bytes.TrimSpace(data))
	if s == "null" {
		*i = ""
		return nil
	}
	if !isID(s) {
		return fmt.Errorf("%.30q is no id", s)
	}
	*i = ident(s)
	return nil
}

// MarshalJSON writes the number.
func (i ident) MarshalJSON() ([]byte, error) {
	if i == "" {
		return []byte("null"), nil
	}
	return []byte(i), nil
}

func isID(s string) bool {
	if s == "" || len(s) > limits.GitHubID || s[0] == '0' {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

var commitID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// stamp is a time as events and the API write it: RFC 3339, or seconds in old events.
type stamp struct{ time.Time }

// UnmarshalJSON takes both forms, and null.
func (s *stamp) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var n int64
	if json.Unmarshal(data, &n) == nil {
		s.Time = time.Unix(n, 0).UTC()
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return errors.New("not a time")
	}
	t, err := time.Parse(time.RFC3339, text)
	s.Time = t.UTC()
	return err
}

// user is an account; the API gives null for one that is deleted.
type user struct {
	ID    ident  `json:"id"`
	Login string `json:"login"`
	Type  string `json:"type"`
}

func (u *user) person() ci.Person {
	if u == nil {
		return ci.NewPerson("", "", "")
	}
	return ci.NewPerson(string(u.ID), u.Login, u.Type)
}

// repository is a repository, where the API gives one.
type repository struct {
	ID            ident  `json:"id"`
	FullName      string `json:"full_name"`
	DefaultBranch string `json:"default_branch"`
	Private       bool   `json:"private"`
	Fork          bool   `json:"fork"`
	Owner         *user  `json:"owner"`
}

func (r *repository) id() string {
	if r == nil {
		return ""
	}
	return string(r.ID)
}

func (r *repository) name() string {
	if r == nil {
		return ""
	}
	return r.FullName
}

type end struct {
	Ref  string      `json:"ref"`
	SHA  string      `json:"sha"`
	Repo *repository `json:"repo"`
}

func (e end) end() End {
	out := End{RepositoryID: e.Repo.id(), Repository: e.Repo.name(), Ref: e.Ref, SHA: e.SHA}
	if e.Repo != nil {
		out.DefaultBranch, out.Private = e.Repo.DefaultBranch, e.Repo.Private
	}
	return out
}

// pull is a pull request, as the API and events give it.
type pull struct {
	Number      int    `json:"number"`
	State       string `json:"state"`
	Draft       bool   `json:"draft"`
	Title       string `json:"title"`
	URL         string `json:"html_url"`
	MergeCommit string `json:"merge_commit_sha"`
	MergedAt    *stamp `json:"merged_at"`
	UpdatedAt   stamp  `json:"updated_at"`
	Mergeable   *bool  `json:"mergeable"`
	Head        end    `json:"head"`
	Base        end    `json:"base"`
	User        *user  `json:"user"`
	MergedBy    *user  `json:"merged_by"`
	Labels      []struct {
		Name string `json:"name"`
	} `json:"labels"`
	Commits      int `json:"commits"`
	ChangedFiles int `json:"changed_files"`
}

func (p *pull) merged() bool { return p.MergedAt != nil && !p.MergedAt.IsZero() }

// check says what a pull request lacks.
func (p *pull) check() error {
	switch {
	case p.Number <= 0:
		return errors.New("the pull request has no number")
	case !commitID.MatchString(p.Head.SHA) || !commitID.MatchString(p.Base.SHA):
		return errors.New("the ends of the pull request are no commits")
	case p.Base.Repo.id() == "":
		return errors.New("the base of the pull request has no repository")
	case p.MergeCommit != "" && !commitID.MatchString(p.MergeCommit):
		return errors.New("the merge of the pull request is no commit")
	case p.State != "open" && p.State != "closed":
		return fmt.Errorf("the state of the pull request is %.30q", p.State)
	}
	return nil
}

func (p *pull) change() Change {
	c := Change{
		Number: p.Number, Open: p.State == "open", Merged: p.merged(), Draft: p.Draft,
		MergeCommit: p.MergeCommit, Head: p.Head.end(), Base: p.Base.end(),
		Author: p.User.person(), MergedBy: p.MergedBy.person(),
		Commits: p.Commits, ChangedFiles: p.ChangedFiles, URL: p.URL, Title: p.Title,
		Mergeable: p.Mergeable, UpdatedAt: p.UpdatedAt.Time,
	}
	if p.merged() {
		c.MergedAt = p.MergedAt.Time
	}
	for _, l := range p.Labels {
		c.Labels = append(c.Labels, l.Name)
	}
	return c
}
