package googleads_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/engine"
	"adsync/internal/googleads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/secret"
	sim "adsync/internal/simulator/googleads"
	"adsync/internal/store"
	"adsync/internal/store/sqlite"
)

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

const base = "http://google.test"

// bed is a connection to a simulated platform through the real client, in a bubble of virtual time.
type bed struct {
	*testing.T
	sim    *sim.Server
	p      *googleads.Platform
	api    *apiclient.Client
	shared *apiclient.Shared
	creds  secret.Bag
	since  ads.Date
	until  ads.Date // balanced looks no further; zero: at all

	mu     sync.Mutex
	events []observe.Data
	sent   int
	stop   func(sent int) // told of each attempt
}

// onBed runs fn on a bed. world changes the platform, and options the connection.
func onBed(t *testing.T, world func(*sim.Config), options func(*googleads.Options), fn func(*bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := sim.Default()
		cfg.Campaigns, cfg.Days = 6, 40
		if world != nil {
			world(&cfg)
		}
		s, err := sim.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		wire := &pipes{conns: make(chan net.Conn)}
		srv := &http.Server{Handler: s}
		go func() { _ = srv.Serve(wire) }()
		b := &bed{
			T: t, sim: s, shared: apiclient.NewShared(apiclient.SharedConfig{DialContext: wire.dial}), since: ads.DateOf(time.Now()).Add(-29),
			creds: secret.Bag{}.With("client_id", secret.New(sim.DefaultClientID)).With("client_secret", secret.New(sim.DefaultClientSecret)).With("refresh_token", secret.New(sim.DefaultRefreshToken)),
		}
		b.connect(options)
		defer func() {
			b.shared.CloseIdle()
			_ = srv.Close()
			_ = s.Close()
			time.Sleep(time.Minute) // virtual: whatever the platform still does ends
		}()
		fn(b)
		b.noSecrets()
	})
}

// connect makes the connector and its client anew.
func (b *bed) connect(options func(*googleads.Options)) {
	b.Helper()
	o := googleads.Options{OAuthURL: base}
	if options != nil {
		options(&o)
	}
	var err error
	if b.p, err = googleads.New(o); err != nil {
		b.Fatal(err)
	}
	b.api, err = apiclient.New(apiclient.Config{
		Platform: b.p, Ref: ads.Ref{ClientID: "acme", Connection: googleads.Name}, BaseURL: base, Credentials: b.creds, Shared: b.shared,
		Observer: observe.Func(func(e observe.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e.Data)
			if a, ok := e.Data.(observe.Attempt); ok && a.Sent && b.stop != nil {
				b.sent++
				b.stop(b.sent)
			}
		}),
	})
	if err != nil {
		b.Fatal(err)
	}
}

// noSecrets holds all events against the credentials, and the platform's own count of secrets in wrong places.
func (b *bed) noSecrets() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		for _, s := range b.creds.All() {
			if text := fmt.Sprintf("%+v", e); secret.Clean(text, s) != text {
				b.Errorf("an event gives a secret away: %T", e)
			}
		}
	}
	if st := b.sim.Stats(); len(st.Misplaced) > 0 {
		b.Errorf("secrets where they do not belong: %v", st.Misplaced)
	}
}

// accounts lists them, with the errors that came along.
func (b *bed) accounts() (accs []ads.Account, errs []error) {
	for acc, err := range b.p.Accounts(b.Context(), b.api) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		accs = append(accs, acc)
	}
	return accs, errs
}

// first is the first account that can be read.
func (b *bed) first() ads.Account {
	b.Helper()
	accs, errs := b.accounts()
	if len(accs) == 0 || len(errs) > 0 {
		b.Fatalf("%d accounts, %v", len(accs), errs)
	}
	return accs[0]
}

// list reads a stream to its end as the engine does, and begins again where the platform has dropped the place.
func (b *bed) list(acc ads.Account, stream string) (out []ads.Entity, stale int, err error) {
	b.Helper()
	cursor := ""
	for range 1000 {
		next, err := b.p.Step(b.Context(), b.api, platform.Task{Account: acc, Stream: stream, Cursor: cursor}, func(r ads.Record) error {
			if r.Problem != nil {
				return errors.New(r.Problem.Message)
			}
			out = append(out, r.Entity)
			return nil
		})
		if ads.ClassOf(err) == ads.ClassStaleCursor {
			cursor, out, stale = "", nil, stale+1
			continue
		}
		if err != nil || next.Cursor == "" {
			if err == nil && next.Total != ads.Some(int64(len(out))) {
				b.Errorf("%s: %d came, the platform says %v", stream, len(out), next.Total)
			}
			return out, stale, err
		}
		cursor = next.Cursor
	}
	b.Fatalf("%s: no end", stream)
	return nil, 0, nil
}

