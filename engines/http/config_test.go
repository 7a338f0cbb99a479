package http

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/protocol"
)

func quoted(s string) string {
	b, _ := json.Marshal(s) // text always marshals
	return string(b)
}

// with makes a configuration of one request with further settings.
func with(more string) string {
	return `{"requests":[{"name":"a","method":"POST","url":"https://h.example/"` + more + `}]}`
}

func TestConfigRefusals(t *testing.T) {
	t.Parallel()
	header := func(name, value string) string {
		return with(`,"headers":{` + quoted(name) + `:` + quoted(value) + `}`)
	}
	many := make([]string, 0, limits.HTTPHeaders+1)
	for i := range limits.HTTPHeaders + 1 {
		many = append(many, `"h`+strings.Repeat("x", i)+`":"v"`)
	}
	tests := map[string]struct{ config, where, want string }{
		"no requests":            {`{}`, "requests", "missing"},
		"none":                   {`{"requests":[]}`, "requests", "list of 1"},
		"too many":               {`{"requests":[` + strings.Repeat(`{},`, limits.HTTPRequests) + `{}]}`, "requests", "list of 1"},
		"no map":                 {`{"requests":["a"]}`, "requests[0]", "map"},
		"unknown":                {`{"requests":[],"request":1}`, "request", "no such setting"},
		"unknown in a request":   {with(`,"header":{}`), "requests[0].header", "no such setting"},
		"no name":                {`{"requests":[{"method":"GET","url":"https://h.example"}]}`, "requests[0].name", "missing"},
		"no method":              {`{"requests":[{"name":"a","url":"https://h.example"}]}`, "requests[0].method", "missing"},
		"no url":                 {`{"requests":[{"name":"a","method":"GET"}]}`, "requests[0].url", "missing"},
		"name":                   {`{"requests":[{"name":"A/../b"}]}`, "requests[0].name", "lower-case"},
		"twice":                  {`{"requests":[{"name":"a","method":"GET","url":"https://h.example"},{"name":"a","method":"GET","url":"https://h.example"}]}`, "requests[1].name", "requests[0]"},
		"method in lower case":   {`{"requests":[{"name":"a","method":"post"}]}`, "requests[0].method", "upper case"},
		"method with a space":    {`{"requests":[{"name":"a","method":"GET /x"}]}`, "requests[0].method", "upper case"},
		"method with a line":     {`{"requests":[{"name":"a","method":"GET\r\n"}]}`, "requests[0].method", "upper case"},
		"CONNECT":                {`{"requests":[{"name":"a","method":"CONNECT"}]}`, "requests[0].method", "CONNECT"},
		"TRACE":                  {`{"requests":[{"name":"a","method":"TRACE"}]}`, "requests[0].method", "TRACE"},
		"headers":                {with(`,"headers":[]`), "requests[0].headers", "map"},
		"header with a number":   {with(`,"headers":{"A":1}`), "requests[0].headers.A", "text"},
		"header twice":           {with(`,"headers":{"X-A":"1","x-a":"2"}`), "requests[0].headers.x-a", "already"},
		"header and secret":      {with(`,"headers":{"X-A":"1"},"secrets":{"x-a":"T"}`), "requests[0].secrets.x-a", "already"},
		"too many headers":       {with(`,"headers":{` + strings.Join(many, ",") + `}`), "requests[0].headers", "more than 64"},
		"header name":            {header("A B", "x"), "requests[0].headers", "not the name"},
		"header name with line":  {header("A\r\nB", "x"), "requests[0].headers", "not the name"},
		"header name with colon": {header("A:", "x"), "requests[0].headers", "not the name"},
		"header name empty":      {header("", "x"), "requests[0].headers", "not the name"},
		"header line break":      {header("A", "x\r\nB: y"), "requests[0].headers.A", "line break"},
		"header newline":         {header("A", "x\ny"), "requests[0].headers.A", "line break"},
		"header nul":             {header("A", "x\x00"), "requests[0].headers.A", "control"},
		"header beyond ASCII":    {header("A", "ü"), "requests[0].headers.A", "ASCII"},
		"header empty":           {header("A", ""), "requests[0].headers.A", "empty"},
		"header space":           {header("A", " x"), "requests[0].headers.A", "space"},
		"header long":            {header("A", strings.Repeat("x", limits.HTTPHeaderValue+1)), "requests[0].headers.A", "too long"},
		"header Host":            {header("host", "other.example"), "requests[0].headers", "follows from"},
		"header length":          {header("Content-Length", "1"), "requests[0].headers", "follows from"},
		"header encoding":        {header("Transfer-Encoding", "chunked"), "requests[0].headers", "connection"},
		"header connection":      {header("connection", "close"), "requests[0].headers", "connection"},
		"header upgrade":         {header("UPGRADE", "h2c"), "requests[0].headers", "connection"},
		"header TE":              {header("te", "trailers"), "requests[0].headers", "connection"},
		"header trailer":         {header("Trailer", "x"), "requests[0].headers", "connection"},
		"header expect":          {header("Expect", "100-continue"), "requests[0].headers", "connection"},
		"header for a proxy":     {header("Proxy-Authorization", "Basic x"), "requests[0].headers", "proxy"},
		"placeholder":            {header("A", "{{secret:T}}"), "requests[0].headers.A", "under secrets"},
		"secret by value":        {with(`,"secrets":{"A":"not a name"}`), "requests[0].secrets.A", "name of a secret"},
		"secret without name":    {with(`,"secrets":{"A":{"format":"{{secret}}"}}`), "requests[0].secrets.A", "name of a secret"},
		"secret with more":       {with(`,"secrets":{"A":{"secret":"T","x":1}}`), "requests[0].secrets.A", "nothing else"},
		"format without place":   {with(`,"secrets":{"A":{"secret":"T","format":"Bearer"}}`), "requests[0].secrets.A", "once"},
		"format with two":        {with(`,"secrets":{"A":{"secret":"T","format":"{{secret}}{{secret:U}}"}}`), "requests[0].secrets.A", "once"},
		"format of a number":     {with(`,"secrets":{"A":{"secret":"T","format":1}}`), "requests[0].secrets.A", "once"},
		"format with a line":     {with(`,"secrets":{"A":{"secret":"T","format":"{{secret}}\nB: c"}}`), "requests[0].secrets.A", "line break"},
		"secret over http":       {`{"requests":[{"name":"a","method":"GET","url":"http://h.example","secrets":{"A":"T"}}]}`, "requests[0].secrets", "use https"},
		"two bodies":             {with(`,"body":"x","body_file":"y"`), "requests[0].body_file", `beside "body"`},
		"body of a number":       {with(`,"body":1`), "requests[0].body", "text"},
		"body with a secret":     {with(`,"body":"{{secret:T}}"`), "requests[0].body", "headers only"},
		"body too large":         {with(`,"body":"` + strings.Repeat("x", limits.HTTPBodyBytes+1) + `"`), "requests[0].body", "longer"},
		"template":               {with(`,"body_template":"\n{{secret:T}}"`), "requests[0].body_template:2", "not defined"},
		"body outside":           {with(`,"body_file":"../x"`), "requests[0].body_file", "clean"},
		"body in git":            {with(`,"body_file":".git/config"`), "requests[0].body_file", "git's own"},
		"body with a line":       {with(`,"body_file":"a\nb"`), "requests[0].body_file", "cannot be seen"},
		"expect":                 {with(`,"expect":[200]`), "requests[0].expect", "map with status"},
		"expect more":            {with(`,"expect":{"status":[200],"body":"x"}`), "requests[0].expect", "map with status"},
		"expect none":            {with(`,"expect":{"status":[]}`), "requests[0].expect", "1 to"},
		"expect text":            {with(`,"expect":{"status":["200"]}`), "requests[0].expect.status[0]", "200 to 599"},
		"expect 1xx":             {with(`,"expect":{"status":[200,"1xx"]}`), "requests[0].expect.status[1]", "200 to 599"},
		"expect 600":             {with(`,"expect":{"status":[600]}`), "requests[0].expect.status[0]", "200 to 599"},
		"expect fraction":        {with(`,"expect":{"status":[200.5]}`), "requests[0].expect.status[0]", "200 to 599"},
		"key":                    {with(`,"idempotency_key":"yes"`), "requests[0].idempotency_key", "true or false"},
		"key and header":         {with(`,"idempotency_key":true,"headers":{"idempotency-key":"x"}`), "requests[0].idempotency_key", "set already"},
		"timeout":                {`{"timeout":"1h"}`, "timeout", "at most"},
		"timeout of a number":    {`{"timeout":3}`, "timeout", "duration"},
		"timeout zero":           {`{"timeout":"0s"}`, "timeout", "duration"},
		"values":                 {`{"values":[]}`, "values", "map"},
		"value nothing":          {`{"values":{"a":null}}`, "values", "values.a has no value"},
		"message":                {`{"message":"a\nb"}`, "message", "line break"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var m map[string]any
			must(t, protocol.Decode([]byte(tc.config), &m))
			err := Check(m)
			var e *protocol.Error
			if !errors.As(err, &e) || e.Where != "config."+tc.where || !strings.Contains(e.Message, tc.want) || e.Exit != protocol.ExitUsage || e.Hint == "" ||
				e.Code != "http_config" && e.Code != "http_template" {
				t.Errorf("%+v, want config.%s and %q", err, tc.where, tc.want)
			}
		})
	}
}

