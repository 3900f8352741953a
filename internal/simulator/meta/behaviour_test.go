package meta

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestScore: an account's score runs up, blocks, and is good again when the wait that was told is over.
func TestScore(t *testing.T) {
	s := start(t, func(c *Config) { c.Tier = "limited" })
	for i := range 60 {
		if a := s.get(act1); a.status != 200 {
			t.Fatalf("call %d: %s", i, a.raw)
		}
	}
	a := s.get(act1)
	if code, sub := a.code(); a.status != 400 || code != 17 || sub != 2446079 || a.err()["is_transient"] != true {
		t.Fatalf("beyond the score: %s", a.raw)
	}
	var use struct {
		Pct   float64 `json:"acc_id_util_pct"`
		Reset int64   `json:"reset_time_duration"`
		Tier  string  `json:"ads_api_access_tier"`
	}
	if err := json.Unmarshal([]byte(a.header.Get("X-Ad-Account-Usage")), &use); err != nil || use.Pct != 100 || use.Reset != 300 || use.Tier != "development_access" {
		t.Errorf("usage: %q", a.header.Get("X-Ad-Account-Usage"))
	}
	if other := s.get("act_778800000000002"); other.status != 200 {
		t.Errorf("another account: %s", other.raw)
	}
	s.clock.now = s.clock.now.Add(299 * time.Second)
	if a := s.get(act1); a.status != 400 {
		t.Errorf("before the wait is over: %d", a.status)
	}
	s.clock.now = s.clock.now.Add(10 * time.Second)
	if a := s.get(act1); a.status != 200 {
		t.Errorf("after it: %s", a.raw)
	}
	if n := s.Stats().Accounts[act1].Early; n != 1 {
		t.Errorf("%d early requests, want 1", n)
	}
}

// TestUseCase: the hourly budget of insights says in minutes when there is room again.
func TestUseCase(t *testing.T) {
	s := start(t, func(c *Config) { c.InsightsLimit = 5 })
	for range 5 {
		s.get(act1 + "/insights")
	}
	a := s.get(act1 + "/insights")
	if code, sub := a.code(); code != 80000 || sub != 2446079 {
		t.Fatalf("beyond the budget: %s", a.raw)
	}
	var usage map[string][]struct {
		Type  string `json:"type"`
		Calls int    `json:"call_count"`
		Wait  int    `json:"estimated_time_to_regain_access"`
	}
	_ = json.Unmarshal([]byte(a.header.Get("X-Business-Use-Case-Usage")), &usage)
	rows := usage["778800000000001"]
	if len(rows) == 0 || rows[0].Type != "ads_insights" || rows[0].Calls != 100 || rows[0].Wait < 60 || rows[0].Wait > 62 {
		t.Fatalf("usage: %s", a.header.Get("X-Business-Use-Case-Usage"))
	}
	if a.header.Get("X-Fb-Ads-Insights-Throttle") == "" {
		t.Error("no throttle header of insights")
	}
	if list := s.get(act1 + "/campaigns"); list.status != 200 {
		t.Errorf("listings share the budget: %s", list.raw)
	}
	s.clock.now = s.clock.now.Add(time.Duration(rows[0].Wait) * time.Minute)
	if a := s.get(act1 + "/insights"); a.status != 200 {
		t.Errorf("after the wait that was told: %s", a.raw)
	}
}

func TestAppLimit(t *testing.T) {
	s := start(t, func(c *Config) { c.AppLimit = 3 })
	for range 3 {
		s.get("me")
	}
	for _, path := range []string{"me", act1 + "/campaigns"} {
		a := s.get(path)
		if code, _ := a.code(); code != 4 || a.header.Get("X-App-Usage") == "" {
			t.Errorf("%s: %s", path, a.raw)
		}
	}
}

