package service

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/observe"
	"adsync/internal/pgtest"
	"adsync/internal/queue"
	"adsync/internal/quota"
	"adsync/internal/secret"
	"adsync/internal/simulator"
	"adsync/internal/store"
	"adsync/internal/store/postgres"
	"adsync/internal/store/sqlite"
)

// bed is a platform and an empty database, on which services can be started one after the other.
type bed struct {
	t    *testing.T
	sim  *simulator.Server
	url  string
	open func(id string) (store.Store, *queue.Queue)

	answers chan struct{} // of the platform, as they come
}

// within waits for something to come.
func within(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(time.Minute):
		t.Fatalf("in vain: %s", what)
	}
}

// note tells whoever waits that something came; there may be nobody.
func note(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// watched tells when it is asked what a connection waits for.
type watched struct {
	store.Store
	waits chan struct{}
}

// ReadWait implements store.Store.
func (w *watched) ReadWait(ctx context.Context, ref ads.Ref) (store.Wait, error) {
	defer note(w.waits)
	return w.Store.ReadWait(ctx, ref)
}

func onBoth(t *testing.T, tune func(*simulator.Config), fn func(t *testing.T, b *bed)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "adsync.db")
		b := newBed(t, tune)
		b.open = func(id string) (store.Store, *queue.Queue) {
			st, err := sqlite.Open(t.Context(), path, sqlite.Options{})
			must(t, err)
			_, err = st.Migrate(t.Context())
			must(t, err)
			q, err := queue.OpenSQLite(path, queue.Options{ID: id})
			must(t, err)
			return st, q
		}
		fn(t, b)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pgtest.Need(t)
		dsn := secret.New(pgtest.New(t))
		b := newBed(t, tune)
		b.open = func(id string) (store.Store, *queue.Queue) {
			st, err := postgres.Open(t.Context(), dsn, postgres.Options{})
			must(t, err)
			_, err = st.Migrate(t.Context())
			must(t, err)
			q, err := queue.OpenPostgres(t.Context(), dsn, queue.Options{ID: id})
			must(t, err)
			return st, q
		}
		fn(t, b)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newBed(t *testing.T, tune func(*simulator.Config)) *bed {
	c := simulator.Default()
	c.ListFailRate503, c.ListSilenceRate, c.SyncLatency, c.Campaigns, c.Quota = 0, 0, time.Millisecond, 12, simulator.Quota{}
	if tune != nil {
		tune(&c)
	}
	sim, err := simulator.New(c)
	must(t, err)
	b := &bed{t: t, sim: sim, answers: make(chan struct{}, 1)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sim.ServeHTTP(w, r)
		note(b.answers)
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	b.url = srv.URL
	return b
}

func (b *bed) conn(client, every string) config.Connection {
	return config.Connection{
		Ref: ads.Ref{ClientID: client, Connection: "adplatform"}, Platform: "adplatform", URL: b.url,
		Email: secret.New(simulator.DefaultEmail), Password: secret.New(simulator.DefaultPassword), XClientID: client, SendXClientID: true,
		PageSize: 10, PerCampaignSync: true, Timeout: 10 * time.Second, MaxElapsed: time.Minute, MaxListingSlack: 20, Schedule: schedule(b.t, every),
	}
}

// life is one process's service.
type life struct {
	*Service
	st    store.Store
	waits chan struct{} // each time that it is asked what a connection waits for
	stop  func()
	seen  chan observe.Event
	kept  []observe.Event
}

// start runs a service until stop, or the test's end.
func (b *bed) start(id string, conns ...config.Connection) *life {
	b.t.Helper()
	return b.startWith(id, nil, conns...)
}

func (b *bed) startWith(id string, secrets Secrets, conns ...config.Connection) *life {
	b.t.Helper()
	st, q := b.open(id)
	_, err := q.Migrate(b.t.Context())
	must(b.t, err)
	l := &life{st: st, waits: make(chan struct{}), seen: make(chan observe.Event, 10_000)}
	shared := apiclient.NewShared(apiclient.SharedConfig{})
	l.Service = New(Options{
		ID: id, Name: "pid 1 on test", Version: "test", Store: &watched{st, l.waits}, Queue: q, Log: slog.New(slog.DiscardHandler), Secrets: secrets,
		Maker: &connect.Maker{Quota: quota.NewManager(st), Shared: shared, MaxWait: 2 * time.Minute, Observer: observe.Func(func(e observe.Event) {
			switch e.Data.(type) {
			case observe.RunFinished, observe.Parked:
				select {
				case l.seen <- e:
				default:
				}
			}
		})},
	}, conns)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	l.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
		q.Close()
		shared.CloseIdle()
		if err := st.Close(); err != nil {
			b.t.Error(err)
		}
	}
	b.t.Cleanup(l.stop)
	return l
}

// following waits for the next event of a connection of that type. Others are kept for who asks for them.
func following[T observe.Data](t *testing.T, l *life, client string) T {
	t.Helper()
	match := func(e observe.Event) (T, bool) {
		d, ok := e.Data.(T)
		return d, ok && e.Ref.ClientID == client
	}
	for i, e := range l.kept {
		if d, ok := match(e); ok {
			l.kept = slices.Delete(l.kept, i, i+1)
			return d
		}
	}
	late := time.After(time.Minute)
	for {
		select {
		case e := <-l.seen:
			if d, ok := match(e); ok {
				return d
			}
			l.kept = append(l.kept, e)
		case <-late:
			t.Fatalf("no %T of %s", *new(T), client)
		}
	}
}

// idle waits until no job is open but parked ones.
func (l *life) idle(t *testing.T) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		d, err := l.o.Queue.Depth(t.Context())
		must(t, err)
		if d[queue.Queued]+d[queue.Running] == 0 {
			return
		}
		select {
		case <-late:
			t.Fatalf("still %v", d)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestKeepsFresh(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, func(t *testing.T, b *bed) {
		l := b.start("a", b.conn("acme", "every 24h"), b.conn("other", "every 24h"))
		for _, client := range []string{"acme", "other"} { // never ran: due at once
			if d := following[observe.RunFinished](t, l, client); d.Outcome != ads.Complete || d.Figures.Synced != 12 {
				t.Errorf("%s: %+v", client, d)
			}
		}
		l.idle(t)
		l.stop()
		l = b.start("b", b.conn("acme", "every 24h"), b.conn("other", "every 24h")) // nothing is due, unless a slot lies between
		ref := ads.Ref{ClientID: "acme", Connection: "adplatform"}
		within(t, "a service that works", l.open)
		got, err := l.SyncNow(t.Context(), []ads.Ref{ref}, false)
		if err != nil || got[0].State != queue.Queued {
			t.Fatalf("%+v, %v", got, err)
		}
		if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Complete || d.Figures.Unchanged != 12 {
			t.Errorf("%+v", d)
		}
		if at := l.NextRun(ref); time.Until(at) > 24*time.Hour || !at.After(time.Now()) {
			t.Errorf("next %s", at)
		}
		if _, err := l.SyncNow(t.Context(), []ads.Ref{{ClientID: "nobody"}}, false); err == nil {
			t.Error("nobody was synced")
		}
	})
}

// Credentials that are refused are tried once, also by the next process, until they change.
func TestRefusedCredentials(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, func(t *testing.T, b *bed) {
		bad := b.conn("acme", "every 1s")
		bad.Password = secret.New("wrong")
		refused := func() (n int64) {
			for _, c := range b.sim.Stats().Clients {
				n += c.TokensRefused
			}
			return n
		}
		l := b.start("a", bad)
		if d := following[observe.Parked](t, l, "acme"); d.Kind != observe.ParkAuth || time.Until(d.Until) < 23*time.Hour {
			t.Errorf("%+v", d)
		}
		once := refused()
		l.stop()
		l = b.start("b", bad)
		good := b.conn("acme", "every 1s")
		for range 3 { // slots come and go
			within(t, "a slot at which it is looked whether they have changed", l.waits)
		}
		if n := refused(); n != once || once == 0 {
			t.Errorf("refused %d times, then %d", once, n)
		}
		// A person may have them tried once more.
		got, err := l.SyncNow(t.Context(), []ads.Ref{bad.Ref}, false)
		if err != nil || got[0].State != queue.Queued {
			t.Fatalf("%+v, %v", got, err)
		}
		if d := following[observe.Parked](t, l, "acme"); d.Kind != observe.ParkAuth || refused() != once+1 {
			t.Errorf("%+v, refused %d times", d, refused())
		}
		if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Failed {
			t.Errorf("%+v", d)
		}
		if ch := l.Reload([]config.Connection{good}, nil); len(ch.Changed) != 1 || len(ch.Added)+len(ch.Removed) != 0 {
			t.Errorf("%+v", ch)
		}
		if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Complete {
			t.Errorf("%+v", d)
		}
	})
}

