package simulator

import (
	"context"
	"encoding/base64"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestTokenEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, u := serve(t, Default(), false)
		a := u.must(u.login(), 200)
		got := a.json(t)
		if got["token_type"] != "Bearer" || got["expires_in"] != 3600.0 || got["issued_at"] != float64(time.Now().Unix()) || got["access_token"] == "" || len(got) != 4 {
			t.Errorf("token answer: %v", got)
		}
		basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
		for name, header := range map[string]string{
			"missing": "", "not basic": "Bearer x", "not base64": "Basic !!!", "no colon": basic("user@example.com"),
			"wrong password": basic(DefaultEmail + ":wrong"), "wrong email": basic("x@example.com:" + DefaultPassword), "empty": basic(":"),
		} {
			v := *u
			v.token = ""
			var a answer
			if header == "" {
				a = v.do(t.Context(), http.MethodPost, "/auth/token", nil)
			} else {
				a = v.do(t.Context(), http.MethodPost, "/auth/token", nil, "Authorization", header)
			}
			if a.status != 401 || a.json(t)["error"] == "" || a.json(t)["message"] == nil {
				t.Errorf("%s: status %d, body %s", name, a.status, a.body)
			}
		}
		if a := u.do(t.Context(), http.MethodGet, "/auth/token", nil); a.status != http.StatusMethodNotAllowed {
			t.Errorf("GET of the token endpoint: %d", a.status)
		}
	})
}

func TestTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick()
		s, u := serve(t, cfg, false)
		u.must(u.list(1, 10), 401)
		u.token = "sim_of_somebody_else"
		u.must(u.list(1, 10), 401)
		u.must(u.login(), 200)
		issued := time.Now()
		time.Sleep(time.Hour - time.Millisecond)
		u.must(u.list(1, 10), 200)
		time.Sleep(time.Millisecond)
		a := u.must(u.list(1, 10), 401).json(t)
		at, err := time.Parse(time.RFC3339, a["expired_at"].(string))
		if a["error"] != "Token expired" || err != nil || !at.Equal(issued.Add(time.Hour).Truncate(time.Millisecond)) {
			t.Errorf("expired: %v (%v)", a, err)
		}
		u.must(u.login(), 200)
		u.must(u.list(1, 10), 200)
		if st := s.Stats(); st.TokensIssued != 2 || st.Clients[""].TokensUsed != 2 || st.Clients[""].Unauthorized != 3 {
			t.Errorf("stats: %+v", st.Clients[""])
		}
	})
}

func TestTokensOfAnotherLifeAreRefused(t *testing.T) {
	_, u := serve(t, quick(), true)
	_, v := serve(t, quick(), true)
	u.must(u.login(), 200)
	v.token = u.token
	v.must(v.list(1, 10), 401)
}

