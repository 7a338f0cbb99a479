package terraform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/cabincrew/action/engines/kit"
	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

// artifact is one piece of evidence.
type artifact struct {
	name, kind, action string
	body               map[string]any
}

func (a artifact) description() protocol.Artifact {
	return protocol.Artifact{ArtifactType: a.kind, Action: a.action, Mime: "application/json", Body: a.body}
}

// evidence makes both pieces of evidence from what "show -json" prints of a saved plan.
func evidence(show []byte, secrets []string) (planned, summary artifact, err error) {
	root, left, err := cleanPlan(show, secrets)
	if err != nil {
		return artifact{}, artifact{}, err
	}
	return artifact{planName, "terraform-plan", "apply", root}, artifact{summaryName, "summary", "inform", summarise(root, left)}, nil
}

// seal writes a saved plan, encrypted if there are recipients.
func seal(w io.Writer, saved []byte, recipients []age.Recipient) error {
	if len(recipients) == 0 {
		_, err := w.Write(saved)
		return err
	}
	out, err := age.Encrypt(w, recipients...)
	if err != nil {
		return err
	}
	if _, err := out.Write(saved); err != nil {
		return err
	}
	return out.Close()
}

// unseal gives a saved plan back.
func unseal(body []byte, identities []age.Identity) ([]byte, error) {
	in, err := age.Decrypt(bytes.NewReader(body), identities...)
	if err != nil {
		return nil, err
	}
	return kit.ReadBounded(in, limits.TerraformPlanFile)
}

// DefaultIdentity is the secret that holds the age identity where the step names
// no other.
const DefaultIdentity = "TF_AGE_IDENTITY"

// Identities reads the age identities of a secret's text; none is found in text
// that is not of that form.
func Identities(text string) []age.Identity {
	found, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return nil
	}
	return found
}

// DeriveKeys is what the sealing side needs to look into a saved plan.
type DeriveKeys struct {
	// Age are the identities that may decrypt it.
	Age []age.Identity
	// Show gives what "show -json" prints of a saved plan. The plan is foreign
	// bytes, and reading it is the work of a foreign program: run it isolated
	// (ShowWith makes a Show). nil means that there is none here.
	Show func(ctx context.Context, saved []byte) ([]byte, error)
}

// Derive makes the evidence again from the saved plan and compares it byte for
// byte with the evidence that is there. opaque is true where the saved plan
// cannot be read here: it is encrypted to others, or no Show is given or able.
func Derive(ctx context.Context, artifacts *os.Root, with map[string]any, keys DeriveKeys) (opaque bool, err error) {
	if err := Check(with); err != nil {
		return false, err
	}
	if err := onlyOurs(artifacts); err != nil {
		return false, err
	}
	d, body, err := kit.ReadArtifact(artifacts, stateName, limits.TerraformPlanFile+limits.TerraformFile)
	if err != nil {
		return false, err
	}
	rec, err := recordOf(d.Metadata)
	if err != nil {
		return false, err
	}
	saved := body
	if rec.Encrypted {
		if len(keys.Age) == 0 {
			return true, nil
		}
		var other *age.NoIdentityMatchError
		if saved, err = unseal(body, keys.Age); errors.As(err, &other) {
			return true, nil
		} else if err != nil {
			return false, kit.InvalidPlan("the saved plan cannot be decrypted: %w", err)
		}
	}
	st, err := savedState(saved, zipState)
	if err != nil {
		return false, kit.InvalidPlan("%w", err)
	}
	if st.serial != rec.Serial || st.lineage != rec.Lineage {
		return false, differs(stateName, "serial and lineage of the state")
	}
	if keys.Show == nil {
		return true, nil
	}
	show, err := keys.Show(ctx, saved)
	if err != nil {
		// The program may be missing, of another version, or without the providers.
		return true, ctx.Err()
	}
	return false, compare(artifacts, rec, show)
}

// onlyOurs refuses evidence that nothing here could be compared with.
func onlyOurs(artifacts *os.Root) error {
	f, err := artifacts.Open(".")
	if err != nil {
		return kit.InvalidPlan("the artifacts cannot be listed: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	names, err := f.Readdirnames(limits.Artifacts)
	if err != nil && !errors.Is(err, io.EOF) {
		return kit.InvalidPlan("the artifacts cannot be listed: %w", err)
	}
	slices.Sort(names)
	if want := []string{planName, summaryName, stateName}; !slices.Equal(names, want) {
		return kit.InvalidPlan("the artifacts are %s, not %s", some(names), strings.Join(want, ", "))
	}
	return nil
}

func compare(artifacts *os.Root, rec *record, show []byte) error {
	planned, summary, err := evidence(show, rec.SecretVariables)
	if err != nil {
		return err
	}
	if text(summary.body["terraform_version"]) != rec.TerraformVersion {
		return differs(stateName, "terraform_version")
	}
	for _, a := range []artifact{planned, summary} {
		want, err := protocol.Canonical(a.description())
		if err != nil {
			return err
		}
		got, err := readRaw(artifacts, a.name+"/artifact.json")
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return differs(a.name, firstDifference(got, want))
		}
	}
	return nil
}

func readRaw(artifacts *os.Root, name string) ([]byte, error) {
	info, err := artifacts.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, kit.InvalidPlan("the plan has no file %s", name)
	}
	f, err := artifacts.Open(name)
	if err != nil {
		return nil, kit.InvalidPlan("%w", err)
	}
	defer func() { _ = f.Close() }() // only read
	data, err := kit.ReadBounded(f, limits.ArtifactJSON)
	if err != nil {
		return nil, kit.InvalidPlan("%s: %w", name, err)
	}
	return data, nil
}

func firstDifference(a, b []byte) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return fmt.Sprintf("artifact.json, first at byte %d", i)
}

func differs(name, what string) *protocol.Error {
	return protocol.Errorf(protocol.ExitIntegrity, "evidence_differs", "what the saved plan says and the evidence differ: %s", what).
		At(name).WithHint("the evidence was not made from this saved plan; plan again, and find out what changed it")
}
