package metrics_test

import (
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"adsync/internal/ads"
)

// scrape is what Prometheus gets: series by their text.
func (f *fleet) scrape() (text string, series map[string]float64) {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		f.t.Fatalf("%d %s", w.Code, w.Body)
	}
	series = map[string]float64{}
	for line := range strings.Lines(w.Body.String()) {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			if err != nil {
				f.t.Fatalf("%q: %v", line, err)
			}
			series[line[:at]] = v
		}
	}
	return w.Body.String(), series
}

// TestRealRuns: what a scrape says of runs on a real client, engine and database is what the runs say of themselves.
func TestRealRuns(t *testing.T) {
	f := newFleet(t)
	f.add("acme", 40, nil, "status:endpoint=list,on=2,times=1,code=503", "throttle:endpoint=sync,on=3,times=1,wait=1s")
	f.add("globex", 30, nil, "total-high", "status:endpoint=sync,id=campaign_7,code=422,times=1000")
	f.add("initech", 10, nil, "credentials-wrong")
	outcome := map[string]ads.Outcome{"acme": ads.Complete, "globex": ads.Partial, "initech": ads.Failed}
	sums := map[string]ads.Figures{}
	for range 2 {
		for client, want := range outcome {
			s := f.sync(t.Context(), client)
			if s.Outcome != want {
				t.Fatalf("%s: %s, %v", client, s.Outcome, s.Err)
			}
			was := sums[client]
			if !(client == "initech") || was == (ads.Figures{}) { // its second life has the first one's figures
				was.Listed, was.Synced, was.Failed = was.Listed+s.Figures.Listed, was.Synced+s.Figures.Synced, was.Failed+s.Figures.Failed
				was.Requests, was.Pages, was.Unchanged = was.Requests+s.Figures.Requests, was.Pages+s.Figures.Pages, was.Unchanged+s.Figures.Unchanged
			}
			sums[client] = was
		}
	}
	text, got := f.scrape()
	for client, s := range sums {
		for name, want := range map[string]int64{
			"adsync_listed_total": s.Listed, "adsync_synced_total": s.Synced, "adsync_unchanged_total": s.Unchanged, "adsync_failed_total": s.Failed,
			"adsync_requests_total": s.Requests, "adsync_pages_total": s.Pages, "adsync_running": 0, "adsync_campaigns": s.Synced / 2, "adsync_open_failures": s.Failed / 2,
		} {
			series := fmt.Sprintf(`%s{client="%s",connection="adplatform",platform="adplatform"}`, name, client)
			if v, ok := got[series]; !ok || v != float64(want) {
				t.Errorf("%s is %v (%v), want %d", series, v, ok, want)
			}
		}
		for _, o := range []ads.Outcome{ads.Complete, ads.Partial, ads.Failed, ads.Interrupted} {
			want := 0.0
			if o == outcome[client] {
				want = 2
			}
			if v := got[fmt.Sprintf(`adsync_runs_total{client="%s",connection="adplatform",outcome="%s",platform="adplatform"}`, client, o)]; v != want {
				t.Errorf("%s: %v runs %s", client, v, o)
			}
		}
	}
	for series, least := range map[string]float64{
		`adsync_attempt_duration_seconds_count{endpoint="list campaigns",platform="adplatform",status="5xx"}`:         1,
		`adsync_attempts_total{class="throttled",endpoint="sync campaign",platform="adplatform"}`:                     1,
		`adsync_attempts_total{class="auth",endpoint="token",platform="adplatform"}`:                                  1,
		`adsync_retries_total{class="transient",client="acme",connection="adplatform",platform="adplatform"}`:         1,
		`adsync_throttled_total{client="acme",connection="adplatform",platform="adplatform"}`:                         1,
		`adsync_findings_total{client="globex",code="total_disagrees",connection="adplatform",platform="adplatform"}`: 1,
		`adsync_record_failures_total{class="permanent",platform="adplatform"}`:                                       1,
		`adsync_store_duration_seconds_count{op="commit"}`:                                                            10,
		`adsync_store_duration_seconds_count{op="quota"}`:                                                             1,
		`adsync_token_renewals_total{platform="adplatform",reason="first"}`:                                           2,
		`adsync_parked_connections{platform="adplatform",reason="auth"}`:                                              1,
	} {
		if got[series] < least {
			t.Errorf("%s is %v, want at least %v", series, got[series], least)
		}
	}
	for what, bad := range map[string]string{
		"the password": regexp.QuoteMeta(password), "the password in base64": regexp.QuoteMeta(base64.StdEncoding.EncodeToString([]byte(password))[:20]),
		"the user": "user@example", "an id of a campaign": `campaign_\d`, "a URL": `http://`, "a host": `127\.0\.0\.1`,
	} {
		if at := regexp.MustCompile(bad).FindStringIndex(text); at != nil {
			t.Errorf("%s is in the scrape: …%s…", what, text[max(0, at[0]-80):min(len(text), at[1]+20)])
		}
	}
}
