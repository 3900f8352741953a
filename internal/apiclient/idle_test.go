package apiclient_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
	"adsync/internal/secret"
)

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// Connections are many and idle for most of the time: after their requests each costs a few KiB and no goroutine, whether they share their
// credentials or not. The quota's part is measured there.
func TestIdleClientsAreSmall(t *testing.T) {
	for _, tt := range []struct {
		name     string
		n        int
		password func(i int) string
	}{
		{"own credentials", 2_000, func(i int) string { return fmt.Sprint("password-", i) }},
		{"shared credentials", 10_000, func(int) string { return "password" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := tt.n
			srv := httptest.NewServer(tokens(ok))
			defer srv.Close()
			shared := apiclient.NewShared(apiclient.SharedConfig{})
			bucket := quota.NewManager(quotatest.NewMemory()).Bucket("all", "all")
			clients := make([]*apiclient.Client, n)
			platforms := make([]*adplatform.Platform, n)
			names := make([]string, n)
			for i := range n {
				names[i] = fmt.Sprintf("client-%d", i)
				platforms[i] = adplatform.New(adplatform.Options{Account: names[i], XClientID: names[i], PageSize: 10})
			}
			one := func(i int) {
				c, err := apiclient.New(apiclient.Config{
					Platform: platforms[i], Ref: ads.Ref{ClientID: names[i], Connection: "adplatform"}, BaseURL: srv.URL,
					Email: secret.New("ops"), Password: secret.New(tt.password(i)), Shared: shared, Bucket: bucket,
				})
				if err == nil {
					err = get(t, c, "list campaigns")
				}
				if err != nil {
					t.Error(err)
				}
				clients[i] = c
			}
			before, goroutines := heap(), runtime.NumGoroutine()
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					for i := w; i < n; i += 4 {
						one(i)
					}
				})
			}
			wg.Wait()
			shared.CloseIdle()
			srv.CloseClientConnections()
			// What is left of sockets ends by itself; what is a connection's own does not.
			for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > goroutines+100 && time.Now().Before(deadline); {
				runtime.Gosched()
			}
			each := (int64(heap()) - int64(before)) / int64(n)
			t.Logf("%d bytes each", each)
			if more := runtime.NumGoroutine() - goroutines; each > 4<<10 || more > 100 {
				t.Errorf("%d bytes each, %d goroutines more", each, more)
			}
			runtime.KeepAlive(clients)
			runtime.KeepAlive(platforms)
		})
	}
}

// An idle client does nothing at all: it renews no token and asks for no health.
func TestIdleClientIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, []quota.Limit{{N: 2, Window: time.Minute}}, nil, ok, func(w http.ResponseWriter, _ *http.Request) { giveToken(w, 1, "90") })
		for range 5 { // the last of them waits for its slot, with a token planned for it
			if err := b.list(); err != nil {
				t.Fatal(err)
			}
		}
		b.mu.Lock()
		events, tokens, calls := len(b.events), b.tokens, b.calls
		b.mu.Unlock()
		time.Sleep(24 * time.Hour)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.events) != events || b.tokens != tokens || b.calls != calls {
			t.Errorf("%d events, %d tokens, %d calls while idle", len(b.events)-events, b.tokens-tokens, b.calls-calls)
		}
	})
}
