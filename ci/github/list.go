package github

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"strconv"

	"github.com/cabincrew/action/internal/limits"
)

// listing is a list that the API gives in pages.
type listing[T any] struct {
	call

	key    string         // of the list in the answer's object, beside total_count; "" where the answer is the list
	id     func(T) string // what tells one item from another
	most   int            // how many of the first are wanted; 0 is all of them
	pages  int            // how many pages there may be; 0 is limits.GitHubPages
	whole  bool           // GitHub gives the list without pages
	expect int            // how many there are at least, as something else says
}

// errShifted says that a list changed while it was read.
var errShifted = errors.New("the list changed while it was read, or GitHub leaves a part of it out")

// list reads a list to its end. All pages or an error: what is left out could be the
// one review that matters. A list that shifted is read once more.
func list[T any](ctx context.Context, c *Client, l listing[T]) ([]T, error) {
	var err error
	for range 2 {
		var items []T
		if items, err = listOnce(ctx, c, l); err == nil {
			if len(items) < l.expect {
				return nil, c.odd(l.call, "it gives %d of %d", len(items), l.expect)
			}
			return items, nil
		}
		if !errors.Is(err, errShifted) {
			return nil, err
		}
	}
	return nil, c.odd(l.call, "%s", err)
}

func listOnce[T any](ctx context.Context, c *Client, l listing[T]) ([]T, error) {
	var items []T
	size := limits.GitHubPage
	if l.most > 0 {
		size = min(size, l.most)
	}
	if l.pages == 0 {
		l.pages = limits.GitHubPages
	}
	seen := map[string]bool{}
	for page, last := 1, 0; ; page++ {
		if page > l.pages+1 {
			return nil, c.odd(l.call, "the list has more than %d pages", l.pages)
		}
		got, total, a, err := listPage(ctx, c, l, page, size)
		if err != nil {
			return nil, err
		}
		for _, item := range got {
			id := l.id(item)
			switch {
			case id == "":
				return nil, c.odd(l.call, "an entry of the list has no id")
			case seen[id]:
				return nil, errShifted
			}
			seen[id] = true
			if items = append(items, item); l.most > 0 && len(items) == l.most {
				return items, nil
			}
		}
		last = max(last, a.last)
		switch {
		case a.next != 0 && (a.next != page+1 || len(got) == 0):
			return nil, c.odd(l.call, "after page %d it names page %d", page, a.next)
		case a.next != 0:
			continue
		case total >= 0 && len(items) < total, page < last:
			return nil, errShifted
		case l.expect > 0 && len(items) >= l.expect:
		case len(got) >= size && total < 0 && !l.whole && page <= l.pages:
			continue // a full page without a next one: that there is none is seen, not believed
		}
		return items, nil
	}
}

// listPage reads one page; total is -1 where GitHub does not tell it.
func listPage[T any](ctx context.Context, c *Client, l listing[T], page, size int) ([]T, int, answer, error) {
	k := l.call
	query := url.Values{}
	maps.Copy(query, l.query)
	if !l.whole {
		query.Set("per_page", strconv.Itoa(size))
	}
	if page > 1 {
		query.Set("page", strconv.Itoa(page))
	}
	k.query = query
	var items []T
	if l.key == "" {
		a, err := c.do(ctx, k, &items)
		return items, -1, a, err
	}
	var object map[string]json.RawMessage
	a, err := c.do(ctx, k, &object)
	if err != nil {
		return nil, -1, a, err
	}
	total := -1
	if err := errors.Join(json.Unmarshal(object[l.key], &items), json.Unmarshal(object["total_count"], &total)); err != nil || total < 0 {
		return nil, -1, a, c.odd(k, "its answer has no list with a count")
	}
	return items, total, a, nil
}
