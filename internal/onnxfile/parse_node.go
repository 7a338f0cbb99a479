package onnxfile

// node is one node as far as it matters.
type node struct {
	op, domain      string
	inputs, outputs []string
	attrs           map[string]attribute
	graphs          []attribute
	textIn          bool // one input is text
}

// attribute is one attribute as far as it matters.
type attribute struct {
	name    string
	kind    int64 // as it says itself
	str     string
	num     int64
	elem    Elem // of a constant; 0: none
	count   int  // entries of a list of strings
	longest int  // bytes of the longest of them
	graph   []byte
}

func (p *parser) node(b []byte, s *scope, depth int) error {
	n := &node{attrs: map[string]attribute{}}
	err := nodeMessage.each(b, &p.numbers, func(f field) (err error) {
		switch f.num {
		case nodeInput:
			n.inputs, err = p.nodePort(n.inputs, f.data)
		case nodeOutput:
			n.outputs, err = p.nodePort(n.outputs, f.data)
		case nodeOp:
			n.op, err = text("an operator's name", f.data, p.lim.Name)
		case nodeDomain:
			n.domain, err = text("an operator's domain", f.data, p.lim.Name)
		case nodeAttribute:
			err = p.attribute(f.data, n)
		case nodeName:
			_, err = text("a node's name", f.data, p.lim.Name)
		case 6:
			_, err = text("a node's text", f.data, p.lim.Text)
		case 9:
			err = p.skipEntry(f.data)
		}
		return err
	})
	if err != nil {
		return err
	}
	n.domain = domain(n.domain)
	p.ops[Op{Domain: n.domain, Type: n.op}]++
	if err := n.allowed(); err != nil {
		return err
	}
	return p.connect(n, s, depth)
}

// connect looks up a node's inputs, checks what it may do with them, and defines
// its outputs. Nodes stand in the order in which they run, as ONNX demands.
func (p *parser) connect(n *node, s *scope, depth int) error {
	for _, in := range n.inputs {
		if in == "" {
			continue // an optional input that is left out
		}
		text, ok := s.find(in)
		if !ok {
			return wrong("operator %q takes %q, which nothing before it defines", n.op, in)
		}
		n.textIn = n.textIn || text
	}
	for _, g := range n.graphs {
		if n.domain != "" || n.op != "If" {
			return wrong("operator %q has a graph of its own; only If may", n.op)
		}
		if depth >= p.lim.Depth {
			return wrong("graphs are nested deeper than %d", p.lim.Depth)
		}
		p.info.Depth = max(p.info.Depth, depth+1)
		inner, err := p.parts(g.graph, depth+1)
		if err != nil {
			return err
		}
		if _, err := p.graph(inner, s, depth+1); err != nil {
			return err
		}
	}
	isText, err := n.text(n.textIn)
	if err != nil {
		return err
	}
	for i, out := range n.outputs {
		if out == "" {
			continue // an optional output that is left out
		}
		if err := s.define(out, isText && i == 0); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) nodePort(list []string, b []byte) ([]string, error) {
	if len(list) >= p.lim.Inputs {
		return nil, wrong("a node has more than %d inputs or outputs", p.lim.Inputs)
	}
	name, err := text("a value's name", b, p.lim.Name)
	return append(list, name), err
}

// attribute reads one attribute into a node. Its content must be of the kind
// that it says, and no other.
func (p *parser) attribute(b []byte, n *node) error {
	var a attribute
	var kinds []int64
	has := func(kind int64) {
		if len(kinds) == 0 || kinds[len(kinds)-1] != kind {
			kinds = append(kinds, kind)
		}
	}
	err := attrMessage.each(b, &p.numbers, func(f field) (err error) {
		switch f.num {
		case attrName:
			a.name, err = text("an attribute's name", f.data, p.lim.Name)
		case attrType:
			a.kind = f.int()
		case attrFloat:
			has(kindFloat)
		case attrInt:
			has(kindInt)
			a.num = f.int()
		case attrString:
			has(kindString)
			a.str, err = p.string(f.data)
		case attrTensor:
			has(kindTensor)
			var t tensorInfo
			t, err = p.tensor(f.data)
			a.elem = t.elem
		case attrGraph:
			has(kindGraph)
			a.graph = f.data
		case attrFloats:
			has(kindFloats)
		case attrInts:
			has(kindInts)
		case attrStrings:
			has(kindStrings)
			err = p.entry(&a, f.data)
		case 13:
			_, err = text("an attribute's text", f.data, p.lim.Text)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case a.kind < kindFloat || a.kind > kindStrings:
		return wrong("the attribute %q is of kind %d, which is not allowed", a.name, a.kind)
	case len(kinds) > 1 || len(kinds) == 1 && kinds[0] != a.kind:
		return wrong("the attribute %q holds another kind than it says", a.name)
	case len(kinds) == 0 && (a.kind == kindTensor || a.kind == kindGraph):
		return wrong("the attribute %q is empty", a.name)
	}
	if _, ok := n.attrs[a.name]; ok {
		return wrong("a node has the attribute %q twice", a.name)
	}
	n.attrs[a.name] = a
	if a.kind == kindGraph {
		n.graphs = append(n.graphs, a)
	}
	return nil
}

// entry counts an entry of a list of strings.
func (p *parser) entry(a *attribute, b []byte) error {
	a.count, a.longest = a.count+1, max(a.longest, len(b))
	if p.numbers--; p.numbers < 0 {
		return wrong("its lists have too many entries")
	}
	_, err := p.string(b)
	return err
}

// string reads a string of data, which may be any bytes.
func (p *parser) string(b []byte) (string, error) {
	if len(b) > p.lim.Name {
		return "", wrong("a string of an attribute or constant has %d bytes, more than %d", len(b), p.lim.Name)
	}
	return string(b), nil
}
