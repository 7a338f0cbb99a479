package back

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cabincrew/action/engines/egress"
	"github.com/cabincrew/action/internal/limits"
)

// UnixOptions say how a server on a unix socket is reached: streamable HTTP over it.
type UnixOptions struct {
	Name    string // of the server in the configuration
	Path    string // of the socket, absolute
	URLPath string // what is asked for; "" is /mcp
	// Headers gives credentials, as in HTTPOptions.
	Headers func(ctx context.Context) (http.Header, error)
	Limits  Limits
	Log     *slog.Logger
}

// NewUnix makes the connection to a server on a unix socket. The socket must belong to
// this user or root, and so must what it lies in, so that nobody else can put another
// in its place; that is looked at each time.
func NewUnix(o UnixOptions) (*HTTP, error) {
	if !filepath.IsAbs(o.Path) || filepath.Clean(o.Path) != o.Path {
		return nil, refused(o.Name, "its socket %q is not an absolute, clean path", o.Path)
	}
	if o.URLPath == "" {
		o.URLPath = "/mcp"
	}
	u, err := url.Parse("http://localhost" + o.URLPath)
	if err != nil || !strings.HasPrefix(o.URLPath, "/") || u.Host != "localhost" || u.Fragment != "" {
		return nil, refused(o.Name, "its url path is none").WithHint("write it as /PATH")
	}
	h := newHTTP(HTTPOptions{Name: o.Name, Headers: o.Headers, Limits: o.Limits, Log: o.Log}, u)
	h.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if err := ownSocket(o.Path); err != nil {
			return nil, egress.AddressError{Why: err.Error()}
		}
		d := net.Dialer{Timeout: limits.MCPBackDialTime}
		return d.DialContext(ctx, "unix", o.Path)
	}
	return h, nil
}

// ownSocket says what is wrong with a socket, or with a directory on the way to it.
func ownSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is no socket", path)
	case !ours(info):
		return fmt.Errorf("the socket %s belongs to another user", path)
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		switch {
		case err != nil:
			return err
		case info.Mode()&os.ModeSymlink != 0 && ours(info):
			if dir, err = filepath.EvalSymlinks(dir); err != nil {
				return err
			}
			if info, err = os.Lstat(dir); err != nil {
				return err
			}
		}
		switch {
		case !info.IsDir() || !ours(info):
			return fmt.Errorf("the directory %s of the socket belongs to another user, or is none", dir)
		case info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0:
			return fmt.Errorf("others may write to the directory %s of the socket", dir)
		case dir == filepath.Dir(dir):
			return nil
		}
	}
}

// ours says whether a file belongs to this user or root.
func ours(info os.FileInfo) bool {
	by, ok := info.Sys().(*syscall.Stat_t)
	return ok && (by.Uid == 0 || int(by.Uid) == os.Geteuid())
}
