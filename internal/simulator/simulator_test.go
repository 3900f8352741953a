package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a platform without waiting, chance or quota, for tests that are about something else.
func quick(faults ...string) Config {
	cfg := Default()
	cfg.Quota, cfg.SyncLatency, cfg.ListFailRate503, cfg.ListSilenceRate = Quota{}, 0, 0, 0
	cfg.Faults = faults
	return cfg
}

// pipes is a listener whose connections are net.Pipes, which a synctest bubble can wait on.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (p *pipes) Addr() net.Addr { return pipeAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// user is a client of the platform that does nothing by itself: no retry, no redirect, no second thought.
type user struct {
	t        testing.TB
	http     *http.Client
	base     string
	clientID string
	token    string
}

// answer is what came back, as far as it came.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatalf("not JSON: %v (status %d, error %v): %.200q", err, a.status, a.err, a.body)
	}
	return m
}

func (u *user) do(ctx context.Context, method, path string, body []byte, header ...string) answer {
	req, err := http.NewRequestWithContext(ctx, method, u.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	if body == nil {
		req.Body = http.NoBody
	}
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	if u.clientID != "" {
		req.Header.Set("X-Client-ID", u.clientID)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := u.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: b, err: err}
}

func (u *user) login() answer {
	req, err := http.NewRequest(http.MethodPost, u.base+"/auth/token", nil)
	if err != nil {
		return answer{err: err}
	}
	req.SetBasicAuth(DefaultEmail, DefaultPassword)
	if u.clientID != "" {
		req.Header.Set("X-Client-ID", u.clientID)
	}
	resp, err := u.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(b, &got) == nil {
		u.token = got.AccessToken
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: b, err: err}
}

func (u *user) list(page, limit int) answer {
	return u.do(context.Background(), http.MethodGet, "/api/campaigns?page="+strconv.Itoa(page)+"&limit="+strconv.Itoa(limit), nil)
}

func (u *user) sync(id string, header ...string) answer {
	return u.do(context.Background(), http.MethodPost, "/api/campaigns/"+url.PathEscape(id)+"/sync", []byte(`{"campaign_id":`+quote(id)+`}`), header...)
}

// serve runs a server through Serve on net.Pipe or, with tcp, on loopback. Everything ends with the test.
func serve(t testing.TB, cfg Config, tcp bool) (*Server, *user) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{MaxIdleConnsPerHost: 100}
	base := "http://pipe"
	var ln net.Listener
	if tcp {
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		base = "http://" + ln.Addr().String()
	} else {
		p := newPipes()
		ln, tr.DialContext = p, p.dial
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	end := func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(end)
	return s, &user{t: t, base: base, http: &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// as is the same user under another X-Client-ID.
func (u *user) as(id string) *user {
	v := *u
	v.clientID = id
	return &v
}

func (u *user) must(a answer, status int) answer {
	u.t.Helper()
	if a.err != nil || a.status != status {
		u.t.Fatalf("want status %d, got %d, error %v, body %.300q", status, a.status, a.err, a.body)
	}
	return a
}

func rowsOf(t testing.TB, a answer) (ids []string, total int, more bool) {
	t.Helper()
	var page struct {
		Data       []Campaign `json:"data"`
		Pagination struct {
			Total   int  `json:"total"`
			HasMore bool `json:"has_more"`
		} `json:"pagination"`
	}
	if err := json.Unmarshal(a.body, &page); err != nil {
		t.Fatalf("page: %v: %.300q", err, a.body)
	}
	for _, c := range page.Data {
		ids = append(ids, c.ID)
	}
	return ids, page.Pagination.Total, page.Pagination.HasMore
}

// The published contract from login to the last sync, in virtual time: 100 campaigns at 10 a minute take eleven minutes.
func TestWholeSyncInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.ListFailRate503, cfg.ListSilenceRate = 0, 0
		s, u := serve(t, cfg, false)
		u.must(u.login(), 200)
		begin := time.Now()
		var ids []string
		sent := 0
		slot := func() {
			if sent > 0 && sent%10 == 0 {
				time.Sleep(time.Until(begin.Add(time.Duration(sent/10) * time.Minute)))
			}
			sent++
		}
		for page := 1; ; page++ {
			slot()
			got, total, more := rowsOf(t, u.must(u.list(page, 10), 200))
			if total != 100 {
				t.Fatalf("total %d", total)
			}
			ids = append(ids, got...)
			if !more {
				break
			}
		}
		for _, id := range ids {
			slot()
			u.must(u.sync(id), 200)
		}
		st := s.Stats().Clients[""]
		if st.Throttled != 0 || st.Syncs != 100 || st.SyncDistribution[1] != 100 || st.MaxCountedInWindow != 10 {
			t.Errorf("stats: %+v", st)
		}
		if took := time.Since(begin); took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("took %s", took)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Campaigns = -1 }, "campaigns -1"},
		{func(c *Config) { c.ListFailRate503 = 1.5 }, "fail-rate 1.5"},
		{func(c *Config) { c.ListFailRate503, c.ListSilenceRate = 0.6, 0.6 }, "together"},
		{func(c *Config) { c.Quota = Quota{N: 3} }, "quota"},
		{func(c *Config) { c.SyncLatency = -1 }, "sync-latency"},
		{func(c *Config) { c.Faults = []string{"hnag"} }, "there is none of that name"},
		{func(c *Config) { c.Faults = []string{"token-die"} }, "did you mean token-dies?"},
		{func(c *Config) { c.Faults = []string{"hang:colour=red"} }, "colour is not a setting"},
		{func(c *Config) { c.Faults = []string{"hang:on=x"} }, "on=x"},
		{func(c *Config) { c.Faults = []string{"rule:do=42"} }, "want a status"},
		{func(c *Config) { c.Faults = []string{"mixture:do=rule"} }, "not a fault of one kind"},
		{func(c *Config) { c.Faults = []string{"hang:p=2", "slow:by=soon"} }, "by=soon"},
	} {
		cfg := Default()
		c.change(&cfg)
		_, err := New(cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error with %q, got %v", c.want, err)
		}
	}
	for _, q := range []string{"10/1m", "10/4s", "1/1h", "5/1h30m", "7/1m30s", "3/250ms", "none"} {
		if got, err := ParseQuota(q); err != nil || got.String() != q {
			t.Errorf("quota %q is read as %s, %v", q, got, err)
		}
	}
	for _, q := range []string{"", "10", "10/", "/1m", "0/1m", "-1/1m", "10/0s", "10/-1s", "x/1m"} {
		if _, err := ParseQuota(q); err == nil {
			t.Errorf("quota %q is accepted", q)
		}
	}
}
