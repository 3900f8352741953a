package metrics_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/trace"
)

// BenchmarkRun is a whole run without a quota, a call for each campaign, with and without what this package and package trace add to it.
func BenchmarkRun(b *testing.B) {
	const campaigns = 3000
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer collector.Close()
	for _, bb := range []struct {
		name            string
		metrics, traces bool
	}{{"nothing", false, false}, {"metrics", true, false}, {"metrics and traces", true, true}} {
		b.Run(bb.name, func(b *testing.B) {
			f := newFleet(b)
			var obs []observe.Observer
			if bb.metrics {
				obs = append(obs, f.m)
			} else {
				f.store = f.raw
			}
			if bb.traces {
				o, shutdown, err := trace.FromEnv([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL})
				if err != nil {
					b.Fatal(err)
				}
				obs = append(obs, o)
				defer func() {
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
					defer cancel()
					_ = shutdown(ctx)
				}()
			}
			f.maker.Observer = observe.NewFan(obs...)
			f.add("acme", campaigns, nil)
			for b.Loop() {
				if s := f.sync(b.Context(), "acme"); s.Outcome != ads.Complete {
					b.Fatal(s.Outcome, s.Err)
				}
			}
			b.ReportMetric(campaigns*float64(b.N)/b.Elapsed().Seconds(), "campaigns/s")
		})
	}
}
