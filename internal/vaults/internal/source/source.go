// Package source has what the stores of secrets have in common: the contract that each of them keeps, the document that one request reads,
// errors that say what to do, and a transport that keeps answers small.
//
// It knows no store and imports none of their clients.
package source

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/secret"
)

// Store is where secrets of one scheme are kept. Its methods may be called by many at once.
type Store interface {
	// Parse reads what stands behind "scheme:". It asks nobody. The error is an *Error.
	Parse(ref string) (Reference, error)
	// Fetch reads one document, in one try: waits and repeated tries are the caller's. The error is an *Error.
	Fetch(ctx context.Context, doc string) (*Document, error)
	// Close gives back what the store holds. Nothing is fetched after it.
	Close()
}

// Reference is a reference taken apart.
type Reference struct {
	Doc string // what one request reads; the same for all references that it answers
	Key string // what is wanted of it; empty: all of it
}

// Document is what one request read.
type Document struct {
	whole  secret.Text
	values map[string]secret.Text
	odd    map[string]string // what is no text, and what it is instead

	// Until says when the document ends, for one that is on loan; nil where it is not. It moves as the loan is extended.
	Until func() time.Time
	// Drop says that the document on loan is not given out any more, so that the loan need not be extended; nil where there is none.
	Drop func()
}

// Whole makes a document of a text. Keys are looked for in it where it is JSON.
func Whole(text []byte) *Document {
	return &Document{whole: secret.New(string(text))}
}

// Keyed makes a document of values by key: those that are texts, and for the others what they are.
func Keyed(values map[string]secret.Text, odd map[string]string) *Document {
	return &Document{values: values, odd: odd}
}

// Pick gives what a reference wants of the document.
func (d *Document) Pick(key string) (secret.Text, error) {
	values, odd := d.values, d.odd
	switch {
	case key == "" && values == nil:
		return line(d.whole)
	case key == "":
		return secret.Text{}, &Error{Kind: NoKey, Message: "the reference names no key; there are: " + listed(values, odd), Hint: "write the key behind a #"}
	case values == nil:
		var ok bool
		if values, odd, ok = object([]byte(d.whole.Reveal())); !ok {
			return secret.Text{}, &Error{Kind: NoKey, Message: "what is kept there is not a JSON object, so it has no keys", Hint: "leave #… away to use all of it, or store an object such as {\"password\": \"…\"}"}
		}
	}
	v, ok := values[key]
	switch {
	case ok && v.Empty():
		return v, &Error{Kind: NoKey, Message: "its value is empty", Hint: "give it a value"}
	case ok:
		return v, nil
	case odd[key] != "":
		return v, &Error{Kind: NoKey, Message: "its value is " + odd[key] + ", not a text", Hint: "store a text under the key"}
	case len(values)+len(odd) == 0:
		return v, &Error{Kind: NoKey, Message: "there is no such key; what is kept there has none at all", Hint: "check the reference, or store the key"}
	}
	return v, &Error{Kind: NoKey, Message: "there is no such key; there are: " + listed(values, odd), Hint: "write one of those behind the #"}
}

// line is the whole text without its last line break, as a file's content is taken.
func line(v secret.Text) (secret.Text, error) {
	s := strings.TrimSuffix(strings.TrimSuffix(v.Reveal(), "\n"), "\r")
	switch {
	case s == "":
		return secret.Text{}, &Error{Kind: NoKey, Message: "its value is empty", Hint: "give it a value"}
	case !utf8.ValidString(s):
		return secret.Text{}, &Error{Kind: NoKey, Message: "its value is not a text", Hint: "store a text"}
	}
	return secret.New(s), nil
}

// listed names keys, never values.
func listed(values map[string]secret.Text, odd map[string]string) string {
	const most = 10
	keys := append(slices.Collect(maps.Keys(values)), slices.Collect(maps.Keys(odd))...)
	slices.Sort(keys)
	shown := make([]string, 0, most)
	for _, k := range keys[:min(len(keys), most)] {
		shown = append(shown, ads.Printable(k, 40))
	}
	if len(keys) > most {
		shown = append(shown, fmt.Sprintf("and %d more", len(keys)-most))
	}
	return strings.Join(shown, ", ")
}

// object reads a JSON object of texts. Numbers, true and false are taken as they are written.
func object(text []byte) (values map[string]secret.Text, odd map[string]string, ok bool) {
	var raw map[string]jsontext.Value
	if json.Unmarshal(text, &raw) != nil || raw == nil {
		return nil, nil, false
	}
	values, odd = map[string]secret.Text{}, map[string]string{}
	for k, v := range raw {
		if t, what := scalar(v); what != "" {
			odd[k] = what
		} else {
			values[k] = t
		}
	}
	return values, odd, true
}

// Object is a document of a JSON object's keys. ok is false where the text is none.
func Object(text []byte) (d *Document, ok bool) {
	values, odd, ok := object(text)
	return Keyed(values, odd), ok
}

func scalar(v jsontext.Value) (t secret.Text, not string) {
	switch v = bytes.TrimSpace(v); v.Kind() {
	case '"':
		s, err := jsontext.AppendUnquote(nil, v)
		if err != nil {
			return t, "broken"
		}
		return secret.New(string(s)), ""
	case '0', 't', 'f':
		return secret.New(string(v)), ""
	case '{':
		return t, "an object"
	case '[':
		return t, "a list"
	}
	return t, "null"
}

// Cut splits a reference into what is before the first # and the key behind it.
func Cut(ref string) (doc, key string, err error) {
	doc, key, has := strings.Cut(ref, "#")
	switch {
	case has && key == "":
		return "", "", Malformed("ends in a # without a key", "write the key behind it, or leave the # away")
	case len(ref) > 1024:
		return "", "", Malformed("is longer than 1024 bytes", "check the reference")
	case !utf8.ValidString(ref) || ads.Printable(ref, 1024) != ref || strings.ContainsAny(doc, " "):
		return "", "", Malformed("holds a blank or a character that cannot be printed", "check the reference")
	}
	return doc, key, nil
}

// Of reports whether s has 1 to most bytes, all of them letters, digits or one of also. (The forms of names are simple, and regular
// expressions for them would cost every start of the program several milliseconds.)
func Of(s string, most int, also string) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(also, c) < 0 {
			return false
		}
	}
	return true
}
