package kit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"text/template"
	"text/template/parse"
	"unicode/utf8"

	"github.com/cabincrew/action/internal/limits"
)

// templateName stands in the messages of package template, from which it is cut.
const templateName = "t"

// tickName is the function that templates are made to call; see instrument.
const tickName = "tick"

var errOutput = errors.New("what it makes is too large")

// TemplateError says where in a template something is wrong. A place that is
// not known is empty.
type TemplateError struct {
	line, column string
	reason       string
	cause        error
}

func (f *TemplateError) Error() string { return f.reason }
func (f *TemplateError) Unwrap() error { return f.cause }

// Place gives the place in the form place:line:column.
func (f *TemplateError) Place(place string) string {
	switch {
	case f.line == "":
		return place
	case f.column == "":
		return place + ":" + f.line
	}
	return place + ":" + f.line + ":" + f.column
}

// CheckTemplate says what is wrong with a template before it has values.
func CheckTemplate(text string) *TemplateError {
	_, fault := parseTemplate(text, (&meter{}).functions())
	return fault
}

// Render executes a template over values. It gives the same bytes, or the same
// error, wherever and whenever it runs; only ctx can end it sooner.
func Render(ctx context.Context, text string, values map[string]any, most int) ([]byte, *TemplateError) {
	m := &meter{ctx: ctx, left: limits.TemplateWork}
	functions := m.functions()
	tree, fault := parseTemplate(text, functions)
	if fault != nil {
		return nil, fault
	}
	instrument(tree.Root)
	functions[tickName] = m.tick
	t, err := template.New(templateName).Option("missingkey=error").Funcs(functions).AddParseTree(templateName, tree)
	if err != nil {
		return nil, faultOf(err)
	}
	out := &boundedBuffer{left: most}
	if err := t.Execute(out, values); err != nil {
		return nil, faultOf(err)
	}
	return out.all.Bytes(), nil
}

// parseTemplate takes a template of the restricted language: the functions given
// and no others, one template, which calls no template. So nothing recurses.
func parseTemplate(text string, functions template.FuncMap) (*parse.Tree, *TemplateError) {
	switch {
	case len(text) > limits.TemplateBytes:
		return nil, &TemplateError{reason: fmt.Sprintf("it is larger than %d bytes", limits.TemplateBytes)}
	case !utf8.ValidString(text):
		return nil, &TemplateError{reason: "it is not UTF-8"}
	}
	trees, err := parse.Parse(templateName, text, "", "", functions, builtins())
	if err != nil {
		return nil, faultOf(err)
	}
	tree := trees[templateName]
	if len(trees) != 1 || tree == nil {
		return nil, &TemplateError{reason: "it defines a template; only what stands for itself is allowed"}
	}
	if n := findCall(tree.Root); n != nil {
		return nil, &TemplateError{line: strconv.Itoa(n.Line), reason: "it calls a template; only what stands for itself is allowed"}
	}
	return tree, nil
}

// lists gives the lists of nodes that a node holds.
func lists(n parse.Node) []*parse.ListNode {
	var b *parse.BranchNode
	switch n := n.(type) {
	case *parse.IfNode:
		b = &n.BranchNode
	case *parse.WithNode:
		b = &n.BranchNode
	case *parse.RangeNode:
		b = &n.BranchNode
	default:
		return nil
	}
	if b.ElseList == nil {
		return []*parse.ListNode{b.List}
	}
	return []*parse.ListNode{b.List, b.ElseList}
}

func findCall(list *parse.ListNode) *parse.TemplateNode {
	for _, n := range list.Nodes {
		if call, ok := n.(*parse.TemplateNode); ok {
			return call
		}
		for _, l := range lists(n) {
			if call := findCall(l); call != nil {
				return call
			}
		}
	}
	return nil
}

// instrument makes every list of nodes begin with a call of tick, which counts
// what the list costs. A loop enters its list each time round.
func instrument(list *parse.ListNode) {
	cost := 3 // the call itself
	for _, n := range list.Nodes {
		cost += nodes(n)
		for _, l := range lists(n) {
			instrument(l)
		}
	}
	call := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: list.Pos, Args: []parse.Node{
		parse.NewIdentifier(tickName).SetPos(list.Pos),
		&parse.NumberNode{NodeType: parse.NodeNumber, Pos: list.Pos, IsInt: true, Int64: int64(cost), Text: strconv.Itoa(cost)},
	}}
	pipe := &parse.PipeNode{NodeType: parse.NodePipe, Pos: list.Pos, Cmds: []*parse.CommandNode{call}}
	tick := &parse.ActionNode{NodeType: parse.NodeAction, Pos: list.Pos, Pipe: pipe}
	list.Nodes = append([]parse.Node{tick}, list.Nodes...)
}

// nodes counts the nodes of one element of a list, without the lists in it.
func nodes(n parse.Node) int {
	switch n := n.(type) {
	case *parse.ActionNode:
		return nodes(n.Pipe)
	case *parse.IfNode:
		return nodes(n.Pipe)
	case *parse.WithNode:
		return nodes(n.Pipe)
	case *parse.RangeNode:
		return nodes(n.Pipe)
	case *parse.PipeNode:
		count := 1
		for _, c := range n.Cmds {
			for _, a := range c.Args {
				count += nodes(a)
			}
		}
		return count
	case *parse.ChainNode:
		return nodes(n.Node) + len(n.Field)
	case *parse.FieldNode:
		return len(n.Ident)
	case *parse.VariableNode:
		return len(n.Ident)
	}
	return 1
}

// boundedBuffer refuses more than left bytes.
type boundedBuffer struct {
	all  bytes.Buffer
	left int
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errOutput
	}
	return b.all.Write(p)
}

var templateMessage = regexp.MustCompile(`(?s)^template: ` + templateName + `:([0-9]+)(?::([0-9]+))?: (?:executing "` + templateName + `" at )?(.*)$`)

// faultOf takes the place out of an error of package template.
func faultOf(err error) *TemplateError {
	m := templateMessage.FindStringSubmatch(err.Error())
	if m == nil {
		return &TemplateError{reason: err.Error(), cause: err}
	}
	f := &TemplateError{line: m[1], column: m[2], reason: m[3], cause: err}
	if errors.Is(err, errWork) { // where it was stopped says nothing but that a list began there
		f.reason = errWork.Error()
	}
	return f
}
