package quota_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
)

// window is a server that counts arrivals in a sliding window, as the published quota does.
type window struct {
	limit   quota.Limit
	mu      sync.Mutex
	counted []time.Time
	refused int
	first   time.Time
	last    time.Time
}

// arrive reports whether the request is let in. A refused one does not count.
func (w *window) arrive() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	n := 0
	for i := len(w.counted) - 1; i >= 0 && now.Sub(w.counted[i]) < w.limit.Window; i-- {
		n++
	}
	if n >= w.limit.N {
		w.refused++
		return false
	}
	w.counted = append(w.counted, now)
	if w.first.IsZero() {
		w.first = now
	}
	w.last = now
	return true
}

// minimum is the time from the first to the last arrival that n requests need.
func (w *window) minimum(n int) time.Duration {
	return time.Duration((n-1)/w.limit.N) * w.limit.Window
}

// send does n requests, at once as far as the bucket lets them. delay is the way to the server.
func send(t *testing.T, b *quota.Bucket, w *window, n int, delay func() time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for {
				s, err := b.Take(t.Context(), quota.Ask{Priority: platform.PriorityFollowUp, MaxWait: 3 * time.Hour})
				if err != nil {
					t.Error(err)
					return
				}
				s.Sent()
				time.Sleep(delay())
				if w.arrive() {
					time.Sleep(2 * time.Second)
					s.Done(true)
					return
				}
				if _, _, err := s.Refused(w.limit.Window, w.limit.Window, false); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func steady() time.Duration { return 5 * time.Millisecond }

func (w *window) check(t *testing.T, n int, share float64) {
	t.Helper()
	if w.refused > 0 {
		t.Errorf("%d refusals", w.refused)
	}
	if len(w.counted) != n {
		t.Errorf("%d arrived, want %d", len(w.counted), n)
	}
	took, least := w.last.Sub(w.first), w.minimum(n)
	t.Logf("took %v, the minimum is %v: %.2f %%", took, least, 100*float64(least)/float64(took))
	if float64(least) < share*float64(took) {
		t.Errorf("took %v, more than %v by over %.0f %%", took, least, 100*(1-share))
	}
}

// Promise 3: 100 campaigns (110 requests) at 10 a minute.
func TestQuotaIsUsedWhole(t *testing.T) {
	for _, l := range []quota.Limit{{N: 10, Window: time.Minute}, {N: 1, Window: 10 * time.Second}, {N: 40, Window: time.Hour}} {
		t.Run(l.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &window{limit: l}
				send(t, quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l), w, 110, steady)
				w.check(t, 110, 0.99)
			})
		})
	}
}

func TestShortWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 10, Window: 4 * time.Second}
		w := &window{limit: l}
		send(t, quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l), w, 110, steady)
		w.check(t, 110, 0.97)
	})
}

// Several processes on one ledger: the sum in any window stays within the limit (fault 34).
func TestQuotaOfSeveralProcesses(t *testing.T) {
	for _, processes := range []int{2, 4, 8} {
		t.Run(fmt.Sprint(processes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := quota.Limit{N: 10, Window: time.Minute}
				w, ledger := &window{limit: l}, quotatest.NewMemory()
				var wg sync.WaitGroup
				for range processes {
					wg.Go(func() {
						send(t, quota.NewManager(ledger).Bucket("b", "acme", l), w, 160/processes, func() time.Duration { return rand.N(20 * time.Millisecond) })
					})
				}
				wg.Wait()
				w.check(t, 160, 0.97)
			})
		})
	}
}

// A process that died half a minute ago has used its part of the window (fault 35).
func TestQuotaOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 10, Window: time.Minute}
		w, ledger := &window{limit: l}, quotatest.NewMemory()
		send(t, quota.NewManager(ledger).Bucket("b", "acme", l), w, 7, steady)
		time.Sleep(30 * time.Second)
		send(t, quota.NewManager(ledger).Bucket("b", "acme", l), w, 103, steady)
		w.first = w.first.Add(32 * time.Second) // the seven before the pause shift the windows
		w.check(t, 110, 0.99)
	})
}

// The way to the server takes 5 to 200 ms, and connections are made at first.
func TestQuotaOverAnUnevenNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 10, Window: time.Minute}
		w := &window{limit: l}
		send(t, quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l), w, 110, func() time.Duration {
			return 5*time.Millisecond + rand.N(195*time.Millisecond)
		})
		w.check(t, 110, 0.99)
	})
}

