// Package front is the door of the MCP gateway for clients: streamable HTTP, the older
// HTTP with SSE, and stdio.
//
// It promises that a session belongs to the client that opened it: another client's
// request for it is answered like one for a session that never was, and the id of an
// event of one session resumes nothing in another. No header of a client goes on but
// those of the protocol, and those say the same as the message. Whatever a client does,
// memory, time and the number of its sessions are bounded. A message goes on as the
// bytes that came in.
// SPEC: docs/protocol.md 10
package front
