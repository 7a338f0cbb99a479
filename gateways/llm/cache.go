package llm

import (
	"container/list"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cabincrew/action/gateways/llm/route"
	"github.com/cabincrew/action/gateways/llm/wire"
	"github.com/cabincrew/action/protocol"
)

// Cache keeps whole answers that were let through, for requests that are byte for byte the
// same, of the same caller, key and workflow, under the same governance. What streams is
// not kept.
type Cache struct {
	most int64
	ttl  time.Duration

	mu   sync.Mutex
	size int64
	all  map[cacheKey]*list.Element
	used list.List // the last used first
}

type cacheKey struct{ name, key, workflow, governance, format, route, digest string }

type cached struct {
	key    cacheKey
	at     time.Time
	body   []byte
	usage  wire.Usage
	finish string
}

// NewCache makes a cache of so many bytes.
func NewCache(bytes int64, ttl time.Duration) *Cache {
	return &Cache{most: bytes, ttl: ttl, all: map[cacheKey]*list.Element{}}
}

const cacheOverhead = 512 // of an entry beside its body

func (c *Cache) get(k cacheKey, now time.Time) (cached, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.all[k]
	if e == nil {
		return cached{}, false
	}
	got, _ := e.Value.(cached)
	if age := now.Sub(got.at); age < 0 || age >= c.ttl {
		c.drop(e)
		return cached{}, false
	}
	c.used.MoveToFront(e)
	return got, true
}

func (c *Cache) put(v cached) {
	size := int64(len(v.body)) + cacheOverhead
	if size > c.most {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.all[v.key]; e != nil {
		c.drop(e)
	}
	for c.size+size > c.most {
		c.drop(c.used.Back())
	}
	c.all[v.key] = c.used.PushFront(v)
	c.size += size
}

func (c *Cache) drop(e *list.Element) {
	v, _ := c.used.Remove(e).(cached)
	delete(c.all, v.key)
	c.size -= int64(len(v.body)) + cacheOverhead
}

// cacheKey names the call in the cache; false: it is not kept.
func (x *exchange) cacheKey(body []byte) (cacheKey, bool) {
	if x.g.o.Cache == nil || x.request.Stream || x.format == wire.Models || len(x.verdict.Requires) > 0 {
		return cacheKey{}, false
	}
	return cacheKey{
		x.who.Name, x.who.Key, x.who.Workflow, x.g.o.GovernanceHash, string(x.format), x.choice.Provider, protocol.Digest(body),
	}, true
}

// fromCache answers with what was answered before. The request is on the record by now.
func (x *exchange) fromCache(body []byte) bool {
	k, ok := x.cacheKey(body)
	if !ok {
		return false
	}
	got, ok := x.g.o.Cache.get(k, x.g.o.Now())
	if !ok {
		return false
	}
	x.digest = "" // nothing is sent, so nothing is used
	if x.recordAnswer(outcome{what: outcomeCached, status: http.StatusOK, finish: got.finish, digest: protocol.Digest(got.body)}) != nil {
		writeError(x.w, x.format, unrecorded.status, unrecorded)
		return true
	}
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(got.body)))
	h.Set("X-Cabincrew-Cache", "hit")
	x.w.WriteHeader(http.StatusOK)
	x.write(got.body)
	return true
}

// keep keeps an answer that was let through.
func (x *exchange) keep(body, out []byte, a *wire.Answer, status int) {
	if k, ok := x.cacheKey(body); ok && status == http.StatusOK {
		x.g.o.Cache.put(cached{key: k, at: x.g.o.Now(), body: out, usage: a.Usage, finish: a.Finish})
	}
}

// saferPlan routes the call to the safer model, once.
func (x *exchange) saferPlan() bool {
	if x.g.o.Safer == "" || x.regenerated || x.began {
		return false
	}
	x.regenerated = true
	q := x.request
	plan, err := x.g.o.Router.Plan(route.Call{
		Digest: protocol.Digest(q.Raw), Formats: []string{string(x.format)}, Model: x.g.o.Safer, Tokens: tokensOf(len(q.Raw)), Output: q.MaxTokens, Scope: x.who.Scope,
	})
	if err != nil {
		x.g.o.Log.Warn("the safer model cannot be asked", "error", err.Error())
		return false
	}
	x.plan, x.choice = plan, plan.Choices[0]
	return true
}
