package git

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// flushPacket ends a conversation without a command.
const flushPacket = "0000"

// sshRemote is a git-receive-pack that runs behind an ssh connection.
type sshRemote struct {
	client *ssh.Client
	stop   func() bool
	in     io.WriteCloser
	out    io.Reader
	log    io.Writer
	adv    *packp.AdvRefs
	sent   bool
}

// sshCarrier prepares the way over ssh. Neither the user's ssh configuration nor
// an agent is asked, and no host key is trusted that the configuration does not name.
func (s *settings) sshCarrier(r *kit.Run, log io.Writer) (func(ctx context.Context) (carrier, error), error) {
	text, ok := r.Secret(secretSSHKey)
	if !ok || text == "" {
		return nil, protocol.Errorf(protocol.ExitUsage, "git_ssh_key", "there is no secret %s", secretSSHKey).
			WithHint("map it in the step: secrets: {%s: …}", secretSSHKey)
	}
	key, err := parseKey(secretSSHKey, text)
	if err != nil {
		return nil, err
	}
	check, err := hostKeys(s.knownHosts, r.Temp)
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(s.remote.host, s.remote.port)
	config := &ssh.ClientConfig{
		User: s.remote.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: check, HostKeyAlgorithms: knownAlgorithms(check, address),
	}
	if len(config.HostKeyAlgorithms) == 0 {
		return nil, badHostKey("known_hosts has no key of %s", address)
	}
	proxy := proxyOf(r.Env)
	return func(ctx context.Context) (carrier, error) {
		conn, err := dial(ctx, proxy, address)
		if err != nil {
			return nil, err
		}
		return startSSH(ctx, conn, address, config, receivePack+" "+quoteShell(s.remote.path), log)
	}, nil
}

