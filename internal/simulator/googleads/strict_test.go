package googleads

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const days = " WHERE segments.date BETWEEN '2026-11-01' AND '2026-11-07'"

// TestQueries: each mistake in a query has its own value of queryError.
func TestQueries(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxDays = 31 })
	for query, want := range map[string]string{
		"campaign.id FROM campaign":                                                                    "EXPECTED_SELECT",
		"SELECT campaign.id":                                                                           "EXPECTED_FROM",
		"SELECT * FROM campaign":                                                                       "BAD_SYMBOL",
		"SELECT campaign.id FROM campaign;":                                                            "BAD_SYMBOL",
		"SELECT campaign.id,, campaign.name FROM campaign":                                             "UNEXPECTED_INPUT",
		"SELECT Campaign.Id FROM campaign":                                                             "BAD_FIELD_NAME",
		"SELECT campaign.start_date FROM campaign":                                                     "UNRECOGNIZED_FIELD",
		"SELECT metrics.video_views FROM campaign":                                                     "UNRECOGNIZED_FIELD",
		"SELECT campaign.id FROM galaxy":                                                               "BAD_RESOURCE_TYPE_IN_FROM_CLAUSE",
		"SELECT ad_group.id FROM campaign":                                                             "PROHIBITED_RESOURCE_TYPE_IN_SELECT_CLAUSE",
		"SELECT customer_client.id, metrics.clicks FROM customer_client":                               "PROHIBITED_METRIC_IN_SELECT_OR_WHERE_CLAUSE",
		"SELECT customer_client.id, segments.date FROM customer_client":                                "PROHIBITED_SEGMENT_IN_SELECT_OR_WHERE_CLAUSE",
		"SELECT campaign.id FROM campaign WHERE":                                                       "UNEXPECTED_END_OF_QUERY",
		"SELECT campaign.id FROM campaign WHERE campaign.id":                                           "BAD_OPERATOR",
		"SELECT campaign.id FROM campaign WHERE campaign.id LIKE '1%'":                                 "OPERATOR_FIELD_MISMATCH",
		"SELECT campaign.id FROM campaign WHERE campaign.id = many":                                    "BAD_NUMBER",
		"SELECT campaign.id FROM campaign WHERE campaign.status = 'RUNNING'":                           "BAD_ENUM_CONSTANT",
		"SELECT campaign.id FROM campaign WHERE campaign.status IN 'ENABLED'":                          "EXPECTED_LIST",
		"SELECT campaign.id FROM campaign WHERE campaign.status IN ()":                                 "PROHIBITED_EMPTY_LIST_IN_CONDITION",
		"SELECT campaign.id FROM campaign WHERE campaign.status = ('ENABLED')":                         "EXPECTED_SINGLE_VALUE",
		"SELECT campaign.id FROM campaign WHERE campaign.name = 'open":                                 "UNEXPECTED_END_OF_QUERY",
		"SELECT campaign.id FROM campaign WHERE campaign.id = 1 OR campaign.id = 2":                    "UNEXPECTED_INPUT",
		"SELECT campaign.id FROM campaign ORDER campaign.id":                                           "EXPECTED_BY",
		"SELECT campaign.id FROM campaign ORDER BY campaign.name":                                      "EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE",
		"SELECT campaign.id FROM campaign LIMIT 0":                                                     "BAD_LIMIT_VALUE",
		"SELECT campaign.id FROM campaign PARAMETERS colour=true":                                      "BAD_PARAMETER_NAME",
		"SELECT campaign.id FROM campaign PARAMETERS omit_unselected_resource_names=maybe":             "BAD_PARAMETER_VALUE",
		"SELECT campaign.id, segments.date, metrics.clicks FROM campaign":                              "EXPECTED_FILTERS_ON_DATE_RANGE",
		"SELECT campaign.id, segments.date FROM campaign WHERE segments.date >= '2026-11-01'":          "EXPECTED_FILTERS_ON_DATE_RANGE",
		"SELECT segments.date FROM campaign WHERE segments.date BETWEEN '2026-11-07' AND '2026-11-01'": "DATE_RANGE_TOO_NARROW",
		"SELECT segments.date FROM campaign WHERE segments.date BETWEEN '2026-09-01' AND '2026-11-01'": "DATE_RANGE_TOO_WIDE",
		"SELECT segments.date FROM campaign WHERE segments.date = '01.11.2026'":                        "INVALID_DATE_FORMAT",
		"SELECT segments.date FROM campaign WHERE segments.date = 2026-11-01":                          "BAD_VALUE",
		"SELECT segments.date FROM campaign WHERE segments.date BETWEEN '2026-11-01', '2026-11-07'":    "EXPECTED_AND",
		"SELECT segments.date FROM campaign WHERE segments.date DURING LAST_90_DAYS":                   "INVALID_VALUE_WITH_DURING_OPERATOR",
		"SELECT segments.week FROM campaign WHERE segments.week = '2026-11-03'":                        "MISALIGNED_DATE_FOR_FILTER",
		"SELECT campaign.id, metrics.clicks FROM campaign" + days + " AND segments.device = 'MOBILE'":  "EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE",
		"SELECT campaign.id, segments.conversion_action, metrics.clicks FROM campaign" + days:          "PROHIBITED_SEGMENT_WITH_METRIC_IN_SELECT_OR_WHERE_CLAUSE",
	} {
		a := s.search(account1, query, "")
		family, value, rpc := a.fault()
		if a.status != 400 || family != "queryError" || value != want || rpc != "INVALID_ARGUMENT" || !strings.Contains(a.raw, "v26.errors.GoogleAdsFailure") || a.header.Get("Request-Id") == "" {
			t.Errorf("%s: %d %s.%s, want %s", query, a.status, family, value, want)
		}
	}
	for query, want := range map[string]int{
		"select campaign.id from campaign where campaign.status = ENABLED and campaign.id > 0 limit 3":                                              3,
		"SELECT campaign.id FROM campaign WHERE campaign.status IN ('ENABLED', 'PAUSED', 'REMOVED')":                                                10,
		"SELECT campaign.id FROM campaign WHERE campaign.name LIKE '%' AND campaign.name IS NOT NULL":                                               10,
		"SELECT campaign.id FROM campaign WHERE campaign.name REGEXP_MATCH '.*1'":                                                                   1,
		"SELECT customer.id, metrics.clicks, segments.date FROM customer WHERE segments.date DURING LAST_7_DAYS ORDER BY segments.date":             7,
		"SELECT customer.id, metrics.clicks, segments.date FROM customer WHERE segments.date >= '20261101' AND segments.date < \"2026-11-03\"":      2,
		"SELECT campaign.id, segments.conversion_action, metrics.conversions FROM campaign WHERE segments.date = '2020-01-01'":                      0,
		"SELECT campaign.id FROM campaign WHERE campaign_budget.explicitly_shared = TRUE AND campaign.primary_status_reasons CONTAINS ANY ('NOPE')": 0,
	} {
		if a := s.search(account1, query, ""); a.status != 200 || len(a.rows()) != want {
			t.Errorf("%s: %d, %d rows, want %d: %.300s", query, a.status, len(a.rows()), want, a.raw)
		}
	}
}

