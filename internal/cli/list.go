package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// stateUnreadable stands in a list for the state of a flight that cannot be read.
const stateUnreadable protocol.State = "UNREADABLE"

// listed is one flight of a list.
type listed struct {
	WorkflowID  string                     `json:"workflow_id"`
	State       protocol.State             `json:"state"`
	Decision    protocol.Decision          `json:"decision,omitempty"`
	Workflow    string                     `json:"workflow,omitempty"`
	CreatedAt   string                     `json:"created_at,omitempty"`
	FlightToken string                     `json:"flight_token,omitempty"`
	Error       *orchestrator.SummaryError `json:"error,omitempty"`
	created     time.Time
}

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the flights, newest first", Args: cobra.NoArgs,
		RunE: a.run(func(*cobra.Command, []string) error {
			return a.withStore(func(s *session) error {
				list, err := s.list()
				if err != nil {
					return err
				}
				if a.flags.output == outputJSON {
					a.printJSON(list)
					return nil
				}
				a.text(renderList(list, time.Now()))
				return nil
			})
		}),
	}
}

// withStore opens only the state directory, for commands that judge and change
// nothing: they work without a valid configuration.
func (a *app) withStore(f func(*session) error) (err error) {
	s := &session{app: a}
	if s.place, err = a.place(); err != nil {
		return err
	}
	if err := s.worthOpening(); err != nil {
		return err
	}
	if err := s.openStore(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.done()) }()
	return f(s)
}

// worthOpening refuses to make a state directory where nobody uses CabinCrew.
func (s *session) worthOpening() error {
	if _, err := os.Lstat(s.place.stateDir); !errors.Is(err, fs.ErrNotExist) {
		return nil // what is wrong with it, opening it tells
	}
	if _, err := os.Lstat(s.place.config); err == nil {
		return nil
	}
	return usageError("config_not_found", "there is neither a configuration nor a state directory").At(s.place.workspace).
		WithHint("write a configuration with cabincrew init, or name another with --config or --state-dir")
}

func (s *session) list() ([]listed, error) {
	ids, err := s.store.List()
	if err != nil {
		return nil, err
	}
	out := make([]listed, 0, len(ids))
	for _, id := range ids {
		out = append(out, s.listOne(id))
	}
	slices.SortStableFunc(out, func(a, b listed) int {
		return cmp.Or(b.created.Compare(a.created), cmp.Compare(b.WorkflowID, a.WorkflowID))
	})
	return out, nil
}

// listOne tells of one flight; one that cannot be read is told as such.
func (s *session) listOne(id string) listed {
	l := listed{WorkflowID: id, State: stateUnreadable}
	err := s.onDir(id, func(dir *file.Flight) error {
		if info, err := dir.Root().Stat("."); err == nil {
			l.created = info.ModTime() // until flight.json says better
		}
		f, err := loadFlight(dir)
		if err != nil {
			return err
		}
		sum := orchestrator.Summarize(f)
		l.State, l.Decision, l.Workflow, l.CreatedAt, l.FlightToken = sum.State, sum.Decision, f.Info.Workflow, f.Info.CreatedAt, sum.FlightToken
		if at, err := time.Parse(time.RFC3339, f.Info.CreatedAt); err == nil {
			l.created = at
		}
		return nil
	})
	if err != nil {
		l.State = stateUnreadable
		l.Error = orchestrator.ErrorOf(err)
	}
	return l
}

// onDir opens a flight's directory for f.
func (s *session) onDir(id string, f func(*file.Flight) error) (err error) {
	dir, err := s.store.Flight(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return f(dir)
}

// loadFlight reads a flight; its WAL is checked, no more.
func loadFlight(dir *file.Flight) (*orchestrator.Flight, error) {
	entries, _, err := file.ReadWAL(dir)
	if err != nil {
		return nil, err
	}
	return orchestrator.Load(dir, nil, entries)
}

func renderList(list []listed, now time.Time) string {
	if len(list) == 0 {
		return "no flights; cabincrew flight-plan makes one\n"
	}
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%-26s  %-19s  %-16s  %-24s  %-6s  %s\n", "FLIGHT", "STATE", "DECISION", "CREATED", "AGE", "WORKFLOW")
	for _, l := range list {
		last := oneLine(l.Workflow)
		if l.Error != nil {
			last = "[" + l.Error.Code + "] " + oneLine(l.Error.Message)
		}
		old := "-"
		if !l.created.IsZero() {
			old = age(now.Sub(l.created))
		}
		line := fmt.Sprintf("%-26s  %-19s  %-16s  %-24s  %-6s  %s", l.WorkflowID, l.State, cmp.Or(string(l.Decision), "-"), cmp.Or(oneLine(l.CreatedAt), "-"), old, last)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// age writes a length of time shortly: its largest unit only.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(int(d/time.Second), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	case d < day:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	}
	return fmt.Sprintf("%dd", int(d/day))
}

// completeFlights completes the ids of flights on a command line.
func (a *app) completeFlights(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		var out []string
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		p, err := a.place()
		if err != nil {
			return nil, cobra.ShellCompDirectiveDefault
		}
		if _, err := os.Lstat(p.stateDir); err != nil {
			return nil, cobra.ShellCompDirectiveDefault // pressing a key makes no state directory
		}
		err = a.withStore(func(s *session) error {
			ids, err := s.store.List()
			for _, id := range slices.Backward(ids) {
				if strings.HasPrefix(id, begin) {
					out = append(out, id)
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return out, cobra.ShellCompDirectiveKeepOrder // a directory is a flight too
	}
}
