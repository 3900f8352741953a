package apiclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/secret"
)

func (b *bed) syncBy(c *apiclient.Client, id string) error {
	_, err := c.Do(b.t.Context(), platform.Request{
		Endpoint: "sync campaign", Method: "POST", Path: "/api/campaigns/" + id + "/sync", Body: []byte(`{}`), Repeatable: true, Priority: platform.PriorityFollowUp,
	})
	return err
}

// together makes a request with each client at once.
func (b *bed) together(clients []*apiclient.Client) []error {
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { errs[i] = b.syncBy(c, fmt.Sprint(i)) })
	}
	wg.Wait()
	return errs
}

func allWell(t *testing.T, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func (b *bed) many(n int) (out []*apiclient.Client) {
	for i := range n {
		out = append(out, b.another(fmt.Sprintf("client-%d", i), nil))
	}
	return out
}

// Connections that log in alike have one token: fetched once, renewed once ahead of its end, and once when the platform ends it.
func TestConnectionsShareAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var current atomic.Int64
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(100 * time.Millisecond)
			if r.Header.Get("Authorization") != fmt.Sprintf("Bearer %s-%d", canaryToken, current.Load()) {
				status(401, `{"error":"Token expired"}`)(w, r)
				return
			}
			ok(w, r)
		}, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			giveToken(w, int(current.Add(1)), "3600")
		})
		clients := b.many(50)
		allWell(t, b.together(clients))
		time.Sleep(55 * time.Minute)
		allWell(t, b.together(clients))
		if b.tokens != 2 {
			t.Errorf("%d tokens after a renewal", b.tokens)
		}
		current.Add(10)
		allWell(t, b.together(clients))
		if b.tokens != 3 {
			t.Errorf("%d tokens after one was refused", b.tokens)
		}
		if n := count(b, func(r observe.TokenRenewed) bool { return true }); n != 3 {
			t.Errorf("%d renewals told", n)
		}
		for _, e := range b.events {
			if r, ok := e.Data.(observe.TokenRenewed); ok && !strings.HasPrefix(e.Ref.ClientID, "client-") {
				t.Errorf("%+v of %v", r, e.Ref)
			}
		}
	})
}

// demanding is a platform whose token depends on more than the credentials.
type demanding struct {
	*adplatform.Platform
	account string
}

func (d demanding) TokenRequest() platform.Request {
	r := d.Platform.TokenRequest()
	r.Header.Set("X-Account", d.account)
	return r
}

// A token is shared by those who would get the same one, and by nobody else.
func TestWhoSharesAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, nil)
		account := func(id string) func(*apiclient.Config) {
			return func(c *apiclient.Config) {
				c.Platform = demanding{adplatform.New(adplatform.Options{Account: "x"}), id}
			}
		}
		for _, tt := range []struct {
			name   string
			tune   func(*apiclient.Config)
			tokens int // so far
		}{
			{"the first", nil, 1},
			{"another client id", nil, 1},
			{"another password", func(c *apiclient.Config) { c.Password = secret.New("other") }, 2},
			{"another user", func(c *apiclient.Config) { c.Email = secret.New("other") }, 3},
			{"a border moved", func(c *apiclient.Config) { c.Email, c.Password = secret.New("othe"), secret.New("r"+canaryPassword) }, 4},
			{"another path", func(c *apiclient.Config) { c.BaseURL += "/v2" }, 5},
			{"another origin", func(c *apiclient.Config) { c.BaseURL = "http://other.test" }, 6},
			{"the token is an account's", account("one"), 7},
			{"another account's", account("two"), 8},
			{"the same account's", account("one"), 8},
			{"not shared", func(c *apiclient.Config) {
				c.Shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: b.net.dial})
			}, 9},
			{"the first again", nil, 9},
		} {
			c := b.another("x", tt.tune)
			if err := c.Login(t.Context()); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if b.tokens != tt.tokens {
				t.Errorf("%s: %d tokens, want %d", tt.name, b.tokens, tt.tokens)
			}
			t.Cleanup(func() { runtime.KeepAlive(c) })
		}
	})
}

