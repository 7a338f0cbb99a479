package githubtest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// operation is one of the description's with what a token needs for it.
type operation struct {
	permission string // of the repository or organisation, and its level
	level      string
	handle     func(*call) reply
}

// open are the permissions whose reading part everybody has in a public repository.
func open(permission string) bool {
	switch permission {
	case "metadata", "actions", "checks", "contents", "deployments", "issues", "pull-requests", "statuses":
		return true
	}
	return false
}

// operations are all that the fake does, by operationId.
var operations = map[string]operation{
	"rate-limit/get":                          {"", "", (*call).rateLimit},
	"users/get-authenticated":                 {"", "", (*call).getSelf},
	"users/get-by-username":                   {"", "", (*call).getUser},
	"teams/get-by-name":                       {"members", "read", (*call).getTeam},
	"teams/list-members-in-org":               {"members", "read", (*call).listMembers},
	"teams/get-membership-for-user-in-org":    {"members", "read", (*call).getMembership},
	"repos/get":                               {"metadata", "read", (*call).getRepo},
	"repos/list-activities":                   {"contents", "read", (*call).listActivities},
	"repos/get-collaborator-permission-level": {"metadata", "read", (*call).getPermission},
	"repos/get-branch":                        {"contents", "read", (*call).getBranch},
	"repos/list-commits":                      {"contents", "read", (*call).listCommits},
	"repos/get-commit":                        {"contents", "read", (*call).getCommit},
	"repos/compare-commits-with-basehead":     {"contents", "read", (*call).compare},
	"repos/get-content":                       {"contents", "read", (*call).getContent},
	"git/get-commit":                          {"contents", "read", (*call).getGitCommit},
	"git/get-tree":                            {"contents", "read", (*call).getTree},
	"git/get-ref":                             {"contents", "read", (*call).getRef},
	"git/list-matching-refs":                  {"contents", "read", (*call).matchingRefs},
	"git/get-tag":                             {"contents", "read", (*call).getTag},
	"git/create-tag":                          {"contents", "write", (*call).createTag},
	"git/create-ref":                          {"contents", "write", (*call).createRef},
	"git/update-ref":                          {"contents", "write", (*call).updateRef},
	"git/delete-ref":                          {"contents", "write", (*call).deleteRef},
	"pulls/list":                              {"pull-requests", "read", (*call).listPulls},
	"pulls/get":                               {"pull-requests", "read", (*call).getPull},
	"pulls/list-commits":                      {"pull-requests", "read", (*call).listPullCommits},
	"pulls/list-files":                        {"pull-requests", "read", (*call).listPullFiles},
	"pulls/list-reviews":                      {"pull-requests", "read", (*call).listReviews},
	"pulls/get-review":                        {"pull-requests", "read", (*call).getReview},
	"pulls/list-requested-reviewers":          {"pull-requests", "read", (*call).requestedReviewers},
	"repos/list-pull-requests-associated-with-commit": {"pull-requests", "read", (*call).commitPulls},
	"checks/create":                                     {"checks", "write", (*call).createCheck},
	"checks/get":                                        {"checks", "read", (*call).getCheck},
	"checks/update":                                     {"checks", "write", (*call).updateCheck},
	"checks/list-for-ref":                               {"checks", "read", (*call).listChecks},
	"checks/list-annotations":                           {"checks", "read", (*call).listAnnotations},
	"repos/create-commit-status":                        {"statuses", "write", (*call).createStatus},
	"repos/list-commit-statuses-for-ref":                {"statuses", "read", (*call).listStatuses},
	"repos/get-combined-status-for-ref":                 {"statuses", "read", (*call).combinedStatus},
	"repos/get-branch-protection":                       {"administration", "read", (*call).getProtection},
	"repos/get-branch-rules":                            {"metadata", "read", (*call).branchRules},
	"repos/get-repo-rulesets":                           {"metadata", "read", (*call).listRulesets},
	"repos/get-repo-ruleset":                            {"metadata", "read", (*call).getRuleset},
	"repos/get-org-rulesets":                            {"organization-administration", "read", (*call).listOrgRulesets},
	"repos/get-all-environments":                        {"actions", "read", (*call).listEnvironments},
	"repos/get-environment":                             {"actions", "read", (*call).getEnvironment},
	"repos/list-deployment-branch-policies":             {"actions", "read", (*call).branchPolicies},
	"repos/list-deployments":                            {"deployments", "read", (*call).listDeployments},
	"repos/create-deployment":                           {"deployments", "write", (*call).createDeployment},
	"repos/list-deployment-statuses":                    {"deployments", "read", (*call).listDeploymentStatuses},
	"repos/create-deployment-status":                    {"deployments", "write", (*call).createDeploymentStatus},
	"actions/list-artifacts-for-repo":                   {"actions", "read", (*call).listArtifacts},
	"actions/list-workflow-run-artifacts":               {"actions", "read", (*call).listRunArtifacts},
	"actions/get-artifact":                              {"actions", "read", (*call).getArtifact},
	"actions/download-artifact":                         {"actions", "read", (*call).download},
	"actions/get-github-actions-permissions-repository": {"administration", "read", (*call).actionsPermissions},
	"actions/get-github-actions-default-workflow-permissions-repository": {"administration", "read", (*call).workflowPermissions},
	"actions/list-workflow-runs-for-repo":                                {"actions", "read", (*call).listRuns},
	"actions/list-workflow-runs":                                         {"actions", "read", (*call).listWorkflowRuns},
	"actions/get-workflow":                                               {"actions", "read", (*call).getWorkflow},
	"actions/create-workflow-dispatch":                                   {"actions", "write", (*call).dispatch},
	"actions/get-workflow-run":                                           {"actions", "read", (*call).getRun},
	"actions/re-run-workflow":                                            {"actions", "write", (*call).rerun},
	"actions/get-workflow-run-attempt":                                   {"actions", "read", (*call).getAttempt},
	"actions/get-reviews-for-run":                                        {"actions", "read", (*call).listApprovals},
	"actions/get-pending-deployments-for-run":                            {"actions", "read", (*call).pendingDeployments},
	"actions/review-pending-deployments-for-run":                         {"deployments", "write", (*call).reviewDeployments},
	"actions/review-custom-gates-for-run":                                {"deployments", "write", (*call).gate},
	"issues/list-for-repo":                                               {"issues", "read", (*call).listIssues},
	"issues/create":                                                      {"issues", "write", (*call).createIssue},
	"issues/get":                                                         {"issues", "read", (*call).getIssue},
	"issues/update":                                                      {"issues", "write", (*call).updateIssue},
	"issues/list-events-for-timeline":                                    {"issues", "read", (*call).timeline},
	"issues/list-comments":                                               {"issues", "read", (*call).listComments},
	"issues/create-comment":                                              {"issues", "write", (*call).createComment},
	"issues/get-comment":                                                 {"issues", "read", (*call).getComment},
	"issues/update-comment":                                              {"issues", "write", (*call).updateComment},
	"issues/delete-comment":                                              {"issues", "write", (*call).deleteComment},
}

