package workspace

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the checksum that git itself writes; nothing is trusted by it
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// trackedFiles gives the sorted paths, relative to dir, that the index of the
// surrounding git repository holds; none if there is no repository or index.
// SPEC: docs/protocol.md 3: tracked files always count.
func trackedFiles(dir string) ([]string, error) {
	entries, err := trackedEntries(dir)
	var out []string
	for _, e := range entries {
		if e.isFile() && cleanPath(e.name) {
			out = append(out, e.name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), err
}

// TrackedBelow gives the first thing that the index has at or below one of some
// directories, or "". dirs and it are slash paths relative to dir. What is tracked
// as the directory itself is a link or a submodule. Letters' case does not count:
// on some systems it is one directory. SPEC: docs/protocol.md 3: it is never part
// of the workspace, so nothing there can come with a change.
func TrackedBelow(dir string, dirs []string) (tracked, below string, err error) {
	entries, err := trackedEntries(dir)
	for _, e := range entries {
		for _, d := range dirs {
			if n := len(d); len(e.name) < n || !strings.EqualFold(e.name[:n], d) {
				continue
			}
			if rest := e.name[len(d):]; strings.HasPrefix(rest, "/") || rest == "" && (e.mode == indexModeLink || e.mode == indexModeSymlink) {
				return e.name, d, err
			}
		}
	}
	return "", "", err
}

// trackedEntries gives what the index of the surrounding repository holds of dir.
func trackedEntries(dir string) ([]indexEntry, error) {
	repo, err := findRepository(dir)
	if err != nil || repo == nil {
		return nil, err
	}
	data, err := repo.read("index", limits.GitIndexBytes)
	if err != nil || data == nil {
		return nil, err
	}
	entries, err := parseEntries(data)
	if err != nil {
		return nil, protocol.Errorf(protocol.ExitUsage, "git_index_invalid", "the git index cannot be read: %w", err).
			At(repo.gitDir + "/index").WithHint("see whether \"git status\" works here; \"git reset\" writes the index anew")
	}
	out := entries[:0]
	for _, e := range entries {
		if rel, ok := strings.CutPrefix(e.name, repo.prefix); ok {
			e.name = rel
			out = append(out, e)
		}
	}
	return out, nil
}

// indexEntry is one entry of an index without what it remembers of the file system.
type indexEntry struct {
	name  string
	mode  uint32
	flags uint16
	id    string // of the object, raw
}

// isFile says that an entry is no sparse directory and no submodule.
func (e indexEntry) isFile() bool { return e.mode != indexModeTree && e.mode != indexModeLink }

// indexDigest is a digest of what an index says, whatever it remembers of the file
// system: looking at a work tree with git may write that anew.
func indexDigest(data []byte) string {
	entries, err := parseEntries(data)
	if err != nil {
		return protocol.Digest(data)
	}
	h := sha256.New()
	for _, e := range entries {
		var fixed [6]byte
		binary.BigEndian.PutUint32(fixed[:], e.mode)
		binary.BigEndian.PutUint16(fixed[4:], e.flags)
		for _, part := range []string{string(fixed[:]), e.id, e.name, "\x00"} {
			_, _ = h.Write([]byte(part)) // a hash never fails
		}
	}
	return protocol.FormatDigest(h.Sum(nil))
}

// Layout of the index: gitformat-index(5).
const (
	indexHeader   = 12
	indexStat     = 40 // times, device, inode, mode, owner, size
	indexMode     = 24 // offset of the mode in an entry
	indexExtended = 0x4000
	indexNameMask = 0xfff
	indexModeTree = 0o040000
	indexModeLink = 0o160000

	indexModeSymlink = 0o120000
)

var errIndex = errors.New("it is damaged")

// parseEntries gives the entries of an index of version 2, 3 or 4. go-git's decoder
// reads by reflection, which takes longer than hashing a small repository, and
// knows no SHA-256 repositories.
func parseEntries(data []byte) ([]indexEntry, error) {
	if len(data) < indexHeader+sha1.Size || string(data[:4]) != "DIRC" {
		return nil, errIndex
	}
	version, count := binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	if version < 2 || version > 4 {
		return nil, errors.New("it has an unknown version")
	}
	oid, err := indexChecksum(data)
	if err != nil {
		return nil, err
	}
	body := data[:len(data)-oid]
	if int64(count)*(indexStat+20+2) > int64(len(body)) {
		return nil, errIndex
	}
	entries := make([]indexEntry, 0, count)
	at, last := indexHeader, ""
	for range count {
		start := at
		if at+indexStat+oid+2 > len(body) {
			return nil, errIndex
		}
		mode := binary.BigEndian.Uint32(body[at+indexMode:])
		flags := binary.BigEndian.Uint16(body[at+indexStat+oid:])
		id := string(body[at+indexStat : at+indexStat+oid])
		at += indexStat + oid + 2
		if version > 2 && flags&indexExtended != 0 {
			at += 2
		}
		if last, at, err = indexName(body, at, start, version, last); err != nil {
			return nil, err
		}
		entries = append(entries, indexEntry{last, mode, flags, id})
	}
	return entries, indexExtensions(body[at:])
}

// indexName reads the name of the entry that began at start.
func indexName(body []byte, at, start int, version uint32, last string) (string, int, error) {
	if version == 4 { // a prefix of the name before, then new text
		strip, n := indexVarint(body, at)
		if n == 0 || strip > len(last) {
			return "", 0, errIndex
		}
		last, at = last[:len(last)-strip], at+n
	} else {
		last = ""
	}
	if at > len(body) {
		return "", 0, errIndex
	}
	n := bytes.IndexByte(body[at:], 0)
	if n < 0 || len(last)+n > 2*limits.PathBytes {
		return "", 0, errIndex
	}
	name := last + string(body[at:at+n])
	at += n + 1
	if version != 4 { // NUL bytes up to a multiple of eight
		at = start + (at-1-start+8)/8*8
	}
	if at > len(body) {
		return "", 0, errIndex
	}
	return name, at, nil
}

// indexVarint reads git's offset number; 0 bytes read means that it is broken.
func indexVarint(body []byte, at int) (int, int) {
	v := 0
	for n := 1; n <= 4 && at < len(body); n++ {
		c := body[at]
		at++
		v = v<<7 | int(c&0x7f)
		if c&0x80 == 0 {
			return v, n
		}
		v++
	}
	return 0, 0
}

// indexChecksum checks the hash at the end and gives its length. Git may be told
// to write zeros there (index.skipHash).
func indexChecksum(data []byte) (int, error) {
	sum := sha1.Sum(data[:len(data)-sha1.Size]) //nolint:gosec // as above
	tail := data[len(data)-sha1.Size:]
	if bytes.Equal(tail, sum[:]) {
		return sha1.Size, nil
	}
	if n := len(data) - sha256.Size; n >= indexHeader {
		if long := sha256.Sum256(data[:n]); bytes.Equal(long[:], data[n:]) {
			return sha256.Size, nil
		}
	}
	if bytes.Equal(tail, make([]byte, sha1.Size)) {
		return sha1.Size, nil
	}
	return 0, errors.New("its checksum is wrong")
}

// indexExtensions refuses extensions that change which files there are.
func indexExtensions(data []byte) error {
	for len(data) >= 8 {
		name, size := string(data[:4]), int64(binary.BigEndian.Uint32(data[4:]))
		switch {
		case size > int64(len(data)-8):
			return errIndex
		case name == "link":
			return errors.New("it is split (run \"git update-index --no-split-index\")")
		case (name[0] < 'A' || name[0] > 'Z') && name != "sdir":
			return errors.New("it has an unknown extension")
		}
		data = data[8+size:]
	}
	return nil
}
