package meta

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestFaults: each fault shows as it should, and is counted.
func TestFaults(t *testing.T) {
	code := func(a answer) string {
		c, sub := a.code()
		return fmt.Sprint(a.status, " ", c, "/", sub)
	}
	for _, c := range []struct {
		fault string
		do    func(s *sim) string
		want  string
	}{
		{"throttle:on=1,wait=60s,account=" + act1, func(s *sim) string {
			first, other := code(s.get(act1)), code(s.get("act_778800000000002"))
			s.clock.now = s.clock.now.Add(59 * time.Second)
			early := code(s.get(act1))
			s.clock.now = s.clock.now.Add(time.Second)
			return first + " " + other + " " + early + " " + code(s.get(act1))
		}, "400 17/2446079 200 0/0 400 17/2446079 200 0/0"},
		{"throttle:on=1,code=4", func(s *sim) string { return code(s.get(act1)) + " " + code(s.get("act_778800000000002")) }, "400 4/1504022 400 4/1504022"},
		{"throttle:on=1,code=613,status=200", func(s *sim) string { return code(s.get(act1)) }, "200 613/1487742"},
		{"throttle:on=1,code=80000,wait=5m", func(s *sim) string {
			a := s.get(act1 + "/insights")
			return code(a) + fmt.Sprint(strings.Contains(a.header.Get("X-Business-Use-Case-Usage"), `"type":"ads_insights","call_count":100,`), strings.Contains(a.header.Get("X-Business-Use-Case-Usage"), `"estimated_time_to_regain_access":5,`))
		}, "400 80000/2446079true true"},
		{"usage-header:percent=95", func(s *sim) string { return s.get(act1 + "/insights").header.Get("X-Fb-Ads-Insights-Throttle") }, `{"app_id_util_pct":0.00,"acc_id_util_pct":95.00,"ads_api_access_tier":"standard_access"}`},
		{"token-revoked:on=1,subcode=459", func(s *sim) string { return code(s.get(act1)) + " " + code(s.get("me")) }, "401 190/459 401 190/459"},
		{"permission:account=" + act1, func(s *sim) string { return code(s.get(act1)) + " " + code(s.get("act_778800000000002")) }, "403 200/0 200 0/0"},
		{"permission:code=10", func(s *sim) string { return code(s.get("act_778800000000002/ads")) }, "403 10/0"},
		{"version-sunset", func(s *sim) string { return code(s.get("me")) }, "400 2635/0"},
		{"transient:on=1,code=1,subcode=99", func(s *sim) string { return code(s.get(act1)) }, "500 1/99"},
		{"reduce:above=3", func(s *sim) string {
			return code(s.get(act1+"/campaigns", "limit", "4")) + " " + code(s.get(act1+"/campaigns", "limit", "3"))
		}, "500 1/0 200 0/0"},
		{"text-200:on=1", func(s *sim) string { return s.get(act1).raw }, "Service Unavailable"},
		{"error-200:on=1", func(s *sim) string { return code(s.get(act1)) }, "200 2/0"},
		{"html-200:on=1", func(s *sim) string { return s.get(act1).raw[:15] }, "<!DOCTYPE html>"},
		{"bad-gateway-html:on=1", func(s *sim) string { return fmt.Sprint(s.get(act1).status) }, "502"},
		{"cut-json:on=1", func(s *sim) string { return fmt.Sprint(json.Valid([]byte(s.get(act1).raw))) }, "false"},
		{"cursor-expired", func(s *sim) string {
			after := s.get(act1+"/campaigns", "limit", "2").after()
			return code(s.get(act1+"/campaigns", "limit", "2", "after", after)) + " " + code(s.get(act1+"/campaigns", "limit", "2", "after", after))
		}, "400 100/0 200 0/0"},
		{"duplicate", func(s *sim) string {
			seen, n := map[any]bool{}, 0
			for _, x := range s.all(act1+"/campaigns", "limit", "4", "effective_status", everyStatus) {
				seen[x["id"]] = true
				n++
			}
			return fmt.Sprint(len(seen), n)
		}, "10 11"},
		{"empty-page", func(s *sim) string {
			a := s.get(act1+"/campaigns", "limit", "2", "effective_status", everyStatus)
			rest := s.all(act1+"/campaigns", "limit", "2", "effective_status", everyStatus, "after", a.after())
			return fmt.Sprint(len(a.rows()), len(rest))
		}, "0 10"},
		{"batch-null", func(s *sim) string {
			return strings.TrimSpace(s.post("", "batch", `[{"method":"GET","relative_url":"me?fields=id"},{"method":"GET","relative_url":"me"}]`).raw[len(`[{"code":200,`):])[:1]
		}, `"`},
		{"too-much", func(s *sim) string { return code(s.get(act1+"/insights")) + " " + code(s.get(act1+"/insights")) }, "400 100/1487534 200 0/0"},
		{"sync-timeout", func(s *sim) string { return code(s.get(act1 + "/insights")) }, "400 100/1504018"},
		{"job-not-found", func(s *sim) string {
			id := s.post(act1 + "/insights").body["report_run_id"].(string)
			return code(s.get(id)) + " " + code(s.get(id))
		}, "400 100/33 200 0/0"},
		{"job-expired", func(s *sim) string {
			id := s.post(act1 + "/insights").body["report_run_id"].(string)
			s.clock.now = s.clock.now.Add(time.Minute)
			return code(s.get(id + "/insights"))
		}, "400 100/33"},
		{"job-early", func(s *sim) string {
			id := s.post(act1 + "/insights").body["report_run_id"].(string)
			s.clock.now = s.clock.now.Add(1500 * time.Millisecond)
			a := s.get(id)
			return fmt.Sprint(a.body["async_status"], a.body["async_percent_completion"])
		}, "Job Completed75"},
		{"restated:on=2", func(s *sim) string {
			ask := func() int64 {
				for _, f := range sums(s.t, s.all(act1+"/insights", "level", "account", "time_range", `{"since":"2026-09-23","until":"2026-09-29"}`), 100) {
					return f.Impressions
				}
				return 0
			}
			first := ask()
			return fmt.Sprint(ask() > first)
		}, "true"},
	} {
		s := start(t, func(cfg *Config) { cfg.Faults = []string{c.fault} })
		if got := c.do(s); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.fault, got, c.want)
		}
		name, _, _ := strings.Cut(c.fault, ":")
		if name != "job-early" && s.Stats().FaultsPlayed[name] == 0 {
			t.Errorf("%s is not counted as played", c.fault)
		}
	}
}

