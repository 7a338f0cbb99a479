package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/workspace/gittree"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
)

// forgeFence keeps the marks that must hold for all runners as tags of the forge, which
// are created once and, under a ruleset, never changed. SPEC: docs/protocol.md 9.
type forgeFence struct {
	ctx    func() context.Context
	forge  *github.Client
	home   orchestrator.Fence // of this runner
	commit string             // that the tags point to
	run    string             // where the take-off is, for people
	step   string             // the only step that takes off; "": all
	steps  []string           // it and those that it needs; nil: all
	audit  json.RawMessage    // where the take-off began, and how far its audit log had come
	made   map[string]string  // what this run made itself
	// brought gives the tags that the checkout has, with what they point to.
	brought func(prefix string) (map[string]string, error)
	absent  map[string]bool   // tags that were not there when they were looked for
	refused map[string]bool   // tags that were there when this run would make them
	start   func(mark string) // is called once this run has begun the take-off
}

var _ orchestrator.Fence = (*forgeFence)(nil)

// markMessage is the message of a tag.
type markMessage struct {
	Content string          `json:"content"`
	Run     string          `json:"run"`
	Audit   json.RawMessage `json:"audit,omitempty"`
	// Step is the only step, beside those that it needs, that took off; "": all. Steps are
	// it and those.
	Step  string   `json:"step,omitempty"`
	Steps []string `json:"steps,omitempty"`
}

const (
	tokenPrefix = "token-"
	linePrefix  = "line-"
	tagTop      = "cabincrew/"
	lineTop     = tagTop + "lines/"
)

// tokenTag gives the tag for a mark of a token; "" for other marks.
func tokenTag(name string) string {
	token, ok := strings.CutPrefix(name, tokenPrefix)
	if !ok {
		return ""
	}
	if token, done := strings.CutSuffix(token, ".done"); done {
		return tagTop + token + "/done"
	}
	return tagTop + token + "/begun"
}

// lineTag gives where the tags of a line's mark are; "" for other marks.
func lineTag(name string) string {
	rest, ok := strings.CutPrefix(name, linePrefix)
	if !ok {
		return ""
	}
	line, id, _ := strings.Cut(rest, ".")
	return lineTop + line + "/" + id
}

// lineName is how a tag's name tells what the mark of a line holds. The commit is what
// the tag points to.
func lineName(content string) string {
	at, rest, _ := strings.Cut(content, " ")
	steps, _, _ := strings.Cut(rest, " ")
	name := strings.ReplaceAll(at, ":", "-")
	if steps != "" && steps != orchestrator.AllSteps {
		name += "/" + steps
	}
	return name
}

// Mark makes a mark: of tokens and lines on the forge first, which is what counts.
func (f *forgeFence) Mark(name, content string) (made bool, err error) {
	switch tag, line := tokenTag(name), lineTag(name); {
	case tag != "":
		message, err := protocol.Canonical(markMessage{Content: content, Run: f.run, Audit: f.audit, Step: f.step, Steps: f.steps})
		if err != nil {
			return false, err
		}
		if made, err = f.forge.Mark(f.ctx(), tag, f.commit, string(message)); err != nil {
			return false, err
		}
		if !made {
			f.refused[tag] = true
			delete(f.absent, tag)
		}
	case line != "":
		// Its name says it all: what comes of one line is listed in one call.
		if made, err = f.forge.PointMark(f.ctx(), line+"/"+lineName(content), f.commit); err != nil {
			return false, err
		}
	default:
		if strings.HasSuffix(name, ".begun") && json.Valid([]byte(content)) {
			f.audit = json.RawMessage(content)
		}
		return f.home.Mark(name, content)
	}
	if made {
		f.made[name] = content
		if strings.HasSuffix(tokenTag(name), "/begun") {
			f.start(name)
		}
	}
	_, err = f.home.Mark(name, content)
	return made, err
}

// Marked gives a mark.
func (f *forgeFence) Marked(name string) (content string, made bool, err error) {
	tag := tokenTag(name)
	if tag == "" {
		return f.home.Marked(name)
	}
	if content, ok := f.made[name]; ok {
		return content, true, nil
	}
	if f.absent[tag] {
		return "", false, nil // whoever makes it meanwhile is seen when it is made here
	}
	if !f.refused[tag] && f.made[strings.TrimSuffix(name, ".done")] == "" {
		// A job's checkout has the tags that there were when it began. Of an end without a
		// beginning nothing more is asked.
		top := strings.TrimSuffix(strings.TrimSuffix(tag, "/done"), "/begun") + "/"
		tags, err := f.brought(top)
		if err != nil {
			return "", false, err
		}
		_, there := tags[tag]
		_, began := tags[top+"begun"]
		if !there && !began {
			return "", false, nil
		}
	}
	message, made, err := f.forge.Marked(f.ctx(), tag)
	if err != nil {
		return "", false, err
	}
	if !made {
		f.absent[tag] = true
		return "", false, nil
	}
	var m markMessage
	if err := protocol.Decode([]byte(message), &m); err != nil {
		return "", true, protocol.Errorf(protocol.ExitIntegrity, "mark_malformed", "the tag's message cannot be read: %w", err).At(tag).
			WithHint("a person looks at who made the tag; whether the plan took off cannot be told from it")
	}
	return m.Content, true, nil
}

// Marks gives all marks whose names begin so.
func (f *forgeFence) Marks(prefix string) (map[string]string, error) {
	line, isLine := strings.CutPrefix(prefix, linePrefix)
	if !isLine {
		return f.home.Marks(prefix)
	}
	top := lineTop + strings.TrimSuffix(line, ".") + "/"
	// What the checkout brought along is enough until this run began: then the forge is
	// asked, and that is what counts.
	list := f.brought
	if f.began() {
		list = func(top string) (map[string]string, error) { return f.forge.Marks(f.ctx(), top) }
	}
	tags, err := list(top)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for tag, commit := range tags {
		id, rest, _ := strings.Cut(strings.TrimPrefix(tag, top), "/")
		at, steps, _ := strings.Cut(rest, "/")
		date, clock, _ := strings.Cut(at, "T") // a tag's name has no colons
		at = date + "T" + strings.ReplaceAll(clock, "-", ":")
		if _, err := time.Parse(time.RFC3339, at); err != nil {
			return nil, protocol.Errorf(protocol.ExitIntegrity, "mark_malformed", "the tag's name tells no time").At(tag).
				WithHint("a person looks at who made the tag")
		}
		out[prefix+id] = at + " " + cmp.Or(steps, orchestrator.AllSteps) + " " + commit
	}
	return out, nil
}

// began says whether this run began a take-off that has no end.
func (f *forgeFence) began() bool {
	for name := range f.made {
		if token, ok := strings.CutPrefix(name, tokenPrefix); ok && !strings.HasSuffix(token, ".done") && f.made[name+".done"] == "" {
			return true
		}
	}
	return false
}

// tags gives the tags of the checkout whose names begin so.
func (s *session) tags(prefix string) (map[string]string, error) {
	tree, err := gittree.Open(s.place.workspace, s.checkout)
	if err != nil {
		return nil, err
	}
	return tree.Tags(prefix)
}
