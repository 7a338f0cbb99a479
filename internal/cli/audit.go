package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

func (a *app) auditCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "Read, verify, prove and export the audit log of a flight"}
	cmd.AddCommand(a.auditShowCommand(), a.auditVerifyCommand(), a.auditProveCommand(), a.auditExportCommand())
	return cmd
}

// onLog finds the log of a flight, or of a run of a gateway where one is named.
func (a *app) onLog(args []string, gateway string, f func(eventLog) error) error {
	if gateway != "" {
		return a.onTrail(args, gateway, f)
	}
	return a.onAudit(args, func(dir *file.Flight) error { return f(flightLog(dir)) })
}

// onAudit finds a flight without a configuration.
func (a *app) onAudit(args []string, f func(*file.Flight) error) error {
	return a.withStore(func(s *session) error {
		dir, err := s.find(args)
		if err != nil {
			return err
		}
		return f(dir)
	})
}

func (a *app) auditShowCommand() *cobra.Command {
	var gateway string
	cmd := &cobra.Command{
		Use: "show [FLIGHT]", Short: "Show the audit log as a timeline", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			return a.onLog(args, gateway, func(log eventLog) error {
				report, bad := log.verify(nil)
				if a.flags.output == outputJSON {
					return a.auditEvents(log, report, bad)
				}
				in, err := log.open()
				if err != nil {
					return err
				}
				defer func() { _ = in.Close() }() // only read
				err = audit.Timeline(in, lined(a.out), audit.TimelineOptions{Colour: a.colours()})
				if bad != nil {
					err = bad
				}
				return err
			})
		}),
	}
	gatewayFlag(cmd, &gateway)
	return cmd
}