func TestListing(t *testing.T) {
	_, u := serve(t, quick(), true)
	u.must(u.login(), 200)
	a := u.must(u.list(1, 10), 200)
	shape := regexp.MustCompile(`^\{"data":\[\{"id":"campaign_1","name":"Campaign 1","status":"\w+","budget":[0-9.]+,"impressions":\d+,"clicks":\d+,"conversions":\d+,"created_at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"\},.*\],"pagination":\{"page":1,"limit":10,"total":100,"has_more":true\}\}$`)
	if !shape.Match(a.body) {
		t.Errorf("page: %s", a.body)
	}
	if ct := a.header.Get("Content-Type"); ct != jsonType {
		t.Errorf("content type %q", ct)
	}
	seen := map[string]bool{}
	for page := 1; page <= 10; page++ {
		ids, total, more := rowsOf(t, u.must(u.list(page, 10), 200))
		if len(ids) != 10 || total != 100 || more != (page < 10) {
			t.Errorf("page %d: %d rows, total %d, more %v", page, len(ids), total, more)
		}
		for _, id := range ids {
			seen[id] = true
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d ids", len(seen))
	}
	if ids, total, more := rowsOf(t, u.must(u.list(11, 10), 200)); len(ids) != 0 || total != 100 || more {
		t.Errorf("past the end: %d rows, total %d, more %v", len(ids), total, more)
	}
	if ids, _, more := rowsOf(t, u.must(u.list(2, 60), 200)); len(ids) != 40 || more {
		t.Errorf("page of 60: %d rows, more %v", len(ids), more)
	}
	for _, q := range []string{"?page=0", "?page=-1", "?page=x", "?limit=0", "?limit=x", "?page=99999999999999999999"} {
		u.must(u.do(t.Context(), http.MethodGet, "/api/campaigns"+q, nil), 400)
	}
	if ids, _, _ := rowsOf(t, u.must(u.do(t.Context(), http.MethodGet, "/api/campaigns", nil), 200)); len(ids) != 10 {
		t.Errorf("limit defaults to %d", len(ids))
	}
}

func TestPageSizeOfTheServersOwn(t *testing.T) {
	cfg := quick()
	cfg.MaxPageSize = 25
	_, u := serve(t, cfg, true)
	u.must(u.login(), 200)
	a := u.must(u.list(4, 1000), 200)
	ids, _, more := rowsOf(t, a)
	if p := a.json(t)["pagination"].(map[string]any); len(ids) != 25 || more || p["limit"] != 25.0 || ids[0] != "campaign_76" {
		t.Errorf("%d rows from %s, more %v, %v", len(ids), ids[0], more, p)
	}
}

func TestLifetimeFiguresMove(t *testing.T) {
	cfg := quick()
	_, u := serve(t, cfg, true)
	u.must(u.login(), 200)
	figures := func() (imp, clicks, conv float64, budget any) {
		c := u.must(u.list(1, 10), 200).json(t)["data"].([]any)[3].(map[string]any)
		return c["impressions"].(float64), c["clicks"].(float64), c["conversions"].(float64), c["budget"]
	}
	i1, c1, v1, b1 := figures()
	i2, c2, v2, b2 := figures()
	if i2 <= i1 || c2 <= c1 || v2 <= v1 || b1 != b2 {
		t.Errorf("%v %v %v %v, then %v %v %v %v", i1, c1, v1, b1, i2, c2, v2, b2)
	}
	cfg.Static = true
	_, w := serve(t, cfg, true)
	w.must(w.login(), 200)
	if a, b := w.list(1, 10), w.list(1, 10); string(a.body) != string(b.body) {
		t.Error("static figures moved")
	}
}

func TestClientsAreApart(t *testing.T) {
	cfg := quick()
	cfg.Clients = []string{"acme", `we"ird <é>`}
	s, u := serve(t, cfg, true)
	u.must(u.login(), 200)
	a, b := u.must(u.as("acme").list(1, 10), 200), u.must(u.as("").list(1, 10), 200)
	if string(a.body) == string(b.body) {
		t.Error("two clients have the same data")
	}
	a.json(t)
	u.must(u.as(`we"ird <é>`).list(1, 10), 200).json(t)
	u.must(u.as("other").list(1, 10), 403)
	if n := s.Truth("acme")[0].Name; n != "Campaign 1 of acme" {
		t.Errorf("name %q", n)
	}
}

func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick()
		cfg.SyncLatency = 2 * time.Second
		s, u := serve(t, cfg, false)
		u.must(u.login(), 200)
		begin := time.Now()
		got := u.must(u.sync("campaign_3"), 200).json(t)
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("took %s", took)
		}
		if _, err := time.Parse(time.RFC3339, got["synced_at"].(string)); err != nil || got["success"] != true || got["campaign_id"] != "campaign_3" || got["message"] == "" {
			t.Errorf("%v (%v)", got, err)
		}
		u.must(u.sync("campaign_101"), 404)
		u.must(u.sync("campaign_03"), 404)
		u.must(u.sync("campaign_"), 404)
		for _, body := range []string{"", "{}", `{"campaign_id":"campaign_4"}`, `{"campaign_id":3}`, "[]"} {
			u.must(u.do(t.Context(), http.MethodPost, "/api/campaigns/campaign_3/sync", []byte(body)), 400)
		}
		// A client that leaves has spent its slot and has nothing done.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if a := u.do(ctx, http.MethodPost, "/api/campaigns/campaign_5/sync", []byte(`{"campaign_id":"campaign_5"}`)); a.err == nil {
			t.Error("a sync of 2 s was done in 1 s")
		}
		synctest.Wait()
		if st := s.Stats().Clients[""]; st.Syncs != 1 || st.GaveUp != 1 || st.Synced["campaign_5"] != 0 || st.Called["campaign_5"] != 1 || st.SyncDistribution[0] != 99 {
			t.Errorf("stats: %+v", st)
		}
	})
}

func TestIdempotencyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quick()
		cfg.SyncLatency = 2 * time.Second
		s, u := serve(t, cfg, false)
		u.must(u.login(), 200)
		first := u.must(u.sync("campaign_1", "Idempotency-Key", "k1"), 200)
		begin := time.Now()
		again := u.must(u.sync("campaign_1", "Idempotency-Key", "k1"), 200)
		if string(first.body) != string(again.body) || time.Since(begin) != 0 {
			t.Error("a repeat is not answered from memory")
		}
		u.must(u.sync("campaign_2", "Idempotency-Key", "k1"), 422)
		u.must(u.as("other").sync("campaign_1", "Idempotency-Key", "k1"), 200)
		// Two at once do the work once.
		results := make(chan answer, 2)
		for range 2 {
			go func() { results <- u.sync("campaign_3", "Idempotency-Key", "k3") }()
		}
		for range 2 {
			u.must(<-results, 200)
		}
		// One that was left unfinished is done by the next.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		u.do(ctx, http.MethodPost, "/api/campaigns/campaign_4/sync", []byte(`{"campaign_id":"campaign_4"}`), "Idempotency-Key", "k4")
		u.must(u.sync("campaign_4", "Idempotency-Key", "k4"), 200)
		st := s.Stats().Clients[""]
		if st.Syncs != 3 || st.Synced["campaign_3"] != 1 || st.Synced["campaign_4"] != 1 || st.RepeatedKeys != 4 {
			t.Errorf("stats: %+v", st)
		}
	})
}

func TestQuotaCountsArrivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.ListFailRate503, cfg.ListSilenceRate = 0, 0
		s, u := serve(t, cfg, false)
		u.must(u.list(1, 10), 401) // does not count
		u.must(u.login(), 200)
		for i := range 5 {
			u.must(u.list(i+1, 10), 200)
		}
		// A sync that the client gives up on counts.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		u.do(ctx, http.MethodPost, "/api/campaigns/campaign_1/sync", []byte(`{"campaign_id":"campaign_1"}`))
		time.Sleep(9 * time.Second) // 10 s after the first five
		for i := range 4 {
			u.must(u.list(i+1, 10), 200)
		}
		a := u.must(u.list(1, 10), 429)
		if got := a.json(t); got["error"] != "Rate limit exceeded" || got["retry_after"] != 60.0 || got["message"] == "" {
			t.Errorf("refusal: %v", got)
		}
		// Another client, and the token endpoint and health, are not concerned.
		u.must(u.as("acme").list(1, 10), 200)
		u.must(u.login(), 200)
		u.must(u.do(t.Context(), http.MethodGet, "/health", nil), 200)
		// At 60 s the first six are out of the window; the refusal did not count.
		time.Sleep(50 * time.Second)
		for range 6 {
			u.must(u.list(1, 10), 200)
		}
		u.must(u.list(1, 10), 429)
		st := s.Stats().Clients[""]
		if st.Throttled != 2 || st.Counted != 16 || st.MaxCountedInWindow != 10 || st.Early == 0 {
			t.Errorf("stats: %+v", st)
		}
	})
}

func TestKnownFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Quota, cfg.TokenLife = Quota{}, 1000*time.Hour
		s, u := serve(t, cfg, false)
		u.must(u.login(), 200)
		const asked = 2000
		var good, down, silent int
		for range asked {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			a := u.do(ctx, http.MethodGet, "/api/campaigns?page=1&limit=1", nil)
			cancel()
			switch {
			case a.err != nil:
				silent++
			case a.status == 503:
				down++
				if a.json(t)["error"] != "Service temporarily unavailable" {
					t.Fatalf("503: %s", a.body)
				}
			default:
				good++
			}
		}
		if down < asked*17/100 || down > asked*23/100 || silent < asked*8/100 || silent > asked*12/100 || good+down+silent != asked {
			t.Errorf("of %d: %d good, %d unavailable, %d silent", asked, good, down, silent)
		}
		if st := s.Stats().Clients[""]; st.Unavailable != int64(down) || st.Silences != int64(silent) || st.Counted != asked {
			t.Errorf("stats: %+v", st)
		}
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, u := serve(t, quick(), false)
		u.must(u.login(), 200)
		time.Sleep(4 * time.Second)
		u.must(u.list(1, 10), 200)
		if n := s.Stats().Connections; n != 1 {
			t.Errorf("%d connections after 4 s", n)
		}
		time.Sleep(6 * time.Second)
		u.must(u.list(1, 10), 200)
		if n := s.Stats().Connections; n != 2 {
			t.Errorf("%d connections after 6 s more", n)
		}
	})
}

func TestHealth(t *testing.T) {
	s, u := serve(t, Default(), true)
	got := u.must(u.do(t.Context(), http.MethodGet, "/health", nil), 200).json(t)
	if _, err := time.Parse(time.RFC3339, got["timestamp"].(string)); err != nil || got["status"] != "ok" || got["uptime"].(float64) < 0 {
		t.Errorf("%v (%v)", got, err)
	}
	if len(s.Stats().Clients) != 0 {
		t.Error("health made a client")
	}
}

func TestStrayPaths(t *testing.T) {
	s, u := serve(t, quick(), true)
	u.must(u.login(), 200)
	for _, p := range []string{"/", "/api/campaigns/", "/api/campaigns/x", "/api/campaigns/a/b/sync", "/api/campaigns/../sync", "/api/campaigns//sync", "/API/campaigns"} {
		u.must(u.do(t.Context(), http.MethodGet, p, nil), 404)
	}
	if n := s.Stats().StrayRequests; n != 7 {
		t.Errorf("%d strays", n)
	}
}

// The same seed gives the same data and the same fate to the n-th request of each client, whatever the others do.
func TestDeterministicBySeed(t *testing.T) {
	fates := func(seed uint64, crowd bool) (out string) {
		synctest.Test(t, func(t *testing.T) {
			cfg := Default()
			cfg.Quota, cfg.SyncLatency, cfg.Seed = Quota{}, 0, seed
			cfg.Faults = []string{"status:code=500,p=0.3,endpoint=sync", "numbers:p=0.2", "html-200:p=0.2"}
			_, u := serve(t, cfg, false)
			u.must(u.login(), 200)
			for i := range 30 {
				if crowd {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					u.as("crowd").do(ctx, http.MethodGet, "/api/campaigns", nil)
					cancel()
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				a := u.as("acme").do(ctx, http.MethodGet, "/api/campaigns?page="+strconv.Itoa(i%10+1), nil)
				cancel()
				out += strconv.Itoa(a.status) + " " + string(a.body)
				out += strconv.Itoa(u.as("acme").sync("campaign_" + strconv.Itoa(i+1)).status)
			}
		})
		return out
	}
	a := fates(7, false)
	if a != fates(7, false) || a != fates(7, true) {
		t.Error("the same seed gives another run")
	}
	if a == fates(8, false) {
		t.Error("another seed gives the same run")
	}
}

func TestSpeedScales(t *testing.T) {
	cfg := Default()
	cfg.Speed = 10
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if s.cfg.Quota.Window != 6*time.Second || s.cfg.SyncLatency != 200*time.Millisecond || s.cfg.TokenLife != 6*time.Minute {
		t.Errorf("%+v", s.cfg)
	}
}
