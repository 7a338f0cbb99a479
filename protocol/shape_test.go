package protocol

import (
	"strings"
	"testing"
)

const sampleEvent = `{"artifacts":[{"hash":"sha256:a9a6e0871a49237cb89df714970c3ef7f492b32f1a201b1b6b6699f69d338461","name":"greeting","path":"greeting","role":"evidence","size":13}],` +
	`"chain_hash":"sha256:b21ce42b0fd37fc173899c46d99987d94f9ca4b0ccdb7628609cd4bbad230781","event_id":"6bed44db6dde4b4637ba6e910d8d976dc1800f87c4540ff8b2f972276c93f921",` +
	`"event_type":"artifact_validated","message":"greeting validated [wal 7 sha256:5929c50d35ec94d7f9e51011ab7d5e0c95c6cd00d5af54af0c3162fc6aa1872c]",` +
	`"policy":{"decision":"allow","policy_evaluations":[{"decision":"warn","evaluated_at":"2026-11-22T18:00:00Z","evidence":{"any":[1,{"k":null}]},"policy_id":"p","severity":1,"source":"opa"}],"workflow_state":"INIT"},` +
	`"severity":"info","timestamp":"2026-11-22T18:00:00.123456Z","workflow":{"mode":"flight-plan","step_id":"greet","workflow_id":"w1"},"workflow_state":"PLAN_GENERATED"}`

func TestShape(t *testing.T) {
	t.Parallel()
	shape := ShapeOf(AuditEvent{})
	if err := shape.Scan([]byte(sampleEvent), nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"severity":"info",`, `"severity":"info","sins":1,`, "unknown field"},
		{`"name":"greeting"`, `"nAme":"greeting"`, "$.artifacts[0].nAme"},
		{`"event_type":"artifact_validated",`, ``, `"event_type" is missing`},
		{`,"workflow_state":"PLAN_GENERATED"`, ``, `"workflow_state" is missing`},
		{`"size":13`, `"size":"13"`, "expected an integer"},
		{`"size":13`, `"size":1.5`, "$.artifacts[0]"},
		{`"severity":"info"`, `"severity":null`, "expected text"},
		{`"workflow":{"mode"`, `"workflow":[{"mode"`, "expected an object"},
		{`"artifacts":[{`, `"artifacts":{`, "expected a list"},
		{`"decision":"allow"`, `"decision":"maybe"`, "is not a Decision"},
		{`"source":"opa"`, `"sources":"opa"`, `"source" is missing`},
	} {
		changed := strings.Replace(sampleEvent, c.old, c.new, 1)
		err := shape.Scan([]byte(changed), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s: %v, want %q", c.old, c.new, err, c.want)
		}
	}
}

func TestShapePrefix(t *testing.T) {
	t.Parallel()
	shape := ShapeOf(AuditEvent{})
	for i := range len(sampleEvent) {
		if err := shape.ScanPrefix([]byte(sampleEvent[:i]), nil); err != nil {
			t.Fatalf("%q: %v", sampleEvent[:i], err)
		}
	}
	for _, s := range []string{
		sampleEvent, sampleEvent + "x", `{"x`, `[`, `{}`, `{"chain_hash":"","art`, `{"event_type":`, `{"event_type`, `{"artifacts":1`,
		`{"artifacts":[{"size":9007199254740999`, `{"chain_hash":"\u00ff`, "{\"chain_hash\":\"\xff", "{\"chain_hash\":\"\xff\\", `{"artifacts":[nu`,
	} {
		if err := shape.ScanPrefix([]byte(s), nil); err == nil {
			t.Errorf("%q passed as the beginning of an event", s)
		}
	}
}

// What a shape accepts, strict decoding into the type accepts too.
func FuzzShape(f *testing.F) {
	f.Add([]byte(sampleEvent))
	f.Add([]byte(`{"event_id":"","event_type":"","timestamp":"","workflow_state":""}`))
	shape := ShapeOf(AuditEvent{})
	f.Fuzz(func(t *testing.T, doc []byte) {
		if shape.Scan(doc, nil) != nil {
			return
		}
		var e AuditEvent
		if err := Decode(doc, &e); err != nil {
			t.Fatalf("%q: %v", doc, err)
		}
		if err := CheckCanonical(doc); err != nil {
			t.Fatalf("%q: %v", doc, err)
		}
	})
}
