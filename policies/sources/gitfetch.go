package sources

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// uploadPack is the service that gives objects.
const uploadPack = "git-upload-pack"

// remote is a conversation with a repository elsewhere.
type remote interface {
	// refs asks which references there are.
	refs(ctx context.Context) (io.Reader, error)
	// ask sends the request for objects and gives the answer.
	ask(ctx context.Context, request []byte) (io.Reader, error)
	close()
}

func unreachable(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUnreachable, "policy_git_unreachable", format, args...).At(where).
		WithHint("nothing was judged; see whether the repository can be reached, or keep the policies in this one")
}

// fetch brings the objects of one commit here, without its history.
func fetch(ctx context.Context, s *config.Source, where string, o *Options) (objects, plumbing.Hash, error) {
	u, err := url.Parse(s.Git)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, plumbing.ZeroHash, protocol.Errorf(protocol.ExitUsage, "policy_git_url", "the repository's address is malformed, or holds a user, a query or a fragment").At(where).
			WithHint("write https://HOST/PATH or ssh://HOST/PATH; keys for ssh come from the agent")
	}
	whole := commitID.MatchString(s.Ref)
	kept := filepath.Join(o.Cache, "git", s.Ref+".pack")
	if whole {
		if p := cached(kept, plumbing.NewHash(s.Ref), where); p != nil {
			return p, plumbing.NewHash(s.Ref), nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limits.SourceGitFetch)
	defer cancel()
	r, err := dial(ctx, u, where, o)
	if err != nil {
		return nil, plumbing.ZeroHash, err
	}
	defer r.close()
	raw, id, err := receive(ctx, r, s.Ref, where)
	if err != nil {
		if stopped := context.Cause(ctx); stopped != nil && errors.Is(stopped, context.Canceled) {
			err = stopped
		}
		return nil, plumbing.ZeroHash, err
	}
	p, err := readPack(raw, where)
	if err != nil {
		return nil, id, badRepository(where, "what the remote sent cannot be read: %w", err)
	}
	if whole {
		keep(kept, raw)
	}
	return p, id, nil
}

// dial connects to the address of a repository.
func dial(ctx context.Context, u *url.URL, where string, o *Options) (remote, error) {
	switch {
	case u.Scheme == "https", u.Scheme == "http" && u.Hostname() == "127.0.0.1":
		return newHTTP(u, where), nil
	case u.Scheme == "ssh":
		return newSSH(ctx, u, where, o.Env)
	}
	return nil, protocol.Errorf(protocol.ExitUsage, "policy_git_url", "the scheme %q is not spoken", u.Scheme).At(where).
		WithHint("write https://HOST/PATH or ssh://HOST/PATH")
}

// cached gives a pack that an earlier run fetched for a commit, or nil. Ids are
// computed of what is there, so it is only as good as what it holds.
func cached(name string, id plumbing.Hash, where string) *pack {
	raw, err := readFile(filepath.Dir(name), filepath.Base(name), limits.SourceGitPack)
	if err != nil {
		return nil
	}
	p, err := readPack(raw, where)
	if err != nil || p.objects[id].kind != plumbing.CommitObject {
		return nil
	}
	return p
}

// keep saves the next run from asking. It is of no account if that fails.
func keep(name string, raw []byte) {
	if os.MkdirAll(filepath.Dir(name), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(name), "new-")
	if err != nil {
		return
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it is of no use
	}
}

// receive asks a remote for one commit and gives its pack.
func receive(ctx context.Context, r remote, ref, where string) ([]byte, plumbing.Hash, error) {
	list, err := r.refs(ctx)
	if err != nil {
		return nil, plumbing.ZeroHash, err
	}
	adv := packp.NewAdvRefs()
	switch err := adv.Decode(io.LimitReader(list, limits.SourceGitRefs)); {
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return nil, plumbing.ZeroHash, badRef(where, "the repository is empty")
	case err != nil && strings.Contains(err.Error(), "object-format=sha256"):
		return nil, plumbing.ZeroHash, badRepository(where, "it stores objects by SHA-256, and only SHA-1 is known here")
	case err != nil:
		return nil, plumbing.ZeroHash, unreachable(where, "the remote's list of references cannot be read: %s", short(err.Error()))
	}
	id, err := choose(ref, where, func(name plumbing.ReferenceName) (plumbing.Hash, error) {
		id, ok := adv.References[name.String()]
		if !ok || strings.HasPrefix(name.String(), "refs/remotes/") { // somebody else's branches
			return id, plumbing.ErrReferenceNotFound
		}
		return id, nil
	})
	if err != nil {
		return nil, id, err
	}
	raw, err := wanted(ctx, r, adv, id, where)
	return raw, id, err
}

// wanted has the objects of a commit sent, without history and without files that
// are larger than any policy.
func wanted(ctx context.Context, r remote, adv *packp.AdvRefs, id plumbing.Hash, where string) ([]byte, error) {
	if !adv.Capabilities.Supports(capability.Shallow) {
		return nil, badRepository(where, "the remote cannot send a commit without its history")
	}
	request := packp.NewUploadPackRequest()
	request.Wants = []plumbing.Hash{id}
	request.Depth = packp.DepthCommits(1)
	wish := []capability.Capability{capability.Shallow, "no-progress"}
	if adv.Capabilities.Supports(capability.Sideband64k) {
		wish = append(wish, capability.Sideband64k)
	}
	if adv.Capabilities.Supports(capability.Filter) {
		wish = append(wish, capability.Filter)
		request.Filter = packp.FilterBlobLimit(limits.PolicyFile+1, packp.BlobLimitPrefixNone)
	}
	for _, w := range wish {
		if err := request.Capabilities.Set(w); err != nil {
			return nil, err
		}
	}
	var text bytes.Buffer
	if err := errors.Join(request.UploadRequest.Encode(&text), pktline.NewEncoder(&text).EncodeString("done\n")); err != nil {
		return nil, err
	}
	answer, err := r.ask(ctx, text.Bytes())
	if err != nil {
		return nil, err
	}
	// The frames around the pack are less than the pack again.
	response := packp.NewUploadPackResponse(request)
	if err := response.Decode(io.NopCloser(io.LimitReader(answer, 2*limits.SourceGitPack))); err != nil {
		return nil, refusedWant(where, id, err)
	}
	var in io.Reader = response
	if request.Capabilities.Supports(capability.Sideband64k) {
		in = sideband.NewDemuxer(sideband.Sideband64k, response)
	}
	raw, err := readBounded(in, limits.SourceGitPack)
	if errors.Is(err, errTooLarge) {
		return nil, badRepository(where, "the commit has more than %d bytes", limits.SourceGitPack).
			WithHint("keep the policies in a repository of their own")
	}
	if err != nil {
		return nil, unreachable(where, "the objects did not arrive whole: %s", short(err.Error()))
	}
	return raw, nil
}

func refusedWant(where string, id plumbing.Hash, err error) error {
	if said := new(pktline.ErrorLine); errors.As(err, &said) {
		return badRef(where, "the remote does not give %s: %s", id, short(said.Text)).
			WithHint("name a branch or tag: some servers give no commit by its id")
	}
	return unreachable(where, "the remote's answer cannot be read: %s", short(err.Error()))
}
