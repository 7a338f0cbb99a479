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

// verifyTrail verifies the trail of a run, and with keys the signature of each event.
func (a *app) verifyTrail(log eventLog, keys []string) error {
	var trust *auditTrust
	for _, name := range keys {
		key, err := readAuditKey(name, strings.TrimSuffix(name, ".pub"))
		if err != nil {
			return err
		}
		if trust == nil {
			trust = &auditTrust{each: true}
		}
		trust.keys = append(trust.keys, key)
	}
	report, err := log.verify(nil)
	checks := []orchestrator.Check{checkOf("audit", fmt.Sprintf("%d events", report.Events), err)}
	signatures := orchestrator.Check{Name: "audit signatures", Status: orchestrator.NotApplicable}
	if trust != nil && err == nil {
		_, err = log.verify(trust.signed)
		signatures = checkOf("audit signatures", fmt.Sprintf("all %d events are signed", report.Events), err)
	}
	return a.auditVerdict(log.id, report, append(checks, signatures), err)
}
