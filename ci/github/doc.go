// Package github is the one place that talks to GitHub: its REST API, the payloads
// of its events and the files and commands of its runner.
//
// It promises all of an answer or an error, never a part of one: a page that is
// missing, a limit that does not end, a server that fails and an answer that is cut
// or too large are errors with exit code 7. People, repositories and runs are told
// by id. The token goes to the API's own host alone, and stands in no error. What
// comes from the forge is bounded in size, number and time, and judged by others:
// this package decides nothing.
package github
