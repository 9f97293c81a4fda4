package policies

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// The library's lexer cuts the file into tokens that carry their literal text
// and position; everything above tokens is here. Its own parser takes time
// quadratic in the number of keys, follows aliases and merges, reads 010 as 8
// and forgets how a number was spelled. What this file accepts is a small part
// of YAML: mappings and lists, block or flow, and one-line scalars.

// The lexer makes 300 bytes of a sign: the greatest file of nothing but signs
// takes 43 MiB and about a tenth of a second.
const (
	maxFileBytes = 128 << 10
	maxDepth     = 12
)

type nodeKind int

const (
	scalar nodeKind = iota
	mapping
	list
)

// A node is a value of the file with the place where it begins.
type node struct {
	kind      nodeKind
	file      string // "" until the tree is known to be a file's
	line, col int    // 1-based; columns count characters
	text      string
	quoted    bool
	keys      []*node // mapping: scalars, beside values
	values    []*node // mapping and list
}

// empty reports a key with nothing after it.
func (n *node) empty() bool { return n.kind == scalar && n.text == "" && !n.quoted }

// get returns the value of a key, or nil.
func (n *node) get(path ...string) *node {
	for _, key := range path {
		if n == nil {
			return nil
		}
		var found *node
		for i, k := range n.keys {
			if k.text == key {
				found = n.values[i]
				break
			}
		}
		n = found
	}
	return n
}

// from says of a whole tree which file it comes from.
func (n *node) from(file string) {
	n.file = file
	for _, k := range n.keys {
		k.file = file
	}
	for _, v := range n.values {
		v.from(file)
	}
}

// fault is an error at a place; file is "" for the file at hand.
type fault struct {
	file      string
	line, col int
	message   string
}

func newFault(line, col int, message string) *fault {
	return &fault{line: line, col: col, message: message}
}

func faultAt(n *node, format string, args ...any) *fault {
	return &fault{n.file, n.line, n.col, fmt.Sprintf(format, args...)}
}

// parseTree reads the bytes of a file as a tree.
func parseTree(data []byte) (root *node, bad *fault) {
	text, bad := plainText(data)
	if bad != nil {
		return nil, bad
	}
	// The lexer is not ours: a panic of it is the file's fault, not a broken
	// invariant of the program.
	defer func() {
		if r := recover(); r != nil {
			root, bad = nil, newFault(1, 1, "the file is not readable as YAML")
		}
	}()
	tokens, bad := tokenize(text)
	if bad != nil {
		return nil, bad
	}
	p := &treeParser{tokens: tokens}
	return p.document()
}

