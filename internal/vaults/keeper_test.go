package vaults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"adsync/internal/secret"
	"adsync/internal/vaults/internal/source"
)

func TestMain(m *testing.M) {
	isolate()
	goleak.VerifyTestMain(m)
}

// shelf is a store in memory whose answers take a while.
type shelf struct {
	takes  time.Duration
	answer func(doc string, n int) (*source.Document, error) // n counts the requests for doc, from 1; nil: the doc's name and n

	mu     sync.Mutex
	asked  map[string]int
	flying int
	most   int
	closed bool
}

func (s *shelf) Parse(ref string) (source.Reference, error) {
	doc, key, err := source.Cut(ref)
	return source.Reference{Doc: doc, Key: key}, err
}

func (s *shelf) Fetch(ctx context.Context, doc string) (*source.Document, error) {
	s.mu.Lock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[doc]++
	n := s.asked[doc]
	s.flying++
	s.most = max(s.most, s.flying)
	closed := s.closed
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.flying--
		s.mu.Unlock()
	}()
	if closed {
		panic("asked after Close")
	}
	t := time.NewTimer(s.takes)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return nil, source.Network("the shelf", ctx.Err(), "wait")
	}
	if s.answer != nil {
		return s.answer(doc, n)
	}
	return source.Whole([]byte(fmt.Sprintf(`{"n": "%s-%d"}`, doc, n))), nil
}

func (s *shelf) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func (s *shelf) count(doc string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[doc]
}

func want(t *testing.T, v secret.Text, err error, text string) {
	t.Helper()
	if err != nil || v.Reveal() != text {
		t.Errorf("got %q, %v, want %q", v.Reveal(), err, text)
	}
}

// A hundred connections that name one path cost one request, and for five minutes no other; then one more.
func TestSharedAndRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{takes: 100 * time.Millisecond}
		k := newKeeper(s, 5*time.Minute)
		defer k.Close()
		ask := func(text string) {
			t.Helper()
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * time.Millisecond)
					v, err := k.Resolve(t.Context(), "a#n")
					want(t, v, err, text)
				})
			}
			wg.Wait()
		}
		ask("a-1")
		time.Sleep(4 * time.Minute)
		ask("a-1")
		time.Sleep(time.Minute)
		ask("a-2")
		if s.count("a") != 2 {
			t.Errorf("%d requests", s.count("a"))
		}
	})
}

// What is asked for anew was read after it was asked for, however many ask at once, and they share.
func TestFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{takes: 100 * time.Millisecond}
		k := newKeeper(s, 5*time.Minute)
		defer k.Close()
		v, err := k.Resolve(t.Context(), "a#n")
		want(t, v, err, "a-1")
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				since := time.Now()
				v, err := k.Fresh(t.Context(), "a#n", since)
				// The first asks for a-2. Those who come while that is under way want what begins later.
				text := "a-3"
				if i == 0 {
					text = "a-2"
				}
				want(t, v, err, text)
			})
		}
		wg.Wait()
		v, err = k.Resolve(t.Context(), "a#n")
		want(t, v, err, "a-3")
		if s.count("a") != 3 {
			t.Errorf("%d requests", s.count("a"))
		}
	})
}

// At most a few requests are in flight, whatever is asked for, and everybody is served.
func TestFewInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{takes: 10 * time.Millisecond}
		k := newKeeper(s, 5*time.Minute)
		defer k.Close()
		var wg sync.WaitGroup
		for i := range 10_000 {
			wg.Go(func() {
				v, err := k.Resolve(t.Context(), fmt.Sprintf("d%d#n", i))
				want(t, v, err, fmt.Sprintf("d%d-1", i))
			})
		}
		wg.Wait()
		if s.most > inFlight {
			t.Errorf("%d at once", s.most)
		}
	})
}

