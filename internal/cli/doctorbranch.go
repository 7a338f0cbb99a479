package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cabincrew/action/ci/github"
)

// hold says how firmly the forge holds people to something.
type hold int

// From nothing to everybody.
const (
	holdNo      hold = iota
	holdUnknown      // it cannot be read whether there is such a rule
	holdSoft         // some may pass it by
	holdMaybe        // who may pass it by cannot be read
	holdFirm         // everybody
)

// actionsApp is the number of the app GitHub Actions on github.com.
const actionsApp = "15368"

// checkName is the check of a flight, and how those of single steps begin.
const checkName = "cabincrew / flight-plan"

// demand is something that the rules of a branch should ask for.
type demand struct {
	id, what   string
	rule       func(github.Rule) bool
	protection func(github.Protection) bool
	review     bool // those who need no review pass it by
}

func (d *forgeDoctor) demands() []demand {
	asks := func(f func(github.Rule) bool) func(github.Rule) bool {
		return func(r github.Rule) bool { return r.Type == "pull_request" && f(r) }
	}
	kind := func(name string) func(github.Rule) bool {
		return func(r github.Rule) bool { return r.Type == name }
	}
	return []demand{
		{holeReview, "an approval", asks(func(r github.Rule) bool { return r.Approvals > 0 }), func(p github.Protection) bool { return p.Approvals > 0 }, true},
		{holeStale, "the dismissal of approvals by a push", asks(func(r github.Rule) bool { return r.DismissStale }), func(p github.Protection) bool { return p.DismissStale }, true},
		{holeLastPush, "an approval of the last push", asks(func(r github.Rule) bool { return r.LastPush }), func(p github.Protection) bool { return p.LastPush }, true},
		{holeCodeOwners, "a review by code owners", asks(func(r github.Rule) bool { return r.CodeOwners }), func(p github.Protection) bool { return p.CodeOwners }, true},
		{
			holeCheck, "the check " + strings.Join(d.checks(), ", ") + " from the app GitHub Actions",
			func(r github.Rule) bool { return r.Type == "required_status_checks" && d.checked(r.Checks) },
			func(p github.Protection) bool { return d.checked(p.Checks) }, false,
		},
		{holeForcePush, "a block on force pushes", kind("non_fast_forward"), func(p github.Protection) bool { return !p.ForcePushes }, false},
		{holeDeletion, "a block on its deletion", kind("deletion"), func(p github.Protection) bool { return !p.Deletions }, false},
	}
}

// checks are the checks that must be required: one, or one a step.
func (d *forgeDoctor) checks() []string {
	if d.config == nil || d.config.Checks != "per-step" {
		return []string{checkName}
	}
	var out []string
	for _, step := range d.config.Steps {
		out = append(out, checkName+" / "+step.ID)
	}
	return out
}

// checked says whether all checks are required, from GitHub Actions: from anybody, a
// status that a token of another kind set would do. On an own server the app has
// another number, so that any one app must do.
func (d *forgeDoctor) checked(have []github.RequiredCheck) bool {
	for _, name := range d.checks() {
		if !slices.ContainsFunc(have, func(c github.RequiredCheck) bool {
			return c.Context == name && (c.AppID == actionsApp || c.AppID != "" && !d.hub.public())
		}) {
			return false
		}
	}
	return true
}

// branch compares the rules of a protected branch with what should be asked for there.
func (d *forgeDoctor) branch(name string, s github.Settings) {
	var soft, maybe []string
	whole := true
	for _, want := range d.demands() {
		good := fmt.Sprintf("branch %s asks for %s", name, want.what)
		switch heldTo(s, want) {
		case holdNo:
			d.add(want.id, holeThere, fmt.Sprintf("no rule of branch %s asks for %s", name, want.what), spot{})
		case holdUnknown:
			whole = false
			d.add(want.id, holeUnknown, fmt.Sprintf("whether branch %s asks for %s: %s", name, want.what, unread(s)), spot{})
		case holdSoft:
			soft = append(soft, want.what)
			d.add(want.id, holeNone, good, spot{})
		case holdMaybe:
			maybe = append(maybe, want.what)
			d.add(want.id, holeNone, good, spot{})
		case holdFirm:
			d.add(want.id, holeNone, good, spot{})
		}
	}
	switch {
	case len(soft) > 0:
		d.add(holeBypass, holeThere, fmt.Sprintf("on branch %s some may do without %s", name, strings.Join(soft, "; ")), spot{})
	case len(maybe) > 0:
		d.add(holeBypass, holeUnknown, fmt.Sprintf("on branch %s, who may do without %s: only tokens that may write the administration are shown the bypass list", name, strings.Join(maybe, "; ")), spot{})
	case !whole:
		d.add(holeBypass, holeUnknown, fmt.Sprintf("not all rules of branch %s can be read: %s", name, unread(s)), spot{})
	default:
		d.add(holeBypass, holeNone, fmt.Sprintf("the rules that branch %s has hold for everybody", name), spot{})
	}
}

