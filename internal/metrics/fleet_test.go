package metrics_test

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/engine"
	"adsync/internal/metrics"
	"adsync/internal/observe"
	"adsync/internal/quota"
	"adsync/internal/secret"
	"adsync/internal/simulator"
	"adsync/internal/store"
	"adsync/internal/store/sqlite"
)

// password is what every simulated platform accepts; it must be in no scrape.
const password = "c4n4ry-change-me-please"

// fleet is a process with several connections, each to a simulated platform of its own, a real database, and metrics of it all.
type fleet struct {
	t     testing.TB
	m     *metrics.Metrics
	raw   store.Store
	store store.Store // measured
	maker *connect.Maker
	conns map[string]config.Connection
	conf  []metrics.Connection
}

func newFleet(t testing.TB) *fleet {
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "adsync.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	f := &fleet{t: t, m: metrics.New(metrics.Options{Version: "test"}), raw: st, conns: map[string]config.Connection{}}
	f.store = f.m.Store(st)
	if _, err := f.store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	shared := apiclient.NewShared(apiclient.SharedConfig{})
	t.Cleanup(shared.CloseIdle)
	f.maker = &connect.Maker{Quota: quota.NewManager(f.store), Shared: shared, Observer: f.m, MaxWait: time.Minute}
	f.m.Source(metrics.Sources{Standings: metrics.Stored(f.store)})
	return f
}

// add makes a client with a platform of its own.
func (f *fleet) add(client string, campaigns int, limits []quota.Limit, faults ...string) *httptest.Server {
	f.t.Helper()
	c := simulator.Default()
	c.Password, c.Campaigns, c.SyncLatency, c.ListFailRate503, c.ListSilenceRate, c.Quota, c.Faults = password, campaigns, 0, 0, 0, simulator.Quota{}, faults
	if len(limits) > 0 {
		c.Quota = simulator.Quota{N: limits[0].N, Window: limits[0].Window}
	}
	sim, err := simulator.New(c)
	if err != nil {
		f.t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	f.t.Cleanup(func() {
		_ = sim.Close()
		srv.CloseClientConnections()
		srv.Close()
	})
	conn := config.Connection{
		Ref: ads.Ref{ClientID: client, Connection: adplatform.Name}, Platform: adplatform.Name, URL: srv.URL,
		Email: secret.New(simulator.DefaultEmail), Password: secret.New(password), XClientID: client, SendXClientID: true,
		Quota: limits, PageSize: 10, PerCampaignSync: true, Timeout: 10 * time.Second, MaxElapsed: time.Minute,
	}
	f.conns[client] = conn
	f.conf = append(f.conf, metrics.Connection{Ref: conn.Ref, Platform: conn.Platform, Interval: 15 * time.Minute})
	f.m.Configure(f.conf)
	return srv
}

// sync is one life of a run, and what a service does when it ends.
func (f *fleet) sync(ctx context.Context, client string) engine.Summary {
	c := f.conns[client]
	p, err := connect.Platform(c)
	if err != nil {
		f.t.Error(err)
		return engine.Summary{}
	}
	api, err := f.maker.Client(p, c)
	if err != nil {
		f.t.Error(err)
		return engine.Summary{}
	}
	o := f.maker.Options(engine.Options{Trigger: "schedule"}, c)
	o.Platform, o.API, o.Store = p, api, f.store
	sum := engine.Run(ctx, o)
	if ads.ClassOf(sum.Err) == ads.ClassAuth {
		until := time.Now().Add(24 * time.Hour)
		if err := f.store.Park(ctx, c.Ref, store.Wait{Reason: sum.Err.Error(), Until: until.UTC(), Mark: "auth:1234:5678"}); err != nil {
			f.t.Error(err)
		}
		f.m.Observe(observe.Event{At: time.Now(), Ref: c.Ref, Platform: c.Platform, Data: observe.Parked{Kind: observe.ParkAuth, Until: until}})
	}
	return sum
}
