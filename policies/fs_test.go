package policies_test

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// TestFromElsewhere: a source whose files would be left out, or are too many, is not
// what it should be; that denies.
func TestFromElsewhere(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]string{"data.yml": "policy_file_name", "a.REGO": "policy_file_name", "DATA.json": "policy_file_name", "x.txt": "policy_set_empty"} {
		files := fstest.MapFS{name: {Data: []byte("x")}}
		_, err := policies.FromFS(t.Context(), "s", "acme.tar.gz", files)
		if !errors.Is(err, protocol.Code(code)) || protocol.ExitCode(err) != protocol.ExitDenied {
			t.Errorf("%s: %v, exit %d", name, err, protocol.ExitCode(err))
		}
	}
	if s, err := policies.FromFS(t.Context(), "s", "acme.tar.gz", fstest.MapFS{"a.rego": {Data: []byte("x")}}); err != nil || len(s.Files) != 1 {
		t.Error(s, err)
	}
}
