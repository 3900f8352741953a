package googleads

import (
	"encoding/json"
	"strconv"
	"testing"
)

// TestTree: from the customers that are reached directly down to every account.
func TestTree(t *testing.T) {
	s := start(t, func(c *Config) { c.Managers, c.Accounts = 2, 7 })
	a := s.ask("/v26/customers:listAccessibleCustomers", "")
	if a.raw != `{"resourceNames":["customers/1000000001","customers/1000000002"]}` {
		t.Fatalf("roots: %s", a.raw)
	}
	seen := map[string]bool{}
	for _, root := range []string{"1000000001", "1000000002"} {
		s.login = root
		rows := s.all(root, "SELECT customer_client.id, customer_client.level, customer_client.manager, customer_client.status FROM customer_client")
		for _, r := range rows {
			if at(r, "customerClient.manager") == false {
				id := at(r, "customerClient.id").(string)
				if seen[id] {
					t.Errorf("%s comes twice", id)
				}
				seen[id] = true
				facts := s.all(id, "SELECT customer.id, customer.currency_code, customer.time_zone FROM customer")
				if len(facts) != 1 || at(facts[0], "customer.id") != id {
					t.Errorf("facts of %s: %v", id, facts)
				}
			}
		}
		if at(rows[0], "customerClient.level") != "0" || at(rows[0], "customerClient.id") != root {
			t.Errorf("the first row is %v", rows[0])
		}
	}
	if len(seen) != 7 {
		t.Errorf("%d accounts, want 7", len(seen))
	}
}

// TestEntities: everything is listed, removed things as well, by pages and by a stream.
func TestEntities(t *testing.T) {
	s := start(t, func(c *Config) { c.PageRows, c.StreamRows = 7, 3 })
	for _, account := range s.Accounts() {
		for from, q := range map[string]string{
			"campaign":    "SELECT campaign.id, campaign.status, campaign_budget.amount_micros FROM campaign",
			"ad_group":    "SELECT ad_group.id, ad_group.status, campaign.id FROM ad_group",
			"ad_group_ad": "SELECT ad_group_ad.ad.id, ad_group_ad.status, ad_group.id, campaign.id FROM ad_group_ad",
		} {
			path := map[string]string{"campaign": "campaign.id", "ad_group": "adGroup.id", "ad_group_ad": "adGroupAd.ad.id"}[from]
			streamed, broken := s.stream(account.ID, q)
			for how, rows := range map[string][]map[string]any{"pages": s.all(account.ID, q), "a stream": streamed} {
				ids, removed := map[any]bool{}, 0
				for _, r := range rows {
					ids[at(r, path)] = true
					if at(r, map[string]string{"campaign": "campaign.status", "ad_group": "adGroup.status", "ad_group_ad": "adGroupAd.status"}[from]) == "REMOVED" {
						removed++
					}
				}
				if len(ids) != account.Things[from] || len(rows) != len(ids) || from == "campaign" && removed == 0 || broken != "" {
					t.Errorf("%s of %s by %s: %d rows, %d ids, %d removed, want %d; %s", from, account.ID, how, len(rows), len(ids), removed, account.Things[from], broken)
				}
			}
		}
	}
}

