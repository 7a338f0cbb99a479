package workspace

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// ignoreFile is one .gitignore file.
type ignoreFile struct {
	at       string // its directory with a slash at the end, or empty
	patterns []ignorePattern
}

type ignorePattern struct {
	match    glob
	negated  bool
	dirOnly  bool
	baseName bool // no slash: it is compared with the last element only
}

// ignoreStack are the .gitignore files from the workspace down to a directory.
type ignoreStack struct{ files []ignoreFile }

func (s *ignoreStack) pop() { s.files = s.files[:len(s.files)-1] }

// ignored says whether git would ignore p, given that none of its directories is
// ignored: the last pattern that matches decides, the deepest file first.
func (s *ignoreStack) ignored(p string, dir bool) bool {
	for _, f := range slices.Backward(s.files) {
		rel := p[len(f.at):]
		base := rel[strings.LastIndexByte(rel, '/')+1:]
		for i := len(f.patterns) - 1; i >= 0; i-- {
			pat := &f.patterns[i]
			if pat.dirOnly && !dir {
				continue
			}
			text := rel
			if pat.baseName {
				text = base
			}
			if pat.match.matches(text) {
				return !pat.negated
			}
		}
	}
	return false
}

// readIgnore pushes the .gitignore file of a directory, if it has one. As git
// does, it does not believe one that is a symbolic link.
func (w *walker) readIgnore(root *os.Root, at string, entries []fs.DirEntry) (bool, error) {
	i, ok := slices.BinarySearchFunc(entries, ".gitignore", func(e fs.DirEntry, n string) int {
		return strings.Compare(e.Name(), n)
	})
	if !ok || !entries[i].Type().IsRegular() {
		return false, nil
	}
	p := at + ".gitignore"
	data, err := readBounded(root, ".gitignore", limits.IgnoreFileBytes)
	if err != nil {
		return false, unreadable(p, err)
	}
	patterns, err := parseIgnore(data)
	if err != nil {
		return false, unreadable(p, err)
	}
	if w.patterns += len(patterns); w.patterns > limits.IgnorePatterns {
		return false, tooMany("patterns in .gitignore files", limits.IgnorePatterns)
	}
	w.ignores.files = append(w.ignores.files, ignoreFile{at: at, patterns: patterns})
	return true, nil
}

// parseIgnore reads a .gitignore file as gitignore(5) says.
func parseIgnore(data []byte) ([]ignorePattern, error) {
	var out []ignorePattern
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if len(line) > limits.IgnorePatternBytes {
			return nil, protocol.Errorf(protocol.ExitUsage, "gitignore_invalid",
				"a line of a .gitignore file is longer than %d bytes", limits.IgnorePatternBytes)
		}
		text := trimSpaces(string(bytes.TrimSuffix(line, []byte("\r"))))
		if text == "" || text[0] == '#' {
			continue
		}
		var pat ignorePattern
		if text[0] == '!' {
			pat.negated, text = true, text[1:]
		}
		if strings.HasSuffix(text, "/") {
			pat.dirOnly, text = true, text[:len(text)-1]
		}
		pat.baseName = !strings.Contains(text, "/")
		g, ok := compileGlob(strings.TrimPrefix(text, "/"), !pat.baseName)
		if !ok || text == "" {
			continue // git lets such a pattern match nothing
		}
		pat.match = g
		out = append(out, pat)
	}
	return out, nil
}

// trimSpaces cuts spaces at the end that no backslash protects.
func trimSpaces(s string) string {
	end := -1
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
			if end < 0 {
				end = i
			}
		case '\\':
			i++
			end = -1
		default:
			end = -1
		}
	}
	if end >= 0 {
		return s[:end]
	}
	return s
}

// readBounded reads a small regular file.
func readBounded(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, openFlags, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return readAllBounded(f, limit)
}

func readAllBounded(f *os.File, limit int64) ([]byte, error) {
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, protocol.Errorf(protocol.ExitUsage, "file_too_large", "it is larger than %d bytes", limit).At(f.Name())
	}
	return data, err
}
