// Package sources brings policy sets here that do not lie in a directory of the
// workspace: OPA bundles, OCI artifacts, and directories of git repositories.
//
// It promises that a set is what its entry names and nothing else: a bundle has the
// signature or the digest, an artifact the digest, and a directory of git is read
// from the objects of one commit, each of which is hashed again. Bytes from
// elsewhere come under the rules of a policy directory; links are refused; nothing
// foreign is run, no credential helper and no git; no proxy or credential is taken
// from the environment but the agent that holds ssh keys. What is sent to a host was
// named by the configuration: redirects to other hosts are refused. What cannot be
// reached is an error, never an empty set.
package sources
