// Package rules judges plans by what the configuration itself says: rules without
// Rego (source "custom"), and exemptions from what any judge found.
//
// It promises that nothing is let through by what is not known: a rule that asks
// for something that nobody can tell (the branch outside a repository, labels
// outside a forge, the files of a patch that cannot be read) applies; and an
// exemption needs a rule's id, covers every file of a finding or none, ends at its
// date, never covers what could not be judged, and stays visible in the report.
package rules
