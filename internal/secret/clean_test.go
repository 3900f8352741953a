package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"adsync/internal/leaktest"
	"adsync/internal/secret"
)

// said are texts as a platform may make them of what it was sent.
func said(v string) []string {
	j, _ := json.Marshal(map[string]string{"x": v})
	jj, _ := json.Marshal(map[string]string{"y": string(j)})
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	every := ""
	for i := range len(v) {
		every += fmt.Sprintf("%%%02x", v[i])
	}
	out := []string{
		v, url.QueryEscape(v), url.PathEscape(v), strings.ToLower(url.QueryEscape("/")) + url.QueryEscape(v), every, string(j), string(jj), plain.String(),
		fmt.Sprintf("%q", v), fmt.Sprintf("%+q", v), html.EscapeString(v), html.EscapeString(string(j)), url.QueryEscape(string(j)), html.EscapeString(url.QueryEscape(v)),
		hex.EncodeToString([]byte(v)), fmt.Sprintf("%X", v), strings.ReplaceAll(string(j), "/", `\/`), url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(v))),
	}
	for _, before := range []string{"", "u", "uu", "Bearer ", "Bearer: ", "me@example.com:"} {
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			out = append(out, enc.EncodeToString([]byte(before+v)), enc.EncodeToString([]byte(before+v+"!")))
		}
	}
	return out
}

// Whatever is made of a secret, cleaning leaves nothing of it that a search which shares no code with it can find.
func TestClean(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.StringMatching(`[ -~]{12,40}`).Draw(t, "first")
		b := rapid.StringMatching(`[ -~]{12,40}`).Draw(t, "second")
		scan, err := leaktest.New(map[string]string{"first": a, "second": b})
		if err != nil {
			t.Fatal(err)
		}
		around := rapid.StringMatching(`[ -~]{0,20}`)
		for i, text := range said(a) {
			text = around.Draw(t, "before") + "|" + text + "|" + around.Draw(t, "after") + "|" + said(b)[i]
			got := secret.Clean(text, secret.New(a), secret.New(b), secret.Text{})
			if found := scan.Scan([]byte(got)); len(found) > 0 {
				t.Errorf("%q becomes %q: %v", text, got, found)
			}
		}
	})
}

// What holds no secret stays as it is, and so does what holds one that is too short to be told from other words.
func TestCleanLeavesTheRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if got := secret.Clean(text, secret.New("c4n4ry-which-is-not-there"), secret.New("a"), secret.New("")); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	})
	if got := secret.Clean("the login me:c4n4ry failed", secret.New("c4n4ry")); got != "the login me:*** failed" {
		t.Errorf("%q", got)
	}
	if got := secret.Clean(`the login \u0063\u0034n4ry failed`, secret.New("c4n4ry")); got != "***" {
		t.Errorf("%q", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add(`%63%34n4ry`, "c4n4ry")
	f.Add(`\u006`, "c4n4ry")
	f.Add(`&#x63;4n4ry&`, "c4n4ry\\")
	f.Fuzz(func(t *testing.T, text, v string) {
		if got := secret.Clean(text+v+text, secret.New(v)); len(v) >= secret.Shortest && strings.Contains(got, v) && !strings.Contains("***", v) {
			if !strings.Contains(strings.ReplaceAll(text+v+text, v, "***"), v) { // not made by the mask itself
				t.Errorf("%q is in %q", v, got)
			}
		}
	})
}
