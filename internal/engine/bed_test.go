package engine_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/engine"
	"adsync/internal/observe"
	"adsync/internal/quota"
	"adsync/internal/secret"
	"adsync/internal/simulator"
	"adsync/internal/store/sqlite"
)

// pipes is a network of net.Pipe connections, so that platform and client live in one bubble of virtual time.
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

// bed is one client of a simulated platform with a real SQLite database, all in a bubble of virtual time.
type bed struct {
	t      *testing.T
	sim    *simulator.Server
	net    *pipes
	path   string
	store  *sqlite.Store
	shared *apiclient.Shared

	ref     ads.Ref
	limits  []quota.Limit
	opts    adplatform.Options
	timeout time.Duration
	elapsed time.Duration
	maxWait time.Duration

	mu     sync.Mutex
	events []observe.Event
}

// inBubble runs fn on a bed in virtual time.
func inBubble(t *testing.T, tune func(*simulator.Config), fn func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := simulator.Default()
		c.ListFailRate503, c.ListSilenceRate = 0, 0
		if tune != nil {
			tune(&c)
		}
		sim, err := simulator.New(c)
		if err != nil {
			t.Fatal(err)
		}
		b := &bed{
			t: t, sim: sim, net: &pipes{conns: make(chan net.Conn)}, path: filepath.Join(t.TempDir(), "adsync.db"),
			ref: ads.Ref{ClientID: "acme", Connection: "adplatform"}, opts: adplatform.Options{Account: "acme", XClientID: "acme", PageSize: 10, PerCampaignSync: true},
		}
		if c.Quota.N > 0 {
			b.limits = []quota.Limit{{N: c.Quota.N, Window: c.Quota.Window}}
		}
		srv := &http.Server{Handler: sim, IdleTimeout: 5 * time.Second}
		go func() { _ = srv.Serve(b.net) }()
		b.open()
		b.shared = apiclient.NewShared(apiclient.SharedConfig{DialContext: b.net.dial})
		defer func() {
			b.shared.CloseIdle()
			_ = srv.Close()
			_ = sim.Close()
			b.store.Close()
			time.Sleep(time.Minute) // virtual: whatever the platform still does ends
		}()
		fn(b)
	})
}

func (b *bed) open() {
	b.t.Helper()
	st, err := sqlite.Open(b.t.Context(), b.path, sqlite.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := st.Migrate(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.store = st
}

// run is one life of a run. tune may change its options.
func (b *bed) run(ctx context.Context, tune ...func(*engine.Options)) engine.Summary {
	b.t.Helper()
	p := adplatform.New(b.opts)
	obs := observe.Func(func(e observe.Event) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, e)
	})
	c, err := apiclient.New(apiclient.Config{
		Platform: p, Ref: b.ref, BaseURL: "http://platform.test", Email: secret.New(simulator.DefaultEmail), Password: secret.New(simulator.DefaultPassword),
		CredentialSource: "env ACME_PASSWORD", Bucket: quota.NewManager(b.store).Bucket("platform.test|"+b.opts.XClientID, b.ref.ClientID, b.limits...),
		Shared: b.shared, Observer: obs, Timeout: b.timeout, MaxElapsed: b.elapsed, MaxWait: b.maxWait,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	o := engine.Options{Ref: b.ref, Platform: p, API: c, Store: b.store, Observer: obs, PlanKey: "platform.test|" + b.opts.XClientID}
	for _, fn := range tune {
		fn(&o)
	}
	return engine.Run(ctx, o)
}

// notes are the codes of what the run noted.
func (b *bed) notes() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]int{}
	for _, e := range b.events {
		if n, ok := e.Data.(observe.Note); ok {
			out[n.Code]++
		}
	}
	return out
}

func (b *bed) stats() *simulator.ClientStats {
	b.t.Helper()
	st := b.sim.Stats().Clients[b.opts.XClientID]
	if st == nil { // not seen yet
		return &simulator.ClientStats{}
	}
	return st
}

// query reads one value from the database.
func query[T any](b *bed, q string, args ...any) (v T) {
	b.t.Helper()
	db, err := sql.Open("sqlite", "file:"+b.path+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(b.t.Context(), q, args...).Scan(&v); err != nil {
		b.t.Fatalf("%s: %v", q, err)
	}
	return v
}

// exec changes the database beside the store.
func (b *bed) exec(q string) {
	b.t.Helper()
	db, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(b.t.Context(), q); err != nil {
		b.t.Fatal(err)
	}
}

// addsUp holds a summary to promise 1, and to what the database says.
func (b *bed) addsUp(s engine.Summary) {
	b.t.Helper()
	f := s.Figures
	ended := s.Outcome == ads.Complete || s.Outcome == ads.Partial
	if ended && f.Listed != f.Synced+f.Failed || f.Listed < f.Synced+f.Failed || f.Unchanged > f.Synced {
		b.t.Errorf("the figures do not add up: %+v", f)
	}
	if s.Outcome == ads.Complete && (f.Failed != 0 || s.Err != nil) {
		b.t.Errorf("complete with %d failed, %v", f.Failed, s.Err)
	}
	row := query[string](b, "SELECT listed || ' ' || synced || ' ' || unchanged || ' ' || failed || ' ' || removed || ' ' || pages || ' ' || coalesce(outcome, '') FROM runs WHERE id = ?", s.RunID)
	if want := fmt.Sprintf("%d %d %d %d %d %d %s", f.Listed, f.Synced, f.Unchanged, f.Failed, f.Removed, f.Pages, s.Outcome); row != want {
		b.t.Errorf("the run's row says %s, the summary %s", row, want)
	}
	st := b.stats()
	if b.limits != nil && st.MaxCountedInWindow > b.limits[0].N {
		b.t.Errorf("%d requests in a window of %s", st.MaxCountedInWindow, b.limits[0])
	}
	if st.Early > 0 {
		b.t.Errorf("%d requests came before a told time", st.Early)
	}
}

// control changes what the platform has.
func (b *bed) control(c simulator.Command) {
	b.t.Helper()
	if err := b.sim.Control(c); err != nil {
		b.t.Fatal(err)
	}
}
