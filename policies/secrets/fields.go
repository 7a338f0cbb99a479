package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cabincrew/action/internal/limits"
	"github.com/cabincrew/action/policies"
	"github.com/cabincrew/action/protocol"
)

// fields writes a value of JSON as lines "key: text", so that expressions see a
// name before its value, and texts as they are and not as JSON escapes them. A key
// whose value is no text stands on a line of its own.
func fields(b *bytes.Buffer, key string, v any, depth int) error {
	if depth > limits.SecretFieldDepth {
		return tooMuch("it is nested too deep")
	}
	switch x := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if !beside(x[k]) {
				b.WriteString(k + "\n")
			}
			if err := fields(b, k, x[k], depth+1); err != nil {
				return err
			}
		}
	case []any:
		for _, m := range x {
			if err := fields(b, key, m, depth+1); err != nil {
				return err
			}
		}
	case nil:
	default:
		fmt.Fprintf(b, "%s: %v\n", key, x)
	}
	return nil
}

// beside says whether fields writes the key of a value beside a text.
func beside(v any) bool {
	switch x := v.(type) {
	case map[string]any, nil:
		return false
	case []any:
		return slices.ContainsFunc(x, beside)
	}
	return true
}

// document looks through any value that JSON can hold.
func (c *scan) document(ctx context.Context, src source, v any) error {
	var b bytes.Buffer
	if err := fields(&b, "", v, 0); err != nil {
		return err
	}
	return c.short(ctx, src, b.Bytes())
}

// tree gives a value as a plain tree of JSON.
func tree(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return protocol.DecodeAny(text)
}

// around looks through what a step says beside its artifacts.
func (c *scan) around(ctx context.Context, in *policies.Input) error {
	receipts := []*protocol.EngineOutput{in.Receipt}
	if in.TakeOff != nil {
		receipts = append(receipts, in.TakeOff.Receipt)
	}
	for _, r := range receipts {
		if r == nil {
			continue
		}
		doc, err := tree(r)
		if err != nil {
			return err
		}
		if err := c.document(ctx, source{file: "receipt", part: PartReceipt}, doc); err != nil {
			return err
		}
	}
	values := map[string]any{}
	for k, v := range in.Context {
		values[k] = v
	}
	if err := c.document(ctx, source{file: "context", part: PartContext}, values); err != nil {
		return err
	}
	isolation := in.Isolation
	isolation.Requests = nil // below
	ran, err := tree(isolation)
	if err != nil {
		return err
	}
	if err := c.document(ctx, source{file: "isolation", part: PartIsolation}, ran); err != nil {
		return err
	}
	if in.TakeOff != nil {
		for _, path := range in.TakeOff.Changed {
			if err := c.short(ctx, source{file: path, part: PartPath}, []byte(path)); err != nil {
				return err
			}
		}
	}
	for _, q := range in.Isolation.Requests {
		if err := c.short(ctx, source{file: "request", part: PartRequest}, []byte(q.Method+" "+q.URL)); err != nil {
			return err
		}
	}
	return nil
}
