package cli

import (
	"bufio"
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/orchestrator"
	"github.com/cabincrew/action/protocol"
	"github.com/cabincrew/action/signing"
)

func (a *app) approveCommand() *cobra.Command {
	return a.answerCommand("approve", "Approve a flight, or a call that a gateway holds, with a key, after showing it", true)
}

func (a *app) rejectCommand() *cobra.Command {
	return a.answerCommand("reject", "Reject a flight, or a call that a gateway holds, with a key; it ends", false)
}

// answerFlags are who answers what is asked, and how.
type answerFlags struct{ who, key, reason, code string }

func (a *app) answerCommand(name, short string, approved bool) *cobra.Command {
	var flags answerFlags
	cmd := &cobra.Command{
		Use: name + " [FLIGHT] --as NAME --key FILE", Short: short, Args: cobra.MaximumNArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			if flags.who == "" || flags.key == "" {
				return usageError("usage", "--as and --key say who answers and with which key").
					WithHint("cabincrew %s FLIGHT --as NAME --key FILE", name)
			}
			if isHeld(args) {
				return a.answerHeld(cmd.Context(), args[0], flags, approved)
			}
			if p, err := a.place(); err == nil && len(args) == 0 && config.IsGateway(p.config) {
				return usageError("usage", "%s is of a gateway, which may hold several calls", p.config).
					WithHint("cabincrew %s apr-… --as NAME --key FILE answers one; cabincrew status lists them", name)
			}
			return a.answerFlight(cmd, args, flags, approved)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&flags.who, "as", "", "name of the approver in the configuration")
	f.StringVar(&flags.key, "key", "", "file of the approver's private key")
	f.StringVar(&flags.reason, "reason", "", "why, for the record")
	f.StringVar(&flags.code, "code", "", "the approval code, where the configuration asks for it")
	return cmd
}

func (a *app) answerFlight(cmd *cobra.Command, args []string, flags answerFlags, approved bool) error {
	return a.onFlight(cmd, args, false, func(s *session, f *orchestrator.Flight) error {
		var manifest string
		if f.Status.State == protocol.StateAwaitingApproval {
			shown, digest, err := pin(f)
			if err != nil {
				return err
			}
			manifest = digest
			// SPEC: docs/protocol.md 7: who was not shown everything names the code.
			if n := a.showPlan(s, shown); n > 0 && a.flags.output == outputText && approved && (flags.code == "" || flags.code != s.crew.Code(f)) {
				return protocol.Errorf(protocol.ExitWaiting, "approval_truncated", "%d lines of the plan were not shown", n).
					WithHint("read all of it (%s), then give its code with --code; only signed plans have one", f.Dir.Dir())
			}
		}
		if err := a.confirm(cmd.Name(), "flight "+f.ID()); err != nil {
			return err
		}
		k, err := a.privateKey(flags.key)
		if err != nil {
			return err
		}
		answer := orchestrator.Answer{
			Who: flags.who, Manifest: manifest, Approved: approved, Reason: flags.reason, Code: flags.code, Fingerprint: k.Public().Fingerprint(), Sign: signApproval(k),
		}
		err = s.crew.Answered(cmd.Context(), f, s.setup, answer)
		if !approved && protocol.ExitCode(err) == protocol.ExitDenied && f.Status.State == protocol.StateFailed {
			return nil // to reject is what was asked for
		}
		return err
	})
}

// confirm asks on a terminal; elsewhere the command itself is the word.
func (a *app) confirm(verb, what string) error {
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || a.flags.output != outputText {
		return nil
	}
	a.text(verb + " " + what + "? [y/N] ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return usageError("not_confirmed", "no answer: %w", err)
	}
	if word := strings.ToLower(strings.TrimSpace(line)); word != "y" && word != "yes" {
		return usageError("not_confirmed", "not confirmed; nothing was signed")
	}
	return nil
}

func signApproval(k *signing.Key) func(context.Context, []byte, orchestrator.ApprovalStatement) ([]byte, error) {
	return func(ctx context.Context, manifest []byte, st orchestrator.ApprovalStatement) ([]byte, error) {
		statement, err := signing.NewApproval(manifest, signing.ApprovalPredicate{
			Version: signing.PredicateVersion, Request: st.Request, Response: st.Response,
			FlightToken: st.FlightToken, Code: st.Code, Role: st.Role, PlanBundle: st.PlanBundle,
		})
		if err != nil {
			return nil, err
		}
		return signing.Sign(ctx, k, statement)
	}
}
