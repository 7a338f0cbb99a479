package cli

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/internal/harmless"
	"github.com/cabincrew/action/protocol"
)

//go:embed show.html
var pageSource string

// renderPage writes a flight as one page that needs nothing else: no script, no
// font, no image, and a content policy that forbids them.
func renderPage(w io.Writer, v flightView) error {
	t, err := template.New("show").Funcs(template.FuncMap{
		"marked": harmless.Segments, "size": size, "class": decisionClass, "lower": strings.ToLower,
	}).Parse(pageSource)
	if err != nil {
		return fmt.Errorf("the page's template: %w", err)
	}
	if err := t.Execute(w, pageOf(v)); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// page is what the template reads.
type page struct {
	flightView
	Verified bool
	Problem  string
	Version  string
	LeftOut  int
}

func pageOf(v flightView) page {
	p := page{flightView: v, Verified: v.Err == nil, Version: Version(), LeftOut: v.leftOut()}
	if v.Err != nil {
		p.Problem = v.Err.Error()
	}
	return p
}

// decisionClass gives the style of a decision; a foreign word has none.
func decisionClass(d protocol.Decision) string {
	switch d {
	case protocol.Allow, protocol.Warn, protocol.RequireApproval, protocol.Deny:
		return strings.ReplaceAll(string(d), "_", "-")
	}
	return "deny"
}

// writeFile writes a file whole or not at all: it is written beside its place and
// then renamed.
func writeFile(name string, write func(io.Writer) error) (err error) {
	fail := func(err error) error {
		return protocol.Errorf(protocol.ExitUsage, "output_unwritable", "the output file cannot be written: %w", err).At(name).
			WithHint("name a file in a directory that exists and that you may write to")
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return fail(errors.New("it is not a regular file"))
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".cabincrew-*")
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // the error above is what counts
		}
	}()
	if err := errors.Join(write(tmp), tmp.Chmod(0o644), tmp.Close()); err != nil {
		var known *protocol.Error
		if errors.As(err, &known) {
			return known
		}
		return fail(err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return fail(err)
	}
	return nil
}
