//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rehashed changes a byte of an artifact, and its hash in the manifest too.
func rehashed(dir string) error {
	const body = "steps/edit/artifacts/changes/body.data"
	before, err := os.ReadFile(filepath.Join(dir, body))
	if err != nil {
		return err
	}
	after := bytes.Replace(before, []byte("+more"), []byte("+mare"), 1)
	old, sum := sha256.Sum256(before), sha256.Sum256(after)
	return errors.Join(os.WriteFile(filepath.Join(dir, body), after, 0o600),
		edit(dir, "plan-manifest.json", hex.EncodeToString(old[:]), hex.EncodeToString(sum[:])))
}

// restated changes what the signed statement says, without signing it.
func restated(from, to string) func(string) error {
	return func(dir string) error {
		name := filepath.Join(dir, "plan.sigstore.json")
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		data, err = changed(data, "dsseEnvelope.payload", func(text string) string { return recoded(text, from, to) })
		if err != nil {
			return err
		}
		return os.WriteFile(name, data, 0o600)
	}
}

// recoded changes what base64 text says.
func recoded(text, from, to string) string {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return text
	}
	return base64.StdEncoding.EncodeToString(bytes.Replace(data, []byte(from), []byte(to), 1))
}

// changed changes one text in a JSON document; path names it by members and, in lists,
// the first element. It is an error if nothing changes.
func changed(document []byte, path string, by func(string) string) ([]byte, error) {
	var root any
	if err := json.Unmarshal(document, &root); err != nil {
		return nil, err
	}
	at := root
	names := strings.Split(path, ".")
	for i, name := range names {
		if list, ok := at.([]any); ok && len(list) > 0 {
			at = list[0]
		}
		object, ok := at.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: no object before %s", path, name)
		}
		if i < len(names)-1 {
			at = object[name]
			continue
		}
		before, ok := object[name].(string)
		if !ok {
			return nil, fmt.Errorf("%s is no text", path)
		}
		after := by(before)
		if after == before {
			return nil, fmt.Errorf("%s did not change", path)
		}
		object[name] = after
	}
	return json.Marshal(root)
}

func auditLines(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		return nil, err
	}
	return strings.SplitAfter(strings.TrimSuffix(string(data), "\n"), "\n"), nil
}

// cut leaves only the first lines of the audit log, fewer than the plan knows.
func cut(dir string) error {
	lines, err := auditLines(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "audit.jsonl"), []byte(strings.Join(lines[:5], "")), 0o600)
}

// rechained changes an event of the plan and makes the chain fit again.
func rechained(dir string) error { return rewritten(dir, 2) }

// rewritten changes the time of an event and makes the chain fit again.
func rewritten(dir string, event int) error {
	lines, err := auditLines(dir)
	if err != nil {
		return err
	}
	if len(lines) < event+2 {
		return fmt.Errorf("the log has only %d lines", len(lines))
	}
	data, err := changed([]byte(lines[event]), "timestamp", func(s string) string { return strings.Replace(s, "T", "t", 1) })
	if err != nil {
		return err
	}
	lines[event] = string(data) + "\n"
	for i := event + 1; i < len(lines); i++ {
		sum := sha256.Sum256([]byte("cabincrew/audit-chain/v1\n" + strings.TrimSuffix(lines[i-1], "\n")))
		data, err := changed([]byte(lines[i]), "chain_hash", func(string) string { return "sha256:" + hex.EncodeToString(sum[:]) })
		if err != nil {
			return err
		}
		lines[i] = string(data) + "\n"
	}
	return os.WriteFile(filepath.Join(dir, "audit.jsonl"), []byte(strings.Join(lines, "")), 0o600)
}

// payload gives what a bundle's signature is over.
func payload(t *testing.T, bundle []byte) string {
	t.Helper()
	var doc struct {
		DSSEEnvelope struct{ Payload []byte } `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &doc); err != nil {
		t.Fatal(err)
	}
	return string(doc.DSSEEnvelope.Payload)
}
