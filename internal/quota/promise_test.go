package quota_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slowLedger takes its time, as a database does: before the change, when it waits for its turn, and after it, when it is made durable.
type slowLedger struct {
	quota.Ledger
	before, after func() time.Duration
}

func (l slowLedger) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	time.Sleep(l.before())
	err := l.Ledger.UpdateQuota(ctx, bucket, fn)
	time.Sleep(l.after())
	return err
}

// mortal is the ledger as one process sees it: none any more when it has died.
type mortal struct {
	quota.Ledger
	dead *atomic.Bool
}

var errDead = errors.New("this process is dead")

func (l mortal) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	if l.dead.Load() {
		return errDead
	}
	return l.Ledger.UpdateQuota(ctx, bucket, func(state []byte, now time.Time) ([]byte, error) {
		if l.dead.Load() { // while it waited for its turn
			return nil, errDead
		}
		return fn(state, now)
	})
}

// Promise 3, whatever the number of processes, the speed of the database and of the network, connections that fail, slots that are given back and
// processes that die and come again: the server never refuses, and never sees more than the limit in any window.
func TestPromiseHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := quota.Limit{N: rapid.IntRange(1, 12).Draw(rt, "n"), Window: time.Duration(rapid.IntRange(2, 90).Draw(rt, "seconds")) * time.Second}
		processes := rapid.IntRange(1, 4).Draw(rt, "processes")
		each := rapid.IntRange(1, 20).Draw(rt, "requests each")
		// The spread of delays on the way is within the margin; what the database and the connections take is not.
		margin := max(min(max(l.Window/240, min(l.Window/80, 60*time.Millisecond)), 2*time.Second), 20*time.Millisecond)
		spread := time.Duration(rapid.Int64Range(1, int64(margin/2)).Draw(rt, "spread"))
		commit := time.Duration(rapid.Int64Range(1, int64(300*time.Millisecond)).Draw(rt, "commit"))
		connect := time.Duration(rapid.Int64Range(1, int64(2*l.Window)).Draw(rt, "connect"))
		deaths := rapid.Bool().Draw(rt, "deaths")
		seed := rapid.Uint64().Draw(rt, "seed")
		var w *window
		var failed error
		synctest.Test(t, func(t *testing.T) {
			w = &window{limit: l}
			var mu sync.Mutex
			rng := rand.New(rand.NewPCG(seed, 1))
			upTo := func(d time.Duration) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(rng.Int64N(int64(d)))
			}
			chance := func(p float64) bool { mu.Lock(); defer mu.Unlock(); return rng.Float64() < p }
			slow := func() time.Duration { return upTo(commit) }
			ledger := slowLedger{quotatest.NewMemory(), slow, slow}
			one := func(b *quota.Bucket, dead *atomic.Bool) error {
				for {
					s, err := b.Take(t.Context(), quota.Ask{Priority: platform.Priority(upTo(3)), MaxWait: 1000 * time.Hour})
					if err != nil {
						return err
					}
					switch {
					case chance(0.1): // no connection came about
						time.Sleep(upTo(connect))
						s.GiveBack()
						continue
					case chance(0.2): // or late
						time.Sleep(upTo(connect))
					}
					s.Ready()
					if dead.Load() {
						return errDead
					}
					s.Sent()
					time.Sleep(upTo(spread))
					if !w.arrive() {
						s.Done(true)
						return errors.New("refused")
					}
					time.Sleep(upTo(time.Second))
					s.Done(true)
					if dead.Load() {
						return errDead
					}
					return nil
				}
			}
			var wg sync.WaitGroup
			for range processes {
				wg.Go(func() {
					dies := deaths
					for left := each; left > 0; { // one life of the process
						var dead atomic.Bool
						b := quota.NewManager(mortal{ledger, &dead}).Bucket("b", "acme", l)
						var life sync.WaitGroup
						if dies {
							at := upTo(2 * l.Window)
							timer := time.AfterFunc(at, func() { dead.Store(true) })
							defer timer.Stop()
						}
						var done atomic.Int64
						for range left {
							life.Go(func() {
								switch err := one(b, &dead); {
								case err == nil:
									done.Add(1)
								case !errors.Is(err, errDead):
									mu.Lock()
									failed = err
									mu.Unlock()
								}
							})
						}
						life.Wait()
						if left -= int(done.Load()); failed != nil {
							return
						}
						dies = dies && chance(0.8)
					}
				})
			}
			wg.Wait()
			time.Sleep(time.Minute) // what is still written in the background
		})
		if failed != nil || w.refused > 0 || len(w.counted) < processes*each {
			rt.Fatalf("%v: %d refused, %d of %d arrived", failed, w.refused, len(w.counted), processes*each)
		}
	})
}

