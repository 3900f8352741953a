package meta_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/meta"
	"adsync/internal/platform"
	"adsync/internal/platform/platformtest"
	"adsync/internal/secret"
	sim "adsync/internal/simulator/meta"
	"adsync/internal/store"
)

var simLevels = map[string]string{ads.LevelAccount: "account", ads.LevelCampaign: "campaign", ads.LevelAdGroup: "adset", ads.LevelAd: "ad"}

func site(t testing.TB, options meta.Options, faults ...string) platformtest.Site {
	t.Helper()
	where, _ := siteOf(t, func(c *sim.Config) { c.Faults = faults }, options)
	return where
}

func siteOf(t testing.TB, world func(*sim.Config), options meta.Options) (platformtest.Site, *sim.Server) {
	t.Helper()
	cfg := sim.Default()
	cfg.Accounts, cfg.Campaigns, cfg.Days, cfg.Tokens = 2, 5, 20, []string{"EAAtestSystemUserToken"}
	cfg.JobTime = 20 * time.Second
	if world != nil {
		world(&cfg)
	}
	s, err := sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	options.AppID, options.AppSecret = sim.DefaultAppID, true
	return platformtest.Site{
		Handler: s, Close: func() { _ = s.Close() }, Days: 20,
		Platform: func() platform.Platform {
			p, err := meta.New(options)
			if err != nil {
				t.Fatal(err)
			}
			return p
		},
		Credentials: secret.Bag{}.With(platform.CredentialAccessToken, secret.New("EAAtestSystemUserToken")).With(meta.CredentialAppSecret, secret.New(sim.DefaultAppSecret)),
		Truth: func(from, to ads.Date) platformtest.Truth {
			out := platformtest.Truth{Entities: map[string]int{}, Totals: map[platformtest.Place]map[ads.Date]store.DayTotal{}}
			for _, a := range s.Accounts() {
				for stream, kind := range map[string]string{ads.StreamCampaigns: "campaign", ads.StreamAdGroups: "adset", ads.StreamAds: "ad"} {
					out.Entities[stream] += a.Things[kind]
				}
				for level, name := range simLevels {
					days := map[ads.Date]store.DayTotal{}
					for _, f := range s.Figures(a.ID, name, from.String(), to.String()) {
						day, _ := ads.ParseDate(f.Date)
						d := days[day]
						d.Rows++
						d.Impressions += f.Impressions
						d.Clicks += f.Clicks
						d.Spend += ads.Micros(f.SpendMinor * 1_000_000 / a.Minor)
						days[day] = d
					}
					out.Totals[platformtest.Place{Account: a.AccountID, Level: level}] = days
				}
			}
			return out
		},
		Played:    func(fault string) int64 { name, _, _ := strings.Cut(fault, ":"); return s.Stats().FaultsPlayed[name] },
		Misplaced: func() map[string]int64 { return s.Stats().Misplaced },
		Token:     func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/oauth/access_token") },
	}, s
}

