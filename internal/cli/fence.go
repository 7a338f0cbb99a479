package cli

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/bundle"
	"github.com/cabincrew/action/storage/file"
)

// fences are the marks of the workspace, and, where flights are kept in a directory
// that others share, those beside them: machines that pull the same flight meet there.
type fences struct {
	home *file.Store
	// shared opens the marks beside the stored flights; nil where there are none.
	shared func() (*file.Store, error)
}

var _ orchestrator.Fence = fences{}

// fence gives the marks that a configuration's flights have.
func (s *session) fence(o *origin) fences {
	f := fences{home: s.home}
	dir, ok := strings.CutPrefix(o.config.Storage.Flights, bundle.Dir+":")
	if !ok {
		return f
	}
	f.shared = sync.OnceValues(func() (*file.Store, error) {
		store, err := file.Open(filepath.Join(s.place.file(dir), ".fence"))
		if err != nil {
			return nil, protocol.Errorf(protocol.ExitUnreachable, "fence_unreachable", "whether a flight took off elsewhere cannot be told: %w", err).
				WithHint("let this user write %s", dir)
		}
		s.close = append(s.close, store.Close)
		return store, nil
	})
	return f
}

// all gives the marks' stores, the shared one first: who is first there is first.
func (f fences) all() ([]*file.Store, error) {
	if f.shared == nil {
		return []*file.Store{f.home}, nil
	}
	shared, err := f.shared()
	return []*file.Store{shared, f.home}, err
}

// Mark makes a mark everywhere, if nobody has made it anywhere.
func (f fences) Mark(name, content string) (made bool, err error) {
	stores, err := f.all()
	if err != nil {
		return false, err
	}
	made = true
	for _, store := range stores {
		here, err := store.Mark(name, content)
		if err != nil {
			return false, err
		}
		made = made && here
		if !here && store != f.home {
			return false, nil
		}
	}
	return made, nil
}

// Marked gives a mark that was made anywhere.
func (f fences) Marked(name string) (content string, made bool, err error) {
	stores, err := f.all()
	if err != nil {
		return "", false, err
	}
	for _, store := range stores {
		if content, made, err = store.Marked(name); err != nil || made {
			return content, made, err
		}
	}
	return "", false, nil
}

// Marks gives all marks whose names begin so.
func (f fences) Marks(prefix string) (map[string]string, error) {
	stores, err := f.all()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, store := range stores {
		marks, listErr := store.Marks(prefix)
		err = errors.Join(err, listErr)
		maps.Copy(out, marks)
	}
	return out, err
}