// TestHistory: days beyond 37 months are not there; nothing says so.
func TestHistory(t *testing.T) {
	s := start(t, func(c *Config) { c.Days = 0 })
	rows := s.all(account1, "SELECT customer.id, segments.date, metrics.impressions FROM customer WHERE segments.date BETWEEN '2023-09-01' AND '2023-12-31'")
	if len(rows) == 0 || at(rows[0], "segments.date").(string) < "2023-10-22" {
		t.Errorf("%d rows, the first %v", len(rows), rows[:min(1, len(rows))])
	}
}

func TestRequests(t *testing.T) {
	s := start(t)
	ok := `{"query":"SELECT customer.id FROM customer"}`
	for _, c := range []struct {
		name, path, body string
		status           int
		value            string
	}{
		{"page size", "/v26/customers/4000000001/googleAds:search", `{"query":"SELECT customer.id FROM customer","pageSize":100}`, 400, "PAGE_SIZE_NOT_SUPPORTED"},
		{"unknown key", "/v26/customers/4000000001/googleAds:search", `{"query":"SELECT customer.id FROM customer","colour":1}`, 400, ""},
		{"page token of a stream", "/v26/customers/4000000001/googleAds:searchStream", `{"query":"SELECT customer.id FROM customer","pageToken":"x"}`, 400, ""},
		{"not JSON", "/v26/customers/4000000001/googleAds:search", `{`, 400, ""},
		{"two objects", "/v26/customers/4000000001/googleAds:search", ok + ok, 400, ""},
		{"no query", "/v26/customers/4000000001/googleAds:search", `{}`, 400, "REQUIRED_FIELD_MISSING"},
		{"made-up page token", "/v26/customers/4000000001/googleAds:search", `{"query":"SELECT customer.id FROM customer","pageToken":"CJ3a"}`, 400, "INVALID_PAGE_TOKEN"},
		{"dashes in the id", "/v26/customers/400-000-0001/googleAds:search", ok, 400, "INVALID_CUSTOMER_ID"},
		{"no such customer", "/v26/customers/4000000099/googleAds:search", ok, 400, "CUSTOMER_NOT_FOUND"},
		{"a version that is gone", "/v22/customers/4000000001/googleAds:search", ok, 400, "UNSUPPORTED_VERSION"},
		{"a version to come", "/v27/customers/4000000001/googleAds:search", ok, 400, "UNSUPPORTED_VERSION"},
		{"no such method", "/v26/customers/4000000001/googleAds:mutate", ok, 404, ""},
		{"no version", "/customers/4000000001/googleAds:search", ok, 404, ""},
		{"metrics of a manager", "/v26/customers/1000000001/googleAds:search", `{"query":"SELECT metrics.clicks FROM customer"}`, 400, "REQUESTED_METRICS_FOR_MANAGER"},
		{"validate only", "/v26/customers/4000000001/googleAds:search", `{"query":"SELECT customer.id FROM customer","validateOnly":true}`, 200, ""},
	} {
		a := s.ask(c.path, c.body)
		if _, value, _ := a.fault(); a.status != c.status || value != c.value && !strings.HasSuffix(c.path, "Stream") {
			t.Errorf("%s: %d %s: %s", c.name, a.status, value, a.raw)
		}
	}
	if a := s.ask("/v26/customers/4000000001/googleAds:searchStream", `{"query":"SELECT nonsense FROM customer"}`); !strings.HasPrefix(a.raw, `[{"error":{"code":400`) || a.status != 400 {
		t.Errorf("an error of a stream: %s", a.raw)
	}
}

