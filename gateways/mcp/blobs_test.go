package mcp_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways"
	"github.com/cabincrew/action/gateways/mcp"
	"github.com/cabincrew/action/gateways/mcp/jsonrpc"
	"github.com/cabincrew/action/gateways/mcp/link"
	"github.com/cabincrew/action/protocol"
)

// TestBlobs puts a secret into results in base64, in all places where it may stand: it is
// read wherever it can be text.
func TestBlobs(t *testing.T) {
	t.Parallel()
	const key = "AKIAZ7WQNBX5LMK3RTPD"
	filler := strings.Repeat("some text of a file\n", 30)
	text := base64.StdEncoding.EncodeToString([]byte(filler + key + "\n"))
	short := base64.StdEncoding.EncodeToString([]byte(key))
	raw := base64.RawURLEncoding.EncodeToString([]byte(filler + key + "??>>~~"))
	picture := base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x00\xff" + filler + key))
	latin := base64.StdEncoding.EncodeToString([]byte("gr\xfc\xdfe " + filler + key))
	for name, c := range map[string]struct {
		method, result string
		denied         bool
		bytes          bool // policies read that there are bytes, and how many
	}{
		"text in a resource":        {"resources/read", `{"contents":[{"uri":"x://a","mimeType":"text/plain; charset=utf-8","blob":"` + text + `"}]}`, true, false},
		"no type":                   {"resources/read", `{"contents":[{"uri":"x://a","blob":"` + text + `"}]}`, true, false},
		"text that is no UTF-8":     {"resources/read", `{"contents":[{"uri":"x://a","mimeType":"application/yaml","blob":"` + latin + `"}]}`, true, false},
		"other base64":              {"resources/read", `{"contents":[{"uri":"x://a","mimeType":"text/plain","blob":"` + raw + `"}]}`, true, false},
		"short":                     {"resources/read", `{"contents":[{"uri":"x://a","mimeType":"application/json","blob":"` + short + `"}]}`, true, false},
		"text that says bytes":      {"resources/read", `{"contents":[{"uri":"x://a","mimeType":"application/octet-stream","blob":"` + text + `"}]}`, true, false},
		"bytes":                     {"resources/read", `{"contents":[{"uri":"x://a","mimeType":"application/octet-stream","blob":"` + picture + `"}]}`, false, true},
		"embedded text":             {"tools/call", `{"content":[{"type":"resource","resource":{"uri":"x://a","mimeType":"text/csv","blob":"` + text + `"}}]}`, true, false},
		"embedded bytes":            {"tools/call", `{"content":[{"type":"resource","resource":{"uri":"x://a","mimeType":"application/pdf","blob":"` + picture + `"}}]}`, false, true},
		"picture":                   {"tools/call", `{"content":[{"type":"image","mimeType":"image/png","data":"` + picture + `"}]}`, false, true},
		"picture of text":           {"tools/call", `{"content":[{"type":"image","mimeType":"image/png","data":"` + text + `"}]}`, true, false},
		"drawing":                   {"tools/call", `{"content":[{"type":"image","mimeType":"image/svg+xml","data":"` + latin + `"}]}`, true, false},
		"picture with another type": {"tools/call", `{"content":[{"type":"image","mimeType":"text/plain","data":"` + latin + `"}]}`, true, false},
		"picture of a prompt":       {"prompts/get", `{"messages":[{"role":"user","content":{"type":"image","mimeType":"image/png","data":"` + picture + `"}}]}`, false, true},
		"text of a prompt":          {"prompts/get", `{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"x://a","blob":"` + text + `"}}}]}`, true, false},
		"structured":                {"tools/call", `{"content":[],"structuredContent":{"type":"image","mimeType":"image/png","data":"` + text + `"}}`, true, false},
		"structured blob":           {"tools/call", `{"content":[],"structuredContent":{"contents":[{"mimeType":"image/png","blob":"` + text + `"}]}}`, true, false},
		"elsewhere":                 {"tools/call", `{"content":[],"_meta":{"data":"` + text + `"}}`, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var seen string
			r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
				if d.Phase == gateways.PhaseResponse {
					seen = fmt.Sprint(d.Input["context"].(map[string]any)["result"])
				}
				for _, one := range d.Texts { // as the secret scan reads texts in base64
					if strings.Contains(one.Value, key) || strings.Contains(one.Value, text) {
						return verdict(protocol.Deny, "a secret")
					}
				}
				return allow(d)
			}
			answer := `{"jsonrpc":"2.0","id":1,"result":` + c.result + `}`
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return body(answer) }
			got, code := r.one(`{"jsonrpc":"2.0","id":1,"method":"` + c.method + `","params":{"name":"a","uri":"x://a"}}`)
			if denied := code == -32050; denied != c.denied || !denied && got != answer {
				t.Errorf("%.200s", got)
			}
			if bytes := strings.Contains(seen, "base64, "); bytes != c.bytes {
				t.Errorf("policies read %.200s", seen)
			}
		})
	}
}

func TestBlobsAreNotRewritten(t *testing.T) {
	t.Parallel()
	text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("lines of it\n", 30) + "hunter2"))
	answer := `{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"x://a","mimeType":"text/plain","blob":"` + text + `"}]}}`
	read := `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x://a"}}`
	for name, change := range map[string]func(*rig){
		"own secret": func(*rig) {},
		"policy": func(r *rig) {
			r.judge.say = func(d gateways.Document) (gateways.Verdict, error) {
				v, err := allow(d)
				if d.Phase == gateways.PhaseResponse {
					v.Changes = []gateways.Change{{At: "/result/contents/0/blob", Value: "[REDACTED]"}}
				}
				return v, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *mcp.GuardOptions) {
				if name == "own secret" {
					o.Redact = hide("hunter2")
				}
			})
			change(r)
			r.server.answer = func(jsonrpc.Message) (*link.Answer, error) { return body(answer) }
			if got, code := r.one(read); code != -32050 || !strings.Contains(got, "base64") || strings.Contains(got, text) {
				t.Errorf("%s", got)
			}
		})
	}
}
