package github

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// A mark is a tag that is created once and never changed: GitHub creates a ref only if
// there is none, whoever asks at the same time. SPEC: docs/protocol.md 9

var (
	tagNames = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$`)
)

type object struct {
	SHA  string `json:"sha"`
	Type string `json:"type"`
}

type ref struct {
	Ref    string `json:"ref"`
	Object object `json:"object"`
}

func tagName(name string) error {
	if len(name) > limits.GitHubName || !tagNames.MatchString(name) || strings.Contains(name, "..") || strings.HasSuffix(name, ".lock") {
		return protocol.Errorf(protocol.ExitFailure, "forge_options", "%.100q is no name of a tag that we make", name)
	}
	return nil
}

// Mark creates an annotated tag on a commit. It gives false where the tag exists: then
// somebody else made it, and whatever it guards is theirs. Of a request whose answer
// is lost it finds out what became of it; the tag's object is like no other, so that
// ours is told from one that another run made at the same time.
func (c *Client) Mark(ctx context.Context, tag, commit, message string) (bool, error) {
	if err := tagName(tag); err != nil {
		return false, err
	}
	if !commitID.MatchString(commit) {
		return false, protocol.Errorf(protocol.ExitFailure, "forge_options", "%.70q is no commit", commit)
	}
	var nonce [16]byte
	if _, err := io.ReadFull(c.rand, nonce[:]); err != nil {
		return false, protocol.Errorf(protocol.ExitFailure, "no_random", "no random bytes: %w", err)
	}
	k := call{
		what: "create the object of tag " + tag, need: "contents: write", method: http.MethodPost, path: "git/tags", repeat: true,
		body: map[string]any{
			"tag": tag, "message": message, "object": commit, "type": "commit",
			"tagger": map[string]string{
				"name": "CabinCrew", "email": hex.EncodeToString(nonce[:]) + "@mark.invalid",
				"date": c.now().UTC().Format(time.RFC3339),
			},
		},
	}
	var made object
	if _, err := c.do(ctx, k, &made); err != nil {
		return false, err
	}
	if !commitID.MatchString(made.SHA) {
		return false, c.odd(k, "the object has no id")
	}
	return c.point(ctx, tag, made.SHA)
}

// PointMark creates a tag that points to an object which exists. It gives false where
// the tag exists, and true where an answer was lost and the tag points there now.
func (c *Client) PointMark(ctx context.Context, tag, object string) (bool, error) {
	if err := tagName(tag); err != nil {
		return false, err
	}
	if !commitID.MatchString(object) {
		return false, protocol.Errorf(protocol.ExitFailure, "forge_options", "%.70q is no object", object)
	}
	return c.point(ctx, tag, object)
}

func (c *Client) point(ctx context.Context, tag, sha string) (bool, error) {
	k := call{
		what: "create tag " + tag, need: "contents: write", method: http.MethodPost, path: "git/refs",
		body: map[string]string{"ref": "refs/tags/" + tag, "sha": sha}, allow: []int{http.StatusUnprocessableEntity},
	}
	for try := 1; ; try++ {
		var made ref
		a, err := c.do(ctx, k, &made)
		if err == nil && a.status != http.StatusUnprocessableEntity {
			if made.Ref != "refs/tags/"+tag || made.Object.SHA != sha {
				return false, c.odd(k, "it answers with another tag")
			}
			return true, nil
		}
		if err != nil && !unclear(err) {
			return false, err
		}
		have, found, lookErr := c.ref(ctx, tag)
		switch {
		case lookErr != nil && err != nil:
			return false, err
		case lookErr != nil:
			return false, lookErr
		case found && a.status == http.StatusUnprocessableEntity && try == 1:
			return false, nil // it was there before we asked
		case found:
			return have.SHA == sha, nil
		case err == nil:
			return false, protocol.Errorf(protocol.ExitUnreachable, "forge_refused", "GitHub was asked to %s of %s: it refuses, and there is no such tag", k.what, c.FullName()).
				WithHint("A ruleset may forbid its creation: let this token create tags below %s.", strings.SplitN(tag, "/", 2)[0]+"/")
		case try >= limits.GitHubTries:
			return false, err
		}
		if e := c.gov.wait(ctx, c.gov.backoff(nil, try)); e != nil {
			return false, c.fail(k, nil, e)
		}
	}
}

// unclear tells whether an error leaves open what GitHub did.
func unclear(err error) bool {
	var e *protocol.Error
	return errors.As(err, &e) && (e.Code == "forge_unreachable" || e.Code == "forge_incomplete")
}

// ref reads a tag's ref.
func (c *Client) ref(ctx context.Context, tag string) (object, bool, error) {
	k := call{what: "read tag " + tag, need: "contents: read", path: "git/ref/tags/" + tag, allow: []int{http.StatusNotFound}}
	var r ref
	a, err := c.do(ctx, k, &r)
	if err != nil || a.status == http.StatusNotFound {
		return object{}, false, err
	}
	if r.Ref != "refs/tags/"+tag || !commitID.MatchString(r.Object.SHA) {
		return object{}, false, c.odd(k, "it answers with another tag")
	}
	return r.Object, true, nil
}

// Marked reads a mark. One that is no annotated tag is made, and has no message: it is
// none of ours, but stands in the way of ours all the same.
func (c *Client) Marked(ctx context.Context, tag string) (message string, made bool, err error) {
	message, _, made, err = c.MarkedAt(ctx, tag)
	return message, made, err
}

// MarkedAt is Marked, and tells when the mark says that it was made: zero where it does
// not. It is the word of whoever made it.
func (c *Client) MarkedAt(ctx context.Context, tag string) (message string, when time.Time, made bool, err error) {
	if err := tagName(tag); err != nil {
		return "", when, false, err
	}
	at, found, err := c.ref(ctx, tag)
	if err != nil || !found || at.Type != "tag" {
		return "", when, found, err
	}
	k := call{what: "read the object of tag " + tag, need: "contents: read", path: "git/tags/" + at.SHA}
	var t struct {
		SHA     string `json:"sha"`
		Tag     string `json:"tag"`
		Message string `json:"message"`
		Tagger  struct {
			Date stamp `json:"date"`
		} `json:"tagger"`
	}
	if _, err := c.do(ctx, k, &t); err != nil {
		return "", when, true, err
	}
	if t.SHA != at.SHA {
		return "", when, true, c.odd(k, "it answers with another object")
	}
	if t.Tag != tag {
		return "", when, true, nil // moved here from another mark
	}
	return t.Message, t.Tagger.Date.Time, true, nil
}

// Marks reads the tags whose names begin with a prefix, each with the object that it
// points to.
func (c *Client) Marks(ctx context.Context, prefix string) (map[string]string, error) {
	if err := tagName(strings.TrimSuffix(prefix, "/")); err != nil {
		return nil, err
	}
	k := call{what: "list the tags " + prefix, need: "contents: read", path: "git/matching-refs/tags/" + (&url.URL{Path: prefix}).EscapedPath()}
	refs, err := list(ctx, c, listing[ref]{call: k, whole: true, id: func(r ref) string { return r.Ref }})
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(refs))
	for _, r := range refs {
		name, ok := strings.CutPrefix(r.Ref, "refs/tags/")
		if !ok || !strings.HasPrefix(name, prefix) || !commitID.MatchString(r.Object.SHA) {
			return nil, c.odd(k, "it answers with %.100q", r.Ref)
		}
		out[name] = r.Object.SHA
	}
	return out, nil
}
