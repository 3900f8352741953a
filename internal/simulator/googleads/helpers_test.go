package googleads

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

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

type sim struct {
	*Server
	t     *testing.T
	clock *clock
	token string
	login string
}

const (
	root1    = "1000000001"
	account1 = "4000000001"
)

// start makes a small world on a fixed date, whose clock stands still, and logs in.
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
	x := &sim{Server: s, t: t, clock: ck, login: root1}
	x.refresh()
	return x
}

type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// fault is the family and value of an answer's first error, and the google.rpc status.
func (a answer) fault() (family, value, rpc string) {
	e, _ := a.body["error"].(map[string]any)
	rpc, _ = e["status"].(string)
	list, _ := e["details"].([]any)
	if len(list) == 0 {
		return "", "", rpc
	}
	errs, _ := list[0].(map[string]any)["errors"].([]any)
	if len(errs) == 0 {
		return "", "", rpc
	}
	for k, v := range errs[0].(map[string]any)["errorCode"].(map[string]any) {
		return k, v.(string), rpc
	}
	return "", "", rpc
}

func (a answer) rows() []map[string]any {
	list, _ := a.body["results"].([]any)
	out := make([]map[string]any, 0, len(list))
	for _, x := range list {
		out = append(out, x.(map[string]any))
	}
	return out
}

func (s *sim) do(r *http.Request) answer {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &a.body)
	return a
}

func (s *sim) form(kv ...string) answer {
	s.t.Helper()
	q := url.Values{}
	for i := 0; i+1 < len(kv); i += 2 {
		q.Set(kv[i], kv[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(q.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(r)
}

func (s *sim) refresh() answer {
	s.t.Helper()
	a := s.form("grant_type", "refresh_token", "client_id", DefaultClientID, "client_secret", DefaultClientSecret, "refresh_token", DefaultRefreshToken)
	s.token, _ = a.body["access_token"].(string)
	return a
}

func (s *sim) ask(path, body string) answer {
	s.t.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Content-Type", "application/json")
	if s.login != "" && body != "" {
		r.Header.Set("Login-Customer-Id", s.login)
	}
	return s.do(r)
}

func (s *sim) search(customer, query, token string) answer {
	s.t.Helper()
	b, err := json.Marshal(map[string]string{"query": query, "pageToken": token})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.ask("/v26/customers/"+customer+"/googleAds:search", string(b))
}

// all pages through a query.
func (s *sim) all(customer, query string) []map[string]any {
	s.t.Helper()
	var out []map[string]any
	token := ""
	for range 10_000 {
		a := s.search(customer, query, token)
		if a.status != http.StatusOK {
			s.t.Fatalf("%s: %d %s", query, a.status, a.raw)
		}
		out = append(out, a.rows()...)
		if token, _ = a.body["nextPageToken"].(string); token == "" {
			return out
		}
	}
	s.t.Fatalf("%s: no end of pages", query)
	return nil
}

// stream gives the rows of a stream; nil and the text when it is not whole.
func (s *sim) stream(customer, query string) ([]map[string]any, string) {
	s.t.Helper()
	b, _ := json.Marshal(map[string]string{"query": query})
	a := s.ask("/v26/customers/"+customer+"/googleAds:searchStream", string(b))
	var chunks []struct {
		Results []map[string]any
		Error   map[string]any
	}
	if err := json.Unmarshal([]byte(a.raw), &chunks); err != nil {
		return nil, a.raw
	}
	out := []map[string]any{}
	for _, c := range chunks {
		if c.Error != nil {
			return nil, a.raw
		}
		out = append(out, c.Results...)
	}
	return out, ""
}

// at follows a path of keys.
func at(m map[string]any, path string) any {
	var v any = m
	for k := range strings.SplitSeq(path, ".") {
		o, _ := v.(map[string]any)
		v = o[k]
	}
	return v
}
