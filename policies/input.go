package policies

import (
	"io"

	"github.com/cabincrew/action/protocol"
)

// Input is the document that every judge reads; docs/policy-input.md describes
// it for authors of policies. All lists are present even if empty.
// SPEC: docs/protocol.md 6.
type Input struct {
	Artifacts []Artifact             `json:"artifacts"`
	Receipt   *protocol.EngineOutput `json:"receipt,omitempty"`
	PlanToken *protocol.PlanToken    `json:"plan_token,omitempty"`
	// Context is the token's context.
	Context map[string]string `json:"context"`
	// Config is the step's resolved configuration; secrets are there by name only.
	Config    map[string]any `json:"config"`
	Mode      protocol.Mode  `json:"mode"`
	Isolation Isolation      `json:"isolation"`
	// Opaque says that what the evidence says of the state is the engine's claim only.
	Opaque bool `json:"opaque"`
	// Workspace is what is known of the workspace as a whole, if anything.
	Workspace *Workspace `json:"workspace,omitempty"`
	// Change is what is known of the change that the plan belongs to.
	Change Change `json:"change"`
	// Governance is what the policies and the configuration in force are made of.
	Governance Governance `json:"governance"`
	// TakeOff is what a take-off did; only policies over take-offs see it.
	TakeOff *TakeOff `json:"take_off,omitempty"`

	// Bodies gives whole artifact bodies to judges that read bytes. Without it, a
	// judge has what the document holds, and what it cannot read it denies.
	Bodies Bodies `json:"-"`
}

// Bodies gives the bytes of artifact bodies.
type Bodies interface {
	// Open opens the body of an artifact of the step by its name.
	Open(artifact string) (io.ReadCloser, error)
}

// Change describes the change that a plan belongs to, as a forge or git knows it.
type Change struct {
	// Branch is the branch that the change goes into; outside a forge, the branch
	// that is checked out. Empty if it is not known.
	Branch string `json:"branch"`
	// Labels are the change's labels; meaningful only if LabelsKnown.
	Labels      []string `json:"labels"`
	LabelsKnown bool     `json:"labels_known"`
}

// TakeOff is what a step's take-off did.
type TakeOff struct {
	Receipt *protocol.EngineOutput `json:"receipt,omitempty"`
	// Changed are the paths of the workspace that differ from before, sorted, if
	// ChangedKnown: a take-off that was interrupted and resumed cannot tell.
	Changed      []string `json:"changed"`
	ChangedKnown bool     `json:"changed_known"`
}

// Isolation says what held the engine while it planned.
type Isolation struct {
	Tier        string   `json:"tier"`           // "A", "B" or "C"
	LandlockABI int      `json:"landlock_abi"`   // 0: no Landlock
	NetNS       bool     `json:"netns"`          // own network namespace
	Seccomp     string   `json:"seccomp_sha256"` // of the system call filter, "" without one
	Missing     []string `json:"missing"`
	// Attempts are forbidden calls that the engine tried; Over is the limit that
	// ended it; Requests are what it asked of the network; Tools what it could run.
	Attempts []Attempt `json:"attempts"`
	Over     string    `json:"over"`
	Requests []Request `json:"requests"`
	Tools    []Tool    `json:"tools"`
}

// Attempt is a forbidden system call with how often it was tried.
type Attempt struct {
	Call  string `json:"call"`
	Count int    `json:"count"`
}

// Request is one request of the engine to the network.
type Request struct {
	Method   string `json:"method"`
	URL      string `json:"url"`
	Allowed  bool   `json:"allowed"`
	Reason   string `json:"reason"`
	Status   int    `json:"status"`
	Sent     int64  `json:"sent"`
	Received int64  `json:"received"`
}

// Tool is a program that the engine could execute.
type Tool struct {
	Name   string `json:"name"`
	Path   string `json:"path"`
	Digest string `json:"digest"`
}

// Workspace describes the workspace that the step saw.
type Workspace struct {
	// Files is how many files the step's inputs select.
	Files int64 `json:"files"`
}

// Governance names the files that decide over flights.
type Governance struct {
	// Paths are relative to the workspace, with slashes: the configuration file,
	// policy directories (ending in "/"), models, approvers' keys.
	Paths []string `json:"paths"`
}

