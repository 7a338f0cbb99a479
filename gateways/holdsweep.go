package gateways

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// sweep denies what gateways left waiting that have ended, and removes what was answered
// long ago. Calls of gateways that still run are theirs.
// SPEC: docs/protocol.md 10
func (h *HeldCalls) sweep(ctx context.Context) error {
	list, err := names(h.o.State, heldPath, limits.GatewayHeldFiles)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, name := range list {
		there[name] = true
	}
	alive := map[string]bool{}
	for _, name := range list {
		id, ok := strings.CutSuffix(name, requestFile)
		if !ok || !IsApprovalID(id) {
			continue
		}
		if err := h.sweepOne(ctx, id, alive); err != nil {
			return err
		}
	}
	for _, name := range list {
		run, isRun := strings.CutSuffix(name, runFile)
		id, _, _ := strings.Cut(strings.TrimPrefix(name, "."), ".")
		switch {
		case isRun && run != h.o.RunID && !runs(h.o.State, run):
			err = h.o.State.Remove(path.Join(heldPath, name))
		case !isRun && !there[id+requestFile] && h.old(name):
			err = h.o.State.Remove(path.Join(heldPath, name))
		default:
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unusableDir(path.Join(heldPath, name), err)
		}
	}
	return nil
}

// old says whether a file of the directory was not touched for long.
func (h *HeldCalls) old(name string) bool {
	info, err := h.o.State.Lstat(path.Join(heldPath, name))
	return err == nil && h.o.Now().Sub(info.ModTime()) > h.o.Keep
}

// sweepOne denies a call that a gateway left waiting, or removes an old one.
func (h *HeldCalls) sweepOne(ctx context.Context, id string, alive map[string]bool) error {
	c, err := readHeld(h.o.State, id, alive)
	switch {
	case err != nil: // whatever is in the files: nobody waits for it
		c = &HeldCall{State: HeldState{Version: "1", ApprovalID: id, Status: HeldWaiting}}
	case c.State.Status == HeldWaiting && c.Alive:
		return nil
	}
	if c.State.Status != HeldWaiting {
		if !h.old(id + stateFile) {
			return nil
		}
		for _, suffix := range []string{payloadFile, responseFile, releasedFile, stateFile, requestFile} {
			if err := h.o.State.Remove(path.Join(heldPath, id+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return unusableDir(path.Join(heldPath, id+suffix), err)
			}
		}
		return nil
	}
	s := c.State
	s.Status, s.Reason, s.EndedAt = HeldDenied, "the gateway was restarted", stamp(h.o.Now())
	if _, err := h.o.State.Lstat(path.Join(heldPath, id+releasedFile)); err == nil {
		s.Reason = "the gateway ended when it had just been approved; whether it was carried out is not known"
	}
	call := &one{HeldCalls: h, q: c.Request, state: s, gateway: &protocol.AuditGateway{GatewayType: h.o.Kind, RequestID: c.Request.StepID, PolicyDecision: protocol.Deny}}
	call.q.ApprovalID = id
	e := call.event(protocol.EventError, fmt.Sprintf("held call %s of run %s is denied: %s", id, c.Request.WorkflowID, s.Reason))
	e.Approval.Reason, e.Severity = s.Reason, protocol.SeverityWarning
	if err := h.o.Trail.Append(ctx, true, e); err != nil {
		return err
	}
	if err := call.saveState(); err != nil {
		return unusableDir(call.file(stateFile), err)
	}
	if h.o.KeepPayloads {
		return nil
	}
	if err := h.o.State.Remove(call.file(payloadFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unusableDir(call.file(payloadFile), err)
	}
	return nil
}

// Reachable gives the first of these directories through which the state directory can be
// written, or part of it: it lies in that one, or has it in itself. A program that may
// write there could answer its own calls. Links are followed; what is not there yet counts
// by its name.
func Reachable(stateDir string, roots []string) (string, bool) {
	state := resolved(stateDir)
	for _, root := range roots {
		if at := resolved(root); within(state, at) || within(at, state) {
			return root, true
		}
	}
	return "", false
}

// within says whether a path is a directory or below it, by names or by what lies there.
func within(p, dir string) bool {
	if rel, err := filepath.Rel(dir, p); err == nil && filepath.IsLocal(rel) {
		return true
	}
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	for {
		if have, err := os.Stat(p); err == nil && os.SameFile(have, info) {
			return true
		}
		if filepath.Dir(p) == p {
			return false
		}
		p = filepath.Dir(p)
	}
}

// resolved follows the links of as much of a path as is there.
func resolved(p string) string {
	abs, err := filepath.Abs(p)
	if err != nil {
		return p
	}
	rest := ""
	for at := abs; ; at = filepath.Dir(at) {
		if found, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(found, rest)
		}
		if filepath.Dir(at) == at {
			return abs
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}
