package onnxfile

import "google.golang.org/protobuf/encoding/protowire"

// tensorInfo is what matters of a constant.
type tensorInfo struct {
	name string
	elem Elem
}

// content is where a constant has its entries.
type content struct {
	field protowire.Number // 0: nowhere
	count int64            // entries, or bytes of raw data
	bytes int64            // of strings
}

// tensor reads a constant. Its entries stand in one place, the one that its type
// has, and are as many as its shape says.
func (p *parser) tensor(b []byte) (tensorInfo, error) {
	var t tensorInfo
	if p.tensors++; p.tensors > p.lim.Tensors {
		return t, wrong("it has more than %d constants and declared values", p.lim.Tensors)
	}
	var dims []Dim
	var c content
	err := tensorMessage.each(b, &p.numbers, func(f field) (err error) {
		switch f.num {
		case tensorDims:
			for _, d := range f.list {
				if int64(d) < 0 { //nolint:gosec // G115: two's complement is the wire form
					return wrong("a constant has a negative dimension")
				}
				dims = append(dims, Fixed(int64(d))) //nolint:gosec // G115: two's complement is the wire form
			}
		case tensorType:
			t.elem, err = elem(f.int())
		case tensorName:
			t.name, err = text("a constant's name", f.data, p.lim.Name)
		case tensorLocation:
			if f.bits != 0 {
				return wrong("the constant %q lies in another file; a model must be one file", t.name)
			}
		case tensorStrings:
			if p.numbers--; p.numbers < 0 {
				return wrong("its lists have too many entries")
			}
			c.bytes += int64(len(f.data))
			if _, err = p.string(f.data); err == nil {
				err = c.add(f.num, 1)
			}
		case tensorRaw:
			err = c.add(f.num, int64(len(f.data)))
		case tensorFloats, tensorInt32s, tensorInt64s, tensorDoubles, tensorUint64s:
			err = c.add(f.num, int64(len(f.list)))
		case 12:
			_, err = text("a constant's text", f.data, p.lim.Text)
		case 16:
			err = p.skipEntry(f.data)
		}
		return err
	})
	if err != nil {
		return t, err
	}
	if t.elem == 0 {
		return t, wrong("the constant %q has no type", t.name)
	}
	return t, p.filled(t, dims, c)
}

// add counts entries; a constant that has them in two places means different
// things to different readers.
func (c *content) add(field protowire.Number, n int64) error {
	if c.field != 0 && c.field != field {
		return wrong("a constant has its entries in two places")
	}
	c.field = field
	c.count += n
	return nil
}

// filled checks that a constant has the entries that its type and shape ask for.
func (p *parser) filled(t tensorInfo, dims []Dim, c content) error {
	n, err := p.size(dims)
	if err != nil {
		return err
	}
	bytes := n * elems[t.elem].bytes
	if t.elem == String {
		bytes = c.bytes
	}
	if bytes > p.lim.Elements {
		return wrong("the constant %q has %d bytes, more than %d", t.name, bytes, p.lim.Elements)
	}
	want := n
	switch {
	case c.field == tensorRaw && t.elem != String:
		want = bytes
	case c.field != 0 && c.field != place(t.elem):
		return wrong("the constant %q of type %s has its entries where that type has none", t.name, t.elem)
	}
	if c.count != want {
		return wrong("the constant %q has other than the entries that its shape asks for", t.name)
	}
	p.info.InitializerBytes += bytes
	return nil
}

// place gives the field in which a type has its entries, if not as raw data.
func place(e Elem) protowire.Number {
	switch e {
	case Float:
		return tensorFloats
	case Double:
		return tensorDoubles
	case Int64:
		return tensorInt64s
	case Uint32, Uint64:
		return tensorUint64s
	case String:
		return tensorStrings
	default:
		return tensorInt32s
	}
}

func elem(n int64) (Elem, error) {
	if n > 0 && n <= int64(BFloat16) {
		if _, ok := elems[Elem(n)]; ok { //nolint:gosec // G115: just bounded
			return Elem(n), nil //nolint:gosec // G115: just bounded
		}
	}
	return 0, wrong("the element type %d is not allowed", n)
}

// size gives how many elements a shape has; dimensions that are not known count as one.
func (p *parser) size(dims []Dim) (int64, error) {
	if len(dims) > p.lim.Rank {
		return 0, wrong("a shape has more than %d dimensions", p.lim.Rank)
	}
	n := int64(1)
	for _, d := range dims {
		switch {
		case d.Size == -1 && d.Name != "", d == Dim{Size: -1}:
			continue
		case d.Size < 0:
			return 0, wrong("a shape has a negative dimension")
		case d.Size > p.lim.Elements, n*d.Size > p.lim.Elements: // both at most 2^31, so that nothing overflows
			return 0, wrong("a shape has more than %d elements", p.lim.Elements)
		}
		n *= d.Size
	}
	return n, nil
}

// value reads a declared value. Those of the model itself must say their type.
func (p *parser) value(b []byte, typed bool) (Value, error) {
	var v Value
	if p.tensors++; p.tensors > p.lim.Tensors {
		return v, wrong("it has more than %d constants and declared values", p.lim.Tensors)
	}
	err := valueMessage.each(b, &p.numbers, func(f field) (err error) {
		switch f.num {
		case valueName:
			v.Name, err = text("a value's name", f.data, p.lim.Name)
		case valueType:
			err = p.valueType(f.data, &v)
		case 3:
			_, err = text("a value's text", f.data, p.lim.Text)
		case 4:
			err = p.skipEntry(f.data)
		}
		return err
	})
	if err == nil && typed && v.Elem == 0 {
		err = wrong("the input or output %q has no type", v.Name)
	}
	return v, err
}

func (p *parser) valueType(b []byte, v *Value) error {
	return typeMessage.each(b, &p.numbers, func(f field) error {
		if f.num != typeTensor {
			_, err := text("a denotation", f.data, p.lim.Name)
			return err
		}
		return tensorTypeMessage.each(f.data, &p.numbers, func(f field) (err error) {
			if f.num == tensorTypeElem {
				v.Elem, err = elem(f.int())
				return err
			}
			v.Shape = []Dim{}
			if err := shapeMessage.each(f.data, &p.numbers, func(f field) error { return p.dim(f.data, v) }); err != nil {
				return err
			}
			_, err = p.size(v.Shape)
			return err
		})
	})
}

func (p *parser) dim(b []byte, v *Value) error {
	d := Dim{Size: -1}
	sized := false
	err := dimMessage.each(b, &p.numbers, func(f field) (err error) {
		switch f.num {
		case dimValue:
			if d.Size, sized = f.int(), true; d.Size < 0 {
				return wrong("a shape has a negative dimension")
			}
		case dimParam:
			d.Name, err = text("a dimension's name", f.data, p.lim.Name)
		default:
			_, err = text("a denotation", f.data, p.lim.Name)
		}
		return err
	})
	if err != nil {
		return err
	}
	if sized && d.Name != "" {
		return wrong("a dimension has both a size and a name")
	}
	if len(v.Shape) >= p.lim.Rank {
		return wrong("a shape has more than %d dimensions", p.lim.Rank)
	}
	v.Shape = append(v.Shape, d)
	return nil
}
