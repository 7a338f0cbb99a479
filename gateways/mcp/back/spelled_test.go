package back

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
)

func scanned(t *testing.T, text string) jsonrpc.Message {
	t.Helper()
	m, err := jsonrpc.Scan([]byte(text), jsonrpc.Options{})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

// TestSpelledOtherwise names a request and its token with escapes: they are the same to everybody who reads JSON.
func TestSpelledOtherwise(t *testing.T) {
	t.Parallel()
	// Its own names nobody may write with escapes: such messages are refused.
	for _, key := range []string{`"request\u0049d"`, `"\u0072equestId"`, `"progress\u0054oken"`} {
		if _, err := jsonrpc.Scan([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{`+key+`:7}}`), jsonrpc.Options{}); err == nil {
			t.Errorf("%s is taken", key)
		}
	}
	for _, key := range []string{`"requestId"`, ` "requestId" `} {
		for id, other := range map[string]string{`"a"`: `"\u0061"`, `"\u0061/"`: `"a\/"`, `"x` + "\x7f" + `"`: `"x\u007f"`, `7`: `7`} {
			cancel := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{` + key + `:` + other + `}}`
			// Behind an alias, what is cancelled is the request that was meant.
			r := newRouter("s", 1<<20)
			renamed, a, ok, err := r.rename(scanned(t, `{"jsonrpc":"2.0","id":`+id+`,"method":"x"}`))
			if err != nil || !ok {
				t.Fatal(err)
			}
			if _, err := r.open(renamed, a); err != nil {
				t.Fatal(err)
			}
			out, _, ok, err := r.rename(scanned(t, cancel))
			if err != nil || !ok || !strings.Contains(string(out.Raw), key+`:1}`) {
				t.Errorf("%s of %s became %s, %v, %v", cancel, id, out.Raw, ok, err)
			}
			// Without one, what the child takes back or speaks of goes to its request, though
			// another is newer.
			r = newRouter("s", 1<<20)
			mine, err := r.open(scanned(t, `{"jsonrpc":"2.0","id":`+id+`,"method":"x","params":{"_meta":{"progressToken":`+id+`}}}`), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.open(scanned(t, `{"jsonrpc":"2.0","id":99,"method":"x"}`), nil); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{
				cancel,
				`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + other + `}}`,
				`{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"` + jsonrpc.MetaSubscription + `":` + other + `}}}`,
			} {
				if r.belongs(scanned(t, text)) != mine {
					t.Errorf("%s does not belong to %s", text, id)
				}
			}
		}
	}
}
