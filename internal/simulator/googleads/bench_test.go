package googleads

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// BenchmarkStream reads 30 days of the figures of 200 accounts' ads from loopback, one stream an account, as fast as a plain loop can.
func BenchmarkStream(b *testing.B) {
	cfg := Default()
	cfg.Accounts, cfg.Date = 200, date
	s, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	defer func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	s.mu.Lock()
	token, _ := s.issue(0)
	s.mu.Unlock()
	const query = `{"query":"SELECT campaign.id, ad_group.id, ad_group_ad.ad.id, segments.date, metrics.impressions, metrics.clicks, metrics.cost_micros, metrics.conversions FROM ad_group_ad WHERE segments.date BETWEEN '2026-10-23' AND '2026-11-21'"}`
	var total, rows int64
	for b.Loop() {
		for n := 1; n <= cfg.Accounts; n++ {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+ln.Addr().String()+"/v26/customers/"+node{account: n}.text()+"/googleAds:searchStream", strings.NewReader(query))
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Login-Customer-Id", root1)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				b.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != http.StatusOK {
				b.Fatal(res.StatusCode, err)
			}
			total += int64(len(body))
			rows += int64(strings.Count(string(body), `"date":`))
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(total)/1e6/b.Elapsed().Seconds(), "MB/s")
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	b.ReportMetric(float64(mem.HeapAlloc)/1e6, "heapMB")
}
