package report

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"adsync/internal/secret"
)

const canary = `p@ss/w+rd "ünï" 9f3c`

func TestRedactorFindsEveryForm(t *testing.T) {
	b := []byte(canary)
	quoted, _ := json.Marshal(canary)
	for name, text := range map[string]string{
		"plain":          canary,
		"query":          url.QueryEscape(canary),
		"path":           url.PathEscape(canary),
		"base64":         base64.StdEncoding.EncodeToString(b),
		"base64 raw":     base64.RawStdEncoding.EncodeToString(b),
		"base64 url":     base64.URLEncoding.EncodeToString(b),
		"hex":            hex.EncodeToString(b),
		"json":           string(quoted),
		"go":             fmt.Sprintf("%q", canary),
		"basic's prefix": base64.StdEncoding.EncodeToString([]byte(canary + ":more")),
	} {
		red := NewRedactor(secret.New(canary))
		got := red.String("before " + text + " after")
		if !strings.Contains(got, mask) || !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") {
			t.Errorf("%s: %q", name, got)
		}
		for _, part := range []string{"w+rd", "cGFzcy", "w%2Brd", "70407373"} {
			if strings.Contains(got, part) {
				t.Errorf("%s: %q shows %q", name, got, part)
			}
		}
	}
}

func TestRedactorProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secrets := rapid.SliceOfN(rapid.StringMatching(`[a-zA-Z0-9+/=&% ]{4,20}`), 1, 4).Draw(t, "secrets")
		var texts []secret.Text
		for _, s := range secrets {
			texts = append(texts, secret.New(s))
		}
		red := NewRedactor(texts...)
		s := rapid.SampledFrom(secrets).Draw(t, "shown")
		form := rapid.SampledFrom([]func(string) string{
			func(s string) string { return s }, url.QueryEscape, url.PathEscape,
			func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		}).Draw(t, "form")(s)
		got := red.String("«" + form + "»")
		if strings.Contains(got, form) {
			t.Fatalf("%q shows %q", got, form)
		}
	})
}

func TestRedactorLeavesShortValuesAndNothing(t *testing.T) {
	red := NewRedactor(secret.Text{}, secret.New("abc"))
	if got := red.String("abc is plain"); got != "abc is plain" {
		t.Error(got)
	}
	var none *Redactor
	if got := none.String("x"); got != "x" {
		t.Error(got)
	}
}

type loud struct{ Password string }

type stringer struct{ s string }

func (s stringer) String() string { return s.s }

// Fault 70: whatever a name holds, an event is one line; and no secret gets through in any kind of value.
func TestHandlerOneCleanLine(t *testing.T) {
	nasty := "evil\nlevel=ERROR msg=fake\r\x1b[31mred\x1b[0m\u202edesrever\u2028 \x00 \xff end"
	for _, f := range []struct {
		name     string
		format   Format
		terminal bool
	}{{"text", FormatText, false}, {"terminal", FormatText, true}, {"json", FormatJSON, false}} {
		t.Run(f.name, func(t *testing.T) {
			var out bytes.Buffer
			h := newHandler(&out, f.format, slog.LevelDebug, f.terminal, false, NewRedactor(secret.New(canary)))
			log := slog.New(h).With("with", canary+nasty).WithGroup("g")
			log.Info("message "+nasty+canary, "name", nasty, "err", errors.Join(errors.New(nasty), errors.New(canary)), "struct", loud{canary},
				"pointer", &loud{canary}, "stringer", stringer{canary + nasty}, "bytes", []byte(canary), "map", map[string]string{canary: canary}, canary, 1,
				slog.Group("in", "deep", canary), "secret", secret.New(canary))
			got := out.String()
			if n := strings.Count(got, "\n"); n != 1 || !strings.HasSuffix(got, "\n") {
				t.Errorf("%d line ends in %q", n, got)
			}
			for _, bad := range []string{"\x1b", "\r", "\x00", canary, "w+rd"} {
				if strings.Contains(got, bad) {
					t.Errorf("%q is in %q", bad, got)
				}
			}
			if f.format == FormatText && strings.ContainsAny(got, "\u202e\u2028") {
				t.Errorf("text that turns round is in %q", got)
			}
			if f.format == FormatJSON && !json.Valid(out.Bytes()) {
				t.Errorf("not JSON: %s", got)
			}
		})
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("plain")
	f.Add("a\nb\x1b[0m\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := OneLine(s)
		for _, r := range got {
			if r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == 0x2028 || r == 0x202e {
				t.Fatalf("%q has %q", got, r)
			}
		}
		if OneLine(got) != got {
			t.Fatalf("not stable: %q", got)
		}
	})
}
