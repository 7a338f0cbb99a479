// Package mcp holds the gateway for tool calls against programs of others and against
// hostile ones: the official conformance suites, clients and servers of npm, servers and
// clients that lie, and the benchmarks beside a proxy with an SDK on both sides. It has
// no code of its own, only tests; what needs programs of others has the build tag e2e,
// and scripts/mcp-judges.sh puts these there.
//
// The program under test is the test binary itself, in a process of its own. Everything
// listens on loopback.
package mcp
