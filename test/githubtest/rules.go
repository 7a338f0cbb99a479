package githubtest

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rule is one rule of a ruleset, by GitHub's name for it, such as deletion, update,
// required_status_checks.
type Rule struct {
	Type       string
	Parameters map[string]any
}

// Ruleset is a ruleset of a repository or of its organisation.
type Ruleset struct {
	Name        string
	Target      string // branch or tag
	Enforcement string // active by default; evaluate, disabled
	Include     []string
	Exclude     []string
	Rules       []Rule
	BypassApps  []int64 // Apps that it does not hold
	BypassRoles []int64 // roles of the repository that it does not hold: 5 is admin
	Org         bool    // it belongs to the organisation

	id int64
	at time.Time
}

// Ruleset adds a ruleset and gives its number.
func (r *Repo) Ruleset(set Ruleset) int64 {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	set.id, set.at = r.s.id(), r.s.now
	if set.Target == "" {
		set.Target = "branch"
	}
	if set.Enforcement == "" {
		set.Enforcement = "active"
	}
	r.rulesets = append(r.rulesets, set)
	return set.id
}

// DropRuleset removes a ruleset.
func (r *Repo) DropRuleset(id int64) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.rulesets = slices.DeleteFunc(r.rulesets, func(set Ruleset) bool { return set.id == id })
}

// holds tells whether a ruleset is in force for a ref.
func (set Ruleset) holds(ref string, r *Repo) bool {
	prefix := map[string]string{"branch": "refs/heads/", "tag": "refs/tags/"}[set.Target]
	if set.Enforcement != "active" || prefix == "" || !strings.HasPrefix(ref, prefix) {
		return false
	}
	in := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			return p == "~ALL" || p == "~DEFAULT_BRANCH" && ref == "refs/heads/"+r.Default || glob(p, ref)
		})
	}
	return in(set.Include) && !in(set.Exclude)
}

// glob is the fnmatch of rulesets: ** spans slashes, * and ? do not.
func glob(pattern, name string) bool {
	head, tail, deep := strings.Cut(pattern, "**")
	if !deep {
		is, err := path.Match(pattern, name)
		return err == nil && is
	}
	for cut := range len(name) + 1 {
		is, err := path.Match(head, name[:cut])
		if err != nil || !is {
			continue
		}
		for from := cut; from <= len(name); from++ {
			rest := strings.TrimPrefix(tail, "/")
			if (rest == tail || from == 0 || from == cut || name[from-1] == '/') && glob(rest, name[from:]) {
				return true
			}
		}
	}
	return false
}

// forbids tells whether a rule keeps this token from doing something with a ref.
func (c *call) forbids(ref, kind string) bool {
	return slices.ContainsFunc(c.repo.rulesets, func(set Ruleset) bool {
		return set.holds(ref, c.repo) && !slices.Contains(set.BypassApps, c.by.App) &&
			slices.ContainsFunc(set.Rules, func(rule Rule) bool { return rule.Type == kind })
	})
}

func (c *call) rulesetBody(set Ruleset, whole bool) obj {
	at := c.s.URL() + "/repos/" + c.repo.FullName() + "/rulesets/" + strconv.FormatInt(set.id, 10)
	body := obj{
		"id": set.id, "node_id": node("RRS", set.id), "name": set.Name, "target": set.Target, "source_type": "Repository", "source": c.repo.FullName(), "enforcement": set.Enforcement,
		"created_at": stamp(set.at), "updated_at": stamp(set.at), "_links": obj{"self": obj{"href": at}, "html": obj{"href": at}},
	}
	if set.Org {
		body["source_type"], body["source"] = "Organization", c.repo.Owner.Login
	}
	if !whole {
		return body
	}
	rules := []any{}
	for _, rule := range set.Rules {
		rules = append(rules, ruleBody(rule))
	}
	body["rules"], body["current_user_can_bypass"] = rules, "never"
	body["conditions"] = obj{"ref_name": obj{"include": list(set.Include), "exclude": list(set.Exclude)}}
	if c.by.may("administration", "write") { // GitHub shows these only to who may change them
		actors := []any{}
		for _, app := range set.BypassApps {
			actors = append(actors, obj{"actor_id": app, "actor_type": "Integration", "bypass_mode": "always"})
		}
		for _, role := range set.BypassRoles {
			actors = append(actors, obj{"actor_id": role, "actor_type": "RepositoryRole", "bypass_mode": "always"})
		}
		body["bypass_actors"] = actors
	}
	return body
}

