package simulator

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// play is how one fault is put on the wire. In virtual time unless it needs a real connection.
type play struct {
	spec  string // empty: the fault as the catalogue has it
	tcp   bool
	cfg   func(*Config)
	check func(t *testing.T, s *Server, u *user)
}

// logged gives the user a token first, which most plays need.
func logged(check func(t *testing.T, s *Server, u *user)) func(*testing.T, *Server, *user) {
	return func(t *testing.T, s *Server, u *user) {
		u.must(u.login(), 200)
		check(t, s, u)
	}
}

// within gives the request so long, as a client's time-out would.
func (u *user) within(d time.Duration, method, path string, body []byte) answer {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return u.do(ctx, method, path, body)
}

func (u *user) listWithin(d time.Duration, page int) answer {
	return u.within(d, http.MethodGet, "/api/campaigns?page="+strconv.Itoa(page), nil)
}

// alone is the same user with a connection for each request: on one that was used before, net/http would repeat some requests by itself
// and hide the fault. Compression is the test's own affair.
func (u *user) alone() *user {
	tr := u.http.Transport.(*http.Transport).Clone()
	tr.DisableKeepAlives, tr.DisableCompression, tr.MaxResponseHeaderBytes = true, true, 1<<20
	v, client := *u, *u.http
	client.Transport = tr
	v.http = &client
	return &v
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.EPIPE)
}

// second checks the second listing answer, where most faults of transport and payload are, and that the third is well again.
func second(check func(t *testing.T, a answer)) play {
	return play{tcp: true, check: logged(func(t *testing.T, _ *Server, u *user) {
		u = u.alone()
		u.must(u.list(1, 10), 200)
		check(t, u.list(2, 10))
		if ids, _, _ := rowsOf(t, u.must(u.list(2, 10), 200)); len(ids) != 10 {
			t.Errorf("not well again: %d rows", len(ids))
		}
	})}
}

