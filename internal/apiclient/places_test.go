package apiclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
)

// placesBed is a platform that takes a tenth of a second for an answer and never gives one to paths with "hang".
type placesBed struct {
	*bed
	now, most atomic.Int64
	hanging   atomic.Int64
}

func newPlacesBed(t *testing.T, n int) *placesBed {
	p := &placesBed{}
	p.bed = newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		v := p.now.Add(1)
		defer p.now.Add(-1)
		for m := p.most.Load(); v > m && !p.most.CompareAndSwap(m, v); m = p.most.Load() {
		}
		if strings.Contains(r.URL.Path, "hang") {
			p.hanging.Add(1)
			defer p.hanging.Add(-1)
			silent(w, r)
			return
		}
		time.Sleep(100 * time.Millisecond)
		ok(w, r)
	}, nil)
	p.cfg.Shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: p.net.dial, MaxInFlight: n})
	p.client = p.another("acme", nil)
	t.Cleanup(p.cfg.Shared.CloseIdle)
	return p
}

// warm makes a request, so that there is a token.
func (p *placesBed) warm() {
	p.t.Helper()
	if err := p.list(); err != nil {
		p.t.Fatal(err)
	}
}

// No more requests are out at once than there are places, and none is left empty while enough connections have work.
func TestRequestsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacesBed(t, 8)
		p.warm()
		begin := time.Now()
		var wg sync.WaitGroup
		for _, c := range p.many(20) {
			for i := range 10 {
				wg.Go(func() {
					if err := p.syncBy(c, fmt.Sprint(i)); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if p.most.Load() != 8 {
			t.Errorf("%d at once", p.most.Load())
		}
		if took := time.Since(begin); took > 2600*time.Millisecond {
			t.Errorf("200 requests took %v", took)
		}
	})
}

// One connection with many requests does not starve those that have one each.
func TestConnectionsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacesBed(t, 10)
		p.warm()
		greedy := p.another("greedy", func(c *apiclient.Config) { c.Bucket = plenty() })
		var done atomic.Int64
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				if err := p.syncBy(greedy, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
				done.Add(1)
			})
		}
		synctest.Wait()
		begin := time.Now()
		allWell(t, p.together(p.many(99)))
		// All of its share at first, and a turn like everybody else's from then on.
		if took, n := time.Since(begin), done.Load(); took > 1200*time.Millisecond || n > 25 {
			t.Errorf("99 waited for %v, in which the greedy one had %d", took, n)
		}
		wg.Wait()
	})
}

// plenty is a quota that is never used up: without one the limiter would bound a connection first.
func plenty() *quota.Bucket {
	return quota.NewManager(quotatest.NewMemory()).Bucket("plenty", "plenty", quota.Limit{N: 100_000, Window: time.Second})
}

// Connections that hang cost the others no more than the places that they hold: few when they begin, however many requests they have, and one each
// when they have hung for a while.
func TestHangingConnectionsLeavePlaces(t *testing.T) {
	for _, hanging := range []int{1, 3, 10} {
		t.Run(fmt.Sprint(hanging), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 128
				p := newPlacesBed(t, n)
				p.warm()
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for i := range hanging {
					c := p.another(fmt.Sprintf("hanging-%d", i), func(c *apiclient.Config) { c.Bucket = plenty() })
					for j := range 64 {
						wg.Go(func() {
							for ctx.Err() == nil {
								if _, err := c.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: fmt.Sprintf("/hang/%d", j)}); err == nil {
									t.Error("it answered")
								}
							}
						})
					}
				}
				others := p.many(100)
				for _, most := range []int{8, 1} {
					synctest.Wait()
					held := int(p.hanging.Load())
					if held > hanging*most {
						t.Fatalf("%d connections hold %d of %d places", hanging, held, n)
					}
					begin := time.Now()
					for range 5 {
						allWell(t, p.together(others))
					}
					// As quick as the other places allow.
					rounds := (len(others) + n - held - 1) / (n - held)
					if took, want := time.Since(begin), time.Duration(5*rounds)*100*time.Millisecond; took > want+time.Second/10 {
						t.Errorf("took %v, want %v with %d of %d places", took, want, n-held, n)
					}
					time.Sleep(5 * time.Minute)
				}
				cancel()
				wg.Wait()
			})
		})
	}
}

