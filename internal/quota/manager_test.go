package quota_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/observe"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
)

func limits(t *testing.T, texts ...string) (out []quota.Limit) {
	t.Helper()
	for _, s := range texts {
		l, err := quota.ParseLimit(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// drain takes slots until the bucket has none that is free at once, and gives their number.
func drain(t *testing.T, b *quota.Bucket) (n int) {
	t.Helper()
	for ; n < 1000; n++ {
		s, err := b.Take(t.Context(), quota.Ask{})
		if err != nil {
			return n
		}
		s.Sent()
		s.Done(true)
	}
	return n
}

// A bucket's limits are what those who declare it say, all together, and follow when they say something else or go.
func TestLimitsAreOfThoseWhoDeclare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := quota.NewManager(quotatest.NewMemory())
		b := m.Declare("a", "app", "app", limits(t, "10/1m"))
		if m.Declare("b", "app", "app", limits(t, "4/1m", "10/1m")) != b || m.Declare("c", "app", "app", nil) != b {
			t.Fatal("one name, two buckets")
		}
		window := func(want int) {
			t.Helper()
			time.Sleep(3 * time.Minute)
			if n := drain(t, b); n != want {
				t.Errorf("%d slots in a window, want %d", n, want)
			}
		}
		window(4)
		m.Declare("b", "app", "app", limits(t, "7/1m"))
		window(7)
		m.Declare("b", "app", "app", limits(t, "7/1m"))
		m.Retire("b")
		m.Retire("b")
		window(10)
		m.Declare("c", "app", "app", limits(t, "3/1m"))
		m.Retire("a")
		window(3)
		m.Declare("c", "app", "app", nil)
		window(1000)
		m.Retire("c")
		if m.Len() > 0 {
			t.Errorf("%d buckets are left", m.Len())
		}
		if !m.Declare("d", "app", "app", limits(t, "5/1m")).Limited() {
			t.Error("a bucket that was forgotten is not made anew")
		}
	})
}

// Who moves from one bucket to another declares the new one first; the other is forgotten when nobody uses it any more, and keeps its limits until then.
func TestRetiredBucketIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := quota.NewManager(quotatest.NewMemory())
		old := m.Declare("a", "old", "old", limits(t, "2/1m"))
		s, err := old.Take(t.Context(), quota.Ask{})
		if err != nil {
			t.Fatal(err)
		}
		m.Declare("a", "new", "new", limits(t, "2/1m"))
		m.Retire("a", "new")
		if m.Len() != 2 {
			t.Errorf("%d buckets while one of the old has a slot", m.Len())
		}
		if n := drain(t, old); n != 1 {
			t.Errorf("%d more slots of a bucket with limit 2", n)
		}
		s.Sent()
		s.Done(true)
		m.Retire("nobody")
		if m.Len() != 1 {
			t.Errorf("%d buckets when nobody uses the old one", m.Len())
		}
		again := m.Declare("b", "old", "old", limits(t, "2/1m"))
		if n := drain(t, again); n != 0 {
			t.Errorf("%d slots: the window was used up before it was forgotten", n)
		}
	})
}

// Limits that change under full use: what was sent counts under the new one, as far back as the ledger knows, so that no window of the new limit holds
// more than it allows.
func TestLimitChangesInUse(t *testing.T) {
	for _, tt := range []struct{ from, to string }{{"10/1m", "20/1m"}, {"20/1m", "10/1m"}, {"10/1m", "25/2m"}, {"30/3m", "10/1m"}, {"1500/30s", "10/1m"}} {
		for _, others := range []bool{false, true} { // in another process, which is not told
			t.Run(fmt.Sprintf("%s to %s %v", tt.from, tt.to, others), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					from, to := limits(t, tt.from), limits(t, tt.to)
					w := &window{limit: to[0]}
					free := &window{limit: quota.Limit{N: 1 << 30, Window: time.Minute}} // the server before it has the new limit
					ledger := quotatest.NewMemory()
					m, other := quota.NewManager(ledger), quota.NewManager(ledger)
					b, o := m.Declare("a", "app", "app", from), other.Declare("a", "app", "app", from)
					ctx, cancel := context.WithCancel(t.Context())
					var mu sync.Mutex
					now := free
					var wg sync.WaitGroup
					for i := range 40 {
						wg.Go(func() {
							for ctx.Err() == nil {
								bucket := b
								if others && i%2 == 1 {
									bucket = o
								}
								s, err := bucket.Take(ctx, quota.Ask{Owner: fmt.Sprint(i % 3), MaxWait: time.Hour})
								if err != nil {
									return
								}
								s.Sent()
								mu.Lock()
								now.arrive()
								mu.Unlock()
								time.Sleep(time.Second)
								s.Done(true)
							}
						})
					}
					time.Sleep(4*from[0].Window + 10300*time.Millisecond)
					m.Declare("a", "app", "app", to)
					if others {
						time.Sleep(5 * time.Second) // the other is told a little later
						other.Declare("a", "app", "app", to)
					}
					mu.Lock()
					since := time.Now().Add(-to[0].Window)
					for _, at := range free.counted {
						if at.After(since) {
							w.counted = append(w.counted, at)
						}
					}
					if over := len(w.counted) - to[0].N; over > 0 { // sent under the old limit, when it was the right one
						w.counted = w.counted[over:]
					}
					now = w
					mu.Unlock()
					time.Sleep(5 * to[0].Window)
					cancel()
					wg.Wait()
					if w.refused > 0 {
						t.Errorf("%d requests too many", w.refused)
					}
					if min := 4 * to[0].N; len(w.counted) < min {
						t.Errorf("%d requests in five windows of %s", len(w.counted), to[0])
					}
				})
			})
		}
	}
}

