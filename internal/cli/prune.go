package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// retention says which closed flights go: those beyond the newest Keep, and those
// that ended longer than Older ago. A nil bound removes nothing.
type retention struct {
	Keep  *int64
	Older *time.Duration
}

// pruned is one flight that was removed, or would be.
type pruned struct {
	WorkflowID string         `json:"workflow_id"`
	State      protocol.State `json:"state"`
	EndedAt    string         `json:"ended_at"`
	Bytes      int64          `json:"bytes"`
}

// spared is one flight that stays although retention would let it go.
type spared struct {
	WorkflowID string `json:"workflow_id"`
	Reason     string `json:"reason"`
}

// pruneReport is the document of prune.
type pruneReport struct {
	DryRun  bool     `json:"dry_run"`
	Removed []pruned `json:"removed"`
	Skipped []spared `json:"skipped"`
	Kept    int      `json:"kept"`
	Freed   int64    `json:"freed_bytes"`
}

func (a *app) pruneCommand() *cobra.Command {
	var keep, older string
	var dry bool
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove old flights that have ended", Args: cobra.NoArgs,
		Long: `Removes flights that have ended (COMPLETED or FAILED) and are beyond the newest
--keep, or ended longer than --older-than ago. A flight that is open, cannot be
read or is in use is never removed. What is not given comes from retention in the
configuration.`,
		RunE: a.run(func(*cobra.Command, []string) error {
			r, err := a.retention(keep, older)
			if err != nil {
				return err
			}
			return a.withStore(func(s *session) error {
				report, err := s.prune(r, dry, time.Now())
				return a.tellPrune(report, err)
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&keep, "keep", "", "how many of the newest ended flights stay (default retention.flights)")
	f.StringVar(&older, "older-than", "", "age from which ended flights go, such as 30d or 12h (default retention.days)")
	f.BoolVar(&dry, "dry-run", false, "say what would be removed, remove nothing")
	return cmd
}

// retention puts flags and configuration together. In the configuration 0 means
// no bound; a flag means what it says.
func (a *app) retention(keep, older string) (retention, error) {
	var r retention
	if keep != "" {
		n, err := strconv.ParseInt(keep, 10, 64)
		if err != nil || n < 0 {
			return r, usageError("usage", "--keep is %q; it is a number of flights", keep).WithHint("for example --keep 20")
		}
		r.Keep = &n
	}
	if older != "" {
		d, err := length(older)
		if err != nil {
			return r, usageError("usage", "--older-than is %q: %w", older, err).WithHint("for example --older-than 30d")
		}
		r.Older = &d
	}
	if r.Keep != nil && r.Older != nil {
		return r, nil
	}
	p, err := a.place()
	if err != nil {
		return r, err
	}
	c, err := config.Load(p.config)
	if err != nil {
		return r, err
	}
	if r.Keep == nil && c.Retention.Flights > 0 {
		r.Keep = &c.Retention.Flights
	}
	if r.Older == nil && c.Retention.Days > 0 {
		d := time.Duration(c.Retention.Days) * 24 * time.Hour
		r.Older = &d
	}
	return r, nil
}

// length reads a length of time as Go writes it, and days.
func length(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, errors.New("days are a whole number up to 65535")
		}
		return time.Duration(n) * 24 * time.Hour, nil //nolint:gosec // 16 bits of days fit
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errors.New("it is negative")
	}
	return d, err
}

// ended is a flight that has ended.
type ended struct {
	id string
	at time.Time
}

func (s *session) prune(r retention, dry bool, now time.Time) (pruneReport, error) {
	report := pruneReport{DryRun: dry, Removed: []pruned{}, Skipped: []spared{}}
	ids, err := s.store.List()
	if err != nil {
		return report, err
	}
	var closed []ended
	for _, id := range ids {
		f, err := s.peek(id)
		switch at, timeErr := endedAt(f, err); {
		case err != nil:
			report.Skipped = append(report.Skipped, spared{id, "it cannot be read: " + err.Error()})
		case !f.Status.State.Terminal():
			report.Kept++
		case timeErr != nil:
			report.Skipped = append(report.Skipped, spared{id, "when it ended cannot be told: " + timeErr.Error()})
		default:
			closed = append(closed, ended{id, at})
		}
	}
	slices.SortFunc(closed, func(a, b ended) int {
		if c := b.at.Compare(a.at); c != 0 {
			return c
		}
		return strings.Compare(b.id, a.id)
	})
	for i, c := range closed {
		if !(r.Keep != nil && int64(i) >= *r.Keep || r.Older != nil && now.Sub(c.at) >= *r.Older) {
			report.Kept++
			continue
		}
		if err := s.remove(c.id, dry, &report); err != nil {
			return report, err
		}
	}
	return report, nil
}

func endedAt(f *orchestrator.Flight, err error) (time.Time, error) {
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, f.Status.Updated)
}

// remove removes one flight under its lock, after another look.
func (s *session) remove(id string, dry bool, report *pruneReport) (err error) {
	lock, err := s.home.Lock("flight-" + id)
	if errors.Is(err, protocol.Code("locked")) {
		report.Skipped = append(report.Skipped, spared{id, err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	f, err := s.peek(id)
	if err != nil || !f.Status.State.Terminal() {
		report.Skipped = append(report.Skipped, spared{id, "it changed in the meantime"})
		return nil //nolint:nilerr // a flight that cannot be read stays
	}
	p := pruned{WorkflowID: id, State: f.Status.State, EndedAt: f.Status.Updated}
	err = s.onDir(id, func(dir *file.Flight) error {
		p.Bytes, err = sizeOf(dir)
		return err
	})
	if err == nil && !dry {
		err = s.store.Remove(id)
	}
	if err != nil {
		return err
	}
	report.Removed = append(report.Removed, p)
	report.Freed += p.Bytes
	return nil
}

func sizeOf(dir *file.Flight) (int64, error) {
	var total int64
	err := fs.WalkDir(dir.Root().FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

func (a *app) tellPrune(r pruneReport, err error) error {
	if a.flags.output == outputJSON {
		doc := struct {
			pruneReport
			Error *orchestrator.SummaryError `json:"error,omitempty"`
		}{pruneReport: r}
		if err != nil {
			doc.Error = a.errorOf(err)
		}
		a.printJSON(doc)
	}
	word := "removed"
	if r.DryRun {
		word = "would remove"
	}
	for _, p := range r.Removed {
		a.text(fmt.Sprintf("%s %s  %s, ended %s, %s\n", word, p.WorkflowID, p.State, p.EndedAt, size(p.Bytes)))
	}
	for _, p := range r.Skipped {
		a.text("left alone " + p.WorkflowID + ": " + oneLine(p.Reason) + "\n")
	}
	a.text(fmt.Sprintf("%s %d flights, %s; %d stay\n", word, len(r.Removed), size(r.Freed), r.Kept+len(r.Skipped)))
	if err != nil {
		a.complain(err)
		return reportedError{err}
	}
	return nil
}