// A wait of hours gives the worker back; the next process keeps to it, and the run goes on from its place.
func TestParkedOverRestart(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, func(t *testing.T, b *bed) {
		c := b.conn("acme", "every 24h")
		c.Quota = []quota.Limit{{N: 5, Window: 11 * time.Hour}}
		l := b.start("a", c)
		d := following[observe.Parked](t, l, "acme")
		if d.Kind != observe.ParkQuota || time.Until(d.Until) < 10*time.Hour {
			t.Fatalf("%+v", d)
		}
		l.idle(t)
		l.stop()
		before := b.sim.Stats().Clients["acme"].Arrivals
		l = b.start("b", c)
		within(t, "a service that works", l.open)
		got, err := l.SyncNow(t.Context(), []ads.Ref{c.Ref}, false)
		if err != nil || !got[0].Joined || got[0].State != queue.Parked || got[0].Until.Sub(d.Until).Abs() > 10*time.Second || got[0].Reason == "" {
			t.Fatalf("%+v, %v; parked until %s", got, err, d.Until)
		}
		if n := b.sim.Stats().Clients["acme"].Arrivals; n != before || n != 5 {
			t.Errorf("%d requests, then %d", before, n)
		}
		l.stop()
		// The quota is raised, so the wait is over when a person asks.
		free := c
		free.Quota = nil
		st, q := b.open("c")
		must(t, st.Park(t.Context(), c.Ref, store.Wait{Reason: "test", Until: time.Now().Add(time.Hour), Mark: "failed"}))
		q.Close()
		must(t, st.Close())
		l = b.start("d", free)
		within(t, "a service that works", l.open)
		if got, err := l.SyncNow(t.Context(), []ads.Ref{c.Ref}, false); err != nil || got[0].State != queue.Queued {
			t.Fatalf("%+v, %v", got, err)
		}
		if f := following[observe.RunFinished](t, l, "acme"); f.Outcome != ads.Complete || f.Figures.Listed != 12 || f.Figures.Requests != 14 {
			t.Errorf("%+v", f)
		}
	})
}