// A database that takes 50 ms for each commit costs no slot.
func TestSlowLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 10, Window: time.Minute}
		w := &window{limit: l}
		fifty := func() time.Duration { return 50 * time.Millisecond }
		send(t, quota.NewManager(slowLedger{quotatest.NewMemory(), fifty, fifty}).Bucket("b", "acme", l), w, 110, steady)
		w.check(t, 110, 0.99)
	})
}

// A request whose connection takes longer than the window still has its slot when it is sent at last.
func TestSlotOutlivesTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 2, Window: 4 * time.Second}
		w, ledger := &window{limit: l}, quotatest.NewMemory()
		take := func(m *quota.Manager) *quota.Slot {
			s, err := m.Bucket("b", "acme", l).Take(t.Context(), quota.Ask{MaxWait: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		mine, other := quota.NewManager(ledger), quota.NewManager(ledger)
		late := take(mine)
		go func() {
			time.Sleep(9 * time.Second)
			late.Sent()
			w.arrive()
			late.Done(true)
		}()
		for range 5 {
			s := take(other)
			s.Sent()
			w.arrive()
			s.Done(true)
		}
		time.Sleep(time.Minute)
		if w.refused > 0 || len(w.counted) != 6 {
			t.Errorf("%d refused, %d arrived", w.refused, len(w.counted))
		}
	})
}

// What one process gives back, another may use, long before the window ends.
func TestGivenBackForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 1, Window: time.Hour}
		ledger := quotatest.NewMemory()
		s, err := quota.NewManager(ledger).Bucket("b", "acme", l).Take(t.Context(), quota.Ask{})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*time.Second, s.GiveBack)
		begin := time.Now()
		o, err := quota.NewManager(ledger).Bucket("b", "acme", l).Take(t.Context(), quota.Ask{MaxWait: 2 * time.Hour})
		if err != nil || time.Since(begin) > 2*time.Minute {
			t.Fatalf("%v after %v", err, time.Since(begin))
		}
		o.Done(true)
	})
}

// The way to the server takes up to a second: more than the margin. What refusals teach about it is enough after few of them, and they do not
// make it believe that somebody else uses the quota.
func TestMarginIsWidened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 10, Window: time.Minute}
		w := &window{limit: l}
		rng := rand.New(rand.NewPCG(7, 7))
		var mu sync.Mutex
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l)
		begin := time.Now()
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				for {
					s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
					if err != nil {
						t.Error(err)
						return
					}
					s.Sent()
					mu.Lock()
					d := time.Duration(rng.Int64N(int64(time.Second)))
					mu.Unlock()
					time.Sleep(d)
					if w.arrive() {
						s.Done(true)
						return
					}
					if effective, _, err := s.Refused(5*time.Second, 5*time.Second, false); effective.N != 0 || err != nil {
						t.Errorf("taught %v, %v", effective, err)
					}
				}
			})
		}
		wg.Wait()
		t.Logf("%d refusals in %v", w.refused, time.Since(begin))
		if w.refused > 12 || time.Since(begin) > 21*time.Minute {
			t.Errorf("%d refusals in %v", w.refused, time.Since(begin))
		}
	})
}

