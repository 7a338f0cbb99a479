package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cabincrew/action/audit"
	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/storage/file"
)

// eventLog is an audit log: of a flight, or of a run of a gateway.
type eventLog struct {
	id     string
	open   func() (io.ReadCloser, error)
	verify func(audit.SignedBy) (audit.Report, error)
	run    *os.Root    // the directory of a run of a gateway; nil of a flight
	alive  func() bool // whether the gateway still writes it
}

func flightLog(dir *file.Flight) eventLog {
	return eventLog{
		id: dir.ID(), open: func() (io.ReadCloser, error) { return openAudit(dir) },
		verify: func(audit.SignedBy) (audit.Report, error) { return verifyLog(dir) },
	}
}

func gatewayFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "gateway", "", "the log of a gateway: mcp or llm for its newest run, KIND/RUN or RUN for another")
}

// onTrail finds the trail of a run of a gateway.
func (a *app) onTrail(args []string, name string, f func(eventLog) error) error {
	if len(args) > 0 {
		return usageError("usage", "--gateway names a run of a gateway, %q a flight", args[0]).WithHint("leave one of them away")
	}
	err := a.onState(func(state *os.Root) (err error) {
		run, err := findRun(state, name)
		if err != nil {
			return err
		}
		dir, err := gateways.OpenRun(state, run)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, dir.Close()) }()
		return f(eventLog{
			id: run.ID, open: func() (io.ReadCloser, error) { return gateways.OpenTrail(dir) },
			verify: func(by audit.SignedBy) (audit.Report, error) { return gateways.VerifyRun(dir, run.ID, by) },
			run:    dir, alive: func() bool { return gateways.RunAlive(state, run) },
		})
	})
	if errors.Is(err, protocol.Code("held_unknown")) { // there is no state directory
		err = unknownRun(name)
	}
	return err
}

func unknownRun(name string) error {
	return usageError("gateway_run", "there is no run %.100q of a gateway in the state directory", name).WithHint("name the gateway's state directory with --state-dir")
}

// findRun finds a run by its kind (its newest one), its kind and id, or its id.
func findRun(state *os.Root, name string) (gateways.Run, error) {
	all, err := gateways.Runs(state)
	if err != nil {
		return gateways.Run{}, err
	}
	kind, id, both := strings.Cut(name, "/")
	for _, r := range slices.Backward(all) { // newest first
		if r.Kind == kind && (!both || r.ID == id) || !both && r.ID == name {
			return r, nil
		}
	}
	return gateways.Run{}, unknownRun(name)
}

// verifyTrail verifies the trail of a run, and with keys what of it is signed: how far it
// had come by the newest checkpoint, and each event where the first one is signed.
func (a *app) verifyTrail(log eventLog, f proofFlags) error {
	trust, err := a.trustedBy(f.keys)
	if err != nil {
		return err
	}
	alive := log.alive() // asked before: what ends meanwhile is read whole
	report, err := log.verify(nil)
	if err != nil && alive && report.Problem != nil && report.Problem.Torn {
		err = protocol.Errorf(protocol.ExitIntegrity, "audit_cut", "the last line is not whole, and run %s still runs; all %d events before it are whole", log.id, report.Events).
			WithHint("it may be being written right now: verify again")
	}
	checks := []orchestrator.Check{checkOf("audit", fmt.Sprintf("%d events", report.Events), err)}
	if err == nil {
		report.Warnings = append(report.Warnings, unended(log, alive)...)
	}
	if trust == nil {
		checks = append(checks, orchestrator.Check{Name: "audit signatures", Status: orchestrator.NotApplicable})
		return a.auditVerdict(log.id, report, checks, err)
	}
	signed, signErr := trust.verifyRun(log, f.checkpoints, report)
	if err == nil {
		err = signErr
	}
	return a.auditVerdict(log.id, report, append(checks, signed...), err)
}

// unended tells of a run that did not end in order.
func unended(log eventLog, alive bool) []string {
	ended, err := gateways.RunEnded(log.run)
	switch {
	case err != nil || ended: // the trail was verified a moment ago
		return nil
	case alive:
		return []string{"run " + log.id + " still runs: what it writes from now on was not verified"}
	}
	return []string{"run " + log.id + " did not end in order: its gateway was killed, or the end of the trail was cut; the newest checkpoint (--key) says how much there was at least"}
}

// verifyRun verifies what of a trail is signed. It speaks of as much as there is, also
// where the trail itself does not verify.
func (t *auditTrust) verifyRun(log eventLog, checkpoints string, report audit.Report) ([]orchestrator.Check, error) {
	detail, err := t.holdsRun(log.run, log, checkpoints)
	checks := []orchestrator.Check{checkOf("audit checkpoints", detail, err)}
	if report.Problem != nil || report.Events == 0 {
		return checks, err
	}
	first, firstErr := firstEvent(log)
	if firstErr != nil {
		return checks, firstErr
	}
	signatures := orchestrator.Check{Name: "audit signatures", Status: orchestrator.NotApplicable}
	// The first event is part of every checkpoint, so nobody can take its signature away
	// to have the others pass without.
	if first.Signature != "" {
		_, eachErr := log.verify(t.signed)
		signatures = checkOf("audit signatures", fmt.Sprintf("all %d events are signed", report.Events), eachErr)
		if err == nil {
			err = eachErr
		}
	}
	return append(checks, signatures), err
}

// trustedBy gives who may sign trails; nil where nobody is named.
func (a *app) trustedBy(keys []string) (*auditTrust, error) {
	if len(keys) == 0 {
		return nil, nil //nolint:nilnil // nobody is trusted, which is no error
	}
	trust := &auditTrust{each: true, repository: repositoryOf(a.env)}
	for _, name := range keys {
		key, err := readAuditKey(name, strings.TrimSuffix(name, ".pub"))
		if err != nil {
			return nil, err
		}
		trust.keys = append(trust.keys, key)
	}
	return trust, nil
}
