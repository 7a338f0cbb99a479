package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// Load reads the configuration at a path. See Parse for the errors.
func Load(path string) (*Config, error) {
	data, err := readBounded(path, limits.ConfigBytes)
	if err != nil {
		return nil, loadError(path, err)
	}
	return Parse(path, data)
}

// Parse reads a configuration; name is what messages call the file. An error is
// a *protocol.Error, or several of them joined (see Problems), in the order of
// the file.
func Parse(name string, data []byte) (*Config, error) {
	r := &reader{name: name}
	root := r.parse(data)
	if root == nil {
		return nil, r.err()
	}
	if !r.structure(root, 0) {
		return nil, r.err() // too deep or too big to go on
	}
	if r.unfilled > 0 {
		return nil, r.err() // what else is wrong follows from that
	}
	c := r.config(root)
	r.check(c)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Problems gives the single problems of an error of Load, Parse or Resolve.
func Problems(err error) []*protocol.Error {
	var list []*protocol.Error
	var one *protocol.Error
	var many interface{ Unwrap() []error }
	switch {
	case errors.As(err, &many):
		for _, e := range many.Unwrap() {
			list = append(list, Problems(e)...)
		}
		if len(list) == 0 && errors.As(err, &one) { // what is joined is the cause of it
			list = append(list, one)
		}
	case errors.As(err, &one):
		list = append(list, one)
	}
	return list
}

var errTooLarge = errors.New("too large")

// readBounded reads a regular file of at most limit bytes; a fifo, a device or a
// growing file can neither block nor exhaust.
func readBounded(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path) // #nosec G304 -- the path is the user's own choice, on the command line
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	return readAll(f, limit)
}

func readAll(f io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, errTooLarge
	}
	return data, err
}

func loadError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return protocol.Errorf(protocol.ExitUsage, "config_not_found", "there is no configuration").At(path).
			WithHint("write one with: cabincrew init, or name another with --config")
	case errors.Is(err, errTooLarge):
		return tooLarge(path)
	default:
		return protocol.Errorf(protocol.ExitUsage, "config_unreadable", "the configuration cannot be read: %w", err).At(path).
			WithHint("check the file's kind and permissions")
	}
}

func tooLarge(name string) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "config_too_large", "the configuration has more than %d bytes", limits.ConfigBytes).
		At(name).WithHint("move data that engines need into files of the workspace")
}

// parse gives the root node of the only document, or nil after a problem.
func (r *reader) parse(data []byte) *yaml.Node {
	if len(data) > limits.ConfigBytes {
		r.add(0, 0, tooLarge(r.name))
		return nil
	}
	if !utf8.Valid(data) || bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		// The YAML library would take UTF-16 too; one encoding means one reading.
		r.failFilef("config_encoding", "save the file as UTF-8 without a byte-order mark", "not UTF-8, or with a byte-order mark")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		r.empty()
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.syntax(err)
		return nil
	default:
		r.failf(&second, "config_documents", "keep one document; remove the line ---", "a second document begins here")
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		r.empty()
		return nil
	}
	return doc.Content[0]
}

// empty says that there is nothing to read, and who writes what is missing.
func (r *reader) empty() {
	hint := "write one with: cabincrew init"
	if r.ofGate {
		hint = "write one with: cabincrew gateway mcp import, or as docs/gateway-mcp.md or docs/gateway-llm.md shows"
	}
	r.failFilef("config_empty", hint, "the configuration is empty")
}

var yamlLine = lazily(`(?s)^yaml: (?:line ([0-9]+): )?(.*)$`)

// parserProblems are those for which the YAML library counts lines from 0.
var parserProblems = []string{
	"did not find expected <document start>", "did not find expected node content", "did not find expected '-' indicator",
	"did not find expected key", "did not find expected ',' or ']'", "did not find expected ',' or '}'",
	"found undefined tag handle", "found duplicate %YAML directive", "found incompatible YAML document", "found duplicate %TAG directive",
}

// syntax reports an error of the YAML library, which knows the line only: that of
// the problem, or that where the list or map around it begins.
func (r *reader) syntax(err error) {
	line, text := 0, err.Error()
	if m := yamlLine().FindStringSubmatch(text); m != nil {
		text = m[2]
		if m[1] != "" {
			_, _ = fmt.Sscan(m[1], &line) // digits only, by the pattern; 0 leaves the line out
		}
		if slices.Contains(parserProblems, text) {
			line++
		}
	}
	where := r.name
	if line > 0 {
		where = fmt.Sprintf("%s:%d", r.name, line)
	}
	hint := "check indentation, quotes and brackets there and in the lines around"
	if text == "did not find expected alphabetic or numeric character" {
		hint = `a text that begins with * or & needs quotes, as in "**/*.go"`
	}
	r.add(line, 0, protocol.Errorf(protocol.ExitUsage, "config_syntax", "not valid YAML: %s", clip(text)).At(where).WithHint("%s", hint))
}
