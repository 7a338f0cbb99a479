package gateways

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// stateDir is the directory of the gateways in a state directory; below it each kind of
// gateway has one with a directory for each of its runs, and all share that of held calls.
const (
	stateDir = "gateways"
	heldDir  = "held"
)

// NewRunID names a run of a gateway: such names sort by time.
func NewRunID(now time.Time, random io.Reader) (string, error) {
	var b [4]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("naming a run: %w", err)
	}
	return fmt.Sprintf("gw-%s-%x", now.UTC().Format("20060102t150405"), b), nil
}

// MakeRun makes the directory of a new run of a gateway of a kind (mcp, llm). It must be
// closed.
func MakeRun(state *os.Root, kind, runID string) (*os.Root, error) {
	if !protocol.ValidWorkflowID(kind) || kind == heldDir || !protocol.ValidWorkflowID(runID) {
		return nil, protocol.Errorf(protocol.ExitUsage, "gateway_run", "%q and %q do not name a run of a gateway", kind, runID)
	}
	if err := makeDirs(state, stateDir, path.Join(stateDir, kind)); err != nil {
		return nil, err
	}
	dir := path.Join(stateDir, kind, runID)
	err := state.Mkdir(dir, 0o700)
	if err == nil {
		err = syncDir(state, path.Dir(dir))
	}
	if err != nil {
		return nil, unusableDir(dir, err)
	}
	root, err := state.OpenRoot(dir)
	if err != nil {
		return nil, unusableDir(dir, err)
	}
	return root, nil
}

// Run is one run of a gateway as it lies in a state directory.
type Run struct{ Kind, ID string }

// Runs lists the runs in a state directory, oldest first for each kind.
func Runs(state *os.Root) ([]Run, error) {
	var out []Run
	kinds, err := names(state, stateDir, 64)
	for _, kind := range kinds {
		if err != nil || kind == heldDir || !protocol.ValidWorkflowID(kind) {
			continue
		}
		var ids []string
		ids, err = names(state, path.Join(stateDir, kind), limits.GatewayRuns)
		for _, id := range ids {
			if protocol.ValidWorkflowID(id) {
				out = append(out, Run{kind, id})
			}
		}
	}
	return out, err
}

// OpenRun opens the directory of a run. It must be closed.
func OpenRun(state *os.Root, r Run) (*os.Root, error) {
	dir := path.Join(stateDir, r.Kind, r.ID)
	if !protocol.ValidWorkflowID(r.Kind) || !protocol.ValidWorkflowID(r.ID) {
		return nil, protocol.Errorf(protocol.ExitUsage, "gateway_run", "%q and %q do not name a run of a gateway", r.Kind, r.ID)
	}
	if err := realDir(state, dir); err != nil {
		return nil, err
	}
	root, err := state.OpenRoot(dir)
	if err != nil {
		return nil, unusableDir(dir, err)
	}
	return root, nil
}

// names lists a directory, sorted; one that is not there has none.
func names(root *os.Root, dir string, most int) ([]string, error) {
	err := realDir(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := root.Open(dir)
	if err != nil {
		return nil, unusableDir(dir, err)
	}
	list, err := d.Readdirnames(most + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, unusableDir(dir, err)
	}
	if len(list) > most {
		return nil, protocol.Errorf(protocol.ExitIntegrity, "gateway_dir_full", "more than %d files are in it", most).At(dir).
			WithHint("move old ones away")
	}
	slices.Sort(list)
	return list, nil
}

// makeDirs makes directories that are not there yet, durably.
func makeDirs(root *os.Root, dirs ...string) error {
	for _, dir := range dirs {
		err := root.Mkdir(dir, 0o700)
		switch {
		case err == nil:
			err = syncDir(root, path.Dir(dir))
		case errors.Is(err, fs.ErrExist):
			err = realDir(root, dir)
		}
		if err != nil {
			return unusableDir(dir, err)
		}
	}
	return nil
}

// realDir refuses what is no directory, also a link to one.
func realDir(root *os.Root, dir string) error {
	info, err := root.Lstat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err != nil {
		return unusableDir(dir, err)
	}
	return nil
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func unusableDir(dir string, err error) error {
	var known *protocol.Error
	if errors.As(err, &known) {
		return err
	}
	return protocol.Errorf(protocol.ExitUnreachable, "gateway_state", "the gateway's state cannot be kept there: %w", err).At(dir).
		WithHint("make room, and let this user write to the state directory")
}
