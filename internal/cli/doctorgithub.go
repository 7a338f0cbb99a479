package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/ci/github"
	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/policies/rego"
	"github.com/cabincrew/action/protocol"
)

// forgeDoctor looks for holes in how a repository on GitHub is set up. What cannot be
// read is unknown, and unknown is never ok.
type forgeDoctor struct {
	*app
	place  place
	hub    hub
	config *config.Config // nil where it is not valid
	client *github.Client
	flows  []flowFile
	list   []hubFinding
	away   error // why the API could not be asked
}

// doctorFormat checks what doctor was asked to write.
func (a *app) doctorFormat(forge string, format *string) error {
	switch {
	case forge != "" && forge != forgeGitHub:
		return badForge(forge)
	case !slices.Contains([]string{outputText, outputJSON, formatSARIF}, *format):
		return usageError("usage", "--format is %q; it is %s, %s or %s", *format, outputText, outputJSON, formatSARIF)
	case *format == formatSARIF && forge == "":
		return usageError("usage", "--format %s is for --for github", formatSARIF)
	}
	return a.policyFormat(format)
}

func doctorFlags(cmd *cobra.Command, forge, format *string) {
	forgeFlag(cmd, forge)
	cmd.Flags().StringVar(format, "format", outputText, "text or json; with --for sarif too")
}

// examineGitHub looks at everything, tells it, and gives the error that ends the
// command: 3 where there are holes, 7 where the API could not be asked.
func (a *app) examineGitHub(ctx context.Context, h hub, format string) error {
	d := &forgeDoctor{app: a, hub: h}
	var err error
	if d.place, err = a.place(); err != nil {
		return err
	}
	d.config, err = config.Load(d.place.config)
	d.files(err)
	if d.away = d.open(); d.away == nil {
		defer d.client.Close()
		d.away = d.settings(ctx)
	}
	if d.away != nil {
		for _, k := range slices.Concat(repositoryKinds(), settingKinds()) {
			d.add(k.id, holeUnknown, "GitHub could not be asked: "+d.away.Error(), spot{})
		}
	}
	d.sort()
	return d.tell(format)
}

// open makes the client.
func (d *forgeDoctor) open() (err error) {
	switch {
	case d.hub.name == "":
		return protocol.Errorf(protocol.ExitUnreachable, "doctor_forge", "nothing names the repository on GitHub").
			WithHint("set GITHUB_REPOSITORY to OWNER/NAME, or run it in a clone with the remote origin")
	case d.hub.token == "":
		return protocol.Errorf(protocol.ExitUnreachable, "doctor_forge", "there is no token for GitHub's API").
			WithHint("set GITHUB_TOKEN to one that may read contents, actions and administration of %s", d.hub.name)
	}
	d.client, err = d.hub.client(d.hub.name)
	return err
}

// add records a finding of a kind.
func (d *forgeDoctor) add(id, state, detail string, at spot) {
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.id == id })
	d.list = append(d.list, hubFinding{all[i], state, detail, at})
}

// is records whether something is as it should be.
func (d *forgeDoctor) is(id string, k github.Known, good, bad string) {
	switch k {
	case github.Yes:
		d.add(id, holeNone, good, spot{})
	case github.No:
		d.add(id, holeThere, bad, spot{})
	default:
		d.add(id, holeUnknown, "this token may not read it (administration: read is needed)", spot{})
	}
}

// sort brings the findings into the order of the kinds; of one kind, holes come first.
// What is all right is told once a kind, and only where nothing else is.
func (d *forgeDoctor) sort() {
	var out []hubFinding
	for _, k := range kinds() {
		var good []hubFinding
		n := len(out)
		for _, state := range []string{holeThere, holeUnknown, holeNone} {
			for _, f := range d.list {
				switch {
				case f.id != k.id || f.state != state:
				case state == holeNone:
					good = append(good, f)
				default:
					out = append(out, f)
				}
			}
		}
		if len(out) == n && len(good) > 0 {
			out = append(out, good[0])
		}
	}
	d.list = out
}

// foundJSON is a finding as a document has it.
type foundJSON struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	State    string   `json:"state"`
	Severity string   `json:"severity"`
	Threats  []string `json:"threats"`
	Detail   string   `json:"detail"`
	Attack   string   `json:"attack,omitempty"`
	Remedy   string   `json:"remedy,omitempty"`
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"`
}

