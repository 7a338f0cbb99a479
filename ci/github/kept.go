package github

import (
	"net/http"

	"github.com/cabincrew/action/internal/limits"
)

// kept holds answers by what was asked, so that GitHub need only say that one is
// still true: such an answer does not count against its limit.
type kept struct {
	answers map[string]answerKept
	order   []string
	bytes   int
}

type answerKept struct {
	header http.Header
	body   []byte
}

func newKept() *kept { return &kept{answers: map[string]answerKept{}} }

func keptKey(req *http.Request) string { return req.Header.Get("Accept") + " " + req.URL.String() }

func (k *kept) tag(req *http.Request) string {
	if req.Method != http.MethodGet {
		return ""
	}
	return k.answers[keptKey(req)].header.Get("ETag")
}

func (k *kept) get(req *http.Request) (answerKept, bool) {
	a, ok := k.answers[keptKey(req)]
	return a, ok && req.Method == http.MethodGet
}

func (k *kept) put(req *http.Request, header http.Header, body []byte) {
	if req.Method != http.MethodGet || header.Get("ETag") == "" || len(body) > limits.GitHubCache/4 {
		return
	}
	key := keptKey(req)
	if old, ok := k.answers[key]; ok {
		k.bytes -= len(old.body)
	} else {
		k.order = append(k.order, key)
	}
	k.answers[key] = answerKept{header, body}
	k.bytes += len(body)
	for k.bytes > limits.GitHubCache || len(k.order) > limits.GitHubCached {
		k.bytes -= len(k.answers[k.order[0]].body)
		delete(k.answers, k.order[0])
		k.order = k.order[1:]
	}
}
