package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/engine"
	"adsync/internal/live"
	"adsync/internal/metrics"
	"adsync/internal/observe"
	"adsync/internal/quota"
	"adsync/internal/report"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/sqlite"
	"adsync/internal/trace"
)

// scrapeEvery is far oftener than anybody scrapes.
const scrapeEvery = time.Second

// counted is in the metrics when they have seen the run.
const counted = `adsync_runs_total{client="acme",connection="adplatform",outcome="complete",platform="adplatform"} 1`

// cost is what a run took.
type cost struct{ wall, cpu time.Duration }

// observed compares first loads into SQLite with everything that `adsync serve` watches them by and with nothing, in interleaved pairs: events to the log, to
// the metrics, which are scraped meanwhile, to the live state and to the tracer, which is off, and the time of the database measured.
func (b *bench) observed(pairs int) error {
	fmt.Printf("%-22s %14s %14s %8s %8s\n", "", "bare rec/s", "observed rec/s", "wall", "cpu")
	for _, calls := range []bool{false, true} {
		what, n := "listing", b.n
		if calls {
			what, n = "a call each", b.n/10
		}
		url, stop, err := b.platform(n)
		if err != nil {
			return err
		}
		err = b.pairs(what, url, n, calls, pairs)
		stop()
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) pairs(what, url string, n int, calls bool, pairs int) error {
	if _, err := b.watched(url, n, calls, true); err != nil { // warms up the simulator and this process
		return err
	}
	var walls, cpus []float64
	for range pairs {
		var got [2]cost
		first := rand.IntN(2) // whoever goes first may have it harder, or easier
		for i := range 2 {
			at := (first + i) % 2
			var err error
			if got[at], err = b.watched(url, n, calls, at == 1); err != nil {
				return err
			}
		}
		wall, cpu := got[1].wall.Seconds()/got[0].wall.Seconds(), got[1].cpu.Seconds()/got[0].cpu.Seconds()
		walls, cpus = append(walls, wall), append(cpus, cpu)
		fmt.Printf("%-22s %14s %14s %8.3f %8.3f\n", what, rate(n, got[0].wall), rate(n, got[1].wall), wall, cpu)
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	low, high := surely(walls)
	cpuLow, cpuHigh := surely(cpus)
	fmt.Printf("%-22s %14s %14s %8.3f %8.3f   median of %d (wanted: 1.050 at most); 95 %% sure: %.3f to %.3f, cpu %.3f to %.3f\n", what, "", "",
		walls[pairs/2], cpus[pairs/2], pairs, low, high, cpuLow, cpuHigh)
	return nil
}

// surely is between which of the sorted values the true median lies in 19 of 20 cases, whatever their distribution; with a few pairs, all of them.
func surely(sorted []float64) (low, high float64) {
	n := len(sorted)
	at := max(int(float64(n)/2-0.98*math.Sqrt(float64(n))), 0)
	return sorted[at], sorted[n-1-at]
}

// watched is one first load.
func (b *bench) watched(url string, n int, calls, all bool) (c cost, err error) {
	dir, err := os.MkdirTemp(b.dir, "observed-")
	if err != nil {
		return cost{}, err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	raw, err := sqlite.Open(ctx, filepath.Join(dir, "adsync.db"), sqlite.Options{})
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	if _, err := raw.Migrate(ctx); err != nil {
		return cost{}, err
	}
	conn := config.Connection{
		Ref: ads.Ref{ClientID: "acme", Connection: adplatform.Name}, Platform: adplatform.Name, URL: url,
		Email: secret.New("user@example.com"), Password: secret.New("change-me-please"), XClientID: "acme", SendXClientID: true,
		PageSize: b.page, PerCampaignSync: calls, Timeout: 20 * time.Second, MaxElapsed: time.Minute, MaxListingSlack: 20,
	}
	var st store.Store = raw
	var obs observe.Observer
	end := func() error { return nil }
	if all {
		if st, obs, end, err = watch(dir, raw, conn); err != nil {
			return cost{}, err
		}
	}
	shared := apiclient.NewShared(apiclient.SharedConfig{})
	defer shared.CloseIdle()
	maker := &connect.Maker{Quota: quota.NewManager(st), Shared: shared, Observer: obs, MaxWait: time.Minute}
	p, err := connect.Platform(conn)
	if err != nil {
		return cost{}, err
	}
	api, err := maker.Client(p, conn)
	if err != nil {
		return cost{}, err
	}
	o := maker.Options(engine.Options{Trigger: store.TriggerManual}, conn)
	o.Platform, o.API, o.Store = p, api, st
	runtime.GC()
	cpu, begin := used(), time.Now()
	sum := engine.Run(ctx, o)
	err = end() // what is written late belongs to the cost
	c = cost{time.Since(begin), used() - cpu}
	if sum.Outcome != ads.Complete || sum.Figures.Synced != int64(n) {
		return cost{}, fmt.Errorf("the run ended %s with %d of %d: %w", sum.Outcome, sum.Figures.Synced, n, errors.Join(sum.Err, err))
	}
	return c, err
}

// watch is what `adsync serve` sets up around runs.
func watch(dir string, raw store.Store, conn config.Connection) (store.Store, observe.Observer, func() error, error) {
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, nil, nil, err
	}
	console := report.NewConsole(report.ConsoleOptions{Out: log, Format: report.FormatJSON, Red: report.NewRedactor()})
	meter := metrics.New(metrics.Options{Version: "bench"})
	st := meter.Store(raw)
	meter.Configure([]metrics.Connection{{Ref: conn.Ref, Platform: conn.Platform, Interval: 15 * time.Minute}})
	meter.Source(metrics.Sources{Standings: metrics.Stored(st)})
	spans, flush, err := trace.FromEnv(nil)
	if err != nil {
		return nil, nil, nil, err
	}
	done := make(chan struct{})
	var scrapes sync.WaitGroup
	scrapes.Go(func() {
		tick := time.NewTicker(scrapeEvery)
		defer tick.Stop()
		for {
			w := httptest.NewRecorder()
			meter.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			_, _ = io.Copy(io.Discard, w.Body)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	end := func() error {
		close(done)
		scrapes.Wait()
		w := httptest.NewRecorder()
		meter.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if !strings.Contains(w.Body.String(), counted) {
			return errors.New("the run was not observed")
		}
		err := flush(context.Background())
		console.Close()
		return errors.Join(err, log.Close())
	}
	return st, observe.NewFan(console, meter, spans, &live.Board{}), end, nil
}

// used is the processor time of this process.
func used() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
