package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/registry"
	"github.com/cabincrew/action/protocol"
)

var errStalled = fmt.Errorf("nothing came for %s", limits.StorageStall)

// long asks for what takes as long as its bytes need, and reads a small answer.
func (s *ociStore) long(ctx context.Context, q question) (answer, error) {
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(s.o.stall, func() { cancel(errStalled) })
	defer timer.Stop()
	q.stream = ticking{q.stream, timer, s.o.stall}
	response, err := s.ask(own, q)
	if err != nil {
		return answer{}, s.stalled(ctx, own, err)
	}
	defer func() { _ = response.Body.Close() }() // nothing of it is needed
	return answer{response.StatusCode, response.Header, nil, response.Request.URL}, nil
}

// stalled tells a request that stood still from one that was interrupted.
func (s *ociStore) stalled(ctx, own context.Context, err error) error {
	if stopped := interrupted(ctx); stopped != nil {
		return stopped
	}
	if errors.Is(context.Cause(own), errStalled) {
		return passing{unreachable(s.ref.String(), "the registry does not answer: %w", errStalled)}
	}
	return err
}

// ticking puts the end off with each byte.
type ticking struct {
	r     io.Reader
	timer *time.Timer
	after time.Duration
}

func (t ticking) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		t.timer.Reset(t.after)
	}
	return n, err
}

// downloading is a blob on its way into a file.
type downloading struct {
	s    *ociStore
	into *os.File
	blob descriptor
	sum  hash.Hash
	have int64
}

// download fetches a blob, goes on where a connection broke, and compares all of it.
func (s *ociStore) download(ctx context.Context, blob descriptor, into *os.File) error {
	budget, ctx, cancel := s.transfer(ctx, blob.Size)
	defer cancel()
	d := &downloading{s: s, into: into, blob: blob, sum: sha256.New()}
	for d.have < blob.Size {
		if err := budget.spend(); err != nil {
			return err
		}
		err := d.part(ctx)
		failures := budget.reached(d.have)
		var again passing
		switch {
		case err == nil:
			continue
		case !errors.As(err, &again):
			return err
		}
		if failures == limits.StorageTries {
			return again.error
		}
		if err := s.wait(ctx, max(failures, 1)); err != nil {
			return err
		}
	}
	if got := protocol.FormatDigest(d.sum.Sum(nil)); got != blob.Digest {
		return mismatch(s.ref.String(), "what came for %s hashes to %s", blob.Digest, got)
	}
	return nil
}

// part fetches what one answer gives.
func (d *downloading) part(ctx context.Context) error {
	own, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(d.s.o.stall, func() { cancel(errStalled) })
	defer timer.Stop()
	q := question{scope: registry.Pull, method: http.MethodGet, url: d.s.base + "blobs/" + d.blob.Digest, header: map[string]string{"Accept": "*/*"}}
	if d.have > 0 {
		q.header["Range"] = fmt.Sprintf("bytes=%d-%d", d.have, d.blob.Size-1)
	}
	response, err := d.s.ask(own, q)
	if err != nil {
		return d.s.stalled(ctx, own, err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	switch {
	case response.StatusCode == http.StatusPartialContent && d.have > 0 &&
		strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.have)):
	case response.StatusCode == http.StatusOK: // also where a part was asked for
		if err := d.restart(); err != nil {
			return err
		}
	default:
		return d.s.refused(http.MethodGet, q.url, response.StatusCode)
	}
	if rest := d.blob.Size - d.have; response.ContentLength >= 0 && response.ContentLength != rest {
		return mismatch(d.s.ref.String(), "the registry announces %d bytes of %s, not %d", response.ContentLength, d.blob.Digest, rest)
	}
	to := &counter{w: d.into}
	n, err := io.Copy(io.MultiWriter(to, d.sum), io.LimitReader(ticking{response.Body, timer, d.s.o.stall}, d.blob.Size-d.have+1))
	d.have += n
	d.s.o.Progress(min(d.have, d.blob.Size), d.blob.Size)
	switch {
	case to.err != nil:
		return unwritable(d.into.Name(), to.err)
	case d.have > d.blob.Size:
		return mismatch(d.s.ref.String(), "%s is longer than the %d bytes that it should have", d.blob.Digest, d.blob.Size)
	case err == nil && d.have < d.blob.Size:
		return passing{mismatch(d.s.ref.String(), "%s ends after %d bytes", d.blob.Digest, d.have)}
	case err != nil:
		return d.s.stalled(ctx, own, d.s.failed(ctx, err))
	}
	return nil
}

// restart forgets what came.
func (d *downloading) restart() error {
	d.have, d.sum = 0, sha256.New()
	err := d.into.Truncate(0)
	if err == nil {
		_, err = d.into.Seek(0, io.SeekStart)
	}
	return written(d.into.Name(), err)
}