func TestConformance(t *testing.T) {
	fails := func(name string, status, code, sub int, message string, class ads.Class) platformtest.Reply {
		return platformtest.Reply{
			Name: name, Endpoint: "insights", Status: status, Class: class,
			Body: `{"error":{"message":` + strconv.Quote(message) + `,"type":"OAuthException","code":` + strconv.Itoa(code) + `,"error_subcode":` + strconv.Itoa(sub) + `,"fbtrace_id":"A1"}}`,
		}
	}
	with := func(r platformtest.Reply, wait time.Duration, whole bool, header ...string) platformtest.Reply {
		r.Wait, r.Whole, r.Header = wait, whole, http.Header{}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	const useCase = `{"998877665544":[{"type":"ads_insights","call_count":100,"total_cputime":40,"total_time":38,"estimated_time_to_regain_access":12,"ads_api_access_tier":"standard_access"},{"type":"ads_management","call_count":4,"estimated_time_to_regain_access":50}]}`
	platformtest.Run(t, platformtest.Subject{
		Start: func(t testing.TB, faults ...string) platformtest.Site {
			return site(t, meta.Options{PageRows: 3, ReportRows: 40}, faults...)
		},
		Passing: []string{
			"throttle:times=1", "throttle:code=4,wait=5m,times=1", "throttle:code=80000,endpoint=insights,on=1,times=1", "throttle:code=613,times=1,status=200", "usage-header:percent=97,endpoint=insights",
			"transient:times=2", "transient:code=1,subcode=99,times=1", "reduce:above=10", "text-200:times=1", "error-200:times=1", "cursor-expired", "duplicate", "empty-page",
			"too-much", "sync-timeout", "job-too-much", "job-failed", "job-skipped", "job-stuck", "job-not-found", "job-early", "job-expired", "status:times=2", "reset-mid-body:times=1", "cut-json:times=1", "html-200:times=1", "bad-gateway-html:times=1",
		},
		Replies: []platformtest.Reply{
			{Name: "a page", Endpoint: "insights", Status: 200, Body: `{"data":[]}`},
			{Name: "a record with a field error in it", Endpoint: "insights", Status: 200, Body: `{"data":[{"error":1}]}`},
			{Name: "words in a 200", Endpoint: "insights", Status: 200, Body: `Service Unavailable`, Class: ads.ClassTransient},
			{Name: "html of the edge", Endpoint: "insights", Status: 502, Body: `<html>`, Class: ads.ClassTransient},
			{Name: "no words", Endpoint: "insights", Status: 400, Body: ``, Class: ads.ClassPermanent},
			{Name: "429 without words", Endpoint: "insights", Status: 429, Body: ``, Class: ads.ClassThrottled},
			fails("session ended", 400, 190, 463, "Session has expired", ads.ClassTokenDead),
			fails("password changed", 401, 190, 460, "Changed", ads.ClassTokenDead),
			fails("session invalid", 400, 102, 0, "Session", ads.ClassTokenDead),
			fails("bad proof", 400, 104, 0, "Incorrect signature", ads.ClassAuth),
			fails("no permission", 403, 200, 0, "Missing permission", ads.ClassDenied),
			fails("no permission, 10", 400, 10, 0, "Permission", ads.ClassDenied),
			fails("a permission of the range", 400, 294, 0, "Permission", ads.ClassDenied),
			fails("not there", 400, 100, 33, "does not exist", ads.ClassDenied),
			fails("bad parameter", 400, 100, 0, "Invalid parameter", ads.ClassPermanent),
			fails("too much", 400, 100, 1487534, "Too much", ads.ClassTooLarge),
			fails("timed out", 400, 100, 1504018, "Timed out", ads.ClassTooLarge),
			fails("timed out, 2", 400, 2, 1504038, "Timed out", ads.ClassTooLarge),
			fails("too much of a page", 500, 1, 0, "Please reduce the amount of data you're asking for, then retry your request", ads.ClassTooLarge),
			fails("unknown", 400, 1, 99, "Unknown", ads.ClassTransient),
			fails("outage", 500, 2, 0, "Unavailable", ads.ClassTransient),
			fails("intermittent", 400, 2, 1504043, "Again", ads.ClassTransient),
			fails("a breakdown that is none, under code 2", 400, 2, 1504041, "Breakdown", ads.ClassPermanent),
			fails("batch", 400, 960, 0, "Batch", ads.ClassTransient),
			fails("something negative", 400, -2, 2490547, "Failed", ads.ClassTransient),
			fails("never heard of, 500", 500, 7777, 0, "New", ads.ClassTransient),
			fails("never heard of, 400", 400, 7777, 0, "New", ads.ClassPermanent),
			with(fails("the app's calls", 400, 4, 1504022, "App", ads.ClassThrottled), 5*time.Minute, true),
			with(fails("feed limit", 400, 341, 0, "App", ads.ClassThrottled), 15*time.Minute, true),
			with(fails("policy", 400, 368, 0, "Abusive", ads.ClassThrottled), 15*time.Minute, true),
			with(fails("the account's calls", 400, 17, 2446079, "User", ads.ClassThrottled), time.Minute, false),
			with(fails("the account's calls, lower tier", 400, 17, 2446079, "User", ads.ClassThrottled), 5*time.Minute, false, "X-Fb-Ads-Insights-Throttle", `{"app_id_util_pct":1,"acc_id_util_pct":100,"ads_api_access_tier":"development_access"}`),
			with(fails("the account's calls, told", 400, 613, 1487742, "Calls", ads.ClassThrottled), 100*time.Second, false, "X-Ad-Account-Usage", `{"acc_id_util_pct":100,"reset_time_duration":100,"ads_api_access_tier":"standard_access"}`),
			with(fails("a use case, told", 400, 80000, 2446079, "Too many", ads.ClassThrottled), 12*time.Minute, false, "X-Business-Use-Case-Usage", useCase),
			fails("the typing slip of others", 400, 800008, 0, "None", ads.ClassPermanent),
			fails("version", 400, 2635, 0, "Deprecated", ads.ClassPermanent),
			{Name: "an error in a 200", Endpoint: "insights", Status: 200, Body: `{"error":{"message":"x","code":17,"is_transient":true}}`, Class: ads.ClassThrottled, Wait: time.Minute},
			{Name: "error_data as a text", Endpoint: "insights", Status: 400, Body: `{"error":{"message":"x","code":100,"error_data":"{\"a\":1}"}}`, Class: ads.ClassPermanent},
			{Name: "told to be transient", Endpoint: "insights", Status: 400, Body: `{"error":{"message":"x","code":100,"is_transient":true}}`, Class: ads.ClassTransient},
		},
	})
}