// Trouble that can pass is tried again a bounded number of times, after the time that the store names; other failures are not.
func TestTries(t *testing.T) {
	for name, c := range map[string]struct {
		err       source.Error
		tries     int
		low, high time.Duration
	}{
		"unavailable":        {source.Error{Kind: source.Unavailable}, tries, 0, 6 * time.Second},
		"throttled, told":    {source.Error{Kind: source.Throttled, Wait: 3 * time.Second}, tries, 9 * time.Second, 9 * time.Second},
		"told beyond bounds": {source.Error{Kind: source.Throttled, Wait: time.Minute}, 1, 0, 0},
		"denied":             {source.Error{Kind: source.Denied}, 1, 0, 0},
		"no such key":        {source.Error{Kind: source.NoSecret}, 1, 0, 0},
		"bad answer":         {source.Error{Kind: source.BadAnswer}, 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{answer: func(string, int) (*source.Document, error) {
					e := c.err
					e.Message = "no"
					return nil, &e
				}}
				k := newKeeper(s, time.Minute)
				defer k.Close()
				began := time.Now()
				_, err := k.Resolve(t.Context(), "a#n")
				took := time.Since(began)
				if err == nil || s.count("a") != c.tries || took < c.low || took > c.high {
					t.Errorf("%v after %d tries in %s", err, s.count("a"), took)
				}
				if c.err.Wait > 10*time.Second && !strings.Contains(err.Error(), "left alone for 1m0s") {
					t.Errorf("the wait is not said: %v", err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{answer: func(_ string, n int) (*source.Document, error) {
			if n < tries {
				return nil, &source.Error{Kind: source.Unavailable, Message: "no"}
			}
			return source.Whole([]byte("good")), nil
		}}
		k := newKeeper(s, time.Minute)
		defer k.Close()
		v, err := k.Resolve(t.Context(), "a")
		want(t, v, err, "good")
	})
}

// A store that hangs costs a bounded time, for all its documents together.
func TestDeadStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{takes: time.Hour}
		k := newKeeper(s, 5*time.Minute)
		defer k.Close()
		began := time.Now()
		var wg sync.WaitGroup
		next := make(chan int)
		for range 16 {
			wg.Go(func() {
				for i := range next {
					if _, err := k.Resolve(t.Context(), fmt.Sprintf("d%d#n", i)); err == nil {
						t.Error("got an answer")
					}
				}
			})
		}
		for i := range 10_000 {
			next <- i
		}
		close(next)
		wg.Wait()
		if took := time.Since(began); took > 2*fetchWithin {
			t.Errorf("took %s", took)
		}
		// It comes back.
		time.Sleep(errorsHold)
		s.takes = time.Millisecond
		if _, err := k.Resolve(t.Context(), "x#n"); err != nil {
			t.Error(err)
		}
	})
}

// A failure is remembered for a moment only, and not for those who ask anew.
func TestFailureIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		s := &shelf{takes: time.Millisecond, answer: func(string, int) (*source.Document, error) {
			if broken.Load() {
				return nil, &source.Error{Kind: source.NoSecret, Message: "no"}
			}
			return source.Whole([]byte("good")), nil
		}}
		k := newKeeper(s, 5*time.Minute)
		defer k.Close()
		for range 50 {
			if _, err := k.Resolve(t.Context(), "a"); err == nil {
				t.Fatal("got an answer")
			}
		}
		if s.count("a") != 1 {
			t.Errorf("%d requests", s.count("a"))
		}
		broken.Store(false)
		v, err := k.Fresh(t.Context(), "a", time.Now())
		want(t, v, err, "good")
		broken.Store(true)
		if _, err = k.Fresh(t.Context(), "a", time.Now()); err == nil {
			t.Error("got an answer that is not fresh")
		}
	})
}

// Who gives up does not spoil it for others; what nobody waits for is given up.
func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{takes: 5 * time.Second}
		k := newKeeper(s, 5*time.Minute)
		defer k.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := k.Resolve(ctx, "a#n"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		wg.Go(func() {
			v, err := k.Resolve(t.Context(), "a#n")
			want(t, v, err, "a-1")
		})
		wg.Wait()

		ctx2, cancel2 := context.WithCancel(t.Context())
		wg.Go(func() { _, _ = k.Resolve(ctx2, "b#n") })
		synctest.Wait()
		cancel2()
		wg.Wait()
		v, err := k.Resolve(t.Context(), "b#n") // not joined to what was given up
		want(t, v, err, "b-2")
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.flying != 0 {
			t.Errorf("%d requests go on for nobody", s.flying)
		}
	})
}

