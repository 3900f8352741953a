package simulator

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func (u *user) control(cmd string) answer {
	return u.do(context.Background(), http.MethodPost, "/__control", []byte(cmd), "Content-Type", "application/json")
}

func TestControl(t *testing.T) {
	s, u := serve(t, quick(), true)
	acme := u.as("acme")
	u.must(acme.login(), 200)
	u.must(u.control(`{"client":"acme","delete":["campaign_1","campaign_100"],
		"add":[{"id":"own/1","name":"Own","status":"draft","budget":12.345678,"at":0},{},{"id":"campaign_500"}],
		"change":[{"id":"campaign_2","name":"Two","budget":1e3}]}`), 200)
	ids, total, _ := rowsOf(t, u.must(acme.list(1, 200), 200))
	if total != 101 || ids[0] != "own/1" || ids[1] != "campaign_2" || ids[99] != "campaign_102" || ids[100] != "campaign_500" {
		t.Errorf("%d: %v … %v", total, ids[:2], ids[98:])
	}
	truth := s.Truth("acme")
	if c := truth[0]; c.Name != "Own" || c.Status != "draft" || c.Budget != "12.345678" {
		t.Errorf("%+v", c)
	}
	if c := truth[1]; c.Name != "Two" || c.Budget != "1e3" {
		t.Errorf("%+v", c)
	}
	for id, want := range map[string]int{"own/1": 200, "campaign_500": 200, "campaign_102": 200, "campaign_1": 404, "campaign_100": 404, "campaign_101": 404} {
		u.must(acme.sync(id), want)
	}
	if _, total, _ := rowsOf(t, u.must(u.list(1, 1), 401)); total != 0 {
		t.Error("a list without a token")
	}
	if n := len(s.Truth("")); n != 100 {
		t.Errorf("another client has %d", n)
	}
	for _, bad := range []string{
		`{"client":"acme","delete":["campaign_1"]}`, `{"client":"acme","change":[{"id":"nobody"}]}`, `{"client":"acme","add":[{"id":"own/1"}]}`,
		`{"faults_on":["nothing"]}`, `{"faults_off":["hang"]}`, `{"unknown":1}`, `[]`, ``, `{"client":"acme","change":[{"id":"campaign_2","budget":"x"}]}`,
	} {
		u.must(u.control(bad), 400)
	}
	u.must(u.do(t.Context(), http.MethodPost, "/__control", []byte(`{}`)), 415)
	u.must(u.do(t.Context(), http.MethodPost, "/__control", []byte(`{}`), "Content-Type", "application/json", "Origin", "http://evil.example"), 403)
	u.must(u.do(t.Context(), http.MethodGet, "/__nothing", nil), 404)
}

func TestFaultsAreSwitchedAtRunTime(t *testing.T) {
	s, u := serve(t, quick(), true)
	u.must(u.login(), 200)
	u.must(u.control(`{"faults_on":["rule:endpoint=list,do=500","sync-404"]}`), 200)
	u.must(u.list(1, 10), 500)
	u.must(u.sync("campaign_7"), 404)
	if got := u.must(u.do(t.Context(), http.MethodGet, "/__faults", nil), 200).json(t)["active"]; len(got.([]any)) != 2 {
		t.Errorf("active: %v", got)
	}
	u.must(u.control(`{"faults_off":["rule"]}`), 200)
	u.must(u.list(1, 10), 200)
	u.must(u.sync("campaign_7"), 404)
	u.must(u.control(`{"faults_off":["*"],"revoke_tokens":true}`), 200)
	u.must(u.sync("campaign_7"), 401)
	u.must(u.login(), 200)
	u.must(u.sync("campaign_7"), 200)
	u.must(u.control(`{"revoke":["`+DefaultEmail+`"]}`), 200)
	u.must(u.list(1, 10), 401)
	u.must(u.login(), 401)
	u.must(u.control(`{"restore":["`+DefaultEmail+`"]}`), 200)
	u.must(u.login(), 200)
	if got := s.Stats().FaultsPlayed; got["rule"] != 1 || got["sync-404"] != 2 {
		t.Errorf("played: %v", got)
	}
}

func TestStatsPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick()
		cfg.SyncLatency = 2 * time.Second
		_, u := serve(t, cfg, false)
		acme := u.as("acme")
		u.must(acme.login(), 200)
		u.must(acme.list(1, 10), 200)
		done := make(chan answer)
		for _, id := range []string{"campaign_1", "campaign_1", "campaign_2"} {
			go func() { done <- acme.sync(id) }()
		}
		for range 3 {
			acme.must(<-done, 200)
		}
		stats := func(method, path string) (st Stats) {
			t.Helper()
			if err := json.Unmarshal(u.must(u.do(t.Context(), method, path, nil), 200).body, &st); err != nil {
				t.Fatal(err)
			}
			return st
		}
		st := stats(http.MethodGet, "/__stats")
		c := st.Clients["acme"]
		if st.Requests != 5 || c.Requests["token"] != 1 || c.Requests["list"] != 1 || c.Requests["sync"] != 3 || c.MaxConcurrent != 3 ||
			c.Synced["campaign_1"] != 2 || c.SyncDistribution[0] != 98 || c.SyncDistribution[1] != 1 || c.SyncDistribution[2] != 1 ||
			c.Window != Duration(time.Minute) || c.MaxArrivalsInWindow != 4 || c.TokensIssued != 1 || c.First.IsZero() || c.Last.Before(c.First) {
			t.Errorf("%+v %+v", st, c)
		}
		st = stats(http.MethodPost, "/__stats?reset=1")
		// What the window still holds is not forgotten: a client that goes on too fast must show.
		if c := st.Clients["acme"]; st.Requests != 0 || c.Arrivals != 0 || c.Syncs != 0 || c.MaxArrivalsInWindow != 4 {
			t.Errorf("after reset: %+v %+v", st, c)
		}
		u.must(u.do(t.Context(), http.MethodPost, "/__stats", nil), 400)
	})
}

func TestTruthPage(t *testing.T) {
	s, u := serve(t, quick("name-hostile:id=campaign_3,kind=script"), true)
	u.must(u.login(), 200)
	u.must(u.as("acme").list(1, 10), 200)
	var got struct {
		Client    string
		Total     int
		Campaigns []Campaign
		Altered   map[string]string
	}
	a := u.must(u.do(t.Context(), http.MethodGet, "/__truth?client=acme", nil), 200)
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Client != "acme" || got.Total != 100 || got.Campaigns[2].Name != "Campaign 3 of acme" || !strings.Contains(got.Altered["campaign_3"], "<script>") || len(got.Altered) != 1 {
		t.Errorf("%.300s", a.body)
	}
	if n := s.Stats().FaultsPlayed["name-hostile"]; n != 1 {
		t.Errorf("asking for the truth played the fault: %d", n)
	}
}

// Serve ends by itself when its context does: silences at once, work in hand first, and nothing is left behind.
func TestServeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick("hang:endpoint=list,times=0,on=1-", "stale-connection:endpoint=sync,id=campaign_9")
		cfg.SyncLatency = 2 * time.Second
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		p := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- s.Serve(ctx, p) }()
		tr := &http.Transport{DialContext: p.dial}
		u := &user{t: t, base: "http://pipe", http: &http.Client{Transport: tr}}
		u.must(u.login(), 200)
		// The connection that waits to be used again is one that nobody uses.
		other := &http.Transport{DialContext: p.dial}
		stale := &user{t: t, base: u.base, token: u.token, http: &http.Client{Transport: other}}
		u.must(stale.sync("campaign_9"), 200)
		silent, work := make(chan answer), make(chan answer)
		go func() { silent <- u.list(1, 10) }()
		go func() { work <- u.sync("campaign_1") }()
		time.Sleep(time.Second)
		begin := time.Now()
		cancel()
		if a := <-silent; a.err == nil || time.Since(begin) != 0 {
			t.Errorf("a silence: %d after %s", a.status, time.Since(begin))
		}
		u.must(<-work, 200)
		if err := <-served; err != nil || time.Since(begin) > stopGrace {
			t.Errorf("Serve: %v after %s", err, time.Since(begin))
		}
		tr.CloseIdleConnections()
		other.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestServeReportsABadListener(t *testing.T) {
	s, err := New(quick())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := s.Serve(t.Context(), ln); err == nil {
		t.Error("no error")
	}
}
