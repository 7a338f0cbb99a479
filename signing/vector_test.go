package signing_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/cabincrew/action/signing"
)

// testdata holds one signed approval for other implementations to check
// themselves against, and for us never to change the form by accident. An
// ed25519 key signs the same twice, so signing again must give the same file.
// With CABINCREW_UPDATE_VECTORS=1 the files are written anew.
func TestVector(t *testing.T) {
	t.Parallel()
	key := newKey(t, signing.Ed25519, 1)
	fresh := map[string][]byte{
		"plan-manifest.json":     manifest,
		"approver.pub":           key.Public().PEM(),
		"approval.sigstore.json": signedApproval(t, key),
	}
	stored := map[string][]byte{}
	for name, data := range fresh {
		path := filepath.Join("testdata", "approval", name)
		if os.Getenv("CABINCREW_UPDATE_VECTORS") == "1" {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%s is not what is written today:\n%s", path, data)
		}
		stored[name] = got
	}
	pub, err := signing.ParsePublic(stored["approver.pub"])
	if err != nil {
		t.Fatal(err)
	}
	p, fp, err := signing.VerifyApproval(stored["approval.sigstore.json"], stored["plan-manifest.json"], today, signing.TrustedKey{Key: pub})
	if err != nil {
		t.Fatal(err)
	}
	if fp != pub.Fingerprint() || !p.Response.Approved || p.Response.Approver != "first-maintainer" {
		t.Errorf("read as %+v by %s", p, fp)
	}
}