// A document on loan lasts as long as its loan, and the store is told when it is not given out any more.
func TestLoan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped []int
		s := &shelf{answer: func(doc string, n int) (*source.Document, error) {
			d := source.Whole(fmt.Appendf(nil, "%s-%d", doc, n))
			ends := time.Now().Add(time.Hour)
			d.Until = func() time.Time { return ends }
			d.Drop = func() { dropped = append(dropped, n) }
			return d, nil
		}}
		k := newKeeper(s, time.Minute)
		defer k.Close()
		for range 59 {
			v, err := k.Resolve(t.Context(), "a")
			want(t, v, err, "a-1")
			time.Sleep(time.Minute)
		}
		v, err := k.Fresh(t.Context(), "a", time.Now())
		want(t, v, err, "a-2")
		time.Sleep(time.Hour)
		v, err = k.Resolve(t.Context(), "a")
		want(t, v, err, "a-3")
		if fmt.Sprint(dropped) != "[1 2]" {
			t.Errorf("dropped %v", dropped)
		}
	})
}

func TestClosePanicAndAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{takes: time.Hour}
		k := newKeeper(s, time.Minute)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := k.Resolve(t.Context(), "a#n"); err == nil {
				t.Error("got an answer")
			}
		})
		synctest.Wait()
		k.Close()
		k.Close()
		wg.Wait()
		if _, err := k.Resolve(t.Context(), "b#n"); err == nil {
			t.Error("asked after Close")
		}
		p := newKeeper(&shelf{answer: func(string, int) (*source.Document, error) { panic("c4n4ry") }}, time.Minute)
		defer p.Close()
		if _, err := p.Resolve(t.Context(), "a"); err == nil || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("got %v", err)
		}
	})
	a := absent{scheme: "gcp", tag: "nogcp", name: "Google Secret Manager"}
	_, err := a.Resolve(t.Context(), "x")
	if err == nil || !strings.Contains(err.Error(), "left out of this build by the build tag nogcp") || err.Error() != a.Check("x").Error() {
		t.Errorf("got %v", err)
	}
}

// However many ask for what in whichever order, nobody gets what was read before he wanted, or after it had ended, and no more is asked
// than is needed.
func TestKeeperProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		type step struct {
			after time.Duration
			doc   string
			fresh bool
			gone  time.Duration // who asks gives up after that; 0: never
		}
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
			return step{
				after: time.Duration(rapid.IntRange(0, 40).Draw(r, "after")) * 10 * time.Millisecond, doc: rapid.SampledFrom([]string{"a", "b"}).Draw(r, "doc"),
				fresh: rapid.Bool().Draw(r, "fresh"), gone: rapid.SampledFrom([]time.Duration{0, 0, 55 * time.Millisecond}).Draw(r, "gone"),
			}
		}), 1, 30).Draw(r, "steps")
		const ttl = time.Second
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			read := map[string]time.Time{} // when the request for a value began
			s := &shelf{takes: 100 * time.Millisecond, answer: func(doc string, n int) (*source.Document, error) {
				v := fmt.Sprintf("%s-%d", doc, n)
				mu.Lock()
				read[v] = time.Now().Add(-100 * time.Millisecond)
				mu.Unlock()
				return source.Whole([]byte(v)), nil
			}}
			k := newKeeper(s, ttl)
			defer k.Close()
			var wg sync.WaitGroup
			for _, st := range steps {
				time.Sleep(st.after)
				wg.Go(func() {
					ctx, asked, since := t.Context(), time.Now(), time.Time{}
					if st.gone > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, st.gone)
						defer cancel()
					}
					if st.fresh {
						since = asked
					}
					v, err := k.Fresh(ctx, st.doc, since)
					if err != nil {
						if st.gone == 0 {
							t.Errorf("got %v", err)
						}
						return
					}
					mu.Lock()
					at := read[v.Reveal()]
					mu.Unlock()
					if st.fresh && at.Before(asked) {
						t.Errorf("%s was read %s before it was wanted", v.Reveal(), asked.Sub(at))
					}
					if asked.Sub(at) >= ttl {
						t.Errorf("%s had ended %s before", v.Reveal(), asked.Sub(at)-ttl)
					}
				})
			}
			wg.Wait()
			if n := s.count("a") + s.count("b"); n > len(steps) {
				t.Errorf("%d requests for %d questions", n, len(steps))
			}
		})
	})
}
