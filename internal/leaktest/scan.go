// Package leaktest finds secrets in whatever a program has put out: in clear, and in every form into which encoders on the way may have brought
// them.
//
// It is for tests only and imports nothing of adsync: a search that shared code with what hides secrets would share its blind spots.
package leaktest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"html"
	"slices"
	"strings"
	"unicode/utf16"
)

// Shortest is the least length of a secret that can be searched for: shorter ones are found where they are not.
const Shortest = 8

// decodings is how many encodings on top of each other are taken off: a JSON string within a log line that a page shows has three.
const decodings = 3

// mostViews bounds what the decodings of one text can come to.
const mostViews = 64

// Scanner searches for a set of secrets.
type Scanner struct {
	needles []needle
}

// needle is one form of a secret.
type needle struct {
	secret, form string
	text         []byte
	fold         bool // in any case: text is in small letters
}

// Finding is a secret that was found. It does not hold the secret, so it can be printed.
type Finding struct {
	Secret string // its name
	Form   string // "base64", "percent-encoded in JSON", …
	Near   string // what stands before it
}

func (f Finding) String() string {
	return fmt.Sprintf("%s, %s, after %q", f.Secret, f.Form, f.Near)
}

// New searches for secrets by name. A value that is too short to be searched for is an error.
func New(secrets map[string]string) (*Scanner, error) {
	s := &Scanner{}
	names := make([]string, 0, len(secrets))
	for name := range secrets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v := secrets[name]
		if len(v) < Shortest {
			return nil, fmt.Errorf("the secret %q has %d bytes: at least %d are needed to search for it", name, len(v), Shortest)
		}
		s.needles = append(s.needles, needlesOf(name, v)...)
	}
	if len(s.needles) == 0 {
		return nil, fmt.Errorf("there is no secret to search for")
	}
	return s, nil
}

// needlesOf are the forms that are searched for as such. Escapes (percent, JSON, HTML, Go) are taken off the text instead, since an encoder may
// escape as much or as little as it likes.
func needlesOf(name, v string) []needle {
	b := []byte(v)
	out := []needle{
		{name, "in clear", lower([]byte(v)), true},
		{name, "hex", []byte(hex.EncodeToString(b)), true},
		{name, "hex with blanks", []byte(spaced(b)), true},
		{name, "UTF-16", utf16le(v), false},
	}
	for _, e := range []struct {
		name string
		enc  *base64.Encoding
	}{{"base64", base64.RawStdEncoding}, {"base64 for URLs", base64.RawURLEncoding}} {
		for shift := range 3 {
			if part := aligned(e.enc, b, shift); len(part) >= Shortest {
				n := needle{name, fmt.Sprintf("%s, %d bytes into a group", e.name, shift), part, false}
				if !slices.ContainsFunc(out, func(o needle) bool { return bytes.Equal(o.text, n.text) }) {
					out = append(out, n)
				}
			}
		}
	}
	return out
}

// aligned is the part of the base64 of a longer text that b alone decides, where b begins shift bytes into a group of three.
func aligned(enc *base64.Encoding, b []byte, shift int) []byte {
	whole := enc.EncodeToString(append(make([]byte, shift), b...))
	from := (shift*8 + 5) / 6      // the first character without a bit of what is before
	to := (shift + len(b)) * 8 / 6 // and the first with one of what follows
	return []byte(whole[from:min(to, len(whole))])
}

func spaced(b []byte) string {
	var s strings.Builder
	for i, c := range b {
		if i > 0 {
			s.WriteByte(' ')
		}
		fmt.Fprintf(&s, "%02x", c)
	}
	return s.String()
}

