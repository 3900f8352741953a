package meta

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

const everyStatus = `["ACTIVE","PAUSED","DELETED","ARCHIVED","IN_PROCESS","WITH_ISSUES"]`

func TestListings(t *testing.T) {
	s := start(t)
	accounts := s.all("me/adaccounts", "fields", "account_id,name,currency,timezone_name,account_status", "limit", "2")
	truth := s.Accounts()
	if len(accounts) != 3 || len(truth) != 3 {
		t.Fatalf("%d accounts listed, %d there", len(accounts), len(truth))
	}
	for i, a := range accounts {
		if a["id"] != truth[i].ID || a["currency"] != truth[i].Currency || a["timezone_name"] != truth[i].TimeZone {
			t.Errorf("account %v, want %+v", a, truth[i])
		}
	}
	for edge, level := range map[string]string{"campaigns": "campaign", "adsets": "adset", "ads": "ad"} {
		statuses := everyStatus
		for _, v := range effectiveValues[levelOf(level)] {
			if !strings.Contains(statuses, `"`+v+`"`) {
				statuses = statuses[:len(statuses)-1] + `,"` + v + `"]`
			}
		}
		for _, account := range truth {
			for _, limit := range []string{"1", "3", "500"} {
				seen := map[any]bool{}
				for _, x := range s.all(account.ID+"/"+edge, "fields", "id,name,effective_status", "limit", limit, "effective_status", statuses) {
					if seen[x["id"]] {
						t.Errorf("%s: %v is listed twice", edge, x["id"])
					}
					seen[x["id"]] = true
				}
				if len(seen) != account.Things[level] {
					t.Errorf("%s of %s by %s: %d, want %d", edge, account.ID, limit, len(seen), account.Things[level])
				}
			}
			if n := len(s.all(account.ID+"/"+edge, "fields", "id")); n != account.Listed[level] || n >= account.Things[level] {
				t.Errorf("%s of %s: %d without archived and deleted ones, want %d", edge, account.ID, n, account.Listed[level])
			}
		}
	}
}

// key and figures of a row, as the truth has them.
func sums(t *testing.T, rows []map[string]any, minor int64) map[string]FigureTruth {
	t.Helper()
	out := map[string]FigureTruth{}
	for _, r := range rows {
		id := "account"
		for _, k := range []string{"ad_id", "adset_id", "campaign_id"} {
			if v, ok := r[k].(string); ok {
				id = v
				break
			}
		}
		number := func(v any, unit int64) int64 {
			text, _ := v.(string)
			if text == "" {
				return 0
			}
			whole, frac, _ := strings.Cut(text, ".")
			n, err := strconv.ParseInt(whole, 10, 64)
			if err != nil {
				t.Fatalf("%q is not a number", text)
			}
			if unit == 100 {
				rest, _ := strconv.ParseInt((frac + "00")[:2], 10, 64)
				n = n*100 + rest
			}
			return n
		}
		f := FigureTruth{
			Date: r["date_start"].(string), Impressions: number(r["impressions"], 1), Clicks: number(r["clicks"], 1), SpendMinor: number(r["spend"], minor),
		}
		for name, into := range map[string]*int64{"actions": &f.Purchases, "action_values": &f.ValueMinor} {
			list, _ := r[name].([]any)
			for _, x := range list {
				if e := x.(map[string]any); e["action_type"] == "purchase" {
					unit := int64(1)
					if name == "action_values" {
						unit = minor
					}
					*into = number(e["value"], unit)
				}
			}
		}
		key := f.Date + " " + id
		if _, twice := out[key]; twice {
			t.Fatalf("%s comes twice", key)
		}
		out[key] = f
	}
	return out
}

const rowFieldList = "account_id,campaign_id,adset_id,ad_id,impressions,clicks,spend,reach,actions,action_values"

// TestInsights: what is told at every level, at once and by a job, page by page, is the truth, and adds up.
func TestInsights(t *testing.T) {
	s := start(t)
	since, until := "2026-11-08", "2026-11-22"
	span := fmt.Sprintf(`{"since":%q,"until":%q}`, since, until)
	for _, account := range s.Accounts() {
		var total FigureTruth
		for _, level := range []string{"account", "campaign", "adset", "ad"} {
			want := s.Figures(account.ID, level, since, until)
			args := []string{"level", level, "time_increment", "1", "time_range", span, "fields", rowFieldList}
			job := s.post(account.ID+"/insights", args...)
			id, _ := job.body["report_run_id"].(string)
			if id == "" {
				t.Fatalf("no report: %s", job.raw)
			}
			for _, limit := range []string{"7", "400"} {
				check := func(how string, rows []map[string]any) {
					t.Helper()
					got := sums(t, rows, account.Minor)
					if len(got) != len(want) || len(want) == 0 {
						t.Errorf("%s %s %s: %d rows, want %d", account.ID, level, how, len(got), len(want))
					}
					for _, w := range want {
						key := w.Date + " " + w.ID
						if level == "account" {
							key = w.Date + " account"
						}
						g := got[key]
						g.ID = w.ID
						if g != w {
							t.Errorf("%s %s: %+v, want %+v", how, key, g, w)
						}
					}
				}
				check("at once", s.all(account.ID+"/insights", append(args, "limit", limit)...))
				s.clock.now = s.clock.now.Add(3 * time.Second)
				if a := s.get(id); a.body["async_status"] != "Job Completed" || a.body["async_percent_completion"] != 100.0 {
					t.Fatalf("the report is not done: %s", a.raw)
				}
				check("by a job", s.all(id+"/insights", "limit", limit))
			}
			var sum FigureTruth
			for _, w := range want {
				sum.Impressions += w.Impressions
				sum.Clicks += w.Clicks
				sum.SpendMinor += w.SpendMinor
				sum.Purchases += w.Purchases
				sum.ValueMinor += w.ValueMinor
			}
			if level == "account" {
				total = sum
			}
			if sum != total || sum.Purchases == 0 || sum.Clicks == 0 {
				t.Errorf("%s: the sum of level %s is %+v, the account's %+v", account.ID, level, sum, total)
			}
		}
	}
}
