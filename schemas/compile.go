package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled keeps what was compiled, as compiling costs far more than validating.
// It is a cache only: nothing that is put in depends on who asks first.
var compiled catalog

type catalog struct {
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

func (c *catalog) get(kind string) (*jsonschema.Schema, error) {
	if _, err := Schema(kind); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.schemas[kind]; ok {
		return s, nil
	}
	if c.compiler == nil {
		c.compiler, c.schemas = newCompiler(embedded{}), map[string]*jsonschema.Schema{}
	}
	s, err := c.compiler.Compile(base + kind + suffix)
	if err != nil {
		return nil, fmt.Errorf("schema %s does not compile: %w", kind, err)
	}
	c.schemas[kind] = s
	return s, nil
}

func newCompiler(loader jsonschema.URLLoader) *jsonschema.Compiler {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(loader)
	c.RegisterFormat(&jsonschema.Format{Name: "date-time", Validate: checkDateTime})
	c.AssertFormat()
	return c
}

// embedded loads schemas from the binary and from nowhere else.
type embedded struct{}

func (embedded) Load(url string) (any, error) {
	name, ok := strings.CutPrefix(url, base)
	if !ok {
		return nil, errors.New("schemas are not loaded from outside the program")
	}
	text, err := Schema(strings.TrimSuffix(name, suffix))
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}