// A record that failed is tried again by itself when it is due, and resolved by success.
func TestRetriesWhatFailed(t *testing.T) {
	t.Parallel()
	onBoth(t, func(c *simulator.Config) { c.Faults = []string{"sync-404:id=campaign_3"} }, func(t *testing.T, b *bed) {
		c := b.conn("acme", "every 24h")
		l := b.start("a", c)
		if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Partial || d.Figures.Failed != 1 {
			t.Fatalf("%+v", d)
		}
		l.idle(t)
		got, err := l.SyncNow(t.Context(), []ads.Ref{c.Ref}, true)
		if err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		d := following[observe.RunFinished](t, l, "acme")
		if d.Figures.Listed != 1 {
			t.Errorf("%+v", d)
		}
		runs, err := l.st.Runs(t.Context(), c.Ref, 1)
		if err != nil || runs[0].Trigger != store.TriggerRetry {
			t.Errorf("%+v, %v", runs, err)
		}
		open := 0
		for f, err := range l.st.Failures(t.Context(), store.FailureFilter{}) {
			must(t, err)
			open++
			if f.EntityID != "campaign_3" || f.Attempts < 2 || f.NextRetryAt.IsZero() {
				t.Errorf("%+v", f)
			}
		}
		if open != 1 {
			t.Error(open)
		}
	})
}

// Somebody who wants one record tried again gets that one, whatever else of the connection has failed.
func TestRetriesOneFailure(t *testing.T) {
	t.Parallel()
	onBoth(t, func(c *simulator.Config) { c.Faults = []string{"sync-404:id=campaign_3", "sync-404:id=campaign_5"} }, func(t *testing.T, b *bed) {
		c := b.conn("acme", "every 24h")
		l := b.start("a", c)
		if d := following[observe.RunFinished](t, l, "acme"); d.Figures.Failed != 2 {
			t.Fatalf("%+v", d)
		}
		l.idle(t)
		var ids []int64
		for f, err := range l.st.Failures(t.Context(), store.FailureFilter{}) {
			must(t, err)
			if f.EntityID == "campaign_5" {
				ids = append(ids, f.ID)
			}
		}
		if _, err := l.RetryNow(t.Context(), ads.Ref{ClientID: "nobody", Connection: "x"}, ids); err == nil {
			t.Error("a connection that is not there was asked for")
		}
		if got, err := l.RetryNow(t.Context(), c.Ref, ids); err != nil || got.Ref != c.Ref {
			t.Fatal(got, err)
		}
		if d := following[observe.RunFinished](t, l, "acme"); d.Figures.Listed != 1 {
			t.Errorf("%+v", d)
		}
		tries := map[string]int64{}
		for f, err := range l.st.Failures(t.Context(), store.FailureFilter{}) {
			must(t, err)
			tries[f.EntityID] = f.Attempts
		}
		if len(tries) != 2 || tries["campaign_5"] <= tries["campaign_3"] {
			t.Errorf("tries of each: %v", tries)
		}
	})
}

