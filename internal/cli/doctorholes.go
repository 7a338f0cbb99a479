package cli

import "github.com/cabincrew/action/protocol"

// kind is one thing that doctor looks at on GitHub: what an attacker could do if it is
// not as it should be, and what to do about it. The threats are those of
// docs/threats.md.
type kind struct {
	id, title string
	severity  string // high, medium or low
	threats   []string
	attack    string
	remedy    string
}

const (
	severityHigh   = "high"
	severityMedium = "medium"
	severityLow    = "low"
)

// What a finding is.
const (
	holeNone    = "ok"
	holeThere   = "hole"
	holeUnknown = "unknown"
)

// The kinds, for findings to name them.
const (
	holeFence       = "fence-tags"
	holeFenceMade   = "fence-creation"
	holeReview      = "branch-review"
	holeStale       = "branch-stale-approvals"
	holeLastPush    = "branch-last-push"
	holeCodeOwners  = "branch-code-owners"
	holeCheck       = "branch-check"
	holeForcePush   = "branch-force-push"
	holeDeletion    = "branch-deletion"
	holeBypass      = "branch-bypass"
	holeEnvironment = "environment"
	holeEnvSelf     = "environment-self-review"
	holeEnvAdmins   = "environment-admins"
	holeEnvBranches = "environment-branches"
	holeToken       = "workflow-token"
	holeApproves    = "workflow-approves"
	holePinning     = "actions-pinning"
	holePlans       = "plan-workflow"
	holeTakesOff    = "take-off-workflow"
	holeOwnUse      = "own-workflow-pinned"
	holeOtherUse    = "uses-pinned"
	holeOneJob      = "one-job"
	holeForkHead    = "fork-head"
	holeFlows       = "workflow-files"
	holeSigning     = "signing"
	holeRights      = "signing-rights"
	holeOwnersFile  = "owners-file"
	holeOwnersCover = "owners-cover"
)

// kinds are all of them, in the order in which they are told.
func kinds() []kind {
	return append(append(repositoryKinds(), settingKinds()...), fileKinds()...)
}

func repositoryKinds() []kind {
	return []kind{
		{
			holeFence, "Tags of take-offs can neither be moved nor deleted", severityHigh, []string{"T04", "T38"},
			"Whoever may push tags deletes the mark of a take-off and lets the flight take off a second time.",
			"Make an active ruleset for the tags refs/tags/cabincrew/**/* with Restrict updates and Restrict deletions, without exclusions and without a bypass list.",
		},
		{
			holeFenceMade, "Only the App that takes off makes tags of take-offs", severityMedium, []string{"T33", "T38"},
			"Whoever may push tags makes marks in advance, which hold flights up and hide merges that have not flown.",
			"Make a second active ruleset for the tags refs/tags/cabincrew/**/* with Restrict creations, without exclusions, and with nothing but the App whose token take-off uses in its bypass list.",
		},
		{
			holeReview, "The protected branch takes pull requests with an approval only", severityHigh, []string{"T13", "T32"},
			"Somebody who may write pushes a lax configuration to the branch that governs, without anybody looking.",
			"Require a pull request with at least one approval.",
		},
		{
			holeStale, "A push dismisses approvals", severityMedium, []string{"T05"},
			"Somebody has a harmless commit approved, pushes another one and merges it.",
			"Switch on Dismiss stale pull request approvals when new commits are pushed.",
		},
		{
			holeLastPush, "Somebody else than the last pusher approves", severityMedium, []string{"T07"},
			"A reviewer pushes to another person's change, approves it, and merges what nobody else saw.",
			"Switch on Require approval of the most recent reviewable push.",
		},
		{
			holeCodeOwners, "Code owners review", severityMedium, []string{"T13"},
			"A change of the configuration, a policy or a workflow is merged with the approval of anybody who may write.",
			"Switch on Require review from Code Owners.",
		},
		{
			holeCheck, "The check is required, from the app GitHub Actions", severityHigh, []string{"T10", "T33"},
			"A change is merged that was never judged, or for which another app or a person's status told the same name in green.",
			"Require the status check \"cabincrew / flight-plan\" and choose the source GitHub Actions.",
		},
		{
			holeForcePush, "Nobody rewrites the protected branch", severityHigh, []string{"T17", "T32"},
			"Somebody sets the branch back to an old commit whose configuration let more through.",
			"Block force pushes.",
		},
		{
			holeDeletion, "Nobody deletes the protected branch", severityMedium, []string{"T32"},
			"Somebody deletes the branch and makes it anew with a history and a configuration of their choice.",
			"Restrict deletions.",
		},
		{
			holeBypass, "Nobody passes the rules of the branch by", severityHigh, []string{"T09", "T33"},
			"An administrator, a person or an app in the bypass list, or who took over one of them, merges without review and check.",
			"Empty the bypass list, or let the protection hold for administrators too.",
		},
	}
}

