package platformtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/platform"
	"adsync/internal/secret"
	"adsync/internal/store"
)

// replies: the table of answers.
func replies(t *testing.T, s Subject) {
	if len(s.Replies) < 10 {
		t.Fatalf("%d replies are no table", len(s.Replies))
	}
	classes := map[ads.Class]bool{}
	onBed(t, s, nil, func(b *bed) {
		p := b.Platform()
		for _, r := range s.Replies {
			if r.Header == nil {
				r.Header = http.Header{}
			}
			v := p.Classify(platform.Reply{Endpoint: r.Endpoint, Status: r.Status, Header: r.Header, Body: []byte(r.Body)})
			classes[r.Class] = true
			if v.Class != r.Class || r.Wait != 0 && v.Wait != ads.Some(r.Wait) || v.Whole != r.Whole {
				b.Errorf("%s: %+v, want %s, wait %s, whole %t", r.Name, v, r.Class, r.Wait, r.Whole)
			}
			if v.Class != ads.ClassOK && (v.Message == "" || v.Code == "") {
				b.Errorf("%s: neither code nor words: %+v", r.Name, v)
			}
			for _, text := range []string{v.Message, v.Hint, v.RequestID, v.Code} {
				if ads.Printable(text, 1<<20) != text {
					b.Errorf("%s: not safe to print: %q", r.Name, text)
				}
			}
		}
	})
	for _, c := range []ads.Class{ads.ClassOK, ads.ClassThrottled, ads.ClassTransient, ads.ClassTokenDead, ads.ClassDenied, ads.ClassPermanent} {
		if !classes[c] {
			t.Errorf("no reply of the table is %q", c)
		}
	}
}

// emptiness is an answer that holds nothing and yet is a 200.
type emptiness struct{ name, contentType, body string }

var empties = []emptiness{
	{"nothing", "application/json", ""},
	{"an empty object", "application/json", "{}"},
	{"null", "application/json", "null"},
	{"html", "text/html", "<html><body>Maintenance</body></html>"},
	{"half an answer", "application/json", `{"data":[{"id":"1"`},
}

// every answers all that is not about tokens with fn.
func (b *bed) every(fn func(http.ResponseWriter, *http.Request)) {
	f := func(w http.ResponseWriter, r *http.Request) bool {
		if b.Token(r) {
			return false
		}
		fn(w, r)
		return true
	}
	b.between.Store(&f)
}

func (b *bed) well() { b.between.Store(nil) }

// empty: an answer with nothing in it is not taken for an account without anything: nothing is marked as removed, no figures go, and the run is not complete.
func empty(t *testing.T, s Subject, e emptiness) {
	onBed(t, s, nil, func(b *bed) {
		b.complete()
		b.every(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", e.contentType)
			_, _ = io.WriteString(w, e.body)
		})
		if sum := b.run(b.st); sum.Outcome == ads.Complete || sum.Err == nil {
			b.Errorf("%+v", sum)
		}
		b.holds()
		b.well()
		b.finish()
		b.holds()
	})
}

// finish runs to a good end, and what is not due yet is not waited for.
func (b *bed) finish() {
	b.Helper()
	var s engine.Summary
	for range 3 {
		if s = b.run(b.st); s.Outcome == ads.Complete && s.Err == nil {
			return
		}
	}
	b.Fatalf("%+v: %v", s, s.Err)
}

// partial: a listing that breaks off marks nothing as removed, wherever it does.
func partial(t *testing.T, s Subject) {
	var all int64
	onBed(t, s, nil, func(b *bed) {
		b.complete()
		all = b.requests.Load()
	})
	for n := int64(1); n < all; n += max(1, all/4) {
		t.Run(fmt.Sprintf("%d of %d", n, all), func(t *testing.T) {
			onBed(t, s, nil, func(b *bed) {
				b.complete()
				from := b.requests.Load() + n
				f := func(w http.ResponseWriter, r *http.Request) bool {
					if b.Token(r) || b.requests.Load() < from {
						return false
					}
					w.WriteHeader(http.StatusBadGateway)
					return true
				}
				b.between.Store(&f)
				_ = b.run(b.st) // it may have been done before: not all is due again
				b.holds()
				b.well()
				b.finish()
				b.holds()
			})
		})
	}
}

// echo is a platform that gives back what it was sent.
type echo struct {
	name   string
	status int
	write  func(w io.Writer, sent string)
}

var echoes = []echo{
	{"400 in words", 400, func(w io.Writer, sent string) {
		quote(w, `{"error":{"message":%s,"code":100,"status":"INVALID_ARGUMENT"}}`, sent)
	}},
	{"403 in words", 403, func(w io.Writer, sent string) {
		quote(w, `{"error":{"message":%s,"code":200,"status":"PERMISSION_DENIED"}}`, sent)
	}},
	{"500 as text", 500, func(w io.Writer, sent string) { _, _ = io.WriteString(w, sent) }},
	{"200 as text", 200, func(w io.Writer, sent string) { _, _ = io.WriteString(w, sent) }},
	{"401 in words", 401, func(w io.Writer, sent string) { quote(w, `{"error":%s,"message":%[1]s}`, sent) }},
}

func quote(w io.Writer, format, s string) {
	q, _ := json.Marshal(s)
	_, _ = fmt.Fprintf(w, format, q)
}

// secrets: whatever a platform gives back of what it was sent, no event, error or failure that is kept holds a secret.
func secrets(t *testing.T, s Subject, e echo) {
	onBed(t, s, nil, func(b *bed) {
		var tokens []secret.Text
		f := func(w http.ResponseWriter, r *http.Request) bool {
			if b.Token(r) {
				return false
			}
			if _, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
				b.mu.Lock()
				tokens = append(tokens, secret.New(token))
				b.mu.Unlock()
			}
			body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Request-Id", r.Header.Get("Authorization"))
			w.WriteHeader(e.status)
			e.write(w, fmt.Sprintf("%s %s %v %s", r.Method, r.URL, r.Header, body))
			return true
		}
		b.between.Store(&f)
		sum := b.run(b.st)
		if sum.Err == nil {
			b.Errorf("%+v", sum)
		}
		said := []string{fmt.Sprintf("%v %+v", sum.Err, sum)}
		b.mu.Lock()
		for _, ev := range b.events {
			said = append(said, fmt.Sprintf("%+v", ev))
		}
		hidden := append(append(tokens, b.Credentials.All()...), b.Password)
		b.mu.Unlock()
		if len(tokens) == 0 {
			b.Error("no token was sent")
		}
		for f, err := range b.st.Failures(b.Context(), store.FailureFilter{ClientID: "acme"}) {
			if err != nil {
				b.Fatal(err)
			}
			said = append(said, fmt.Sprintf("%+v", f))
		}
		for _, text := range said {
			for _, h := range hidden {
				if len(h.Reveal()) >= 8 && secret.Clean(text, h) != text {
					b.Errorf("a secret stands in: %s", secret.Clean(text, hidden...))
				}
			}
		}
	})
}
