package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Try, test, replay and explain policies"}
	cmd.AddCommand(a.policyEvalCommand(), a.policyInputCommand(), a.policyTestCommand(), a.policyReplayCommand(), a.policyExplainCommand(), a.policySecretsCommand())
	return cmd
}

// Formats of the policy commands beside text, json and junit.
const (
	formatSARIF  = "sarif"
	formatGitHub = "github"
)

// formatFlag gives a command the flag --format.
func formatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", outputText, "text, json, junit, sarif or github (workflow commands)")
}

// policyFormat checks the format that was asked for and makes it agree with --output.
func (a *app) policyFormat(format *string) error {
	all := []string{outputText, outputJSON, formatJUnit, formatSARIF, formatGitHub}
	switch {
	case !slices.Contains(all, *format):
		return usageError("usage", "--format is %q; it is %s", *format, strings.Join(all, ", "))
	case a.flags.output == outputJSON && *format == outputText:
		*format = outputJSON
	case *format == outputJSON:
		a.flags.output = outputJSON // an error is a document too
	case a.flags.output == outputJSON:
		return usageError("usage", "--output json and --format %s exclude each other", *format)
	}
	return nil
}

// policySets are sets with the directories that they lie in.
type policySets struct {
	sets []policies.Set
	dirs map[string]string // by the name of the set; a set that is no directory has none
	role string
}

// namedSets loads the sets that are named: directories, or names of bundled sets.
func namedSets(ctx context.Context, names []string) (policySets, error) {
	out := policySets{dirs: map[string]string{}}
	for _, name := range names {
		set, dir, err := namedSet(ctx, name)
		if err != nil {
			return out, err
		}
		out.sets = append(out.sets, set)
		if dir != "" {
			out.dirs[set.Name] = dir
		}
	}
	return out, nil
}

// namedSet loads one set; dir is its directory, if it is one.
func namedSet(ctx context.Context, name string) (_ policies.Set, dir string, _ error) {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) && slices.Contains(slices.Concat(policies.BundledNames(), policies.GatewayNames()), name) {
		set, err := policies.AnyBundled(name)
		return set, "", err
	}
	set, err := policies.Load(ctx, name, name)
	return set, filepath.ToSlash(filepath.Clean(name)), err
}

// configuredSets loads what judges plans, and apart from it what judges take-offs.
func (a *app) configuredSets(ctx context.Context) (plan, after policySets, c *config.Config, err error) {
	p, err := a.place()
	if err != nil {
		return plan, after, nil, err
	}
	if c, err = config.Load(p.config); err != nil {
		return plan, after, nil, err
	}
	if plan.sets, err = loadSets(ctx, c.Policies.Bundled, c.Policies.Rego, p.dir()); err != nil {
		return plan, after, c, err
	}
	if plan.sets, err = a.sourced(ctx, c, p.dir(), plan.sets); err != nil {
		return plan, after, c, err
	}
	after.sets, err = loadSets(ctx, c.After.Bundled, c.After.Rego, p.dir())
	plan.dirs, after.dirs = p.setDirs(c.Policies.Rego), p.setDirs(c.After.Rego)
	plan.role, after.role = c.Approvals.DefaultRole, c.Approvals.DefaultRole
	return plan, after, c, err
}

// setDirs gives the directories of sets by name, relative to the workspace.
func (p place) setDirs(entries []string) map[string]string {
	dirs := map[string]string{}
	for _, entry := range entries {
		if name, err := policies.CleanName(entry); err == nil {
			dirs[name] = path.Join(path.Dir(p.configPath), entry)
		}
	}
	return dirs
}

// file gives the file that a place in a policy ("set/file.rego:12") names, "" if
// it is not one that its user can open.
func (s policySets) file(at string) (name string, line int) {
	name, number, ok := cutLast(at, ":")
	if !ok {
		name = at
	}
	line, _ = strconv.Atoi(number) // 0 where there is none
	set, rest, ok := strings.Cut(name, "/")
	dir, known := s.dirs[set]
	if !ok || !known {
		return "", line
	}
	return path.Join(dir, rest), line
}

// shown gives a place as its user finds it.
func (s policySets) shown(at string) string {
	if name, line := s.file(at); name != "" && line > 0 {
		return name + ":" + strconv.Itoa(line)
	}
	return at
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// ruleBook gives what annotations say, by policy id.
func ruleBook(sets ...policySets) map[string]rego.Rule {
	book := map[string]rego.Rule{}
	for _, s := range sets {
		rules, err := rego.AllRules(s.sets)
		if err != nil {
			continue // whoever judges with them says so; a description is missing then
		}
		for _, r := range rules {
			if _, there := book[r.PolicyID()]; !there {
				r.At = s.shown(r.At)
				book[r.PolicyID()] = r
			}
		}
	}
	return book
}

// dir gives the directory that paths of the configuration are relative to.
func (p place) dir() string { return filepath.Dir(p.config) }

// decisionExit ends a command as a flight with that decision would.
func decisionExit(d protocol.Decision) error {
	switch d {
	case protocol.Allow, protocol.Warn:
		return nil
	case protocol.RequireApproval:
		return reportedError{exit(protocol.ExitWaiting)}
	case protocol.Deny:
	}
	return reportedError{exit(protocol.ExitDenied)}
}