// tokenField checks one member of the token answer and that the token is good all the same.
func tokenField(name string, want any) play {
	return play{check: func(t *testing.T, _ *Server, u *user) {
		a := u.must(u.login(), 200).json(t)
		if got := a[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
		u.must(u.list(1, 10), 200)
	}}
}

// refusal checks the fifth request, which is refused, and that the wait is enforced and no longer than said.
func refusal(wait time.Duration, status int, check func(t *testing.T, a answer)) play {
	return play{check: logged(func(t *testing.T, s *Server, u *user) {
		for range 4 {
			u.must(u.list(1, 10), 200)
		}
		time.Sleep(300 * time.Millisecond)
		a := u.must(u.list(1, 10), status)
		if ids, _, _ := rowsOf(t, a); len(ids) != 0 {
			t.Error("a refusal with rows")
		}
		check(t, a)
		time.Sleep(wait - time.Millisecond)
		if again := u.list(1, 10); strings.Contains(string(again.body), `"pagination"`) {
			t.Error("the wait is not enforced")
		}
		time.Sleep(10 * time.Second)
		u.must(u.list(1, 10), 200)
		if st := s.Stats().Clients[""]; st.Throttled != 2 || st.Counted != 5 {
			t.Errorf("stats: %+v", st)
		}
	})}
}

func header(t *testing.T, a answer, name, want string) {
	t.Helper()
	if got := a.header.Get(name); got != want {
		t.Errorf("%s is %q, want %q", name, got, want)
	}
}

// dateWait is how long an HTTP date asks to wait, by the answer's own clock.
func dateWait(t *testing.T, a answer) time.Duration {
	t.Helper()
	until, err1 := http.ParseTime(a.header.Get("Retry-After"))
	now, err2 := http.ParseTime(a.header.Get("Date"))
	if err1 != nil || err2 != nil {
		t.Fatalf("Retry-After %q, Date %q", a.header.Get("Retry-After"), a.header.Get("Date"))
	}
	return until.Sub(now)
}

// rawRows are the records of a page, member by member, as they came.
func rawRows(t *testing.T, a answer) []json.RawMessage {
	t.Helper()
	var page struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(a.body, &page); err != nil {
		t.Fatalf("%v: %.300q", err, a.body)
	}
	return page.Data
}

// seventh checks the seventh record of the first page by a pattern, and that its neighbours are well.
func seventh(pattern string) play {
	return play{check: logged(func(t *testing.T, _ *Server, u *user) {
		rows := rawRows(t, u.must(u.list(1, 10), 200))
		if !regexp.MustCompile(pattern).Match(rows[6]) {
			t.Errorf("record: %.300s", rows[6])
		}
		if want := regexp.MustCompile(`^\{"id":"campaign_8","name":"Campaign 8",`); !want.Match(rows[7]) || len(rows) != 10 {
			t.Errorf("its neighbour of %d: %s", len(rows), rows[7])
		}
	})}
}

// kinds lists everything and wants each pattern in some record.
func kinds(patterns ...string) play {
	return play{check: logged(func(t *testing.T, s *Server, u *user) {
		body := string(u.must(u.list(1, 100), 200).body)
		for _, p := range patterns {
			if !strings.Contains(body, p) {
				t.Errorf("no record has %.60q", p)
			}
		}
		if len(s.Altered("")) != 14 {
			t.Errorf("%d records altered, want every seventh of 100", len(s.Altered("")))
		}
	})}
}

func pagination(t *testing.T, a answer) map[string]any {
	t.Helper()
	p, _ := a.json(t)["pagination"].(map[string]any)
	return p
}

// redirected checks one redirect of the second listing.
func redirected(where string, status int) play {
	p := second(func(t *testing.T, a answer) {
		if a.status != status || !regexp.MustCompile(where).MatchString(a.header.Get("Location")) {
			t.Errorf("status %d, Location %q", a.status, a.header.Get("Location"))
		}
	})
	return p
}

var plays = map[string]play{
	// general
	"rule": {spec: "rule:endpoint=list,on=3,times=1,do=410", check: logged(func(_ *testing.T, _ *Server, u *user) {
		for _, want := range []int{200, 200, 410, 200} {
			u.must(u.list(1, 10), want)
		}
	})},
	"status": {spec: "status:code=504,endpoint=sync,every=2", check: logged(func(_ *testing.T, _ *Server, u *user) {
		for _, want := range []int{200, 504, 200, 504} {
			u.must(u.sync("campaign_1"), want)
		}
	})},
	"slow": {spec: "slow:by=700ms", check: logged(func(t *testing.T, _ *Server, u *user) {
		begin := time.Now()
		u.must(u.list(1, 10), 200)
		if took := time.Since(begin); took != 700*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})},
	"throttle": {spec: "throttle:client=acme,on=2,wait=3s", check: logged(func(_ *testing.T, _ *Server, u *user) {
		acme, other := u.as("acme"), u.as("other")
		u.must(acme.list(1, 10), 200)
		u.must(acme.list(1, 10), 429)
		u.must(acme.sync("campaign_1"), 429)
		for range 5 {
			u.must(other.list(1, 10), 200)
		}
		time.Sleep(3 * time.Second)
		u.must(acme.list(1, 10), 200)
	})},
	"mixture": {spec: "mixture:p=0.5", tcp: true, check: func(t *testing.T, s *Server, u *user) {
		bad := 0
		for range 60 {
			a := u.list(1, 10)
			if a.status == 401 {
				u.login()
			}
			if a.err != nil || a.status != 200 || !bytes.HasSuffix(a.body, []byte("}}")) || !bytes.HasPrefix(a.body, []byte(`{"data":[`)) {
				bad++
			}
		}
		if bad < 5 || bad > 55 || s.Stats().FaultsPlayed["mixture"] == 0 {
			t.Errorf("%d of 60 went wrong, %v", bad, s.Stats().FaultsPlayed)
		}
	}},

	// auth
	"token-dies": {check: logged(func(t *testing.T, _ *Server, u *user) {
		time.Sleep(2 * time.Second)
		u.must(u.list(1, 10), 200)
		time.Sleep(time.Second)
		if a := u.must(u.list(1, 10), 401); a.json(t)["expired_at"] == nil {
			t.Error("no expired_at")
		}
		u.must(u.login(), 200)
		u.must(u.list(1, 10), 200)
	})},
	"token-short": {check: func(t *testing.T, _ *Server, u *user) {
		if got := u.must(u.login(), 200).json(t)["expires_in"]; got != 3.0 {
			t.Errorf("expires_in %v", got)
		}
		time.Sleep(3 * time.Second)
		u.must(u.list(1, 10), 401)
	}},
	"credentials-wrong": {check: func(_ *testing.T, _ *Server, u *user) { u.must(u.login(), 401); u.must(u.login(), 401) }},
	"revoked": {spec: "revoked:after=3", check: logged(func(_ *testing.T, _ *Server, u *user) {
		for range 3 {
			u.must(u.list(1, 10), 200)
		}
		u.must(u.list(1, 10), 401)
		u.must(u.login(), 401)
	})},
	"fresh-refused": {check: logged(func(_ *testing.T, _ *Server, u *user) {
		u.must(u.list(1, 10), 401)
		u.must(u.login(), 200)
		u.must(u.sync("campaign_1"), 401)
	})},
	"token-slow": {check: func(t *testing.T, s *Server, u *user) {
		begin := time.Now()
		done := make(chan answer)
		for range 2 {
			v := u.as("acme")
			go func() { done <- v.login() }()
		}
		u.must(<-done, 200)
		u.must(<-done, 200)
		if st := s.Stats(); time.Since(begin) != 3*time.Second || st.MaxConcurrentTokenRequests != 2 || st.Clients["acme"].MaxConcurrentTokenRequests != 2 {
			t.Errorf("took %s, stats %+v", time.Since(begin), st)
		}
	}},
	"token-503": {check: func(_ *testing.T, _ *Server, u *user) {
		for _, want := range []int{503, 503, 503, 200} {
			u.must(u.login(), want)
		}
	}},
	"token-hang": {check: func(t *testing.T, _ *Server, u *user) {
		if a := u.within(30*time.Second, http.MethodPost, "/auth/token", nil); !isTimeout(a.err) {
			t.Errorf("%d %v", a.status, a.err)
		}
		u.must(u.login(), 200)
	}},
	"token-429": {check: func(t *testing.T, s *Server, u *user) {
		header(t, u.must(u.login(), 429), "Retry-After", "3")
		time.Sleep(time.Second)
		u.must(u.login(), 200)
		if st := s.Stats().Clients[""]; st.Early != 1 {
			t.Errorf("early: %+v", st)
		}
	}},
	"token-rotates": {check: logged(func(_ *testing.T, _ *Server, u *user) {
		old := *u
		u.must(old.list(1, 10), 200)
		u.must(u.login(), 200)
		u.must(old.list(1, 10), 401)
		u.must(u.list(1, 10), 200)
	})},
	"token-no-expiry":     tokenField("expires_in", nil),
	"token-expiry-string": tokenField("expires_in", "3600"),
	"token-expiry-huge":   tokenField("expires_in", 1e18),
	"clock-off": {spec: "clock-off:by=-6h", check: func(t *testing.T, _ *Server, u *user) {
		a := u.must(u.login(), 200)
		want := time.Now().Add(-6 * time.Hour)
		if got := a.json(t)["issued_at"]; got != float64(want.Unix()) {
			t.Errorf("issued_at %v", got)
		}
		header(t, a, "Date", want.UTC().Format(http.TimeFormat))
		header(t, u.must(u.list(1, 10), 200), "Date", want.UTC().Format(http.TimeFormat))
	}},
	"token-html": {check: func(t *testing.T, _ *Server, u *user) {
		a := u.must(u.login(), 200)
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !bytes.HasPrefix(a.body, []byte("<!doctype")) {
			t.Errorf("%v %.40q", a.header, a.body)
		}
	}},
	"token-empty": {check: func(t *testing.T, _ *Server, u *user) {
		if got := u.must(u.login(), 200).json(t)["access_token"]; got != "" {
			t.Errorf("token %q", got)
		}
	}},
	"token-crlf": {check: func(t *testing.T, _ *Server, u *user) {
		if got := u.must(u.login(), 200).json(t)["access_token"].(string); !strings.Contains(got, "\r\nX-Injected: 1") {
			t.Errorf("token %q", got)
		}
	}},
	"token-type-lower": tokenField("token_type", "bearer"),
	"token-redirect": {tcp: true, check: func(t *testing.T, s *Server, u *user) {
		a := u.must(u.login(), 307)
		to := a.header.Get("Location")
		if strings.HasPrefix(to, u.base) || !strings.HasSuffix(to, "/auth/token") {
			t.Errorf("Location %q", to)
		}
		// The other origin tells who let himself be led there with credentials.
		led := *u
		led.base = strings.TrimSuffix(to, "/auth/token")
		u.must(led.login(), 200)
		if st := s.Stats(); st.ForeignRequests != 1 || st.CredentialsSentAbroad != 1 {
			t.Errorf("%+v", st)
		}
	}},

	// quota
	"retry-after-seconds": refusal(5*time.Second, 429, func(t *testing.T, a answer) {
		header(t, a, "Retry-After", "5")
		if a.json(t)["retry_after"] != nil {
			t.Error("the body tells a wait too")
		}
	}),
	"retry-after-date": refusal(5*time.Second, 429, func(t *testing.T, a answer) {
		if d := dateWait(t, a); d != 5*time.Second {
			t.Errorf("waits %s", d)
		}
	}),
	"retry-after-date-skewed": refusal(5*time.Second, 429, func(t *testing.T, a answer) {
		now, _ := http.ParseTime(a.header.Get("Date"))
		if d := dateWait(t, a); d != 5*time.Second || time.Until(now) < 23*time.Hour || len(a.header["Date"]) != 1 {
			t.Errorf("waits %s from %v", d, a.header["Date"])
		}
	}),
	"retry-after-body": refusal(5*time.Second, 429, func(t *testing.T, a answer) {
		header(t, a, "Retry-After", "")
		if a.json(t)["retry_after"] != 5.0 {
			t.Errorf("%s", a.body)
		}
	}),
	"retry-after-none": refusal(2*time.Second, 429, func(t *testing.T, a answer) {
		header(t, a, "Retry-After", "")
		if a.json(t)["retry_after"] != nil {
			t.Errorf("%s", a.body)
		}
	}),
	"retry-after-odd":  refusal(2*time.Second, 429, func(t *testing.T, a answer) { header(t, a, "Retry-After", "0") }),
	"retry-after-huge": refusal(2*time.Second, 429, func(t *testing.T, a answer) { header(t, a, "Retry-After", "1000000000") }),
	"throttle-403":     refusal(5*time.Second, 403, func(t *testing.T, a answer) { header(t, a, "Retry-After", "5") }),
	"throttle-200": refusal(5*time.Second, 200, func(t *testing.T, a answer) {
		if a.json(t)["error"] != "Rate limit exceeded" || a.json(t)["data"] != nil {
			t.Errorf("%s", a.body)
		}
	}),
	"usage-header": {cfg: func(c *Config) { c.Quota = Quota{N: 10, Window: time.Minute} }, check: logged(func(t *testing.T, _ *Server, u *user) {
		u.must(u.list(1, 10), 200)
		a := u.must(u.list(1, 10), 200)
		header(t, a, "X-RateLimit-Remaining", "8")
		header(t, a, "X-App-Usage", `{"call_count":20,"total_cputime":0,"total_time":0}`)
	})},
	"ratelimit-fields": {cfg: func(c *Config) { c.Quota = Quota{N: 10, Window: time.Minute} }, check: logged(func(t *testing.T, _ *Server, u *user) {
		u.must(u.list(1, 10), 200)
		time.Sleep(30 * time.Second)
		a := u.must(u.list(1, 10), 200)
		header(t, a, "Ratelimit", `"default";r=8;t=30`)
		header(t, a, "Ratelimit-Policy", `"default";q=10;w=60`)
	})},
	"quota-shared": {cfg: func(c *Config) { c.Quota = Quota{N: 10, Window: time.Minute} }, check: logged(func(t *testing.T, s *Server, u *user) {
		// Half of the quota is another's: over ten minutes, asking every second, about half of it is left.
		time.Sleep(time.Minute)
		good := 0
		for range 600 {
			if u.list(1, 10).status == 200 {
				good++
			}
			time.Sleep(time.Second)
		}
		if good < 45 || good > 75 {
			t.Errorf("%d of 600 got through, %+v", good, s.Stats().Clients[""])
		}
	})},
	"early-restarts": {spec: "early-restarts:wait=10s", check: logged(func(t *testing.T, s *Server, u *user) {
		for range 4 {
			u.must(u.list(1, 10), 200)
		}
		header(t, u.must(u.list(1, 10), 429), "Retry-After", "10")
		time.Sleep(8 * time.Second)
		header(t, u.must(u.list(1, 10), 429), "Retry-After", "10")
		time.Sleep(8 * time.Second)
		u.must(u.list(1, 10), 429)
		time.Sleep(10 * time.Second)
		u.must(u.list(1, 10), 200)
		if st := s.Stats().Clients[""]; st.Early != 2 {
			t.Errorf("early %d", st.Early)
		}
	})},

	// transport
	"reset-before-headers": second(func(t *testing.T, a answer) {
		if a.status != 0 || !isCut(a.err) {
			t.Errorf("%d %v", a.status, a.err)
		}
	}),
	"reset-mid-body": second(func(t *testing.T, a answer) {
		if !isCut(a.err) || bytes.HasSuffix(a.body, []byte("}")) && len(a.body) > 1000 {
			t.Errorf("%d %v %d bytes", a.status, a.err, len(a.body))
		}
	}),
	"hang": {check: logged(func(t *testing.T, s *Server, u *user) {
		u.must(u.list(1, 10), 200)
		if a := u.listWithin(30*time.Second, 2); !isTimeout(a.err) {
			t.Errorf("%d %v", a.status, a.err)
		}
		u.must(u.list(2, 10), 200)
		if st := s.Stats().Clients[""]; st.Silences != 1 {
			t.Errorf("%+v", st)
		}
	})},
	"hang-mid-body": {check: logged(func(t *testing.T, _ *Server, u *user) {
		u.must(u.list(1, 10), 200)
		if a := u.listWithin(30*time.Second, 2); !isTimeout(a.err) || a.status != 200 || len(a.body) < 100 {
			t.Errorf("%d %v %d bytes", a.status, a.err, len(a.body))
		}
		u.must(u.list(2, 10), 200)
	})},
	"drip": {check: logged(func(t *testing.T, _ *Server, u *user) {
		u.must(u.list(1, 10), 200)
		if a := u.listWithin(30*time.Second, 2); !isTimeout(a.err) || len(a.body) < 28 || len(a.body) > 31 {
			t.Errorf("%d %v %d bytes", a.status, a.err, len(a.body))
		}
		u.must(u.list(2, 10), 200)
	})},
	"chunked-no-end": second(func(t *testing.T, a answer) {
		if !isCut(a.err) || !json.Valid(a.body) {
			t.Errorf("%d %v %d bytes", a.status, a.err, len(a.body))
		}
	}),
	"length-long": second(func(t *testing.T, a answer) {
		if !isCut(a.err) || !json.Valid(a.body) {
			t.Errorf("%d %v %d bytes", a.status, a.err, len(a.body))
		}
	}),
	"length-short": second(func(t *testing.T, a answer) {
		if a.err != nil || json.Valid(a.body) || len(a.body) < 100 {
			t.Errorf("%d %v %d bytes", a.status, a.err, len(a.body))
		}
	}),
	"gzip-bomb": {spec: "gzip-bomb:mib=24,on=1", tcp: true, check: logged(func(t *testing.T, _ *Server, u *user) {
		a := u.alone().do(t.Context(), http.MethodGet, "/api/campaigns", nil, "Accept-Encoding", "gzip")
		header(t, u.must(a, 200), "Content-Encoding", "gzip")
		z, err := gzip.NewReader(bytes.NewReader(a.body))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, z)
		if err != nil || n < 24<<20 || len(a.body) > 200<<10 {
			t.Errorf("%d bytes unpack to %d, %v", len(a.body), n, err)
		}
	})},
	"endless-body": {spec: "endless-body:mib=4,on=1", tcp: true, check: logged(func(t *testing.T, _ *Server, u *user) {
		if a := u.must(u.list(1, 10), 200); len(a.body) < 4<<20 || !json.Valid(a.body) {
			t.Errorf("%d bytes", len(a.body))
		}
	})},
	"header-flood": second(func(t *testing.T, a answer) {
		if a.err == nil || !strings.Contains(a.err.Error(), "header") {
			t.Errorf("%d %v", a.status, a.err)
		}
	}),
	"close-after-each": {check: logged(func(t *testing.T, s *Server, u *user) {
		u.must(u.list(1, 10), 200)
		u.must(u.sync("campaign_1"), 200)
		if n := s.Stats().Connections; n != 3 {
			t.Errorf("%d connections", n)
		}
	})},
	"close-silently": {check: logged(func(t *testing.T, s *Server, u *user) {
		if a := u.must(u.list(1, 10), 200); a.header.Get("Connection") != "" {
			t.Error("it is announced")
		}
		synctest.Wait()
		u.must(u.list(1, 10), 200)
		if n := s.Stats().Connections; n != 2 {
			t.Errorf("%d connections", n)
		}
	})},
	"stale-connection": {spec: "stale-connection:on=1", tcp: true, check: logged(func(t *testing.T, s *Server, u *user) {
		u.must(u.list(1, 10), 200)
		// A POST with a body and no key is not repeated by net/http, so that the dead connection shows.
		if a := u.sync("campaign_1"); !isCut(a.err) {
			t.Errorf("%d %v", a.status, a.err)
		}
		u.must(u.sync("campaign_1"), 200)
		if st := s.Stats().Clients[""]; st.SyncCalls != 1 || st.MaxConcurrent != 1 {
			t.Errorf("%+v", st)
		}
	})},
	"idle-close": {check: logged(func(t *testing.T, s *Server, u *user) {
		time.Sleep(150 * time.Millisecond)
		u.must(u.list(1, 10), 200)
		time.Sleep(250 * time.Millisecond)
		u.must(u.list(1, 10), 200)
		if n := s.Stats().Connections; n != 2 {
			t.Errorf("%d connections", n)
		}
	})},
	"redirect-other-port": redirected(`^http://127\.0\.0\.1:\d+/api/campaigns\?page=2`, 307),
	"redirect-other-host": redirected(`^http://foreign\.invalid/api/campaigns\?page=2`, 302),
	"redirect-sync": {tcp: true, check: logged(func(t *testing.T, s *Server, u *user) {
		u.must(u.sync("campaign_6"), 200)
		a := u.must(u.sync("campaign_7"), 307)
		if !strings.HasSuffix(a.header.Get("Location"), "/api/campaigns/campaign_7/sync") || s.Stats().Clients[""].Syncs != 1 {
			t.Errorf("Location %q", a.header.Get("Location"))
		}
	})},
	"redirect-self": {check: logged(func(t *testing.T, _ *Server, u *user) {
		header(t, u.must(u.list(1, 10), 302), "Location", "/api/campaigns?page=1&limit=10")
		u.must(u.list(1, 10), 302)
	})},
	"tls-downgrade":    redirected(`^http://127\.0\.0\.1:\d+/api/campaigns\?page=2`, 301),
	"bad-gateway-html": second(func(t *testing.T, a answer) { htmlWith(t, a, 502) }),
	"503-retry-after": {check: logged(func(t *testing.T, s *Server, u *user) {
		u.must(u.list(1, 10), 200)
		header(t, u.must(u.list(2, 10), 503), "Retry-After", "3")
		time.Sleep(time.Second)
		u.must(u.sync("campaign_1"), 200) // it is about the listing only
		u.must(u.list(2, 10), 200)
		if st := s.Stats().Clients[""]; st.Early != 1 || st.Unavailable != 1 {
			t.Errorf("%+v", st)
		}
	})},
	"outage": {spec: "outage:after=5,for=8s", check: logged(func(t *testing.T, s *Server, u *user) {
		for range 4 { // the login was the first
			u.must(u.as("acme").list(1, 10), 200)
		}
		u.must(u.list(1, 10), 503)
		u.must(u.do(t.Context(), http.MethodGet, "/health", nil), 503)
		u.must(u.login(), 503)
		time.Sleep(7999 * time.Millisecond)
		u.must(u.as("other").list(1, 10), 503)
		time.Sleep(time.Millisecond)
		u.must(u.login(), 200)
		u.must(u.list(1, 10), 200)
		if n := s.Stats().DuringOutage; n != 4 {
			t.Errorf("%d requests during the outage", n)
		}
	})},

	// payload
	"html-200": second(func(t *testing.T, a answer) { htmlWith(t, a, 200) }),
	"empty-200": second(func(t *testing.T, a answer) {
		if a.err != nil || a.status != 200 || len(a.body) != 0 {
			t.Errorf("%d %q", a.status, a.body)
		}
	}),
	"no-content": second(func(t *testing.T, a answer) {
		if a.err != nil || a.status != 204 || len(a.body) != 0 {
			t.Errorf("%d %q", a.status, a.body)
		}
	}),
	"data-null": second(func(t *testing.T, a answer) {
		if !bytes.HasPrefix(a.body, []byte(`{"data":null,"pagination":{"page":2,`)) {
			t.Errorf("%.100q", a.body)
		}
	}),
	"bare-array": second(func(t *testing.T, a answer) {
		var rows []Campaign
		if err := json.Unmarshal(a.body, &rows); err != nil || len(rows) != 10 {
			t.Errorf("%v %.100q", err, a.body)
		}
	}),
	"no-pagination": second(func(t *testing.T, a answer) {
		if m := a.json(t); m["pagination"] != nil || len(m["data"].([]any)) != 10 {
			t.Errorf("%.100q", a.body)
		}
	}),
	"cut-json": second(func(t *testing.T, a answer) {
		if a.err != nil || json.Valid(a.body) || len(a.body) < 500 {
			t.Errorf("%v %.100q", a.err, a.body)
		}
	}),
	"two-documents": second(func(t *testing.T, a answer) {
		dec := json.NewDecoder(bytes.NewReader(a.body))
		var one, two map[string]any
		if json.Valid(a.body) || dec.Decode(&one) != nil || dec.Decode(&two) != nil {
			t.Errorf("%.100q", a.body)
		}
	}),
	"deep-nesting": second(func(t *testing.T, a answer) {
		if a.status != 200 || bytes.Count(a.body, []byte("[")) != 200_000 {
			t.Errorf("%.100q", a.body)
		}
	}),

	// records
	"dup-keys":     seventh(`^\{"id":"campaign_7",.*"id":"campaign_evil"`),
	"case-keys":    seventh(`^\{"id":"campaign_7",.*"ID":"campaign_evil"`),
	"numbers":      kinds(`"budget":"1234.5"`, `"budget":12.0,`, `"impressions":1.5`, `"budget":null`, `"budget":-5`),
	"numbers-big":  kinds(`9007199254740993`, `9223372036854775807`, `9223372036854775808`, `1e400`),
	"id-bad":       seventh(`^\{"name":"Campaign 7"`),
	"item-bad":     seventh(`^null$`),
	"id-number":    seventh(`^\{"id":7,`),
	"id-long":      seventh(`^\{"id":"campaign_7x{999}x+","name"`),
	"id-nul":       seventh(`^\{"id":"campaign\\u00007"`),
	"invalid-utf8": {check: logged(invalidUTF8)},
	"id-hostile": {check: logged(func(t *testing.T, s *Server, u *user) {
		ids, _, _ := rowsOf(t, u.must(u.list(1, 100), 200))
		hostile := 0
		for _, id := range ids {
			if strings.HasPrefix(id, idPrefix) {
				continue
			}
			hostile++
			if got := u.must(u.sync(id), 200).json(t)["campaign_id"]; got != id {
				t.Errorf("sync of %q answers for %q", id, got)
			}
		}
		if st := s.Stats(); hostile < 10 || st.StrayRequests != 0 || st.Clients[""].SyncDistribution[0] != int64(100-hostile) {
			t.Errorf("%d hostile ids, %+v", hostile, st)
		}
	})},
	"id-dots": {check: logged(func(t *testing.T, s *Server, u *user) {
		u.must(u.list(1, 10), 200)
		u.must(u.sync(".."), 404)
		u.must(u.do(t.Context(), http.MethodPost, "/api/campaigns/%2e%2e/sync", []byte(`{"campaign_id":".."}`)), 200)
		if st := s.Stats(); st.StrayRequests != 1 || len(st.Strays) != 1 {
			t.Errorf("strays %v", st.Strays)
		}
	})},
	"name-hostile":   kinds("🎯", "\u202e", "DROP TABLE", "<script>alert(", "=cmd|", `\r\n`, `\u001b[31m`, `a\u0000b`, strings.Repeat("long ", 20_000), `\"double\"`, `\ud83d pair`),
	"dates":          kinds(`:1733913000}`, `:1733913000000}`, `0000-00-00`, `"created_at":""`, `"created_at":null`, `10000-01-01`, `T10:30:00"`, `+05:30`),
	"status-unknown": kinds(`"status":"UNDER_REVIEW_2"`),
	"extra-fields":   kinds(`"objective":"reach"`, `"n":1.10`),

	// pagination
	"more-for-ever": {spec: "more-for-ever:kind=last", check: logged(func(t *testing.T, _ *Server, u *user) {
		last, _, _ := rowsOf(t, u.list(10, 10))
		for _, page := range []int{11, 12, 500} {
			ids, _, more := rowsOf(t, u.must(u.list(page, 10), 200))
			if !more || strings.Join(ids, " ") != strings.Join(last, " ") {
				t.Errorf("page %d: %v, more %v", page, ids, more)
			}
		}
	})},
	"more-for-ever-new": {check: logged(func(t *testing.T, _ *Server, u *user) {
		ids, total, more := rowsOf(t, u.must(u.list(200, 10), 200))
		if len(ids) != 10 || ids[9] != "campaign_2000" || total != 100 || !more {
			t.Errorf("%v of %d, more %v", ids, total, more)
		}
		u.must(u.sync("campaign_2000"), 200)
	})},
	"page-repeated": {check: logged(func(t *testing.T, _ *Server, u *user) {
		if ids, _, _ := rowsOf(t, u.list(3, 10)); ids[0] != "campaign_11" {
			t.Errorf("%v", ids)
		}
		if ids, _, _ := rowsOf(t, u.list(3, 10)); ids[0] != "campaign_21" {
			t.Errorf("then %v", ids)
		}
	})},
	"page-wrong-number": {check: logged(func(t *testing.T, _ *Server, u *user) {
		a := u.list(3, 10)
		if ids, _, _ := rowsOf(t, a); ids[0] != "campaign_31" || pagination(t, a)["page"] != 4.0 {
			t.Errorf("%v %v", ids, pagination(t, a))
		}
	})},
	"page-empty": {spec: "page-empty:at=3", check: logged(func(t *testing.T, _ *Server, u *user) {
		var all []string
		for page := 1; ; page++ {
			ids, _, more := rowsOf(t, u.must(u.list(page, 10), 200))
			if (len(ids) == 0) != (page == 3) {
				t.Errorf("page %d has %d rows", page, len(ids))
			}
			all = append(all, ids...)
			if !more {
				break
			}
		}
		if len(all) != 100 {
			t.Errorf("%d rows", len(all))
		}
	})},
	"total-high": {check: logged(func(t *testing.T, _ *Server, u *user) {
		if ids, total, more := rowsOf(t, u.list(10, 10)); total != 120 || more || len(ids) != 10 {
			t.Errorf("total %d, more %v", total, more)
		}
	})},
	"total-low": {check: logged(func(t *testing.T, _ *Server, u *user) {
		if _, total, more := rowsOf(t, u.list(9, 10)); total != 80 || !more {
			t.Errorf("total %d, more %v", total, more)
		}
	})},
	"total-moves": {check: logged(func(t *testing.T, _ *Server, u *user) {
		seen := map[int]bool{}
		for page := range 10 {
			_, total, _ := rowsOf(t, u.list(page+1, 10))
			seen[total] = true
			if total < 80 || total > 120 {
				t.Errorf("total %d", total)
			}
		}
		if len(seen) < 4 {
			t.Errorf("totals %v", seen)
		}
	})},
	"has-more-missing": {check: logged(func(t *testing.T, _ *Server, u *user) {
		if p := pagination(t, u.list(1, 10)); len(p) != 3 || p["total"] != 100.0 {
			t.Errorf("%v", p)
		}
	})},
	"has-more-string": {check: logged(func(t *testing.T, _ *Server, u *user) {
		if p := pagination(t, u.list(1, 10)); p["has_more"] != "true" {
			t.Errorf("%v", p)
		}
	})},
	"has-more-fixed-size": {check: logged(func(t *testing.T, _ *Server, u *user) {
		rows := 0
		for page := 1; ; page++ {
			ids, total, more := rowsOf(t, u.must(u.list(page, 100), 200))
			rows += len(ids)
			if total != 100 {
				t.Errorf("total %d", total)
			}
			if !more {
				break
			}
		}
		if rows != 1000 {
			t.Errorf("%d rows", rows)
		}
		u.must(u.sync("campaign_1000"), 200)
	})},
	"cursor-expired": {check: logged(func(_ *testing.T, _ *Server, u *user) {
		u.must(u.list(2, 10), 200)
		u.must(u.list(3, 10), 410)
		u.must(u.list(3, 10), 200)
	})},
	"insert-while-listing": {check: logged(func(t *testing.T, s *Server, u *user) {
		u.list(1, 10)
		two, _, _ := rowsOf(t, u.list(2, 10))
		three, total, _ := rowsOf(t, u.list(3, 10))
		if three[0] != two[9] || total != 101 || s.Truth("")[0].ID != "campaign_101" {
			t.Errorf("%v then %v of %d", two, three, total)
		}
	})},
	"delete-while-listing": {check: logged(func(t *testing.T, s *Server, u *user) {
		u.list(1, 10)
		u.list(2, 10)
		three, total, _ := rowsOf(t, u.list(3, 10))
		if three[0] != "campaign_22" || total != 99 || len(s.Truth("")) != 99 || s.Truth("")[0].ID != "campaign_2" {
			t.Errorf("%v of %d", three, total)
		}
		u.must(u.sync("campaign_1"), 404)
	})},
	"limit-ignored": {check: logged(func(t *testing.T, _ *Server, u *user) {
		a := u.list(15, 10)
		if ids, _, more := rowsOf(t, a); len(ids) != 2 || more || pagination(t, a)["limit"] != 7.0 {
			t.Errorf("%v, more %v", ids, more)
		}
	})},
	"limit-refused": {check: logged(func(_ *testing.T, _ *Server, u *user) {
		u.must(u.list(1, 10), 400)
		u.must(u.list(1, 5), 200)
	})},
	"next-foreign": {tcp: true, check: logged(func(t *testing.T, s *Server, u *user) {
		next, _ := u.list(1, 10).json(t)["next"].(string)
		if next == "" || strings.HasPrefix(next, u.base) {
			t.Errorf("next %q", next)
		}
		led := *u
		led.base = next[:strings.Index(next, "/api")]
		if ids, _, _ := rowsOf(t, led.list(2, 10)); len(ids) != 1 || ids[0] != foreignID {
			t.Errorf("%v", ids)
		}
		if st := s.Stats(); st.CredentialsSentAbroad != 1 {
			t.Errorf("%+v", st)
		}
	})},
	"id-twice": {check: logged(func(t *testing.T, _ *Server, u *user) {
		rows := rawRows(t, u.list(2, 10))
		var first, again Campaign
		if json.Unmarshal(rows[0], &first) != nil || json.Unmarshal(rows[10], &again) != nil || first.ID != again.ID || again.Budget != "4321" {
			t.Errorf("%s and %s", rows[0], rows[10])
		}
	})},
	"list-empty": {check: logged(func(t *testing.T, _ *Server, u *user) {
		if ids, total, more := rowsOf(t, u.list(1, 10)); len(ids) != 0 || total != 0 || more {
			t.Errorf("%v of %d", ids, total)
		}
	})},

	// sync
	"done-then-lost": {tcp: true, check: logged(func(t *testing.T, s *Server, u *user) {
		u = u.alone()
		if a := u.sync("campaign_1", "Idempotency-Key", "k"); !isCut(a.err) {
			t.Errorf("%d %v", a.status, a.err)
		}
		u.must(u.sync("campaign_1", "Idempotency-Key", "k"), 200)
		if st := s.Stats().Clients[""]; st.Syncs != 1 || st.Called["campaign_1"] != 2 || st.RepeatedKeys != 1 {
			t.Errorf("%+v", st)
		}
	})},
	"sync-always-500": {check: logged(func(t *testing.T, s *Server, u *user) {
		for range 3 {
			u.must(u.sync("campaign_7"), 500)
		}
		u.must(u.sync("campaign_8"), 200)
		if st := s.Stats().Clients[""]; st.Called["campaign_7"] != 3 || st.Synced["campaign_7"] != 0 {
			t.Errorf("%+v", st)
		}
	})},
	"sync-hangs": {check: logged(func(t *testing.T, _ *Server, u *user) {
		if a := u.within(30*time.Second, http.MethodPost, "/api/campaigns/campaign_7/sync", []byte(`{"campaign_id":"campaign_7"}`)); !isTimeout(a.err) {
			t.Errorf("%d %v", a.status, a.err)
		}
		u.must(u.sync("campaign_8"), 200)
	})},
	"sync-404": {check: logged(func(_ *testing.T, _ *Server, u *user) {
		u.must(u.sync("campaign_7"), 404)
		u.must(u.sync("campaign_8"), 200)
	})},
	"sync-success-false": {check: logged(func(t *testing.T, s *Server, u *user) {
		if m := u.must(u.sync("campaign_7"), 200).json(t); m["success"] != false || s.Stats().Clients[""].Syncs != 0 {
			t.Errorf("%v", m)
		}
	})},
	"sync-other-id": {check: logged(func(t *testing.T, _ *Server, u *user) {
		if m := u.must(u.sync("campaign_7"), 200).json(t); m["success"] != true || m["campaign_id"] == "campaign_7" {
			t.Errorf("%v", m)
		}
	})},
}

