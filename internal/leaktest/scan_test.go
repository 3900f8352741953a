package leaktest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"html/template"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// encoders are the ways in which a secret may come out. Each is what a real encoder makes of it.
var encoders = []struct {
	name   string
	encode func(string) string
}{
	{"as it is", func(s string) string { return s }},
	{"in capitals", func(s string) string {
		return strings.Map(func(r rune) rune {
			if 'a' <= r && r <= 'z' {
				r += 'A' - 'a'
			}
			return r
		}, s)
	}},
	{"query", url.QueryEscape},
	{"path", url.PathEscape},
	{"query in small letters", func(s string) string {
		return strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%3D", "%3d", "%3A", "%3a").Replace(url.QueryEscape(s))
	}},
	{"every byte by percent", func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02x", s[i])
		}
		return b.String()
	}},
	{"JSON", func(s string) string { b, _ := json.Marshal(map[string]string{"x": s}); return string(b) }},
	{"JSON in JSON", func(s string) string {
		b, _ := json.Marshal(map[string]string{"x": s})
		b, _ = json.Marshal(map[string]string{"y": string(b)})
		return string(b)
	}},
	{"every character as \\u", func(s string) string {
		var b strings.Builder
		for _, r := range s {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
		return b.String()
	}},
	{"slashes of PHP", strings.NewReplacer("/", `\/`, `\`, `\\`).Replace},
	{"quoted by Go", func(s string) string { return fmt.Sprintf("%q %+q", s, s) }},
	{"slog", func(s string) string {
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "err", fmt.Errorf("open %q: %s", s, s))
		return b.String()
	}},
	{"HTML", html.EscapeString},
	{"template", template.HTMLEscapeString},
	{"script", template.JSEscapeString},
	{"XML", func(s string) string {
		var b bytes.Buffer
		_ = xml.EscapeText(&b, []byte(s))
		return b.String()
	}},
	{"JSON in HTML", func(s string) string { b, _ := json.Marshal(s); return html.EscapeString(string(b)) }},
	{"hex", func(s string) string { return hex.EncodeToString([]byte(s)) }},
	{"hex in capitals", func(s string) string { return fmt.Sprintf("%X", s) }},
	{"hex with blanks", func(s string) string { return fmt.Sprintf("% x", s) }},
	{"bytea", func(s string) string { return fmt.Sprintf(`\\x%x`, s) }},
	{"userinfo", func(s string) string {
		return (&url.URL{Scheme: "postgres", User: url.UserPassword("u", s), Host: "h"}).String()
	}},
	{"UTF-16", func(s string) string { return string(utf16le(s)) }},
}

var secretValue = rapid.StringOfN(rapid.RuneFrom([]rune("abcXYZ019 /+=?&%<>\"'\\:@#.-_~é$")), 12, 40, -1)

// A secret is found in whatever an encoder made of it, wherever it stands, and by its name.
func TestFindsEveryForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := secretValue.Draw(t, "secret")
		s, err := New(map[string]string{"password": v})
		if err != nil {
			t.Fatal(err)
		}
		before := rapid.StringN(0, 30, 60).Draw(t, "before")
		for _, e := range encoders {
			if e.name == "every character as \\u" && strings.ContainsFunc(v, func(r rune) bool { return r > 0xffff }) {
				continue
			}
			if got := s.Scan([]byte(before + "\n" + e.encode(v) + " after")); len(got) == 0 {
				t.Errorf("%s: %q was not found in %q", e.name, v, e.encode(v))
			}
		}
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			for shift := range 7 {
				text := enc.EncodeToString([]byte(strings.Repeat("u", shift) + v + ":tail"))
				if len(s.Scan([]byte("Authorization: Basic "+text))) == 0 {
					t.Errorf("base64 after %d bytes: %q was not found", shift, v)
				}
				if half := len(text) / 2; len(s.Scan([]byte(text[:half]+"\n"+text[half:]))) == 0 {
					t.Errorf("base64 after %d bytes, on two lines: %q was not found", shift, v)
				}
			}
		}
	})
}

// What is not the secret is not taken for it.
func TestFindsNothingElse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := "c4n4ry-" + rapid.StringMatching(`[a-z]{8,16}`).Draw(t, "secret")
		s, err := New(map[string]string{"password": v})
		if err != nil {
			t.Fatal(err)
		}
		text := rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "text")
		whole := append(append([]byte("password=*** "), text...), v[:len(v)-1]+"/"...)
		if got := s.Scan(whole); len(got) > 0 {
			t.Errorf("%v in %q", got, whole)
		}
	})
}

// A finding can be printed: neither it nor what stands around it gives a secret away.
func TestFindingHidesTheSecret(t *testing.T) {
	t.Parallel()
	const a, b = "c4n4ry-number-one", "c4n4ry-number-two"
	s, err := New(map[string]string{"first": a, "second": b})
	if err != nil {
		t.Fatal(err)
	}
	got := s.Scan([]byte("x " + a + " " + b + " " + base64.StdEncoding.EncodeToString([]byte(b))))
	if len(got) < 3 {
		t.Errorf("%v", got)
	}
	for _, f := range got {
		if again := s.Scan([]byte(f.String())); len(again) > 0 {
			t.Errorf("%v: it holds a secret itself", f)
		}
	}
}

// A search that would find nothing, whatever is there, is an error.
func TestNothingToSearch(t *testing.T) {
	t.Parallel()
	for _, bad := range []map[string]string{nil, {}, {"short": "1234567"}, {"empty": ""}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%v is searched for", bad)
		} else if strings.Contains(err.Error(), "1234567") {
			t.Errorf("%v", err)
		}
	}
	s, err := New(map[string]string{"x": "c4n4ry-value"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := s.Files(dir); err == nil {
		t.Error("a directory without files is clean")
	}
	if _, err := s.Files(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there is clean")
	}
}

// Files are searched at any depth, and so are their names.
func TestFiles(t *testing.T) {
	t.Parallel()
	const v = "c4n4ry-value"
	s, err := New(map[string]string{"x": v})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"clean": "nothing", "bad": "\x00\x01" + v, v + ".lock": "nothing", "skipped": v} {
		if err := os.WriteFile(filepath.Join(deep, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := s.Files(dir, filepath.Join(deep, "skipped"))
	if err != nil || len(found) != 2 || found[filepath.Join(deep, "bad")] == nil || found[filepath.Join(deep, v+".lock")+" (its name)"] == nil {
		t.Errorf("%v, %v", found, err)
	}
}

func FuzzScan(f *testing.F) {
	const v = "c4n4ry/pass+word"
	f.Add([]byte(`{"a":"\u003c%3c&lt;\x3c\\"}`))
	f.Add([]byte("%"))
	f.Add([]byte(`\u12\x1\`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := New(map[string]string{"x": v})
		if err != nil {
			t.Fatal(err)
		}
		s.Scan(text)
		if len(s.Scan(append(append([]byte{}, text...), " "+v...))) == 0 {
			t.Error("what stands before it hides the secret")
		}
	})
}
