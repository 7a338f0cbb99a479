package github

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Download writes an artifact's archive. GitHub says where the bytes are; they are
// fetched there without the token, since that is another's host. The archive is
// compared with the digest that GitHub told, where it told one, and stays hostile. A
// transfer that is cut is begun anew if nothing was written yet or w is a file, which
// is written from its beginning.
func (c *Client) Download(ctx context.Context, a Artifact, w io.Writer, most int64) error {
	k := call{what: "give artifact " + clean(a.Name), need: "actions: read", path: "actions/artifacts/" + a.ID + "/zip"}
	switch {
	case !isID(a.ID):
		return c.odd(k, "%.30q is no id of an artifact", a.ID)
	case a.Expired:
		return gone(a)
	case a.Size > most:
		return tooLarge(a, most)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limits.GitHubTransfer, fmt.Errorf("it took longer than %s", limits.GitHubTransfer))
	defer cancel()
	written := &counter{w: w}
	var err error
	for try := 1; ; try++ {
		var at *url.URL
		if at, err = c.locate(ctx, k, a); err != nil {
			return err
		}
		if err = c.transfer(ctx, at, a, written, most); err == nil {
			return nil
		}
		var final *protocol.Error
		if errors.As(err, &final) || try >= limits.GitHubTries || ctx.Err() != nil || !written.rewind() {
			break
		}
		if err := c.gov.wait(ctx, c.gov.backoff(nil, try)); err != nil {
			return c.fail(k, nil, err)
		}
	}
	var final *protocol.Error
	if errors.As(err, &final) {
		return err
	}
	return c.fail(k, nil, err)
}

// locate asks where the archive is.
func (c *Client) locate(ctx context.Context, k call, a Artifact) (*url.URL, error) {
	req, err := c.api.NewRequest(http.MethodGet, "repos/"+c.FullName()+"/"+k.path, nil)
	if err != nil {
		return nil, c.fail(k, nil, err)
	}
	resp, err := c.plain.Do(req.WithContext(ctx))
	if err != nil {
		return nil, c.fail(k, nil, err)
	}
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
	case http.StatusGone, http.StatusNotFound:
		return nil, gone(a)
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, c.refused(k, nil, "GitHub was asked to "+k.what+" of "+c.FullName(), resp.StatusCode, errors.New(http.StatusText(resp.StatusCode)))
	default:
		return nil, c.fail(k, nil, fmt.Errorf("status %d", resp.StatusCode))
	}
	at, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || at.Host == "" || at.User != nil || at.Scheme != "https" && !(at.Scheme == "http" && loopback(at) && loopback(c.base)) {
		return nil, c.odd(k, "it names no safe place for the bytes")
	}
	return at, nil
}

// transfer fetches the archive, from there and from nowhere else.
func (c *Client) transfer(ctx context.Context, at *url.URL, a Artifact, w io.Writer, most int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return errors.New("the address of the bytes is wrong")
	}
	req.Header.Set("User-Agent", c.api.UserAgent)
	resp, err := c.bare.Do(req)
	if err != nil {
		return errors.New(bare(err)) // not the address: it is a secret for as long as it is valid
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		return gone(a)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the place of the bytes answers with status %d", resp.StatusCode)
	case resp.ContentLength > most:
		return tooLarge(a, most)
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, hash), io.LimitReader(resp.Body, most))
	if err != nil {
		return fmt.Errorf("the archive is cut: %w", err)
	}
	if n == most {
		if extra, _ := io.ReadFull(resp.Body, make([]byte, 1)); extra > 0 {
			return tooLarge(a, most)
		}
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); a.Digest != "" && a.Digest != got {
		return protocol.Errorf(protocol.ExitIntegrity, "forge_archive", "artifact %s has the digest %s, and GitHub says %s", clean(a.Name), got, clean(a.Digest)).
			WithHint("Do not use it. Run the job that made it again.")
	}
	return nil
}

func gone(a Artifact) error {
	return protocol.Errorf(protocol.ExitUnreachable, "forge_gone", "artifact %s of run %s is not there any more", clean(a.Name), clean(a.RunID)).
		WithHint("Plan the change again: run its flight-plan workflow once more. Keep artifacts longer than changes wait.")
}

func tooLarge(a Artifact, most int64) error {
	return protocol.Errorf(protocol.ExitIntegrity, "forge_archive", "artifact %s is larger than %d bytes", clean(a.Name), most)
}

// counter knows whether something was written already.
type counter struct {
	w io.Writer
	n int64
}

// rewind goes back to the beginning, if that can be done.
func (c *counter) rewind() bool {
	if c.n == 0 {
		return true
	}
	f, ok := c.w.(interface {
		io.Seeker
		Truncate(size int64) error
	})
	if !ok || f.Truncate(0) != nil {
		return false
	}
	c.n = 0
	_, err := f.Seek(0, io.SeekStart)
	return err == nil
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
