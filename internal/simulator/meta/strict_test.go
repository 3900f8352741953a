package meta

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const campaign1 = "120210000100000000"

// TestStrict: what the platform would refuse is refused, with the documented code.
func TestStrict(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		name, path string
		args       []string
		status     int
		code, sub  int
	}{
		{"unknown field", act1 + "/campaigns", []string{"fields", "id,nonsense"}, 400, 100, 0},
		{"field of another level", act1 + "/campaigns", []string{"fields", "adset_id"}, 400, 100, 0},
		{"unknown parameter", act1 + "/campaigns", []string{"colour", "red"}, 400, 100, 0},
		{"updated_since on campaigns", act1 + "/campaigns", []string{"updated_since", "1"}, 400, 100, 0},
		{"status of another level", act1 + "/campaigns", []string{"effective_status", `["ADSET_PAUSED"]`}, 400, 100, 0},
		{"status not a list", act1 + "/campaigns", []string{"effective_status", `ACTIVE`}, 400, 100, 0},
		{"broken fields", act1 + "/campaigns", []string{"fields", "id,name{"}, 400, 2500, 0},
		{"limit not a number", act1 + "/campaigns", []string{"limit", "many"}, 400, 100, 0},
		{"limit 0", act1 + "/campaigns", []string{"limit", "0"}, 400, 100, 0},
		{"made-up cursor", act1 + "/campaigns", []string{"after", "QVFI1"}, 400, 100, 0},
		{"unknown filter", act1 + "/campaigns", []string{"filtering", `[{"field":"campaign.colour","operator":"IN","value":["red"]}]`}, 400, 100, 0},
		{"filter of another level", act1 + "/campaigns", []string{"filtering", `[{"field":"ad.id","operator":"IN","value":["1"]}]`}, 400, 100, 0},
		{"unknown operator", act1 + "/campaigns", []string{"filtering", `[{"field":"campaign.name","operator":"LIKE","value":"x"}]`}, 400, 100, 0},
		{"unknown edge", act1 + "/colours", nil, 400, 100, 0},
		{"no such account", "act_778800000000099/campaigns", nil, 400, 100, 33},
		{"not an id", "act_12/campaigns", nil, 400, 100, 33},
		{"no such campaign", "120210000100099999", nil, 400, 100, 33},
		{"no such report", "602000000000999", nil, 400, 100, 33},
		{"unknown level", act1 + "/insights", []string{"level", "galaxy"}, 400, 100, 0},
		{"level above", campaign1 + "/insights", []string{"level", "account"}, 400, 100, 0},
		{"unknown metric", act1 + "/insights", []string{"fields", "impressions,smiles"}, 400, 100, 0},
		{"date not a date", act1 + "/insights", []string{"time_range", `{"since":"2026-11-1","until":"2026-11-02"}`}, 400, 100, 0},
		{"dates the wrong way", act1 + "/insights", []string{"time_range", `{"since":"2026-11-03","until":"2026-11-02"}`}, 400, 100, 0},
		{"beyond 37 months", act1 + "/insights", []string{"time_range", `{"since":"2023-10-21","until":"2023-10-30"}`}, 400, 3018, 0},
		{"increment too long", act1 + "/insights", []string{"time_increment", "91"}, 400, 100, 0},
		{"unknown window", act1 + "/insights", []string{"action_attribution_windows", `["3d_click"]`}, 400, 100, 0},
		{"breakdown that is gone", act1 + "/insights", []string{"breakdowns", "dma"}, 400, 100, 0},
		{"too many combinations", act1 + "/insights", []string{"breakdowns", "age,gender,country,publisher_platform,device_platform"}, 400, 2, 1504041},
		{"too much at once", act1 + "/insights", []string{"level", "ad", "time_increment", "1", "date_preset", "maximum", "breakdowns", "age"}, 400, 100, 1487534},
		{"page too heavy", act1 + "/insights", []string{"level", "ad", "time_increment", "1", "limit", "5000", "date_preset", "last_90d"}, 500, 1, 0},
	} {
		a := s.get(c.path, c.args...)
		code, sub := a.code()
		if a.status != c.status || code != c.code || sub != c.sub || a.err()["fbtrace_id"] == nil {
			t.Errorf("%s: %d, code %d, subcode %d, want %d, %d, %d: %s", c.name, a.status, code, sub, c.status, c.code, c.sub, a.raw)
		}
	}
	// The edges of what is allowed.
	for _, c := range [][]string{
		{act1 + "/insights", "time_range", `{"since":"2023-10-22","until":"2023-10-30"}`},
		{act1 + "/campaigns", "fields", `["id","name"]`},
		{act1 + "/ads", "fields", "id,creative{id}", "updated_since", "1"},
		{act1 + "/insights", "action_attribution_windows", `["1d_click","28d_view"]`, "fields", "actions"},
	} {
		if a := s.get(c[0], c[1:]...); a.status != http.StatusOK {
			t.Errorf("%v: %d %s", c, a.status, a.raw)
		}
	}
}

