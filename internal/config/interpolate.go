package config

import "strings"

// expanded is a written value after its ${…} were filled in.
type expanded struct {
	text    string
	names   []string // variables named, in order, each once
	missing []string // of them those that are not set and have no default
	literal bool     // something other than a variable's value went, or could go, into the text
	broken  string   // what is wrong with a ${…}; empty: nothing. Never holds a part of the value
}

// expand fills in ${NAME} and ${NAME:-default}; the default also stands in for a variable that is set and empty. $${ is a literal ${.
// What a variable holds is taken as it is: it is not expanded again.
func expand(s string, lookup func(string) (string, bool)) expanded {
	var e expanded
	var b strings.Builder
	for s != "" {
		i := strings.Index(s, "${")
		if i < 0 {
			break
		}
		if i > 0 && s[i-1] == '$' {
			e.literal = true
			b.WriteString(s[:i-1])
			b.WriteString("${")
			s = s[i+2:]
			continue
		}
		if i > 0 {
			e.literal = true
			b.WriteString(s[:i])
		}
		inner, rest, closed := strings.Cut(s[i+2:], "}")
		if !closed {
			e.broken = "has a ${ without its }"
			return e
		}
		s = rest
		name, def, hasDefault := strings.Cut(inner, ":-")
		switch {
		case !isName(name):
			e.broken = "has a ${…} that does not hold the name of a variable"
			return e
		case strings.Contains(def, "${"):
			e.broken = "has a ${…} inside the default of another"
			return e
		}
		e.note(name)
		if def != "" {
			e.literal = true
		}
		v, ok := lookup(name)
		switch {
		case hasDefault && v == "":
			b.WriteString(def)
		case !ok:
			e.missing = append(e.missing, name)
		default:
			b.WriteString(v)
		}
	}
	if s != "" {
		e.literal = true
		b.WriteString(s)
	}
	e.text = b.String()
	return e
}

func (e *expanded) note(name string) {
	for _, n := range e.names {
		if n == name {
			return
		}
	}
	e.names = append(e.names, name)
}

// isName reports whether s can be the name of an environment variable.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
