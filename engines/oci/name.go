package oci

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// cleanName splits the name of an entry into its elements; none for the root.
// A leading "/" is the root, as in a container: builders write both forms.
func cleanName(name string, l Limits) ([]string, error) {
	switch {
	case len(name) > l.PathBytes:
		return nil, fmt.Errorf("it is longer than %d bytes", l.PathBytes)
	case !utf8.ValidString(name):
		return nil, errors.New("it is not UTF-8")
	case strings.ContainsRune(name, 0):
		return nil, errors.New("it holds a NUL")
	}
	var path []string
	for element := range strings.SplitSeq(name, "/") {
		switch {
		case element == "" || element == ".":
			continue
		case element == "..":
			return nil, errors.New("it leads upwards")
		case len(element) > limits.OCINameBytes:
			return nil, fmt.Errorf("an element is longer than %d bytes", limits.OCINameBytes)
		}
		// A backslash is a letter in names of Linux, and systemd's units have it. It
		// is refused only where the system takes it for something else.
		if local, err := filepath.Localize(element); err != nil || local != element {
			return nil, errors.New("this system cannot have such a name")
		}
		path = append(path, element)
	}
	if len(path) > l.Depth {
		return nil, fmt.Errorf("it is deeper than %d", l.Depth)
	}
	return path, nil
}

func badName(where, name string, err error) *protocol.Error {
	if err == nil {
		err = errors.New("it is the root")
	}
	return protocol.Errorf(protocol.ExitIntegrity, "oci_name", "the image holds the name %s, which is refused: %w", strconv.Quote(clip(name)), err).
		At(where).WithHint("build the image without such a name")
}
