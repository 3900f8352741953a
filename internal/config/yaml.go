package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// kindOf a node of the document.
type nodeKind int

const (
	nullNode nodeKind = iota
	scalarNode
	mapNode
	listNode
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "a single value", "a mapping (key: value)", "a list (- …)"}[k]
}

// node is the document as the rest of the package sees it. An alias is the same node as its anchor, so an alias costs nothing.
type node struct {
	kind  nodeKind
	at    place
	text  string // scalars: as written, without quotes
	tag   string // scalars without quotes that YAML reads as something else than text: "bool", "number"
	pairs []pair
	items []*node
}

type pair struct {
	key   string
	keyAt place
	value *node
}

// Bounds on the shape of a file. The parser needs time that grows with the square of some of them.
const (
	maxMarks = 500_000 // lines and characters that can mean structure
	maxDepth = 32
	maxKeys  = 200 // in one mapping
	maxMerge = 100_000
)

// parseYAML reads one document. What it cannot read is a single problem, since YAML that is not whole has no trustworthy rest.
func parseYAML(name string, src []byte, r *report) (doc *node) {
	fail := func(tk *token.Token, message, cure string) *node {
		at := place{file: name}
		if tk != nil && tk.Position != nil {
			at.line, at.col = max(tk.Position.Line, 0), max(tk.Position.Column, 0)
		}
		r.at(at, "", "", message, cure)
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			// The value may hold a part of the file: it is not shown.
			doc = fail(nil, "is not YAML that can be read", "look for a missing quote, or start again from what `adsync init` writes")
		}
	}()
	src = bytes.TrimPrefix(src, []byte("\uFEFF"))
	if line, what := notText(src); what != "" {
		r.at(place{file: name, line: line}, "", "", what, "save it as plain text in UTF-8")
		return nil
	}
	if marks(src) > maxMarks {
		return fail(nil, fmt.Sprintf("holds more than %d lines and marks", maxMarks), "a configuration of that size is hardly meant; split it over several files and processes")
	}
	tokens := lexer.Tokenize(string(src))
	if tk, what, cure := guard(tokens); what != "" {
		return fail(tk, what, cure)
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if ye, ok := errors.AsType[yaml.Error](err); ok {
			return fail(ye.GetToken(), "YAML: "+withoutQuotes(ye.GetMessage()), "indent with blanks, put a blank behind each colon, and quote text that begins with a special character")
		}
		return fail(nil, "is not YAML that can be read", "look for a missing quote or bracket")
	}
	var body ast.Node
	for _, d := range f.Docs {
		if _, ok := d.Body.(*ast.DirectiveNode); ok {
			continue // "%YAML 1.2" counts as a document of its own
		}
		if d.Body != nil && body != nil {
			return fail(firstToken(d.Body), "a second document begins here", "one file holds one configuration")
		}
		if d.Body != nil {
			body = d.Body
		}
	}
	if body == nil {
		return &node{at: place{file: name, line: 1, col: 1}}
	}
	c := converter{file: name, r: r, anchors: map[string]*node{}}
	return c.node(body, 0)
}

// notText says why src is not text, and on which line.
func notText(src []byte) (line int, what string) {
	if bytes.HasPrefix(src, []byte{0xFF, 0xFE}) || bytes.HasPrefix(src, []byte{0xFE, 0xFF}) {
		return 0, "is written in UTF-16"
	}
	for i := 0; i < len(src); {
		c, n := utf8.DecodeRune(src[i:])
		if c == utf8.RuneError && n == 1 || c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return 1 + bytes.Count(src[:i], []byte("\n")), "is not text: there are bytes in it that no YAML file has"
		}
		i += n
	}
	return 0, ""
}

// marks counts what can become a token, before the lexer makes tokens of it.
func marks(src []byte) int {
	n := 0
	for _, c := range src {
		switch c {
		case '\n', '\r', ':', '-', ',', '[', ']', '{', '}', '&', '*', '!', '?', '#', '|', '>', '%', '"', '\'':
			n++
		}
	}
	return n
}

const writePlainly = "write it plainly: clients, their connections and the settings of each"

// guard refuses shapes that the parser is slow on, by one look at each token: what is nested too deep, and mappings with too many keys. It also
// finds second documents, since the parser drops what follows an empty one.
func guard(tokens token.Tokens) (tk *token.Token, what, cure string) {
	type frame struct {
		col, keys int
		flow, seq bool
	}
	var stack []frame
	begun, ended, directive := false, false, 0
	for i, tk := range tokens {
		col := tk.Position.Column
		if tk.Type == token.DocumentHeaderType && begun || tk.Type != token.CommentType && ended {
			return tk, "a second document begins here", "remove the line --- or ... above it: one file holds one configuration"
		}
		ended = tk.Type == token.DocumentEndType || ended
		if tk.Type == token.DirectiveType {
			directive = tk.Position.Line
		}
		begun = begun || tk.Type != token.CommentType && tk.Position.Line != directive
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			stack = append(stack, frame{flow: true})
		case token.MappingEndType, token.SequenceEndType:
			for n := len(stack) - 1; n >= 0; n-- {
				if stack[n].flow {
					stack = stack[:n]
					break
				}
			}
		case token.SequenceEntryType:
			for len(stack) > 0 && !stack[len(stack)-1].flow && stack[len(stack)-1].col > col {
				stack = stack[:len(stack)-1]
			}
			if n := len(stack) - 1; n < 0 || stack[n].flow || !stack[n].seq || stack[n].col != col {
				stack = append(stack, frame{col: col, seq: true})
			}
		case token.MappingKeyType:
			return tk, "begins a key with ?, which is not used here", writePlainly
		case token.MappingValueType:
			if i > 0 {
				col = tokens[i-1].Position.Column
			}
			for len(stack) > 0 && !stack[len(stack)-1].flow && (stack[len(stack)-1].col > col || stack[len(stack)-1].seq && stack[len(stack)-1].col == col) {
				stack = stack[:len(stack)-1]
			}
			if n := len(stack) - 1; n < 0 || !stack[n].flow && stack[n].col != col {
				stack = append(stack, frame{col: col})
			}
			n := len(stack) - 1
			if stack[n].keys++; stack[n].keys > maxKeys {
				return tk, fmt.Sprintf("more than %d keys in one mapping", maxKeys), writePlainly
			}
		}
		if len(stack) > maxDepth {
			return tk, fmt.Sprintf("nested deeper than %d levels", maxDepth), writePlainly
		}
	}
	return nil, "", ""
}