func htmlWith(t *testing.T, a answer, status int) {
	t.Helper()
	if a.status != status || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !bytes.HasPrefix(a.body, []byte("<!doctype")) {
		t.Errorf("%d %v %.40q", a.status, a.header, a.body)
	}
}

func invalidUTF8(t *testing.T, _ *Server, u *user) {
	a := u.must(u.list(1, 10), 200)
	if utf8.Valid(a.body) || !bytes.Contains(a.body, []byte("caf\xe9")) {
		t.Errorf("%q", a.body)
	}
}

// served elsewhere: these change how the listener is set up.
var listenerFaults = map[string]bool{"tls-expired": true, "tls-wrong-name": true}

func TestEachFaultOnTheWire(t *testing.T) {
	for _, f := range Catalogue() {
		if listenerFaults[f.Name] {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			p, ok := plays[f.Name]
			if !ok {
				t.Fatal("no play for it")
			}
			spec := p.spec
			if spec == "" {
				spec = f.Name
			}
			cfg := quick(spec)
			if p.cfg != nil {
				p.cfg(&cfg)
			}
			run := func(t *testing.T) {
				s, u := serve(t, cfg, p.tcp)
				p.check(t, s, u)
				if !f.server && f.shared == nil && s.Stats().FaultsPlayed[f.Name] == 0 {
					t.Error("it was never played")
				}
			}
			if p.tcp {
				run(t)
				return
			}
			synctest.Test(t, run)
		})
	}
	for name := range plays {
		if find(name) == nil {
			t.Errorf("a play for %s, which is not in the catalogue", name)
		}
	}
}

