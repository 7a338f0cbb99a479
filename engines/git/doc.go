// Package git is the built-in engine that commits what earlier steps planned, and
// pushes exactly that commit.
//
// In flight-plan it makes the commit from the "patch" artifacts of the steps that
// its step needs: the parent's tree with exactly the files changed that these
// patches name, their content from the workspace and checked against the patches'
// digests, on top of what the parent has. What else changed in the workspace is
// not committed. The parent's objects are read from the repository that
// CABINCREW_GIT_DIR names. In take-off it pushes that commit, by its id, to one
// branch, if that branch is where the plan expects it. The git program is never
// run, and nothing that a repository configures to be run is.
//
// It writes three artifacts:
//
//   - evidence "commit": the ids of commit, tree and parent, author, committer,
//     date, message, branch, remote, and each changed file with modes, blob ids
//     and the digest of its content;
//   - state "objects": the new objects as a git bundle of version 2, with the
//     parent as its prerequisite; "git bundle verify" and "git fetch" take it;
//   - state "base": the parent commit and those of its trees in which something
//     changes, as a pack.
//
// "base" is there so that the evidence can be computed anew from state alone: the
// parent's id proves its trees, the commit's id proves the new ones, and walking
// both gives every changed file with its blob ids before and after, and proves
// that nothing else changed. So Derive needs neither the repository nor the
// patches, and take-off does the same before it pushes. Only the bundle's objects
// are pushed.
//
// It promises that the same patches, parent and configuration give the same
// commit: its date is configured, or the parent's committer date and one second,
// in UTC; signatures are made without randomness. It promises to refuse, rather
// than to commit other bytes than were reviewed, where git would run a filter or
// convert line endings. Attributes and settings outside the repository (of the
// user or the machine) are not seen.
//
// A push moves one branch from one known commit, or creates it; the old id is part
// of the request, so the remote itself refuses if the branch moved meanwhile. A
// branch that is at the commit already is a success. A remote that redirects is
// not followed.
//
// Its configuration:
//
//	message:     text (required)
//	branch:      name of the branch (required)
//	remote:      https://host/path, ssh://user@host/path or user@host:path (required)
//	author:      {name, email}; default cabincrew <cabincrew@users.noreply.invalid>
//	committer:   {name, email}; default the author
//	date:        RFC 3339; default the parent's committer date and one second
//	trailers:    {Name: value}, written sorted below the message
//	base:        full commit id of the parent; default HEAD
//	expect:      full commit id that the branch must be at; default the parent
//	create:      whether the branch may be new; default true, and never with expect
//	sign:        true: a missing key is an error; false: a key is not used
//	allow_empty: commit even if nothing changes; default false
//	username:    beside the token over https; default x-access-token
//	known_hosts: lines of OpenSSH's known_hosts (required over ssh)
//	allow_file:  allow file:///path as remote; default false
//
// Its secrets: GIT_SIGNING_KEY (an OpenSSH private key, in flight-plan),
// GIT_TOKEN (over https), GIT_SSH_KEY (over ssh).
package git
