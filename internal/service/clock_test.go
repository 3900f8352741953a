package service

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// Fault 119: a clock that is set back and put right, by little or much, at any moments: no slot comes twice while the error is small, and however far
// ahead the clock was, the next slot comes no later than the schedule says.
func TestClockSetBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := config.ParseSchedule(rapid.SampledFrom([]string{"every 1s", "every 15m", "every 7h", "*/5 * * * *", "0 6 * * *"}).Draw(t, "schedule"))
		if err != nil {
			t.Fatal(err)
		}
		r := ref(rapid.IntRange(0, 9999).Draw(t, "client"))
		c := newCalendar()
		c.set(r, s, noon, true, noon)
		c.due(noon, 10)
		had := map[time.Time]bool{}
		now, newest := noon, noon
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.Int64Range(int64(-50*time.Minute), int64(8*time.Hour)).Draw(t, "step")))
			if now.Before(newest.Add(-clockError)) {
				now = newest.Add(-clockError)
			}
			if now.After(newest) {
				newest = now
			}
			for _, d := range c.due(now, 10) {
				if had[d.at] || d.at.After(now) {
					t.Fatalf("at %s %s came, twice or too early", now, d.at)
				}
				had[d.at] = true
			}
		}
		now = newest.Add(-clockError - time.Duration(rapid.Int64Range(1, int64(10*365*24*time.Hour)).Draw(t, "set right by")))
		c.due(now, 10)
		if got, want := c.when(r), next(r, s, now); !got.Equal(want) {
			t.Fatalf("set back to %s: next at %s, want %s", now, got, want)
		}
	})
}

// Fault 119: a run that began by a clock that was a year ahead holds up no slot.
func TestRunOfTheFuture(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, func(t *testing.T, b *bed) {
		c := b.conn("acme", "every 1s")
		st, q := b.open("z")
		ahead := time.Now().Add(365 * 24 * time.Hour)
		held, err := st.Acquire(t.Context(), c.Ref)
		must(t, err)
		_, err = st.OpenRun(t.Context(), held, store.OpenRun{NewID: "ahead", Trigger: store.TriggerManual, Plan: "p", MaxAge: time.Hour, Now: ahead})
		must(t, err)
		must(t, st.FinishRun(t.Context(), held, store.FinishRun{RunID: "ahead", Outcome: ads.Complete, Now: ahead}))
		must(t, st.Release(t.Context(), held))
		q.Close()
		must(t, st.Close())
		l := b.start("a", c)
		for range 2 {
			if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Complete {
				t.Errorf("%+v", d)
			}
		}
		runs, err := l.st.Runs(t.Context(), c.Ref, 10)
		if err != nil || len(runs) < 3 || runs[len(runs)-1].ID != "ahead" || runs[0].Trigger != store.TriggerSchedule {
			t.Errorf("%+v, %v", runs, err)
		}
	})
}
