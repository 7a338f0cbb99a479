package terraform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/engines/sandbox"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// tool is the program, ready to be run in one module directory.
type tool struct {
	name    string // as configured, for messages
	program string // absolute path
	dir     string // the root module's directory
	data    string // TF_DATA_DIR
	env     []string
	mark    string // an entry of env that no other process has
	log     *cleaner
}

// newTool finds the program and prepares a private place for its data below base.
func newTool(r *kit.Run, s *settings, base, dir string) (*tool, error) {
	program, err := findProgram(s.binary, r.Env["PATH"])
	if err != nil {
		return nil, err
	}
	rc := filepath.Join(base, "empty.tfrc")
	if err := os.WriteFile(rc, nil, 0o600); err != nil {
		return nil, fmt.Errorf("preparing terraform's surroundings: %w", err)
	}
	t := &tool{
		name: s.binary, program: program, dir: dir, data: filepath.Join(base, "data"),
		mark: "CABINCREW_TERRAFORM_DIR=" + base, log: &cleaner{to: r.Log, left: limits.TerraformLog},
	}
	t.env = append(environment(r, s), t.mark, "TF_DATA_DIR="+t.data, "TF_CLI_CONFIG_FILE="+rc,
		"TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1")
	return t, nil
}

func findProgram(name, search string) (string, error) {
	if filepath.IsAbs(name) {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return name, nil
		}
	} else {
		for _, dir := range filepath.SplitList(search) {
			if !filepath.IsAbs(dir) {
				continue // a relative entry would take programs from the workspace
			}
			p := filepath.Join(dir, name)
			if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return p, nil
			}
		}
	}
	return "", protocol.Errorf(protocol.ExitUsage, "terraform_not_found", "there is no program %q here (PATH is %s)", name, search).
		At("config.binary").WithHint("install it, and list it under the step's tools: so that the engine sees it")
}

// reserved says whether an environment variable would change what is run or how;
// only this engine sets those.
func reserved(name string) bool {
	if name == "PATH" || name == "HOME" || name == "PWD" || name == "TMPDIR" || name == "CHECKPOINT_DISABLE" || strings.HasPrefix(name, "CABINCREW_") {
		return true
	}
	if !strings.HasPrefix(name, "TF_") && !strings.HasPrefix(name, "TOFU_") {
		return false
	}
	// TF_CLI_ARGS, TF_LOG, TF_REATTACH_PROVIDERS, TF_PLUGIN_CACHE_DIR and the like.
	for _, harmless := range []string{"TF_VAR_", "TF_TOKEN_", "TF_HTTP_"} {
		if strings.HasPrefix(name, harmless) {
			return false
		}
	}
	return name != "TF_WORKSPACE"
}

// environment is the engine's own without the way to its input and receipt and
// without what steers terraform, and with the secrets that are meant for it.
func environment(r *kit.Run, s *settings) []string {
	secrets := map[string]string{}
	for name := range r.Input.Secrets {
		if strings.HasPrefix(name, "TF_VAR_") || slices.Contains(s.env, name) {
			if text, ok := r.Secret(name); ok && !strings.ContainsRune(text, 0) && !reserved(name) {
				secrets[name] = text
			}
		}
	}
	var out []string
	for _, entry := range r.Environ {
		name, _, _ := strings.Cut(entry, "=")
		if _, hidden := secrets[name]; hidden || reserved(name) && name != "PATH" && name != "HOME" && name != "TMPDIR" {
			continue
		}
		out = append(out, entry)
	}
	for name, text := range secrets {
		out = append(out, name+"="+text)
	}
	slices.Sort(out)
	return out
}