func utf16le(v string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(v)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// view is a text as it reads once some encodings are taken off.
type view struct {
	text []byte
	how  string
}

// Scan gives what is found in text: each secret in each form once.
func (s *Scanner) Scan(text []byte) []Finding {
	var out []Finding
	seen := map[string]bool{}
	for _, v := range views(text) {
		folded := lower(v.text)
		for _, n := range s.needles {
			in := v.text
			if n.fold {
				in = folded
			}
			at := bytes.Index(in, n.text)
			if at < 0 {
				continue
			}
			f := Finding{Secret: n.secret, Form: n.form + v.how, Near: s.harmless(in[max(0, at-80):at])}
			if key := f.Secret + "\x00" + n.form; !seen[key] {
				seen[key] = true
				out = append(out, f)
			}
		}
	}
	return out
}

// harmless is text without any form of a secret.
func (s *Scanner) harmless(text []byte) string {
	for _, n := range s.needles {
		if bytes.Contains(lower(text), lower(n.text)) {
			return "…"
		}
	}
	return string(text)
}

// views are the text as it is, and as it reads with up to three encodings taken off, in every order.
func views(text []byte) []view {
	out := []view{{text, ""}}
	for first, depth := 0, 0; depth < decodings; depth++ {
		last := len(out)
		for _, v := range out[first:last] {
			for _, d := range decoders {
				got := d.decode(v.text)
				if got == nil || len(out) >= mostViews || slices.ContainsFunc(out, func(o view) bool { return bytes.Equal(o.text, got) }) {
					continue
				}
				out = append(out, view{got, ", " + d.name + v.how})
			}
		}
		first = last
	}
	return out
}

// decoders take one encoding off; nil where there is nothing to take off. What is not well encoded stays as it is.
var decoders = []struct {
	name   string
	decode func([]byte) []byte
}{
	{"percent-encoded", unpercent},
	{"as a form's value", unform},
	{"with backslashes", unbackslash},
	{"HTML-escaped", unhtml},
	{"broken over lines", unbroken},
}

func unpercent(b []byte) []byte {
	if !bytes.Contains(b, []byte{'%'}) {
		return nil
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if v, ok := hexByte(b[i+1], b[i+2]); ok {
				out = append(out, v)
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	if bytes.Equal(out, b) {
		return nil
	}
	return out
}

// unform takes the plus signs off that stand for blanks, and the percent signs.
func unform(b []byte) []byte {
	if !bytes.Contains(b, []byte{'+'}) {
		return nil
	}
	blank := bytes.ReplaceAll(b, []byte{'+'}, []byte{' '})
	if got := unpercent(blank); got != nil {
		return got
	}
	return blank
}

// unbackslash takes off what JSON, JavaScript, Go, C and PostgreSQL's COPY put before characters.
func unbackslash(b []byte) []byte {
	if !bytes.Contains(b, []byte{'\\'}) {
		return nil
	}
	plain := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f', 'a': '\a', 'v': '\v'}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 >= len(b) {
			out = append(out, b[i])
			continue
		}
		i++
		switch c := b[i]; {
		case c == 'u' && i+4 < len(b):
			hi, ok1 := hexByte(b[i+1], b[i+2])
			lo, ok2 := hexByte(b[i+3], b[i+4])
			if !ok1 || !ok2 {
				out = append(out, '\\', c)
				continue
			}
			out = append(out, string(rune(hi)<<8|rune(lo))...)
			i += 4
		case c == 'x' && i+2 < len(b):
			v, ok := hexByte(b[i+1], b[i+2])
			if !ok {
				out = append(out, '\\', c)
				continue
			}
			out = append(out, v)
			i += 2
		case plain[c] != 0:
			out = append(out, plain[c])
		default: // \/ \" \\ and whatever else stands for itself
			out = append(out, c)
		}
	}
	return out
}

func unhtml(b []byte) []byte {
	if !bytes.Contains(b, []byte{'&'}) {
		return nil
	}
	out := []byte(html.UnescapeString(string(b)))
	if bytes.Equal(out, b) {
		return nil
	}
	return out
}

// unbroken joins lines, as base64 and printed dumps break them.
func unbroken(b []byte) []byte {
	if !bytes.ContainsAny(b, "\r\n") {
		return nil
	}
	return bytes.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, b)
}

// lower makes ASCII letters small and leaves all other bytes alone, as they need not be text.
func lower(b []byte) []byte {
	out := bytes.Clone(b)
	for i, c := range out {
		if 'A' <= c && c <= 'Z' {
			out[i] = c + 'a' - 'A'
		}
	}
	return out
}

func hexByte(hi, lo byte) (byte, bool) {
	var out [1]byte
	_, err := hex.Decode(out[:], []byte{hi, lo})
	return out[0], err == nil
}
