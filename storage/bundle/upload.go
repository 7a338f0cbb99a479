package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/internal/registry"
)

const octets = "application/octet-stream"

// lost says that an upload is gone, so that only a new one may help.
type lost struct{ error }

func (e lost) Unwrap() error { return e.error }

// errWhole says that a registry takes blobs in one piece only.
var errWhole = errors.New("the registry takes no chunks")

// upload stores a blob. What got through stays there when the connection breaks: the
// registry is asked how much it has, and the rest is sent.
func (s *ociStore) upload(ctx context.Context, content io.ReaderAt, digest string, size int64, progress func(done, total int64)) error {
	a, err := s.steady(ctx, question{scope: registry.Push, method: http.MethodHead, url: s.base + "blobs/" + digest}, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		progress(size, size)
		return nil
	}
	budget, ctx, cancel := s.transfer(ctx, size)
	defer cancel()
	whole := false
	for n := 1; ; n++ {
		u := &uploading{s: s, content: content, digest: digest, size: size, progress: progress, budget: budget}
		err := u.run(ctx, whole)
		if errors.Is(err, errWhole) && !whole {
			whole = true
			continue
		}
		var gone lost
		if !errors.As(err, &gone) {
			return err
		}
		if n == limits.StorageSessions {
			return gone.error
		}
		if err := s.wait(ctx, n); err != nil {
			return err
		}
	}
}

// uploading is one upload of a blob, which has one place after another.
type uploading struct {
	s        *ociStore
	content  io.ReaderAt
	digest   string
	size     int64
	progress func(done, total int64)
	at       string // where the next request goes
	chunk    int64
	have     int64 // bytes that the registry has
	budget   *budget
}

func (u *uploading) run(ctx context.Context, whole bool) error {
	if err := u.begin(ctx); err != nil {
		return err
	}
	if whole || u.size <= u.chunk {
		return u.finish(ctx, whole)
	}
	u.budget.farthest, u.budget.failures = 0, 0 // it begins anew; sessions are counted
	for failures := 0; u.have < u.size; {
		if err := u.budget.spend(); err != nil {
			return err
		}
		if err := u.step(ctx, failures); err != nil {
			return err
		}
		if failures = u.budget.reached(u.have); failures == 0 {
			u.progress(u.have, u.size)
		}
		if failures == limits.StorageTries {
			return unreachable(u.s.ref.String(), "the registry takes chunks and does not have them")
		}
	}
	return u.finish(ctx, false)
}

// step sends a chunk, or finds out how much of it got through.
func (u *uploading) step(ctx context.Context, failures int) error {
	err := u.send(ctx)
	var again passing
	if !errors.As(err, &again) {
		return err
	}
	if failures+1 == limits.StorageTries {
		return again.error
	}
	if err := u.s.wait(ctx, failures+1); err != nil {
		return err
	}
	return u.resume(ctx)
}

// begin opens the upload.
func (u *uploading) begin(ctx context.Context) error {
	a, err := u.s.steady(ctx, question{scope: registry.Push, method: http.MethodPost, url: u.s.base + "blobs/uploads/"}, http.StatusAccepted)
	if err != nil {
		return err
	}
	u.chunk = int64(u.s.o.chunk)
	if least, err := strconv.ParseInt(a.header.Get("Oci-Chunk-Min-Length"), 10, 64); err == nil && least > u.chunk {
		u.chunk = min(least, limits.StorageMinChunk)
	}
	return u.follow(a)
}

// follow takes the place of the next request from an answer. Whether it may be asked
// is the guard's to say.
func (u *uploading) follow(a answer) error {
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		return unreachable(u.s.ref.String(), "the registry does not say where to send a blob")
	}
	u.at = a.url.ResolveReference(to).String()
	return nil
}

