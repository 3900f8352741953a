package meta

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

var date = time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)

// clock is a clock that a test moves.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

type sim struct {
	*Server
	t     *testing.T
	clock *clock
	token string
}

// start makes a small world on a fixed date, whose clock stands still.
func start(t *testing.T, change ...func(*Config)) *sim {
	t.Helper()
	ck := &clock{date}
	cfg := Default()
	cfg.Campaigns, cfg.Date, cfg.Clock = 10, date, ck.Now
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &sim{s, t, ck, DefaultToken}
}

type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) err() map[string]any { e, _ := a.body["error"].(map[string]any); return e }

func (a answer) code() (code, sub int) {
	c, _ := a.err()["code"].(float64)
	s, _ := a.err()["error_subcode"].(float64)
	return int(c), int(s)
}

func (a answer) rows() []map[string]any {
	list, _ := a.body["data"].([]any)
	out := make([]map[string]any, 0, len(list))
	for _, x := range list {
		out = append(out, x.(map[string]any))
	}
	return out
}

func (a answer) after() string {
	p, _ := a.body["paging"].(map[string]any)
	if p["next"] == nil {
		return ""
	}
	return p["cursors"].(map[string]any)["after"].(string)
}

func (s *sim) do(r *http.Request) answer {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &a.body)
	return a
}

func params(kv ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(kv); i += 2 {
		q.Set(kv[i], kv[i+1])
	}
	return q
}

// get asks with the token in the header.
func (s *sim) get(path string, kv ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/v26.0/"+path+"?"+params(kv...).Encode(), nil)
	r.Header.Set("Authorization", "Bearer "+s.token)
	return s.do(r)
}

func (s *sim) post(path string, kv ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/v26.0/"+path, strings.NewReader(params(kv...).Encode()))
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(r)
}

// all pages through a listing.
func (s *sim) all(path string, kv ...string) []map[string]any {
	s.t.Helper()
	var out []map[string]any
	after := ""
	for range 10_000 {
		args := kv
		if after != "" {
			args = append(append([]string{}, kv...), "after", after)
		}
		a := s.get(path, args...)
		if a.status != http.StatusOK {
			s.t.Fatalf("%s: %d %s", path, a.status, a.raw)
		}
		out = append(out, a.rows()...)
		if after = a.after(); after == "" {
			return out
		}
	}
	s.t.Fatalf("%s: no end of pages", path)
	return nil
}

const act1 = "act_778800000000001"
