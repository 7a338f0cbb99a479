package workspace

// Kind says how a file differs between two states of a workspace.
type Kind string

// The kinds of a Change.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed" // other bytes, or file and link exchanged
	Mode    Kind = "mode"    // the same bytes with another execute bit
)

// Change is one file that differs.
type Change struct {
	Path string
	Kind Kind
}

// Diff compares two lists as Scan gives them, in the order of paths.
func Diff(before, after []File) []Change {
	var out []Change
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case j == len(after) || i < len(before) && before[i].Path < after[j].Path:
			out = append(out, Change{before[i].Path, Removed})
			i++
		case i == len(before) || after[j].Path < before[i].Path:
			out = append(out, Change{after[j].Path, Added})
			j++
		default:
			a, b := before[i], after[j]
			switch {
			case a.Digest != b.Digest || (a.Letter == Link) != (b.Letter == Link):
				out = append(out, Change{a.Path, Changed})
			case a.Letter != b.Letter:
				out = append(out, Change{a.Path, Mode})
			}
			i, j = i+1, j+1
		}
	}
	return out
}
