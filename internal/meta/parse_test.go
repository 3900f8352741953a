package meta

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// Money of entities comes in the platform's own smallest units, which are not ISO 4217's; figures come in whole units.
func TestAmount(t *testing.T) {
	for _, x := range []struct {
		text, currency string
		want           string // in micros; "-": none; "!": refused
	}{
		{"5000", "USD", "50000000"},
		{"5000", "JPY", "5000000000"},
		{"5000", "KRW", "5000000000"},
		{"5000", "HUF", "5000000000"},
		{"5000", "TWD", "5000000000"},
		{"5000", "IDR", "5000000000"}, // two digits by ISO
		{"5000", "BHD", "50000000"},
		{"5000", "JOD", "50000000"}, // three digits by ISO
		{"5000", "", "50000000"},
		{"0", "USD", "-"},
		{"", "USD", "-"},
		{"1", "EUR", "10000"},
		{"12.5", "USD", "!"},
		{"many", "USD", "!"},
		{"922337203685477580", "USD", "!"},
		{"9223372036854", "JPY", "9223372036854000000"},
		{"9223372036855", "JPY", "!"},
	} {
		m, err := amount(x.text, x.currency)
		got := fmt.Sprint(int64(m.Value))
		switch {
		case err != nil:
			got = "!"
		case !m.Set:
			got = "-"
		}
		if got != x.want {
			t.Errorf("%s %s: %s, want %s", x.text, x.currency, got, x.want)
		}
	}
}

