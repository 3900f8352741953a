package apiclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
	"adsync/internal/secret"
)

const (
	canaryPassword = "c4n4ry-p4ssw0rd"
	canaryToken    = "c4n4ry-t0k3n"
)

// pipes is a network of net.Pipe connections, so that a server and its client live in one bubble of virtual time.
type pipes struct {
	conns chan net.Conn
	ended chan struct{}
	fail  atomic.Pointer[error] // what dialling gives instead
	dials atomic.Int64
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.ended); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.dials.Add(1)
	if err := p.fail.Load(); err != nil {
		return nil, &net.OpError{Op: "dial", Err: *err}
	}
	a, b := net.Pipe()
	select {
	case p.conns <- a:
		return b, nil
	case <-p.ended:
		return nil, &net.OpError{Op: "dial", Err: errRefused}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bed is a client in a bubble, with a handler as its platform.
type bed struct {
	t      *testing.T
	net    *pipes
	client *apiclient.Client
	shared *apiclient.Shared
	cfg    apiclient.Config // of client

	mu      sync.Mutex
	events  []observe.Event
	scanned int // of events
	tokens  int
	calls   int
	times   []time.Time
}

// bench makes one. handle answers everything but the token page, which handleToken answers (nil: an hour's token).
func newBed(t *testing.T, limits []quota.Limit, tune func(*apiclient.Config), handle http.HandlerFunc, handleToken http.HandlerFunc) *bed {
	b := &bed{t: t, net: newPipes()}
	mux := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/auth/token") {
			b.mu.Lock()
			b.tokens++
			n := b.tokens
			b.mu.Unlock()
			if handleToken != nil {
				handleToken(w, r)
				return
			}
			giveToken(w, n, `3600`)
			return
		}
		b.mu.Lock()
		b.calls++
		b.times = append(b.times, time.Now())
		b.mu.Unlock()
		handle(w, r)
	})
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(b.net) }()
	b.shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: b.net.dial})
	cfg := apiclient.Config{
		Platform: adplatform.New(adplatform.Options{Account: "acme", XClientID: "acme", PageSize: 10, PerCampaignSync: true}),
		Ref:      ads.Ref{ClientID: "acme", Connection: "adplatform"}, BaseURL: "http://platform.test",
		Email: secret.New("ops@acme.test"), Password: secret.New(canaryPassword), CredentialSource: "env ACME_PASSWORD",
		Bucket: quota.NewManager(quotatest.NewMemory()).Bucket("acme", "acme", limits...), Shared: b.shared,
		Observer: observe.Func(func(e observe.Event) { b.mu.Lock(); b.events = append(b.events, e); b.mu.Unlock() }),
	}
	if tune != nil {
		tune(&cfg)
	}
	var err error
	if b.client, err = apiclient.New(cfg); err != nil {
		t.Fatal(err)
	}
	b.cfg = cfg
	t.Cleanup(func() {
		b.shared.CloseIdle()
		_ = srv.Close()
		time.Sleep(5 * time.Second) // virtual: handlers see that they were left
		b.noSecrets()
	})
	return b
}

// another is a client of another connection to the same platform, with the same credentials and no quota.
func (b *bed) another(id string, tune func(*apiclient.Config)) *apiclient.Client {
	b.t.Helper()
	cfg := b.cfg
	cfg.Ref.ClientID, cfg.CredentialSource = id, "env "+strings.ToUpper(id)
	cfg.Platform = adplatform.New(adplatform.Options{Account: id, XClientID: id, PageSize: 10, PerCampaignSync: true})
	cfg.Bucket = quota.NewManager(quotatest.NewMemory()).Bucket(id, id)
	if tune != nil {
		tune(&cfg)
	}
	c, err := apiclient.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bed) noSecrets(extra ...any) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range append(extra, b.events[b.scanned:]) {
		s := fmt.Sprintf("%+v", e)
		for _, canary := range []string{canaryPassword, canaryToken} {
			if strings.Contains(s, canary) {
				b.t.Errorf("%s is in %s", canary, s)
			}
		}
	}
	b.scanned = len(b.events)
}

