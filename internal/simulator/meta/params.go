package meta

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"strconv"
	"strings"

	"adsync/internal/simulator/internal/stage"
)

// readParams are a request's parameters: those of the query, and of a form or JSON body.
func readParams(c *stage.Call) (url.Values, *graphError) {
	p, err := url.ParseQuery(c.R.URL.RawQuery)
	if err != nil {
		return nil, invalid("The query string cannot be read: %s", err)
	}
	if len(c.Body) == 0 {
		return p, nil
	}
	switch kind, _, _ := mime.ParseMediaType(c.R.Header.Get("Content-Type")); kind {
	case "application/json":
		var m map[string]json.RawMessage
		if err := json.Unmarshal(c.Body, &m); err != nil {
			return nil, invalid("The body is not a JSON object")
		}
		for k, raw := range m {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				s = string(raw)
			}
			p.Set(k, s)
		}
	case "application/x-www-form-urlencoded", "":
		form, err := url.ParseQuery(string(c.Body))
		if err != nil {
			return nil, invalid("The body cannot be read as a form: %s", err)
		}
		for k, v := range form {
			p[k] = v
		}
	default:
		return nil, invalid("Unsupported content type %.60s", kind)
	}
	return p, nil
}

// wanted is one entry of fields=.
type wanted struct {
	name string
	sub  []wanted
}

const (
	maxFields = 300
	maxDepth  = 4
)

// parseFields reads a,b{c,d} or a JSON list of names.
func parseFields(s string) ([]wanted, *graphError) {
	if strings.HasPrefix(strings.TrimSpace(s), "[") {
		var names []string
		if json.Unmarshal([]byte(s), &names) != nil {
			return nil, invalid("param fields must be an array.")
		}
		s = strings.Join(names, ",")
	}
	f := fieldParser{s: s}
	out, ok := f.list(0)
	if !ok || f.at < len(s) {
		return nil, &graphError{code: 2500, outcome: stage.Bad, message: fmt.Sprintf("Syntax error \"Expected end of string instead of %q.\" at character %d: %.60s", rest(s, f.at), f.at, s)}
	}
	return out, nil
}

func rest(s string, at int) string {
	if at >= len(s) {
		return ""
	}
	return s[at : at+1]
}

type fieldParser struct {
	s     string
	at, n int
}

func (f *fieldParser) space() {
	for f.at < len(f.s) && (f.s[f.at] == ' ' || f.s[f.at] == '\n' || f.s[f.at] == '\t') {
		f.at++
	}
}

func (f *fieldParser) list(depth int) ([]wanted, bool) {
	var out []wanted
	if depth > maxDepth {
		return nil, false
	}
	for {
		f.space()
		begin := f.at
		for f.at < len(f.s) && (f.s[f.at] == '_' || f.s[f.at] >= '0' && f.s[f.at] <= '9' || f.s[f.at] >= 'a' && f.s[f.at] <= 'z' || f.s[f.at] >= 'A' && f.s[f.at] <= 'Z') {
			f.at++
		}
		if f.at == begin {
			return nil, false
		}
		w := wanted{name: f.s[begin:f.at]}
		if f.n++; f.n > maxFields {
			return nil, false
		}
		f.space()
		if f.at < len(f.s) && f.s[f.at] == '{' {
			f.at++
			var ok bool
			if w.sub, ok = f.list(depth + 1); !ok || f.at >= len(f.s) || f.s[f.at] != '}' {
				return nil, false
			}
			f.at++
			f.space()
		}
		out = append(out, w)
		if f.at >= len(f.s) || f.s[f.at] != ',' {
			return out, true
		}
		f.at++
	}
}

// texts reads a parameter that is a JSON list of texts.
func texts(name, v string) ([]string, *graphError) {
	var out []string
	if err := json.Unmarshal([]byte(v), &out); err != nil {
		return nil, invalid("param %s must be an array.", name)
	}
	return out, nil
}

// oneOf holds a list against what is allowed.
func oneOf(name string, have, allowed []string) *graphError {
	for i, v := range have {
		if !contains(allowed, v) {
			return invalid("%s[%d] must be one of the following values: %s", name, i, strings.Join(allowed, ", "))
		}
	}
	return nil
}

func contains(list []string, v string) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// integer reads a whole number from 0.
func integer(name, v string, def int) (int, *graphError) {
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, invalid("param %s must be an integer", name)
	}
	if n < 0 {
		return 0, invalid("param %s must be non-negative", name)
	}
	return n, nil
}

// condition is one entry of filtering=.
type condition struct {
	field    string
	operator string
	values   []string
}

const maxConditions = 50

func parseFiltering(v string) ([]condition, *graphError) {
	if v == "" {
		return nil, nil
	}
	var raw []struct {
		Field    string          `json:"field"`
		Operator string          `json:"operator"`
		Value    json.RawMessage `json:"value"`
	}
	dec := json.NewDecoder(strings.NewReader(v))
	dec.DisallowUnknownFields()
	if dec.Decode(&raw) != nil || dec.More() || len(raw) > maxConditions {
		return nil, invalid("param filtering must be an array of objects with field, operator and value")
	}
	out := make([]condition, 0, len(raw))
	for i, r := range raw {
		x := condition{field: r.Field, operator: r.Operator}
		var list []json.RawMessage
		if json.Unmarshal(r.Value, &list) != nil {
			if x.operator == "IN" || x.operator == "NOT_IN" {
				return nil, invalid("filtering[%d][value] must be an array", i)
			}
			list = []json.RawMessage{r.Value}
		}
		for _, one := range list {
			var s string
			if json.Unmarshal(one, &s) != nil {
				s = string(one)
			}
			x.values = append(x.values, s)
		}
		if len(x.values) == 0 {
			return nil, invalid("filtering[%d][value] is required", i)
		}
		out = append(out, x)
	}
	return out, nil
}

// holds compares a text.
func (x *condition) holds(v string) bool {
	switch x.operator {
	case "IN", "EQUAL":
		return contains(x.values, v)
	case "NOT_IN", "NOT_EQUAL":
		return !contains(x.values, v)
	case "CONTAIN":
		return strings.Contains(strings.ToLower(v), strings.ToLower(x.values[0]))
	case "NOT_CONTAIN":
		return !strings.Contains(strings.ToLower(v), strings.ToLower(x.values[0]))
	}
	return false
}

// holdsNumber compares a number.
func (x *condition) holdsNumber(v float64) bool {
	n, err := strconv.ParseFloat(x.values[0], 64)
	if err != nil {
		return false
	}
	switch x.operator {
	case "GREATER_THAN":
		return v > n
	case "GREATER_THAN_OR_EQUAL":
		return v >= n
	case "LESS_THAN":
		return v < n
	case "LESS_THAN_OR_EQUAL":
		return v <= n
	case "EQUAL":
		return v == n
	}
	return false
}

var (
	textOperators   = []string{"IN", "NOT_IN", "EQUAL", "NOT_EQUAL", "CONTAIN", "NOT_CONTAIN"}
	numberOperators = []string{"GREATER_THAN", "GREATER_THAN_OR_EQUAL", "LESS_THAN", "LESS_THAN_OR_EQUAL", "EQUAL"}
)

func (x *condition) check(i int, number bool) *graphError {
	ops := textOperators
	if number {
		ops = numberOperators
		if _, err := strconv.ParseFloat(x.values[0], 64); err != nil {
			return invalid("filtering[%d][value] must be a number", i)
		}
	}
	if !contains(ops, x.operator) {
		return invalid("filtering[%d][operator] must be one of the following values: %s", i, strings.Join(ops, ", "))
	}
	return nil
}
