//go:build e2e

package e2e

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// TestCosignFindsAStoredFlight lets cosign list and fetch the signature of a flight in
// a registry, one that lists referrers by itself and one that does not.
func TestCosignFindsAStoredFlight(t *testing.T) {
	t.Parallel()
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers %v", api), func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(registry.New(registry.WithReferrersSupport(api)))
			t.Cleanup(server.Close)
			w := newWS(t, "signing: {key: keys/plan}\n")
			s := w.json(4, "flight-plan")
			place := strings.TrimPrefix(server.URL, "http://") + "/team/flights"
			ref := strings.TrimPrefix(strings.TrimSpace(w.want(0, "push", s.WorkflowID, "oci:"+place).stdout), "oci:")
			tree := cosign(t, "tree", "--allow-http-registry", ref)
			if tree.code != 0 || !strings.Contains(tree.stdout, "dev.sigstore.bundle") && !strings.Contains(tree.stdout, "flight-plan/v1") {
				t.Errorf("cosign does not list the signature: %s%s", tree.stdout, tree.stderr)
			}
			got := cosign(t, "download", "attestation", "--allow-http-registry", ref)
			want, err := os.ReadFile(of(s.FlightDir).bundle)
			if err != nil {
				t.Fatal(err)
			}
			if got.code != 0 || !strings.Contains(got.stdout, "dsseEnvelope") || len(want) == 0 {
				t.Errorf("cosign does not fetch the signature: %d %s%s", got.code, got.stdout, got.stderr)
			}
			w.want(0, "verify", "oci:"+ref)
		})
	}
}