// Every number of the list that is the simulator's to play has a fault here.
func TestCatalogueCoversTheList(t *testing.T) {
	have := map[int]bool{}
	names := map[string]bool{}
	for _, f := range Catalogue() {
		for _, n := range f.Numbers {
			have[n] = true
		}
		if names[f.Name] || f.Help == "" || f.Section == "" {
			t.Errorf("%s: twice, or without help or section", f.Name)
		}
		names[f.Name] = true
		if fs, err := compile([]string{f.usage()}, 1); err != nil || len(fs) == 0 {
			t.Errorf("%s: its own defaults do not parse: %v", f.usage(), err)
		}
	}
	// 34, 35, 39, 75 and 114 to 115 need no fault but clients and figures; the rest of the list has its own means.
	want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19}
	for _, r := range [][2]int{{21, 33}, {37, 37}, {41, 52}, {54, 54}, {56, 65}, {67, 73}, {76, 93}, {109, 109}, {115, 115}, {143, 144}} {
		for n := r[0]; n <= r[1]; n++ {
			want = append(want, n)
		}
	}
	for _, n := range want {
		if !have[n] {
			t.Errorf("fault %d has no entry", n)
		}
	}
}

// traced tells the client's end of each connection that a request is sent over.
type traced struct {
	http.RoundTripper
	over func(addr string)
}

