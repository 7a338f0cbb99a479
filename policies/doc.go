// Package policies is what judges of a plan have in common: the input document
// that they read, the findings that they give, the policy sets that they are
// made of with their digest, the bundled sets, and the way from many findings to
// one decision.
//
// It promises that nothing is judged by accident: a finding that could not be
// judged is a deny under every aggregation method, no finding at all is a deny
// unless that was asked for, and a policy directory is read whole or not at all.
// It knows no policy engine; policies/rego is one.
package policies
