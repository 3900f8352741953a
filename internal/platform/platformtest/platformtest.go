// Package platformtest is what every connector has to pass: a connector's own test hands over a simulated platform, and what is written here runs the real
// client and the real engine against it, in virtual time and into a real database.
//
// It must not import a connector or a simulator.
package platformtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/engine"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/sqlite"
)

// Base is where the simulated platform is, for the connector and for credentials that name it.
const Base = "http://platform.test"

// Subject is a connector and what it is tried on.
type Subject struct {
	// Start makes the platform anew, with faults in its own notation. It is called in a bubble of virtual time.
	Start func(t testing.TB, faults ...string) Site

	// Passing are faults that a run must come through complete, each of which must have played.
	Passing []string

	// Replies are answers and what they mean.
	Replies []Reply

	// Brief leaves out what another subject of the same connector has shown.
	Brief bool
}

// Site is one simulated platform.
type Site struct {
	Handler         http.Handler
	Close           func()
	Platform        func() platform.Platform // the connector, as another process would make it
	Email, Password secret.Text
	Credentials     secret.Bag
	Days            int // of figures that are wanted; 0: none

	// Truth says what there is now: entities by stream, and sums of figures by level, account and day.
	Truth func(from, to ads.Date) Truth
	// Played says how often a fault has played.
	Played func(fault string) int64
	// Misplaced are secrets that came where they do not belong, by the platform's own count.
	Misplaced func() map[string]int64
	// Token says that a request asks for a token, and no data.
	Token func(*http.Request) bool
}

// Truth is what a platform has.
type Truth struct {
	Entities map[string]int // of all accounts, by stream, with those that are archived or removed
	Totals   map[Place]map[ads.Date]store.DayTotal
}

// Place is where figures are.
type Place struct{ Account, Level string }

// Reply is an answer and what it means.
type Reply struct {
	Name     string
	Endpoint string
	Status   int
	Header   http.Header
	Body     string
	Class    ads.Class
	Wait     time.Duration // what it tells; 0: not looked at
	Whole    bool
}

// Run tries everything.
func Run(t *testing.T, s Subject) {
	t.Run("Replies", func(t *testing.T) { replies(t, s) })
	t.Run("Truth", func(t *testing.T) { truth(t, s) })
	for _, f := range s.Passing {
		t.Run("Fault/"+f, func(t *testing.T) { passing(t, s, f) })
	}
	if s.Brief {
		return
	}
	t.Run("Deaths", func(t *testing.T) { deaths(t, s) })
	for _, e := range empties {
		t.Run("Empty/"+e.name, func(t *testing.T) { empty(t, s, e) })
	}
	t.Run("Partial", func(t *testing.T) { partial(t, s) })
	for _, e := range echoes {
		t.Run("Secrets/"+e.name, func(t *testing.T) { secrets(t, s, e) })
	}
}

// pipes is a network without sockets, so that it runs in virtual time.
type pipes struct{ conns chan net.Conn }

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p *pipes) Close() error   { close(p.conns); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.conns <- a:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bed is a connection to a simulated platform, with a database.
type bed struct {
	*testing.T
	Site
	ref    ads.Ref
	shared *apiclient.Shared
	st     store.Store
	since  ads.Date
	path   string // of the database

	maxWait time.Duration

	requests atomic.Int64 // that were for data
	between  atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]

	mu     sync.Mutex
	events []observe.Event
}

func onBed(t *testing.T, s Subject, faults []string, fn func(*bed)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{T: t, Site: s.Start(t, faults...), ref: ads.Ref{ClientID: "acme", Connection: "tried"}, path: filepath.Join(dir, "adsync.db")}
		wire := &pipes{conns: make(chan net.Conn)}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !b.Token(r) {
				b.requests.Add(1)
			}
			if f := b.between.Load(); f != nil && (*f)(w, r) {
				return
			}
			b.Handler.ServeHTTP(w, r)
		})}
		go func() { _ = srv.Serve(wire) }()
		b.shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: wire.dial})
		db, err := sqlite.Open(t.Context(), b.path, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.st = db
		b.since = ads.DateOf(time.Now()).Add(1 - max(1, b.Days))
		defer func() {
			_ = db.Close()
			b.shared.CloseIdle()
			_ = srv.Close()
			b.Close()
			time.Sleep(2 * time.Hour) // virtual: whatever the platform still does ends
		}()
		fn(b)
		if m := b.Misplaced(); len(m) > 0 {
			t.Errorf("secrets where they do not belong: %v", m)
		}
	})
}

// run is a life of a run, as a process of its own has it.
func (b *bed) run(st store.Store) engine.Summary {
	b.Helper()
	p := b.Platform()
	api, err := apiclient.New(apiclient.Config{
		Platform: p, Ref: b.ref, BaseURL: Base, Email: b.Email, Password: b.Password, Credentials: b.Credentials, CredentialSource: "a test", Shared: b.shared, MaxElapsed: 2 * time.Minute, MaxWait: b.maxWait, Observer: observe.Func(b.see),
	})
	if err != nil {
		b.Fatal(err)
	}
	return engine.Run(b.Context(), engine.Options{Ref: b.ref, Platform: p, API: api, Store: st, Since: b.since, Observer: observe.Func(b.see), MaxAccounts: 2, MaxInFlight: 8})
}