// Half of the quota is used by another program that knows nothing of us (fault 32).
func TestQuotaSharedWithAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 10, Window: time.Minute}
		w := &window{limit: l}
		ctx, cancel := context.WithCancel(t.Context())
		others := 0
		go func() { // five evenly a minute
			for ctx.Err() == nil {
				if !w.arrive() {
					others++
				}
				time.Sleep(12 * time.Second)
			}
		}()
		send(t, quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l), w, 100, steady)
		cancel()
		synctest.Wait()
		ours := w.refused - others
		share := float64(ours) / float64(100+ours)
		t.Logf("%d refusals, %.0f %%, in %v", ours, 100*share, w.last.Sub(w.first))
		if share > 0.25 {
			t.Errorf("%.0f %% refused", 100*share)
		}
		time.Sleep(time.Minute)
	})
}

// Clocks that jump (fault 36): backwards nobody waits for longer than a window, forwards nothing bursts.
func TestClockJumps(t *testing.T) {
	// Backwards costs one window of the three at most, forwards nothing.
	for jump, share := range map[time.Duration]float64{-time.Hour: 0.65, time.Hour: 0.99} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := quota.Limit{N: 10, Window: time.Minute}
				w, ledger := &window{limit: l}, quotatest.NewMemory()
				b := quota.NewManager(ledger).Bucket("b", "acme", l)
				send(t, b, w, 10, steady)
				ledger.Offset = jump
				send(t, b, w, 20, steady)
				w.check(t, 30, share)
			})
		})
	}
	t.Run("backwards over a restart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := quota.Limit{N: 10, Window: time.Minute}
			w, ledger := &window{limit: l}, quotatest.NewMemory()
			send(t, quota.NewManager(ledger).Bucket("b", "acme", l), w, 10, steady)
			ledger.Offset = -time.Hour
			send(t, quota.NewManager(ledger).Bucket("b", "acme", l), w, 10, steady)
			w.check(t, 20, 0.94) // two seconds of the old window count again
		})
	})
}

func TestPriorityAndOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 1, Window: 10 * time.Second}
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l)
		var mu sync.Mutex
		var got []string
		var wg sync.WaitGroup
		ask := func(name string, p platform.Priority) {
			wg.Go(func() {
				s, err := b.Take(t.Context(), quota.Ask{Priority: p, MaxWait: time.Hour})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got = append(got, name)
				mu.Unlock()
				s.Done(true)
			})
			synctest.Wait()
		}
		ask("first", platform.PriorityFollowUp)
		ask("follow 1", platform.PriorityFollowUp)
		ask("follow 2", platform.PriorityFollowUp)
		ask("backfill", platform.PriorityBackfill)
		ask("list", platform.PriorityListing)
		wg.Wait()
		if want := []string{"first", "list", "follow 1", "follow 2", "backfill"}; !slices.Equal(got, want) {
			t.Errorf("served %v, want %v", got, want)
		}
	})
}

// A request that was refused stands where it stood, before those who came after it.
func TestPlaceIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", quota.Limit{N: 1, Window: 10 * time.Second})
		s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []string
		var wg sync.WaitGroup
		ask := func(name string, place int64) {
			wg.Go(func() {
				s, err := b.Take(t.Context(), quota.Ask{Place: place, MaxWait: time.Hour})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got = append(got, name)
				mu.Unlock()
				s.Done(true)
			})
			synctest.Wait()
		}
		ask("second", 0)
		_, _, _ = s.Refused(time.Second, time.Second, false)
		ask("first", s.Place())
		wg.Wait()
		if want := []string{"first", "second"}; !slices.Equal(got, want) {
			t.Errorf("served %v, want %v", got, want)
		}
	})
}

func TestRefusalHoldsTheWholeBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := quotatest.NewMemory()
		take := func(m *quota.Manager, maxWait time.Duration) (*quota.Slot, error) {
			return m.Bucket("b", "acme").Take(t.Context(), quota.Ask{Priority: platform.PriorityListing, MaxWait: maxWait})
		}
		m := quota.NewManager(ledger)
		s, err := take(m, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, _, err := s.Refused(90*time.Second, 90*time.Second, false); err != nil {
			t.Fatal(err)
		}
		// Too long for this one: told at once, in this process and in another.
		for _, m := range []*quota.Manager{m, quota.NewManager(ledger)} {
			_, err = take(m, time.Minute)
			if ads.ClassOf(err) != ads.ClassDeferred || time.Since(begin) > 0 {
				t.Fatalf("%v after %v", err, time.Since(begin))
			}
		}
		if _, err := take(quota.NewManager(ledger), time.Hour); err != nil || time.Since(begin) < 90*time.Second {
			t.Errorf("let in after %v, %v", time.Since(begin), err)
		}
	})
}

