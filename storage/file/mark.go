package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

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
	f, err := s.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, unusable(filepath.Join(s.dir, p), err)
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = syncDir(s.root, marksDir)
	}
	if err != nil {
		return false, unusable(filepath.Join(s.dir, p), err)
	}
	return true, nil
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