// A stay that the server asked for is kept though the wall clock jumps ahead over it.
func TestStayOverAClockJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := quotatest.NewMemory()
		b := quota.NewManager(ledger).Bucket("b", "acme", quota.Limit{N: 10, Window: time.Minute})
		take := func() *quota.Slot {
			s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := take()
		s.Sent()
		_, _, _ = s.Refused(30*time.Minute, 30*time.Minute, false)
		ledger.Offset = 2 * time.Hour
		begin := time.Now()
		take().Done(true)
		if time.Since(begin) < 30*time.Minute {
			t.Errorf("let through after %v", time.Since(begin))
		}
	})
}

// A server that refuses once without reason is obeyed, and its quota is used whole again after.
func TestWhimIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 10, Window: time.Minute}
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l)
		s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if effective, _, err := s.Refused(5*time.Second, 5*time.Second, false); effective.N != 0 || err != nil {
			t.Errorf("one refusal taught %v, %v", effective, err)
		}
		w := &window{limit: l}
		begin := time.Now()
		send(t, b, w, 100, steady)
		if took := time.Since(begin); w.refused > 0 || took > 10*time.Minute {
			t.Errorf("%d refusals, %v for 100 requests", w.refused, took)
		}
	})
}

// Fault 32: others use half of the quota, in whatever pattern. At most a quarter of what we send is refused in the long run.
func TestQuotaSharedInPatterns(t *testing.T) {
	l := quota.Limit{N: 10, Window: time.Minute}
	const requests = 300
	rng := rand.New(rand.NewPCG(3, 2))
	for name, pattern := range map[string]func(send func()){
		"evenly": func(send func()) { time.Sleep(12 * time.Second); send() },
		"in bursts": func(send func()) {
			time.Sleep(time.Minute)
			for range 5 {
				send()
			}
		},
		"at random": func(send func()) { time.Sleep(time.Duration(rng.Int64N(int64(24 * time.Second)))); send() },
	} {
		for _, told := range []time.Duration{0, 60 * time.Second} {
			t.Run(fmt.Sprintf("%s, told %v", name, told), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := &window{limit: l}
					ctx, cancel := context.WithCancel(t.Context())
					go func() { // theirs are always let in: what is left is half
						for ctx.Err() == nil {
							pattern(func() {
								w.mu.Lock()
								defer w.mu.Unlock()
								w.counted = append(w.counted, time.Now())
							})
						}
					}()
					time.Sleep(2 * time.Minute)
					b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l)
					var wg sync.WaitGroup
					var mu sync.Mutex
					refused, given, news := 0, 0, quota.Limit{}
					for range requests {
						wg.Go(func() {
							for {
								s, err := b.Take(t.Context(), quota.Ask{MaxWait: 24 * time.Hour})
								if err != nil {
									t.Error(err)
									return
								}
								s.Sent()
								time.Sleep(5 * time.Millisecond)
								if w.arrive() {
									s.Done(true)
									return
								}
								wait := told
								if wait == 0 {
									w.mu.Lock()
									wait = time.Until(w.counted[len(w.counted)-w.limit.N].Add(w.limit.Window)).Truncate(time.Second) + time.Second
									w.mu.Unlock()
								}
								effective, _, err := s.Refused(wait, wait, false)
								mu.Lock()
								refused++
								if effective.N > 0 {
									news = effective
								}
								if ads.ClassOf(err) == ads.ClassDeferred {
									given++
								}
								mu.Unlock()
							}
						})
					}
					begin := time.Now()
					wg.Wait()
					share := float64(refused) / float64(requests+refused)
					t.Logf("%d refused of %d (%.0f %%), %d given up, in %v; learnt %v", refused, requests+refused, 100*share, given, time.Since(begin), news)
					if share > 0.25 || time.Since(begin) > 2*time.Hour {
						t.Errorf("%.0f %% refused in %v", 100*share, time.Since(begin))
					}
					if news.N == 0 {
						t.Error("nothing was learnt")
					}
					cancel()
					time.Sleep(2 * time.Minute)
				})
			})
		}
	}
}

