package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/simulator"
)

// The published contract, whole: 100 campaigns at 10 requests a minute end within 3 % of the arithmetic minimum, without one refusal.
func TestPublishedQuota(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.run(b.t.Context())
		b.addsUp(s)
		st := b.stats()
		took, least := st.Last.Sub(st.First), 10*time.Minute
		t.Logf("%+v, took %v, the minimum is %v: %.2f %%", s.Figures, took, least, 100*float64(least)/float64(took))
		if s.Outcome != ads.Complete || s.Figures.Synced != 100 || s.Figures.Throttled != 0 || st.Throttled != 0 {
			t.Errorf("%+v", s)
		}
		if float64(took) > 1.01*float64(least) {
			t.Errorf("took %v", took)
		}
		for id, n := range st.Called {
			if n != 1 {
				t.Errorf("%s was synced %d times", id, n)
			}
		}
		if n := query[int](b, "SELECT count(*) FROM campaigns WHERE removed_at IS NULL"); n != 100 {
			t.Errorf("%d campaigns stored", n)
		}
	})
}

// With the failures it is known for: a fifth of the listings answered 503, a tenth not at all.
func TestKnownFailures(t *testing.T) {
	for seed := range uint64(12) {
		inBubble(t, func(c *simulator.Config) { c.ListFailRate503, c.ListSilenceRate, c.Seed = 0.2, 0.1, seed }, func(b *bed) {
			s := b.run(b.t.Context())
			b.addsUp(s)
			if s.Outcome != ads.Complete || s.Figures.Synced != 100 || s.Figures.Throttled != 0 {
				t.Errorf("seed %d: %+v", seed, s)
			}
		})
	}
}

// A run that was stopped goes on from its place, under its id, and asks for nothing twice.
func TestResume(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		cause := errors.New("SIGTERM")
		ctx, cancel := context.WithCancelCause(b.t.Context())
		time.AfterFunc(4*time.Minute+30*time.Second, func() { cancel(cause) })
		first := b.run(ctx)
		b.addsUp2(first)
		if first.Outcome != ads.Interrupted || !errors.Is(first.Err, cause) || first.Figures.Synced == 0 {
			t.Fatalf("%+v", first)
		}
		second := b.run(b.t.Context())
		b.addsUp(second)
		if second.RunID != first.RunID || second.Outcome != ads.Complete || second.Figures.Synced != 100 || second.Figures.Pages != 10 {
			t.Errorf("%+v", second)
		}
		if second.Figures.Requests != 110 || second.Figures.Throttled != 0 {
			t.Errorf("over both lives: %+v", second.Figures)
		}
		third := b.run(b.t.Context())
		b.addsUp(third)
		if third.RunID == second.RunID || third.Figures.Unchanged != 100 {
			t.Errorf("the next run: %+v", third)
		}
	})
}

func (b *bed) addsUp2(s engine.Summary) {
	b.t.Helper()
	if n := query[int64](b, "SELECT count(*) FROM campaigns"); n != s.Figures.Synced {
		b.t.Errorf("%d campaigns stored, %d synced", n, s.Figures.Synced)
	}
}

func TestFreshStartsAnew(t *testing.T) {
	inBubble(t, func(c *simulator.Config) { c.Quota = simulator.Quota{} }, func(b *bed) {
		ctx, cancel := context.WithCancel(b.t.Context())
		time.AfterFunc(3*time.Second, cancel)
		first := b.run(ctx)
		second := b.run(b.t.Context(), func(o *engine.Options) { o.Fresh = true })
		b.addsUp(second)
		if second.RunID == first.RunID || second.Figures.Synced != 100 {
			t.Errorf("%+v", second)
		}
	})
}

// Another page size makes the place reached meaningless: the listing begins again, what was synced stands.
func TestPageSizeChangedInBetween(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		ctx, cancel := context.WithCancel(b.t.Context())
		time.AfterFunc(20*time.Second, cancel)
		first := b.run(ctx)
		b.opts.PageSize = 25
		second := b.run(b.t.Context())
		b.addsUp(second)
		if second.RunID != first.RunID || second.Outcome != ads.Complete || second.Figures.Synced != 100 || b.notes()["stale_cursor"] == 0 && first.Figures.Pages < 10 {
			t.Errorf("%+v after %+v", second, first)
		}
	})
}

// Removed campaigns are marked only after a complete listing, and come back when they are listed again.
func TestRemoved(t *testing.T) {
	for _, per := range []bool{true, false} {
		inBubble(t, func(c *simulator.Config) { c.Quota, c.SyncLatency = simulator.Quota{}, 0 }, func(b *bed) {
			b.opts.PerCampaignSync = per
			b.mustComplete(b.run(b.t.Context()))
			b.control(simulator.Command{Client: "acme", Delete: []string{"campaign_3", "campaign_50"}})
			s := b.run(b.t.Context())
			b.mustComplete(s)
			if s.Figures.Removed != 2 || query[int](b, "SELECT count(*) FROM campaigns WHERE removed_at IS NOT NULL AND id IN ('campaign_3','campaign_50')") != 2 {
				t.Errorf("%+v", s.Figures)
			}
			s = b.run(b.t.Context())
			b.mustComplete(s)
			if s.Figures.Removed != 0 {
				t.Errorf("marked again: %+v", s.Figures)
			}
		})
	}
}

// Fault 89: most of a list gone at once is refused, nothing is marked, and agreeing resumes the same run with a new reading.
func TestMostGoneIsRefused(t *testing.T) {
	for _, per := range []bool{true, false} {
		inBubble(t, func(c *simulator.Config) { c.Quota, c.SyncLatency = simulator.Quota{}, 0 }, func(b *bed) {
			b.opts.PerCampaignSync = per
			b.mustComplete(b.run(b.t.Context()))
			var gone []string
			for i := range 30 {
				gone = append(gone, "campaign_"+itoa(i+1))
			}
			b.control(simulator.Command{Client: "acme", Delete: gone})
			s := b.run(b.t.Context())
			if _, ok := errors.AsType[*engine.RemovalError](s.Err); !ok || s.Outcome != ads.Failed || query[int](b, "SELECT count(*) FROM campaigns WHERE removed_at IS NOT NULL") != 0 {
				t.Fatalf("%+v", s)
			}
			agreed := b.run(b.t.Context(), func(o *engine.Options) { o.AllowRemovals = true })
			b.mustComplete(agreed)
			if agreed.Figures.Removed != 30 || agreed.RunID != s.RunID {
				t.Errorf("%+v", agreed)
			}
		})
	}
}

func (b *bed) mustComplete(s engine.Summary) {
	b.t.Helper()
	b.addsUp(s)
	if s.Outcome != ads.Complete {
		b.t.Fatalf("%+v: %v", s, s.Err)
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}