// send sends one chunk.
func (u *uploading) send(ctx context.Context) error {
	data := make([]byte, min(u.chunk, u.size-u.have))
	if _, err := u.content.ReadAt(data, u.have); err != nil && !errors.Is(err, io.EOF) {
		return unreachable("the archive", "it cannot be read: %w", err)
	}
	end := u.have + int64(len(data))
	a, err := u.s.small(ctx, question{
		scope: registry.Push, method: http.MethodPatch, url: u.at, body: data,
		header: map[string]string{"Content-Type": octets, "Content-Range": fmt.Sprintf("%d-%d", u.have, end-1)},
	})
	if err != nil {
		return err
	}
	switch a.status {
	case http.StatusAccepted, http.StatusNoContent, http.StatusCreated:
		if err := u.follow(a); err != nil {
			return err
		}
		u.have = end
		if has, ok := received(a); ok && has < end {
			u.have = has // it took less
		}
		return nil
	case http.StatusNotFound:
		return lost{u.s.refused(http.MethodPatch, u.at, a.status)}
	case http.StatusRequestedRangeNotSatisfiable:
		return passing{unreachable(u.s.ref.String(), "the registry has another part of the blob than it said")}
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusNotImplemented:
		if u.have == 0 {
			return errWhole
		}
	}
	return u.s.refused(http.MethodPatch, u.at, a.status)
}

// resume asks how much of the blob the registry has.
func (u *uploading) resume(ctx context.Context) error {
	var a answer
	err := u.s.tries(ctx, func() error {
		var err error
		if a, err = u.s.small(ctx, question{scope: registry.Push, method: http.MethodGet, url: u.at}); err == nil && a.status >= http.StatusInternalServerError {
			err = u.s.refused(http.MethodGet, u.at, a.status)
		}
		return err
	})
	if err != nil {
		return err
	}
	has, ok := received(a)
	if a.status != http.StatusNoContent || !ok || has > u.size {
		return lost{unreachable(u.s.ref.String(), "the upload was interrupted, and the registry does not say how far it came")}
	}
	u.have = has
	if a.header.Get("Location") != "" {
		return u.follow(a)
	}
	return nil
}

// received reads how many bytes a registry has. "0-0" is what many say of none; were
// it one, the next chunk is refused and the upload begun anew.
func received(a answer) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(a.header.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 63)
	if !ok || first != "0" || err != nil || n < 0 {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	return n + 1, true
}

// finish ends an upload. What a small blob has, or one that must come in one piece,
// goes with it.
func (u *uploading) finish(ctx context.Context, whole bool) error {
	to, err := url.Parse(u.at)
	if err != nil {
		return unreachable(u.s.ref.String(), "the registry does not say where to send a blob")
	}
	query := to.Query()
	query.Set("digest", u.digest)
	to.RawQuery = query.Encode()
	q := question{scope: registry.Push, method: http.MethodPut, url: to.String(), header: map[string]string{"Content-Type": octets}}
	switch {
	case whole:
		q.stream, q.size = &reporting{r: io.NewSectionReader(u.content, 0, u.size), u: u}, u.size
	case u.have == 0 && u.size > 0:
		q.body = make([]byte, u.size)
		if _, err := u.content.ReadAt(q.body, 0); err != nil && !errors.Is(err, io.EOF) {
			return unreachable("the archive", "it cannot be read: %w", err)
		}
	}
	ask := u.s.small
	if whole { // its time is as long as its bytes
		ask = u.s.long
	}
	a, err := ask(ctx, q)
	var again passing
	switch {
	case errors.As(err, &again):
		return lost(again)
	case err != nil:
		return err
	case a.status == http.StatusCreated || a.status == http.StatusNoContent:
		u.progress(u.size, u.size)
		return nil
	case a.status == http.StatusBadRequest:
		return mismatch(u.s.ref.String(), "the registry did not get the bytes that have the digest %s", u.digest)
	case a.status == http.StatusNotFound || a.status == http.StatusRequestedRangeNotSatisfiable:
		return lost{u.s.refused(http.MethodPut, u.at, a.status)}
	}
	err = u.s.refused(http.MethodPut, u.at, a.status)
	if errors.As(err, &again) {
		return lost(again)
	}
	return err
}

// reporting tells of a blob that goes in one piece.
type reporting struct {
	r *io.SectionReader
	u *uploading
	n int64
}

func (r *reporting) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.n += int64(n); n > 0 {
		r.u.progress(r.n, r.u.size)
	}
	return n, err
}