// read reads a slice to its end.
func (b *bed) read(acc ads.Account, level string, from, to ads.Date) (out []ads.DailyMetrics, err error) {
	b.Helper()
	cursor := ""
	for range 1000 {
		p, err := b.p.Report(b.Context(), b.api, platform.Slice{Account: acc, Level: level, From: from, To: to, Cursor: cursor, Now: time.Now()}, func(m ads.DailyMetrics) error {
			out = append(out, m)
			return nil
		})
		if err != nil || p.Done {
			return out, err
		}
		cursor = p.Cursor
	}
	b.Fatalf("%s: no end", level)
	return nil, nil
}

var resources = map[string]string{ads.LevelAccount: "customer", ads.LevelCampaign: "campaign", ads.LevelAdGroup: "ad_group", ads.LevelAd: "ad_group_ad"}

// holds compares what was read with what is true, row by row.
func (b *bed) holds(acc ads.Account, level string, from, to ads.Date, got []ads.DailyMetrics) {
	b.Helper()
	type key struct{ id, date string }
	have := map[key]ads.DailyMetrics{}
	for _, m := range got {
		k := key{m.EntityID, m.Date.String()}
		if _, twice := have[k]; twice {
			b.Errorf("%s: %v comes twice", level, k)
		}
		have[k] = m
	}
	truth := b.sim.Figures(acc.ID, resources[level], from.String(), to.String())
	if len(truth) != len(got) || len(truth) == 0 {
		b.Errorf("%s of %s: %d rows, want %d", level, acc.ID, len(got), len(truth))
	}
	for _, w := range truth {
		m, ok := have[key{w.ID, w.Date}]
		conversions, _ := ads.ParseDecimal(fmt.Sprint(w.Conversions))
		value, _ := ads.ParseMicros(fmt.Sprint(w.Value))
		want := ads.DailyMetrics{
			EntityID: w.ID, Date: m.Date, Impressions: ads.Some(w.Impressions), Clicks: ads.Some(w.Clicks), Spend: ads.Some(ads.Micros(w.CostMicros)),
			Conversions: ads.Some(conversions), ConversionValue: ads.Some(value), Currency: acc.Currency,
		}
		raw := m.Raw
		m.Raw = nil
		if !ok || len(raw) == 0 || fmt.Sprintf("%+v", m) != fmt.Sprintf("%+v", want) {
			b.Errorf("%s of %s: %+v\nwant %+v", level, acc.ID, m, want)
			return
		}
	}
}

// books is a database that runs are kept in.
func (b *bed) books() *sqlite.Store {
	b.Helper()
	st, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "adsync.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := st.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	return st
}

// run is a whole run into a database.
func (b *bed) run(st *sqlite.Store) engine.Summary { return b.runIn(b.Context(), st) }

func (b *bed) runIn(ctx context.Context, st *sqlite.Store) engine.Summary {
	return engine.Run(ctx, engine.Options{Ref: ads.Ref{ClientID: "acme", Connection: googleads.Name}, Platform: b.p, API: b.api, Store: st, Since: b.since})
}

// balanced holds the database's sums at all levels against the truth.
func (b *bed) balanced(st *sqlite.Store, accounts ...string) {
	b.Helper()
	for _, acc := range accounts {
		for level, resource := range resources {
			want := map[string]store.DayTotal{}
			to := b.until
			if to.IsZero() {
				to = ads.DateOf(time.Now()).Add(1)
			}
			for _, w := range b.sim.Figures(acc, resource, b.since.String(), to.String()) {
				d := want[w.Date]
				d.Rows++
				d.Impressions += w.Impressions
				d.Clicks += w.Clicks
				d.Spend += ads.Micros(w.CostMicros)
				want[w.Date] = d
			}
			got, err := st.DailyTotals(b.Context(), ads.Ref{ClientID: "acme", Connection: googleads.Name}, acc, level, b.since, to, time.Time{})
			if err != nil || len(got) != len(want) || len(got) == 0 {
				b.Fatalf("%s of %s: %d days, want %d; %v", level, acc, len(got), len(want), err)
			}
			for _, g := range got {
				w := want[g.Date.String()]
				if w.Date = g.Date; g != w {
					b.Errorf("%s of %s: %+v, want %+v", level, acc, g, w)
				}
			}
		}
	}
}