// verifyLog verifies an audit log by itself.
func verifyLog(dir *file.Flight) (_ audit.Report, err error) {
	in, err := openAudit(dir)
	if err != nil {
		return audit.Report{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return audit.Verify(in, dir.ID(), audit.VerifyOptions{})
}

// auditEvents prints the events that verify as one list, without holding them
// all. Where the log does not verify, it is an object with what is known.
func (a *app) auditEvents(log eventLog, report audit.Report, bad error) error {
	in, err := log.open()
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	out := bufio.NewWriter(a.out)
	open, shut := "[", "]\n"
	if bad != nil {
		doc, err := protocol.Canonical(a.errorOf(bad))
		if err != nil {
			return err
		}
		open, shut = `{"events":[`, `],"error":`+string(doc)+"}\n"
	}
	_, _ = out.WriteString(open) // Flush tells
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, limits.AuditLine+1)
	for n := 0; n < report.Events && lines.Scan(); n++ {
		if n > 0 {
			_, _ = out.WriteString(",\n") // Flush tells
		}
		_, _ = out.Write(tameJSON(lines.Bytes())) // Flush tells
	}
	_, _ = out.WriteString(shut) // Flush tells
	if err := errors.Join(lines.Err(), out.Flush()); err != nil {
		return reportedError{protocol.Errorf(protocol.ExitFailure, "output_failed", "the events cannot be written: %w", err)}
	}
	if bad != nil {
		a.complain(bad)
		return reportedError{bad}
	}
	return nil
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var f proofFlags
	var gateway string
	cmd := &cobra.Command{
		Use: "verify [FLIGHT]", Short: "Verify the audit log against the write-ahead log and its signatures, or the proof of one event", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			if f.proof != "" {
				if len(args) > 0 || gateway != "" {
					return usageError("usage", "--proof needs no flight: the proof says of which it is").WithHint("leave %q away", strings.Join(args, " ")+gateway)
				}
				return a.verifyProof(f)
			}
			if f.event != "" || f.bundle != "" || f.origin != "" {
				return usageError("usage", "--event, --bundle and --origin belong to --proof").WithHint("name the proof, too")
			}
			if f.checkpoints != "" && (gateway == "" || len(f.keys) == 0) {
				return usageError("usage", "--checkpoints belongs to --gateway and --key").WithHint("name the run, and the key that signed them")
			}
			if gateway != "" {
				return a.onTrail(args, gateway, func(log eventLog) error { return a.verifyTrail(log, f) })
			}
			return a.withStore(func(s *session) error { return s.verifyLogs(args, f.keys) })
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.proof, "proof", "", "verify this proof of audit prove; no log is needed")
	flags.StringVar(&f.event, "event", "", "the file with the event's line, where the proof does not bring it")
	flags.StringVar(&f.bundle, "bundle", "", "a signed plan or take-off that must tell the proof's head")
	flags.StringVar(&f.origin, "origin", "", "the log that the proof must be about: cabincrew.dev/REPOSITORY/FLIGHT")
	flags.StringArrayVar(&f.keys, "key", nil, "a public key that may sign; without any, that of the configuration")
	flags.StringVar(&f.checkpoints, "checkpoints", "", "with --gateway and --key: the file with the run's checkpoints, where it is not the one that the run names")
	gatewayFlag(cmd, &gateway)
	return cmd
}

// verifyLogs verifies both logs of a flight, and the signatures of the audit log.
func (s *session) verifyLogs(args, keys []string) error {
	dir, err := s.find(args)
	if err != nil {
		return err
	}
	trust, err := s.trusted(keys)
	if err != nil {
		return err
	}
	_, report, checks, err := checkLogs(dir)
	if err != nil && len(checks) == 1 { // the WAL is broken; the audit log speaks for itself
		var auditErr error
		report, auditErr = verifyLog(dir)
		checks = append(checks, checkOf("audit", fmt.Sprintf("%d events", report.Events), auditErr))
		err = errors.Join(auditErr, err)
	}
	if trust == nil {
		checks = append(checks, orchestrator.Check{Name: "audit signatures", Status: orchestrator.NotApplicable})
		return s.app.auditVerdict(dir.ID(), report, checks, err)
	}
	detail, signErr := trust.Holds(dir)
	checks = append(checks, checkOf("audit signatures", detail, signErr))
	if err == nil {
		err = signErr
	}
	return s.app.auditVerdict(dir.ID(), report, checks, err)
}

func (a *app) tellChecks(checks []orchestrator.Check) {
	for _, c := range checks {
		a.text(padded(c.Status, 15) + padded(c.Name, 19) + oneLine(c.Detail) + "\n")
	}
}

func (a *app) auditVerdict(id string, report audit.Report, checks []orchestrator.Check, err error) error {
	if err != nil && protocol.ExitCode(err) == protocol.ExitFailure {
		err = protocol.Errorf(protocol.ExitIntegrity, "audit_invalid", "%w", err)
	}
	if a.flags.output == outputJSON {
		doc := map[string]any{"workflow_id": id, "verified": err == nil, "checks": checks, "report": report}
		if err != nil {
			doc["error"] = a.errorOf(err)
		}
		a.printJSON(doc)
	}
	a.tellChecks(checks)
	for _, w := range report.Warnings {
		a.text("warning        " + oneLine(w) + "\n")
	}
	if err != nil {
		a.complain(err)
		return reportedError{err}
	}
	a.text(fmt.Sprintf("the audit log of %s verifies: %d events, head %s\n", id, report.Events, report.Head))
	return nil
}

func (a *app) auditExportCommand() *cobra.Command {
	var format, to, gateway string
	cmd := &cobra.Command{
		Use: "export [FLIGHT]", Short: "Export a verified audit log as jsonl, csv or cef", Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(_ *cobra.Command, args []string) error {
			if a.flags.output == outputJSON && to == "" {
				return usageError("usage", "an export on stdout is no JSON document").WithHint("write it to a file with --out, or leave --output away")
			}
			return a.onLog(args, gateway, func(log eventLog) error { return a.export(log, format, to) })
		}),
	}
	cmd.Flags().StringVar(&format, "format", "jsonl", strings.Join(audit.Formats(), ", "))
	cmd.Flags().StringVar(&to, "out", "", "write to this file instead of stdout")
	gatewayFlag(cmd, &gateway)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(audit.Formats(), cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

// export writes a log in another format. A log that does not verify is refused:
// in its new form nobody could tell any more.
func (a *app) export(log eventLog, format, to string) error {
	report, err := log.verify(nil)
	if err != nil {
		return err
	}
	in, err := log.open()
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	if to == "" {
		return audit.Export(in, a.out, format)
	}
	if err := writeFile(to, func(w io.Writer) error { return audit.Export(in, w, format) }); err != nil {
		return err
	}
	if a.flags.output == outputJSON {
		a.printJSON(map[string]any{"workflow_id": log.id, "format": format, "file": to, "events": report.Events, "head": report.Head})
		return nil
	}
	a.text(fmt.Sprintf("wrote %d events to %s\n", report.Events, oneLine(to)))
	return nil
}
