package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// requestEvents are what one request of a run makes: what it costs to count is the sum.
var requestEvents = []observe.Data{
	observe.QuotaState{Bucket: "acme", Used: 3, Limit: 10, Window: time.Minute},
	observe.Attempt{Endpoint: "sync campaign", Try: 1, Status: 200, Duration: 2 * time.Second, RequestID: "r-1", Sent: true},
	observe.RequestEnded{Endpoint: "sync campaign", Attempts: 1, Duration: 2 * time.Second},
	observe.Progress{Figures: ads.Figures{Listed: 100, Synced: 50}, Pending: 50},
}

func BenchmarkObserve(b *testing.B) {
	m := New(Options{})
	m.Configure([]Connection{{Ref: acme, Platform: "adplatform", Interval: time.Minute}})
	events := make([]observe.Event, len(requestEvents))
	for i, d := range requestEvents {
		events[i] = observe.Event{At: time.Now(), Ref: acme, Platform: "adplatform", RunID: "r-1", Data: d}
	}
	for _, e := range events {
		b.Run(fmt.Sprintf("%T", e.Data), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Observe(e)
			}
		})
	}
	b.Run("request", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, e := range events {
				m.Observe(e)
			}
		}
	})
	b.Run("request by two", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				for _, e := range events {
					m.Observe(e)
				}
			}
		})
	})
}

// worked is metrics with n connections that have all been worked on.
func worked(n, limit int) *Metrics {
	m := New(Options{MaxConnections: limit})
	conf := make([]Connection, n)
	for i := range conf {
		conf[i] = Connection{Ref: ads.Ref{ClientID: fmt.Sprint("client-", i), Connection: "adplatform"}, Platform: "adplatform", Interval: time.Hour}
	}
	m.Configure(conf)
	for _, c := range conf {
		for _, d := range []observe.Data{
			observe.RunStarted{},
			observe.WaitStarted{Reason: observe.WaitQuota},
			observe.WaitEnded{Reason: observe.WaitQuota},
			observe.Retry{Class: ads.ClassTransient},
			observe.QuotaState{Bucket: c.Ref.ClientID, Used: 1, Limit: 10, Window: time.Minute},
			observe.RunFinished{Outcome: ads.Complete},
		} {
			m.Observe(observe.Event{At: time.Now(), Ref: c.Ref, Platform: "adplatform", Data: d})
		}
	}
	return m
}

// TestMemoryOfConnections: what 10,000 connections cost while nobody scrapes.
func TestMemoryOfConnections(t *testing.T) {
	const n = 10_000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	m := worked(n, n)
	each := (heap() - before) / n
	t.Logf("%d bytes for each connection", each)
	if each > 3<<10 {
		t.Errorf("a connection costs %d bytes, more than 3 KiB", each)
	}
	runtime.KeepAlive(m)
}

func BenchmarkScrape(b *testing.B) {
	for _, bb := range []struct{ n, limit int }{{100, 2000}, {2000, 2000}, {10_000, 2000}, {10_000, 10_000}} {
		b.Run(fmt.Sprintf("%d connections, limit %d", bb.n, bb.limit), func(b *testing.B) {
			m := worked(bb.n, bb.limit)
			srv := httptest.NewServer(m.Handler())
			defer srv.Close()
			b.ReportAllocs()
			var size int64
			for b.Loop() {
				resp, err := http.Get(srv.URL)
				if err != nil {
					b.Fatal(err)
				}
				size, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			b.ReportMetric(float64(size), "bytes/scrape")
		})
	}
}
