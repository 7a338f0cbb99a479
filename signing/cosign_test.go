package signing_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cabincrew/action/signing"
)

// cosign is a judge that shares no strictness with this package: it must accept
// what Sign writes, refuse another manifest or type, and read our keys.
func TestCosignVerifies(t *testing.T) {
	t.Parallel()
	cosign, err := exec.LookPath("cosign")
	if err != nil {
		t.Skipf("skipped: no cosign on PATH to judge our bundles (go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3): %v", err)
	}
	for _, typ := range keyTypes {
		t.Run(string(typ), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			private, public, err := signing.Generate(typ, []byte("secret"), nil)
			if err != nil {
				t.Fatal(err)
			}
			key, err := signing.LoadPrivate(private, pass("secret"))
			if err != nil {
				t.Fatal(err)
			}
			file := func(name string, data []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			keyFile, pubFile := file("key", private), file("key.pub", public)
			bundle := file("a.sigstore.json", signedApproval(t, key))
			good, other := file("plan-manifest.json", manifest), file("other.json", []byte("{}"))
			run := func(args ...string) ([]byte, error) {
				cmd := exec.CommandContext(t.Context(), cosign, args...)
				cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "COSIGN_PASSWORD=secret"}
				return cmd.CombinedOutput()
			}
			verify := func(predicateType, artifact string) ([]byte, error) {
				return run("verify-blob-attestation", "--key", pubFile, "--bundle", bundle, "--insecure-ignore-tlog",
					"--type", predicateType, artifact)
			}
			if out, err := verify(signing.ApprovalType, good); err != nil {
				t.Errorf("cosign refuses our bundle: %v\n%s", err, out)
			}
			if out, err := verify(signing.ApprovalType, other); err == nil {
				t.Errorf("cosign accepts another manifest:\n%s", out)
			}
			if out, err := verify(signing.TakeOffType, good); err == nil {
				t.Errorf("cosign accepts another type:\n%s", out)
			}
			if out, err := run("public-key", "--key", keyFile); err != nil || !bytes.Contains(out, bytes.TrimSpace(public)) {
				t.Errorf("cosign does not read our private key: %v\n%s", err, out)
			}
		})
	}
}
