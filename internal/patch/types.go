package patch

import (
	"encoding/json"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Op is what happens to a file.
type Op string

// The four operations. A rename may also change content and mode. A file that
// becomes a link, or the other way round, is a delete followed by an add.
const (
	Add    Op = "add"
	Delete Op = "delete"
	Modify Op = "modify"
	Rename Op = "rename"
)

// Modes of a file, as git writes them.
const (
	ModeFile       = "100644"
	ModeExecutable = "100755"
	ModeLink       = "120000"
)

// File says of one change what a reviewer and a policy need to know. Before and
// After are the digests of the content (of a link: its target), empty where
// there is none.
type File struct {
	Op      Op     `json:"op"`
	OldPath string `json:"old_path,omitempty"`
	NewPath string `json:"new_path,omitempty"`
	OldMode string `json:"old_mode,omitempty"`
	NewMode string `json:"new_mode,omitempty"`
	Before  string `json:"before,omitempty"`
	After   string `json:"after,omitempty"`
	Added   int    `json:"added,omitempty"`   // lines
	Deleted int    `json:"deleted,omitempty"` // lines
	Binary  bool   `json:"binary,omitempty"`
}

// Path is the path that the file has afterwards, or had if it is deleted.
func (f *File) Path() string {
	if f.NewPath != "" {
		return f.NewPath
	}
	return f.OldPath
}

// Entry is one file of a tree, as workspace.Scan lists it: Letter is 'f', 'x' or 'l'.
type Entry struct {
	Path   string
	Letter byte
	Digest string
	Size   int64
}

func (e *Entry) mode() string {
	switch e.Letter {
	case 'x':
		return ModeExecutable
	case 'l':
		return ModeLink
	}
	return ModeFile
}

// Change is one file of a patch that was read. Before and After are empty, since
// a patch does not hold them; a mode is empty if the patch does not name it.
type Change struct {
	File
	OldID, NewID string // git's blob ids or beginnings of them, empty if not named
	Hunks        []Hunk
	Forward      *Binary // the content afterwards
	Reverse      *Binary // the content before
}

// Hunk is one place of a text file. Starts count from 1, as in a patch.
type Hunk struct {
	OldStart, OldLines int
	NewStart, NewLines int
	Lines              []Line
}

// Line is one line of a hunk. Text has its newline unless the file ends without.
type Line struct {
	Kind byte // ' ', '-' or '+'
	Text []byte
}

// hasContent says whether the patch holds content for this file.
func (c *Change) hasContent() bool { return len(c.Hunks) > 0 || c.Forward != nil }

// Limits bound what Read takes; a field that is 0 has the bound of package limits.
type Limits struct {
	Bytes         int64 // of the patch
	Files         int
	Hunks         int
	Lines         int
	FileBytes     int64 // of one file's content
	InflatedBytes int64 // of all binary content
	// Protected are slash paths that a patch may not touch or go below, beside
	// those that no patch ever may; for example the state directory.
	Protected []string
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set64 := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	set64(&l.Bytes, limits.PatchBytes)
	set64(&l.FileBytes, limits.PatchFileBytes)
	set64(&l.InflatedBytes, limits.PatchInflatedBytes)
	set(&l.Files, limits.PatchFiles)
	set(&l.Hunks, limits.PatchHunks)
	set(&l.Lines, limits.PatchLines)
	return l
}

// Files reads the list of files from the metadata of a patch artifact, strictly.
func Files(metadata map[string]any) ([]File, error) {
	list, ok := metadata["files"]
	if !ok {
		return nil, metaInvalid("the metadata has no list \"files\"")
	}
	data, err := json.Marshal(map[string]any{"files": list})
	if err != nil {
		return nil, metaInvalid("the metadata's list \"files\" is malformed: %w", err)
	}
	var doc struct {
		Files []File `json:"files"`
	}
	if err := protocol.Decode(data, &doc); err != nil {
		return nil, metaInvalid("the metadata's list \"files\" is malformed: %w", err)
	}
	return doc.Files, nil
}

func metaInvalid(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "patch_metadata_mismatch", format, args...).
		WithHint("the artifact was not made by this engine or was changed; plan again")
}