// silent is a ledger that does not answer while it is cut off.
type silent struct {
	quota.Ledger
	mu  sync.Mutex
	cut bool
}

func (l *silent) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

func (l *silent) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	if cut {
		<-ctx.Done()
		return ctx.Err()
	}
	return l.Ledger.UpdateQuota(ctx, bucket, fn)
}

// A process that is cut off from the ledger gives no slot, whatever the bucket; all who wait hear so together, and those who come next at once.
func TestCutOff(t *testing.T) {
	for name, texts := range map[string][]string{"limited": {"1000/1s", "100000/1h"}, "small": {"10/1m"}, "without limits": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ledger := &silent{Ledger: quotatest.NewMemory()}
				b := quota.NewManager(ledger).Declare("a", "app", "app", limits(t, texts...))
				held, err := b.Take(t.Context(), quota.Ask{Owner: "a"})
				if err != nil {
					t.Fatal(err)
				}
				ledger.set(true)
				time.Sleep(3 * time.Second) // past what is believed unread
				begin := time.Now()
				var wg sync.WaitGroup
				for i := range 64 {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 100 * time.Millisecond)
						if s, err := b.Take(t.Context(), quota.Ask{Owner: fmt.Sprint(i), MaxWait: time.Hour}); err == nil {
							t.Error("a slot without a ledger")
							s.Done(true)
						}
					})
				}
				if err := held.Ready(); err == nil && texts != nil {
					t.Error("a slot of three seconds ago may be used though the ledger cannot be told")
				}
				wg.Wait()
				if d := time.Since(begin); d > 25*time.Second {
					t.Errorf("told after %v", d)
				}
				begin = time.Now()
				if _, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour}); err == nil || time.Since(begin) > 0 {
					t.Errorf("the next one hears %v after %v", err, time.Since(begin))
				}
				ledger.set(false)
				time.Sleep(6 * time.Second)
				s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				s.Sent()
				s.Done(true)
				held.Done(true)
				time.Sleep(time.Minute)
			})
		})
	}
}

// Who will not wait is told at once, also when slots are on their way that somebody else gets.
func TestDeferredThoughSlotsAreComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limit{N: 2, Window: time.Minute}
		b := quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", l)
		drain(t, b)
		time.Sleep(l.Window + 200*time.Millisecond) // within what is taken ahead
		begin := time.Now()
		var mu sync.Mutex
		got, sent := 0, 0
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				s, err := b.Take(t.Context(), quota.Ask{MaxWait: time.Second})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					sent++
					return
				}
				got++
				s.Sent()
				s.Done(true)
			})
		}
		wg.Wait()
		if got != 2 || sent != 3 || time.Since(begin) > time.Second {
			t.Errorf("%d got a slot, %d were sent away, in %v", got, sent, time.Since(begin))
		}
	})
}

// A view of the bucket for people: what the window holds over all processes, and who waits.
func TestUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := quotatest.NewMemory()
		l := limits(t, "10/1m")
		mine, other := quota.NewManager(ledger).Declare("a", "app", "app", l), quota.NewManager(ledger).Declare("a", "app", "app", l)
		for i, b := range []*quota.Bucket{other, other, other, mine, mine} {
			s, err := b.Take(t.Context(), quota.Ask{Owner: fmt.Sprint(i), MaxWait: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			s.Sent()
			s.Done(true)
		}
		if u := mine.Use(); u.Used != 5 || u.Limit != 10 || u.Window != time.Minute || u.Bucket != "app" || u.Waiting != 0 || !u.NextFree.IsZero() {
			t.Errorf("%+v", u)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				s, err := mine.Take(ctx, quota.Ask{Owner: fmt.Sprint(i % 3), MaxWait: time.Hour, OnWait: func(observe.WaitStarted) {}})
				if err == nil {
					s.Sent()
					s.Done(true)
				}
			})
		}
		synctest.Wait()
		if u := mine.Use(); u.Used != 10 || u.Waiting != 7 || u.Owners != 3 || time.Until(u.NextFree) < 59*time.Second {
			t.Errorf("%+v", u)
		}
		cancel()
		wg.Wait()
		if u := mine.Use(); u.Waiting != 0 || u.Owners != 0 {
			t.Errorf("%+v", u)
		}
	})
}

// A bucket at rest costs little memory and no goroutine.
func TestIdleBucket(t *testing.T) {
	for _, text := range []string{"10/1m", "60/1m", "1000/1s"} {
		synctest.Test(t, func(t *testing.T) {
			const n = 1000
			heap := func() int64 {
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc)
			}
			m := quota.NewManager(nothing{})
			before, goroutines := heap(), runtime.NumGoroutine()
			for i := range n {
				owner := fmt.Sprint(i)
				b := m.Declare(owner, "https://ads.example.com|"+owner, owner, limits(t, text))
				for range 10 {
					s, err := b.Take(t.Context(), quota.Ask{Owner: owner, MaxWait: time.Hour})
					if err != nil {
						t.Fatal(err)
					}
					s.Sent()
					s.Done(true)
				}
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			each := (heap() - before) / n
			t.Logf("%s: %d bytes for a bucket at rest", text, each)
			if each > 2048 {
				t.Errorf("%d bytes for a bucket of %s at rest", each, text)
			}
			if g := runtime.NumGoroutine(); g > goroutines+2 {
				t.Errorf("%d goroutines, %d before", g, goroutines)
			}
			runtime.KeepAlive(m)
		})
	}
}

// nothing is a ledger that keeps nothing: what a bucket costs is not what its ledger does.
type nothing struct{}

func (nothing) UpdateQuota(_ context.Context, _ string, fn func([]byte, time.Time) ([]byte, error)) error {
	_, err := fn(nil, time.Now())
	return err
}