// TestCursorBelongs: a cursor works for the listing that it was made for, and for no other.
func TestCursorBelongs(t *testing.T) {
	s := start(t)
	after := s.get(act1+"/campaigns", "limit", "2").after()
	if after == "" {
		t.Fatal("no second page")
	}
	for path, want := range map[string]int{act1 + "/campaigns": 200, act1 + "/ads": 400, "act_778800000000002/campaigns": 400} {
		if a := s.get(path, "limit", "2", "after", after); a.status != want {
			t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
	if a := s.get(act1+"/campaigns", "limit", "2", "after", after, "effective_status", `["ACTIVE"]`); a.status != 400 {
		t.Errorf("other filters with the same cursor: %d", a.status)
	}
}

func TestVersions(t *testing.T) {
	s := start(t)
	for version, want := range map[string]int{"v26.0": 0, "v25.0": 0, "v24.0": 2635, "v27.0": 2500, "": 2635} {
		path := "/" + version + "/me"
		r := httptest.NewRequest(http.MethodGet, strings.ReplaceAll(path, "//", "/"), nil)
		r.Header.Set("Authorization", "Bearer "+s.token)
		a := s.do(r)
		if code, _ := a.code(); code != want {
			t.Errorf("%q: code %d, want %d: %s", version, code, want, a.raw)
		}
	}
	up := start(t, func(c *Config) { c.Upgrade = true })
	r := httptest.NewRequest(http.MethodGet, "/v24.0/me", nil)
	r.Header.Set("Authorization", "Bearer "+up.token)
	if a := up.do(r); a.status != 200 || a.header.Get("Facebook-Api-Version") != "v25.0" {
		t.Errorf("a version that is upgraded: %d %q", a.status, a.header.Get("Facebook-Api-Version"))
	}
}

// TestNextLeaksToken: paging.next holds the token when it came as a parameter, and does not when it came in the header.
func TestNextLeaksToken(t *testing.T) {
	s := start(t)
	if a := s.get(act1+"/campaigns", "limit", "1"); strings.Contains(a.raw, s.token) || a.after() == "" {
		t.Errorf("with the header: %s", a.raw)
	}
	r := httptest.NewRequest(http.MethodGet, "/v26.0/"+act1+"/campaigns?limit=1&access_token="+s.token, nil)
	if a := s.do(r); !strings.Contains(a.raw, s.token) {
		t.Errorf("with the parameter: %s", a.raw)
	}
}

// TestGolden: an object and a row, letter by letter.
func TestGolden(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		path string
		args []string
		want string
	}{
		{"me", []string{"fields", "id,name"}, `{"name":"System User","id":"100008812345678"}`},
		{act1, []string{"fields", "account_id,currency,timezone_name,timezone_offset_hours_utc,account_status,business{id,name}"}, `{"account_id":"778800000000001","currency":"USD",` +
			`"timezone_name":"America/Los_Angeles","timezone_offset_hours_utc":-8,"account_status":1,"business":{"id":"998800000000001","name":"Agency 1"},"id":"act_778800000000001"}`},
		{"me/businesses", nil, `{"data":[{"name":"Agency 1","id":"998800000000001"}],"paging":{"cursors":{"before":"*","after":"*"}}}`},
		{"998800000000001/client_ad_accounts", nil, `{"data":[{"account_id":"778800000000003","id":"act_778800000000003"}],"paging":{"cursors":{"before":"*","after":"*"}}}`},
		{act1 + "/ads", []string{"effective_status", `["PENDING_BILLING_INFO"]`}, `{"data":[]}`},
		{act1 + "/insights", []string{"time_range", `{"since":"2023-11-01","until":"2023-11-01"}`}, `{"data":[]}`},
		{act1 + "/insights", []string{"breakdowns", "impression_device"}, `{"data":[]}`},
	} {
		a := s.get(c.path, c.args...)
		got := a.raw
		if p, ok := a.body["paging"].(map[string]any); ok {
			for _, v := range p["cursors"].(map[string]any) {
				got = strings.ReplaceAll(got, v.(string), "*")
			}
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.path, got, c.want)
		}
	}
}

// TestTimes: offsets have no colon, and are the account's.
func TestTimes(t *testing.T) {
	s := start(t)
	for _, x := range s.all(act1+"/campaigns", "fields", "start_time,created_time,updated_time") {
		for _, k := range []string{"start_time", "created_time", "updated_time"} {
			v := x[k].(string)
			if len(v) != len("2026-11-03T09:15:22-0800") || v[19] != '-' || strings.Contains(v[19:], ":") {
				t.Errorf("%s: %s", k, v)
			}
		}
	}
}
