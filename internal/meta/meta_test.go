package meta_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/meta"
	"adsync/internal/observe"
	"adsync/internal/platform/platformtest"
	sim "adsync/internal/simulator/meta"
	"adsync/internal/store"
)

// play runs fn on a platform of the test's own making.
func play(t *testing.T, world func(*sim.Config), options meta.Options, fn func(*platformtest.Bed, *sim.Server)) {
	t.Helper()
	var s *sim.Server
	platformtest.Play(t, func(t testing.TB) platformtest.Site {
		var where platformtest.Site
		where, s = siteOf(t, world, options)
		return where
	}, func(b *platformtest.Bed) { fn(b, s) })
}

// Whatever the platform's shape, the database is what it has.
func TestWorlds(t *testing.T) {
	for name, x := range map[string]struct {
		world   func(*sim.Config)
		options meta.Options
	}{
		"small pages":                      {nil, meta.Options{PageRows: 2, ReportRows: 3}},
		"pages that are too large":         {func(c *sim.Config) { c.PageRows = 6 }, meta.Options{}},
		"reports that are too large":       {func(c *sim.Config) { c.SyncRows, c.JobRows = 30, 60 }, meta.Options{}},
		"one job at a time":                {func(c *sim.Config) { c.MaxJobs = 1 }, meta.Options{}},
		"figures of what was deleted":      {func(c *sim.Config) { c.OmitDeletedRows, c.Campaigns = true, 14 }, meta.Options{}},
		"all businesses":                   {func(c *sim.Config) { c.Businesses = 2 }, meta.Options{Businesses: []string{meta.AllBusinesses}}},
		"accounts by id":                   {nil, meta.Options{Include: []string{"act_778800000000001", "778800000000002"}}},
		"proof required":                   {func(c *sim.Config) { c.RequireProof = true }, meta.Options{}},
		"the older version":                {nil, meta.Options{Version: "v25.0"}},
		"every refusal under another code": {func(c *sim.Config) { c.ThrottleStatus, c.Faults = 403, []string{"throttle:times=2"} }, meta.Options{}},
		"refusals with 429": {func(c *sim.Config) {
			c.ThrottleStatus, c.Faults = 429, []string{"throttle:times=2,code=80000,endpoint=insights,on=1"}
		}, meta.Options{}},
		"headers only when it is late":      {func(c *sim.Config) { c.HeadersFrom, c.InsightsLimit = 90, 40 }, meta.Options{}},
		"levels that are chosen, newest in": {func(c *sim.Config) { c.Accounts = 1 }, meta.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, x.world, x.options, func(b *platformtest.Bed, _ *sim.Server) {
				b.Complete()
				b.Holds()
			})
		})
	}
}

// A quota that is too small for the work is never exceeded: the headers tell before the refusal does.
func TestSlowsDown(t *testing.T) {
	play(t, func(c *sim.Config) {
		c.Tier, c.Accounts, c.Campaigns, c.InsightsLimit, c.ManagementLimit = "limited", 2, 60, 10_000, 10_000
	}, meta.Options{PageRows: 4}, func(b *platformtest.Bed, s *sim.Server) {
		begin := time.Now()
		b.Complete()
		b.Holds()
		st := s.Stats()
		// 15 + 30 + 60 pages a run and account, at 60 points in five minutes.
		if took := time.Since(begin); took < 4*time.Minute || took > time.Hour {
			b.Errorf("it took %s", took)
		}
		if st.Total.Throttled > 0 || st.Total.Early > 0 {
			b.Errorf("%d refusals, %d of them early", st.Total.Throttled, st.Total.Early)
		}
	})
}

// One account that is told to wait for hours delays only itself.
func TestOneAccountWaits(t *testing.T) {
	play(t, func(c *sim.Config) {
		c.Accounts, c.Faults = 3, []string{"throttle:code=80004,account=act_778800000000002,wait=3h,times=1,on=1"}
	}, meta.Options{}, func(b *platformtest.Bed, s *sim.Server) {
		b.MaxWait(2 * time.Minute)
		sum := b.Sync()
		e, ok := sum.Err.(*ads.Error)
		if !ok || e.Class != ads.ClassDeferred || !strings.Contains(e.Bucket, "778800000000002") || time.Until(e.Until) < 2*time.Hour {
			b.Fatalf("%+v", sum)
		}
		for _, id := range []string{"778800000000001", "778800000000003"} {
			days, err := b.Store().Coverage(b.Context(), b.Ref(), id, ads.StreamDaily(ads.LevelAd), b.Since(), b.Since().Add(60))
			if err != nil || len(days) < 19 {
				b.Errorf("%s: %d days, %v", id, len(days), err)
			}
		}
		time.Sleep(time.Until(e.Until))
		if again := b.Complete(); again.RunID != sum.RunID {
			b.Errorf("another run: %s", again.RunID)
		}
		b.Complete() // what has moved since the others were read
		b.Holds()
		if n := s.Stats().Total.Early; n > 0 {
			b.Errorf("%d requests before the time that was told", n)
		}
	})
}

