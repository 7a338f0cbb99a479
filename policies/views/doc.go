// Package views reads artifact bodies of known kinds for the judges: JSON and YAML
// documents, Kubernetes objects, plans of Terraform in JSON.
//
// Bodies are hostile. It promises bounded time, memory and depth (aliases of YAML
// are counted each time they are used), and that a body of a known kind that it
// cannot read is told, not left out without a word.
package views
