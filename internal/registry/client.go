package registry

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// What a client may do with a repository.
const (
	Pull = transport.PullScope
	Push = transport.PushScope
)

// Connect learns how a registry wants to be asked, gets a token from the service
// that it names, and gives the client to ask with.
func (g *Guard) Connect(ctx context.Context, repo name.Repository, auth authn.Authenticator, scope string) (*http.Client, error) {
	t, err := transport.NewWithContext(ctx, repo.Registry, auth, g, []string{repo.Scope(scope)})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > g.redirects {
			return SentError{fmt.Sprintf("more than %d redirects", g.redirects)}
		}
		return nil
	}}, nil
}