// plainText returns the file as text with Unix line ends, having refused every
// character that an editor or a terminal would not show for what it is.
func plainText(data []byte) (string, *fault) {
	if len(data) > maxFileBytes {
		return "", newFault(1, 1, fmt.Sprintf("the file is longer than %d KiB", maxFileBytes>>10))
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	line, col := 1, 1
	indent := true // nothing but spaces so far on this line
	for i, r := range text {
		switch {
		case r == '\n':
			line, col, indent = line+1, 1, true
			continue
		case r == '\t' && indent:
			return "", newFault(line, col, "a tab does not indent; use spaces")
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			return "", newFault(line, col, "the file is not UTF-8 text; save it as UTF-8")
		case r == '\uFEFF' && i == 0:
			return "", newFault(line, col, "the file begins with a byte order mark; save it without one")
		case r != '\t' && hidden(r):
			return "", newFault(line, col, fmt.Sprintf("the character %U is not allowed; remove it", r))
		}
		col++
		indent = indent && r == ' '
	}
	return text, nil
}

// hidden reports control characters, line separators and characters that
// reorder or hide text. The two joiners that some scripts need are none.
func hidden(r rune) bool {
	if r == '\u200C' || r == '\u200D' {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// refused says, for each token that YAML knows and a policy does not, why.
var refused = map[token.Type]string{
	token.AnchorType:       "anchors (&) are not allowed; write the value out, in quotes if it is text",
	token.AliasType:        "aliases (*) are not allowed; write the value out, or \"*\" in quotes",
	token.MergeKeyType:     "merge keys (<<) are not allowed; write the keys out",
	token.TagType:          "tags (!) are not allowed; remove it, or put the text in quotes",
	token.DirectiveType:    "directives (%) are not allowed; remove the line",
	token.MappingKeyType:   "explicit keys (?) are not allowed; write KEY: VALUE",
	token.LiteralType:      "block text (|) is not allowed; write it on one line in quotes",
	token.FoldedType:       "block text (>) is not allowed; write it on one line in quotes",
	token.DocumentEndType:  "a document end (...) is not allowed; remove the line",
	token.InvalidType:      "is not valid YAML",
	token.UnknownType:      "is not valid YAML",
	token.ImplicitNullType: "is not valid YAML",
}

// tokenize returns the tokens that carry meaning, having refused the others.
func tokenize(text string) ([]*token.Token, *fault) {
	var tokens []*token.Token
	for _, t := range lexer.Tokenize(text) {
		at := &node{line: t.Position.Line, col: t.Position.Column}
		if why, ok := refused[t.Type]; ok {
			if t.Type == token.InvalidType && t.Error != "" {
				why = oneLine(t.Error)
			}
			return nil, faultAt(at, "%s", why)
		}
		switch t.Type {
		case token.CommentType, token.SpaceType:
			continue
		case token.DocumentHeaderType:
			if len(tokens) > 0 {
				return nil, faultAt(at, "a second document (---) is not allowed; one file holds one policy")
			}
			// A header of its own opens the only document; another one, with
			// nothing between, is found by its place in the token list.
			if t.Prev != nil && t.Prev.Type == token.DocumentHeaderType {
				return nil, faultAt(at, "a second document (---) is not allowed; one file holds one policy")
			}
			continue
		}
		if isScalar(t) && strings.Contains(strings.Trim(t.Origin, " \t\n"), "\n") {
			return nil, faultAt(at, "text over several lines is not allowed; write it on one line, and indent keys alike")
		}
		if isScalar(t) && !isQuoted(t) && strings.ContainsAny(t.Value, "[]{}") {
			return nil, tokenFault(t, "has brackets or braces that do not match; put text with them in quotes")
		}
		// {a:1} is a key "a:1" to other readers of YAML.
		if t.Type == token.MappingValueType && t.Next != nil && t.Next.Position.Line == t.Position.Line && t.Next.Position.Column == t.Position.Column+1 {
			return nil, faultAt(at, "a colon after a key needs a space behind it; put text with colons in quotes")
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

func isScalar(t *token.Token) bool {
	switch t.Type {
	case token.SequenceEntryType, token.MappingValueType, token.CollectEntryType,
		token.SequenceStartType, token.SequenceEndType, token.MappingStartType, token.MappingEndType:
		return false
	}
	return true
}

func isQuoted(t *token.Token) bool {
	return t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
}

// A treeParser turns tokens into nodes. Structure is decided by line and column
// alone, in one pass without going back.
type treeParser struct {
	tokens []*token.Token
	next   int
	depth  int
}

// peek returns the token n places ahead, or nil at the end.
func (p *treeParser) peek(n int) *token.Token {
	if p.next+n >= len(p.tokens) {
		return nil
	}
	return p.tokens[p.next+n]
}

func (p *treeParser) document() (*node, *fault) {
	t := p.peek(0)
	if t == nil {
		return nil, newFault(1, 1, "the file holds no policy; `privsgld policy init` writes one to begin with")
	}
	root, bad := p.block()
	if bad != nil {
		return nil, bad
	}
	if t := p.peek(0); t != nil {
		return nil, tokenFault(t, "is not expected here; check the indentation")
	}
	return root, nil
}

func tokenFault(t *token.Token, format string, args ...any) *fault {
	return newFault(t.Position.Line, t.Position.Column, quote(t.Value)+" "+fmt.Sprintf(format, args...))
}

func nodeAt(t *token.Token, kind nodeKind) *node {
	return &node{kind: kind, line: t.Position.Line, col: t.Position.Column}
}

// enter bounds the depth, and with it the stack.
func (p *treeParser) enter(t *token.Token) *fault {
	if p.depth++; p.depth > maxDepth {
		return tokenFault(t, "is nested too deeply; a policy needs no more than five levels")
	}
	return nil
}

// block reads the value that begins at the next token, the first on its line or
// after a list's dash.
func (p *treeParser) block() (*node, *fault) {
	t := p.peek(0)
	if bad := p.enter(t); bad != nil {
		return nil, bad
	}
	defer func() { p.depth-- }()
	if t.Type == token.SequenceEntryType {
		return p.blockList()
	}
	if colon := p.peek(1); isScalar(t) && colon != nil && colon.Type == token.MappingValueType {
		return p.blockMapping()
	}
	return p.inline()
}

// blockMapping reads KEY: VALUE lines whose keys stand in one column.
func (p *treeParser) blockMapping() (*node, *fault) {
	first := p.peek(0)
	m := nodeAt(first, mapping)
	for {
		key := p.peek(0)
		colon := p.peek(1)
		if !isScalar(key) {
			return nil, tokenFault(key, "is not expected among keys; check the indentation")
		}
		if colon == nil || colon.Type != token.MappingValueType || colon.Position.Line != key.Position.Line {
			return nil, tokenFault(key, "needs a colon and a value after it")
		}
		p.next += 2
		value, bad := p.blockValue(key, colon)
		if bad != nil {
			return nil, bad
		}
		m.keys, m.values = append(m.keys, scalarOf(key)), append(m.values, value)
		more, bad := p.another(m.col)
		if bad != nil || !more {
			return m, bad
		}
	}
}

// blockValue reads what follows a key's colon: on its line a scalar or a flow
// value; on later lines anything that is indented, or a list in the key's column.
func (p *treeParser) blockValue(key, colon *token.Token) (*node, *fault) {
	t := p.peek(0)
	if t != nil && t.Position.Line == colon.Position.Line {
		if t.Type == token.SequenceEntryType {
			return nil, tokenFault(t, "begins a list, which needs a line of its own; or write [A, B]")
		}
		return p.inline()
	}
	deeper := t != nil && t.Position.Column > key.Position.Column
	beside := t != nil && t.Position.Column == key.Position.Column && t.Type == token.SequenceEntryType
	if !deeper && !beside {
		return nil, tokenFault(key, "has no value; give it one or remove the key")
	}
	return p.block()
}

// blockList reads lines with a dash in one column.
func (p *treeParser) blockList() (*node, *fault) {
	l := nodeAt(p.peek(0), list)
	for {
		dash := p.peek(0)
		if dash.Type != token.SequenceEntryType {
			return l, nil // a key in the list's column: the mapping around goes on
		}
		p.next++
		t := p.peek(0)
		switch {
		case t == nil || t.Position.Line != dash.Position.Line && t.Position.Column <= l.col:
			return nil, tokenFault(dash, "has no value after it; give it one or remove the line")
		case t.Type == token.SequenceEntryType:
			return nil, tokenFault(t, "begins a list within a list, which a policy has none of")
		}
		item, bad := p.block()
		if bad != nil {
			return nil, bad
		}
		l.values = append(l.values, item)
		more, bad := p.another(l.col)
		if bad != nil || !more {
			return l, bad
		}
	}
}

// another reports whether the next token goes on with the block in that column.
// It must begin a line, in that column or further left.
func (p *treeParser) another(col int) (bool, *fault) {
	t := p.peek(0)
	if t == nil {
		return false, nil
	}
	if last := p.tokens[p.next-1]; t.Position.Line == last.Position.Line {
		return false, tokenFault(t, "is not expected here; put text with : or # or brackets in quotes, and a mapping on one line in braces")
	}
	if t.Position.Column > col {
		return false, tokenFault(t, "is not expected here; check the indentation")
	}
	return t.Position.Column == col, nil
}

// inline reads a scalar or a flow value.
func (p *treeParser) inline() (*node, *fault) {
	t := p.peek(0)
	switch {
	case t.Type == token.MappingStartType:
		return p.flowMapping()
	case t.Type == token.SequenceStartType:
		return p.flowList()
	case isScalar(t):
		p.next++
		return scalarOf(t), nil
	}
	return nil, tokenFault(t, "is not expected here")
}

func (p *treeParser) flowMapping() (*node, *fault) {
	open := p.peek(0)
	if bad := p.enter(open); bad != nil {
		return nil, bad
	}
	defer func() { p.depth-- }()
	p.next++
	m := nodeAt(open, mapping)
	for {
		key := p.peek(0)
		if key == nil {
			return nil, tokenFault(open, "has no closing brace")
		}
		if key.Type == token.MappingEndType {
			p.next++
			return m, nil
		}
		colon := p.peek(1)
		if !isScalar(key) {
			return nil, tokenFault(key, "is not expected here; write {KEY: VALUE, KEY: VALUE}")
		}
		if colon == nil || colon.Type != token.MappingValueType {
			return nil, tokenFault(key, "needs a colon, a space and a value after it")
		}
		p.next += 2
		switch t := p.peek(0); {
		case t == nil:
			return nil, tokenFault(open, "has no closing brace")
		case t.Type == token.CollectEntryType || t.Type == token.MappingEndType:
			return nil, tokenFault(key, "has no value; give it one or remove the key")
		}
		value, bad := p.inline()
		if bad != nil {
			return nil, bad
		}
		m.keys, m.values = append(m.keys, scalarOf(key)), append(m.values, value)
		if bad := p.separator(open, token.MappingEndType, "brace"); bad != nil {
			return nil, bad
		}
	}
}

func (p *treeParser) flowList() (*node, *fault) {
	open := p.peek(0)
	if bad := p.enter(open); bad != nil {
		return nil, bad
	}
	defer func() { p.depth-- }()
	p.next++
	l := nodeAt(open, list)
	for {
		t := p.peek(0)
		if t == nil {
			return nil, tokenFault(open, "has no closing bracket")
		}
		if t.Type == token.SequenceEndType {
			p.next++
			return l, nil
		}
		item, bad := p.inline()
		if bad != nil {
			return nil, bad
		}
		l.values = append(l.values, item)
		if bad := p.separator(open, token.SequenceEndType, "bracket"); bad != nil {
			return nil, bad
		}
	}
}

// separator steps over a comma, or stops before the closing sign.
func (p *treeParser) separator(open *token.Token, end token.Type, sign string) *fault {
	switch t := p.peek(0); {
	case t == nil:
		return tokenFault(open, "has no closing %s", sign)
	case t.Type == token.CollectEntryType:
		p.next++
	case t.Type != end:
		return tokenFault(t, "is not expected here; a comma or the closing %s is", sign)
	}
	return nil
}

func scalarOf(t *token.Token) *node {
	n := nodeAt(t, scalar)
	n.text = t.Value
	n.quoted = isQuoted(t)
	return n
}

// quote returns text for a message: in quotes, escaped and cut to a bearable length.
func quote(text string) string {
	const most = 60
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

// oneLine returns a library's message without what would break a line.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if hidden(r) {
			return ' '
		}
		return r
	}, text)
}
