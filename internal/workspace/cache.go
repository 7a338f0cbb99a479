package workspace

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// recordBytes is how long a record is at least, about.
const recordBytes = 160

// stamped is a file's digest with what the system said of the file then.
type stamped struct {
	Path   string
	Stamp  stamp
	Digest string
}

// appendTo writes a record: numbers and digest with a space behind each, the path,
// NUL. Paths may hold anything else.
func (r stamped) appendTo(b []byte) []byte {
	for _, n := range []int64{r.Stamp.Size, r.Stamp.MTime, r.Stamp.CTime} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	for _, n := range []uint64{r.Stamp.Inode, r.Stamp.Device, uint64(r.Stamp.Mode)} {
		b = append(strconv.AppendUint(b, n, 10), ' ')
	}
	b = append(append(b, r.Digest...), ' ')
	return append(append(b, r.Path...), 0)
}

func parseRecord(line string) (r stamped, ok bool) {
	var field string
	for _, to := range []*int64{&r.Stamp.Size, &r.Stamp.MTime, &r.Stamp.CTime} {
		field, line, _ = strings.Cut(line, " ")
		n, err := strconv.ParseInt(field, 10, 64)
		if *to = n; err != nil {
			return r, false
		}
	}
	var mode uint64
	for _, to := range []*uint64{&r.Stamp.Inode, &r.Stamp.Device, &mode} {
		field, line, _ = strings.Cut(line, " ")
		n, err := strconv.ParseUint(field, 10, 64)
		if *to = n; err != nil {
			return r, false
		}
	}
	r.Stamp.Mode = fs.FileMode(mode) //nolint:gosec // another mode than a file's matches none
	r.Digest, r.Path, ok = strings.Cut(line, " ")
	_, err := protocol.ParseDigest(r.Digest)
	return r, ok && err == nil && cleanPath(r.Path)
}

// records splits at NUL bytes; what stands behind the last one is torn.
func records(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
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
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return c
	}
	c.have = make(map[string]stamped, min(info.Size(), limits.StatCacheBytes)/recordBytes)
	lines := bufio.NewScanner(io.LimitReader(f, limits.StatCacheBytes))
	lines.Buffer(make([]byte, 1<<16), limits.PathBytes+256)
	lines.Split(records)
	for lines.Scan() {
		s, ok := parseRecord(lines.Text())
		if !ok {
			return NewCache(now)
		}
		c.have[s.Path] = s
	}
	if lines.Err() != nil {
		return NewCache(now)
	}
	c.next = make(map[string]stamped, len(c.have))
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
	var line []byte
	for _, r := range c.next {
		line = r.appendTo(line[:0])
		if _, err = w.Write(line); err != nil {
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
	if s, ok := c.next[p]; ok && s.Stamp == now {
		return s.Digest
	}
	s, ok := c.have[p]
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
