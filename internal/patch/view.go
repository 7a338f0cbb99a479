package patch

import "strings"

// View gives a patch in the form in which policies see it: for each file op,
// path, old_path, old_mode, new_mode, binary, added, deleted, executable_changed,
// and the added and deleted lines without newlines. All lines together are held
// to maxBytes; a file whose lines were cut has truncated true. meta may be nil.
func View(changes []Change, meta []File, maxBytes int) []map[string]any {
	out := make([]map[string]any, 0, len(changes))
	for i := range changes {
		c := &changes[i]
		f := c.File
		if i < len(meta) && f.OldMode == "" && f.NewMode == "" { // a rename, whose mode only the metadata names
			f.OldMode, f.NewMode = meta[i].OldMode, meta[i].NewMode
		}
		v := map[string]any{
			"op": string(f.Op), "path": f.Path(), "old_path": f.OldPath,
			"old_mode": f.OldMode, "new_mode": f.NewMode, "binary": f.Binary,
			"added": f.Added, "deleted": f.Deleted,
			"executable_changed": executableChanged(&f),
		}
		added, deleted := []string{}, []string{}
		truncated := false
		for _, h := range c.Hunks {
			for _, l := range h.Lines {
				if l.Kind == ' ' || truncated {
					continue
				}
				if maxBytes -= len(l.Text); maxBytes < 0 {
					truncated, maxBytes = true, 0
					continue
				}
				text := strings.ToValidUTF8(strings.TrimSuffix(string(l.Text), "\n"), "\ufffd")
				if l.Kind == '+' {
					added = append(added, text)
				} else {
					deleted = append(deleted, text)
				}
			}
		}
		v["added_lines"], v["deleted_lines"] = added, deleted
		if truncated {
			v["truncated"] = true
		}
		out = append(out, v)
	}
	return out
}

// executableChanged says whether an execute bit comes or goes, or whether an
// executable file gets other content.
func executableChanged(f *File) bool {
	was, is := f.OldMode == ModeExecutable, f.NewMode == ModeExecutable
	return was != is || was && (f.Op != Rename || f.Added+f.Deleted > 0 || f.Binary)
}
