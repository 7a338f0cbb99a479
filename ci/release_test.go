package ci

import (
	"encoding/json"
	"testing"
)

func TestReleaseIsRead(t *testing.T) {
	t.Parallel()
	var r struct{ Version *string }
	if err := json.Unmarshal(release, &r); err != nil || r.Version == nil || *r.Version != Release() {
		t.Errorf("release.json is read as %q (%v)", Release(), err)
	}
}
