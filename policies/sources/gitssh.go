package sources

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// sshUser is who forges have everybody log in as.
const sshUser = "git"

// sshRemote is git-upload-pack behind an ssh connection.
type sshRemote struct {
	where  string
	client *ssh.Client
	stop   func() bool
	in     io.WriteCloser
	out    io.Reader
	agent  net.Conn
}

// newSSH logs in with the keys of the agent. The user's ssh configuration is not
// read, and only a host is asked whose key the user knows.
func newSSH(ctx context.Context, u *url.URL, where string, env map[string]string) (remote, error) {
	address := net.JoinHostPort(u.Hostname(), "22")
	if u.Port() != "" {
		address = u.Host
	}
	check, err := hostKeys(env["HOME"])
	if err != nil {
		return nil, badHostKey(where, "the known hosts cannot be read: %w", err)
	}
	names := knownAlgorithms(check, address)
	if len(names) == 0 {
		return nil, badHostKey(where, "no key of %s is known", address)
	}
	s := &sshRemote{where: where, stop: func() bool { return true }}
	socket := env["SSH_AUTH_SOCK"]
	if s.agent, err = (&net.Dialer{Timeout: limits.SourceGitConnect}).DialContext(ctx, "unix", socket); err != nil {
		return nil, unreachable(where, "the ssh agent cannot be asked for keys: %w", err).WithHint("start one with a key that may read the repository, and set SSH_AUTH_SOCK")
	}
	conn, err := (&net.Dialer{Timeout: limits.SourceGitConnect}).DialContext(ctx, "tcp", address)
	if err != nil {
		s.close()
		return nil, unreachable(where, "the remote cannot be reached: %w", err)
	}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	config := &ssh.ClientConfig{
		User: sshUser, Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(agent.NewClient(s.agent).Signers)},
		HostKeyCallback: check, HostKeyAlgorithms: names,
	}
	if err := s.start(conn, address, config, u.Path); err != nil {
		_ = conn.Close() // the error before counts
		s.close()
		return nil, err
	}
	return s, nil
}

// hostKeys reads the hosts that a user and the machine know.
func hostKeys(home string) (ssh.HostKeyCallback, error) {
	var names []string
	for _, name := range []string{filepath.Join(home, ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"} {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() <= limits.SourceGitFile {
			names = append(names, name)
		}
	}
	return knownhosts.New(names...)
}

func badHostKey(where, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUnreachable, "policy_git_host_key", format, args...).At(where).
		WithHint("compare the host's key with what the forge publishes, then write it into ~/.ssh/known_hosts")
}

// noKey is a key of nobody, to ask which keys would be right.
type noKey struct{}

// Type is a part of ssh.PublicKey.
func (noKey) Type() string { return "none" }

// Marshal is a part of ssh.PublicKey.
func (noKey) Marshal() []byte { return []byte("none") }

// Verify is a part of ssh.PublicKey.
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("it is no key") }

// knownAlgorithms gives the algorithms of the keys that are known of a host, so
// that the host shows one of those.
func knownAlgorithms(check ssh.HostKeyCallback, address string) []string {
	var known *knownhosts.KeyError
	if !errors.As(check(address, &net.TCPAddr{IP: net.IPv4zero}, noKey{}), &known) {
		return nil
	}
	var out []string
	for _, k := range known.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			out = append(out, t)
		}
	}
	return out
}

// start logs in and starts the command.
func (s *sshRemote) start(conn net.Conn, address string, config *ssh.ClientConfig, path string) error {
	late := time.AfterFunc(limits.SourceGitConnect, func() { _ = conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	late.Stop()
	if err != nil {
		if wrong := (*knownhosts.KeyError)(nil); errors.As(err, &wrong) {
			return badHostKey(s.where, "%s shows another host key than the known one", address)
		}
		if revoked := (*knownhosts.RevokedError)(nil); errors.As(err, &revoked) {
			return badHostKey(s.where, "%s shows a host key that was revoked", address)
		}
		return unreachable(s.where, "no ssh connection to %s: %s", address, short(err.Error()))
	}
	s.client = ssh.NewClient(c, channels, requests)
	session, err := s.client.NewSession()
	if err == nil {
		s.in, err = session.StdinPipe()
	}
	if err == nil {
		s.out, err = session.StdoutPipe()
	}
	if err == nil {
		err = session.Start(uploadPack + " " + quote(path))
	}
	if err != nil {
		return unreachable(s.where, "%s cannot be started on %s: %s", uploadPack, address, short(err.Error()))
	}
	return nil
}

// quote quotes a path for the remote's shell as git does.
func quote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

func (s *sshRemote) refs(context.Context) (io.Reader, error) { return s.out, nil }

func (s *sshRemote) ask(_ context.Context, request []byte) (io.Reader, error) {
	if _, err := s.in.Write(request); err != nil {
		return nil, unreachable(s.where, "the request could not be sent: %s", short(err.Error()))
	}
	return s.out, nil
}

func (s *sshRemote) close() {
	s.stop()
	if s.client != nil {
		_ = s.client.Close() // nothing is expected of it any more
	}
	_ = s.agent.Close() // as above
}
