// Package merkle gives an audit log a root: the Merkle tree of RFC 6962 over its
// lines, so that a statement about a log of any size is one hash, signed notes that
// say which root a log had at which size (checkpoints, in the form of C2SP), and
// proofs that one line is part of it, which are checked without the log.
//
// It promises that a root is computed in constant memory and is that of the lines
// and of nothing else; that a proof which is changed in any byte, or is about another
// line, size or origin, is refused; and that parsers are bounded and do not panic. It
// does not look into lines: that they are events, and chained, is for package audit.
package merkle
