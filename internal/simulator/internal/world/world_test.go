package world

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var now = time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)

func anyWorld(r *rapid.T) *World {
	w, err := New(Options{
		Seed: rapid.Uint64().Draw(r, "seed"), Accounts: 3, Campaigns: rapid.IntRange(1, 12).Draw(r, "campaigns"), Groups: rapid.IntRange(1, 4).Draw(r, "groups"),
		Ads: rapid.IntRange(1, 4).Draw(r, "ads"), Days: rapid.IntRange(1, 400).Draw(r, "days"), Anchor: DayOf(now).Monday(), Whole: rapid.Bool().Draw(r, "whole"),
		SettleTraffic: 3, SettleConversions: 28, ArchivedState: rapid.Bool().Draw(r, "archived"),
	})
	if err != nil {
		r.Fatal(err)
	}
	return w
}

// sum is what a whole account did at a level.
func sum(w *World, account int, l Level, from, to Day) (f Figures) {
	k := w.Walk(account, w.Moment(account, now))
	for c := range w.Campaigns(account) {
		acc := make([]Figures, k.Size(l))
		k.Fill(c, l, from, to, acc)
		for i := range acc {
			f.Add(&acc[i])
		}
	}
	return f
}

// TestLevelsAgree: every level adds up to the same sum, whatever was edited, added and restated, and none is below zero.
func TestLevelsAgree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := anyWorld(r)
		for range rapid.IntRange(0, 4).Draw(r, "edits") {
			l := Level(rapid.IntRange(1, 3).Draw(r, "level"))
			state := State(rapid.IntRange(0, 3).Draw(r, "state"))
			if err := w.Edit(2, l, rapid.IntRange(0, w.Count(2, l)-1).Draw(r, "serial"), Edit{State: &state}, now.AddDate(0, 0, -rapid.IntRange(0, 20).Draw(r, "ago"))); err != nil {
				r.Fatal(err)
			}
		}
		if rapid.Bool().Draw(r, "add") {
			if err := w.Add(2, "Added", now); err != nil {
				r.Fatal(err)
			}
		}
		if rapid.Bool().Draw(r, "restate") {
			if err := w.Restate(Restatement{From: DayOf(now) - 10, To: DayOf(now), PerMille: rapid.Int64Range(0, 3000).Draw(r, "perMille")}); err != nil {
				r.Fatal(err)
			}
		}
		from := DayOf(now) - Day(rapid.IntRange(0, 60).Draw(r, "back"))
		to := from + Day(rapid.IntRange(0, 30).Draw(r, "length"))
		want := sum(w, 2, OfAccount, from, to)
		for l := OfCampaign; l <= OfAd; l++ {
			if got := sum(w, 2, l, from, to); got != want {
				r.Fatalf("level %s: %+v, the account's %+v", l, got, want)
			}
		}
		if want.Impressions < 0 || want.Clicks > want.Impressions || want.Spend < 0 || want.Conversions < 0 || want.Value < 0 {
			r.Fatalf("%+v", want)
		}
		var days Figures
		for d := from; d <= to; d++ {
			day := sum(w, 2, OfCampaign, d, d)
			days.Add(&day)
		}
		if days != want {
			r.Fatalf("day by day %+v, at once %+v", days, want)
		}
		if all := w.Walk(2, w.Moment(2, now)).Totals([][2]Day{{from, to}}); all[0] != want {
			r.Fatalf("totals %+v, want %+v", all[0], want)
		}
	})
}

// TestParts: parts side by side are the whole, and each has what it is shared out by.
func TestParts(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(r, name) }
		f := Figures{Impressions: n("impressions", 1e7), Clicks: n("clicks", 1e5), Spend: n("spend", 1e8), Conversions: n("conversions", 1e5), Value: n("value", 1e8), Video: n("video", 1e5)}
		if f.Impressions == 0 {
			f = Figures{}
		}
		cuts := []int64{0, n("a", 50), 50 + n("b", 50), 100}
		var all Figures
		for i := 1; i < len(cuts); i++ {
			p := f.Part(cuts[i-1], cuts[i], 100)
			if p.Impressions == 0 && p != (Figures{}) {
				r.Fatalf("%+v without impressions", p)
			}
			all.Add(&p)
		}
		if f.Conversions == 0 {
			all.Value = f.Value // without conversions there is nothing to share it out by
		}
		if all != f {
			r.Fatalf("parts %+v, whole %+v", all, f)
		}
	})
}

// TestDays: dates agree with the standard library, forwards and backwards.
func TestDays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := Day(rapid.IntRange(-100_000, 100_000).Draw(r, "day"))
		std := d.Time(time.UTC)
		if d.String() != std.Format(time.DateOnly) || DayOf(std) != d || d.Weekday() != (int(std.Weekday())+6)%7 {
			r.Fatalf("%s: the library has %s", d, std)
		}
		if back, err := ParseDay(d.String()); err != nil || back != d {
			r.Fatalf("%s: read as %s, %v", d, back, err)
		}
	})
	for _, bad := range []string{"", "2026-1-01", "2026-13-01", "2026-02-30", "20260101", "2026-01-01T00:00:00"} {
		if _, err := ParseDay(bad); err == nil {
			t.Errorf("%q is taken for a date", bad)
		}
	}
}

func TestBounds(t *testing.T) {
	for _, o := range []Options{{Accounts: -1}, {Accounts: MaxAccounts + 1}, {Campaigns: MaxCampaigns + 1}, {Groups: 1000, Ads: 1000}, {Days: -1}, {SettleTraffic: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