func ruleBody(rule Rule) obj {
	body := obj{"type": rule.Type}
	if rule.Parameters != nil {
		body["parameters"] = rule.Parameters
	}
	return body
}

func list(texts []string) []any {
	out := []any{}
	for _, t := range texts {
		out = append(out, t)
	}
	return out
}

func (c *call) listRulesets() reply {
	var out []any
	for _, set := range c.repo.rulesets {
		if c.query("includes_parents") != "false" || !set.Org {
			out = append(out, c.rulesetBody(set, false))
		}
	}
	return c.page(out)
}

func (c *call) listOrgRulesets() reply {
	var out []any
	for _, r := range c.s.repos {
		if strings.EqualFold(r.Owner.Login, c.vars["org"]) {
			c.repo = r
			for _, set := range r.rulesets {
				if set.Org {
					out = append(out, c.rulesetBody(set, false))
				}
			}
		}
	}
	return c.page(out)
}

func (c *call) getRuleset() reply {
	for _, set := range c.repo.rulesets {
		if set.id == c.number("ruleset_id") {
			return ok(c.rulesetBody(set, true))
		}
	}
	return notFound()
}

// branchRules answers the rules in force for a branch, which need not exist.
func (c *call) branchRules() reply {
	var out []any
	for _, set := range c.repo.rulesets {
		if !set.holds("refs/heads/"+c.vars["branch"], c.repo) {
			continue
		}
		for _, rule := range set.Rules {
			body := ruleBody(rule)
			from := c.rulesetBody(set, false)
			body["ruleset_source_type"], body["ruleset_source"], body["ruleset_id"] = from["source_type"], from["source"], set.id
			out = append(out, body)
		}
	}
	return c.page(out)
}

// Protection is the older protection of a branch.
type Protection struct {
	Checks       map[string]int64 // required contexts, and the App that must give each; -1 for any
	Strict       bool             // the branch must be up to date
	Reviews      int
	DismissStale bool
	CodeOwners   bool
	LastPush     bool // somebody other than the last pusher approves
	Admins       bool // it holds for administrators too
	ForcePushes  bool
	Deletions    bool
	Bypass       []*User // who need no review
}

// Protect protects a branch; nil ends that.
func (r *Repo) Protect(branch string, p *Protection) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.protected[branch] = p
}

func (c *call) getProtection() reply {
	branch := c.vars["branch"]
	if c.repo.git.tip("refs/heads/"+branch) == "" {
		return refused(404, "Branch not found")
	}
	p := c.repo.protected[branch]
	if p == nil {
		return refused(404, "Branch not protected")
	}
	return ok(c.protectionBody(branch, p))
}

