package workspace

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Cache remembers what files hashed to, by what the system says of them: size,
// inode, device, mode and the times of the last change of content and of status.
// Who can set a clock back can fool it, so it serves planning only; sealing and
// take-off hash everything. SPEC: docs/protocol.md 3.
//
// A file that changed within racyTime before it was looked at is never remembered:
// it could change once more without another time.
type Cache struct {
	mu   sync.Mutex
	have map[string]stamped
	next map[string]stamped // what the scans since loading saw
	now  func() time.Time
}

// racyTime is how old a change must be, in nanoseconds.
const racyTime = int64(2 * time.Second)

// stamped is a file's digest with what the system said of the file then.
type stamped struct {
	Path   string `json:"p"`
	Stamp  stamp  `json:"s"`
	Digest string `json:"d"`
}

// stamp is what identifies a state of a file; times in nanoseconds since 1970.
type stamp struct {
	Size, MTime, CTime int64
	Inode, Device      uint64
	Mode               fs.FileMode
}

// NewCache makes an empty cache.
func NewCache(now func() time.Time) *Cache {
	return &Cache{have: map[string]stamped{}, next: map[string]stamped{}, now: now}
}

// LoadCache reads a cache. One that is missing or cannot be read is empty: it is
// only slower then.
func LoadCache(file string, now func() time.Time) *Cache {
	c := NewCache(now)
	f, err := os.OpenFile(file, openFlags, 0)
	if err != nil {
		return c
	}
	defer func() { _ = f.Close() }() // only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return c
	}
	lines := bufio.NewScanner(io.LimitReader(f, limits.StatCacheBytes))
	lines.Buffer(nil, limits.PathBytes*8)
	for lines.Scan() {
		var s stamped
		if json.Unmarshal(lines.Bytes(), &s) != nil {
			return NewCache(now)
		}
		if _, err := protocol.ParseDigest(s.Digest); err != nil || !cleanPath(s.Path) {
			return NewCache(now)
		}
		c.have[s.Path] = s
	}
	if lines.Err() != nil {
		return NewCache(now)
	}
	return c
}

// Save writes what the scans since loading saw, for the next run.
func (c *Cache) Save(file string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".stat-")
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	enc := json.NewEncoder(w)
	for _, s := range c.next {
		if err = enc.Encode(s); err != nil {
			break
		}
	}
	if err = errors.Join(err, w.Flush(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// digest gives what a file hashed to when it was as it is now, or "".
func (c *Cache) digest(p string, info fs.FileInfo) string {
	if c == nil {
		return ""
	}
	now, ok := stampOf(info)
	if !ok {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.next[p]
	if !ok || s.Stamp != now {
		s, ok = c.have[p]
	}
	if !ok || s.Stamp != now {
		return ""
	}
	c.next[p] = s
	return s.Digest
}

// remember keeps what a file hashed to. begun is when its scan began to look.
func (c *Cache) remember(p string, info fs.FileInfo, digest string) {
	if c == nil {
		return
	}
	s, ok := stampOf(info)
	if !ok || max(s.MTime, s.CTime) > c.now().UnixNano()-racyTime {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next[p] = stamped{Path: p, Stamp: s, Digest: digest}
}
