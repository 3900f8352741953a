package apiclient_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/platform"
	"adsync/internal/secret"
)

// Faults 53 and 87: whatever a connector makes a path of, a link in an answer included, nothing is sent to another address than the connection's own,
// and no other host is named.
func TestNowhereElse(t *testing.T) {
	var mu sync.Mutex
	hosts, arrived := map[string]bool{}, 0
	srv := httptest.NewServer(tokens(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts[r.Host] = true
		arrived++
		mu.Unlock()
		ok(w, r)
	}))
	defer srv.Close()
	home := strings.TrimPrefix(srv.URL, "http://")
	dialled := map[string]bool{}
	shared := apiclient.NewShared(apiclient.SharedConfig{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		dialled[addr] = true
		mu.Unlock()
		return (&net.Dialer{}).DialContext(ctx, "tcp", home)
	}})
	defer shared.CloseIdle()
	abroad := rapid.SampledFrom([]string{
		"http://foreign.test/x", "https://169.254.169.254/latest", "//foreign.test/x", "///foreign.test", "@foreign.test/", ":secret@foreign.test/", ".foreign.test/",
		"\\\\foreign.test\\x", "/\\foreign.test/", "file:///etc/passwd", "/..//foreign.test", "/%2f%2fforeign.test", "?x=http://foreign.test", "#@foreign.test", "\thttp://foreign.test",
		"/\r\nHost: foreign.test", "/ HTTP/1.1\r\nHost: foreign.test\r\n\r\n", "[::1]:80/", ":80/",
	})
	rapid.Check(t, func(t *rapid.T) {
		c, err := apiclient.New(apiclient.Config{
			Platform: adplatform.New(adplatform.Options{Account: "acme", PageSize: 10}), Ref: ads.Ref{ClientID: "acme", Connection: "adplatform"}, BaseURL: srv.URL,
			Email: secret.New("ops"), Password: secret.New(canaryPassword), Shared: shared, Timeout: 5 * time.Second, MaxElapsed: time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		path := rapid.OneOf(abroad, rapid.StringMatching(`/[a-z]{1,10}`), rapid.StringMatching(`[/a-z@:.?#%\\]{0,20}`), rapid.String()).Draw(t, "path")
		query := rapid.OneOf(rapid.Just(""), abroad, rapid.String()).Draw(t, "query")
		_, _ = c.Do(context.Background(), platform.Request{
			Endpoint: "list campaigns", Method: "GET", Path: path, Query: query, Repeatable: true, Header: http.Header{"Host": {"foreign.test"}, "X-Forwarded-Host": {"foreign.test"}},
		})
		mu.Lock()
		defer mu.Unlock()
		for addr := range dialled {
			if addr != home {
				t.Fatalf("path %q, query %q: %s was dialled", path, query, addr)
			}
		}
		for host := range hosts {
			if host != home {
				t.Fatalf("path %q, query %q: the host is said to be %s", path, query, host)
			}
		}
	})
	before := arrived
	for _, link := range []string{"http://foreign.test/x", srv.URL + "/api/campaigns", "//foreign.test/x", "@foreign.test/x"} {
		c := wired(t, srv.URL, nil)
		_, err := c.Do(t.Context(), platform.Request{Endpoint: "list campaigns", Method: "GET", Path: link, Repeatable: true})
		wantClass(t, err, ads.ClassPermanent, "foreign_link")
	}
	if arrived != before {
		t.Errorf("%d links were followed", arrived-before)
	}
	if arrived < 5 { // some of it can be sent
		t.Errorf("%d requests arrived", arrived)
	}
}
