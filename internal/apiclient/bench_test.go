package apiclient_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
	"adsync/internal/secret"
)

// BenchmarkRequest is the cost of one request through all layers, beside one by net/http alone, to the same server in one process.
func BenchmarkRequest(b *testing.B) {
	body := make([]byte, 100<<10)
	srv := httptest.NewServer(tokens(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	defer srv.Close()
	b.Run("net/http", func(b *testing.B) {
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		for b.Loop() {
			req, err := http.NewRequest(http.MethodGet, srv.URL+"/x", nil)
			if err != nil {
				b.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	})
	for name, limits := range map[string][]quota.Limit{"client": nil, "client with quota": {{N: 900_000_000, Window: time.Hour}, {N: 1000, Window: 10 * time.Millisecond}}} {
		b.Run(name, func(b *testing.B) {
			shared := apiclient.NewShared(apiclient.SharedConfig{})
			defer shared.CloseIdle()
			c, err := apiclient.New(apiclient.Config{
				Platform: adplatform.New(adplatform.Options{Account: "acme"}), Ref: ads.Ref{ClientID: "acme"}, BaseURL: srv.URL,
				Email: secret.New("ops"), Password: secret.New(canaryPassword), Shared: shared,
				Bucket: quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", limits...),
			})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := c.Do(b.Context(), platform.Request{Endpoint: "list campaigns", Method: "GET", Path: "/x", Repeatable: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