// RoundTrip implements http.RoundTripper.
func (t *traced) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { t.over(i.Conn.LocalAddr().String()) },
	})))
}

// Fault 54: certificates that a client must refuse, and one that it accepts when it trusts the authority. Fault 50 over HTTP/2 beside it.
func TestTLS(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults []string
		trust  bool
		want   string
	}{
		{"good", nil, true, ""},
		{"unknown authority", nil, false, "unknown authority"},
		{"expired", []string{"tls-expired"}, true, "expired"},
		{"wrong name", []string{"tls-wrong-name"}, true, "not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := quick(append(c.faults, "close-after-each:endpoint=list,on=2", "reset-mid-body:on=4", "hang-mid-body:endpoint=sync,on=1", "length-long:endpoint=sync,on=2")...)
			cfg.TLS = true
			s, u := serve(t, cfg, true)
			u.base = strings.Replace(u.base, "http:", "https:", 1)
			pool := x509.NewCertPool()
			if c.trust && !pool.AppendCertsFromPEM(s.CAPEM()) {
				t.Fatal("no authority")
			}
			tr := u.http.Transport.(*http.Transport)
			tr.TLSClientConfig, tr.ForceAttemptHTTP2 = &tls.Config{RootCAs: pool}, true
			a := u.login()
			if c.want != "" {
				if a.err == nil || !strings.Contains(a.err.Error(), c.want) {
					t.Fatalf("want an error with %q, got %v", c.want, a.err)
				}
				return
			}
			u.must(a, 200)
			// What a client dials besides, and does not use, is its own affair: what counts is over which connection an answer came.
			var over []string
			u.http.Transport = &traced{tr, func(addr string) { over = append(over, addr) }}
			var came []string
			for range 3 {
				u.must(u.list(1, 10), 200)
				came = append(came, over[len(over)-1])
			}
			if came[0] != came[1] || came[1] == came[2] {
				t.Errorf("the answers before, with and after a GOAWAY came over %q", came)
			}
			if a := u.list(1, 10); a.err == nil {
				t.Error("a reset over HTTP/2 went unseen")
			}
			if a := u.within(100*time.Millisecond, http.MethodPost, "/api/campaigns/campaign_1/sync", []byte(`{"campaign_id":"campaign_1"}`)); a.err == nil {
				t.Error("a hang over HTTP/2 went unseen")
			}
			if a := u.sync("campaign_1"); a.err == nil {
				t.Error("a wrong length over HTTP/2 went unseen")
			}
			u.must(u.sync("campaign_1"), 200)
		})
	}
}