// Credentials that are refused to one connection are refused to all that have them, also to those made later, each in its own name; others are
// not concerned. Forgiven, they are tried once more.
func TestRefusedForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var good atomic.Bool
		b := newBed(t, nil, nil, ok, func(w http.ResponseWriter, r *http.Request) {
			if _, p, _ := r.BasicAuth(); p == canaryPassword && !good.Load() {
				status(401, `{"error":"Unauthorized","message":"Invalid credentials"}`)(w, r)
				return
			}
			giveToken(w, 1, "3600")
		})
		refused := func(clients []*apiclient.Client, from int) {
			t.Helper()
			for i, err := range b.together(clients) {
				e := wantClass(t, err, ads.ClassAuth, "")
				want := fmt.Sprintf("credentials refused for client client-%d (source: env CLIENT-%d): ", from+i, from+i)
				if !strings.HasPrefix(e.Message, want) || strings.Count(e.Message, "client-") != 1 {
					t.Errorf("%q, want %q", e.Message, want)
				}
			}
		}
		clients := b.many(20)
		refused(clients, 0)
		runtime.GC()
		for i := range 3 {
			refused([]*apiclient.Client{b.another(fmt.Sprintf("client-%d", 30+i), nil)}, 30+i)
		}
		if b.tokens != 1 || b.calls != 0 {
			t.Errorf("%d token requests, %d calls", b.tokens, b.calls)
		}
		other := b.another("other", func(c *apiclient.Config) { c.Password = secret.New("n3w") })
		allWell(t, b.together([]*apiclient.Client{other}))
		clients[3].Forgive()
		refused(clients, 0)
		if b.tokens != 3 {
			t.Errorf("%d token requests after they were forgiven in vain", b.tokens)
		}
		good.Store(true)
		clients[5].Forgive()
		allWell(t, b.together(clients))
		clients[5].Forgive() // of nothing
		allWell(t, b.together(clients))
		if b.tokens != 4 {
			t.Errorf("%d token requests in the end", b.tokens)
		}
	})
}

// A refusal outlives the connections that met it: in `sync` they come one after the other.
func TestRefusalIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, status(401, `{"error":"Unauthorized"}`))
		b.client = nil
		for i := range 5 {
			wantClass(t, b.another(fmt.Sprint(i), nil).Login(t.Context()), ads.ClassAuth, "")
			runtime.GC()
			runtime.GC()
		}
		if b.tokens != 1 {
			t.Errorf("%d token requests", b.tokens)
		}
	})
}

// One connection whose requests are refused whatever the token does not make the credentials bad for the others, nor cost many tokens.
func TestOneConnectionIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(50 * time.Millisecond)
			if strings.Contains(r.URL.Path, "bad") {
				status(401, `{"error":"Unauthorized"}`)(w, r)
				return
			}
			ok(w, r)
		}, nil)
		clients := b.many(10)
		allWell(t, b.together(clients))
		bad := b.another("bad", nil)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() { wantClass(t, b.syncBy(bad, fmt.Sprintf("bad%d", i)), ads.ClassAuth, "") })
		}
		for range 20 {
			allWell(t, b.together(clients))
		}
		wg.Wait()
		allWell(t, b.together(clients))
		if b.tokens > 8 {
			t.Errorf("%d tokens", b.tokens)
		}
		wantClass(t, b.syncBy(bad, "good"), ads.ClassAuth, "") // it stays dead
		bad.Forgive()
		tokens := b.tokens
		if err := b.syncBy(bad, "good"); err != nil || b.tokens > tokens {
			t.Errorf("forgiven: %v, %d tokens more", err, b.tokens-tokens)
		}
	})
}

// Nor when it is alone with them for a while: they have worked for others.
func TestOneConnectionIsRefusedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "bad") {
				status(401, `{"error":"Unauthorized"}`)(w, r)
				return
			}
			ok(w, r)
		}, nil)
		clients := b.many(3)
		allWell(t, b.together(clients))
		bad := b.another("bad", nil)
		for range 3 {
			e := wantClass(t, b.syncBy(bad, "bad"), ads.ClassAuth, "fresh_token_refused")
			if !strings.HasPrefix(e.Message, "fresh token refused for client bad (source: env BAD): ") {
				t.Error(e.Message)
			}
		}
		allWell(t, b.together(clients))
		if b.tokens > 4 {
			t.Errorf("%d tokens", b.tokens)
		}
	})
}

// A connection that is given up while it asks for the token goes on asking for the others.
func TestTokenOutlivesTheConnectionThatAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, first(1, status(503, ``, "Retry-After", "5"), func(w http.ResponseWriter, _ *http.Request) { giveToken(w, 1, "3600") }))
		bad := b.another("bad", nil)
		ended := make(chan error)
		go func() { ended <- bad.Login(t.Context()) }()
		time.Sleep(time.Second)
		time.AfterFunc(time.Second, bad.Kill)
		allWell(t, b.together(b.many(3)))
		if err := <-ended; ads.ClassOf(err) != ads.ClassAuth || b.tokens != 2 {
			t.Errorf("%v, %d token requests", err, b.tokens)
		}
	})
}

