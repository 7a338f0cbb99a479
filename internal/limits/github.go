package limits

import "time"

// Bounds of what GitHub tells, and of what it takes. Sizes of what it takes are in
// bytes even where its documentation says characters: its servers count bytes.
const (
	GitHubBody     = 32 << 20 // bytes of one answer
	GitHubPage     = 100      // items of one page; the most that GitHub gives
	GitHubPages    = 50       // pages of one list
	GitHubFiles    = 3000     // files of a pull request; GitHub lists no more
	GitHubCommits  = 250      // commits of a pull request; GitHub lists no more
	GitHubRuns     = 1000     // runs of a search; GitHub lists no more
	GitHubRulesets = 50       // rulesets that are read one by one
	GitHubFlows    = 500      // workflow files of a checkout that doctor reads
	GitHubCache    = 16 << 20 // bytes of answers that are kept to be asked for by their ETag
	GitHubCached   = 256      // such answers
	GitHubHops     = 3        // redirects of one request, within the API's host
	GitHubMessage  = 300      // bytes of a forge's own words in an error
	GitHubEvent    = 32 << 20 // bytes of an event's payload; GitHub sends at most 25 MB
	GitHubID       = 20       // digits of an id
	GitHubName     = 255      // bytes of a name: of a branch, a tag, a team, an artifact, a check
	GitHubPath     = 4096     // bytes of a path in a repository
	GitHubContents = 1 << 20  // bytes of a file that GitHub gives inside its JSON; larger ones come raw

	GitHubCheckText        = 65_535          // bytes of a check's summary, and of its text
	GitHubSignNote         = 2 << 10         // bytes of a check that are kept for what the signing job has to say
	GitHubCheckTitle       = 255             // bytes of a check's title, and of an annotation's
	GitHubAnnotations      = 50              // annotations of one request
	GitHubAnnotationsAll   = 1000            // annotations of one check
	GitHubAnnotationText   = 64 << 10        // bytes of an annotation's message
	GitHubActions          = 3               // buttons of a check
	GitHubActionLabel      = 20              // bytes of a button's label, and of its identifier
	GitHubActionText       = 40              // bytes of a button's description
	GitHubComment          = 65_536          // bytes of a comment or an issue
	GitHubSummary          = 1 << 20         // bytes of a step's summary; the runner drops a larger one whole
	GitHubOutput           = 1 << 20         // bytes of one output of a step
	GitHubDescription      = 140             // bytes of a deployment's description
	GitHubArchiveFiles     = 20_000          // entries of an artifact's archive
	GitHubArchiveRatio     = int64(200)      // how many times larger than its compressed bytes an entry may be
	GitHubArchiveRatioFree = int64(16 << 20) // bytes of an entry of which the ratio is not asked
)

// Bounds of what a take-off looks at in the history of the protected branch.
const (
	GitHubMerges  = 1000 // commits along first parents
	GitHubPending = 50   // commits before a merge that may have to be caught up with
)

// Bounds of the watch over take-offs that began and have no end.
const (
	TakeOffDeadline = 6 * time.Hour   // after its beginning a take-off without an end is told in an issue; no job of GitHub's runners is longer
	GitHubClock     = 5 * time.Minute // by which a runner's clock may be ahead
	GitHubAlerts    = 50              // take-offs without an end that one issue names
	EndorsementTags = 16              // tags of one commit whose statements are verified
	Endorsements    = 1000            // changes of governance, each of which must have been endorsed for the next to be
	EndorsementLine = 100_000         // commits along first parents between two of them, or before the first
	GitHubIssueHead = 1024            // bytes of an issue that are not the report
)

// Times of the client of GitHub.
const (
	ReviewSettles  = 10 * time.Second       // after its submission a review may still be said to change
	GitHubRequest  = 60 * time.Second       // for one request with its answer
	GitHubTransfer = 15 * time.Minute       // for the download of one artifact
	GitHubWait     = 10 * time.Minute       // that one client waits in all, for limits to end and servers to mend
	GitHubTries    = 5                      // of one request that fails in a way that may pass
	GitHubDelay    = 500 * time.Millisecond // before the second try; doubled before each further one, and spread
	GitHubLimited  = 60 * time.Second       // to wait for a secondary limit of which GitHub names no end
)