func settingKinds() []kind {
	return []kind{
		{
			holeEnvironment, "Environments ask for reviewers", severityHigh, []string{"T09"},
			"A job that names the environment runs at once, since nobody is asked.",
			"Make the environment, with required reviewers.",
		},
		{
			holeEnvSelf, "Nobody approves their own deployment", severityHigh, []string{"T09"},
			"Whoever started the run opens its gate too.",
			"Switch on Prevent self-review.",
		},
		{
			holeEnvAdmins, "Administrators wait like everybody", severityMedium, []string{"T09"},
			"An administrator, or who took over one's account, starts a deployment that nobody approved.",
			"Switch off Allow administrators to bypass configured protection rules.",
		},
		{
			holeEnvBranches, "Only protected branches deploy", severityMedium, []string{"T32"},
			"A workflow of any branch uses the environment and its secrets.",
			"Choose Protected branches, or select the default branch.",
		},
		{
			holeToken, "Tokens of workflows may read only", severityHigh, []string{"T10", "T33"},
			"Any workflow that says no permissions, or an action in it that somebody took over, pushes with its token or tells a green check of any name.",
			"Set Workflow permissions to Read repository contents and packages permissions.",
		},
		{
			holeApproves, "Workflows approve no pull requests", severityMedium, []string{"T07"},
			"A workflow that a change edits approves that change.",
			"Switch off Allow GitHub Actions to create and approve pull requests.",
		},
		{
			holePinning, "Actions must be pinned by commit", severityLow, []string{"T11"},
			"Nothing keeps the next workflow from calling an action by a tag, which its owner moves.",
			"Switch on Require actions to be pinned to a full-length commit SHA.",
		},
	}
}

func fileKinds() []kind {
	return []kind{
		{
			holeFlows, "Workflow files can be read", severityMedium, []string{"T11"},
			"What a file does that cannot be read here is known to nobody who trusts this report.",
			"Mend the file; it must be UTF-8 and one YAML document.",
		},
		{
			holePlans, "A workflow plans pull requests", severityHigh, []string{"T33"},
			"Changes are merged that nobody planned or judged.",
			"cabincrew init --for github writes the workflows; its cabincrew.yml calls flight-plan.yml on pull_request.",
		},
		{
			holeTakesOff, "A workflow takes off what was merged", severityLow, []string{"T46"},
			"Merged changes do not take off, and nobody is told.",
			"cabincrew init --for github writes the workflows; its cabincrew-base.yml calls take-off.yml on push.",
		},
		{
			holeOwnUse, "CabinCrew's workflows and action are pinned by commit", severityHigh, []string{"T11", "T36"},
			"Whoever moves the tag or branch, or edits the copy in this repository, decides which program judges and signs.",
			"Write the full commit id of a release after the @.",
		},
		{
			holeOtherUse, "Actions and workflows of others are pinned by commit", severityMedium, []string{"T33"},
			"Whoever takes over the other repository moves the tag and runs code with this job's token and secrets.",
			"Write the full commit id after the @, or the digest of an image.",
		},
		{
			holeOneJob, "Planning, judging and signing are jobs of their own", severityLow, []string{"T18", "T42"},
			"An engine that breaks out of its sandbox, or a hole in a parser, reaches the identity that signs.",
			"Call the reusable workflow flight-plan.yml instead of the action.",
		},
		{
			holeForkHead, "No workflow with the rights of the base checks out a change", severityHigh, []string{"T14"},
			"A pull request of a fork runs its own code with this repository's token and secrets.",
			"Use pull_request, or check out nothing of the change.",
		},
		{
			holeSigning, "Plans are signed by the workflow that is pinned", severityHigh, []string{"T10", "T11"},
			"Unsigned plans, or those of a workflow that nobody pins, are as good as what anybody writes into a check; take-off in CI refuses them.",
			"Set signing.keyless, and name the workflow with its commit under signing.trusted.identities.",
		},
		{
			holeRights, "The workflow that runs for changes signs plans only", severityMedium, []string{"T11"},
			"A change that gets hold of that workflow's identity signs a take-off, or an approval that nobody gave.",
			"Write signs: [plan] at the identity of flight-plan.yml, and signs: [take-off] at that of take-off.yml.",
		},
		{
			holeOwnersFile, "CODEOWNERS can be read", severityMedium, []string{"T13"},
			"Without owners, or with a line that does not parse, nobody in particular is asked about a change of what governs.",
			"Write CODEOWNERS with owners for /.cabincrew.yaml, the policies and /.github/.",
		},
		{
			holeOwnersCover, "What governs has owners", severityMedium, []string{"T13"},
			"A change of that file needs no approval of the people who answer for it.",
			"Name owners for it in CODEOWNERS, last in the file or so that no later line takes it back.",
		},
	}
}

// hubFinding is one finding.
type hubFinding struct {
	kind

	state  string
	detail string
	at     spot
}

// decision is the finding's rank among a policy's, for formats that know those.
func (f hubFinding) decision() protocol.Decision {
	switch {
	case f.state == holeNone:
		return protocol.Allow
	case f.state == holeUnknown, f.severity == severityLow:
		return protocol.Warn
	}
	return protocol.Deny
}
