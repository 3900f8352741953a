package apiclient_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
)

// A host that goes down when a token is due: the request that may probe waits for the token, and the token request must not wait for that probe.
func TestTokenIsDueWhileTheHostIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		down := func() bool { d := time.Since(begin); return d > time.Minute && d < 3*time.Minute }
		fail := status(503, ``)
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if down() {
				fail(w, r)
				return
			}
			ok(w, r)
		}, func(w http.ResponseWriter, r *http.Request) {
			if down() {
				fail(w, r)
				return
			}
			giveToken(w, 1, "100")
		})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for time.Since(begin) < 5*time.Minute {
					if err := b.sync(fmt.Sprint(i)); err != nil {
						t.Errorf("after %v: %v", time.Since(begin), err)
						return
					}
					time.Sleep(time.Second)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took > 5*time.Minute+40*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A host that was down for longer than anybody waited is asked again by whoever comes later.
func TestNewcomerAfterALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				status(503, ``)(w, r)
				return
			}
			ok(w, r)
		}, func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				status(503, ``)(w, r)
				return
			}
			giveToken(w, 1, "86400")
		})
		if err := b.list(); err != nil {
			t.Fatal(err)
		}
		down.Store(true)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() { wantClass(t, b.sync(fmt.Sprint(i)), ads.ClassTransient, apiclient.CodeOutage) })
		}
		wg.Wait()
		time.Sleep(time.Hour)
		begin := time.Now()
		wantClass(t, b.list(), ads.ClassTransient, apiclient.CodeOutage) // still down: one probe tells
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("told after %v", took)
		}
		down.Store(false)
		begin = time.Now()
		if err := b.list(); err != nil || time.Since(begin) > time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// I4: while a host is down no single request is sent more than eight times, however long it takes, where there are others to probe.
func TestProbesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		calls := map[string]int{}
		var down atomic.Bool
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/health" || !down.Load() {
				ok(w, r) // the health page lies
				return
			}
			mu.Lock()
			calls[r.URL.Path]++
			mu.Unlock()
			status(503, ``)(w, r)
		}, nil)
		if err := b.list(); err != nil {
			t.Fatal(err)
		}
		down.Store(true)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { wantClass(t, b.sync(fmt.Sprint(i)), ads.ClassTransient, apiclient.CodeOutage) })
		}
		wg.Wait()
		total := 0
		for path, n := range calls {
			total += n
			if n > 8 {
				t.Errorf("%s was called %d times", path, n)
			}
		}
		if total > 60 {
			t.Errorf("%d requests while down", total)
		}
	})
}

// A health page that is out of order does not keep a host down that answers everything else.
func TestBrokenHealthPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/health" || (time.Since(begin) > time.Minute && time.Since(begin) < time.Minute+5*time.Second) {
				status(503, ``)(w, r)
				return
			}
			time.Sleep(100 * time.Millisecond)
			ok(w, r)
		}, nil)
		for time.Since(begin) < 3*time.Minute {
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					if err := b.sync(fmt.Sprint(i)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		if took := time.Since(begin); took > 4*time.Minute {
			t.Errorf("took %v", took)
		}
	})
}

// A connector that panics takes nothing with it: its slot, its turn to prove a token, its probe.
func TestPanicLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 100, Window: time.Minute}}, nil, ok, nil)
		for range 20 {
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
				}()
				_, _ = b.client.Do(t.Context(), platform.Request{
					Endpoint: "list campaigns", Method: "GET", Path: "/x", Repeatable: true, Parse: func(platform.Reply) error { panic("bug") },
				})
			}()
		}
		begin := time.Now()
		if err := b.list(); err != nil || time.Since(begin) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// Nor the one place that there is after a refusal.
func TestPanicAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 100, Window: time.Minute}}, nil, first(1, status(429, ``, "Retry-After", "1"), ok), nil)
		func() {
			defer func() { _ = recover() }()
			_, _ = b.client.Do(t.Context(), platform.Request{
				Endpoint: "list campaigns", Method: "GET", Path: "/x", Repeatable: true, Parse: func(platform.Reply) error { panic("bug") },
			})
		}()
		begin := time.Now()
		if err := b.list(); err != nil || time.Since(begin) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// One request that always fails, alone, is not taken for an outage while the health page answers (fault 91).
func TestOneBadRequestIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/health" {
				ok(w, r)
				return
			}
			status(500, ``)(w, r)
		}, nil)
		for range 3 {
			wantClass(t, b.sync("bad"), ads.ClassTransient, "http_500")
		}
		if n := count(b, func(observe.Circuit) bool { return true }); n > 0 {
			t.Errorf("%d circuit events", n)
		}
	})
}

type panicking struct{ *adplatform.Platform }

func (panicking) ParseToken(platform.Reply) (platform.Token, error) { panic("bug") }

