package googleads

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// queryFault is what is wrong with a query: a value of queryError.
type queryFault struct{ value, message string }

func wrong(value, format string, args ...any) *queryFault {
	return &queryFault{value, fmt.Sprintf(format, args...)}
}

// condition is one part of WHERE.
type condition struct {
	field string
	op    string // =, !=, <, <=, >, >=, IN, NOT IN, LIKE, NOT LIKE, CONTAINS ANY, CONTAINS ALL, CONTAINS NONE, BETWEEN, DURING, IS NULL, IS NOT NULL, REGEXP_MATCH, NOT REGEXP_MATCH
	vals  []string
}

type order struct {
	field string
	desc  bool
}

// gaql is a query as written, not yet held against the fields that there are.
type gaql struct {
	fields []string
	from   string
	where  []condition
	order  []order
	limit  int // 0: none
	omit   bool
}

const (
	maxQuery  = 100_000
	maxFields = 500
	maxValues = 20_000 // of one IN
)

type tokenKind int

const (
	endOfQuery tokenKind = iota
	word
	quoted
	symbol
)

type lexeme struct {
	kind tokenKind
	text string
	at   int
}

func isWord(c byte) bool {
	return c == '_' || c == '.' || c == '-' || c == '+' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func lex(s string) ([]lexeme, *queryFault) {
	var out []lexeme
	if len(s) > maxQuery {
		return nil, wrong("QUERY_ERROR", "The query is longer than %d characters.", maxQuery)
	}
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
			i++
		case isWord(c):
			begin := i
			for i < len(s) && isWord(s[i]) {
				i++
			}
			out = append(out, lexeme{word, s[begin:i], begin})
		case c == '\'' || c == '"':
			var b strings.Builder
			begin := i
			for i++; ; i++ {
				if i >= len(s) {
					return nil, wrong("UNEXPECTED_END_OF_QUERY", "Error in query: a string that begins at %d has no end.", begin)
				}
				if s[i] == c {
					i++
					break
				}
				if s[i] == '\\' {
					if i++; i >= len(s) || !strings.ContainsRune(`\'"nt%_[]`, rune(s[i])) {
						return nil, wrong("BAD_ESCAPE_SEQUENCE", "Error in query: bad escape sequence at %d.", i)
					}
				}
				b.WriteByte(s[i])
			}
			out = append(out, lexeme{quoted, b.String(), begin})
		case strings.IndexByte("<>!", c) >= 0 && i+1 < len(s) && s[i+1] == '=':
			out = append(out, lexeme{symbol, s[i : i+2], i})
			i += 2
		case strings.IndexByte("(),=<>", c) >= 0:
			out = append(out, lexeme{symbol, s[i : i+1], i})
			i++
		default:
			return nil, wrong("BAD_SYMBOL", "Error in query: unexpected symbol at %d.", i)
		}
	}
	return append(out, lexeme{endOfQuery, "", len(s)}), nil
}

type parser struct {
	in []lexeme
	at int
}

func (p *parser) peek() lexeme { return p.in[p.at] }

func (p *parser) next() lexeme {
	l := p.in[p.at]
	if l.kind != endOfQuery {
		p.at++
	}
	return l
}

// keyword takes a word when it is the next one.
func (p *parser) keyword(words ...string) bool {
	for i, w := range words {
		if p.at+i >= len(p.in) || p.in[p.at+i].kind != word || !strings.EqualFold(p.in[p.at+i].text, w) {
			return false
		}
	}
	p.at += len(words)
	return true
}

func (p *parser) symbol(s string) bool {
	if l := p.peek(); l.kind == symbol && l.text == s {
		p.at++
		return true
	}
	return false
}

var reserved = []string{"SELECT", "FROM", "WHERE", "AND", "ORDER", "BY", "LIMIT", "PARAMETERS", "OR"}

func (p *parser) field() (string, *queryFault) {
	l := p.next()
	switch {
	case l.kind == endOfQuery:
		return "", wrong("UNEXPECTED_END_OF_QUERY", "Error in query: unexpected end of query.")
	case l.kind != word || slices.Contains(reserved, strings.ToUpper(l.text)):
		return "", wrong("UNEXPECTED_INPUT", "Error in query: unexpected input %.40s.", l.text)
	case strings.ToLower(l.text) != l.text || strings.HasPrefix(l.text, ".") || strings.HasSuffix(l.text, ".") || strings.Contains(l.text, "..") || strings.ContainsAny(l.text, "-+"):
		return "", wrong("BAD_FIELD_NAME", "Error in query: '%.80s' is not a field name.", l.text)
	}
	return l.text, nil
}