// TestJob: a report is made, runs, and is done; then its rows stand still while the days go on.
func TestJob(t *testing.T) {
	s := start(t, func(c *Config) { c.JobTime = time.Minute })
	args := []string{"level", "campaign", "time_increment", "1", "date_preset", "last_7d", "fields", "campaign_id,impressions,spend"}
	id := s.post(act1+"/insights", args...).body["report_run_id"].(string)
	a := s.get(id)
	if a.body["async_status"] != "Job Started" || a.body["id"] != id || a.body["account_id"] != "778800000000001" || a.body["date_start"] != "2026-11-15" || a.body["date_stop"] != "2026-11-21" {
		t.Errorf("at first: %s", a.raw)
	}
	if code, _ := s.get(id + "/insights").code(); code != 2601 {
		t.Errorf("rows before the end: code %d", code)
	}
	s.clock.now = s.clock.now.Add(30 * time.Second)
	if a := s.get(id); a.body["async_status"] != "Job Running" || a.body["async_percent_completion"] != 50.0 || a.body["is_running"] != true {
		t.Errorf("half way: %s", a.raw)
	}
	s.clock.now = s.clock.now.Add(31 * time.Second)
	first := s.all(id+"/insights", "limit", "10")
	if len(first) == 0 {
		t.Fatal("no rows")
	}
	s.clock.now = s.clock.now.Add(48 * time.Hour)
	if again, _ := json.Marshal(s.all(id+"/insights", "limit", "10")); string(again) != mustJSON(first) {
		t.Error("the rows of a report move")
	}
	if fresh := s.all(act1+"/insights", "level", "campaign", "time_increment", "1", "time_range", `{"since":"2026-11-15","until":"2026-11-21"}`, "fields", "campaign_id,impressions,spend"); mustJSON(fresh) == mustJSON(first) {
		t.Error("the figures of last week do not move")
	}
	if code, _ := s.get(id+"/insights", "summary", `["spend"]`).code(); code != 100 {
		t.Errorf("summary of a report: code %d", code)
	}
	s.clock.now = s.clock.now.Add(31 * 24 * time.Hour)
	if code, sub := s.get(id).code(); code != 100 || sub != 33 {
		t.Errorf("after 33 days: %d/%d", code, sub)
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestJobFates(t *testing.T) {
	for _, c := range []struct {
		fault, status string
		code, sub     float64
		wait          time.Duration
	}{
		{"job-failed", "Job Failed", -2, 2490547, time.Minute},
		{"job-skipped", "Job Skipped", 0, 0, time.Minute},
		{"job-too-much", "Job Failed", 100, 1487534, time.Minute},
		{"job-stuck:percent=40", "Job Running", 0, 0, 30 * time.Minute},
		{"job-stuck", "Job Failed", -2, 2490547, 2 * time.Hour},
	} {
		s := start(t, func(cfg *Config) { cfg.Faults = []string{c.fault} })
		id := s.post(act1 + "/insights").body["report_run_id"].(string)
		s.clock.now = s.clock.now.Add(c.wait)
		a := s.get(id)
		code, _ := a.body["error_code"].(float64)
		sub, _ := a.body["error_subcode"].(float64)
		if a.body["async_status"] != c.status || code != c.code || sub != c.sub {
			t.Errorf("%s: %s", c.fault, a.raw)
		}
	}
	s := start(t, func(cfg *Config) { cfg.MaxJobs, cfg.JobTime = 1, time.Minute })
	first := s.post(act1 + "/insights").body["report_run_id"].(string)
	second := s.post(act1 + "/insights").body["report_run_id"].(string)
	s.clock.now = s.clock.now.Add(30 * time.Second)
	if a, b := s.get(first), s.get(second); a.body["async_status"] != "Job Running" || b.body["async_status"] != "Job Not Started" {
		t.Errorf("one at a time: %s, %s", a.raw, b.raw)
	}
}

// TestRestatement: a day's figures grow as the clock goes on: impressions for three days, purchases for four weeks; then they stand.
func TestRestatement(t *testing.T) {
	s := start(t)
	at := func() (f FigureTruth) {
		for _, x := range s.Figures(act1, "account", "2026-11-20", "2026-11-20") {
			f = x
		}
		return f
	}
	var seen []FigureTruth
	for range 40 {
		seen = append(seen, at())
		s.clock.now = s.clock.now.Add(24 * time.Hour)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i].Impressions < seen[i-1].Impressions || seen[i].Purchases < seen[i-1].Purchases || seen[i].SpendMinor < seen[i-1].SpendMinor {
			t.Errorf("day %d: %+v after %+v", i, seen[i], seen[i-1])
		}
	}
	if seen[0].Impressions == seen[5].Impressions || seen[5].Impressions != seen[39].Impressions {
		t.Errorf("impressions do not settle within days: %v %v %v", seen[0], seen[5], seen[39])
	}
	if seen[10].Purchases == seen[27].Purchases || seen[30].Purchases != seen[39].Purchases {
		t.Errorf("purchases do not settle within weeks: %v %v %v", seen[10], seen[27], seen[39])
	}
}

// TestDisagree: account totals differ where a fault says so, and only there.
func TestDisagree(t *testing.T) {
	s := start(t, func(c *Config) { c.Faults = []string{"totals-disagree:day=2026-11-20,level=account"} })
	truth := map[string]int64{}
	for _, f := range s.Figures(act1, "account", "2026-11-18", "2026-11-21") {
		truth[f.Date] = f.Impressions
	}
	for day, f := range sums(t, s.all(act1+"/insights", "level", "account", "time_increment", "1", "time_range", `{"since":"2026-11-18","until":"2026-11-21"}`), 100) {
		if want := strings.HasPrefix(day, "2026-11-20"); (f.Impressions != truth[f.Date]) != want {
			t.Errorf("%s: %d, truth %d", day, f.Impressions, truth[f.Date])
		}
	}
}

// TestOmittedRows: with the flag, archived and deleted things are missing from rows unless they are asked for.
func TestOmittedRows(t *testing.T) {
	s := start(t, func(c *Config) { c.OmitDeletedRows = true })
	args := []string{"level", "ad", "date_preset", "last_90d", "fields", "ad_id,impressions", "limit", "500"}
	few := s.all(act1+"/insights", args...)
	all := s.all(act1+"/insights", append(args, "filtering", `[{"field":"ad.effective_status","operator":"IN","value":["`+strings.Join(effectiveValues[3], `","`)+`"]}]`)...)
	if len(few) == 0 || len(few) >= len(all) {
		t.Errorf("%d rows, and %d with all statuses", len(few), len(all))
	}
}

// TestBreakdown: the parts of a breakdown add up to the whole.
func TestBreakdown(t *testing.T) {
	s := start(t)
	args := []string{"level", "campaign", "date_preset", "last_7d", "fields", "campaign_id,impressions,clicks,spend", "limit", "500"}
	var whole, parts FigureTruth
	for _, f := range sums(t, s.all(act1+"/insights", args...), 100) {
		whole.Impressions, whole.Clicks, whole.SpendMinor = whole.Impressions+f.Impressions, whole.Clicks+f.Clicks, whole.SpendMinor+f.SpendMinor
	}
	rows := s.all(act1+"/insights", append(args, "breakdowns", "age,gender", "limit", "11")...)
	for _, r := range rows {
		if r["age"] == nil || r["gender"] == nil {
			t.Fatalf("no breakdown in %v", r)
		}
		r["campaign_id"] = r["campaign_id"].(string) + " " + r["age"].(string) + r["gender"].(string)
	}
	for _, f := range sums(t, rows, 100) {
		parts.Impressions, parts.Clicks, parts.SpendMinor = parts.Impressions+f.Impressions, parts.Clicks+f.Clicks, parts.SpendMinor+f.SpendMinor
	}
	if whole != parts || whole.Impressions == 0 {
		t.Errorf("parts %+v, whole %+v", parts, whole)
	}
}

// TestOldReach: with a breakdown, reach is no longer known of days more than 13 months ago; without, it is.
func TestOldReach(t *testing.T) {
	s := start(t, func(c *Config) { c.Days = 0 })
	for _, x := range []struct {
		day, breakdown string
		known          bool
	}{{"2025-09-01", "", true}, {"2025-09-01", "gender", false}, {"2026-09-01", "gender", true}} {
		args := []string{"level", "account", "fields", "reach,impressions", "time_range", `{"since":"` + x.day + `","until":"` + x.day + `"}`}
		if x.breakdown != "" {
			args = append(args, "breakdowns", x.breakdown)
		}
		rows := s.all(act1+"/insights", args...)
		if len(rows) == 0 || (rows[0]["reach"] != nil) != x.known {
			t.Errorf("%s by %q: %v", x.day, x.breakdown, rows)
		}
	}
}

// TestVirtualTime: without a clock of its own, all waiting passes in a bubble's time.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Campaigns, cfg.Latency, cfg.JobTime = 3, 2*time.Second, time.Hour
		srv, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		s := &sim{Server: srv, t: t, token: DefaultToken}
		begin := time.Now()
		id := s.post(act1 + "/insights").body["report_run_id"].(string)
		polls := 0
		for s.get(id).body["async_status"] != "Job Completed" {
			if polls++; polls > 2000 {
				t.Fatal("the report never ends")
			}
		}
		if took := time.Since(begin); took < time.Hour || took > time.Hour+10*time.Second {
			t.Errorf("the report took %s", took)
		}
	})
}