// One that panics on the token answer, on a goroutine of the client's, fails its connection and no more.
func TestPanicOnTheTokenAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, func(c *apiclient.Config) { c.Platform = panicking{adplatform.New(adplatform.Options{Account: "acme"})} }, ok, nil)
		wantClass(t, b.list(), ads.ClassInternal, "panic")
	})
}

// A caller that has left already sends nothing.
func TestCancelledBeforehand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("SIGTERM")
		cancel(cause)
		if _, err := b.client.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: "/x"}); !errors.Is(err, cause) || b.calls+b.tokens > 0 {
			t.Errorf("%v, %d requests", err, b.calls+b.tokens)
		}
	})
}

// One that leaves while a connection is being made does not wait for it: nothing has been sent.
func TestCancelledWhileDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, func(c *apiclient.Config) {
			c.Shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: func(context.Context, string, string) (net.Conn, error) {
				time.Sleep(10 * time.Second) // net/http goes on dialling, for the next request
				return nil, errRefused
			}})
		}, ok, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begin := time.Now()
		_, err := b.client.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: "/x", NoAuth: true})
		if !errors.Is(err, context.Canceled) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		time.Sleep(10 * time.Second)
	})
}

// When all who wait for a token have left, nobody goes on asking for it.
func TestTokenRequestEndsWithItsWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, silent)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(40*time.Second, cancel) // in the second try
		if err := b.client.Login(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		time.Sleep(10 * time.Minute)
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.tokens > 2 {
			t.Errorf("%d token requests", b.tokens)
		}
	})
}

// Fault 10, from outside: another program with the same credentials fetches tokens, each of which ends ours.
func TestTokenRotatedByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var current atomic.Int64
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != fmt.Sprintf("Bearer %s-%d", canaryToken, current.Load()) {
				status(401, `{"error":"Token expired"}`)(w, r)
				return
			}
			ok(w, r)
		}, func(w http.ResponseWriter, _ *http.Request) { giveToken(w, int(current.Add(1)), "3600") })
		for range 100 {
			if err := b.list(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			if time.Now().Second()%7 == 0 {
				current.Add(1)
			}
		}
		if int64(b.tokens) > 40 {
			t.Errorf("%d token requests", b.tokens)
		}
	})
}

// A token that is due is renewed ahead; when that fails for a while the old one serves on to its end, and nobody waits for long.
func TestRenewalFailsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		n := 0
		b := newBed(t, nil, nil, ok, func(w http.ResponseWriter, r *http.Request) {
			if d := time.Since(begin); d > time.Minute && d < 14*time.Minute {
				silent(w, r)
				return
			}
			n++
			giveToken(w, n, "1000")
		})
		for time.Since(begin) < 20*time.Minute {
			before := time.Now()
			if err := b.sync("x"); err != nil {
				t.Fatalf("after %v: %v", time.Since(begin), err)
			}
			if took := time.Since(before); took > 6*time.Second {
				t.Errorf("after %v one took %v", time.Since(begin), took)
			}
			time.Sleep(5 * time.Second)
		}
		if n != 2 {
			t.Errorf("%d tokens", n)
		}
	})
}

// A token page that is down for longer than a token request may be tried ends the run, not one record after the other.
func TestTokenPageDownIsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, status(503, ``))
		e := wantClass(t, b.sync("1"), ads.ClassTransient, apiclient.CodeOutage)
		if e.Endpoint != "token" || b.calls > 0 {
			t.Errorf("%+v, %d calls", e, b.calls)
		}
	})
}

// Fault 2 under a quota: a request that waits for its slot for a minute finds a fresh token there, and no slot is lost over it.
func TestShortTokensUnderAQuota(t *testing.T) {
	for _, page := range []time.Duration{300 * time.Millisecond, 4 * time.Second} { // what the token page takes
		t.Run(page.String(), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { shortTokens(t, page) }) })
	}
}

func shortTokens(t *testing.T, page time.Duration) {
	var mu sync.Mutex
	issued, n, refused := time.Now(), 0, 0
	b := newBed(t, []quota.Limit{{N: 5, Window: time.Minute}}, nil, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		good := r.Header.Get("Authorization") == fmt.Sprintf("Bearer %s-%d", canaryToken, n) && time.Since(issued) < 3*time.Second
		if !good {
			refused++
		}
		mu.Unlock()
		if !good {
			status(401, `{"error":"Token expired"}`)(w, r)
			return
		}
		ok(w, r)
	}, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(page)
		mu.Lock()
		defer mu.Unlock()
		n++
		issued = time.Now()
		giveToken(w, n, "3")
	})
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := b.sync(fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if refused > 0 || n > 24 || time.Since(begin) > 9*time.Minute+10*time.Second+9*page {
		t.Errorf("%d refused, %d tokens, %v for 50 requests at 5 a minute", refused, n, time.Since(begin))
	}
}