// An account without permission is a failure with a cure, and the others go on.
func TestDenied(t *testing.T) {
	play(t, func(c *sim.Config) { c.Accounts, c.Denied = 3, 1 }, meta.Options{}, func(b *platformtest.Bed, _ *sim.Server) {
		sum := b.Sync()
		if sum.Outcome != ads.Partial || !strings.Contains(fmt.Sprint(sum.Err), "(#200)") {
			b.Fatalf("%+v", sum)
		}
		n := 0
		for f, err := range b.Store().Failures(b.Context(), store.FailureFilter{}) {
			if n++; err != nil || f.Class != ads.ClassDenied || !strings.Contains(f.Hint, "ads_read") || f.RequestID == "" {
				b.Errorf("%+v, %v", f, err)
			}
		}
		if n != 1 {
			b.Errorf("%d failures", n)
		}
	})
}

// Figures that the platform changes within the look-back are changed here, rows that vanish vanish, and what is past it is final and stays.
func TestRestated(t *testing.T) {
	play(t, nil, meta.Options{}, func(b *platformtest.Bed, s *sim.Server) {
		b.Complete()
		time.Sleep(25 * time.Hour)
		to := ads.DateOf(time.Now())
		if err := s.Control(sim.Command{Restate: []sim.Restating{{Since: to.Add(-3).String(), Until: to.String(), PerMille: 1200}, {Since: to.Add(-8).String(), Until: to.Add(-8).String(), PerMille: 0}}}); err != nil {
			b.Fatal(err)
		}
		b.Complete()
		b.Holds()
	})
}

// Totals that the campaigns do not add up to are read once more, and then said.
func TestTotalsDisagree(t *testing.T) {
	play(t, func(c *sim.Config) { c.Faults = []string{"totals-disagree"} }, meta.Options{}, func(b *platformtest.Bed, s *sim.Server) {
		sum := b.Sync()
		if sum.Outcome != ads.Partial || !strings.Contains(fmt.Sprint(sum.Err), "the campaigns add up to") {
			b.Fatalf("%+v", sum)
		}
		if err := s.Control(sim.Command{FaultsOff: []string{"*"}}); err != nil {
			b.Fatal(err)
		}
		b.Complete()
		b.Holds()
	})
}

// A version that has been switched off is named, with the cure.
func TestVersionSwitchedOff(t *testing.T) {
	play(t, nil, meta.Options{Version: "v24.0"}, func(b *platformtest.Bed, s *sim.Server) {
		sum := b.Sync()
		e, ok := sum.Err.(*ads.Error)
		if !ok || e.Code != "version_off" || !strings.Contains(e.Message, "v24.0") || !strings.Contains(e.Message, "2026-10-06") || !strings.Contains(e.Hint, "api_version") {
			b.Errorf("%+v", sum)
		}
		if n := s.Stats().Total.Requests; n != 1 {
			b.Errorf("%d requests", n)
		}
	})
}

// Tokens: exchanged before they end; one that dies stops the connection at once, and says what to do.
func TestTokens(t *testing.T) {
	play(t, func(c *sim.Config) { c.LongLife = 60 * 24 * time.Hour }, meta.Options{Renew: true}, func(b *platformtest.Bed, s *sim.Server) {
		b.Complete()
		if n := s.Stats().Endpoints["token"].Requests; n != 1 {
			b.Errorf("%d exchanges at the start", n)
		}
		time.Sleep(29 * 24 * time.Hour)
		b.Complete()
		time.Sleep(2 * 24 * time.Hour) // past half of its life
		b.Complete()
		if n := s.Stats().Endpoints["token"].Requests; n != 2 {
			b.Errorf("%d exchanges after half of the life", n)
		}
		s.KillTokens(460)
		sum := b.Sync()
		e, ok := sum.Err.(*ads.Error)
		if !ok || e.Class != ads.ClassAuth || !strings.Contains(e.Hint, "adsync auth meta") {
			b.Errorf("%+v", sum)
		}
		before := s.Stats().Total.Requests
		_ = b.Sync()
		if n := s.Stats().Total.Requests - before; n != 0 {
			b.Errorf("%d requests with a token that is refused", n)
		}
		for _, ev := range b.Events() {
			if n, ok := ev.Data.(observe.Note); ok && strings.Contains(n.Message, "EAA") {
				b.Errorf("a token is told: %s", n.Message)
			}
		}
	})
}

// A report that the platform makes at once is read at once, and one that takes its time is not asked about more than that is worth.
func TestFirstLook(t *testing.T) {
	for _, c := range []struct {
		name         string
		job          time.Duration
		least, under time.Duration
	}{
		{"made at once", 0, 0, time.Second},
		{"made in a second", time.Second, 2 * time.Second, 3 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, func(w *sim.Config) { w.Accounts, w.JobTime = 1, c.job }, meta.Options{}, func(b *platformtest.Bed, _ *sim.Server) {
				begin := time.Now()
				b.Complete()
				if took := time.Since(begin); took < c.least || took >= c.under {
					b.Errorf("the run took %s of the platform's time, want %s to %s", took, c.least, c.under)
				}
				b.Holds()
			})
		})
	}
}
