package onnxfile

// Info says what is in a model's file. Names come from the file and are valid
// UTF-8 of bounded length, but may hold anything else.
type Info struct {
	IR       int64
	Producer string
	Name     string // of the graph
	Opsets   []Opset
	Ops      []Op    // by domain and name
	Inputs   []Value // without those that have a constant
	Outputs  []Value
	Metadata []Property // as in the file; no key is there twice

	Nodes            int
	Initializers     int
	InitializerBytes int64 // of all constants
	Depth            int   // graphs within graphs; 0: none
}

// Op is an operator with how often it is used. The domain of ONNX itself is "".
type Op struct {
	Domain string
	Type   string
	Count  int
}

// Value is an input or output of a model: a tensor.
type Value struct {
	Name  string
	Elem  Elem
	Shape []Dim // nil if the file says nothing of the shape
}

// Limits bound what Read takes. A field that is 0 allows nothing of its kind.
type Limits struct {
	Bytes    int64 // of the file
	Nodes    int   // of all graphs
	Tensors  int   // constants and declared values
	Elements int64 // of one declared shape; bytes of one constant
	Numbers  int   // entries of all attributes' lists
	Depth    int   // graphs within graphs
	Name     int   // bytes of a name or of one string in an attribute
	Text     int   // bytes of a documentation or metadata text
	Rank     int   // dimensions of a shape
	Ports    int   // inputs, and outputs, of a graph
	Inputs   int   // inputs, and outputs, of a node
	Property int   // entries of the metadata
}

// Error says what is wrong with a file. Its text is one line; names of the file
// are quoted in it.
type Error struct{ Reason string }

func (e *Error) Error() string { return e.Reason }