type reporting struct {
	*adplatform.Platform
	share *atomic.Int64 // percent
}

func (p reporting) Classify(r platform.Reply) platform.Verdict {
	v := p.Platform.Classify(r)
	v.Usage = ads.Some(float64(p.share.Load()) / 100)
	return v
}

// Fault 30: a platform that says that 95 % are used is asked more slowly, and the user reads why.
func TestUsageOfAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var share atomic.Int64
		b := newBed(t, nil, func(c *apiclient.Config) {
			c.Platform = reporting{adplatform.New(adplatform.Options{Account: "acme"}), &share}
		}, ok, nil)
		run := func() time.Duration {
			begin := time.Now()
			for range 5 {
				if err := b.list(); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(begin)
		}
		fast := run()
		share.Store(95)
		if slow := run(); fast > time.Second || slow < 4*time.Second {
			t.Errorf("%v, at 95 %% %v", fast, slow)
		}
		if n := count(b, func(n observe.Note) bool {
			return n.Code == "slowing_down" && strings.Contains(n.Message, "slowing down at 95 %")
		}); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// count counts the events that fn accepts.
func count[T observe.Data](b *bed, fn func(T) bool) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if d, ok := e.Data.(T); ok && fn(d) {
			n++
		}
	}
	return n
}

// A wait of the whole connection is told once, not for each request, and counted as wall time.
func TestWaitsAreOfTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 10, Window: time.Minute}}, nil, ok, nil)
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				if err := b.sync(fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		took := time.Since(begin)
		if n := count(b, func(w observe.WaitStarted) bool {
			return w.Reason == observe.WaitQuota && w.Bucket == "acme" && w.Used == 10 && w.Limit == 10
		}); n != 3 {
			t.Errorf("%d waits told, want 3", n)
		}
		started, ended := count(b, func(observe.WaitStarted) bool { return true }), count(b, func(observe.WaitEnded) bool { return true })
		if ended == 0 || ended > started {
			t.Errorf("%d waits started, %d ended", started, ended)
		}
		if w := b.client.Stats().Waited; w > took || w < took-time.Second {
			t.Errorf("waited %v of %v", w, took)
		}
	})
}

// A critical request goes on, slowly, when the budget of retries is used up: a platform that fails a third of its pages can still be read.
func TestCriticalOutlivesTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/health" && n.Add(1)%3 == 0 {
				status(503, ``)(w, r)
				return
			}
			ok(w, r)
		}, nil)
		for range 500 {
			if err := b.list(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Without a quota the limiter decides how many requests are out: few at first, never more than 64, fewer when the platform struggles.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most, early atomic.Int64
		var struggling atomic.Bool
		begin := time.Now()
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			v := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); v > m && !most.CompareAndSwap(m, v); m = most.Load() {
			}
			if time.Since(begin) < 50*time.Millisecond {
				early.Store(max(early.Load(), v))
			}
			time.Sleep(100 * time.Millisecond)
			if struggling.Load() && v > 20 {
				status(503, ``)(w, r)
				return
			}
			ok(w, r)
		}, nil)
		var wg sync.WaitGroup
		load := func() {
			for i := range 200 {
				wg.Go(func() {
					for range 8 {
						_ = b.sync(fmt.Sprint(i))
					}
				})
			}
			wg.Wait()
		}
		load()
		if early.Load() > 8 || most.Load() > 64 || most.Load() < 48 {
			t.Errorf("%d out at first, %d at most", early.Load(), most.Load())
		}
		struggling.Store(true)
		refused := b.client.Stats().Requests
		load()
		refused = b.client.Stats().Requests - refused - 1600
		if refused > 200 {
			t.Errorf("%d of 1600 failed since too many were out", refused)
		}
	})
}

// failingConn fails its next write when told to, before anything has left.
type failingConn struct {
	net.Conn
	fail *atomic.Bool
}

func (c failingConn) Write(b []byte) (int, error) {
	if c.fail.Swap(false) {
		return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
	}
	return c.Conn.Write(b)
}

// A kept connection found dead before anything was written costs neither a slot nor a retry, for a request that may be repeated and for one that may not.
func TestNothingWritten(t *testing.T) {
	for _, repeatable := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var fail atomic.Bool
			var b *bed
			b = newBed(t, []quota.Limit{{N: 4, Window: time.Hour}}, func(c *apiclient.Config) {
				c.Shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: func(ctx context.Context, n, a string) (net.Conn, error) {
					conn, err := b.net.dial(ctx, n, a)
					return failingConn{conn, &fail}, err
				}})
				t.Cleanup(c.Shared.CloseIdle)
			}, ok, nil)
			for range 4 {
				_, err := b.client.Do(t.Context(), platform.Request{Endpoint: "x", Method: "POST", Path: "/x", Body: []byte(`{}`), Repeatable: repeatable})
				if err != nil {
					t.Fatal(err)
				}
				fail.Store(true)
			}
			if s := b.client.Stats(); s.Requests != 4 || s.Retries != 0 || b.calls != 4 {
				t.Errorf("%+v, the server saw %d", s, b.calls)
			}
		})
	}
}

