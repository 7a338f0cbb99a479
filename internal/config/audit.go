package config

import (
	"fmt"
	"strings"
)

// Audit says how the audit log is signed.
type Audit struct {
	Sign string // "" (not at all), AuditEach or AuditCheckpoint
	Key  string // a file, set where Sign is
}

// What of the audit log is signed.
const (
	AuditEach       = "each"       // every event, and checkpoints
	AuditCheckpoint = "checkpoint" // how far the log has come, at the end of each command
)

// audit reads the block; without a key of its own, the log is signed with the plan's.
func (r *reader) audit(top *object, signing Signing) Audit {
	n, p := top.at("audit")
	o := r.object(n, p, "sign", "key")
	a := Audit{Sign: o.text("sign", "", oneOf(AuditEach, AuditCheckpoint)), Key: o.text("key", "", auditKey)}
	switch local := signing.Key != "" && !strings.Contains(signing.Key, "://"); {
	case a.Sign == "" && a.Key != "":
		node, where := o.at("key")
		r.failf(node, "config_value", "say what is signed: sign: checkpoint", "%s does nothing without %s.sign", where, p)
	case a.Sign != "" && a.Key == "" && !local:
		node, where := o.at("sign")
		r.failf(node, "config_missing", "name the file of a private key: audit: {key: FILE}", "%s needs %s.key, since signing.key is no file", where, p)
	case a.Sign != "" && a.Key == "":
		a.Key = signing.Key
	}
	return a
}

// auditKey accepts a file: a signature for each event is too much for a key service.
func auditKey(s string) (string, string) {
	if strings.Contains(s, "://") {
		return fmt.Sprintf("is no file: %q", short(s)), "name the file of a private key"
	}
	return secretFile(s)
}