// A process that is stopped gives back its run, and the next one goes on from its place at once.
func TestStopGivesBack(t *testing.T) {
	t.Parallel()
	onBoth(t, func(c *simulator.Config) { c.Quota = simulator.Quota{N: 10, Window: time.Second} }, func(t *testing.T, b *bed) {
		c := b.conn("acme", "every 24h")
		c.Quota = []quota.Limit{{N: 5, Window: time.Second}}
		l := b.start("a", c)
		for b.sim.Stats().Clients["acme"] == nil || b.sim.Stats().Clients["acme"].Syncs < 2 {
			within(t, "another answer", b.answers)
		}
		l.stop()
		l = b.start("b", c)
		d := following[observe.RunFinished](t, l, "acme")
		if d.Outcome != ads.Complete || d.Figures.Synced != 12 {
			t.Errorf("%+v", d)
		}
		s := b.sim.Stats().Clients["acme"]
		if s.Throttled != 0 || s.Syncs > 12+5 {
			t.Errorf("%d refused, %d calls", s.Throttled, s.Syncs)
		}
		runs, err := l.st.Runs(t.Context(), c.Ref, 10)
		if err != nil || len(runs) != 1 {
			t.Errorf("%d runs, %v", len(runs), err)
		}
	})
}

// Connections come, go and change while the service runs.
func TestReload(t *testing.T) {
	t.Parallel()
	onBoth(t, nil, func(t *testing.T, b *bed) {
		stay, gone, changed := b.conn("stay", "every 24h"), b.conn("gone", "every 24h"), b.conn("changed", "every 24h")
		l := b.start("a", stay, gone, changed)
		for _, c := range []string{"stay", "gone", "changed"} {
			if d := following[observe.RunFinished](t, l, c); d.Outcome != ads.Complete {
				t.Errorf("%s: %+v", c, d)
			}
		}
		changed.Schedule = schedule(t, "every 1s")
		ch := l.Reload([]config.Connection{stay, changed, b.conn("new", "every 24h")}, nil)
		if fmt.Sprint(ch.Added, ch.Changed, ch.Removed) != "[new/adplatform] [changed/adplatform] [gone/adplatform]" {
			t.Errorf("%v", ch)
		}
		for _, c := range []string{"new", "changed"} {
			if d := following[observe.RunFinished](t, l, c); d.Outcome != ads.Complete {
				t.Errorf("%s: %+v", c, d)
			}
		}
		if len(l.Configured()) != 3 || len(l.Refs()) != 3 || !l.NextRun(gone.Ref).IsZero() {
			t.Errorf("%v", l.Refs())
		}
	})
}

// rotating keeps one password, as a store of secrets does.
type rotating struct {
	mu       sync.Mutex
	conn     config.Connection
	password string
	reads    int
}

func (r *rotating) set(p string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.password = p
}

func (r *rotating) Renewable(ads.Ref) bool { return true }

// ResolveConnection gives what was read first: a cache that has not expired.
func (r *rotating) ResolveConnection(context.Context, ads.Ref) (config.Connection, error) {
	return r.conn, nil
}

func (r *rotating) Renew(_ context.Context, c config.Connection) (config.Connection, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	was := c.Password
	c.Password = secret.New(r.password)
	r.conn = c
	return c, !c.Password.Equal(was), nil
}

// A password that was rotated before a run costs one refusal, and the run is made all the same. One that is refused and has not changed is tried once.
func TestRotation(t *testing.T) {
	t.Parallel()
	onBoth(t, func(c *simulator.Config) {
		c.Accounts = []simulator.Account{{Email: "ops@example.com", Password: "old-password"}, {Email: "ops@example.com", Password: "new-password"}}
		c.TokenLife = 2 * time.Second
	}, func(t *testing.T, b *bed) {
		c := b.conn("acme", "every 24h")
		c.Email, c.Password = secret.New("ops@example.com"), secret.New("stale-password")
		keep := &rotating{conn: c, password: "new-password"}
		l := b.startWith("a", keep, c)
		d := following[observe.RunFinished](t, l, "acme")
		if d.Outcome != ads.Failed {
			t.Errorf("%+v", d)
		}
		if d = following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Complete || keep.reads != 1 {
			t.Errorf("%+v after %d reads", d, keep.reads)
		}
		l.idle(t)
		runs, err := l.st.Runs(t.Context(), c.Ref, 10)
		if err != nil || len(runs) != 1 || runs[0].Figures.Synced != 12 {
			t.Errorf("%+v, %v", runs, err)
		}
		// Changed to another one that is wrong too: one more try, then parked.
		keep.set("wrong-password")
		keep.conn.Password = secret.New("stale-password")
		if _, err := l.SyncNow(t.Context(), []ads.Ref{c.Ref}, false); err != nil {
			t.Fatal(err)
		}
		if p := following[observe.Parked](t, l, "acme"); p.Kind != observe.ParkAuth || keep.reads != 2 {
			t.Errorf("%+v after %d reads", p, keep.reads)
		}
	})
}
