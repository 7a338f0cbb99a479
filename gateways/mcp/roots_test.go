package mcp_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/gateways/mcp/paths"
)

// checker gives the real checker of paths with one root.
func checker(t *testing.T) (root string, c *paths.Checker) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err = paths.New(paths.Options{Roots: []string{root}, Base: root})
	if err != nil {
		t.Fatal(err)
	}
	return root, c
}

// TestRootsOfTheClient lets a client tell a server where it may work: servers take these
// directories in the place of their own.
func TestRootsOfTheClient(t *testing.T) {
	t.Parallel()
	root, c := checker(t)
	for answer, ok := range map[string]bool{
		`{"roots":[]}`: true,
		`{"roots":[{"uri":"file://` + root + `","name":"a/../../b"}]}`:       true,
		`{"roots":[{"uri":"file://` + root + `/sub"}]}`:                      true,
		`{"roots":[{"uri":"file:///"}]}`:                                     false,
		`{"roots":[{"uri":"file://` + root + `"},{"uri":"file:///etc"}]}`:    false,
		`{"roots":[{"uri":"file://` + root + `/../"}]}`:                      false,
		`{"roots":[{"uri":"` + filepath.Dir(root) + `"}]}`:                   false,
		`{"roots":["file:///etc"]}`:                                          false,
		`{"roots":{"a":{"uri":"file:///etc"}}}`:                              false,
		`{"roots":[{"uri":"file:\u002f//etc"}],"_meta":{"a":"file:///etc"}}`: false,
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *mcp.GuardOptions) { o.Paths, o.Roots = c, []string{root} })
			st := streamOf(`{"jsonrpc":"2.0","id":"r","method":"roots/list"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`)
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return &link.Answer{Status: 200, Stream: st}, nil }
			r.send(`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x://a"}}`)
			r.send(`{"jsonrpc":"2.0","id":"r","result":` + answer + `}`)
			sent := r.server.sent(`"id":"r"`)
			if len(sent) != 1 || strings.Contains(sent[0], `"result"`) != ok {
				t.Errorf("the server heard %q", sent)
			}
			if !ok && !strings.Contains(sent[0], "gateway/paths") {
				t.Errorf("the server heard %q", sent)
			}
			// So with the answers of the revision without sessions, and whatever the method.
			r.server.answer = echo
			for _, method := range []string{"tools/call", "prompts/get", "resources/read"} {
				text, got := r.one(`{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{"name":"echo","uri":"x://a","inputResponses":{"a/b":` + answer + `}}}`)
				if (got == 0) != ok {
					t.Errorf("%s: %s", method, text)
				}
			}
		})
	}
}

func TestPathsOfUnknownMethods(t *testing.T) {
	t.Parallel()
	root, c := checker(t)
	r := newRig(t, func(o *mcp.GuardOptions) { o.Paths, o.Roots = c, []string{root} })
	for params, want := range map[string]int{
		`{"path":"` + root + `/sub"}`:                0,
		`{"_meta":{"path":"/etc/passwd"}}`:           0,
		`{"path":"/etc/passwd"}`:                     -32050,
		`{"deep":{"files":["../../../etc/passwd"]}}`: -32050,
		`{"what":"file:///etc/passwd"}`:              -32050,
	} {
		if text, code := r.one(`{"jsonrpc":"2.0","id":1,"method":"vendor/open","params":` + params + `}`); code != want {
			t.Errorf("%s: %s", params, text)
		}
	}
}