// TestForeignNext: whoever follows paging.next elsewhere is counted, with what he brought along.
func TestForeignNext(t *testing.T) {
	s := start(t, func(c *Config) { c.Faults = []string{"foreign-next"} })
	p := s.get(act1+"/campaigns", "limit", "1").body["paging"].(map[string]any)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p["next"].(string), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if st := s.Stats(); st.ForeignRequests != 1 || st.CredentialsSentAbroad != 1 {
		t.Errorf("%d foreign requests, %d with credentials", st.ForeignRequests, st.CredentialsSentAbroad)
	}
}

// TestPagesAreWhole: whatever the limit and the question, pages together are the whole.
func TestPagesAreWhole(t *testing.T) {
	s := start(t)
	rapid.Check(t, func(r *rapid.T) {
		path := rapid.SampledFrom([]string{"campaigns", "adsets", "ads", "insights"}).Draw(r, "edge")
		var args []string
		if path == "insights" {
			args = []string{"level", rapid.SampledFrom(levelNames[:]).Draw(r, "level"), "time_increment", rapid.SampledFrom([]string{"1", "3", "monthly", "all_days"}).Draw(r, "step"), "date_preset", "last_14d"}
			if rapid.Bool().Draw(r, "split") {
				args = append(args, "breakdowns", "gender")
			}
		}
		whole, _ := json.Marshal(s.all(act1+"/"+path, append(args, "limit", "1000")...))
		limit := fmt.Sprint(rapid.IntRange(1, 60).Draw(r, "limit"))
		if pages, _ := json.Marshal(s.all(act1+"/"+path, append(args, "limit", limit)...)); string(pages) != string(whole) {
			r.Fatalf("%s %v: the pages differ", path, args)
		}
	})
}

// FuzzParams: whatever is asked for, there is an answer in JSON.
func FuzzParams(f *testing.F) {
	for _, x := range []string{"fields=id,name{a{b}}", "fields=[\"id\"]", "filtering=[{\"field\":\"ad.id\",\"operator\":\"IN\",\"value\":[1]}]", "time_range={\"since\":\"2026-01-01\"}", "after=QVFI&limit=-1", "%zz", "breakdowns=age,age"} {
		f.Add(x)
	}
	cfg := Default()
	cfg.Campaigns, cfg.Accounts, cfg.Date, cfg.Clock = 2, 1, date, (&clock{date}).Now
	s, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"campaigns", "insights"} {
			x := &sim{Server: s, t: t, token: DefaultToken}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/v26.0/"+act1+"/"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.URL.RawQuery = query
			r.Header.Set("Authorization", "Bearer "+DefaultToken)
			if r.Body == nil {
				r.Body = http.NoBody
			}
			if a := x.do(r); !json.Valid([]byte(a.raw)) || a.status == 0 {
				t.Fatalf("%q: %d %s", query, a.status, a.raw)
			}
		}
	})
}