// A server that refuses whatever is asked is not asked for ever.
func TestRefusedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", quota.Limit{N: 10, Window: time.Minute})
		for n := 1; ; n++ {
			s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			s.Sent()
			if b.Refusals() != n-1 {
				t.Errorf("%d refusals counted before the %dth", b.Refusals(), n)
			}
			_, _, err = s.Refused(time.Second, time.Second, false)
			if err == nil && n < 8 {
				continue
			}
			if e, _ := errors.AsType[*ads.Error](err); e == nil || e.Class != ads.ClassDeferred || n != 8 || time.Until(e.Until) < time.Minute {
				t.Fatalf("after %d: %#v", n, err)
			}
			return
		}
	})
}

// After a refusal one request asks whether the bucket may go on; then two, then four.
func TestGentlyAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme")
		s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = s.Refused(10*time.Second, 10*time.Second, true)
		begin := time.Now()
		var mu sync.Mutex
		sent := map[time.Duration]int{}
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				sent[time.Since(begin).Round(time.Second)]++
				mu.Unlock()
				time.Sleep(2 * time.Second)
				s.Done(true)
			})
		}
		wg.Wait()
		for at, want := range map[time.Duration]int{10 * time.Second: 1, 12 * time.Second: 2} {
			if sent[at] != want {
				t.Errorf("%d sent after %v, want %d (%v)", sent[at], at, want, sent)
			}
		}
	})
}

// A platform that says that 95 % is used is asked at the pace of the quota, not in bursts.
func TestUsageSlowsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", quota.Limit{N: 10, Window: time.Minute})
		take := func() time.Duration {
			begin := time.Now()
			s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			s.Sent()
			s.Done(true)
			return time.Since(begin)
		}
		take()
		if !b.Usage(0.95) || b.Usage(0.96) {
			t.Error("the first word of 95 % is news, the second is not")
		}
		if w := take(); w < 5*time.Second || w > 7*time.Second {
			t.Errorf("waited %v at 95 %%", w)
		}
		b.Usage(0.5)
		if w := take(); w > 0 {
			t.Errorf("waited %v at 50 %%", w)
		}
		b.Usage(1.2)
		first := take()
		b.Usage(1.3)
		if second := take(); second <= first {
			t.Errorf("waited %v, then %v past 100 %%", first, second)
		}
	})
}

// A good answer that says that nothing is left closes the bucket for other processes too.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := quotatest.NewMemory()
		mine := quota.NewManager(ledger).Bucket("b", "acme")
		mine.Hold(40*time.Second, 40*time.Second)
		mine.Hold(10*time.Second, 10*time.Second) // never shortened
		for _, b := range []*quota.Bucket{mine, quota.NewManager(ledger).Bucket("b", "acme")} {
			begin := time.Now()
			var told observe.WaitStarted
			s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour, OnWait: func(w observe.WaitStarted) { told = w }})
			if err != nil {
				t.Fatal(err)
			}
			s.Done(true)
			if b == mine && (time.Since(begin) != 40*time.Second || told.Reason != observe.WaitServer || told.Told != 40*time.Second) {
				t.Errorf("waited %v, told %+v", time.Since(begin), told)
			}
		}
	})
}

// A bucket without limits learns within seconds that another process was told to stay away.
func TestUnlimitedSeesOthersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := quotatest.NewMemory()
		mine, other := quota.NewManager(ledger).Bucket("b", "acme"), quota.NewManager(ledger).Bucket("b", "acme")
		take := func(b *quota.Bucket) *quota.Slot {
			s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		take(mine).Done(true)
		_, _, _ = take(other).Refused(time.Minute, time.Minute, false)
		time.Sleep(3 * time.Second)
		begin := time.Now()
		take(mine).Done(true)
		if time.Since(begin) < 50*time.Second {
			t.Errorf("let through after %v", time.Since(begin))
		}
	})
}

