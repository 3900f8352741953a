package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/secret"
)

// What JSON writes, a document gives back, by key; anything that is no text is named for what it is.
func TestPickProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.MapOf(rapid.StringMatching(`[a-zA-Z_. é]{1,8}`), rapid.OneOf(
			rapid.Map(rapid.String(), func(s string) any { return s }), rapid.Map(rapid.Int64(), func(n int64) any { return n }), rapid.Just[any](true), rapid.Just[any](nil),
			rapid.Just[any]([]string{"c4n4ry"}), rapid.Just[any](map[string]string{"c4n4ry": "c4n4ry"}),
		)).Draw(t, "data")
		b, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		whole := Whole(b)
		keyed, ok := Object(b)
		if !ok {
			t.Fatalf("%s is no object", b)
		}
		for k, v := range data {
			want, text := fmt.Sprint(v), true
			switch v := v.(type) {
			case string:
				want = v
				text = v != ""
			case nil, []string, map[string]string:
				text = false
			}
			for _, d := range []*Document{whole, keyed} {
				got, err := d.Pick(k)
				if text && (err != nil || got.Reveal() != want) || !text && err == nil {
					t.Fatalf("%q of %s: %q, %v", k, b, got.Reveal(), err)
				}
				if err != nil && strings.Contains(err.Error(), "c4n4ry") {
					t.Fatalf("a value is said: %v", err)
				}
			}
		}
	})
}

func TestPick(t *testing.T) {
	for _, c := range []struct {
		text, key, want, err string
	}{
		{"plain", "", "plain", ""},
		{"line\n", "", "line", ""},
		{"line\r\n", "", "line", ""},
		{"two\n\n", "", "two\n", ""},
		{"\n", "", "", "empty"},
		{"", "", "", "empty"},
		{"\xff", "", "", "not a text"},
		{`{"a": "x"}`, "", `{"a": "x"}`, ""},
		{`{"a": "x", "a": "y"}`, "a", "", "not a JSON object"},
		{`{"A": "x"}`, "a", "", "there are: A"},
		{`{"a": "x"} {"b": 1}`, "a", "", "not a JSON object"},
		{`[1]`, "a", "", "not a JSON object"},
		{`null`, "a", "", "not a JSON object"},
		{`{}`, "a", "", "none at all"},
		{`{"a": 1.50}`, "a", "1.50", ""},
		{`{"a": "\u00e9\n"}`, "a", "é\n", ""},
	} {
		got, err := Whole([]byte(c.text)).Pick(c.key)
		if c.err == "" && (err != nil || got.Reveal() != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q of %q: %q, %v", c.key, c.text, got.Reveal(), err)
		}
	}
	many := map[string]secret.Text{}
	for i := range 50 {
		many[fmt.Sprintf("key%02d\x1b[31m", i)] = secret.New("c4n4ry")
	}
	_, err := Keyed(many, nil).Pick("nope")
	if err == nil || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "and 40 more") {
		t.Errorf("got %v", err)
	}
	if _, err := Keyed(many, nil).Pick(""); err == nil {
		t.Error("a key is not needed")
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"a#b", "#", "a", "secret/data/acme?version=3#password", "a#b#c", "\x00", "é#ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		doc, key, err := Cut(ref)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != BadReference || e.Hint == "" || len(ref) > 3 && strings.Contains(e.Message, ref) {
				t.Fatalf("%q: %#v", ref, err)
			}
			return
		}
		back := doc
		if key != "" {
			back += "#" + key
		}
		if back != ref || strings.ContainsAny(doc, "# \n\x1b") {
			t.Fatalf("%q became %q and %q", ref, doc, key)
		}
	})
}

// An error of the network says what the system says, and nothing of what was sent.
func TestNetwork(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind Kind
		want string
	}{
		{context.DeadlineExceeded, Unreachable, "in time"},
		{fmt.Errorf("x: %w", context.Canceled), Unreachable, "given up"},
		{&net.DNSError{Err: "no such host", Name: "c4n4ry.example.com"}, Unreachable, "looked up"},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, Unreachable, "connection refused"},
		{&net.OpError{Op: "proxyconnect", Err: errors.New("c4n4ry")}, Unreachable, "proxy"},
		{errors.New("c4n4ry"), Unreachable, "no answer that can be read"},
		{http.ErrSchemeMismatch, Misconfigured, "does not speak TLS"},
		{fmt.Errorf("x: %w", ErrTooBig), BadAnswer, "larger"},
	} {
		e := Network("the store", c.err, "do")
		if e.Kind != c.kind || !strings.Contains(e.Message, c.want) || strings.Contains(e.Message+e.Hint, "c4n4ry") || e.Hint == "" {
			t.Errorf("%v: %+v", c.err, e)
		}
	}
}

func TestSaid(t *testing.T) {
	got := Said("the\ttoken\x1b[31m s.c4n4ry\nis bad, ab", secret.New("s.c4n4ry"), secret.New("ab"), secret.Text{})
	if got != "the token [31m *** is bad, ab" {
		t.Errorf("got %q", got)
	}
	if got := Said(strings.Repeat("x", 1000)); len(got) > 310 {
		t.Errorf("%d bytes", len(got))
	}
}

// An answer of exactly the bound is read, one byte more is not; what it says of itself is noted.
func TestTransport(t *testing.T) {
	for extra, want := range map[int]error{-1: nil, 0: nil, 1: ErrTooBig} {
		ctx, answer := Watch(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := Transport{roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"7"}}, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", maxBody+extra)))}, nil
		})}.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if !errors.Is(err, want) || len(b) > maxBody || resp.Body.Close() != nil {
			t.Errorf("%+d: %d bytes, %v", extra, len(b), err)
		}
		if answer.Status() != 503 || answer.Wait() != 7*time.Second || answer.Header("retry-after") != "7" {
			t.Errorf("noted: %d, %s", answer.Status(), answer.Wait())
		}
	}
	_, answer := Watch(t.Context())
	if answer.Status() != 0 || answer.Wait() != 0 {
		t.Error("an answer out of nothing")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
