package config

import (
	"time"

	"github.com/cabincrew/action/protocol"
)

// Source is a policy set that does not lie in a directory of the workspace: exactly
// one of Bundle, OCI and Git is set.
type Source struct {
	Where string // file:line:column, for messages
	Name  string // of the set

	Bundle string // slash path of an OPA bundle (.tar.gz), relative to the configuration
	Key    string // slash path of the public key that must have signed it, or
	SHA256 string // the digest that it must have, in hex

	OCI    string // reference with a digest
	Layout string // a directory to take it from, instead of a registry

	Git string // a repository: "." is this one, an absolute path, or a URL
	Ref string // a branch, tag or commit
	Dir string // slash path of the directory in the repository
}

// SecretScan says how plans are searched for secrets.
type SecretScan struct {
	Scan     bool
	Decision protocol.Decision // for what is found; a mapped secret's value always denies
	Role     string            // for require_approval
	Baseline string            // slash path of the file of known findings, or ""
}

// Exemption says that what a rule finds in some files is accepted for a while.
type Exemption struct {
	Rule   string
	Paths  []string // globs
	Until  time.Time
	Reason string
}

// After says which policies judge what a take-off did.
type After struct {
	Bundled []string
	Rego    []string
}

// Rule is a rule without Rego.
type Rule struct {
	Where    string // file:line:column, for messages
	ID       string
	Match    Match
	Except   *Match
	Decision protocol.Decision
	Role     string
	Reason   string
}

// Match says what a rule is about. Everything that is given must hold.
type Match struct {
	Steps, Branches, Labels         []string
	ArtifactTypes, Actions, Targets []string
	Paths, Operations               []string
	Files, Lines, Bytes, Artifacts  Range
}

// Range bounds a count; nil is no bound.
type Range struct{ AtLeast, AtMost *int64 }

// What a model takes.
const (
	ModelString   = "string"
	ModelFeatures = "features"
)

// Model is a model that judges. Exactly one of Bundled, Path and OCI is set.
type Model struct {
	Where string // file:line:column, for messages
	Name  string

	Bundled string
	Path    string // slash path relative to the configuration
	OCI     string // reference with a digest
	Layout  string // a directory to take it from, instead of a registry
	File    string // in the artifact
	SHA256  string // of the model's bytes, in hex; "" only for a bundled one

	Input     string
	Types     []string // of artifacts
	Roles     []string
	Mime      []string // globs
	Parts     []string // added, body, metadata
	Window    int64    // bytes of text
	Overlap   int64
	Output    string
	Labels    []string
	Decisions []ModelDecision
	Timeout   Duration
	OnError   protocol.Decision
}

// ModelDecision is what follows from a label's score.
type ModelDecision struct {
	Label    string
	AtLeast  string // a decimal number from 0 to 1
	Decision protocol.Decision
	Role     string
}