// Artifact is one artifact that is judged. Log artifacts are not judged.
type Artifact struct {
	Name         string         `json:"name"`
	Role         string         `json:"role"`
	ArtifactType string         `json:"artifact_type"`
	Action       string         `json:"action"`
	Target       string         `json:"target"`
	Mime         string         `json:"mime"`
	Metadata     map[string]any `json:"metadata"`
	// Body is the body as JSON (where the MIME type is JSON) or as text, if it
	// is at most limits.PolicyBody bytes and UTF-8; else Digest is set.
	Body   any    `json:"body,omitempty"`
	Digest string `json:"digest,omitempty"`
	Hash   string `json:"hash"`
	Size   int64  `json:"size"`
	// Content says what the bytes of the body are; nil where there is none, and of a
	// patch, whose files say it.
	Content *Content `json:"content,omitempty"`
	// Patch is the parsed view of an artifact of type "patch".
	Patch *Patch `json:"patch,omitempty"`
	// ViewError says why a body of a known kind has no parsed view: a rule about
	// what it holds saw nothing.
	ViewError string `json:"view_error,omitempty"`
	// Seems says, beside ViewError, what the body looks like: "kubernetes",
	// "terraform" or "other". It is empty if nobody looked into the body.
	Seems string `json:"seems,omitempty"`
	// Documents are the documents of a body that is YAML or JSON.
	Documents []any `json:"documents,omitempty"`
	// Kubernetes are those of them that are Kubernetes objects; lists are taken apart.
	Kubernetes []any `json:"kubernetes,omitempty"`
	// Terraform is the parsed view of a plan in Terraform's JSON form.
	Terraform *Terraform `json:"terraform,omitempty"`

	// BodyFile is the name that the engine gave the file of the body.
	BodyFile string `json:"-"`
}

// Content says what a body's bytes are, whatever its MIME type says.
type Content struct {
	// Binary says, as git does, that a NUL byte is among the first 8000.
	Binary bool `json:"binary"`
	UTF8   bool `json:"utf8"`
	// LongestLine is the length of the longest line in bytes, without its end.
	LongestLine int64 `json:"longest_line"`
}

// Terraform is the parsed view of a plan of Terraform or OpenTofu.
type Terraform struct {
	FormatVersion string              `json:"format_version"`
	Resources     []TerraformResource `json:"resources"`
	// Counts says how many resources have each action.
	Counts map[string]int64 `json:"counts"`
}

// TerraformResource is one resource change of a plan.
type TerraformResource struct {
	Address  string `json:"address"`
	Mode     string `json:"mode"` // managed or data
	Type     string `json:"type"`
	Name     string `json:"name"`
	Provider string `json:"provider"`
	// Action is create, update, replace, destroy, read, forget or no-op.
	Action string `json:"action"`
	// Before and After are the attributes; null where there are none.
	Before  any `json:"before"`
	After   any `json:"after"`
	Unknown any `json:"unknown"` // which of After only take-off will tell
	// ReplacePaths are the attributes that force a replacement.
	ReplacePaths []any `json:"replace_paths"`
	// Deposed is the key of an object that an earlier replacement left behind.
	Deposed string `json:"deposed,omitempty"`
	// PreviousAddress is where a resource that moved was before.
	PreviousAddress string `json:"previous_address,omitempty"`
	// Statements and Bindings are what the policies say that After holds as JSON in
	// texts. Unread names the attributes whose policy cannot be read.
	Statements []Statement `json:"statements,omitempty"`
	Bindings   []Binding   `json:"bindings,omitempty"`
	Unread     []string    `json:"unread,omitempty"`
}

// Statement is one statement of a policy of AWS, in one form however it is
// written: names of elements in any case, one value or a list of them, escapes.
type Statement struct {
	Attribute string `json:"attribute"` // such as inline_policy.policy
	// New says that the same attribute did not say the same before.
	New    bool   `json:"new"`
	Effect string `json:"effect"` // allow or deny
	// Principals are "*" or have their kind before them, as "AWS:*".
	Principals    []string    `json:"principals"`
	NotPrincipals []string    `json:"not_principals"`
	Actions       []string    `json:"actions"`
	NotActions    []string    `json:"not_actions"`
	Resources     []string    `json:"resources"`
	NotResources  []string    `json:"not_resources"`
	Conditions    []Condition `json:"conditions"`
}

// Condition is one key of one operator of a statement's conditions; all of them
// must hold, each for one of its values.
type Condition struct {
	Operator string   `json:"operator"`
	Key      string   `json:"key"`
	Values   []string `json:"values"`
}

