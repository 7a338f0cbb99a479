package bundle

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// A registry that always gets somewhere and never there keeps nobody for good.
func TestTransfersEnd(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	content := noise(9, mib)
	var n atomic.Int64
	blob := func(w http.ResponseWriter, q *http.Request, most func(from int) int) {
		n.Add(1)
		from := 0
		if first, _, ok := strings.Cut(strings.TrimPrefix(q.Header.Get("Range"), "bytes="), "-"); ok {
			from, _ = strconv.Atoi(first)
		}
		end := min(mib, max(from, most(from)))
		w.Header().Set("Content-Length", strconv.Itoa(mib-from))
		if from > 0 && most(from) >= from {
			w.Header().Set("Content-Range", "bytes "+strconv.Itoa(from)+"-"+strconv.Itoa(mib-1)+"/"+strconv.Itoa(mib))
			w.WriteHeader(http.StatusPartialContent)
		} else if from > 0 { // from the beginning, and not as far
			w.Header().Set("Content-Length", strconv.Itoa(mib))
			from, end = 0, 1000
		}
		_, _ = io.WriteString(w, content[from:end])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		most   int64
	}{
		"one byte each": {func(w http.ResponseWriter, q *http.Request) { blob(w, q, func(from int) int { return from + 1 }) }, limits.StorageRequests + 2},
		"back and forth": {func(w http.ResponseWriter, q *http.Request) {
			blob(w, q, func(from int) int {
				if from >= 100_000 {
					return 0
				}
				return 100_000
			})
		}, 4 * limits.StorageTries},
		"drip": {func(w http.ResponseWriter, q *http.Request) {
			n.Add(1)
			w.Header().Set("Content-Length", strconv.Itoa(mib))
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				_, _ = io.WriteString(w, "x")
				w.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-q.Context().Done():
					return
				}
			}
		}, 1},
	} {
		n.Store(0)
		r := newRegistry(t, true)
		ref, err := store(t.Context(), t, r.ref(), r.options(), []byte(content), meta())
		if err != nil {
			t.Fatal(err)
		}
		r.hook = func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
			hit := strings.HasSuffix(q.URL.Path, protocol.Digest([]byte(content)))
			if hit {
				c.answer(w, q)
			}
			return hit
		}
		o := r.options()
		if o.chunk = mib; name == "drip" {
			o.least, o.rate = 100*time.Millisecond, 10*mib
		}
		_, _, err = load(t.Context(), t, ref, o)
		wantError(t, err, protocol.ExitUnreachable, "storage_unreachable")
		if n.Load() > c.most {
			t.Errorf("%s: %d requests", name, n.Load())
		}
	}
}

// The same of an upload of which the registry says that it took one byte more, or one
// less than before.
func TestUploadsEnd(t *testing.T) {
	t.Parallel()
	content := []byte(noise(10, 1<<20))
	for name, took := range map[string]func(n int64) int64{
		"one byte each":  func(n int64) int64 { return n },
		"back and forth": func(n int64) int64 { return 5 + n%2 },
	} {
		r := newRegistry(t, true)
		var n, others atomic.Int64
		r.hook = func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
			if q.Method != http.MethodPatch {
				others.Add(1)
				return false
			}
			_, _ = io.Copy(io.Discard, q.Body)
			w.Header().Set("Location", q.URL.Path)
			w.Header().Set("Range", "0-"+strconv.FormatInt(took(n.Add(1)), 10))
			w.WriteHeader(http.StatusAccepted)
			return true
		}
		o := r.options()
		o.chunk = 100_000
		_, err := store(t.Context(), t, r.ref(), o, content, meta())
		wantError(t, err, protocol.ExitUnreachable, "storage_unreachable")
		if got := n.Load(); got > limits.StorageRequests+2*11 || others.Load() > 20 {
			t.Errorf("%s: %d chunks, %d other requests", name, got, others.Load())
		}
	}
}
