// Makes small descriptions of GitHub's REST API out of the published ones: the
// operations below with what they refer to, without prose. Examples go too: the fake
// of test/githubtest answers from a state of its own, so that no answer can be an
// example's, and the examples that break GitHub's own schemas need no correction.
//
//   node scripts/github-api.mjs DIRECTORY OUT   # DIRECTORY holds the descriptions
//
// Each operation is asked for by its path and methods; one that a description does not
// have is an error, unless `absent` says so.
import fs from 'node:fs'
import path from 'node:path'

// The oldest supported server of enterprises stands for all: what works with it works
// with later ones.
const sources = { 'api.github.com': 'api.github.com.json', ghes: 'ghes-3.17.json' }

const absent = { ghes: [] }

const repo = '/repos/{owner}/{repo}'
const operations = {
  '/rate_limit': 'get',
  '/user': 'get',
  '/users/{username}': 'get',
  '/orgs/{org}/teams/{team_slug}': 'get',
  '/orgs/{org}/teams/{team_slug}/members': 'get',
  '/orgs/{org}/teams/{team_slug}/memberships/{username}': 'get',
  '/orgs/{org}/rulesets': 'get',
  [`${repo}`]: 'get',
  [`${repo}/activity`]: 'get',
  [`${repo}/actions/artifacts`]: 'get',
  [`${repo}/actions/artifacts/{artifact_id}`]: 'get',
  [`${repo}/actions/artifacts/{artifact_id}/{archive_format}`]: 'get',
  [`${repo}/actions/permissions`]: 'get',
  [`${repo}/actions/permissions/workflow`]: 'get',
  [`${repo}/actions/runs`]: 'get',
  [`${repo}/actions/runs/{run_id}`]: 'get',
  [`${repo}/actions/runs/{run_id}/approvals`]: 'get',
  [`${repo}/actions/runs/{run_id}/artifacts`]: 'get',
  [`${repo}/actions/runs/{run_id}/attempts/{attempt_number}`]: 'get',
  [`${repo}/actions/runs/{run_id}/deployment_protection_rule`]: 'post',
  [`${repo}/actions/runs/{run_id}/pending_deployments`]: 'get post',
  [`${repo}/actions/runs/{run_id}/rerun`]: 'post',
  [`${repo}/actions/workflows/{workflow_id}`]: 'get',
  [`${repo}/actions/workflows/{workflow_id}/dispatches`]: 'post',
  [`${repo}/actions/workflows/{workflow_id}/runs`]: 'get',
  [`${repo}/branches/{branch}`]: 'get',
  [`${repo}/branches/{branch}/protection`]: 'get',
  [`${repo}/check-runs`]: 'post',
  [`${repo}/check-runs/{check_run_id}`]: 'get patch',
  [`${repo}/check-runs/{check_run_id}/annotations`]: 'get',
  [`${repo}/collaborators/{username}/permission`]: 'get',
  [`${repo}/commits/{commit_sha}/pulls`]: 'get',
  [`${repo}/commits`]: 'get',
  [`${repo}/commits/{ref}`]: 'get',
  [`${repo}/commits/{ref}/check-runs`]: 'get',
  [`${repo}/commits/{ref}/status`]: 'get',
  [`${repo}/commits/{ref}/statuses`]: 'get',
  [`${repo}/compare/{basehead}`]: 'get',
  [`${repo}/contents/{path}`]: 'get',
  [`${repo}/deployments`]: 'get post',
  [`${repo}/deployments/{deployment_id}/statuses`]: 'get post',
  [`${repo}/environments`]: 'get',
  [`${repo}/environments/{environment_name}`]: 'get',
  [`${repo}/environments/{environment_name}/deployment-branch-policies`]: 'get',
  [`${repo}/git/commits/{commit_sha}`]: 'get',
  [`${repo}/git/matching-refs/{ref}`]: 'get',
  [`${repo}/git/ref/{ref}`]: 'get',
  [`${repo}/git/refs`]: 'post',
  [`${repo}/git/refs/{ref}`]: 'patch delete',
  [`${repo}/git/tags`]: 'post',
  [`${repo}/git/tags/{tag_sha}`]: 'get',
  [`${repo}/git/trees/{tree_sha}`]: 'get',
  [`${repo}/issues`]: 'get post',
  [`${repo}/issues/comments/{comment_id}`]: 'get patch delete',
  [`${repo}/issues/{issue_number}`]: 'get patch',
  [`${repo}/issues/{issue_number}/comments`]: 'get post',
  [`${repo}/issues/{issue_number}/timeline`]: 'get',
  [`${repo}/pulls`]: 'get',
  [`${repo}/pulls/{pull_number}`]: 'get',
  [`${repo}/pulls/{pull_number}/commits`]: 'get',
  [`${repo}/pulls/{pull_number}/files`]: 'get',
  [`${repo}/pulls/{pull_number}/reviews`]: 'get',
  [`${repo}/pulls/{pull_number}/reviews/{review_id}`]: 'get',
  [`${repo}/pulls/{pull_number}/requested_reviewers`]: 'get',
  [`${repo}/rules/branches/{branch}`]: 'get',
  [`${repo}/rulesets`]: 'get',
  [`${repo}/rulesets/{ruleset_id}`]: 'get',
  [`${repo}/statuses/{sha}`]: 'post',
}