func (b *bed) see(e observe.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// complete runs until it is complete; other outcomes are the test's failure.
func (b *bed) complete() engine.Summary {
	b.Helper()
	s := b.run(b.st)
	if s.Outcome != ads.Complete || s.Err != nil || s.Figures.Listed == 0 || s.Figures.Listed != s.Figures.Synced {
		b.Fatalf("%s: %+v: %v", s.Phase, s, s.Err)
	}
	return s
}

// holds compares the database with what is true.
func (b *bed) holds() {
	b.Helper()
	to := ads.DateOf(time.Now()).Add(1)
	want := b.Truth(b.since, to)
	for stream, n := range want.Entities {
		if got := b.count(stream); got != n {
			b.Errorf("%s: %d stand in the database, %d are true", stream, got, n)
		}
	}
	for at, days := range want.Totals {
		got, err := b.st.DailyTotals(b.Context(), b.ref, at.Account, at.Level, b.since, to, time.Time{})
		if err != nil || len(got) != len(days) || len(got) == 0 {
			b.Fatalf("%s of %s: %d days, want %d; %v", at.Level, at.Account, len(got), len(days), err)
		}
		for _, g := range got {
			w := days[g.Date]
			if w.Date = g.Date; g != w {
				b.Errorf("%s of %s: %+v, want %+v", at.Level, at.Account, g, w)
			}
		}
	}
}

var tables = map[string]string{ads.StreamCampaigns: "campaigns", ads.StreamAdGroups: "ad_groups", ads.StreamAds: "ads"}

// count gives the rows of a stream that are not marked as removed.
func (b *bed) count(stream string) (n int) {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+b.path+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(b.Context(), "SELECT count(*) FROM "+tables[stream]+" WHERE removed_at IS NULL").Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

// truth: what a run leaves is what there is, and a second run changes nothing.
func truth(t *testing.T, s Subject) {
	onBed(t, s, nil, func(b *bed) {
		b.complete()
		b.holds()
		again := b.complete()
		if again.Figures.Unchanged != again.Figures.Synced {
			b.Errorf("%d of %d records changed though nothing did", again.Figures.Synced-again.Figures.Unchanged, again.Figures.Synced)
		}
		b.holds()
	})
}

var errDead = errors.New("the process is dead")

// mortal is a database as a process sees it that dies after so many commits.
type mortal struct {
	store.Store
	left    atomic.Int64
	commits atomic.Int64
}

func (m *mortal) Commit(ctx context.Context, l store.Lease, c *store.Commit) (store.Result, error) {
	if m.left.Add(-1) < 0 {
		return store.Result{}, errDead
	}
	m.commits.Add(1)
	return m.Store.Commit(ctx, l, c)
}

func (m *mortal) FinishRun(ctx context.Context, l store.Lease, f store.FinishRun) error {
	if m.left.Load() <= 0 {
		return errDead
	}
	return m.Store.FinishRun(ctx, l, f)
}

func (m *mortal) Sweep(ctx context.Context, l store.Lease, s store.Sweep) (store.SweepResult, error) {
	if m.left.Load() <= 0 {
		return store.SweepResult{}, errDead
	}
	return m.Store.Sweep(ctx, l, s)
}

// deaths: a run that dies after any of its commits goes on from there, and leaves the same.
func deaths(t *testing.T, s Subject) {
	var commits, requests int64
	onBed(t, s, nil, func(b *bed) {
		m := &mortal{Store: b.st}
		m.left.Store(1 << 40)
		if sum := b.run(m); sum.Outcome != ads.Complete {
			b.Fatalf("%+v", sum)
		}
		commits, requests = m.commits.Load(), b.requests.Load()
	})
	const most = 10 // all of them, on a day with time: each is a run of its own
	for n := int64(1); n < commits; n += max(1, commits/most) {
		t.Run(fmt.Sprintf("%d of %d", n, commits), func(t *testing.T) {
			onBed(t, s, nil, func(b *bed) {
				m := &mortal{Store: b.st}
				m.left.Store(n)
				first := b.run(m)
				if first.Err == nil {
					b.Fatalf("it did not die: %+v", first)
				}
				s := b.run(b.st)
				if s.Outcome != ads.Complete || s.Err != nil || s.RunID != first.RunID {
					b.Fatalf("it died at %q as %s and went on as %+v", first.Phase, first.RunID, s)
				}
				b.holds()
				// What is asked twice is what was in flight when it died, and what a life begins with: the accounts.
				if got := b.requests.Load(); got > requests+16 {
					b.Errorf("%d requests where %d are enough", got, requests)
				}
			})
		})
	}
}

// passing: a fault that passes leaves no trace.
func passing(t *testing.T, s Subject, fault string) {
	onBed(t, s, []string{fault}, func(b *bed) {
		b.complete()
		b.holds()
		if b.Played(fault) == 0 {
			b.Error("the fault has not played")
		}
	})
}
