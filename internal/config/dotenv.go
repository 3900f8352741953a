package config

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// variable is one NAME=value of a .env file.
type variable struct {
	name, value string
	line        int
}

// dotenvMistake is a line that cannot be read. It never holds a part of the line.
type dotenvMistake struct {
	line int
	what string
}

// parseDotenv reads NAME=value lines: "export " in front is allowed, # begins a comment at the start of a line or after a blank,
// '…' is literal, "…" knows \n \r \t \" \\ \$, and both may span lines. A $ is a $: nothing is expanded, so a password stays what it is.
func parseDotenv(src []byte) (vars []variable, mistakes []dotenvMistake) {
	src = bytes.TrimPrefix(src, []byte("\uFEFF"))
	if !utf8.Valid(src) || bytes.IndexByte(src, 0) >= 0 {
		return nil, []dotenvMistake{{0, "is not a text file in UTF-8"}}
	}
	rest := strings.ReplaceAll(strings.ReplaceAll(string(src), "\r\n", "\n"), "\r", "\n")
	for line := 1; rest != ""; line++ {
		text, below, _ := strings.Cut(rest, "\n")
		here := rest // from the beginning of this line
		rest = below
		text = strings.TrimSpace(text)
		if text == "" || text[0] == '#' {
			continue
		}
		if after, ok := strings.CutPrefix(text, "export"); ok && after != "" && (after[0] == ' ' || after[0] == '\t') {
			text = strings.TrimSpace(after)
		}
		name, value, ok := strings.Cut(text, "=")
		name = strings.TrimSpace(name)
		if !ok || !isName(name) {
			mistakes = append(mistakes, dotenvMistake{line, "is not NAME=value"})
			continue
		}
		value = strings.TrimSpace(value)
		v := variable{name: name, line: line}
		if value == "" || value[0] != '"' && value[0] != '\'' {
			v.value = uncomment(value)
			vars = append(vars, v)
			continue
		}
		// No quote can stand before the =, so the first one is the value's.
		var end, lines int
		start := strings.IndexByte(here, value[0])
		if v.value, end, lines, ok = unquote(here[start:]); !ok {
			// What follows may be a part of the value: nothing below can be trusted.
			return vars, append(mistakes, dotenvMistake{line, "opens a quote that is never closed"})
		}
		tail, below, _ := strings.Cut(here[start+end:], "\n")
		rest = below
		line += lines
		if tail = strings.TrimSpace(tail); tail != "" && tail[0] != '#' {
			mistakes = append(mistakes, dotenvMistake{line, "has text behind the closing quote"})
			continue
		}
		vars = append(vars, v)
	}
	return vars, mistakes
}

// uncomment cuts an unquoted value at a # that follows a blank.
func uncomment(s string) string {
	for i := range len(s) {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			return strings.TrimSpace(s[:i])
		}
	}
	return s
}

// unquote reads a quoted value that begins s and may go on in the lines below. end is where it ends in s, lines how many lines further down.
func unquote(s string) (value string, end, lines int, ok bool) {
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == quote:
			return b.String(), i + 1, lines, true
		case c == '\\' && quote == '"' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case '"', '\\', '$':
				b.WriteByte(s[i])
			default:
				b.WriteByte('\\')
				b.WriteByte(s[i])
				if s[i] == '\n' {
					lines++
				}
			}
		default:
			if c == '\n' {
				lines++
			}
			b.WriteByte(c)
		}
	}
	return "", 0, 0, false
}
