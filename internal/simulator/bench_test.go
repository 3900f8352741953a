package simulator

import (
	"io"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// BenchmarkDownload reads a million campaigns in pages of 500 from loopback, as fast as a plain loop can.
func BenchmarkDownload(b *testing.B) {
	const campaigns, size = 1_000_000, 500
	cfg := quick()
	cfg.Campaigns, cfg.MaxPageSize, cfg.Static = campaigns, size, true
	s, u := serve(b, cfg, true)
	u.http.Transport.(*http.Transport).DisableCompression = true
	if a := u.login(); a.status != 200 {
		b.Fatalf("login: %d %v", a.status, a.err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	buf := make([]byte, 256<<10)
	records := 0
	begin := time.Now()
	for b.Loop() {
		for page := 1; page <= campaigns/size; page++ {
			req, err := http.NewRequest(http.MethodGet, u.base+"/api/campaigns?limit=500&page="+strconv.Itoa(page), nil)
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+u.token)
			resp, err := u.http.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf)
			resp.Body.Close()
			if err != nil || n < 80_000 {
				b.Fatalf("page %d: %d bytes, %v", page, n, err)
			}
			records += size
		}
	}
	took := time.Since(begin)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(records)/took.Seconds(), "records/s")
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MiB-kept")
	if n := s.Stats().Clients[""].Counted; n < campaigns/size {
		b.Fatalf("%d requests counted", n)
	}
}

// BenchmarkPage is the work of one page of 500 without the network.
func BenchmarkPage(b *testing.B) {
	buf := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		buf = buf[:0]
		for n := range 500 {
			buf = appendGenerated(buf, 1, n+1, "", 0)
		}
	}
	b.ReportMetric(float64(b.N)*500/b.Elapsed().Seconds(), "records/s")
}
