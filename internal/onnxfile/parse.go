package onnxfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Read reads a file and says what is in it. What it refuses is an *Error.
func Read(r io.Reader, lim Limits) (*Info, error) {
	b, err := io.ReadAll(io.LimitReader(r, lim.Bytes+1))
	if err != nil {
		return nil, fmt.Errorf("the model cannot be read: %w", err)
	}
	return Parse(b, lim)
}

// Parse is Read for a file's bytes.
func Parse(b []byte, lim Limits) (*Info, error) {
	if int64(len(b)) > lim.Bytes {
		return nil, wrong("the file has more than %d bytes", lim.Bytes)
	}
	if len(b) == 0 {
		return nil, wrong("the file is empty")
	}
	p := &parser{lim: lim, info: &Info{}, ops: map[Op]int{}, numbers: lim.Numbers}
	if err := p.model(b); err != nil {
		return nil, err
	}
	for op, n := range p.ops {
		op.Count = n
		p.info.Ops = append(p.info.Ops, op)
	}
	slices.SortFunc(p.info.Ops, func(a, b Op) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Type, b.Type))
	})
	return p.info, nil
}

type parser struct {
	lim     Limits
	info    *Info
	ops     map[Op]int
	tensors int
	numbers int // entries of lists that are left
}

func (p *parser) model(b []byte) error {
	var graph []byte
	domains := map[string]bool{}
	err := modelMessage.each(b, &p.numbers, func(f field) error {
		var err error
		switch f.num {
		case modelIR:
			p.info.IR = f.int()
		case modelProducer:
			p.info.Producer, err = text("the producer's name", f.data, p.lim.Name)
		case modelGraph:
			graph = f.data
		case modelOpset:
			err = p.opset(f.data, domains)
		case modelMetadata:
			err = p.property(f.data)
		case 3, 4, 6:
			_, err = text("a text of the model", f.data, p.lim.Text)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case graph == nil:
		return wrong("it is no ONNX model: there is no graph")
	case len(domains) == 0:
		return wrong("it names no operator set")
	}
	return p.top(graph)
}

func (p *parser) opset(b []byte, domains map[string]bool) error {
	var o Opset
	err := opsetMessage.each(b, &p.numbers, func(f field) (err error) {
		if f.num == opsetVersion {
			o.Version = f.int()
			return nil
		}
		o.Domain, err = text("a domain", f.data, p.lim.Name)
		return err
	})
	if err != nil {
		return err
	}
	o.Domain = domain(o.Domain)
	switch {
	case domains[o.Domain]:
		return wrong("the operator set %q is named twice", o.Domain)
	case !slices.Contains(Domains(), o.Domain):
		return wrong("the operator set %q is not allowed; allowed are ai.onnx, %s and %s", o.Domain, ml, microsoft)
	}
	domains[o.Domain] = true
	p.info.Opsets = append(p.info.Opsets, o)
	return nil
}

func (p *parser) property(b []byte) error {
	var e Property
	err := entryMessage.each(b, &p.numbers, func(f field) (err error) {
		if f.num == entryKey {
			e.Key, err = text("a metadata key", f.data, p.lim.Name)
		} else {
			e.Value, err = text("a metadata value", f.data, p.lim.Text)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(p.info.Metadata, func(o Property) bool { return o.Key == e.Key }):
		return wrong("the metadata has %q twice", e.Key)
	case len(p.info.Metadata) >= p.lim.Property:
		return wrong("the metadata has more than %d entries", p.lim.Property)
	}
	p.info.Metadata = append(p.info.Metadata, e)
	return nil
}

// scope holds the names that nodes can use, and whether they are text.
type scope struct {
	names map[string]bool
	outer *scope
}

func (s *scope) find(name string) (text, ok bool) {
	for ; s != nil; s = s.outer {
		if text, ok = s.names[name]; ok {
			return text, true
		}
	}
	return false, false
}

// define adds a name; names are there once in a graph and all around it.
func (s *scope) define(name string, text bool) error {
	if _, ok := s.find(name); ok || name == "" {
		return wrong("the value %q is defined twice or has no name", name)
	}
	s.names[name] = text
	return nil
}

// parts are what a graph is made of. A graph's fields stand in any order, so that
// its nodes are looked at last.
type parts struct {
	inputs, outputs []Value
	constants       map[string]bool // whether it is text
	nodes           [][]byte
}

func (p *parser) top(b []byte) error {
	g, err := p.parts(b, 0)
	if err != nil {
		return err
	}
	for _, in := range g.inputs { // up to IR 3, constants are inputs too
		if _, ok := g.constants[in.Name]; !ok {
			p.info.Inputs = append(p.info.Inputs, in)
		}
	}
	p.info.Outputs = g.outputs
	_, err = p.graph(g, nil, 0)
	return err
}

// graph checks a graph's nodes and gives its scope.
func (p *parser) graph(g *parts, outer *scope, depth int) (*scope, error) {
	s := &scope{names: map[string]bool{}, outer: outer}
	for name, text := range g.constants {
		if err := s.define(name, text); err != nil {
			return nil, err
		}
	}
	for _, in := range g.inputs {
		if _, ok := g.constants[in.Name]; ok {
			continue
		}
		if err := s.define(in.Name, in.Elem == String); err != nil {
			return nil, err
		}
	}
	for _, raw := range g.nodes {
		if err := p.node(raw, s, depth); err != nil {
			return nil, err
		}
	}
	for _, out := range g.outputs {
		text, ok := s.find(out.Name)
		switch {
		case !ok:
			return nil, wrong("the output %q is made by no node", out.Name)
		case depth > 0 && text:
			return nil, wrong("the output %q of a graph within the graph is text, which is not allowed", out.Name)
		}
	}
	return s, nil
}

func (p *parser) parts(b []byte, depth int) (*parts, error) {
	g := &parts{constants: map[string]bool{}}
	err := graphMessage.each(b, &p.numbers, func(f field) (err error) {
		switch f.num {
		case graphNode:
			if p.info.Nodes++; p.info.Nodes > p.lim.Nodes {
				return wrong("it has more than %d nodes", p.lim.Nodes)
			}
			g.nodes = append(g.nodes, f.data)
		case graphName:
			var name string
			if name, err = text("a graph's name", f.data, p.lim.Name); depth == 0 {
				p.info.Name = name
			}
		case graphInitializer:
			err = p.initializer(f.data, g)
		case graphInput:
			g.inputs, err = p.port(g.inputs, f.data, depth)
		case graphOutput:
			g.outputs, err = p.port(g.outputs, f.data, depth)
		case graphValueInfo:
			_, err = p.value(f.data, false)
		case 10:
			_, err = text("a graph's text", f.data, p.lim.Text)
		case 16:
			err = p.skipEntry(f.data)
		}
		return err
	})
	return g, err
}

func (p *parser) initializer(b []byte, g *parts) error {
	t, err := p.tensor(b)
	if err != nil {
		return err
	}
	if _, ok := g.constants[t.name]; ok {
		return wrong("the constant %q is there twice", t.name)
	}
	g.constants[t.name] = t.elem == String
	p.info.Initializers++
	return nil
}

func (p *parser) port(list []Value, b []byte, depth int) ([]Value, error) {
	if len(list) >= p.lim.Ports && depth == 0 || len(list) >= p.lim.Inputs {
		return nil, wrong("a graph has too many inputs or outputs")
	}
	v, err := p.value(b, depth == 0)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(list, func(o Value) bool { return o.Name == v.Name }) {
		return nil, wrong("the input or output %q is there twice", v.Name)
	}
	return append(list, v), nil
}

func (p *parser) skipEntry(b []byte) error {
	return entryMessage.each(b, &p.numbers, func(f field) error {
		_, err := text("a metadata entry", f.data, p.lim.Text)
		return err
	})
}

// IsInvalid says whether an error is about what is in the file, and not about reading it.
func IsInvalid(err error) bool {
	var e *Error
	return errors.As(err, &e)
}