func (d *forgeDoctor) tell(format string) error {
	holes, unknown := 0, 0
	for _, f := range d.list {
		switch f.state {
		case holeThere:
			holes++
		case holeUnknown:
			unknown++
		}
	}
	var err error
	switch format {
	case outputJSON:
		d.printJSON(map[string]any{"repository": d.hub.name, "holes": holes, "unknown": unknown, "findings": d.documents()})
	case formatSARIF:
		err = d.sarif()
	default:
		d.text(d.lines() + fmt.Sprintf("%d holes, %d unknown\n", holes, unknown))
	}
	switch {
	case err != nil:
		return err
	case d.away != nil:
		d.complain(d.away)
		return reportedError{exit(notAsked(d.away))}
	case holes > 0:
		return reportedError{exit(protocol.ExitDenied)}
	}
	return nil
}

// notAsked is the exit code where the API could not be asked.
func notAsked(err error) int {
	var e *protocol.Error
	if errors.As(err, &e) && e.ExitCode() == protocol.ExitUsage {
		return protocol.ExitUsage
	}
	return protocol.ExitUnreachable
}

func (d *forgeDoctor) documents() []foundJSON {
	out := []foundJSON{}
	for _, f := range d.list {
		j := foundJSON{ID: f.id, Title: f.title, State: f.state, Severity: f.severity, Threats: f.threats, Detail: f.detail, File: f.at.File, Line: f.at.Line}
		if f.state != holeNone {
			j.Attack, j.Remedy = f.attack, f.remedy
		}
		out = append(out, j)
	}
	return out
}

func (d *forgeDoctor) lines() string {
	var b strings.Builder
	colour := d.colours()
	for _, f := range d.list {
		ink := paintGreen
		switch f.state {
		case holeThere:
			ink = paintRed
		case holeUnknown:
			ink = paintCyan
		}
		_, _ = fmt.Fprintf(&b, "%s  %s: %s", ink.on(colour, padded(f.state, 7)), f.id, oneLine(f.detail))
		if f.at.File != "" {
			_, _ = fmt.Fprintf(&b, " (%s)", filesText([]spot{f.at}))
		}
		b.WriteString("\n")
		if f.state != holeNone {
			_, _ = fmt.Fprintf(&b, "         %s, %s: %s\n         remedy: %s\n", f.severity, strings.Join(f.threats, ", "), f.attack, f.remedy)
		}
	}
	return b.String()
}

func (d *forgeDoctor) sarif() error {
	book := map[string]rego.Rule{}
	var list []remark
	for _, f := range d.list {
		id := "github/" + f.id
		book[id] = rego.Rule{
			ID: f.id, Policy: "github", Title: f.title, Description: f.attack + " (" + strings.Join(f.threats, ", ") + " of docs/threats.md)", Remedy: f.remedy,
		}
		at := f.at
		if at.File == "" { // settings stand in no file; viewers want one
			at.File = d.place.configPath
		}
		message := f.detail
		if f.state == holeUnknown {
			message = "unknown: " + message
		}
		list = append(list, remark{Rule: id, Decision: f.decision(), Message: message, Spots: []spot{at}, Subject: strings.Join(f.threats, ", ")})
	}
	return d.writeSARIF(list, book)
}

// settings reads what only the API tells.
func (d *forgeDoctor) settings(ctx context.Context) error {
	repo, err := d.client.Repository(ctx)
	if err != nil {
		return err
	}
	branches := []string{repo.DefaultBranch}
	var environments []string
	if d.config != nil {
		branches = append(branches, d.config.GovernanceRefs...)
		environments = append(environments, d.config.Approvals.Environments...)
	}
	slices.Sort(branches[1:])
	for i, branch := range slices.Compact(branches) {
		s, err := d.client.Settings(ctx, branch)
		if err != nil {
			return err
		}
		d.branch(branch, s)
		if i == 0 {
			d.fence(s)
			d.fenceMade(s)
			d.actions(s)
		}
	}
	return d.environments(ctx, append(environments, d.flowEnvironments()...))
}
