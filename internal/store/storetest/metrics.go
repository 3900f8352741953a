package storetest

import (
	"fmt"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

func day(s string) ads.Date {
	d, err := ads.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

func row(id, date string, impressions int64) ads.DailyMetrics {
	return ads.DailyMetrics{
		EntityID: id, Date: day(date), Impressions: ads.Some(impressions), Clicks: ads.Some(impressions / 10), Spend: ads.Some(ads.Micros(impressions * 1000)),
		Conversions: ads.Some(ads.Decimal{Coef: 65, Scale: 1}), Currency: "EUR", Raw: []byte(`{"n":` + fmt.Sprint(impressions) + `}`),
	}
}

func testMetrics(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	slice := func(stamp time.Time, m *store.Metrics) store.Result {
		return x.commit(store.Commit{Account: "a1", Stream: ads.StreamDaily(m.Level), Platform: "meta", Stamp: stamp, Metrics: m})
	}
	// Two pages of a slice, and its end. What is not final yet is provisional, a day without a row is empty, one that disagrees is partial.
	first := row("c1", "2026-02-01", 100)
	first.Conversions, first.Raw = ads.Opt[ads.Decimal]{}, nil
	slice(at(1), &store.Metrics{Level: ads.LevelCampaign, FinalBefore: day("2026-02-02"), Rows: []ads.DailyMetrics{first, row("c2", "2026-02-01", 50)}})
	var many []ads.DailyMetrics
	for i := range 130 {
		many = append(many, row(fmt.Sprintf("m%03d", 129-i), "2026-02-02", int64(i)))
	}
	got := slice(at(2), &store.Metrics{
		Level: ads.LevelCampaign, FinalBefore: day("2026-02-02"), Rows: append(many, row("c2", "2026-02-03", 7)),
		End: &store.SliceEnd{From: day("2026-02-01"), To: day("2026-02-04"), Since: at(1), Partial: map[ads.Date]string{day("2026-02-03"): "7 instead of 8"}},
	})
	wantResult(t, got, store.Result{})
	wantRows(t, db, "SELECT '' || date, state, rows, note FROM coverage WHERE account_id = 'a1' AND stream = 'daily_metrics_campaign' ORDER BY date",
		[]string{"2026-02-01", "final", "2", "NULL"}, []string{"2026-02-02", "provisional", "130", "NULL"}, []string{"2026-02-03", "partial", "1", "7 instead of 8"}, []string{"2026-02-04", "empty", "0", "NULL"})
	wantRows(t, db, "SELECT entity_id, impressions, clicks, spend_micros, conversions, conversion_value_micros, currency FROM daily_metrics WHERE date = '2026-02-01' ORDER BY entity_id",
		[]string{"c1", "100", "10", "100000", "NULL", "NULL", "EUR"}, []string{"c2", "50", "5", "50000", "6.5", "NULL", "EUR"})

	totals, err := s.DailyTotals(testContext(t), acme, "a1", ads.LevelCampaign, day("2026-02-01"), day("2026-02-04"), time.Time{})
	if err != nil || fmt.Sprint(totals) != "[{2026-02-01 150 15 150000 2} {2026-02-02 8385 780 8385000 130} {2026-02-03 7 0 7000 1}]" {
		t.Errorf("totals %v, %v", totals, err)
	}
	if totals, err = s.DailyTotals(testContext(t), acme, "a1", ads.LevelCampaign, day("2026-02-01"), day("2026-02-04"), at(2)); err != nil || len(totals) != 2 {
		t.Errorf("totals of what was written since %v, %v", totals, err)
	}

	// A slice replaces exactly its own days, account and level.
	x.commit(store.Commit{Account: "a2", Stream: ads.StreamDaily(ads.LevelCampaign), Platform: "meta", Stamp: at(3), Metrics: &store.Metrics{Level: ads.LevelCampaign, Rows: []ads.DailyMetrics{row("c1", "2026-02-01", 1)}}})
	slice(at(3), &store.Metrics{Level: ads.LevelAccount, Rows: []ads.DailyMetrics{row("a1", "2026-02-01", 150)}})
	got = slice(at(4), &store.Metrics{
		Level: ads.LevelCampaign, Rows: []ads.DailyMetrics{row("c2", "2026-02-01", 60)},
		End: &store.SliceEnd{From: day("2026-02-01"), To: day("2026-02-02"), Since: at(4)},
	})
	wantResult(t, got, store.Result{Deleted: 131})
	wantRows(t, db, "SELECT account_id, level, entity_id, '' || date, impressions FROM daily_metrics ORDER BY account_id, level, date",
		[]string{"a1", "account", "a1", "2026-02-01", "150"}, []string{"a1", "campaign", "c2", "2026-02-01", "60"}, []string{"a1", "campaign", "c2", "2026-02-03", "7"}, []string{"a2", "campaign", "c1", "2026-02-01", "1"})

	// One that could not be read deletes nothing and says why; when it was last read in full stays known.
	got = slice(at(5), &store.Metrics{Level: ads.LevelCampaign, End: &store.SliceEnd{From: day("2026-02-01"), To: day("2026-02-01"), Since: at(5), Failed: "no right"}})
	wantResult(t, got, store.Result{})
	days, err := s.Coverage(testContext(t), acme, "a1", ads.StreamDaily(ads.LevelCampaign), day("2026-02-01"), day("2026-02-02"))
	if err != nil || len(days) != 2 {
		t.Fatalf("coverage %v, %v", days, err)
	}
	if d := days[0]; d.State != store.DayPartial || d.Note != "no right" || d.Rows != 1 || !d.VerifiedAt.Equal(at(4)) || d.Date != day("2026-02-01") {
		t.Errorf("day %+v", d)
	}
	if d := days[1]; d.State != store.DayEmpty || d.Note != "" || !d.VerifiedAt.Equal(at(4)) {
		t.Errorf("day %+v", d)
	}
	x.finish(ads.Complete, at(9))
}

func testFaults(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	fault := store.Fault{EntityID: "a1", Class: ads.ClassDenied, Code: "200", Message: "no right", Hint: "grant it", RequestID: "q1"}
	x.commit(store.Commit{Account: "a1", Stream: ads.StreamAccounts, Stamp: at(1), Faults: []store.Fault{fault}})
	x.commit(store.Commit{Account: "a1", Stream: ads.StreamAccounts, Stamp: at(2), Faults: []store.Fault{fault}})
	fs := failures(t, s)
	if len(fs) != 1 || fs[0].Attempts != 2 || fs[0].Class != ads.ClassDenied || fs[0].EntityID != "a1" || fs[0].Stream != ads.StreamAccounts || !fs[0].NextRetryAt.IsZero() || fs[0].RequestID != "q1" {
		t.Fatalf("failures %+v", fs)
	}
	x.commit(store.Commit{Account: "a1", Stream: ads.StreamAccounts, Stamp: at(3), Resolved: []string{"other"}})
	if len(failures(t, s)) != 1 {
		t.Error("the failure of another entity was resolved")
	}
	x.commit(store.Commit{Account: "a1", Stream: ads.StreamAccounts, Stamp: at(4), Resolved: []string{"a1"}})
	if fs := failures(t, s); len(fs) != 0 {
		t.Errorf("still open: %+v", fs)
	}
	x.finish(ads.Complete, at(9))
}

func failures(t testing.TB, s store.Store) (out []store.Failure) {
	t.Helper()
	for f, err := range s.Failures(testContext(t), store.FailureFilter{ClientID: acme.ClientID}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

func testParents(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	e := func(id, campaign, group string) ads.Entity {
		out := entity(id)
		out.CampaignID, out.AdGroupID = campaign, group
		return out
	}
	put := func(stream string, stamp time.Time, records ...ads.Entity) {
		x.commit(store.Commit{Account: "a1", Stream: stream, Stamp: stamp, Listed: x.listedDirect(records...)})
	}
	put(ads.StreamAdGroups, at(1), e("g1", "c1", ""), e("g2", "", ""))
	put(ads.StreamAds, at(1), e("d1", "c1", "g1"), e("d2", "c1", "g1"))
	put(ads.StreamAds, at(5), e("d1", "c1", "g2"), e("d2", "c1", "g1"))
	wantRows(t, db, "SELECT id, campaign_id FROM ad_groups ORDER BY id", []string{"g1", "c1"}, []string{"g2", "NULL"})
	wantRows(t, db, "SELECT id, campaign_id, ad_group_id, changed_at FROM ads ORDER BY id", []string{"d1", "c1", "g2", text(at(5))}, []string{"d2", "c1", "g1", text(at(1))})
	x.finish(ads.Complete, at(9))
}
