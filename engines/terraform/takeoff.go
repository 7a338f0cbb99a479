package terraform

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// takeOff applies the saved plan, in the workspace, if everything is as planned.
func takeOff(ctx context.Context, r *kit.Run) (*protocol.EngineOutput, error) {
	s, err := readSettings(r.Input.Config)
	if err != nil {
		return nil, err
	}
	rec, saved, err := planned(r, s)
	if err != nil {
		return nil, err
	}
	base, remove, err := privatePlace(r)
	if err != nil {
		return nil, err
	}
	defer remove()
	dir, err := moduleDir(r.Workspace, s.dir)
	if err != nil {
		return nil, err
	}
	t, err := newTool(r, s, base, dir)
	if err != nil {
		return nil, err
	}
	if err := t.sameVersion(ctx, rec); err != nil {
		return nil, err
	}
	if err := t.init(ctx, s); err != nil {
		return nil, err
	}
	now, err := look(ctx, t, r.Workspace, s)
	if err != nil {
		return nil, err
	}
	if moved := rec.moved(now); len(moved) > 0 {
		return nil, protocol.Errorf(protocol.ExitStale, "terraform_files_moved", "what was planned with has changed: %s", some(moved)).
			WithHint("plan again")
	}
	if err := t.sameState(ctx, saved, rec); err != nil {
		return nil, err
	}
	file := filepath.Join(base, "plan.bin")
	if err := os.WriteFile(file, saved, 0o600); err != nil {
		return nil, fmt.Errorf("preparing the saved plan: %w", err)
	}
	return nil, t.apply(ctx, s, file)
}

// planned reads the saved plan back.
func planned(r *kit.Run, s *settings) (*record, []byte, error) {
	d, body, err := r.Planned(stateName, limits.TerraformPlanFile+limits.TerraformFile)
	if err != nil {
		return nil, nil, err
	}
	if d.ArtifactType != "terraform-saved-plan" || d.BodyFile == "" {
		return nil, nil, kit.InvalidPlan("%s is not a saved plan with a body file", stateName)
	}
	rec, err := recordOf(d.Metadata)
	if err != nil {
		return nil, nil, err
	}
	if rec.Encrypted == s.plaintext {
		return nil, nil, kit.InvalidPlan("whether the saved plan is encrypted is not as configured")
	}
	if !rec.Encrypted {
		return rec, body, nil
	}
	identities, err := identities(r, s)
	if err != nil {
		return nil, nil, err
	}
	saved, err := unseal(body, identities)
	if err != nil {
		return nil, nil, badIdentity(s, "it does not decrypt the saved plan: %w", err)
	}
	return rec, saved, nil
}

func identities(r *kit.Run, s *settings) ([]age.Identity, error) {
	secret, ok := r.Secret(s.identity)
	if !ok {
		return nil, badIdentity(s, "the step has no such secret")
	}
	out, err := age.ParseIdentities(strings.NewReader(secret))
	if err != nil {
		return nil, badIdentity(s, "it is not an age identity") // the cause might quote it
	}
	return out, nil
}

func badIdentity(s *settings, format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.ExitUsage, "terraform_identity", "secret %s: "+format, append([]any{s.identity}, args...)...).
		WithHint("map the age identity (AGE-SECRET-KEY-1…) that belongs to one of encrypt_to under the step's secrets, or name the secret with \"identity\"")
}

// sameVersion refuses to apply with another version than the one that planned.
func (t *tool) sameVersion(ctx context.Context, rec *record) error {
	raw, err := t.capture(ctx, limits.SmallFile, "version", "-json")
	if err != nil {
		return err
	}
	var v struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal(raw, &v); err != nil || v.Version != rec.TerraformVersion {
		return protocol.Errorf(protocol.ExitFailure, "terraform_version_differs", "the plan was made with version %s, here is %.40q", rec.TerraformVersion, v.Version).
			WithHint("use the same version for flight-plan and take-off, or plan again")
	}
	return nil
}

// sameState compares the state with the one that the plan was made for.
func (t *tool) sameState(ctx context.Context, saved []byte, rec *record) error {
	raw, err := t.capture(ctx, limits.TerraformState, "state", "pull")
	if err != nil {
		return err
	}
	now, err := readState(raw)
	if err != nil {
		return err
	}
	if now.serial == rec.Serial && now.lineage == rec.Lineage {
		return nil
	}
	was, err := savedState(saved, zipBefore)
	if err != nil {
		return err
	}
	return stale(rec, now, was.differences(now))
}

func stale(rec *record, now *state, different []string) error {
	what := "no resource differs"
	if len(different) > 0 {
		what = "these differ: " + some(different)
	}
	return protocol.Errorf(protocol.ExitStale, "terraform_state_moved", "the plan was made for serial %s of the state %s, now it is serial %s of %s; %s",
		rec.Serial, lineage(rec.Lineage), now.serial, lineage(now.lineage), what).
		WithHint("somebody changed the state after the plan was made; plan again")
}

func lineage(l string) string {
	if l == "" {
		return "(none yet)"
	}
	return l
}

// apply applies the saved plan. terraform compares the state once more, under its lock.
func (t *tool) apply(ctx context.Context, s *settings, file string) error {
	args := []string{"apply", "-input=false", "-no-color"}
	if s.lockTimeout > 0 {
		args = append(args, "-lock-timeout="+s.lockTimeout.String())
	}
	args = append(append(args, t.parallel(s)...), file)
	code, said, err := t.run(ctx, args...)
	switch {
	case err != nil:
		return err
	case code != 0 && said.has("Saved plan is stale"):
		return protocol.Errorf(protocol.ExitStale, "terraform_state_moved", "the state was changed while the take-off began").
			WithHint("plan again")
	case code != 0:
		return t.failed(args, code, said).WithHint("what was done until then is in the state; the log has the reason; mend it and plan again")
	}
	return nil
}

// ShowWith makes a Show for Derive that runs program in an empty directory below
// temp. It serves plans of modules without other providers than the built-in one.
func ShowWith(program, temp string) func(ctx context.Context, saved []byte) ([]byte, error) {
	return func(ctx context.Context, saved []byte) ([]byte, error) {
		r := &kit.Run{Temp: temp, Log: discard{}}
		base, remove, err := privatePlace(r)
		if err != nil {
			return nil, err
		}
		defer remove()
		file, dir := filepath.Join(base, "plan.bin"), filepath.Join(base, "empty")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, saved, 0o600); err != nil {
			return nil, err
		}
		r.Environ = []string{"HOME=" + base, "TMPDIR=" + base, "LANG=C.UTF-8", "TZ=UTC"}
		t, err := newTool(r, &settings{binary: program}, base, dir)
		if err != nil {
			return nil, err
		}
		return t.capture(ctx, limits.TerraformPlanJSON, "show", "-json", file)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
