// Package back connects the MCP gateway with servers: child processes, streamable HTTP,
// unix sockets.
//
// It promises bounded memory for whatever a server sends, and that a credential goes to
// the server that it is for and to no other.
package back
