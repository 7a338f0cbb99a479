package upstream

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go/eventstream"

	"github.com/cabincrew/action/gateways/llm/route"
)

func hexSum(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// encodeURI escapes a path as signatures of AWS have it.
func encodeURI(path string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"
	var b strings.Builder
	for i := range len(path) {
		if strings.IndexByte(plain, path[i]) >= 0 {
			b.WriteByte(path[i])
			continue
		}
		b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{path[i]})))
	}
	return b.String()
}

// signature makes a signature from what arrived, by what is published and not by the code
// that signs.
// SPEC: AWS Signature Version 4, "Create a signed AWS API request".
func signature(method, path, query string, fields map[string]string, signed []string, body []byte, scope, secretKey string) string {
	var canonical strings.Builder
	canonical.WriteString(method + "\n" + encodeURI(path) + "\n" + query + "\n")
	for _, name := range signed {
		canonical.WriteString(name + ":" + strings.Join(strings.Fields(fields[name]), " ") + "\n")
	}
	canonical.WriteString("\n" + strings.Join(signed, ";") + "\n" + hexSum(body))
	text := "AWS4-HMAC-SHA256\n" + fields["x-amz-date"] + "\n" + scope + "\n" + hexSum([]byte(canonical.String()))
	key := []byte("AWS4" + secretKey)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text))
}

