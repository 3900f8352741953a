package service

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/config"
)

func ref(i int) ads.Ref {
	return ads.Ref{ClientID: fmt.Sprintf("client%04d", i), Connection: "adplatform"}
}

func schedule(t testing.TB, text string) config.Schedule {
	t.Helper()
	s, err := config.ParseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// 1,000 connections of one schedule never fire together, and each fires once an interval, for a thousand hours.
func TestSpread(t *testing.T) {
	for _, c := range []struct {
		text   string
		every  time.Duration
		window time.Duration // in which
		most   int           // so many at most are due
	}{
		{"every 15m", 15 * time.Minute, 10 * time.Second, 30},
		{"*/15 * * * *", 15 * time.Minute, time.Second, 40},
		{"every 24h", 24 * time.Hour, 15 * time.Minute, 30},
	} {
		cal := newCalendar()
		s := schedule(t, c.text)
		for i := range 1000 {
			cal.set(ref(i), s, noon, true, noon)
		}
		fired := map[ads.Ref]int{}
		step, hours := c.window, 1000*time.Hour
		if c.window < 10*time.Second {
			hours = 10 * time.Hour
		}
		end := noon.Add(hours)
		for now := noon; now.Before(end); now = now.Add(step) {
			due := cal.due(now, 10_000)
			if len(due) > c.most {
				t.Fatalf("%s: %d at once", c.text, len(due))
			}
			for _, d := range due {
				fired[d.ref]++
			}
		}
		want := int((hours + c.every - 1) / c.every)
		for r, n := range fired {
			if n < want-1 || n > want {
				t.Fatalf("%s: %s fired %d times, not %d", c.text, r, n, want)
			}
		}
		if len(fired) != 1000 {
			t.Fatalf("%s: %d fired", c.text, len(fired))
		}
	}
}

// Whatever was missed is due once, and what comes next is in the future; all processes find the same slots.
func TestMissedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"every 1s", "every 15m", "every 7h", "every 31d", "*/5 6-18 * * mon-fri", "0 6 1 * *"}).Draw(t, "schedule")
		s, err := config.ParseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		r := ref(rapid.IntRange(0, 9999).Draw(t, "client"))
		slept := time.Duration(rapid.Int64Range(0, int64(100*24*time.Hour)).Draw(t, "slept"))
		last := noon.Add(-time.Duration(rapid.Int64Range(0, int64(40*24*time.Hour)).Draw(t, "last")))
		a, b := newCalendar(), newCalendar()
		a.set(r, s, last, true, noon)
		wake := noon.Add(slept)
		b.set(r, s, last, true, wake) // another process, started later
		da, db := a.due(wake, 10), b.due(wake, 10)
		missed := !next(r, s, last).After(wake)
		if len(da) > 1 || len(db) > 1 || (len(db) == 1) != missed || (len(da) == 1) != missed {
			t.Fatalf("due %v and %v, missed %t", da, db, missed)
		}
		if a.when(r) != b.when(r) || !a.when(r).After(wake) || a.when(r) != next(r, s, wake) {
			t.Fatalf("next %s and %s", a.when(r), b.when(r))
		}
	})
}

func TestCalendarChanges(t *testing.T) {
	cal := newCalendar()
	quarter, day := schedule(t, "every 15m"), schedule(t, "every 24h")
	cal.set(ref(1), quarter, time.Time{}, true, noon) // never ran
	cal.set(ref(2), quarter, noon, true, noon)
	if d := cal.due(noon, 10); len(d) != 1 || d[0].ref != ref(1) {
		t.Errorf("%v", d)
	}
	was := cal.when(ref(1))
	cal.set(ref(1), quarter, time.Time{}, false, noon.Add(time.Second)) // a reload without a change
	if cal.when(ref(1)) != was {
		t.Errorf("%s became %s", was, cal.when(ref(1)))
	}
	cal.set(ref(1), day, time.Time{}, false, noon)
	if at := cal.when(ref(1)); at != next(ref(1), day, noon) {
		t.Errorf("%s", at)
	}
	cal.drop(ref(2))
	cal.drop(ref(3))
	if d := cal.due(noon.Add(48*time.Hour), 10); len(d) != 1 || !cal.when(ref(2)).IsZero() {
		t.Errorf("%v", d)
	}
	for i := range 25 {
		cal.set(ref(10+i), quarter, time.Time{}, true, noon)
	}
	var got []ads.Ref
	for range 3 {
		for _, d := range cal.due(noon, 10) {
			got = append(got, d.ref)
		}
	}
	slices.SortFunc(got, func(a, b ads.Ref) int { return slices.Compare([]string{a.ClientID}, []string{b.ClientID}) })
	if len(slices.Compact(got)) != 25 {
		t.Errorf("%d", len(got))
	}
}