func TestTime(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-03T09:15:22-0800": "2026-11-03T17:15:22Z", "2026-11-03T09:15:22+0530": "2026-11-03T03:45:22Z", "2026-11-03T09:15:22Z": "2026-11-03T09:15:22Z",
		"1969-12-31T16:00:00-0800": "-", "1970-01-01T00:00:00+0000": "-", "": "-", "yesterday": "!",
	} {
		v, err := parseTime(text)
		got := v.Value.Format(time.RFC3339)
		switch {
		case err != nil:
			got = "!"
		case !v.Set:
			got = "-"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestStatus(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for _, x := range []struct {
		effective string
		end       ads.Opt[time.Time]
		want      ads.Status
	}{
		{"ACTIVE", ads.Opt[time.Time]{}, ads.StatusActive},
		{"ACTIVE", ads.Some(now.Add(time.Hour)), ads.StatusActive},
		{"ACTIVE", ads.Some(now.Add(-time.Hour)), ads.StatusEnded},
		{"PAUSED", ads.Some(now.Add(-time.Hour)), ads.StatusPaused},
		{"CAMPAIGN_PAUSED", ads.Opt[time.Time]{}, ads.StatusPaused},
		{"DISAPPROVED", ads.Opt[time.Time]{}, ads.StatusPaused},
		{"PENDING_REVIEW", ads.Opt[time.Time]{}, ads.StatusDraft},
		{"ARCHIVED", ads.Opt[time.Time]{}, ads.StatusEnded},
		{"DELETED", ads.Opt[time.Time]{}, ads.StatusRemoved},
		{"SOMETHING_NEW", ads.Opt[time.Time]{}, ads.StatusUnknown},
		{"", ads.Opt[time.Time]{}, ads.StatusUnknown},
	} {
		if got := status(x.effective, x.end, now); got != x.want {
			t.Errorf("%s: %s, want %s", x.effective, got, x.want)
		}
	}
	for text, want := range map[string]string{"OUTCOME_SALES": "sales", "CONVERSIONS": "sales", "LINK_CLICKS": "traffic", "": "", "OUTCOME_TOMORROW": "unknown"} {
		if got := objective(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Records: what cannot be used says which field, what is only beside the point is left out, and the row is kept as it came.
func TestEntity(t *testing.T) {
	task := platform.Task{Account: ads.Account{ID: "1", Currency: "USD"}, Stream: ads.StreamCampaigns}
	read := func(raw string) ads.Record {
		return readEntity(task, edges[task.Stream], []byte(raw), 4, time.Now())
	}
	const row = `{"id":"120210000000010001","name":"Autumn\u0000 ☕","objective":"OUTCOME_SALES","status":"ACTIVE","effective_status":"ACTIVE","daily_budget":"5000","lifetime_budget":"0","created_time":"2026-09-28T10:11:12-0700","stop_time":"1969-12-31T16:00:00-0800","more":{"a":[1]}}`
	e := read(row)
	if e.Problem != nil || e.ID != "120210000000010001" || e.Name != "Autumn\uFFFD ☕" || e.Objective != "sales" || e.Budget != ads.Some(ads.Micros(50_000_000)) || e.BudgetPeriod != "daily" || e.Status != ads.StatusActive || string(e.Raw) != row || !e.CreatedAt.Set || e.PlatformUpdatedAt.Set {
		t.Errorf("%+v", e)
	}
	if e := read(`{"id":120210000000010001,"lifetime_budget":7}`); e.ID != "120210000000010001" || e.BudgetPeriod != "lifetime" || e.Status != ads.StatusUnknown || e.Objective != "" {
		t.Errorf("numbers instead of texts: %+v", e)
	}
	for raw, code := range map[string]string{
		`{"name":"x"}`: "no_id", `{"id":null}`: "no_id", `{"id":{}}`: "no_id", `null`: "no_id", `"x"`: "bad_record", `{"id":"7","daily_budget":"many"}`: "bad_value", `[]`: "bad_record",
	} {
		if e := read(raw); e.Problem == nil || e.Problem.Code != code || e.Problem.EntityID == "" || string(e.Problem.Raw) != raw {
			t.Errorf("%s: %+v, want %s", raw, e.Problem, code)
		}
	}
	task.Stream = ads.StreamAds
	if e := read(`{"id":"9","adset_id":"8"}`); e.Problem == nil || e.Problem.Code != "no_parent" {
		t.Errorf("%+v", e)
	}
}

// Figures: of the names of one purchase the first counts and none is added; a row that makes no sense spoils its page.
func TestFigures(t *testing.T) {
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := platform.Slice{Account: ads.Account{ID: "998877665544", Currency: "EUR"}, Level: ads.LevelAd}
	const row = `{"account_id":"998877665544","account_currency":"USD","campaign_id":"1","adset_id":"2","ad_id":"3","date_start":"2026-11-20","date_stop":"2026-11-20","impressions":"10432","clicks":"211","spend":"83.41",
"actions":[{"action_type":"link_click","value":"150"},{"action_type":"purchase","value":"6"},{"action_type":"omni_purchase","value":"7","7d_click":"5"}],"action_values":[{"action_type":"omni_purchase","value":"412.5"}]}`
	m, err := p.figure(s, []byte(row))
	if err != nil || m.EntityID != "3" || m.Date.String() != "2026-11-20" || m.Impressions != ads.Some(int64(10432)) || m.Spend != ads.Some(ads.Micros(83_410_000)) || m.Conversions.Value.String() != "7" || m.ConversionValue != ads.Some(ads.Micros(412_500_000)) || m.Currency != "USD" || string(m.Raw) != row {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = p.figure(s, []byte(`{"ad_id":"3","date_start":"2026-11-20","date_stop":"2026-11-20"}`))
	if err != nil || m.Impressions.Set || m.Spend.Set || m.Conversions != ads.Some(ads.Decimal{}) || m.Currency != "EUR" {
		t.Errorf("absent is not zero, but for actions: %+v, %v", m, err)
	}
	for raw, want := range map[string]string{
		`{"date_start":"2026-11-20"}`: "which ad",
		`{"ad_id":"3"}`:               "date_start",
		`{"ad_id":"3","date_start":"2026-11-20","date_stop":"2026-11-21"}`:  "several days",
		`{"ad_id":"3","date_start":"2026-11-20","impressions":"1.5"}`:       "impressions",
		`{"ad_id":"3","date_start":"2026-11-20","spend":"1e400"}`:           "spend",
		`{"ad_id":"3","date_start":"2026-11-20","actions":"none"}`:          "cannot be read",
		`{"ad_id":"3","date_start":"2026-11-20","spend":"9999999999999.5"}`: "spend",
	} {
		if _, err := p.figure(s, []byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", raw, err, want)
		}
	}
}

// Pages: the end is the absence of a next link, which itself is never followed.
func TestList(t *testing.T) {
	for body, want := range map[string]string{
		`{"data":[]}`:             "0  false",
		`{"data":[],"paging":{}}`: "0  false",
		`{"data":[{"id":"1"}],"paging":{"cursors":{"after":"QVFI2"}}}`:                                                                "1 QVFI2 false",
		`{"data":[{"id":"1"}],"paging":{"cursors":{"after":"QVFI2"},"next":"https://elsewhere.example/x?after=EVIL&access_token=T"}}`: "1 QVFI2 true",
		`{"data":[],"paging":{"next":"https://graph.facebook.com/v26.0/act_1/ads?limit=1&after=ABC"}}`:                                "0 ABC true",
		`{"paging":null,"data":[1,"x",null]}`:                         "3  false",
		`{"data":[],"paging":{"next":"https://graph.facebook.com/"}}`: "!", `{}`: "!", `{"data":null}`: "!", `[]`: "!", ``: "!", `{"data":[]} {}`: "!", `{"data":[{"id":`: "!", `Service Unavailable`: "!",
	} {
		l, err := parseList(platform.Reply{Endpoint: "x", Status: 200, Header: http.Header{}, Body: []byte(body)})
		got := fmt.Sprint(len(l.rows), " ", l.after, " ", l.more)
		if err != nil {
			if got = "!"; ads.ClassOf(err) != ads.ClassBadReply {
				t.Errorf("%s: %v", body, err)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestUsage(t *testing.T) {
	h := http.Header{}
	h.Set("X-App-Usage", `{"call_count":28,"total_time":25,"total_cputime":95}`)
	h.Set("X-Business-Use-Case-Usage", `{"1":[{"type":"ads_insights","call_count":80,"total_cputime":40,"total_time":38,"estimated_time_to_regain_access":0},{"type":"ads_management","call_count":100,"estimated_time_to_regain_access":12}]}`)
	if u := usageOf(h, endpointInsights); u.app != ads.Some(0.95) || u.account != ads.Some(0.8) || u.hold() != 2*time.Second || u.wait().Set {
		t.Errorf("insights: %+v, %s", u, u.hold())
	}
	if u := usageOf(h, endpointList+"ads"); u.account != ads.Some(1.0) || u.hold() != 12*time.Minute || u.wait() != ads.Some(12*time.Minute) {
		t.Errorf("entities: %+v, %s", u, u.hold())
	}
	for _, odd := range []string{`{"call_count":1e300}`, `{"acc_id_util_pct":-5,"reset_time_duration":1e300}`, `[]`, `{`, `{"call_count":"x"}`, `null`} {
		for _, name := range []string{"X-App-Usage", "X-Ad-Account-Usage", "X-Business-Use-Case-Usage", "X-Fb-Ads-Insights-Throttle"} {
			u := usageOf(http.Header{http.CanonicalHeaderKey(name): {odd}}, endpointInsights)
			if u.hold() < 0 || u.hold() > longest || u.wait().Value < 0 || u.wait().Value > longest {
				t.Errorf("%s: %s: %+v", name, odd, u)
			}
		}
	}
}

// Whatever comes, reading it ends in rows or in words, and what is told can be printed.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		`{"data":[{"id":"1","daily_budget":"5"}],"paging":{"cursors":{"after":"A"},"next":"http://x/?after=B"}}`, `{"error":{"message":"m","code":"17","error_subcode":2446079,"is_transient":true}}`,
		`{"data":[{"ad_id":"3","date_start":"2026-11-20","actions":[{"action_type":"purchase","value":"6"}]}]}`, `{"access_token":"EAA","expires_in":"5183944"}`, `{"error":"text"}`, "\xff{", `[[[[`,
	} {
		f.Add([]byte(s), 200)
		f.Add([]byte(s), 400)
	}
	p, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		r := platform.Reply{Endpoint: endpointInsights, Status: status, Header: http.Header{"X-App-Usage": {string(body)}}, Body: body}
		v := p.Classify(r)
		for _, s := range []string{v.Message, v.Hint, v.Code, v.RequestID} {
			if ads.Printable(s, 1<<20) != s {
				t.Errorf("not safe to print: %q", s)
			}
		}
		if v.Class == ads.ClassOK && status/100 != 2 {
			t.Errorf("%d is taken for good", status)
		}
		if _, err := ParseToken(r); err != nil && ads.ClassOf(err) != ads.ClassBadReply {
			t.Error(err)
		}
		l, err := parseList(r)
		if err != nil && ads.ClassOf(err) != ads.ClassBadReply {
			t.Error(err)
		}
		task := platform.Task{Account: ads.Account{ID: "1", Currency: "USD"}, Stream: ads.StreamAds}
		for i, row := range l.rows {
			if !json.Valid(row) && len(row) == 0 {
				t.Errorf("row %d is empty", i)
			}
			if e := readEntity(task, edges[task.Stream], row, i, time.Unix(0, 0)); e.Problem == nil && (e.ID == "" || ads.Text(e.Name) != e.Name || ads.Text(e.PlatformStatus) != e.PlatformStatus) {
				t.Errorf("%+v", e)
			}
			_, _ = p.figure(platform.Slice{Account: task.Account, Level: ads.LevelAd}, row)
			_, _ = readAccount(row)
		}
	})
}

// A page of 500 rows of figures, as the client has it.
func BenchmarkPage(b *testing.B) {
	p, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	var rows []string
	for i := range 500 {
		rows = append(rows, fmt.Sprintf(`{"account_id":"1","account_currency":"USD","campaign_id":"%d","adset_id":"%d","ad_id":"%d","date_start":"2026-11-20","date_stop":"2026-11-20","impressions":"10432","clicks":"211","spend":"83.41","actions":[{"action_type":"link_click","value":"150"},{"action_type":"omni_purchase","value":"7"}],"action_values":[{"action_type":"omni_purchase","value":"412.5"}]}`, i, i, i))
	}
	body := []byte(`{"data":[` + strings.Join(rows, ",") + `],"paging":{"cursors":{"after":"A"}}}`)
	s := platform.Slice{Account: ads.Account{ID: "1"}, Level: ads.LevelAd}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		l, err := parseList(platform.Reply{Body: body, Status: 200})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.figures(endpointInsights, s, l.rows); err != nil {
			b.Fatal(err)
		}
	}
}
