package source

import (
	"strings"
	"testing"
	"unicode"
)

// Whatever a store keeps: a key of it is a text, or there is an error with a cure that has the names of keys and not what is under them.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"password":"c4n4ry","number":1.50,"yes":true,"list":[1],"none":null,"":"x"}`), "password")
	f.Add([]byte("c4n4ry\r\n"), "")
	f.Add([]byte("\xff\xfe"), "")
	f.Add([]byte(`{"a":"c4n4ry","a":"other"}`), "a")
	f.Add([]byte(`[]`), "x")
	f.Fuzz(func(t *testing.T, text []byte, key string) {
		for _, k := range []string{key, "", "no such key at all"} {
			v, err := Whole(text).Pick(k)
			switch e, _ := err.(*Error); {
			case err == nil && v.Empty():
				t.Error("no value and no error")
			case err != nil && (e == nil || e.Hint == "" || !v.Empty()):
				t.Errorf("%#v", err)
			case err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }):
				t.Errorf("%q", err.Error())
			}
		}
		if d, ok := Object(text); ok {
			if _, err := d.Pick(""); err == nil {
				t.Error("all of an object is a text")
			}
		}
	})
}
