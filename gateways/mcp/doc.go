// Package mcp is a firewall for the Model Context Protocol: every message in both
// directions is judged before it goes on, as the same bytes.
// SPEC: docs/protocol.md 10
package mcp