type brokenLedger struct {
	quota.Ledger
	broken bool
}

var errBroken = errors.New("disk full")

func (l *brokenLedger) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	if l.broken {
		return errBroken
	}
	return l.Ledger.UpdateQuota(ctx, bucket, fn)
}

// Without its ledger a bucket gives nothing, and says why.
func TestBrokenLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 2, Window: time.Minute}
		ledger := &brokenLedger{Ledger: quotatest.NewMemory()}
		b := quota.NewManager(ledger).Bucket("b", "acme", l)
		s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ledger.broken = true
		time.Sleep(10 * time.Second)
		s.Sent() // ten seconds late, which cannot be written now
		synctest.Wait()
		if _, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour}); !errors.Is(err, errBroken) {
			t.Errorf("got %v", err)
		}
		ledger.broken = false
		s.Done(true)
		o, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		o.Sent()
		o.Done(true)
		// The late entry has been written by now: another process sees it.
		begin := time.Now()
		if _, err := quota.NewManager(ledger).Bucket("b", "acme", l).Take(t.Context(), quota.Ask{MaxWait: time.Hour}); err != nil || time.Since(begin) < time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		time.Sleep(time.Hour)
	})
}

// BenchmarkTake is the cost of a slot of a large quota, 64 asking at once.
func BenchmarkTake(b *testing.B) {
	bucket := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", quota.Limit{N: 1000, Window: 20 * time.Millisecond}, quota.Limit{N: 900_000_000, Window: time.Hour})
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s, err := bucket.Take(b.Context(), quota.Ask{Priority: platform.PriorityFollowUp, MaxWait: time.Hour})
			if err != nil {
				b.Fatal(err)
			}
			s.Sent()
			s.Done(true)
		}
	})
}

// doubling is a ledger whose answers are lost now and then after the change was made: the change is made again.
type doubling struct {
	quota.Ledger
	again func() bool
}

func (l doubling) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	if err := l.Ledger.UpdateQuota(ctx, bucket, fn); err != nil {
		return err
	}
	if l.again() {
		return l.Ledger.UpdateQuota(ctx, bucket, fn)
	}
	return nil
}

// A change whose answer was lost is made twice: that costs slots, but no window holds too many.
func TestChangesMadeTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := quota.Limit{N: rapid.IntRange(2, 20).Draw(rt, "n"), Window: time.Duration(rapid.IntRange(2, 60).Draw(rt, "seconds")) * time.Second}
		seed := rapid.Uint64().Draw(rt, "seed")
		var w *window
		synctest.Test(t, func(t *testing.T) {
			w = &window{limit: l}
			var mu sync.Mutex
			rng := rand.New(rand.NewPCG(seed, 5))
			chance := func(p float64) bool { mu.Lock(); defer mu.Unlock(); return rng.Float64() < p }
			ledger := doubling{quotatest.NewMemory(), func() bool { return chance(0.2) }}
			var wg sync.WaitGroup
			for range 2 {
				b := quota.NewManager(ledger).Bucket("b", "acme", l)
				for range 2 * l.N {
					wg.Go(func() {
						for range 3 {
							s, err := b.Take(t.Context(), quota.Ask{MaxWait: 1000 * time.Hour})
							if err != nil {
								t.Error(err)
								return
							}
							if chance(0.2) { // the connection takes its time, or fails
								time.Sleep(l.Window / 3)
								if chance(0.5) {
									s.GiveBack()
									continue
								}
							}
							if err := s.Ready(); err != nil {
								t.Error(err)
							}
							s.Sent()
							w.arrive()
							s.Done(true)
						}
					})
				}
			}
			wg.Wait()
			time.Sleep(time.Minute)
		})
		if w.refused > 0 {
			rt.Fatalf("%d requests too many", w.refused)
		}
	})
}