// handle does an operation if the token may.
func (c *call) handle(op string) reply {
	o, known := operations[op]
	if !known {
		c.s.violationf("%s: the fake does not do this operation", op)
		return refused(http.StatusNotImplemented, "The fake does not do this operation")
	}
	if owner, ok := c.vars["owner"]; ok {
		c.repo = c.s.repo(owner + "/" + c.vars["repo"])
		if c.repo == nil || !c.by.sees(c.repo) {
			return notFound()
		}
		c.repo.refresh()
	}
	if o.permission != "" && !c.allowed(o) {
		c.header.Set("X-Accepted-Github-Permissions", o.permission+"="+o.level)
		return refused(http.StatusForbidden, "Resource not accessible by integration")
	}
	return o.handle(c)
}

// allowed tells whether the token has the permission that an operation needs.
func (c *call) allowed(o operation) bool {
	here := c.repo == nil || c.by.Repo == nil || c.by.Repo == c.repo
	if o.level == "read" && open(o.permission) && c.repo != nil && !c.repo.Private {
		return true
	}
	if o.permission == "issues" && here && c.by.may("pull-requests", o.level) && c.pullOfIssue() {
		return true
	}
	return here && c.by.may(o.permission, o.level)
}

// pullOfIssue tells whether a comment is one of a pull request, for which that
// permission is enough.
func (c *call) pullOfIssue() bool {
	if id, ok := c.vars["comment_id"]; ok {
		for _, at := range c.repo.comments {
			if strconv.FormatInt(at.id, 10) == id {
				return c.repo.pull(at.issue) != nil
			}
		}
	}
	return c.repo.pull(int(c.number("issue_number"))) != nil
}

func (c *call) query(name string) string { return c.r.URL.Query().Get(name) }

// number is a parameter of the path.
func (c *call) number(name string) int64 {
	n, err := strconv.ParseInt(c.vars[name], 10, 64)
	if err != nil {
		return 0 // the description has seen that it is a number
	}
	return n
}

func (c *call) text(name string) string {
	v, _ := c.body[name].(string) // the description has seen what it is
	return v
}

// has tells whether the request's body says something of a field.
func (c *call) has(name string) bool { _, ok := c.body[name]; return ok }

// page answers one page of a listing, and links the others.
func (c *call) page(all []any) reply { return ok(c.cut(all)) }

// counted answers one page in an object that says how many there are.
func (c *call) counted(name string, all []any) reply {
	return ok(obj{"total_count": len(all), name: c.cut(all)})
}

const mostPerPage = 100

func (c *call) cut(all []any) []any {
	per, page := 30, 1
	if n, err := strconv.Atoi(c.query("per_page")); err == nil && n > 0 {
		per = min(n, mostPerPage)
	}
	if n, err := strconv.Atoi(c.query("page")); err == nil && n > 0 {
		page = n
	}
	last := max(1, (len(all)+per-1)/per)
	var links []string
	link := func(to int, rel string) {
		u := *c.r.URL
		q := u.Query()
		q.Set("page", strconv.Itoa(to))
		q.Set("per_page", strconv.Itoa(per))
		links = append(links, fmt.Sprintf(`<%s%s?%s>; rel=%q`, c.s.URL(), u.EscapedPath(), q.Encode(), rel))
	}
	if page > 1 {
		link(page-1, "prev")
		link(1, "first")
	}
	if page < last {
		link(page+1, "next")
		link(last, "last")
	}
	if links != nil {
		c.header.Set("Link", strings.Join(links, ", "))
	}
	from := min((page-1)*per, len(all))
	return append([]any{}, all[from:min(from+per, len(all))]...)
}