// TestLogin: which customers can be reached with which login-customer-id.
func TestLogin(t *testing.T) {
	s := start(t, func(c *Config) { c.Managers, c.Accounts, c.Direct, c.Denied, c.Canceled = 2, 8, 1, 1, 1 })
	const body = `{"query":"SELECT customer.id FROM customer"}`
	for _, c := range []struct{ customer, login, want string }{
		{"4000000001", "1000000001", ""},
		{"4000000003", "1000000001", ""},
		{"4000000003", "1500000001", ""},
		{"4000000001", "", ""},
		{"4000000001", "4000000001", ""},
		{"1000000002", "", ""},
		{"4000000002", "", "USER_PERMISSION_DENIED"},
		{"4000000002", "4000000002", "USER_PERMISSION_DENIED"},
		{"4000000002", "1000000001", "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION"},
		{"4000000005", "1500000001", "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION"},
		{"4000000002", "1000000009", "USER_PERMISSION_DENIED"},
		{"4000000002", "100-000-0002", "INVALID_LOGIN_CUSTOMER_ID"},
		{"4000000008", "1000000002", "USER_PERMISSION_DENIED"},
		{"4000000007", "1000000001", "CUSTOMER_NOT_ENABLED"},
	} {
		s.login = c.login
		a := s.ask("/v26/customers/"+c.customer+"/googleAds:search", body)
		if _, value, _ := a.fault(); value != c.want || (a.status == 200) != (c.want == "") {
			t.Errorf("%s by %q: %d %q, want %q", c.customer, c.login, a.status, value, c.want)
		}
	}
}

