package googleads

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// member is a key and its value, as they are written.
type member struct{ key, value []byte }

// scan goes through the members of an object, one after the other. It takes JSON that has been found valid, such as a row that was sliced out of an answer;
// of anything else it gives less, and reads no further than its end.
type scan struct{ rest []byte }

// scanObject begins with an object; anything else has no members.
func scanObject(v []byte) scan {
	v = bytes.TrimLeft(v, " \t\r\n")
	if len(v) == 0 || v[0] != '{' {
		return scan{}
	}
	return scan{v[1:]}
}

// next is the next member; ok is false at the end.
func (s *scan) next() (m member, ok bool) {
	b := s.rest
	s.rest = nil
	i := skip(b, 0, ',')
	if i >= len(b) || b[i] != '"' {
		return m, false
	}
	end := text1(b, i)
	m.key = b[i:end]
	if bytes.IndexByte(m.key, '\\') >= 0 {
		if plain, err := jsontext.AppendUnquote(nil, m.key); err == nil {
			m.key, _ = jsontext.AppendQuote(nil, plain)
		}
	}
	from := skip(b, end, ':')
	to := value(b, from)
	if to <= from {
		return m, false
	}
	m.value = b[from:to]
	s.rest = b[to:]
	return m, true
}

// skip passes white space, and one kind of separator.
func skip(b []byte, i int, separator byte) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r' || b[i] == separator) {
		i++
	}
	return i
}

// text1 is the end of the text that begins at i.
func text1(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return len(b)
}

// value is the end of the value that begins at i.
func value(b []byte, i int) int {
	if i >= len(b) {
		return i
	}
	switch b[i] {
	case '"':
		return text1(b, i)
	case '{', '[':
		for depth := 0; i < len(b); {
			switch b[i] {
			case '"':
				i = text1(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(b)
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	return i
}

var errTwice = errors.New("a key comes twice")

// found is a value that is looked for: as it is written, nil where it is not there.
type found []byte

// take keeps a value. One that comes twice has no value that could be trusted.
func (f *found) take(v []byte) error {
	if *f != nil {
		return errTwice
	}
	*f = v
	return nil
}

// scalar is the value as other readers of this package know it.
func (f found) scalar() (s scalar) {
	if len(f) == 0 {
		return s
	}
	switch s.kind = jsontext.Value(f).Kind(); s.kind {
	case '"':
		if d := f.inner(); d != nil {
			s.text = string(d)
			return s
		}
		b, _ := jsontext.AppendUnquote(nil, f)
		s.text = string(b)
	case '0', 't', 'f':
		s.text = string(f)
	case 'n':
		s.kind = 0
	}
	return s
}

// inner is what stands between the quotes of a plain text, or a number as it is; nil for anything else.
func (f found) inner() []byte {
	switch {
	case len(f) >= 2 && f[0] == '"' && f[len(f)-1] == '"' && bytes.IndexByte(f, '\\') < 0:
		return f[1 : len(f)-1]
	case len(f) > 0 && (f[0] == '-' || f[0] >= '0' && f[0] <= '9'):
		return f
	}
	return nil
}

// small reads a whole number of up to 18 digits, which nearly all are.
func (f found) small() (n int64, ok bool) {
	d := f.inner()
	if len(d) == 0 || len(d) > 18 {
		return 0, false
	}
	for _, c := range d {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}