// Keys that validate nothing. Below `properties` they are names of fields.
const prose = new Set(['description', 'summary', 'example', 'examples', 'externalDocs', 'tags', 'title'])

function strip(value, names) {
  if (Array.isArray(value)) return value.map((v) => strip(v, false))
  if (!value || typeof value !== 'object') return value
  const out = {}
  for (const [key, v] of Object.entries(value)) {
    if (names || (!prose.has(key) && !key.startsWith('x-'))) out[key] = strip(v, !names && (key === 'properties' || key === 'schemas'))
  }
  return out
}

// refer copies what a value refers to, and what that refers to.
function refer(value, from, to) {
  if (Array.isArray(value)) return value.forEach((v) => refer(v, from, to))
  if (!value || typeof value !== 'object') return
  const [, kind, name] = /^#\/components\/(\w+)\/(.+)$/.exec(value.$ref ?? '') ?? []
  if (kind && !to[kind]?.[name]) {
    to[kind] ??= {}
    to[kind][name] = from[kind][name]
    refer(to[kind][name], from, to)
  }
  Object.values(value).forEach((v) => refer(v, from, to))
}

// mend corrects what the description denies and GitHub does: the repository and the
// owner of a head are null once they were deleted.
function mend(schemas) {
  for (const name of ['pull-request', 'pull-request-simple']) {
    const head = schemas[name].properties.head.properties
    for (const gone of ['repo', 'user']) head[gone] = { nullable: true, anyOf: [head[gone]] }
  }
}

function prune(whole, flavour) {
  const paths = {}
  for (const [at, methods] of Object.entries(operations)) {
    const item = whole.paths[at]
    for (const method of methods.split(' ')) {
      if (!item?.[method]) {
        if (absent[flavour]?.includes(`${method} ${at}`)) continue
        throw new Error(`${flavour} has no ${method} ${at}`)
      }
      paths[at] ??= item.parameters ? { parameters: item.parameters } : {}
      paths[at][method] = item[method]
      if (item[method].responses) for (const r of Object.values(item[method].responses)) delete r.headers // how pages link is a rule of the fake
    }
  }
  const small = { paths: strip(paths, true), components: {} }
  const components = Object.fromEntries(Object.entries(whole.components).map(([kind, all]) => [kind, strip(all, true)]))
  refer(small.paths, components, small.components)
  mend(small.components.schemas)
  // Every response needs a description, if only an empty one.
  for (const item of Object.values(small.paths)) for (const op of Object.values(item)) for (const r of Object.values(op.responses ?? {})) if (!r.$ref) r.description = ''
  for (const r of Object.values(small.components.responses ?? {})) r.description = ''
  return { openapi: whole.openapi, info: { title: flavour, version: whole.info.version }, ...small }
}

const [, , dir, out] = process.argv
for (const [flavour, file] of Object.entries(sources)) {
  const small = prune(JSON.parse(fs.readFileSync(path.join(dir, file), 'utf8')), flavour)
  fs.writeFileSync(path.join(out, `${flavour}.json`), JSON.stringify(small))
}
