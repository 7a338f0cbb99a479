// Package link says what a client of a gateway and a server behind it have between
// them: one message sent and what it is answered with, as whole messages, whatever
// transport carries them.
//
// Everything that stands in the way of a message (the door for clients, the routing
// between several servers, the guard that judges, the connection to a server) gives a
// Server and takes one, so that they are put together like links of a chain.
// It promises nothing by itself: it holds types only.
package link