func TestConfigTakesWhatYAMLGives(t *testing.T) {
	t.Parallel()
	err := Check(map[string]any{"values": map[string]any{"n": int64(1)}, "requests": []any{map[string]any{
		"name": "a", "method": "M-SEARCH", "url": "http://127.0.0.1:80/", "secrets": map[string]any{"A": "T"}, "expect": map[string]any{"status": []any{int64(204), "4xx"}},
	}}})
	if err != nil {
		t.Error(err)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"https://h.example", "https://h.example/", "http://h:8080/a/b?c=d&e=%20f;g", "https://192.0.2.1/x", "https://[2001:db8::1]/x",
		"https://xn--mnchen-3ya.example/", "https://h.example/a%2Fb/...", "https://_svc.h.example/@x:y", "https://h.example/?"} {
		if u, err := parseURL(good); err != nil || u.String() != good {
			t.Errorf("%s is refused: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                            "begin with",
		"h.example":                   "begin with",
		"//h.example/":                "begin with",
		"ftp://h.example/":            "begin with",
		"HTTPS://h.example/":          "begin with",
		"https:h.example":             "begin with",
		"https:///x":                  "no host",
		"https://:80/":                "no host",
		"https://u:p@h.example/":      "user name",
		"https://@h.example/":         "user name",
		"https://h.example/#a":        "fragment",
		"https://h.example/#":         "fragment",
		"https://h.example/a b":       "character",
		"https://h.example/\r\nX: y":  "character",
		"https://h.example/\x00":      "character",
		"https://h.example/ü":         "character",
		"https://h.example\\x":        "character",
		"https://h.example/{x}":       "character",
		"https://h.example/%zz":       "character",
		"https://h.example/?%2":       "character",
		"https://H.example/":          "lower case",
		"https://h.example./":         "dot at its end",
		"https://h..example/":         "lower case",
		"https://-h.example/":         "lower case",
		"https://h.exam%70le/":        "",
		"https://h.example:/":         "port",
		"https://h.example:0/":        "port",
		"https://h.example:080/":      "port",
		"https://h.example:65536/":    "port",
		"https://2130706433/":         "neither a name nor an address",
		"https://0x7f000001/":         "neither a name nor an address",
		"https://127.1/":              "neither a name nor an address",
		"https://0127.0.0.1/":         "neither a name nor an address",
		"https://127.0.0.0x1/":        "neither a name nor an address",
		"https://[::ffff:127.0.0.1]/": "",
		"https://[0:0::1]/":           "usual form",
		"https://[fe80::1%25eth0]/":   "usual form",
		"https://[127.0.0.1]/":        "",
		"https://[h.example]/":        "",
		"https://h.example/a/../b":    "element . or ..",
		"https://h.example/./b":       "element . or ..",
		"https://h.example/%2e%2E/b":  "element . or ..",
		"https://h.example/a%2F..%2f": "element . or ..",
		"https://h.example/a%5c..%5c": "element . or ..",
	} {
		if u, err := parseURL(bad); want == "" && strings.Contains(bad, "::ffff:") {
			continue // an address of its own; who may be reached is for the proxy
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, %v, want %q", bad, u, err, want)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"https://h.example/a?b#c", "http://[::1]:80/%2e%2e", "https://u@h/", "https://1.2.3.4:5/", "https://h/?", "https://h/[x]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := parseURL(raw)
		if err != nil {
			return
		}
		again, err := url.Parse(raw)
		if err != nil || again.String() != raw || u.User != nil || u.Fragment != "" || u.Hostname() == "" || u.Opaque != "" ||
			strings.ContainsFunc(raw, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Errorf("%q was taken as %#v", raw, u)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(declared))
	f.Add([]byte(with(`,"secrets":{"A":{"secret":"T","format":"x {{secret}}"}},"body":"b"`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m map[string]any
		if protocol.Decode(data, &m) != nil {
			return
		}
		s, err := readSettings(m)
		if err != nil {
			if protocol.ExitCode(err) != protocol.ExitUsage {
				t.Errorf("%v has exit %d", err, protocol.ExitCode(err))
			}
			return
		}
		for i := range s.requests {
			if _, err := protocol.Canonical(s.describe(i, nil)); err != nil {
				t.Error(err)
			}
			for name, value := range s.requests[i].headers {
				if strings.ContainsAny(name+value, "\r\n\x00") {
					t.Errorf("the header %q: %q was taken", name, value)
				}
			}
		}
	})
}