// Fault 121: when this machine has no socket left, requests wait for one; no record fails for it, and the host is not taken to be down.
func TestNoSocketLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 10, Window: time.Hour}}, nil, ok, nil)
		if err := b.client.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.shared.CloseIdle()
		none := error(syscall.EMFILE)
		b.net.fail.Store(&none)
		time.AfterFunc(time.Minute, func() { b.net.fail.Store(nil) })
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if err := b.sync(fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := count(b, func(observe.Circuit) bool { return true }); n > 0 {
			t.Errorf("%d circuit events", n)
		}
	})
}

// The sockets that are kept for other hosts are given up for a host that has none.
func TestSocketsKeptForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *bed
		var open atomic.Int64
		b = newBed(t, nil, func(c *apiclient.Config) {
			c.Shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: func(ctx context.Context, n, a string) (net.Conn, error) {
				if open.Load() > 0 {
					return nil, &net.OpError{Op: "dial", Err: syscall.EMFILE}
				}
				conn, err := b.net.dial(ctx, n, a)
				if err == nil {
					open.Add(1)
					conn = closing{conn, &open}
				}
				return conn, err
			}})
			c.Rand = func() float64 { return 0 }
			t.Cleanup(c.Shared.CloseIdle)
		}, ok, nil)
		other := b.another("other", func(c *apiclient.Config) { c.BaseURL = "http://other.test" })
		for range 3 {
			begin := time.Now()
			for _, c := range []*apiclient.Client{b.client, other} {
				if err := b.listBy(c); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
		}
	})
}

type closing struct {
	net.Conn
	open *atomic.Int64
}

func (c closing) Close() error {
	c.open.Add(-1)
	return c.Conn.Close()
}

// Requests that fail for good are given up by themselves after an outage too, and do not keep the host down.
func TestBadRequestsAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			d := time.Since(begin)
			switch {
			case d > time.Minute && d < time.Minute+20*time.Second:
				status(503, ``)(w, r)
			case strings.Contains(r.URL.Path, "bad"):
				status(500, ``)(w, r)
			default:
				ok(w, r)
			}
		}, nil)
		if err := b.list(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() { wantClass(t, b.sync(fmt.Sprintf("bad%d", i)), ads.ClassTransient, "http_500") })
		}
		wg.Wait()
		if took := time.Since(begin); took > 6*time.Minute {
			t.Errorf("took %v", took)
		}
		if err := b.sync("good"); err != nil {
			t.Error(err)
		}
	})
}

// A body that comes slowly, but comes, is read to its end: silence is counted from its last byte.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				_, _ = w.Write([]byte(" "))
				w.(http.Flusher).Flush()
				time.Sleep(8 * time.Second)
			}
			_, _ = w.Write([]byte(`{"data":[],"pagination":{"total":0,"has_more":false}}`))
		}, nil)
		if err := b.list(); err != nil || b.client.Stats().Requests != 1 {
			t.Errorf("%v, %+v", err, b.client.Stats())
		}
	})
}

// A token that is said to last for ten days is renewed each day all the same.
func TestLongTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, func(w http.ResponseWriter, _ *http.Request) { giveToken(w, 1, "864000") })
		for range 2 {
			if err := b.list(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(25 * time.Hour)
		}
		if b.tokens != 2 {
			t.Errorf("%d tokens", b.tokens)
		}
	})
}

// Fault 5 with many requests at once, as when a run is resumed: few of them try a token that has not worked yet.
func TestFreshTokenRefusedToMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 100, Window: time.Minute}}, nil, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(100 * time.Millisecond)
			status(401, `{"error":"Unauthorized"}`)(w, r)
		}, nil)
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() { wantClass(t, b.sync(fmt.Sprint(i)), ads.ClassAuth, "fresh_token_refused") })
		}
		wg.Wait()
		if b.tokens > 3 || b.calls > 10 {
			t.Errorf("%d tokens, %d calls", b.tokens, b.calls)
		}
	})
}

// A token page that cannot renew a token which is still good is not asked again for each request.
func TestRenewalIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		b := newBed(t, nil, nil, ok, func(w http.ResponseWriter, r *http.Request) {
			if n++; n > 1 {
				status(404, ``)(w, r)
				return
			}
			giveToken(w, n, "1000")
		})
		for range 900 {
			if err := b.sync("x"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n < 3 || n > 20 {
			t.Errorf("%d token requests", n)
		}
	})
}