// parse reads SELECT … FROM … [WHERE …] [ORDER BY …] [LIMIT …] [PARAMETERS …].
func parse(s string) (*gaql, *queryFault) {
	in, f := lex(s)
	if f != nil {
		return nil, f
	}
	p := &parser{in: in}
	q := &gaql{}
	if !p.keyword("SELECT") {
		return nil, wrong("EXPECTED_SELECT", "Error in query: expected SELECT, but found '%.40s'.", p.peek().text)
	}
	for {
		name, f := p.field()
		if f != nil {
			return nil, f
		}
		if len(q.fields) >= maxFields {
			return nil, wrong("REQUEST_TOO_LARGE", "Too many fields.")
		}
		q.fields = append(q.fields, name)
		if !p.symbol(",") {
			break
		}
	}
	if !p.keyword("FROM") {
		return nil, wrong("EXPECTED_FROM", "Error in query: expected FROM, but found '%.40s'.", p.peek().text)
	}
	if q.from, f = p.field(); f != nil {
		return nil, f
	}
	if p.keyword("WHERE") {
		for {
			c, f := p.condition()
			if f != nil {
				return nil, f
			}
			q.where = append(q.where, c)
			if !p.keyword("AND") {
				break
			}
		}
	}
	if p.keyword("ORDER") {
		if !p.keyword("BY") {
			return nil, wrong("EXPECTED_BY", "Error in query: expected BY after ORDER.")
		}
		for {
			name, f := p.field()
			if f != nil {
				return nil, f
			}
			o := order{field: name, desc: p.keyword("DESC")}
			if !o.desc {
				p.keyword("ASC")
			}
			q.order = append(q.order, o)
			if !p.symbol(",") {
				break
			}
		}
	}
	if p.keyword("LIMIT") {
		n, err := strconv.Atoi(p.next().text)
		if err != nil || n < 1 {
			return nil, wrong("BAD_LIMIT_VALUE", "Error in query: LIMIT must be a positive number.")
		}
		q.limit = n
	}
	if p.keyword("PARAMETERS") {
		if f := p.parameters(q); f != nil {
			return nil, f
		}
	}
	if l := p.peek(); l.kind != endOfQuery {
		return nil, wrong("UNEXPECTED_INPUT", "Error in query: unexpected input '%.40s'.", l.text)
	}
	return q, nil
}

func (p *parser) parameters(q *gaql) *queryFault {
	for {
		name := p.next().text
		if !p.symbol("=") {
			return wrong("BAD_PARAMETER_VALUE", "Error in query: parameter %.40s has no value.", name)
		}
		v := strings.ToLower(p.next().text)
		if v != "true" && v != "false" {
			return wrong("BAD_PARAMETER_VALUE", "Error in query: parameter %.40s wants true or false.", name)
		}
		switch name {
		case "omit_unselected_resource_names":
			q.omit = v == "true"
		case "include_drafts":
		default:
			return wrong("BAD_PARAMETER_NAME", "Error in query: there is no parameter %.40s.", name)
		}
		if !p.symbol(",") {
			return nil
		}
	}
}

func (p *parser) condition() (condition, *queryFault) {
	name, f := p.field()
	if f != nil {
		return condition{}, f
	}
	c := condition{field: name}
	if l := p.peek(); l.kind == symbol && slices.Contains([]string{"=", "!=", "<", "<=", ">", ">="}, l.text) {
		p.next()
		c.op = l.text
		return c, p.single(&c)
	}
	for _, op := range []string{"NOT IN", "IN", "NOT LIKE", "LIKE", "CONTAINS ANY", "CONTAINS ALL", "CONTAINS NONE", "BETWEEN", "DURING", "IS NOT NULL", "IS NULL", "NOT REGEXP_MATCH", "REGEXP_MATCH"} {
		if !p.keyword(strings.Fields(op)...) {
			continue
		}
		c.op = op
		switch op {
		case "IS NULL", "IS NOT NULL":
			return c, nil
		case "IN", "NOT IN", "CONTAINS ANY", "CONTAINS ALL", "CONTAINS NONE":
			return c, p.many(&c)
		case "BETWEEN":
			if f := p.single(&c); f != nil {
				return c, f
			}
			if !p.keyword("AND") {
				return c, wrong("EXPECTED_AND", "Error in query: expected AND between the values of BETWEEN.")
			}
			if f := p.single(&c); f != nil {
				return c, wrong("EXPECTED_VALUE_WITH_BETWEEN_OPERATOR", "Error in query: BETWEEN wants two values.")
			}
			return c, nil
		default:
			return c, p.single(&c)
		}
	}
	return c, wrong("BAD_OPERATOR", "Error in query: expected an operator after '%.60s', but found '%.40s'.", name, p.peek().text)
}

func (p *parser) single(c *condition) *queryFault {
	l := p.next()
	switch {
	case l.kind == word && strings.LastIndexAny(l.text, "-+") > 0:
		if _, err := strconv.ParseFloat(l.text, 64); err != nil {
			return wrong("BAD_VALUE", "Error in query: '%.40s' is not a value; text is written in quotes.", l.text)
		}
		c.vals = append(c.vals, l.text)
		return nil
	case l.kind == quoted, l.kind == word && !slices.Contains(reserved, strings.ToUpper(l.text)):
		c.vals = append(c.vals, l.text)
		return nil
	case l.kind == symbol && l.text == "(":
		return wrong("EXPECTED_SINGLE_VALUE", "Error in query: the operator of '%.60s' takes one value.", c.field)
	case l.kind == endOfQuery:
		return wrong("UNEXPECTED_END_OF_QUERY", "Error in query: unexpected end of query.")
	}
	return wrong("BAD_VALUE", "Error in query: '%.40s' is not a value.", l.text)
}

func (p *parser) many(c *condition) *queryFault {
	if !p.symbol("(") {
		return wrong("EXPECTED_LIST", "Error in query: the operator of '%.60s' takes a list.", c.field)
	}
	if p.symbol(")") {
		return wrong("PROHIBITED_EMPTY_LIST_IN_CONDITION", "Error in query: the list of '%.60s' is empty.", c.field)
	}
	for {
		if f := p.single(c); f != nil {
			return f
		}
		if len(c.vals) > maxValues {
			return wrong("FILTER_HAS_TOO_MANY_VALUES", "Request contains a filter with more than %d values.", maxValues)
		}
		if p.symbol(")") {
			return nil
		}
		if !p.symbol(",") {
			return wrong("UNEXPECTED_INPUT", "Error in query: unexpected input '%.40s' in a list.", p.peek().text)
		}
	}
}