func count(v any) int64 {
	s, _ := v.(string)
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// TestFigures: what is told at every level is the truth, row by row, and adds up.
func TestFigures(t *testing.T) {
	s := start(t, func(c *Config) { c.PageRows, c.StreamRows = 13, 5 })
	for _, account := range s.Accounts() {
		var total FigureTruth
		for _, l := range []struct{ from, id, path string }{
			{"customer", "customer.id", "customer.id"},
			{"campaign", "campaign.id", "campaign.id"},
			{"ad_group", "ad_group.id", "adGroup.id"},
			{"ad_group_ad", "ad_group_ad.ad.id", "adGroupAd.ad.id"},
		} {
			want := s.Figures(account.ID, l.from, "2026-11-08", "2026-11-22")
			q := "SELECT " + l.id + ", segments.date, metrics.impressions, metrics.clicks, metrics.cost_micros, metrics.conversions, metrics.conversions_value FROM " + l.from +
				" WHERE segments.date BETWEEN '2026-11-08' AND '2026-11-22'"
			streamed, broken := s.stream(account.ID, q)
			if broken != "" {
				t.Fatal(broken)
			}
			for how, rows := range map[string][]map[string]any{"pages": s.all(account.ID, q), "a stream": streamed} {
				got := map[string]FigureTruth{}
				for _, r := range rows {
					f := FigureTruth{
						Date: at(r, "segments.date").(string), ID: at(r, l.path).(string), Impressions: count(at(r, "metrics.impressions")), Clicks: count(at(r, "metrics.clicks")),
						CostMicros: count(at(r, "metrics.costMicros")), Conversions: at(r, "metrics.conversions").(float64), Value: at(r, "metrics.conversionsValue").(float64),
					}
					got[f.Date+" "+f.ID] = f
				}
				if len(got) != len(want) || len(rows) != len(got) || len(want) == 0 {
					t.Errorf("%s %s by %s: %d rows, want %d", account.ID, l.from, how, len(rows), len(want))
				}
				for _, w := range want {
					if g := got[w.Date+" "+w.ID]; g != w {
						t.Errorf("%s by %s: %+v, want %+v", l.from, how, g, w)
					}
				}
			}
			var sum FigureTruth
			var hundredths int64
			for _, w := range want {
				sum.Impressions, sum.Clicks, sum.CostMicros = sum.Impressions+w.Impressions, sum.Clicks+w.Clicks, sum.CostMicros+w.CostMicros
				hundredths += int64(w.Conversions*100 + 0.5)
			}
			sum.Conversions = float64(hundredths)
			if l.from == "customer" {
				total = sum
			}
			if sum != total || sum.Clicks == 0 || hundredths == 0 {
				t.Errorf("%s: the sum of %s is %+v, the customer's %+v", account.ID, l.from, sum, total)
			}
		}
	}
}

// TestZeroRows: without segments things that did nothing have rows, with segments they have none.
func TestZeroRows(t *testing.T) {
	s := start(t)
	const where = " WHERE segments.date BETWEEN '2026-11-15' AND '2026-11-21'"
	totals := s.all(account1, "SELECT campaign.id, metrics.impressions FROM campaign"+where)
	days := s.all(account1, "SELECT campaign.id, segments.date, metrics.impressions FROM campaign"+where)
	zeros, sum, parts := 0, int64(0), int64(0)
	for _, r := range totals {
		n := count(at(r, "metrics.impressions"))
		sum += n
		if n == 0 {
			zeros++
		}
	}
	for _, r := range days {
		n := count(at(r, "metrics.impressions"))
		parts += n
		if n == 0 {
			t.Errorf("a row of zero: %v", r)
		}
	}
	if len(totals) != 10 || zeros == 0 || sum != parts || sum == 0 {
		t.Errorf("%d rows, %d zeros, sum %d, of days %d", len(totals), zeros, sum, parts)
	}
	clicks := s.all(account1, "SELECT ad_group_ad.ad.id, segments.date, metrics.video_trueview_views FROM ad_group_ad"+where)
	for _, r := range clicks {
		if count(at(r, "metrics.videoTrueviewViews")) == 0 {
			t.Errorf("a row whose selected metrics are all zero: %v", r)
		}
	}
	for _, unit := range []string{"device", "week", "month"} {
		var all int64
		for _, r := range s.all(account1, "SELECT campaign.id, segments."+unit+", metrics.impressions FROM campaign"+where) {
			all += count(at(r, "metrics.impressions"))
		}
		if all != sum {
			t.Errorf("by %s the sum is %d, want %d", unit, all, sum)
		}
	}
}

// TestGolden: rows letter by letter.
func TestGolden(t *testing.T) {
	s := start(t)
	for query, want := range map[string]string{
		"SELECT customer.id, customer.manager FROM customer":                                              `[{"customer":{"resourceName":"customers/4000000001","id":"4000000001","manager":false}}]`,
		"SELECT customer.id FROM customer PARAMETERS omit_unselected_resource_names=true":                 `[{"customer":{"id":"4000000001"}}]`,
		"SELECT ad_group_ad.ad.id FROM ad_group_ad LIMIT 1":                                               `[{"adGroupAd":{"ad":{"id":"600001000000000","resourceName":"customers/4000000001/ads/600001000000000"},"resourceName":"customers/4000000001/adGroupAds/150001000000000~600001000000000"}}]`,
		"SELECT campaign.id, campaign_budget.id FROM campaign ORDER BY campaign.id DESC LIMIT 1":          `[{"campaign":{"id":"20000100009","resourceName":"customers/4000000001/campaigns/20000100009"},"campaignBudget":{"id":"8000100009","resourceName":"customers/4000000001/campaignBudgets/8000100009"}}]`,
		"SELECT campaign.id FROM campaign WHERE campaign.id IN (20000100003) AND campaign.name != 'none'": `[{"campaign":{"id":"20000100003","resourceName":"customers/4000000001/campaigns/20000100003"}}]`,
	} {
		if b, _ := json.Marshal(s.all(account1, query)); string(b) != sortedKeys(t, want) {
			t.Errorf("%s:\n got %s\nwant %s", query, b, want)
		}
	}
	if a := s.search(account1, "SELECT campaign.id FROM campaign WHERE campaign.id = 5", ""); a.raw != `{"fieldMask":"campaign.id","queryResourceConsumption":"200"}` {
		t.Errorf("no rows: %s", a.raw)
	}
}

func sortedKeys(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(v)
	return string(b)
}