// hostKeys reads the known hosts. The library takes them from a file only.
func hostKeys(text, temp string) (ssh.HostKeyCallback, error) {
	f, err := os.CreateTemp(temp, "known-hosts-")
	if err != nil {
		return nil, fmt.Errorf("writing the known hosts: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // the temporary directory goes too
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("writing the known hosts: %w", err)
	}
	check, err := knownhosts.New(f.Name())
	if err != nil {
		return nil, badConfig("known_hosts", "it cannot be read: %w", err)
	}
	return check, nil
}

// noKey is a key of nobody, to ask which keys would be right.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("it is no key") }

// nowhere is the address of a connection whose own address does not count: behind
// a proxy it would be the proxy's.
func nowhere() net.Addr { return &net.TCPAddr{IP: net.IPv4zero} }

// knownAlgorithms gives the algorithms of the keys that are known of a host, so
// that the host shows one of those.
func knownAlgorithms(check ssh.HostKeyCallback, address string) []string {
	var known *knownhosts.KeyError
	if !errors.As(check(address, nowhere(), noKey{}), &known) {
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

// dial connects to address, through the proxy where there is one for https.
func dial(ctx context.Context, proxy func(*url.URL) (*url.URL, error), address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.GitConnectTimeout)
	defer cancel()
	via, err := proxy(&url.URL{Scheme: schemeHTTPS, Host: address})
	if err != nil {
		return nil, unreachable("the proxy's address is malformed")
	}
	to := address
	if via != nil {
		if via.Scheme != "http" {
			return nil, unreachable("a proxy of kind %q cannot carry ssh; an http proxy can", via.Scheme)
		}
		if to = via.Host; via.Port() == "" {
			to = net.JoinHostPort(via.Hostname(), "80")
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, unreachable("the remote cannot be reached: %w", err)
	}
	if via == nil {
		return conn, nil
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	through, err := connect(conn, via, address)
	if err != nil {
		_ = conn.Close() // the error before counts
		return nil, err
	}
	return through, nil
}

// connect asks an HTTP proxy for a tunnel.
func connect(conn net.Conn, via *url.URL, address string) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if via.User != nil {
		password, _ := via.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(via.User.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, unreachable("the proxy cannot be reached: %w", err)
	}
	// An answer to CONNECT has no body, so what follows its header is the tunnel's.
	r := bufio.NewReaderSize(io.LimitReader(conn, limits.GitFileBytes), 1)
	res, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, unreachable("the proxy's answer cannot be read: %w", err)
	}
	_ = res.Body.Close() // it is not read
	if res.StatusCode != http.StatusOK {
		return nil, unreachable("the proxy does not let a connection to %s through (HTTP status %d)", address, res.StatusCode)
	}
	rest, _ := r.Peek(r.Buffered()) // what is buffered is there
	return &tunnel{Conn: conn, first: append([]byte(nil), rest...)}, nil
}

// tunnel is a connection of which some bytes were read already.
type tunnel struct {
	net.Conn
	first []byte
}

func (t *tunnel) Read(b []byte) (int, error) {
	if len(t.first) > 0 {
		n := copy(b, t.first)
		t.first = t.first[n:]
		return n, nil
	}
	return t.Conn.Read(b)
}

// startSSH logs in and starts the command. The connection ends with ctx.
func startSSH(ctx context.Context, conn net.Conn, address string, config *ssh.ClientConfig, command string, log io.Writer) (carrier, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	fail := func(err error) (carrier, error) {
		stop()
		_ = conn.Close() // the error before counts
		return nil, err
	}
	late := time.AfterFunc(limits.GitConnectTimeout, func() { _ = conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	late.Stop()
	if err != nil {
		if wrong := (*knownhosts.KeyError)(nil); errors.As(err, &wrong) {
			return fail(badHostKey("%s shows another host key than known_hosts has", address))
		}
		if revoked := (*knownhosts.RevokedError)(nil); errors.As(err, &revoked) {
			return fail(badHostKey("%s shows a host key that known_hosts has as revoked", address))
		}
		if strings.Contains(err.Error(), "unable to authenticate") {
			return fail(refused("%s refused the key in %s", address, secretSSHKey))
		}
		return fail(unreachable("no ssh connection to %s: %w", address, err))
	}
	client := ssh.NewClient(c, channels, requests)
	s := &sshRemote{client: client, stop: stop, log: log}
	session, err := client.NewSession()
	if err == nil {
		session.Stderr = log
		s.in, err = session.StdinPipe()
	}
	if err == nil {
		s.out, err = session.StdoutPipe()
	}
	if err == nil {
		err = session.Start(command)
	}
	if err != nil {
		return fail(unreachable("%s cannot be started on %s: %w", receivePack, address, err))
	}
	return s, nil
}

func badHostKey(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUnreachable, "git_host_key", format, args...).At("config.known_hosts").
		WithHint("somebody else may answer for the host; compare its key with what the forge publishes before you change known_hosts")
}

func (s *sshRemote) look(_ context.Context, ref string) (plumbing.Hash, error) {
	var err error
	if s.adv, err = readAdvertisement(s.out); err != nil {
		return plumbing.ZeroHash, err
	}
	return advertised(s.adv, ref), nil
}

func (s *sshRemote) send(_ context.Context, c command) error {
	head, request, err := encodeRequest(c, s.adv)
	if err != nil {
		return err
	}
	s.sent = true
	for _, part := range [][]byte{head, c.b.pack} {
		if _, err = s.in.Write(part); err != nil {
			break // the remote may have said why
		}
	}
	err = errors.Join(err, s.in.Close())
	if said := readReport(s.out, request, c, s.log); said != nil || err == nil {
		return said
	}
	return unreachable("the objects could not be sent: %w", err)
}

func (s *sshRemote) close() {
	if !s.sent && s.adv != nil {
		_, _ = io.WriteString(s.in, flushPacket) // a courtesy: the remote ends without an error
	}
	s.stop()
	_ = s.client.Close() // nothing is expected of it any more
}

// quoteShell quotes a path for the remote's shell as git does.
func quoteShell(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}