// Nor do they cost the others of a common quota more slots than those of the requests that are out.
func TestHangingConnectionLeavesSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacesBed(t, 128)
		p.warm()
		common := quota.NewManager(quotatest.NewMemory()).Bucket("app", "app", quota.Limit{N: 100, Window: time.Minute})
		of := func(c *apiclient.Config) { c.Bucket = common }
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		hanging := p.another("hanging", of)
		for i := range 64 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, _ = hanging.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: fmt.Sprintf("/hang/%d", i)})
				}
			})
		}
		synctest.Wait()
		var well atomic.Int64
		for i := range 20 {
			c := p.another(fmt.Sprint(i), of)
			wg.Go(func() {
				for {
					if _, err := c.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: "/x"}); err != nil {
						return
					}
					well.Add(1)
				}
			})
		}
		wg.Wait()
		if well.Load() < 900 {
			t.Errorf("%d of 1000 slots were used by those that are well", well.Load())
		}
	})
}

// A connection's share grows with what it has to do, to half of all places, and is small again after it has hung.
func TestShareOfPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacesBed(t, 64)
		p.warm()
		c := p.another("busy", func(c *apiclient.Config) { c.Bucket = plenty() })
		work := func(path string) (took time.Duration) {
			begin := time.Now()
			var wg sync.WaitGroup
			for range 320 {
				wg.Go(func() { _ = p.syncBy(c, path) })
			}
			wg.Wait()
			return time.Since(begin)
		}
		if work("1"); p.most.Load() != 32 {
			t.Errorf("%d of 64 places for one connection", p.most.Load())
		}
		if took := work("1"); took > 1100*time.Millisecond {
			t.Errorf("320 requests took %v", took)
		}
	})
}

// Who waits for a slot, because the server asked for it, before another try or for a host, holds no place.
func TestWaitingHoldsNoPlace(t *testing.T) {
	for name, tt := range map[string]struct {
		limits []quota.Limit
		answer http.HandlerFunc
	}{
		"quota":         {limits: []quota.Limit{{N: 1, Window: time.Minute}}, answer: ok},
		"server":        {answer: first(1, status(503, ``, "Retry-After", "60"), ok)},
		"between tries": {answer: first(3, status(500, ``), ok)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
					if strings.Contains(r.URL.Path, "slow") {
						tt.answer(w, r)
						return
					}
					ok(w, r)
				}, nil)
				b.cfg.Shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: b.net.dial, MaxInFlight: 1})
				t.Cleanup(b.cfg.Shared.CloseIdle)
				slow := b.another("slow", func(c *apiclient.Config) {
					c.Bucket = quota.NewManager(quotatest.NewMemory()).Bucket("b", "b", tt.limits...)
					c.Rand = func() float64 { return 0.99 }
				})
				other := b.another("other", nil)
				errs := make(chan error, 2)
				for range cap(errs) {
					go func() { errs <- b.syncBy(slow, "slow") }()
				}
				synctest.Wait()
				begin := time.Now()
				for range 10 {
					if err := b.syncBy(other, "1"); err != nil {
						t.Error(err)
					}
				}
				if took := time.Since(begin); took > 10*time.Millisecond {
					t.Errorf("took %v", took)
				}
				for range cap(errs) {
					if err := <-errs; err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// A wait for a place is told when it is long, once for the connection, and counts neither as quota nor as the server's order.
func TestWaitForAPlaceIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacesBed(t, 1)
		p.warm()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		hanging := p.another("hanging", nil)
		gone := make(chan struct{})
		go func() {
			_, _ = hanging.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: "/hang"})
			close(gone)
		}()
		synctest.Wait()
		p.client.Begin()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := p.list(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		<-gone
		worker := func(r observe.WaitReason) bool { return r == observe.WaitWorker }
		if n := count(p.bed, func(w observe.WaitStarted) bool {
			return worker(w.Reason) && w.Until.IsZero() && w.Note == "all 1 workers are busy"
		}); n != 1 {
			t.Errorf("%d waits told", n)
		}
		if n := count(p.bed, func(w observe.WaitEnded) bool { return worker(w.Reason) && w.Waited > 10*time.Second }); n != 1 {
			t.Errorf("%d ends of waits told", n)
		}
		if w := p.client.Stats().Waited; w != 0 {
			t.Errorf("waited %v for a quota", w)
		}
	})
}

