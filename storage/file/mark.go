package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// marksDir holds marks: files that are made once and never changed. They outlive
// the flights that they speak of.
const marksDir = "marks"

// Mark makes a mark durably. made is false if it was there before; its content
// is then what it was made with.
func (s *Store) Mark(name, content string) (made bool, err error) {
	if !protocol.ValidWorkflowID(name) || len(content) > limits.Mark {
		return false, protocol.Errorf(protocol.ExitUsage, "mark_invalid", "%q is not a mark's name, or its content is too long", name)
	}
	p := filepath.Join(marksDir, name)
	// Written aside and linked: a mark is there whole or not at all.
	temp := filepath.Join(marksDir, tempPrefix+strconv.Itoa(os.Getpid())+"-"+strconv.FormatInt(s.temps.Add(1), 10))
	if err = s.writeAside(temp, content); err == nil {
		err = s.root.Link(temp, p)
	}
	made = err == nil
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if removeErr := s.root.Remove(temp); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	if err == nil && made {
		err = syncDir(s.root, marksDir)
	}
	if err != nil {
		return false, unusable(filepath.Join(s.dir, p), err)
	}
	return made, nil
}

func (s *Store) writeAside(temp, content string) error {
	if err := s.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an earlier process with this pid
		return err
	}
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Marks gives the content of all marks whose names begin so, by name.
func (s *Store) Marks(prefix string) (map[string]string, error) {
	entries, err := fs.ReadDir(s.root.FS(), marksDir)
	if err != nil {
		return nil, unusable(filepath.Join(s.dir, marksDir), err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		content, made, err := s.Marked(e.Name())
		if err != nil {
			return nil, err
		}
		if made {
			out[e.Name()] = content
		}
	}
	return out, nil
}

// Marked gives the content of a mark and whether it was made.
func (s *Store) Marked(name string) (content string, made bool, err error) {
	if !protocol.ValidWorkflowID(name) {
		return "", false, protocol.Errorf(protocol.ExitUsage, "mark_invalid", "%q is not a mark's name", name)
	}
	p := filepath.Join(marksDir, name)
	info, err := s.root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err == nil && (!info.Mode().IsRegular() || info.Size() > limits.Mark) {
		return "", false, unsafePath(filepath.Join(s.dir, p), "is not a mark")
	}
	if err != nil {
		return "", false, unusable(filepath.Join(s.dir, p), err)
	}
	data, err := s.root.ReadFile(p)
	if err != nil {
		return "", false, unusable(filepath.Join(s.dir, p), err)
	}
	return string(data), true, nil
}
