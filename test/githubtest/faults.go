package githubtest

import (
	"net/http"
	"strconv"
	"time"
)

// Fault is a way in which an answer goes wrong. Its zero value does nothing.
type Fault struct {
	Status     int           // answered in place of what would be, and nothing is done
	Message    string        // of that answer
	RetryAfter time.Duration // says so in the header; with 403 or 429 it is a secondary limit
	Page       int           // only this page of a listing; 0 for every request
	Reset      bool          // the connection breaks, and nothing is done
	Lost       bool          // the connection breaks, but what was asked for is done
	Truncate   bool          // the answer ends in its middle
	Slow       chan struct{} // the answer comes when this is closed, or never
}

// fault is one that waits for its requests.
type fault struct {
	Fault
	op   string
	left int
}

// Fail lets the next n requests of an operation go wrong; op "" means any operation.
func (s *Server) Fail(op string, n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault{f, op, n})
}

// SecondaryLimit is what GitHub answers to those who ask too fast.
func SecondaryLimit(after time.Duration) Fault {
	return Fault{Status: http.StatusForbidden, RetryAfter: after, Message: "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
}

// due gives the fault that meets a request.
func (s *Server) due(op string, r *http.Request) *fault {
	page, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil {
		page = 1
	}
	for _, f := range s.faults {
		if f.left > 0 && (f.op == "" || f.op == op) && (f.Page == 0 || f.Page == page) {
			f.left--
			return f
		}
	}
	return nil
}

func (f *fault) answer(header http.Header) raw {
	if f.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
	}
	message := f.Message
	if message == "" {
		message = http.StatusText(f.Status)
	}
	answer := refused(f.Status, message)
	if body, ok := answer.body.(obj); ok && f.RetryAfter > 0 {
		body["documentation_url"] = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"
	}
	return encoded(answer)
}

// send gives the answer away, in the way of the fault if there is one.
func (f *fault) send(w http.ResponseWriter, r *http.Request, header http.Header, answer raw) {
	if f == nil {
		send(w, r.Method, header, answer)
		return
	}
	if f.Slow != nil {
		select {
		case <-f.Slow:
		case <-r.Context().Done():
			return
		}
	}
	if f.Reset || f.Lost {
		hijack(w)
		return
	}
	if f.Truncate && len(answer.body) > 1 {
		header.Set("Content-Length", strconv.Itoa(len(answer.body)))
		answer.body = answer.body[:len(answer.body)/2]
	}
	send(w, r.Method, header, answer)
}

// hijack breaks the connection.
func hijack(w http.ResponseWriter) {
	h, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	if conn, _, err := h.Hijack(); err == nil {
		_ = conn.Close() // it is to be broken
	}
}