// heldTo gives the firmest of all rules that ask for something.
func heldTo(s github.Settings, want demand) hold {
	best := holdNo
	if s.RulesKnown != github.Yes || s.Protection.Present == github.Unknown {
		best = holdUnknown
	}
	for _, r := range s.Rules {
		if want.rule(r) {
			best = max(best, firmness(s, r.RulesetID))
		}
	}
	if p := s.Protection; p.Present == github.Yes && want.protection(p) {
		h := holdFirm
		if !p.Admins || want.review && p.ReviewBypass {
			h = holdSoft
		}
		best = max(best, h)
	}
	return best
}

// firmness says for whom a ruleset holds.
func firmness(s github.Settings, id string) hold {
	i := slices.IndexFunc(s.Rulesets, func(r github.Ruleset) bool { return r.ID == id })
	switch {
	case i < 0 || s.Rulesets[i].BypassKnown != github.Yes:
		return holdMaybe
	case len(s.Rulesets[i].Bypass) > 0:
		return holdSoft
	}
	return holdFirm
}

func unread(s github.Settings) string {
	var out []string
	for _, u := range s.Unread {
		if strings.HasPrefix(u.What, "permissions") {
			continue // of Actions, which have no part in this
		}
		out = append(out, u.What+" cannot be read ("+u.Why+")")
	}
	return strings.Join(out, "; ")
}

// fence looks for the rulesets that keep the tags of take-offs as they are.
func (d *forgeDoctor) fence(s github.Settings) {
	worst, lacks := holdFirm, []string{}
	for _, kind := range []string{"update", "deletion"} {
		best := holdNo
		if s.RulesetsKnown != github.Yes {
			best = holdUnknown
		}
		for _, set := range s.Rulesets {
			if guardsTags(set) && slices.ContainsFunc(set.Rules, func(r github.Rule) bool { return r.Type == kind }) {
				best = max(best, firmness(s, set.ID))
			}
		}
		if best < holdFirm {
			lacks = append(lacks, kind)
		}
		worst = min(worst, best)
	}
	what := "the " + strings.Join(lacks, " and the ") + " of tags refs/tags/cabincrew/**/*"
	switch worst {
	case holdNo:
		d.add(holeFence, holeThere, "no active ruleset restricts "+what+nearly(s), spot{})
	case holdSoft:
		d.add(holeFence, holeThere, "some are in the bypass list of the ruleset that restricts "+what, spot{})
	case holdUnknown:
		d.add(holeFence, holeUnknown, "whether a ruleset restricts "+what+": "+unread(s), spot{})
	case holdMaybe:
		d.add(holeFence, holeUnknown, "who may pass by the ruleset that restricts "+what+": only tokens that may write the administration are shown the bypass list", spot{})
	default:
		d.add(holeFence, holeNone, "an active ruleset restricts their update and deletion for everybody", spot{})
	}
}

// fenceMade looks for the ruleset that lets none but Apps make the tags of take-offs. It
// cannot be the one that keeps them as they are: who passes by it passes by all of it.
func (d *forgeDoctor) fenceMade(s github.Settings) {
	const what = "the creation of tags refs/tags/cabincrew/**/*"
	state, detail := holeThere, "no active ruleset restricts "+what+nearly(s)
	if s.RulesetsKnown != github.Yes {
		state, detail = holeUnknown, "whether a ruleset restricts "+what+": "+unread(s)
	}
	for _, set := range s.Rulesets {
		if !guardsTags(set) || !slices.ContainsFunc(set.Rules, func(r github.Rule) bool { return r.Type == "creation" }) {
			continue
		}
		switch {
		case set.BypassKnown != github.Yes:
			state, detail = holeUnknown, "who may pass by the ruleset that restricts "+what+": only tokens that may write the administration are shown the bypass list"
		case len(set.Bypass) == 0:
			d.add(holeFenceMade, holeThere, "nobody may pass by the ruleset that restricts "+what+", so no flight takes off", spot{})
			return // it holds whatever others say
		case slices.ContainsFunc(set.Bypass, func(b github.Bypass) bool { return b.Kind != "Integration" }):
			state, detail = holeThere, "people, teams or roles are in the bypass list of the ruleset that restricts "+what
		default:
			d.add(holeFenceMade, holeNone, "an active ruleset restricts their creation to Apps", spot{})
			return
		}
	}
	d.add(holeFenceMade, state, detail, spot{})
}

// guardsTags says whether a ruleset is about every tag of take-offs. These have slashes in
// their names, which only **/* goes through.
func guardsTags(set github.Ruleset) bool {
	return set.Target == "tag" && set.Enforcement == "active" && len(set.Exclude) == 0 && slices.ContainsFunc(set.Include, func(p string) bool {
		return slices.Contains([]string{"~ALL", "refs/tags/cabincrew/**/*", "refs/tags/**/*"}, p)
	})
}

// nearly names what people take for enough.
func nearly(s github.Settings) string {
	for _, set := range s.Rulesets {
		if set.Target != "tag" || !slices.ContainsFunc(set.Include, func(p string) bool { return strings.HasPrefix(p, "refs/tags/cabincrew/") || p == "~ALL" }) {
			continue
		}
		switch {
		case set.Enforcement != "active":
			return fmt.Sprintf("; the ruleset %q is not active", set.Name)
		case len(set.Exclude) > 0:
			return fmt.Sprintf("; the ruleset %q excludes some", set.Name)
		case !guardsTags(set):
			return fmt.Sprintf("; the pattern of ruleset %q does not reach below a second slash", set.Name)
		}
	}
	return ""
}