// TestPageTokens: they belong to one query of one customer, and die after two hours.
func TestPageTokens(t *testing.T) {
	s := start(t, func(c *Config) { c.PageRows = 3 })
	const q = "SELECT campaign.id FROM campaign"
	token, _ := s.search(account1, q, "").body["nextPageToken"].(string)
	if token == "" {
		t.Fatal("no second page")
	}
	for _, c := range []struct{ customer, query, want string }{
		{account1, q, ""}, {account1, q + " LIMIT 9", "INVALID_PAGE_TOKEN"}, {"4000000002", q, "INVALID_PAGE_TOKEN"},
	} {
		if _, value, _ := s.search(c.customer, c.query, token).fault(); value != c.want {
			t.Errorf("%s %s: %q, want %q", c.customer, c.query, value, c.want)
		}
	}
	if n := len(s.all(account1, q+" LIMIT 8")); n != 8 {
		t.Errorf("LIMIT over pages gives %d rows", n)
	}
	if n := len(s.all(account1, q+" ORDER BY campaign.id DESC LIMIT 8")); n != 8 {
		t.Errorf("LIMIT over sorted pages gives %d rows", n)
	}
	s.clock.now = s.clock.now.Add(2 * time.Hour)
	s.refresh()
	if _, value, _ := s.search(account1, q, token).fault(); value != "EXPIRED_PAGE_TOKEN" {
		t.Errorf("after two hours: %q", value)
	}
}

// TestOmit: with flags, zeros are left out, and Performance Max campaigns have no ads.
func TestOmit(t *testing.T) {
	s := start(t, func(c *Config) { c.OmitZeros, c.PerformanceMax = true, true })
	for _, r := range s.all(account1, "SELECT campaign.id, metrics.impressions FROM campaign WHERE segments.date = '2026-11-22'") {
		if at(r, "metrics.impressions") == "0" {
			t.Errorf("a zero: %v", r)
		}
	}
	const sum = "SELECT metrics.impressions FROM "
	whole := count(at(s.all(account1, sum+"customer"+days)[0], "metrics.impressions"))
	var ads int64
	for _, r := range s.all(account1, sum+"ad_group_ad"+days) {
		ads += count(at(r, "metrics.impressions"))
	}
	if ads >= whole || ads == 0 {
		t.Errorf("ads %d, customer %d: want less, as Performance Max has none", ads, whole)
	}
}

// FuzzParse: whatever comes, the parser ends, and what it takes it takes again.
func FuzzParse(f *testing.F) {
	for _, q := range []string{
		"SELECT campaign.id FROM campaign", "SELECT a.b, c.d FROM e WHERE f.g IN ('x', \"y\\'\") AND h.i BETWEEN 1 AND 2 ORDER BY a.b DESC LIMIT 5 PARAMETERS include_drafts=true",
		"SELECT", "SELECT a FROM b WHERE c NOT", "'", "SELECT a FROM b WHERE c = '\\", "ſELECT a FROM b",
	} {
		f.Add(q)
	}
	s, err := New(Default())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, fault := parse(text)
		if (q == nil) == (fault == nil) {
			t.Fatalf("%q: both or neither of query and fault", text)
		}
		if fault != nil && (fault.value == "" || len(fault.message) > 1000) {
			t.Fatalf("%q: fault %+v", text, fault)
		}
		if q != nil && (len(q.fields) == 0 || q.from == "") {
			t.Fatalf("%q: an empty query", text)
		}
		if q, fault := s.compile(text, node{account: 1, manager: 1}); fault == nil && q.tree == nil {
			t.Fatalf("%q: no plan", text)
		}
	})
}

// TestPagesAreWhole: whatever the page size and the query, pages together are the whole.
func TestPagesAreWhole(t *testing.T) {
	queries := []string{
		"SELECT campaign.id FROM campaign", "SELECT ad_group.id, segments.date, metrics.clicks FROM ad_group" + days,
		"SELECT customer.id, segments.date, segments.device, metrics.clicks FROM customer" + days,
		"SELECT ad_group_ad.ad.id, metrics.clicks FROM ad_group_ad" + days, "SELECT customer_client.id FROM customer_client",
	}
	big := start(t)
	rapid.Check(t, func(r *rapid.T) {
		q := rapid.SampledFrom(queries).Draw(r, "query")
		s := start(t, func(c *Config) { c.PageRows = rapid.IntRange(1, 40).Draw(r, "rows") })
		a, _ := json.Marshal(s.all(account1, q))
		if b, _ := json.Marshal(big.all(account1, q)); string(a) != string(b) {
			r.Fatalf("%s: the pages differ", q)
		}
	})
}