// Fault 27: ten thousand days are capped at one, and said so.
func TestAbsurdWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", quota.Limit{N: 10, Window: time.Minute})
		s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		told := 31 * 365 * 24 * time.Hour
		_, _, _ = s.Refused(told, told, false)
		_, err = b.Take(t.Context(), quota.Ask{MaxWait: 15 * time.Minute})
		e, ok := err.(*ads.Error)
		if !ok || e.Class != ads.ClassDeferred || e.Told != told || time.Until(e.Until) > 24*time.Hour {
			t.Fatalf("%+v", err)
		}
		t.Log(e.Message)
	})
}

func TestDailyQuotaIsDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 3, Window: 24 * time.Hour}
		ledger := quotatest.NewMemory()
		b := quota.NewManager(ledger).Bucket("b", "acme", l)
		for range 3 {
			s, err := b.Take(t.Context(), quota.Ask{MaxWait: 15 * time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			s.Sent()
			s.Done(true)
		}
		for _, b := range []*quota.Bucket{b, quota.NewManager(ledger).Bucket("b", "acme", l)} {
			if _, err := b.Take(t.Context(), quota.Ask{MaxWait: 15 * time.Minute}); ads.ClassOf(err) != ads.ClassDeferred {
				t.Fatalf("%v", err)
			}
		}
	})
}

func TestSlotComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 1, Window: time.Minute}
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l)
		begin := time.Now()
		for range 5 {
			s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			s.GiveBack()
			s.GiveBack()
			s.Done(true)
		}
		if time.Since(begin) > time.Second {
			t.Errorf("slots given back cost %v", time.Since(begin))
		}
	})
}

func TestUnreadableStateIsAFullWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 10, Window: time.Minute}
		ledger := quotatest.NewMemory()
		ledger.Set("b", []byte("junk"))
		begin := time.Now()
		if _, err := quota.NewManager(ledger).Bucket("b", "acme", l).Take(t.Context(), quota.Ask{MaxWait: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if w := time.Since(begin); w < time.Minute || w > 62*time.Second {
			t.Errorf("waited %v", w)
		}
	})
}

func TestWaitIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 2, Window: time.Minute}
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l)
		var told []observe.WaitStarted
		for range 3 {
			s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour, OnWait: func(w observe.WaitStarted) { told = append(told, w) }})
			if err != nil {
				t.Fatal(err)
			}
			s.Done(true)
		}
		if len(told) != 1 || told[0].Used != 2 || told[0].Limit != 2 || told[0].Bucket != "acme" || told[0].Reason != observe.WaitQuota {
			t.Errorf("%+v", told)
		}
	})
}

func TestCancelledWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 1, Window: time.Minute}
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l)
		s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		s.Done(true)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begin := time.Now()
		if _, err := b.Take(ctx, quota.Ask{MaxWait: time.Hour}); err != context.Canceled || time.Since(begin) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// More than 1,000 in a window are counted in slots; still never too many.
func TestLargeQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 1500, Window: 10 * time.Second}
		w := &window{limit: l}
		send(t, quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l), w, 4000, func() time.Duration { return time.Millisecond })
		w.check(t, 4000, 0.99)
	})
}

// A process that was killed between sending and saying so: what it sent is logged for no earlier than that, whether the machine was busy between the last
// look at the clock and the wire, or the connection took its time.
func TestQuotaOfAProcessThatDiedWhileSending(t *testing.T) {
	for name, tt := range map[string]struct{ connect, busy time.Duration }{
		"on a busy machine":           {0, 70 * time.Millisecond},
		"after connecting":            {3 * time.Second, 0},
		"after connecting, busy, too": {3 * time.Second, 70 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := quota.Limit{N: 10, Window: 4 * time.Second}
				w, ledger := &window{limit: l}, quotatest.NewMemory()
				var dead atomic.Bool
				b := quota.NewManager(mortal{ledger, &dead}).Bucket("b", "acme", l)
				var slots []*quota.Slot
				for range 10 {
					s, err := b.Take(t.Context(), quota.Ask{Priority: platform.PriorityListing, MaxWait: time.Hour})
					if err != nil {
						t.Fatal(err)
					}
					slots = append(slots, s)
				}
				time.Sleep(tt.connect)
				for _, s := range slots {
					s.Ready()
				}
				dead.Store(true)
				time.Sleep(tt.busy)
				for _, s := range slots {
					s.Sent()
					w.arrive()
					s.Done(true)
				}
				time.Sleep(100 * time.Millisecond)
				send(t, quota.NewManager(ledger).Bucket("b", "acme", l), w, 10, func() time.Duration { return 0 })
				if w.refused > 0 {
					t.Errorf("%d refusals", w.refused)
				}
			})
		})
	}
}