// TestSignatureOfTheSuite holds the test's own signature to the published suite
// (aws-sig-v4-test-suite, get-vanilla).
func TestSignatureOfTheSuite(t *testing.T) {
	t.Parallel()
	got := signature("GET", "/", "", map[string]string{"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}, []string{"host", "x-amz-date"},
		nil, "20150830/us-east-1/service/aws4_request", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
	if got != "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" {
		t.Error(got)
	}
}

const (
	accessKey  = "AKIDEXAMPLE"
	secretKey  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	sessionKey = "session/token+of=the/role"
)

func awsJSON(session, expires string) func(context.Context) (string, error) {
	m := map[string]any{"Version": 1, "AccessKeyId": accessKey, "SecretAccessKey": secretKey}
	if session != "" {
		m["SessionToken"] = session
	}
	if expires != "" {
		m["Expiration"] = expires
	}
	text, _ := json.MarshalIndent(m, "", "  ")
	return func(context.Context) (string, error) { return string(text), nil }
}

// checkSigned says what is wrong with the signature of a request that arrived.
func checkSigned(t *testing.T, r *http.Request, body []byte, session string) {
	t.Helper()
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="+accessKey+"/")
	scope, rest, _ := strings.Cut(rest, ", SignedHeaders=")
	names, sig, _ := strings.Cut(rest, ", Signature=")
	signed := strings.Split(names, ";")
	fields := map[string]string{"host": r.Host, "content-length": r.Header.Get("Content-Length")}
	for name, values := range r.Header {
		fields[strings.ToLower(name)] = strings.Join(values, ",")
	}
	at, err := time.Parse("20060102T150405Z", fields["x-amz-date"])
	if !ok || err != nil || time.Since(at).Abs() > 5*time.Minute || scope != at.Format("20060102")+"/eu-west-1/bedrock/aws4_request" {
		t.Fatalf("%v: %v", r.Header, err)
	}
	for _, must := range []string{"host", "x-amz-date", "content-type"} {
		if !slices.Contains(signed, must) {
			t.Errorf("%s is not signed", must)
		}
	}
	if fields["x-amz-security-token"] != session || session != "" && !slices.Contains(signed, "x-amz-security-token") {
		t.Errorf("session token %q", fields["x-amz-security-token"])
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if want := signature(r.Method, path, query, fields, signed, body, scope, secretKey); sig != want {
		t.Errorf("signed %s, want %s", sig, want)
	}
}

func TestBedrockRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, base, session string
		call                Call
		path, body          string
	}{
		{
			"messages", "", "", Call{Path: "/messages", Model: "anthropic.claude-3-sonnet-20240229-v1:0", Body: []byte(`{ "model": "x", "max_tokens": 1e2,"a":{"model":1} , "stream":false}`)},
			"/model/anthropic.claude-3-sonnet-20240229-v1%3A0/invoke", `{"anthropic_version":"bedrock-2023-05-31","max_tokens": 1e2,"a":{"model":1}}`,
		},
		{
			"a profile's name", "", sessionKey, Call{Path: "/v1/messages", Model: "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.x", Body: []byte(`{"mod\u0065l":"x","m":"ü\u0041"}`)},
			"/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.x/invoke", `{"anthropic_version":"bedrock-2023-05-31","m":"ü\u0041"}`,
		},
		{
			"betas and version", "/prefix", "", Call{
				Path: "/messages", Model: "m", Stream: true, Body: []byte(`{"anthropic_version":"own","stream":true}`),
				Header: http.Header{"Anthropic-Beta": {"a, b", "c"}, "Idempotency-Key": {"once"}},
			},
			"/prefix/model/m/invoke-with-response-stream", `{"anthropic_beta":["a","b","c"],"anthropic_version":"own"}`,
		},
		{"chat", "", sessionKey, Call{Path: "/chat/completions", Body: []byte(`{"model":"x"}`)}, "/openai/v1/chat/completions", `{"model":"x"}`},
		{"chat at a base with version", "/openai/v1", "", Call{Path: "/chat/completions", Body: []byte(`{"model":"x"}`)}, "/openai/v1/chat/completions", `{"model":"x"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.RequestURI != c.path || string(body) != c.body || r.Header.Get("Anthropic-Beta") != "" || r.Header.Get("Accept") != "application/json" {
					t.Errorf("%s %s", r.RequestURI, body)
				}
				checkSigned(t, r, body, c.session)
				_, _ = io.WriteString(w, "{}")
			})
			k := client(t, u+c.base, func(o *Options) {
				o.Kind, o.Region, o.Key, o.Headers = route.Bedrock, "eu-west-1", awsJSON(c.session, "2999-01-01T00:00:00Z"), map[string]string{"X-Own": "a  b"}
			})
			if _, text, err := whole(t, k, c.call); err != nil || text != "{}" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

func TestBedrockKeys(t *testing.T) {
	t.Parallel()
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	})
	bedrock := func(key func(context.Context) (string, error)) *Client {
		return client(t, u, func(o *Options) { o.Kind, o.Region, o.Key = route.Bedrock, "eu-west-1", key })
	}
	if _, text, err := whole(t, bedrock(key), ask()); err != nil || text != "Bearer "+secret {
		t.Errorf("%q, %v", text, err)
	}
	for _, text := range []string{`{`, `{"AccessKeyId":"a"}`, `{"AccessKeyId":"a\nb","SecretAccessKey":"c"}`, `{"AccessKeyId":"a","SecretAccessKey":"c","SessionToken":"d\r\ne"}`, "a\nb"} {
		_, _, err := whole(t, bedrock(func(context.Context) (string, error) { return text, nil }), ask())
		failed(t, err, Key, false)
	}
	_, _, err := whole(t, bedrock(awsJSON("", "2020-01-01T00:00:00Z")), ask())
	failed(t, err, Key, false)
	for _, call := range []Call{
		{Path: "/messages/count_tokens", Model: "m", Body: []byte("{}")},
		{Path: "/embeddings", Model: "m", Body: []byte("{}")},
		{Path: "/messages", Body: []byte("{}")},
		{Path: "/messages", Model: "..", Body: []byte("{}")},
		{Path: "/messages", Model: "a b", Body: []byte("{}")},
		{Path: "/messages", Model: "m", Body: []byte(`[]`)},
		{Path: "/messages", Model: "m", Body: []byte(`{"a":1`)},
		{Path: "/messages", Model: "m", Body: []byte(`{"a":1} {}`)},
		{Path: "/messages", Model: "m"},
	} {
		_, _, err := whole(t, bedrock(key), call)
		failed(t, err, Refused, false)
	}
}

// frame encodes a frame by code that is not ours.
func frame(t testing.TB, payload string, headers ...string) []byte {
	t.Helper()
	m := eventstream.Message{Payload: []byte(payload)}
	m.Headers.Set(":number", eventstream.Int32Value(7))
	m.Headers.Set(":flag", eventstream.BoolValue(true))
	m.Headers.Set(":time", eventstream.TimestampValue(time.Unix(1, 0)))
	for i := 0; i < len(headers); i += 2 {
		m.Headers.Set(headers[i], eventstream.StringValue(headers[i+1]))
	}
	var b bytes.Buffer
	if err := eventstream.NewEncoder().Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func chunkFrame(t testing.TB, event string) []byte {
	t.Helper()
	text, _ := json.Marshal(map[string]any{"bytes": []byte(event), "p": "abcdef"})
	return frame(t, string(text), ":message-type", "event", ":event-type", "chunk")
}

func TestBedrockStream(t *testing.T) {
	t.Parallel()
	start, stop := `{"type":"message_start","message":{}}`, `{"type":"message_stop"}`
	good := slices.Concat(chunkFrame(t, start), frame(t, "{}", ":message-type", "event", ":event-type", "other"), chunkFrame(t, stop))
	const events = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	flipped := slices.Clone(good)
	flipped[len(flipped)-3] ^= 1
	long := slices.Clone(good[:12])
	long[0] = 0x7f
	exception := frame(t, `{"message":"slow `+secret+`"}`, ":message-type", "exception", ":exception-type", "throttlingException")
	for _, c := range []struct {
		name, want string
		stream     []byte
		reason     Reason
	}{
		{"good", events, good, ""},
		{"empty", "", nil, ""},
		{"exception", events + "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"throttlingException\",\"message\":\"slow [key]\"}}\n\n", slices.Concat(good, exception), ""},
		{"error", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"c\",\"message\":\"m\"}}\n\n", frame(t, "", ":message-type", "error", ":error-code", "c", ":error-message", "m"), ""},
		{"cut in a frame", events[:strings.Index(events, "\n\n")+2], good[:len(good)-1], Cut},
		{"cut in a prelude", events, append(slices.Clone(good), 0, 0), Cut},
		{"flipped", events[:strings.Index(events, "\n\n")+2], flipped, Status},
		{"a length that is none", "", long, Status},
		{"no type", "", frame(t, "{}"), Status},
		{"no JSON", "", frame(t, "no", ":message-type", "event", ":event-type", "chunk"), Status},
		{"event that is none", "", chunkFrame(t, `{"type":"a\nb"}`), Status},
		{"lines in it", "event: ping\ndata: {\"type\":\"ping\"\ndata: , \"a\":1}\n\n", chunkFrame(t, "{\"type\":\"ping\"\n,\r\"a\":1}"), ""},
	} {
		for _, size := range []int{1, 1 << 20} {
			u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
				for part := range slices.Chunk(c.stream, size) {
					_, _ = w.Write(part)
					w.(http.Flusher).Flush()
				}
			})
			k := client(t, u, func(o *Options) { o.Kind, o.Region = route.Bedrock, "eu-west-1" })
			a, text, err := whole(t, k, Call{Path: "/messages", Model: "m", Stream: true, Body: []byte("{}")})
			if a == nil || a.Header.Get("Content-Type") != "text/event-stream" || text != c.want {
				t.Errorf("%s: %+v %q, %v", c.name, a, text, err)
			}
			if c.reason != "" {
				failed(t, err, c.reason, true)
			} else if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

// FuzzEventStream says that no stream makes the decoder panic or fill memory, and that what
// it gives out is whole events.
func FuzzEventStream(f *testing.F) {
	f.Add(chunkFrame(f, `{"type":"message_stop"}`))
	f.Add(frame(f, "", ":message-type", "error", ":error-code", "c"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		c := &Client{opt: Options{Name: "far"}}
		s := &eventStream{x: &exchange{c: c}, inner: io.NopCloser(bytes.NewReader(stream))}
		text, _ := io.ReadAll(s)
		if len(text) > 0 && (!bytes.HasPrefix(text, []byte("event: ")) || !bytes.HasSuffix(text, []byte("\n\n"))) {
			t.Errorf("%q", text)
		}
	})
}