// Credentials whose tokens work for nobody are given up for all after two.
func TestFreshTokensRefusedToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(50 * time.Millisecond)
			status(401, `{"error":"Unauthorized"}`)(w, r)
		}, nil)
		for _, err := range b.together(b.many(100)) {
			wantClass(t, err, ads.ClassAuth, "fresh_token_refused")
		}
		if b.tokens > 3 {
			t.Errorf("%d tokens", b.tokens)
		}
	})
}

// A connection that hangs while it is the first to try a token, or to ask for one, holds nobody up.
func TestHangingConnectionAndTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "hang") {
				silent(w, r)
				return
			}
			ok(w, r)
		}, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			giveToken(w, 1, "3600")
		})
		hanging := b.another("hanging", nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				_, err := hanging.Do(ctx, platform.Request{Endpoint: "x", Method: "GET", Path: fmt.Sprintf("/hang/%d", i)})
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		begin := time.Now()
		allWell(t, b.together(b.many(20)))
		if took := time.Since(begin); took > 2*time.Second || b.tokens != 1 {
			t.Errorf("%v, %d tokens", took, b.tokens)
		}
		cancel()
		wg.Wait()
	})
}

// Who asked for the token leaves: it is fetched for the others, and what it is told concerns all.
func TestTokenOutlivesWhoAskedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(5 * time.Second)
			giveToken(w, 1, "3600")
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		left := make(chan error)
		go func() { left <- b.another("first", nil).Login(ctx) }()
		time.Sleep(time.Second)
		clients := b.many(3)
		errs := b.together(clients)
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		allWell(t, errs)
		if b.tokens != 1 {
			t.Errorf("%d tokens", b.tokens)
		}
	})
}

// Fault 9 for many: a token page that asks for eleven hours of peace gets them from all that would ask it the same thing.
func TestTokenPageIsLeftAlone(t *testing.T) {
	for _, code := range []int{429, 503} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, nil, parking, ok, first(1, status(code, ``, "Retry-After", "39600"), func(w http.ResponseWriter, _ *http.Request) { giveToken(w, 1, "3600") }))
				begin := time.Now()
				for i, hour := 0, 0; hour < 11; hour++ {
					for _, c := range b.many(5) {
						e := wantClass(t, b.syncBy(c, "1"), ads.ClassDeferred, "told")
						if d := e.Until.Sub(begin); d < 11*time.Hour || d > 11*time.Hour+time.Second || e.Bucket != fmt.Sprintf("client-%d", i%5) {
							t.Errorf("until %v from the beginning, of %s", d, e.Bucket)
						}
						i++
					}
					if hour < 10 {
						time.Sleep(time.Hour)
					}
				}
				if b.tokens != 1 {
					t.Errorf("%d token requests before the time", b.tokens)
				}
				time.Sleep(time.Hour + time.Second)
				allWell(t, b.together(b.many(5)))
			})
		})
	}
}

// A shorter stay is kept too when all who waited for it have left.
func TestTokenPageIsLeftAloneByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, parking, ok, first(1, status(503, ``, "Retry-After", "100"), func(w http.ResponseWriter, _ *http.Request) { giveToken(w, 1, "3600") }))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := b.client.Login(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		begin := time.Now()
		allWell(t, b.together(b.many(5)))
		if took := time.Since(begin); took < 90*time.Second || took > 92*time.Second || b.tokens != 2 {
			t.Errorf("after %v, %d token requests", took, b.tokens)
		}
	})
}

// A token request that goes on for too long is an outage, in words.
func TestTokenThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, func(c *apiclient.Config) { c.MaxElapsed, c.MaxWait = time.Minute, 2*time.Minute }, ok, status(503, ``, "Retry-After", "100"))
		wantClass(t, b.list(), ads.ClassTransient, apiclient.CodeOutage)
	})
}

// What is known of credentials goes with the last connection that has them: they are rotated many times in a service's life.
func TestRotatedCredentialsAreForgotten(t *testing.T) {
	shared := apiclient.NewShared(apiclient.SharedConfig{})
	for i := range 1000 {
		if _, err := apiclient.New(apiclient.Config{
			Platform: adplatform.New(adplatform.Options{Account: "acme"}), BaseURL: "https://ads.example.test",
			Email: secret.New("a"), Password: secret.New(fmt.Sprint(i)), Shared: shared,
		}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); shared.Known() > 100; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d kept", shared.Known())
		}
		runtime.GC()
	}
}