func TestBatch(t *testing.T) {
	s := start(t)
	a := s.post("", "batch", `[{"method":"GET","relative_url":"v26.0/me?fields=id"},{"method":"GET","relative_url":"`+act1+`/colours"}]`)
	var parts []struct {
		Code int    `json:"code"`
		Body string `json:"body"`
	}
	if err := json.Unmarshal([]byte(a.raw), &parts); err != nil || len(parts) != 2 || parts[0].Code != 200 || parts[1].Code != 400 || !strings.Contains(parts[0].Body, userID) {
		t.Errorf("batch: %s", a.raw)
	}
	many := "[" + strings.Repeat(`{"method":"GET","relative_url":"me"},`, 50) + `{"method":"GET","relative_url":"me"}]`
	if a := s.post("", "batch", many); a.status == http.StatusOK {
		t.Error("51 parts are taken")
	}
}

// TestControl: edits, additions and restatements are seen at once.
func TestControl(t *testing.T) {
	s := start(t)
	name, before := "Renamed", s.Figures(act1, "account", "2026-10-01", "2026-10-01")[0]
	err := s.Control(Command{
		Edit: []Edit{{ID: campaign1, Name: &name, Status: "DELETED"}}, Add: []Addition{{Account: act1, Name: "Added"}},
		Restate: []Restating{{Account: act1, Since: "2026-10-01", Until: "2026-10-01", PerMille: 2000}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.get(campaign1, "fields", "name,effective_status"); a.body["name"] != name || a.body["effective_status"] != "DELETED" {
		t.Errorf("edited: %s", a.raw)
	}
	found := false
	for _, x := range s.all(act1+"/campaigns", "fields", "id,name") {
		found = found || x["name"] == "Added"
		if x["id"] == campaign1 {
			t.Error("what is deleted is listed")
		}
	}
	if !found {
		t.Error("what was added is not listed")
	}
	after := s.Figures(act1, "account", "2026-10-01", "2026-10-01")[0]
	if after.Impressions < before.Impressions*19/10 {
		t.Errorf("restated: %d, before %d", after.Impressions, before.Impressions)
	}
	if s.Control(Command{Edit: []Edit{{ID: "12"}}}) == nil {
		t.Error("an id that there is not can be edited")
	}
}

// TestDeterminism: the same seed tells the same, another one something else.
func TestDeterminism(t *testing.T) {
	tell := func(seed uint64) string {
		s := start(t, func(c *Config) { c.Seed = seed })
		return s.get(act1+"/insights", "level", "ad", "date_preset", "last_7d", "time_increment", "1").raw + s.get(act1+"/campaigns", "fields", "id,name,daily_budget").raw
	}
	first := tell(1)
	if again := tell(1); again != first || tell(2) == first {
		t.Error("the seed does not decide")
	}
}
