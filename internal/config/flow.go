package config

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cabincrew/action/internal/limits"
)

// Flow is what a workflow file of a forge's CI runs, as far as somebody asks who looks
// for holes. Everything that may run is in it, wherever in the file it stands; what
// conditions say is not looked at.
type Flow struct {
	Events []string // that start it, in the order of the file
	Uses   []FlowUse
	Runs   []FlowText
}

// FlowUse is a step or a job that uses an action or a workflow of others.
type FlowUse struct {
	Line int
	Name string            // what stands behind uses:
	With map[string]string // its inputs that are single values
}

// FlowText is the text of a script.
type FlowText struct {
	Line int
	Text string
}

// ParseFlow reads a workflow file. One encoding, one document and the bounds of a
// configuration hold for it too; what the platform allows beyond that, such as anchors,
// is taken as it is: what an alias stands for is read where it is written.
func ParseFlow(name string, data []byte) (*Flow, error) {
	r := &reader{name: name}
	root := r.parse(data)
	if root == nil {
		return nil, r.err()
	}
	f := &Flow{}
	if root.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(root.Content); i += 2 {
			if root.Content[i].Value == "on" {
				f.events(root.Content[i+1])
			}
		}
	}
	r.walkFlow(root, f, 0)
	if err := r.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// events takes one event, a list of them, or a map by event.
func (f *Flow) events(n *yaml.Node) {
	step := 1
	switch n.Kind {
	case yaml.ScalarNode:
		f.Events = append(f.Events, n.Value)
		return
	case yaml.MappingNode:
		step = 2
	}
	for i := 0; i < len(n.Content); i += step {
		f.Events = append(f.Events, n.Content[i].Value)
	}
}

func (r *reader) walkFlow(n *yaml.Node, f *Flow, depth int) {
	r.nodes++
	switch {
	case r.nodes > limits.ConfigNodes:
		if r.nodes == limits.ConfigNodes+1 {
			r.failf(n, "config_too_large", "split the workflow", "more than %d values", limits.ConfigNodes)
		}
		return
	case depth > limits.ConfigDepth:
		r.failf(n, "config_depth", "flatten it", "nested deeper than %d levels", limits.ConfigDepth)
		return
	case n.Kind == yaml.MappingNode:
		f.take(n)
	}
	for _, child := range n.Content {
		r.walkFlow(child, f, depth+1)
	}
}

// take takes over what a map runs.
func (f *Flow) take(n *yaml.Node) {
	with := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != "with" {
			continue
		}
		in := n.Content[i+1].Content
		for j := 0; j+1 < len(in); j += 2 {
			if in[j+1].Kind == yaml.ScalarNode {
				with[strings.ToLower(in[j].Value)] = in[j+1].Value
			}
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case value.Kind != yaml.ScalarNode:
		case key.Value == "uses":
			f.Uses = append(f.Uses, FlowUse{value.Line, value.Value, with})
		case key.Value == "run":
			f.Runs = append(f.Runs, FlowText{value.Line, value.Value})
		}
	}
}
