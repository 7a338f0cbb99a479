package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/internal/redact"
	"github.com/cabincrew/action/internal/telemetry"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

// app is one run of the program.
type app struct {
	in    io.Reader
	out   io.Writer
	err   io.Writer
	env   map[string]string
	flags flags
	ctx   context.Context // ends with a signal
	usage bool            // an error now is one of the command line
	// explain makes policies tell how decisions come about, whatever the configuration says.
	explain bool
	// judging says that the command will ask all judges: what takes its time to
	// start begins at once.
	judging bool
	// failpoint, if not nil, is called before and after every durable write, so
	// that tests can end the process there.
	failpoint func(point string)
	// onForge replaces what the job's variables say of the run by what the forge says;
	// nil outside of cabincrew ci.
	onForge func(*session) error
	// demandApproval makes every step wait for an approval, whatever the judges say.
	demandApproval bool
	// endorsing asks of governance that comes from a commit whether a flight brought it.
	endorsing bool
	// opened are the private keys that this command has opened, by path.
	opened map[string]*signing.Key
	// registryAuth is a Docker configuration that a job was given; empty outside of CI.
	registryAuth []byte
	// ageIdentities decrypt state, as a job was given them; empty outside of CI.
	ageIdentities []byte
}

const (
	outputText = "text"
	outputJSON = "json"
)

// flags are those that every command has; each is also CABINCREW_<FLAG>.
type flags struct {
	output, config, stateDir, workspace, governanceRef, change, onnxruntime, logLevel, logFormat string
	step                                                                                         string // in CI: the only step, with those that it needs; "": all
}

func (a *app) root() *cobra.Command {
	a.usage = true
	root := &cobra.Command{
		Use:   "cabincrew",
		Short: "Plan changes without side effects, judge and approve them, apply exactly the plan",
		Long: `CabinCrew lets bots, scripts, infrastructure tools and AI agents change things so
that what was reviewed is exactly what is done, and anybody can prove it later.

A flight: flight-plan runs engines that only plan; policies judge; people approve
with a key; take-off verifies everything again and applies exactly the plan, once.`,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.flags.output, "output", outputText, "text or json; json is one document on stdout and nothing else")
	f.StringVar(&a.flags.config, "config", config.FileName, "configuration file")
	f.StringVar(&a.flags.stateDir, "state-dir", "", "directory of flights (default .cabincrew in the workspace)")
	f.StringVar(&a.flags.workspace, "workspace", "", "workspace (default the directory of the configuration)")
	f.StringVar(&a.flags.change, "change", "", "in CI: the change that the flight belongs to, such as pull/7, where the run's event does not tell")
	f.StringVar(&a.flags.governanceRef, "governance-ref", "", "take configuration, policies, keys and models from this branch, tag or commit, not from the workspace")
	f.StringVar(&a.flags.onnxruntime, "onnxruntime", "", "the ONNX Runtime library (default beside the program, then the system's)")
	f.StringVar(&a.flags.logLevel, "log-level", "warn", "debug, info, warn or error")
	f.StringVar(&a.flags.logFormat, "log-format", "text", "text or json; logs go to stderr")
	envErr := a.fromEnv(f)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if envErr != nil || cmd.DisableFlagParsing {
			return envErr
		}
		return a.fromEnv(cmd.LocalNonPersistentFlags())
	}
	root.AddCommand(a.commands()...)
	return root
}

// commandLineOnly marks flags that no variable sets.
const commandLineOnly = "cabincrew_command_line_only"

// fromEnv gives every flag that is not on the command line the value of its
// variable, but those that decide whom a verification trusts: a variable that somebody
// else set would decide it unseen. A value that the flag cannot have is refused: a mistyped dry run must
// not become a real one.
func (a *app) fromEnv(f *pflag.FlagSet) error {
	var err error
	f.VisitAll(func(flag *pflag.Flag) {
		name := "CABINCREW_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, ok := a.env[name]
		if !ok || flag.Changed || flag.Annotations[commandLineOnly] != nil || flag.Name == "help" || err != nil {
			return
		}
		if setErr := flag.Value.Set(value); setErr != nil {
			err = usageError("usage", "the variable %s is %q: %w", name, value, setErr).WithHint("see cabincrew help for --%s", flag.Name)
		}
	})
	return err
}

// checkFlags refuses words that no flag has.
func (a *app) checkFlags() error {
	for _, f := range []struct {
		name  string
		value *string
		def   string
		words []string
	}{
		{"output", &a.flags.output, outputText, []string{outputText, outputJSON}},
		{"log-format", &a.flags.logFormat, outputText, []string{outputText, outputJSON}},
		{"log-level", &a.flags.logLevel, "warn", []string{"debug", "info", "warn", "error"}},
	} {
		if bad := *f.value; !slices.Contains(f.words, bad) {
			*f.value = f.def
			return usageError("usage", "--%s is %q; it is %s", f.name, bad, strings.Join(f.words, " or "))
		}
	}
	return nil
}

// logger writes to stderr at the level that was asked for, without secrets.
func (a *app) logger(r *redact.Redactor) *slog.Logger {
	safe := tame
	if a.flags.logFormat == outputJSON {
		safe = func(s string) string { return string(tameJSON([]byte(s))) }
	}
	return telemetry.New(&tamed{to: a.err, tame: safe}, telemetry.Options{Level: a.flags.logLevel, JSON: a.flags.logFormat == outputJSON, Redact: r.String})
}

// printJSON writes one document on stdout.
func (a *app) printJSON(v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(v)                         //nolint:errchkjson // our own documents encode
	_, _ = a.out.Write(tameJSON(b.Bytes())) // a closed stdout cannot be told of
}

// text writes for people on stdout; with JSON output it writes nothing.
func (a *app) text(s string) {
	if a.flags.output == outputText {
		_, _ = io.WriteString(a.out, tame(s)) // a closed stdout cannot be told of
	}
}

func usageError(code, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, code, format, args...)
}