func (c *call) protectionBody(branch string, p *Protection) obj {
	at := c.s.URL() + "/repos/" + c.repo.FullName() + "/branches/" + branch + "/protection"
	on := func(v bool) obj { return obj{"enabled": v} }
	body := obj{
		"url": at, "enforce_admins": obj{"url": at + "/enforce_admins", "enabled": p.Admins}, "allow_force_pushes": on(p.ForcePushes), "allow_deletions": on(p.Deletions),
		"required_linear_history": on(false), "block_creations": on(false), "required_conversation_resolution": on(false), "lock_branch": on(false), "allow_fork_syncing": on(false),
	}
	if p.Checks != nil {
		contexts, checks := []any{}, []any{}
		for name, app := range p.Checks {
			contexts = append(contexts, name)
			check := obj{"context": name, "app_id": nil}
			if app > 0 {
				check["app_id"] = app
			}
			checks = append(checks, check)
		}
		slices.SortFunc(contexts, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		slices.SortFunc(checks, func(a, b any) int { return strings.Compare(a.(obj)["context"].(string), b.(obj)["context"].(string)) })
		body["required_status_checks"] = obj{"url": at + "/required_status_checks", "strict": p.Strict, "contexts": contexts, "checks": checks, "contexts_url": at + "/required_status_checks/contexts"}
	}
	if p.Reviews > 0 {
		reviews := obj{
			"url": at + "/required_pull_request_reviews", "dismiss_stale_reviews": p.DismissStale, "require_code_owner_reviews": p.CodeOwners,
			"require_last_push_approval": p.LastPush, "required_approving_review_count": p.Reviews,
		}
		if p.Bypass != nil {
			reviews["bypass_pull_request_allowances"] = obj{"users": c2list(c.s, p.Bypass), "teams": []any{}, "apps": []any{}}
		}
		body["required_pull_request_reviews"] = reviews
	}
	return body
}

func (c *call) getBranch() reply {
	name := c.vars["branch"]
	of, err := c.repo.git.commit(c.repo.git.tip("refs/heads/" + name))
	if err != nil {
		return refused(404, "Branch not found")
	}
	at := c.s.URL() + "/repos/" + c.repo.FullName() + "/branches/" + name
	p := c.repo.protected[name]
	ruled := slices.ContainsFunc(c.repo.rulesets, func(set Ruleset) bool { return set.holds("refs/heads/"+name, c.repo) })
	short := obj{"enabled": p != nil, "required_status_checks": obj{"enforcement_level": "off", "contexts": []any{}, "checks": []any{}}}
	if p != nil {
		if checks, ok := c.protectionBody(name, p)["required_status_checks"].(obj); ok {
			short["required_status_checks"] = obj{"enforcement_level": map[bool]string{true: "everyone", false: "non_admins"}[p.Admins], "contexts": checks["contexts"], "checks": checks["checks"]}
		}
	}
	return ok(obj{
		"name": name, "commit": c.commitBody(of), "protected": p != nil || ruled, "protection": short, "protection_url": at + "/protection",
		"_links": obj{"self": at, "html": c.s.WebURL() + "/" + c.repo.FullName() + "/tree/" + name},
	})
}

// compare answers what a head has that a base has not: base...head.
func (c *call) compare() reply {
	left, right, ok2 := strings.Cut(c.vars["basehead"], "...")
	base, head := c.repo.git.resolve(left), c.repo.git.resolve(right)
	if !ok2 || base == nil || head == nil {
		return notFound()
	}
	from, err := c.repo.git.base(base, head)
	c.s.check(err)
	if from == nil {
		return refused(404, "No common ancestor between "+left+" and "+right+".")
	}
	ahead, err := c.repo.git.since(base, head)
	c.s.check(err)
	behind, err := c.repo.git.since(head, base)
	c.s.check(err)
	status := "identical"
	switch {
	case len(ahead) > 0 && len(behind) > 0:
		status = "diverged"
	case len(ahead) > 0:
		status = "ahead"
	case len(behind) > 0:
		status = "behind"
	}
	commits := []any{}
	for _, of := range ahead {
		commits = append(commits, c.commitBody(of))
	}
	files := c.changes(from.TreeHash, head.TreeHash)
	return ok(obj{
		"status": status, "ahead_by": len(ahead), "behind_by": len(behind), "total_commits": len(ahead), "commits": c.cut(commits), "files": files[:min(len(files), 300)],
		"base_commit": c.commitBody(base), "merge_base_commit": c.commitBody(from), "url": c.s.URL() + c.r.URL.Path,
	})
}