var quotedText = regexp.MustCompile("(?s)\"(\\\\.|[^\"])*\"|`[^`]*`")

// withoutQuotes takes what may be a part of the file out of a message of the parser.
func withoutQuotes(s string) string { return quotedText.ReplaceAllString(s, "…") }

func firstToken(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

// converter makes nodes of the parser's tree.
type converter struct {
	file    string
	r       *report
	anchors map[string]*node // nil while the anchored value is being read
	merged  int
}

func (c *converter) place(n ast.Node) place {
	at := place{file: c.file}
	if tk := firstToken(n); tk != nil && tk.Position != nil {
		at.line, at.col = tk.Position.Line, tk.Position.Column
	}
	return at
}

// node never gives nil.
func (c *converter) node(n ast.Node, depth int) *node {
	out := &node{at: c.place(n)}
	if depth > 2*maxDepth {
		c.r.only(out.at, "is nested too deep", "")
		return out
	}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.StringNode:
		out.kind, out.text = scalarNode, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = scalarNode, n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode:
		out.kind, out.text, out.tag = scalarNode, n.GetToken().Value, "number"
	case *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text, out.tag = scalarNode, n.GetToken().Value, "number"
	case *ast.BoolNode:
		out.kind, out.text, out.tag = scalarNode, n.GetToken().Value, "bool"
	case *ast.MappingNode:
		out.kind = mapNode
		c.pairs(out, n.Values, depth)
	case *ast.MappingValueNode:
		out.kind = mapNode
		c.pairs(out, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out.kind = listNode
		for _, v := range n.Values {
			out.items = append(out.items, c.node(v, depth+1))
		}
	case *ast.AnchorNode:
		name := n.Name.GetToken().Value
		c.anchors[name] = nil
		v := c.node(n.Value, depth+1)
		c.anchors[name] = v
		return v
	case *ast.AliasNode:
		v, known := c.anchors[n.Value.GetToken().Value]
		switch {
		case !known:
			c.r.only(out.at, "is an alias (*name) of an anchor that does not exist above it", "write &name in front of the value that it stands for, or quote text that begins with *")
		case v == nil:
			c.r.only(out.at, "is an alias (*name) inside the value that it stands for", "an anchor cannot hold itself")
		default:
			return v
		}
	case *ast.TagNode:
		if n.Start.Value == "!!str" && n.Value != nil {
			v := *c.node(n.Value, depth+1)
			v.tag = ""
			return &v
		}
		c.r.only(out.at, "has a tag (!name), which is not used here", "remove it, or quote text that begins with !")
	default:
		c.r.only(out.at, "is YAML of a kind that is not used here", "write key: value, or a list with -")
	}
	return out
}

// pairs fills a mapping. A key given twice is a problem that names both lines; what a merge (<<) brings counts only where the key is not given.
func (c *converter) pairs(out *node, values []*ast.MappingValueNode, depth int) {
	own := map[string]place{}
	var merges []*node
	for _, v := range values {
		at := c.place(v)
		value := v.Value
		if value == nil {
			value = ast.Null(v.GetToken())
		}
		if v.Key.IsMergeKey() {
			merges = append(merges, c.node(value, depth+1))
			continue
		}
		key := v.Key.GetToken().Value
		switch k := v.Key.(type) {
		case *ast.StringNode:
			key = k.Value
		case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MappingKeyNode:
			c.r.only(at, "is not a plain key", "write key: value")
			continue
		}
		if first, dup := own[key]; dup {
			c.r.only(at, fmt.Sprintf("this key stands here twice, first on line %d", first.line), "remove one of them")
			continue
		}
		own[key] = at
		child := c.node(value, depth+1)
		if child.kind == nullNode && child.at.line == 0 {
			child.at = at
		}
		out.pairs = append(out.pairs, pair{key, at, child})
	}
	for _, m := range merges {
		sources := []*node{m}
		if m.kind == listNode {
			sources = m.items
		}
		for _, s := range sources {
			if s.kind != mapNode {
				c.r.only(s.at, "<< needs a mapping to take settings from", "write <<: *name, where &name stands in front of a mapping")
				continue
			}
			for _, p := range s.pairs {
				if _, dup := own[p.key]; dup {
					continue
				}
				if c.merged++; c.merged > maxMerge {
					c.r.only(out.at, "merges (<<) bring too many settings", "use defaults: for what all connections share")
					return
				}
				own[p.key] = p.keyAt
				out.pairs = append(out.pairs, p)
			}
		}
	}
}
