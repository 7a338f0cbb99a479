package cli

import (
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/cabincrew/action/internal/harmless"
)

// oneLine makes foreign text harmless where one line is expected.
func oneLine(s string) string { return harmless.OneLine(s) }

// visible makes foreign text of many lines harmless on a terminal.
func visible(s string) string { return harmless.Visible(s) }

// tame takes from text for people what a CI platform would obey. It is applied to
// everything that is printed, so no single place can forget it.
func tame(s string) string { return harmless.Tame(s) }

// paint is a colour of the terminal.
type paint string

const (
	paintRed   paint = "31"
	paintGreen paint = "32"
	paintCyan  paint = "36"
	paintBold  paint = "1"
	paintDim   paint = "2"
)

// colours says whether stdout is a terminal whose person wants colours.
func (a *app) colours() bool {
	f, ok := a.out.(*os.File)
	return ok && a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb" && term.IsTerminal(int(f.Fd()))
}

func (p paint) on(colour bool, s string) string {
	if !colour || s == "" {
		return s
	}
	return "\x1b[" + string(p) + "m" + s + "\x1b[0m"
}

// size writes a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d bytes", n)
	}
	value, name := float64(n), ""
	for _, name = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value /= unit; value < unit {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, name)
}