// Binding is one binding of an IAM policy of Google Cloud.
type Binding struct {
	Attribute string   `json:"attribute"`
	Role      string   `json:"role"`
	Members   []string `json:"members"`
	// NewMembers are those who did not have the role there before.
	NewMembers []string `json:"new_members"`
}

// Patch is the parsed view of a patch.
type Patch struct {
	Files []PatchFile `json:"files"`
}

// PatchFile is one changed file of a patch. Paths are relative to the workspace,
// with slashes, exactly as the patch names them.
type PatchFile struct {
	Op string `json:"op"` // add, delete, modify or rename (a rename may also modify)
	// Path is the file's path after the change; of a deleted file, before it.
	Path    string `json:"path"`
	OldPath string `json:"old_path"` // empty for an added file
	OldMode string `json:"old_mode"` // 100644, 100755, 120000 (a symbolic link) or empty
	NewMode string `json:"new_mode"`
	Binary  bool   `json:"binary"`
	Added   int64  `json:"added"` // lines
	Deleted int64  `json:"deleted"`
	// AddedLines and DeletedLines are the lines without their ends; of a symbolic
	// link the one line is where it points.
	AddedLines   []string `json:"added_lines"`
	DeletedLines []string `json:"deleted_lines"`
	// Truncated says that lines are missing from the two lists.
	Truncated bool `json:"truncated"`
	// LongestLine is the length in bytes of the longest line that is written, also of
	// a text that is too large to be shown by lines and is Binary therefore; 0 of what
	// is no text.
	LongestLine int64 `json:"longest_line"`
	// ExecutableChanged says that the file is executable after the change and
	// that its content or mode is another.
	ExecutableChanged bool `json:"executable_changed"`
	// Hunks are the added and deleted lines with their place in the file, as far as
	// they are not cut off.
	Hunks []Hunk `json:"hunks"`
}

// Hunk is one run of lines of a file that a patch changes.
type Hunk struct {
	OldStart int64  `json:"old_start"` // line number, from 1; 0 where the file was empty
	NewStart int64  `json:"new_start"`
	Lines    []Line `json:"lines"`
}

// Line is one line of a hunk, without its end.
type Line struct {
	Op   string `json:"op"`   // "+" added, "-" deleted, " " unchanged
	Line int64  `json:"line"` // its number in the new file; of a deleted one, in the old file
	Text string `json:"text"`
}

// filled gives the input with empty lists and objects instead of null, so that
// a rule that counts or iterates never meets an undefined value.
func (in Input) filled() Input {
	in.Artifacts = append([]Artifact{}, in.Artifacts...)
	for i := range in.Artifacts {
		a := &in.Artifacts[i]
		if a.Metadata == nil {
			a.Metadata = map[string]any{}
		}
		if a.Terraform != nil {
			a.Terraform = a.Terraform.filled()
		}
		if a.Patch == nil {
			continue
		}
		files := append([]PatchFile{}, a.Patch.Files...)
		for j := range files {
			files[j].AddedLines = list(files[j].AddedLines)
			files[j].DeletedLines = list(files[j].DeletedLines)
			files[j].Hunks = append([]Hunk{}, files[j].Hunks...)
			for k := range files[j].Hunks {
				files[j].Hunks[k].Lines = append([]Line{}, files[j].Hunks[k].Lines...)
			}
		}
		a.Patch = &Patch{Files: files}
	}
	in.Change.Labels = list(in.Change.Labels)
	if in.TakeOff != nil {
		t := *in.TakeOff
		t.Changed = list(t.Changed)
		in.TakeOff = &t
	}
	if in.Context == nil {
		in.Context = map[string]string{}
	}
	if in.Config == nil {
		in.Config = map[string]any{}
	}
	in.Isolation.Missing = list(in.Isolation.Missing)
	in.Isolation.Attempts = append([]Attempt{}, in.Isolation.Attempts...)
	in.Isolation.Requests = append([]Request{}, in.Isolation.Requests...)
	in.Isolation.Tools = append([]Tool{}, in.Isolation.Tools...)
	in.Governance.Paths = list(in.Governance.Paths)
	return in
}

func (t Terraform) filled() *Terraform {
	t.Resources = append([]TerraformResource{}, t.Resources...)
	for i := range t.Resources {
		if t.Resources[i].ReplacePaths == nil {
			t.Resources[i].ReplacePaths = []any{}
		}
	}
	if t.Counts == nil {
		t.Counts = map[string]int64{}
	}
	return &t
}

func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}
