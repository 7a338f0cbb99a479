// Package over tries what clients of the MCP gateway see when a server dies, with the
// real door, guard and child.
package over