// Who leaves while it waits for a place, gives its slot back; a connector that panics leaves its place.
func TestPlacesAndSlotsAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacesBed(t, 1)
		p.warm()
		scarce := p.another("scarce", func(c *apiclient.Config) {
			c.Bucket = quota.NewManager(quotatest.NewMemory()).Bucket("s", "s", quota.Limit{N: 2, Window: time.Hour})
			c.MaxWait = time.Minute
		})
		hang := func(d time.Duration) (gone chan struct{}) {
			gone = make(chan struct{})
			ctx, cancel := context.WithTimeout(t.Context(), d)
			go func() {
				defer cancel()
				_, _ = p.client.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: "/hang"})
				close(gone)
			}()
			synctest.Wait()
			return gone
		}
		gone := hang(20 * time.Second)
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := scarce.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: "/x"}); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		<-gone
		for range 3 {
			func() {
				defer func() { _ = recover() }()
				_, _ = p.client.Do(t.Context(), platform.Request{Endpoint: "x", Method: "GET", Path: "/x", Parse: func(platform.Reply) error { panic("bug") }})
			}()
		}
		for range 2 {
			if err := p.syncBy(scarce, "1"); err != nil {
				t.Error(err)
			}
		}
		wantClass(t, p.syncBy(scarce, "1"), ads.ClassDeferred, "quota")
	})
}

// A connection that hangs in all the places it may have does not keep the token from those who share it, though it was the one to ask for it.
func TestTokenNeedsNoShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacesBed(t, 4)
		p.warm()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		hanging := p.another("hanging", func(c *apiclient.Config) { c.Timeout, c.Grace = 2*time.Hour, time.Second })
		hang := func() {
			for i := range 3 {
				wg.Go(func() {
					_, _ = hanging.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: fmt.Sprintf("/hang/%d", i)})
				})
			}
			synctest.Wait()
		}
		hang()
		time.Sleep(50 * time.Minute) // the token is due
		hang()
		begin := time.Now()
		allWell(t, p.together(p.many(4)))
		if took := time.Since(begin); took > time.Second || p.tokens != 2 {
			t.Errorf("took %v, %d tokens", took, p.tokens)
		}
		cancel()
		wg.Wait()
	})
}

// A request that has its slot when the host goes down does not leave, unless it is the one to probe; it gives the slot back, and has another when the host is
// up again.
func TestSlotsAreNotSpentOnAHostThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		var mu sync.Mutex
		var while []time.Time
		b := newBed(t, []quota.Limit{{N: 1, Window: 2 * time.Second}}, nil, func(w http.ResponseWriter, r *http.Request) {
			if !down.Load() {
				ok(w, r)
				return
			}
			if r.URL.Path != "/health" {
				mu.Lock()
				while = append(while, time.Now())
				mu.Unlock()
			}
			status(503, ``)(w, r)
		}, nil)
		b.client = b.another("x", func(c *apiclient.Config) { c.Bucket = b.cfg.Bucket })
		if err := b.list(); err != nil {
			t.Fatal(err)
		}
		down.Store(true)
		time.AfterFunc(3*time.Minute, func() { down.Store(false) })
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				if err := b.syncBy(b.client, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(while) > 15 {
			t.Errorf("%d requests to a host that was down", len(while))
		}
	})
}

// As many connections are kept open between requests as may be in use at once: none is opened anew in each round.
func TestIdleConnectionsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlacesBed(t, 128)
		p.warm()
		clients := p.many(128)
		allWell(t, p.together(clients))
		before := p.net.dials.Load()
		for range 5 {
			allWell(t, p.together(clients))
		}
		if n := p.net.dials.Load() - before; n > 0 {
			t.Errorf("%d connections were opened anew", n)
		}
	})
}