func giveToken(w http.ResponseWriter, n int, expires string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":"%s-%d","token_type":"Bearer","expires_in":%s}`, canaryToken, n, expires)
}

func (b *bed) list() error { return b.listBy(b.client) }

func (b *bed) listBy(c *apiclient.Client) error {
	_, err := c.Do(b.t.Context(), platform.Request{
		Endpoint: "list campaigns", Method: "GET", Path: "/api/campaigns", Query: "page=1", Repeatable: true, Critical: true,
	})
	if err != nil {
		b.noSecrets(err)
	}
	return err
}

func (b *bed) sync(id string) error {
	_, err := b.client.Do(b.t.Context(), platform.Request{
		Endpoint: "sync campaign", Method: "POST", Path: "/api/campaigns/" + id + "/sync", Body: []byte(`{}`), Repeatable: true, Priority: platform.PriorityFollowUp,
		Header: http.Header{"Idempotency-Key": {id}},
	})
	return err
}

func ok(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":[],"pagination":{"total":0,"has_more":false},"success":true}`)
}

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// first answers the first n calls with a, later ones with b.
func first(n int64, a, b http.HandlerFunc) http.HandlerFunc {
	var seen atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		if seen.Add(1) <= n {
			a(w, r)
			return
		}
		b(w, r)
	}
}

// silent never answers: it waits until the client gives up.
func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func wantClass(t *testing.T, err error, class ads.Class, code string) *ads.Error {
	t.Helper()
	e, _ := errors.AsType[*ads.Error](err)
	if e == nil || e.Class != class || (code != "" && e.Code != code) {
		t.Fatalf("got %#v (%v), want class %q code %q", e, err, class, code)
	}
	return e
}

func TestTokenIsFetchedOnceAndShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+canaryToken+"-1" {
				t.Errorf("Authorization %q", r.Header.Get("Authorization"))
			}
			ok(w, r)
		}, func(w http.ResponseWriter, r *http.Request) { // fault 6: a slow token page
			time.Sleep(3 * time.Second)
			if u, p, _ := r.BasicAuth(); u != "ops@acme.test" || p != canaryPassword {
				t.Errorf("Basic %q", u)
			}
			giveToken(w, 1, "3600")
		})
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := b.sync(fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if b.tokens != 1 {
			t.Errorf("%d token requests", b.tokens)
		}
	})
}

// Faults 1, 2 and 12 to 15: whatever the platform says of a token's life, it is renewed before its end where that is known, and once when it is refused.
func TestTokenLife(t *testing.T) {
	for _, tt := range []struct {
		name, expires string
		life          time.Duration // what the platform really keeps
		maxTokens     int
		maxRefused    int
	}{
		{"fault 2: short but honest", "3", 3 * time.Second, 300/2 + 3, 2},
		{"fault 1: dies earlier than said", "3600", 60 * time.Second, 7, 6},
		{"fault 12: no life", "null", time.Hour, 2, 0},
		{"fault 12: zero", "0", time.Hour, 2, 0},
		{"fault 12: negative", "-1", time.Hour, 2, 0},
		{"fault 13: a text", `"100"`, 100 * time.Second, 6, 0},
		{"fault 14: 10^18", "1000000000000000000", time.Hour, 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var issued time.Time
				n, refused := 0, 0
				b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					good := r.Header.Get("Authorization") == fmt.Sprintf("Bearer %s-%d", canaryToken, n) && time.Since(issued) < tt.life
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
					mu.Lock()
					n++
					issued = time.Now()
					giveToken(w, n, tt.expires)
					mu.Unlock()
				})
				for range 300 { // five minutes
					if err := b.list(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
				}
				if n > tt.maxTokens || refused > tt.maxRefused {
					t.Errorf("%d tokens, %d refusals", n, refused)
				}
			})
		})
	}
}

