package workspace

import (
	"slices"

	"github.com/bmatcuk/doublestar/v4"
)

// Select gives those of the files that any of the globs matches, in their order;
// no globs select all. It is what Scan does with Options.Inputs, for lists of
// files that stand for a workspace which is not on disk.
func Select(files []File, inputs []string) ([]File, error) {
	if err := CheckInputs(inputs); err != nil {
		return nil, err
	}
	if len(inputs) == 0 {
		return files, nil
	}
	var out []File
	for _, f := range files {
		if slices.ContainsFunc(inputs, func(g string) bool { return doublestar.MatchUnvalidated(g, f.Path) }) {
			out = append(out, f)
		}
	}
	return out, nil
}
