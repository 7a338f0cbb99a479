package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/config"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

func TestNamesOfSets(t *testing.T) {
	t.Parallel()
	have := []policies.Set{{Name: "baseline"}, {Name: "pol"}}
	for name, c := range map[string]struct {
		list []config.Source
		want string
	}{
		"all differ":     {[]config.Source{{Bundle: "a.tar.gz"}, {Git: ".", Dir: "policies"}, {Name: "x", OCI: "r/p"}}, ""},
		"as a directory": {[]config.Source{{Git: ".", Dir: "pol", Where: "c.yaml:4:3"}}, `the name "pol"`},
		"as a bundled":   {[]config.Source{{Name: "baseline", Git: ".", Where: "c.yaml:4:3"}}, `the name "baseline"`},
		"as each other":  {[]config.Source{{Name: "a", Git: "."}, {Name: "a", Bundle: "b", Where: "c.yaml:4:3"}}, `the name "a"`},
	} {
		err := nameOnce(c.list, have)
		var e *protocol.Error
		switch {
		case c.want == "" && err != nil:
			t.Error(name, err)
		case c.want != "" && (!errors.As(err, &e) || e.Code != "policy_set_twice" || e.ExitCode() != protocol.ExitUsage || e.Where != "c.yaml:4:3" || !strings.Contains(e.Error(), c.want)):
			t.Error(name, err)
		}
	}
}