// secretVariables names the input variables whose values are secrets of the step.
func secretVariables(r *kit.Run) []string {
	out := []string{}
	for name := range r.Input.Secrets {
		if v, ok := strings.CutPrefix(name, "TF_VAR_"); ok {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

// run runs one command and gives its exit code; what it prints is the log.
func (t *tool) run(ctx context.Context, args ...string) (code int, said *tail, err error) {
	said = &tail{}
	out := io.MultiWriter(t.log, said)
	code, err = t.start(ctx, out, out, args)
	return code, said, err
}

// capture runs one command for what it prints on stdout, bounded by most bytes.
func (t *tool) capture(ctx context.Context, most int, args ...string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	said, out := &tail{}, &bounded{left: most, full: cancel}
	code, err := t.start(ctx, out, io.MultiWriter(t.log, said), args)
	switch {
	case out.over:
		return nil, protocol.Errorf(protocol.ExitFailure, "terraform_output_too_large", "%s printed more than %d bytes", t.what(args), most).
			WithHint("split the module, or limit the plan with targets")
	case err != nil:
		return nil, err
	case code != 0:
		return nil, t.failed(args, code, said)
	}
	return out.buf.Bytes(), nil
}

func (t *tool) start(ctx context.Context, stdout, stderr io.Writer, args []string) (int, error) {
	exit, err := sandbox.Run(ctx, sandbox.Command{
		Argv: append([]string{t.program}, args...), Dir: t.dir, Env: t.env, Mark: t.mark,
		Stdout: stdout, Stderr: stderr, Grace: limits.TerraformGrace,
	})
	switch {
	case errors.Is(err, sandbox.ErrStart):
		return 0, protocol.Errorf(protocol.ExitFailure, "terraform_start", "%s: %w", t.name, err).
			WithHint("is the file there, executable, and made for this machine?")
	case err != nil:
		return 0, protocol.Errorf(protocol.ExitFailure, "terraform_stopped", "%s: %w", t.what(args), err)
	case exit.Signal != "":
		return 0, protocol.Errorf(protocol.ExitFailure, "terraform_failed", "%s was ended by signal %s", t.what(args), exit.Signal).
			WithHint("the engine's log has what it printed")
	}
	return exit.Code, nil
}

func (t *tool) what(args []string) string { return t.name + " " + args[0] }

// failed makes the error of a command that ended with a code other than 0.
func (t *tool) failed(args []string, code int, said *tail) *protocol.Error {
	message := fmt.Sprintf("%s ended with exit code %d", t.what(args), code)
	if titles := said.titles(); titles != "" {
		message += ": " + titles
	}
	return protocol.Errorf(protocol.ExitFailure, "terraform_failed", "%s", message).WithHint("the engine's log has what it printed")
}

// cleaner passes a bounded number of bytes on, without control characters.
type cleaner struct {
	to   io.Writer
	left int
	told bool
}

func (c *cleaner) Write(p []byte) (int, error) {
	keep := p[:min(len(p), c.left)]
	c.left -= len(keep)
	if len(keep) > 0 {
		_, _ = c.to.Write(clean(keep)) // the program must not block on a broken log
	}
	if c.left == 0 && !c.told {
		c.told = true
		_, _ = fmt.Fprintf(c.to, "\n%s: the log is cut off here, after %d bytes\n", ID, limits.TerraformLog) // as above
	}
	return len(p), nil
}

func clean(p []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, p)
}

// bounded keeps what was written up to a limit, and says when it is passed.
type bounded struct {
	buf  bytes.Buffer
	left int
	over bool
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.left {
		b.over = true
		b.full()
		return len(p), nil
	}
	b.left -= len(p)
	return b.buf.Write(p)
}

// tail keeps the end of what was written.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - limits.TerraformErrors; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) has(text string) bool { return bytes.Contains(t.buf, []byte(text)) }

// titles gives the first lines of the errors that terraform printed.
func (t *tail) titles() string {
	const most, longest = 3, 200
	var out []string
	for line := range strings.Lines(string(clean(t.buf))) {
		_, title, ok := strings.Cut(line, "Error: ")
		if title = strings.TrimSpace(title); !ok || title == "" || slices.Contains(out, title) {
			continue
		}
		if len(title) > longest {
			title = strings.ToValidUTF8(title[:longest], "") + "…"
		}
		if out = append(out, title); len(out) == most {
			break
		}
	}
	return strings.Join(out, "; ")
}