// Fault 10: a refusal that comes late must not give up the token that replaced the refused one.
func TestTokenRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var current atomic.Int64
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			tok := r.Header.Get("Authorization")
			time.Sleep(time.Duration(len(r.URL.Path)) * 37 * time.Millisecond) // each its own time
			if tok != fmt.Sprintf("Bearer %s-%d", canaryToken, current.Load()) {
				status(401, `{"error":"Token expired"}`)(w, r)
				return
			}
			ok(w, r)
		}, func(w http.ResponseWriter, _ *http.Request) { giveToken(w, int(current.Add(1)), "3600") })
		if err := b.list(); err != nil {
			t.Fatal(err)
		}
		current.Add(1) // somebody else rotates it away
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if err := b.sync(strings.Repeat("x", i+1)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if b.tokens > 2 {
			t.Errorf("%d token requests", b.tokens)
		}
	})
}

func TestCredentialsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, status(401, `{"error":"Unauthorized","message":"Invalid credentials"}`))
		for range 3 {
			e := wantClass(t, b.list(), ads.ClassAuth, "")
			if !strings.Contains(e.Message, "credentials refused for client acme (source: env ACME_PASSWORD)") {
				t.Errorf("%q", e.Message)
			}
		}
		if b.tokens != 1 || b.calls != 0 {
			t.Errorf("fault 3: %d token requests, %d calls", b.tokens, b.calls)
		}
	})
}

func TestFreshTokenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, status(401, `{"error":"Unauthorized"}`), nil)
		wantClass(t, b.list(), ads.ClassAuth, "fresh_token_refused")
		if b.tokens > 3 || b.calls > 10 {
			t.Errorf("fault 5: %d tokens, %d calls", b.tokens, b.calls)
		}
	})
}

func TestTokenPageFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token http.HandlerFunc
		class ads.Class
		text  string
		most  int
	}{
		{"fault 7: 503, then well", first(2, status(503, ``), func(w http.ResponseWriter, _ *http.Request) { giveToken(w, 1, "60") }), ads.ClassOK, "", 3},
		{"fault 9: 429", first(1, status(429, `{"retry_after":30}`), func(w http.ResponseWriter, _ *http.Request) { giveToken(w, 1, "60") }), ads.ClassOK, "", 2},
		{"fault 8: silent, then well", first(1, silent, func(w http.ResponseWriter, _ *http.Request) { giveToken(w, 1, "60") }), ads.ClassOK, "", 2},
		{"fault 16: a login page", status(200, `<html>`, "Content-Type", "text/html"), ads.ClassBadReply, "the token answer is not JSON (text/html, 6 bytes)", 8},
		{"fault 17: empty", status(200, `{"access_token":""}`), ads.ClassBadReply, "empty token", 8},
		{"fault 17: CR LF", status(200, `{"access_token":"a\r\nX-Evil: 1"}`), ads.ClassBadReply, "no token may have", 8},
		{"fault 18: type in small letters", status(200, `{"access_token":"x","token_type":"bearer"}`), ads.ClassOK, "", 1},
		{"fault 19: redirect elsewhere", status(307, ``, "Location", "http://evil.test/token"), ads.ClassPermanent, "refused redirect to origin http://evil.test", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, nil, nil, ok, tt.token)
				err := b.list()
				if tt.class == ads.ClassOK {
					if err != nil {
						t.Fatal(err)
					}
				} else if e := wantClass(t, err, tt.class, ""); !strings.Contains(e.Message, tt.text) || b.calls > 0 {
					t.Errorf("%q after %d calls", e.Message, b.calls)
				}
				if b.tokens > tt.most {
					t.Errorf("%d token requests", b.tokens)
				}
			})
		})
	}
}

func TestTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "bad") {
				status(500, `{"error":"boom"}`)(w, r)
				return
			}
			ok(w, r)
		}, nil)
		// Fault 91: one that always fails gets five tries while others are served.
		go func() {
			for range 100 {
				_ = b.sync("good")
				time.Sleep(100 * time.Millisecond)
			}
		}()
		e := wantClass(t, b.sync("bad"), ads.ClassTransient, "http_500")
		if e.Attempts != 5 {
			t.Errorf("%d tries", e.Attempts)
		}
		time.Sleep(20 * time.Second)
	})
}

func TestPassingFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
	}{
		{"fault 43: silence", silent},
		{"fault 56: 502 as HTML", status(502, `<html>`, "Content-Type", "text/html")},
		{"fault 56: 503 with Retry-After", status(503, ``, "Retry-After", "7")},
		{"fault 41: cut before headers", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"fault 42: cut in the body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"data":[]`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"fault 46: chunked without its end", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"data":[],"pagination":{"total":0}}`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"fault 44: silence in the body", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"da`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
		{"fault 45: a byte a second", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, ` `)
				w.(http.Flusher).Flush()
				time.Sleep(time.Second)
			}
		}},
		{"fault 48: a body without end", func(w http.ResponseWriter, r *http.Request) {
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 40 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, nil, nil, first(1, tt.h, ok), nil)
				begin := time.Now()
				if err := b.list(); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took > 40*time.Second {
					t.Errorf("took %v", took)
				}
				if s := b.client.Stats(); s.Retries != 1 && !strings.Contains(tt.name, "41") {
					t.Errorf("%+v", s)
				}
				if strings.Contains(tt.name, "Retry-After") && b.times[1].Sub(b.times[0]) < 7*time.Second {
					t.Errorf("repeated after %v", b.times[1].Sub(b.times[0]))
				}
			})
		})
	}
}

func TestRefusalsForQuota(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		wait time.Duration
	}{
		{"fault 21: seconds", status(429, ``, "Retry-After", "12"), 12 * time.Second},
		{"fault 24: body", status(429, `{"error":"Rate limit exceeded","retry_after":60}`), 60 * time.Second},
		{"fault 25: nothing", status(429, ``), time.Second},
		{"fault 26: zero", status(429, ``, "Retry-After", "0"), time.Second},
		{"fault 28: 403", status(403, ``, "Retry-After", "9"), 9 * time.Second},
		{"fault 29: 200", status(200, `{"error":"Rate limit exceeded","retry_after":5}`), 5 * time.Second},
		{"fault 31: RateLimit", status(429, ``, "RateLimit", `"default";r=0;t=30`), 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, []quota.Limit{{N: 10, Window: time.Minute}}, nil, first(1, tt.h, ok), nil)
				if err := b.list(); err != nil {
					t.Fatal(err)
				}
				if len(b.times) != 2 || b.times[1].Sub(b.times[0]) < tt.wait {
					t.Errorf("asked at %v", b.times)
				}
				s := b.client.Stats()
				if s.Throttled != 1 || s.Retries != 0 || s.Requests != 2 {
					t.Errorf("%+v", s)
				}
				if tt.wait > 3*time.Second && s.Waited < tt.wait {
					t.Errorf("waited %v", s.Waited)
				}
			})
		})
	}
}

// Fault 37: a client that is refused does not hold up another one of the same host.
func TestRefusalIsOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buckets := quota.NewManager(quotatest.NewMemory())
		limit := quota.Limit{N: 10, Window: time.Minute}
		b := newBed(t, nil, func(c *apiclient.Config) { c.Bucket = buckets.Bucket("acme", "acme", limit) }, first(1, status(429, ``, "Retry-After", "60"), ok), nil)
		other, err := apiclient.New(apiclient.Config{
			Platform: adplatform.New(adplatform.Options{Account: "globex"}), Ref: ads.Ref{ClientID: "globex", Connection: "adplatform"}, BaseURL: "http://platform.test",
			Email: secret.New("ops@globex.test"), Password: secret.New(canaryPassword), Bucket: buckets.Bucket("globex", "globex", limit), Shared: b.shared,
		})
		if err != nil {
			t.Fatal(err)
		}
		refused := make(chan error, 1)
		go func() { refused <- b.list() }()
		synctest.Wait() // for its minute to begin
		begin := time.Now()
		for range limit.N {
			if _, err := other.Do(t.Context(), platform.Request{Endpoint: "list campaigns", Method: "GET", Path: "/api/campaigns", Repeatable: true}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the other client took %v", took)
		}
		if err := <-refused; err != nil || time.Since(begin) < 55*time.Second {
			t.Errorf("the refused one: %v after %v", err, time.Since(begin))
		}
	})
}

func TestLongWaitIsDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, status(429, ``, "Retry-After", "999999999999"), nil)
		begin := time.Now()
		e := wantClass(t, b.list(), ads.ClassDeferred, "")
		if time.Since(begin) > time.Second || b.calls != 1 || !strings.Contains(e.Message, "years, capped") {
			t.Errorf("%v after %v, %d calls", e, time.Since(begin), b.calls)
		}
	})
}

// Fault 57: an outage of eight seconds in the middle; and one for good.
func TestOutage(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lasts time.Duration
		most  int
	}{{"eight seconds", 8 * time.Second, 40}, {"five minutes", 5 * time.Minute, 60}, {"for good", time.Hour, 60}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				down := func() bool { return time.Since(begin) > time.Minute && time.Since(begin) < time.Minute+tt.lasts }
				var during atomic.Int64
				b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
					if down() {
						during.Add(1)
						status(503, ``)(w, r)
						return
					}
					time.Sleep(300 * time.Millisecond)
					ok(w, r)
				}, nil)
				var wg sync.WaitGroup
				var failed, passed atomic.Int64
				for i := range 10 {
					wg.Go(func() {
						for time.Since(begin) < time.Minute+30*time.Second {
							if err := b.sync(fmt.Sprintf("c%d", i)); err != nil {
								failed.Add(1)
								wantClass(t, err, ads.ClassTransient, apiclient.CodeOutage)
								return
							}
							passed.Add(1)
						}
					})
				}
				wg.Wait()
				if during.Load() > int64(tt.most) {
					t.Errorf("%d requests while down", during.Load())
				}
				if tt.lasts < time.Hour && failed.Load() > 0 || tt.lasts == time.Hour && failed.Load() == 0 {
					t.Errorf("%d failed, %d passed", failed.Load(), passed.Load())
				}
				t.Logf("%d requests while down, %d passed, %d failed, after %v", during.Load(), passed.Load(), failed.Load(), time.Since(begin))
			})
		})
	}
}

// Fault 40: a host that never answers is given up soon, and named.
func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 2, Window: time.Hour}}, nil, ok, nil)
		refused := error(fmt.Errorf("connect: %w", errRefused))
		b.net.fail.Store(&refused)
		begin := time.Now()
		e := wantClass(t, b.list(), ads.ClassUnreachable, "refused")
		if !strings.Contains(e.Message, "platform.test") || b.net.dials.Load() > 5 || time.Since(begin) > time.Minute {
			t.Errorf("%v after %d dials in %v", e, b.net.dials.Load(), time.Since(begin))
		}
	})
}

// A request whose connection could not be made has used no slot.
func TestDialCostsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 1, Window: 10 * time.Minute}}, nil, ok, nil)
		if err := b.client.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.shared.CloseIdle()
		refused := error(fmt.Errorf("connect: %w", errRefused))
		b.net.fail.Store(&refused)
		time.AfterFunc(2*time.Second, func() { b.net.fail.Store(nil) })
		begin := time.Now()
		if err := b.list(); err != nil || time.Since(begin) > 2*time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// Idle connections are closed by the platform after five seconds; a quota makes longer gaps.
func TestIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, nil)
		for range 5 {
			if err := b.list(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Second)
		}
		if s := b.client.Stats(); s.Retries != 0 || s.Requests != 5 {
			t.Errorf("%+v", s)
		}
		if n := b.net.dials.Load(); n != 5 {
			t.Errorf("%d connections for 5 requests, each after the platform had closed the last one", n)
		}
	})
}

func TestPostThatMayNotBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, status(503, ``), nil)
		_, err := b.client.Do(t.Context(), platform.Request{Endpoint: "create report", Method: "POST", Path: "/x", Priority: platform.PriorityFollowUp})
		wantClass(t, err, ads.ClassTransient, "http_503")
		if b.calls != 1 {
			t.Errorf("sent %d times", b.calls)
		}
	})
}

func TestPermanentIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, status(404, `{"error":"Not found"}`), nil)
		e := wantClass(t, b.sync("gone"), ads.ClassPermanent, "not_found")
		if b.calls != 1 || e.Attempts != 1 { // fault 92
			t.Errorf("%d calls", b.calls)
		}
	})
}

// Promise 10: when the caller stops, waits end at once, and what has been sent gets a while.
func TestStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 1, Window: time.Hour}}, func(c *apiclient.Config) { c.MaxWait = 2 * time.Hour }, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(2 * time.Second)
			ok(w, r)
		}, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("SIGTERM")
		do := func() error {
			_, err := b.client.Do(ctx, platform.Request{Endpoint: "list campaigns", Method: "GET", Path: "/x", Repeatable: true})
			return err
		}
		begin := time.Now()
		errs := make(chan error, 2)
		go func() { errs <- do() }()
		synctest.Wait()
		go func() { errs <- do() }()
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if err := <-errs; !errors.Is(err, cause) || time.Since(begin) != time.Second {
			t.Errorf("the waiting one: %v after %v", err, time.Since(begin))
		}
		if err := <-errs; err != nil || time.Since(begin) != 2*time.Second {
			t.Errorf("the one that was out: %v after %v", err, time.Since(begin))
		}
	})
}

func TestRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1)%2 == 0 {
				status(500, ``)(w, r)
				return
			}
			ok(w, r)
		}, nil)
		for i := range 400 {
			_ = b.sync(fmt.Sprint(i))
		}
		s := b.client.Stats()
		if s.Retries > 50+s.Requests/10 || s.Retries < 60 {
			t.Errorf("%d retries of %d requests", s.Retries, s.Requests)
		}
	})
}

func TestParseErrorsAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, first(2, status(200, `<html>`), ok), nil)
		_, err := b.client.Do(t.Context(), platform.Request{
			Endpoint: "list campaigns", Method: "GET", Path: "/x", Repeatable: true,
			Parse: func(r platform.Reply) error {
				if !json.Valid(r.Body) {
					return &ads.Error{Class: ads.ClassBadReply, Code: "not_json", Message: "no JSON"}
				}
				return nil
			},
		})
		if err != nil || b.calls != 3 {
			t.Errorf("%v after %d calls", err, b.calls)
		}
	})
}

func TestBaseURL(t *testing.T) {
	for _, u := range []string{"", "ftp://x", "http://", "http://user:pw@host", "://"} {
		if _, err := apiclient.New(apiclient.Config{Platform: adplatform.New(adplatform.Options{}), BaseURL: u}); err == nil {
			t.Errorf("%q is taken", u)
		}
	}
}

// A platform that gives our credentials back in its errors does not get them into ours.
func TestEchoedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", r.Header.Get("Authorization"))
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":"bad request","message":"%s %s %s"}`, strings.Repeat("x", 150), r.Header.Get("Authorization"), canaryPassword)
		}, nil)
		e := wantClass(t, b.sync("a"), ads.ClassPermanent, "http_400")
		b.noSecrets(e, *e)
		if !strings.Contains(e.Message, "***") {
			t.Errorf("%q", e.Message)
		}
	})
}

// A campaign may be named like the password: data is not touched.
func TestDataIsNotScrubbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := `{"data":[{"id":"1","name":"` + canaryPassword + " " + canaryToken + `-1"}],"pagination":{"total":1,"has_more":false}}`
		b := newBed(t, nil, nil, status(200, body, "Content-Type", "application/json"), nil)
		reply, err := b.client.Do(t.Context(), platform.Request{Endpoint: "list campaigns", Method: "GET", Path: "/x", Repeatable: true})
		if err != nil || string(reply.Body) != body {
			t.Errorf("%s, %v", reply.Body, err)
		}
	})
}

// What a connector says about a good answer that it cannot read goes no further with a credential in it either.
func TestParseErrorsAreScrubbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil, nil, ok, nil)
		_, err := b.client.Do(t.Context(), platform.Request{
			Endpoint: "list campaigns", Method: "GET", Path: "/x",
			Parse: func(platform.Reply) error {
				return &ads.Error{Class: ads.ClassBadReply, Code: "odd", Message: "odd " + canaryToken + "-1", Hint: canaryPassword}
			},
		})
		e := wantClass(t, err, ads.ClassBadReply, "odd")
		b.noSecrets(e, *e)
	})
}
