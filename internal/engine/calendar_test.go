package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/platform"
	"adsync/internal/store"
)

func date(s string) ads.Date {
	d, err := ads.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

var reread = platform.Reports{
	History: 1000, Restated: 28,
	Reread: []platform.Reread{{Age: 3}, {Age: 8, Every: 24 * time.Hour}, {Age: 28, Every: 7 * 24 * time.Hour}},
}

func calendarAt(now time.Time) calendar {
	return calendar{today: ads.DateOf(now), now: now, since: ads.DateOf(now).Add(-60), spec: reread, zone: time.UTC, run: now}
}

func TestCalendarFirstRun(t *testing.T) {
	c := calendarAt(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
	got := fmt.Sprint(c.slices(nil, 14, true), c.slices(nil, 14, false))
	if got != "[{2026-11-10 2026-11-23} {2026-10-27 2026-11-09} {2026-10-13 2026-10-26}] [{2026-10-12 2026-10-25} {2026-09-28 2026-10-11} {2026-09-24 2026-09-27}]" {
		t.Error(got)
	}
	c.spec.History = 10
	if got := fmt.Sprint(c.slices(nil, 14, true), c.slices(nil, 14, false)); got != "[{2026-11-14 2026-11-23}] []" {
		t.Error("history that the platform does not serve is asked for:", got)
	}
}

// A year of runs every six hours: each day is read until it is final, once after that edge, and never again; no day is read more often than its cadence says.
func TestCalendarYear(t *testing.T) {
	known := map[ads.Date]store.Day{}
	reads := map[ads.Date]int{}
	start := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	for now := start; now.Before(start.AddDate(1, 0, 0)); now = now.Add(6 * time.Hour) {
		c := calendarAt(now)
		c.since = ads.DateOf(start)
		var days []store.Day
		for _, d := range known {
			days = append(days, d)
		}
		for _, recent := range []bool{true, false} {
			for _, s := range c.slices(days, 7, recent) {
				for d := s.From; !s.To.Before(d); d = d.Add(1) {
					reads[d]++
					known[d] = store.Day{Date: d, State: store.DayProvisional, VerifiedAt: now}
				}
			}
		}
	}
	end := ads.DateOf(start.AddDate(1, 0, 0))
	for d := ads.DateOf(start); d.Before(end.Add(-40)); d = d.Add(1) {
		if n := reads[d]; n < 16+5+3 || n > 16+5+3+2 {
			t.Fatalf("%s was read %d times", d, n)
		}
		if read := ads.DateOf(known[d].VerifiedAt); read.Sub(d) != 29 {
			t.Fatalf("%s was read for the last time on %s", d, read)
		}
	}
}

func TestCalendarSlices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 23, rapid.IntRange(0, 23).Draw(t, "hour"), 0, 0, 0, time.UTC)
		c := calendarAt(now)
		c.run = now.Add(-time.Hour)
		most := rapid.IntRange(1, 31).Draw(t, "most")
		var known []store.Day
		by := map[ads.Date]store.Day{}
		for i := range 61 {
			if rapid.Bool().Draw(t, "known") {
				d := store.Day{Date: c.today.Add(-i), State: rapid.SampledFrom([]string{store.DayEmpty, store.DayPartial, store.DayProvisional, store.DayFinal}).Draw(t, "state"), VerifiedAt: now.Add(-time.Duration(rapid.IntRange(0, 2000).Draw(t, "hours")) * time.Hour)}
				known, by[d.Date] = append(known, d), d
			}
		}
		seen := map[ads.Date]bool{}
		last := c.today.Add(1)
		recent := c.slices(known, most, true)
		later := slices.Clone(known)
		for _, s := range recent {
			for d := s.From; !s.To.Before(d); d = d.Add(1) {
				later = append(later, store.Day{Date: d, State: store.DayProvisional, VerifiedAt: now})
			}
		}
		for _, s := range append(recent, c.slices(later, most, false)...) {
			if s.days() > most || s.days() < 1 || !s.To.Before(last) {
				t.Fatalf("slice %v after %s, at most %d days", s, last, most)
			}
			last = s.From
			for d := s.From; !s.To.Before(d); d = d.Add(1) {
				seen[d] = true
			}
		}
		for d := c.first(); !c.today.Before(d); d = d.Add(1) {
			day, found := by[d]
			if seen[d] != c.due(d, day, found) {
				t.Fatalf("%s: read %v", d, seen[d])
			}
			if found && !day.VerifiedAt.Before(c.run) && seen[d] {
				t.Fatalf("%s was verified in this run and is read again", d)
			}
			if !found && !seen[d] {
				t.Fatalf("%s is not known and not read", d)
			}
		}
	})
}

func TestDisagreement(t *testing.T) {
	day := func(s string, n int64) store.DayTotal {
		return store.DayTotal{Date: date(s), Impressions: n, Clicks: n / 10, Spend: ads.Micros(n * 1000)}
	}
	for _, tt := range []struct {
		name           string
		account, level []store.DayTotal
		want           string
	}{
		{"even", []store.DayTotal{day("2026-01-01", 1000)}, []store.DayTotal{day("2026-01-01", 1000)}, ""},
		{"within", []store.DayTotal{day("2026-01-01", 100_000)}, []store.DayTotal{day("2026-01-01", 99_600)}, ""},
		{"beyond", []store.DayTotal{day("2026-01-01", 100_000)}, []store.DayTotal{day("2026-01-01", 99_000)}, "2026-01-01"},
		{"a day is missing", []store.DayTotal{day("2026-01-01", 5000), day("2026-01-02", 5000)}, []store.DayTotal{day("2026-01-02", 5000)}, "2026-01-01"},
		{"a day too many", nil, []store.DayTotal{day("2026-01-02", 5000)}, "2026-01-02"},
		{"one impression", []store.DayTotal{day("2026-01-01", 3)}, []store.DayTotal{day("2026-01-01", 2)}, ""},
	} {
		got := ""
		for d := range disagreement(tt.account, tt.level, 0.005) {
			got += d.String()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
