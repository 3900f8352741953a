package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/simulator"
	"adsync/internal/store"
)

func scheduled(o *engine.Options) { o.Trigger = store.TriggerSchedule }

// quick is a platform without quota and delays.
func quick(campaigns int) func(*simulator.Config) {
	return func(c *simulator.Config) {
		c.Quota, c.SyncLatency, c.Campaigns = simulator.Quota{}, 0, campaigns
	}
}

// breaks lets the calls of some campaigns fail from now on.
func (b *bed) breaks(status int, n ...int) {
	var rules []string
	for part := range slices.Chunk(n, 200) { // a rule has a bound on its length
		var ids []string
		for _, n := range part {
			ids = append(ids, "campaign_"+itoa(n))
		}
		rules = append(rules, fmt.Sprintf("rule:endpoint=sync,id=%s,on=1-,times=0,do=%d", strings.Join(ids, "|"), status))
	}
	b.control(simulator.Command{FaultsOn: rules})
}

func (b *bed) mends() { b.control(simulator.Command{FaultsOff: []string{"*"}}) }

func (b *bed) failures() (out []store.Failure) {
	b.t.Helper()
	for f, err := range b.store.Failures(b.t.Context(), store.FailureFilter{}) {
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

func (b *bed) retry(fs []store.Failure) engine.Summary {
	b.t.Helper()
	return b.run(b.t.Context(), func(o *engine.Options) { o.Trigger, o.Retry = store.TriggerRetry, fs })
}

// mustPartial wants a run that ended with so many failed, and says so.
func (b *bed) mustPartial(s engine.Summary, listed, failed int64) {
	b.t.Helper()
	b.addsUp(s)
	if s.Outcome != ads.Partial || s.Figures.Listed != listed || s.Figures.Failed != failed || s.Err == nil || s.Err.Error() != fmt.Sprintf("%d of %d failed and are kept for retry", failed, listed) {
		b.t.Fatalf("%+v, want %d of %d failed", s, failed, listed)
	}
}

// A scheduled run leaves alone what has failed and is not due: no request, no count, no removal; all others try it, and so does it when the time has come.
func TestHeld(t *testing.T) {
	inBubble(t, quick(40), func(b *bed) {
		b.mustComplete(b.run(b.t.Context()))
		called := func() int64 { return b.stats().Called["campaign_7"] }
		b.breaks(404, 7)
		b.mustPartial(b.run(b.t.Context()), 40, 1)
		failed := b.failures()
		if len(failed) != 1 || failed[0].Class != ads.ClassPermanent || failed[0].NextRetryAt.Sub(failed[0].LastFailedAt) != time.Hour {
			t.Fatalf("%+v", failed)
		}
		for range 3 {
			before, requests := called(), b.stats().Arrivals
			s := b.run(b.t.Context(), scheduled)
			b.mustPartial(s, 40, 1)
			if called() != before || b.stats().Arrivals-requests != 4+39 || s.Figures.Removed != 0 || s.Figures.Unchanged != 39 {
				t.Errorf("%d calls, %d requests, %+v", called()-before, b.stats().Arrivals-requests, s.Figures)
			}
			if now := b.failures(); fmt.Sprint(now) != fmt.Sprint(failed) {
				t.Errorf("the failure was touched: %+v, was %+v", now, failed)
			}
		}
		if b.notes()["held"] != 3 {
			t.Errorf("notes %v", b.notes())
		}
		for _, trigger := range []string{"", store.TriggerManual, store.TriggerDemo} {
			before := called()
			b.mustPartial(b.run(b.t.Context(), func(o *engine.Options) { o.Trigger = trigger }), 40, 1)
			if called() == before {
				t.Errorf("a run that is asked for by %q did not try it", trigger)
			}
		}
		time.Sleep(time.Hour + time.Second)
		before := called()
		b.mustPartial(b.run(b.t.Context(), scheduled), 40, 1)
		if called() == before {
			t.Error("it is due, and was not tried")
		}
		b.mends()
		b.mustPartial(b.run(b.t.Context(), scheduled), 40, 1) // not before its time
		time.Sleep(24 * time.Hour)
		s := b.run(b.t.Context(), scheduled)
		b.mustComplete(s)
		if s.Figures.Synced != 40 || len(b.failures()) != 0 {
			t.Errorf("%+v, %+v", s, b.failures())
		}
	})
}

// A record that fails for ever is given up by schedules after its limit, stays visible, and is tried when somebody asks.
func TestPoison(t *testing.T) {
	for _, tt := range []struct {
		status   int
		attempts int64
		within   time.Duration
	}{{404, 10, 10 * 24 * time.Hour}, {500, 100, 30 * 24 * time.Hour}} {
		inBubble(t, quick(5), func(b *bed) {
			b.breaks(tt.status, 3)
			tries, begin := 0, time.Now()
			var last store.Failure
			for len(b.failures()) == 0 || !b.failures()[0].NextRetryAt.IsZero() {
				if tries++; time.Since(begin) > tt.within {
					t.Fatalf("after %d tries: %+v", tries, b.failures())
				}
				b.mustPartial(b.run(b.t.Context(), scheduled), 5, 1)
				f := b.failures()[0]
				if wait := f.NextRetryAt.Sub(f.LastFailedAt); !f.NextRetryAt.IsZero() && (wait < 15*time.Minute || wait > 24*time.Hour || wait < last.NextRetryAt.Sub(last.LastFailedAt)) {
					t.Errorf("try %d: next after %s", tries, wait)
				}
				last = f
				if wait := time.Until(f.NextRetryAt); wait > 0 {
					time.Sleep(wait)
				}
			}
			t.Logf("%d: given up after %d tries, %d attempts, %s", tt.status, tries, last.Attempts, last.LastFailedAt.Sub(last.FirstFailedAt).Round(time.Hour))
			if last.Attempts < tt.attempts || last.Attempts > tt.attempts+10 {
				t.Errorf("%+v", last)
			}
			calls := b.stats().Called["campaign_3"]
			for range 5 {
				time.Sleep(7 * 24 * time.Hour)
				b.mustPartial(b.run(b.t.Context(), scheduled), 5, 1)
			}
			if n := b.stats().Called["campaign_3"]; n != calls || len(b.failures()) != 1 {
				t.Errorf("%d calls more, %+v", n-calls, b.failures())
			}
			b.mustPartial(b.retry(b.failures()), 1, 1)
			if f := b.failures()[0]; !f.NextRetryAt.IsZero() || f.Attempts <= last.Attempts {
				t.Errorf("%+v", f)
			}
			b.mends()
			s := b.retry(b.failures())
			b.mustComplete(s)
			if s.Figures.Listed != 1 || len(b.failures()) != 0 {
				t.Errorf("%+v, %+v", s, b.failures())
			}
			b.mustComplete(b.run(b.t.Context(), scheduled))
		})
	}
}

// Wherever a scheduled run is stopped, the next life adds up: another scheduled one holds what was held, any other tries it.
func TestHeldResumed(t *testing.T) {
	const campaigns, failing = 30, 4
	for _, trigger := range []string{store.TriggerSchedule, store.TriggerManual} {
		stopped := 0
		for after := 200 * time.Millisecond; after < 12*time.Second; after += 700 * time.Millisecond {
			inBubble(t, func(c *simulator.Config) {
				quick(campaigns)(c)
				c.SyncLatency = 2 * time.Second
			}, func(b *bed) {
				b.breaks(404, 2, 11, 19, 30)
				slow := func(o *engine.Options) { o.MaxInFlight = 6 }
				b.mustPartial(b.run(b.t.Context(), slow), campaigns, failing)
				b.mends()
				ctx, cancel := context.WithCancelCause(b.t.Context())
				time.AfterFunc(after, func() { cancel(errors.New("SIGTERM")) })
				first := b.run(ctx, slow, scheduled)
				if first.Outcome != ads.Interrupted {
					if first.RunID != "" { // it was quicker
						b.mustPartial(first, campaigns, failing)
					}
					return
				}
				stopped++
				second := b.run(b.t.Context(), slow, func(o *engine.Options) { o.Trigger = trigger })
				if second.RunID != first.RunID {
					t.Fatalf("%+v after %+v", second, first)
				}
				if trigger == store.TriggerSchedule {
					b.mustPartial(second, campaigns, failing)
					if len(b.failures()) != failing {
						t.Errorf("%+v", b.failures())
					}
					return
				}
				b.mustComplete(second)
				if second.Figures.Synced != campaigns || len(b.failures()) != 0 {
					t.Errorf("%+v, %+v", second.Figures, b.failures())
				}
			})
		}
		if stopped < 5 {
			t.Errorf("%s: only %d runs were stopped on their way", trigger, stopped)
		}
	}
}

// A list that moves, repeats or contradicts itself while some of it is held: each record is counted once.
func TestHeldWhileTheListMoves(t *testing.T) {
	for _, fault := range []string{
		"delete-while-listing", "insert-while-listing", "page-repeated", "page-wrong-number", "page-empty", "cursor-expired", "id-twice", "total-moves", "total-high", "limit-ignored",
	} {
		inBubble(t, quick(40), func(b *bed) {
			b.breaks(404, 2, 7, 13, 22, 38)
			b.mustPartial(b.run(b.t.Context()), 40, 5)
			b.control(simulator.Command{FaultsOn: []string{fault}})
			calls := map[string]int64{}
			for _, f := range b.failures() {
				calls[f.EntityID] = b.stats().Called[f.EntityID]
			}
			for range 2 {
				s := b.run(b.t.Context(), scheduled)
				b.addsUp(s)
				if s.Outcome != ads.Partial || s.Figures.Failed > 6 || s.Figures.Failed < 4 {
					t.Errorf("%s: %+v: %v", fault, s, s.Err)
				}
			}
			for id, n := range calls {
				if got := b.stats().Called[id]; got != n {
					t.Errorf("%s: %s was called %d times more", fault, id, got-n)
				}
			}
			if n := query[int](b, "SELECT count(*) FROM (SELECT 1 FROM failures WHERE resolved_at IS NULL GROUP BY entity_id HAVING count(*) > 1)"); n > 0 {
				t.Errorf("%s: %d failures twice", fault, n)
			}
		})
	}
}

// Most of a big list is held: it costs no requests, and none of it is taken for gone.
func TestManyHeld(t *testing.T) {
	inBubble(t, quick(1500), func(b *bed) {
		b.opts.PageSize = 100
		b.mustComplete(b.run(b.t.Context()))
		var bad []int
		for n := 1; n <= 1500; n++ {
			if n%5 != 0 {
				bad = append(bad, n)
			}
		}
		b.breaks(404, bad...)
		b.mustPartial(b.run(b.t.Context()), 1500, 1200)
		requests := b.stats().Arrivals
		s := b.run(b.t.Context(), scheduled)
		b.mustPartial(s, 1500, 1200)
		if got := b.stats().Arrivals - requests; got != 15+300 || s.Figures.Removed != 0 {
			t.Errorf("%d requests, %+v", got, s.Figures)
		}
		if n := len(b.failures()); n != 1200 {
			t.Errorf("%d failures", n)
		}
		// What the platform lists no longer is gone, held or not.
		var gone []string
		for _, n := range bad[:100] {
			gone = append(gone, "campaign_"+itoa(n))
		}
		b.control(simulator.Command{Client: "acme", Delete: gone})
		s = b.run(b.t.Context(), scheduled)
		b.mustPartial(s, 1400, 1100)
		if s.Figures.Removed != 100 || len(b.failures()) != 1100 {
			t.Errorf("%+v, %d failures", s.Figures, len(b.failures()))
		}
	})
}

// A retry whose failures have been resolved or dropped in between has nothing to do, and says so.
func TestRetryOfNothing(t *testing.T) {
	inBubble(t, quick(20), func(b *bed) {
		b.breaks(404, 3, 5, 9)
		b.mustPartial(b.run(b.t.Context()), 20, 3)
		old := b.failures()
		b.mends()
		if n, err := b.store.DropFailures(b.t.Context(), []int64{old[0].ID}); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		requests := b.stats().Arrivals
		s := b.retry(old)
		b.mustComplete(s)
		if got := b.stats().Arrivals - requests; s.Figures.Listed != 2 || got != 2 {
			t.Errorf("%d requests, %+v", got, s.Figures)
		}
		s = b.retry(old)
		b.mustComplete(s)
		if got := b.stats().Arrivals - requests; s.Figures.Listed != 0 || got != 2 || s.Figures.Removed != 0 {
			t.Errorf("%d requests, %+v", got, s.Figures)
		}
		if n := query[int](b, "SELECT count(*) FROM failures"); n != 2 {
			t.Errorf("%d failures", n)
		}
	})
}

// Failures of a stream that has no calls of its own are written from what was kept; those of a stream that is not there any more end as they are.
func TestRetryWithoutFollowUps(t *testing.T) {
	inBubble(t, quick(20), func(b *bed) {
		b.breaks(404, 3, 5)
		b.mustPartial(b.run(b.t.Context()), 20, 2)
		b.opts.PerCampaignSync = false
		s := b.retry(b.failures())
		b.mustComplete(s)
		if s.Figures.Listed != 2 || s.Figures.Synced != 2 || len(b.failures()) != 0 || query[int](b, "SELECT count(*) FROM campaigns") != 20 {
			t.Errorf("%+v, %+v", s.Figures, b.failures())
		}
		b.opts.PerCampaignSync = true
		b.mends()
		b.breaks(404, 3)
		b.mustPartial(b.run(b.t.Context()), 20, 1)
		b.exec("UPDATE failures SET stream = 'reports' WHERE resolved_at IS NULL")
		s = b.retry(b.failures())
		b.mustPartial(s, 1, 1)
		if f := b.failures(); len(f) != 1 || f[0].Class != ads.ClassBadRecord || f[0].Code != "no_stream" || !f[0].NextRetryAt.IsZero() {
			t.Errorf("%+v", f)
		}
	})
}

// twoStreams is a platform of which one stream has calls of its own, and the other has none.
type twoStreams struct{ campaigns, groups []string }

func (*twoStreams) Spec() platform.Spec {
	return platform.Spec{Name: "two", Streams: []platform.Stream{{Name: "campaigns", FollowUps: true, PageRows: 10}, {Name: "ad_groups", PageRows: 10}}}
}
func (*twoStreams) Classify(platform.Reply) platform.Verdict { return platform.Verdict{} }

func (*twoStreams) Accounts(context.Context, platform.Caller) iter.Seq2[ads.Account, error] {
	return func(yield func(ads.Account, error) bool) { yield(ads.Account{ID: "acc"}, nil) }
}

func (p *twoStreams) Step(_ context.Context, _ platform.Caller, t platform.Task, emit func(ads.Record) error) (platform.Next, error) {
	ids := p.campaigns
	if t.Stream == "ad_groups" {
		ids = p.groups
	}
	for _, id := range ids {
		if err := emit(ads.Record{Entity: ads.Entity{ID: id, Name: id, Status: ads.StatusActive, Raw: []byte("{}")}}); err != nil {
			return platform.Next{}, err
		}
	}
	return platform.Next{More: ads.Some(false), Total: ads.Some(int64(len(ids)))}, nil
}

func (*twoStreams) Follow(_ context.Context, _ platform.Caller, _ platform.Task, id string) error {
	if strings.HasPrefix(id, "bad") {
		return &ads.Error{Class: ads.ClassPermanent, Message: "no"}
	}
	return nil
}

// idle is a client that nobody asks for anything.
type idle struct{ platform.Caller }

func (idle) Stats() ads.Figures     { return ads.Figures{} }
func (idle) SetRun(string)          {}
func (idle) Watch(observe.Observer) {}

// What is held in one stream does not keep what is gone in another from being marked: it was not tried, so nothing of it went wrong.
func TestHeldInOneStream(t *testing.T) {
	inBubble(t, quick(1), func(b *bed) {
		p := &twoStreams{campaigns: []string{"a", "bad", "c"}, groups: []string{"g1", "g2", "g3", "g4", "g5", "g6"}}
		two := func(o *engine.Options) { o.Platform, o.API = p, idle{} }
		b.mustPartial(b.run(b.t.Context(), two), 9, 1)
		p.groups = p.groups[1:]
		b.mustPartial(b.run(b.t.Context(), two), 8, 1) // it has failed again
		s := b.run(b.t.Context(), two, scheduled)
		b.mustPartial(s, 8, 1)
		if n := query[int](b, "SELECT count(*) FROM ad_groups WHERE removed_at IS NOT NULL"); n != 1 || s.Figures.Removed != 1 {
			t.Errorf("%d marked, %+v", n, s.Figures)
		}
	})
}
