package apiclient_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/platform"
	"adsync/internal/quota"
)

// dropping is a server on a socket that answers the first request of each connection and drops the connection at the second, having read it.
type dropping struct {
	url   string
	token atomic.Int64
	seen  atomic.Int64 // requests but those for a token
	hold  atomic.Pointer[chan struct{}]
	held  atomic.Int64
}

func newDropping(t *testing.T) *dropping {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dropping{url: "http://" + l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				d.serve(conn)
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	return d
}

func (d *dropping) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for n := 0; ; n++ {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/auth/token" {
			d.token.Add(1)
		} else if d.seen.Add(1); n > 0 {
			_ = conn.(*net.TCPConn).SetLinger(0)
			return
		} else if hold := d.hold.Load(); hold != nil {
			d.held.Add(1)
			<-*hold
		}
		body := `{"access_token":"x","data":[],"pagination":{"total":0,"has_more":false}}`
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

// net/http never repeats a request behind our back, whatever its method, body and headers: what the server sees is what was counted, and each request
// that left has a slot of its own.
func TestNothingIsRepeatedSilently(t *testing.T) {
	for _, r := range []platform.Request{
		{Method: "GET"},
		{Method: "DELETE"},
		{Method: "OPTIONS"},
		{Method: "GET", Header: http.Header{"Idempotency-Key": {"k"}}},
		{Method: "POST", Header: http.Header{"Idempotency-Key": {"k"}}},
		{Method: "POST", Header: http.Header{"X-Idempotency-Key": {"k"}}},
		{Method: "PUT", Header: http.Header{"Idempotency-Key": {"k"}}, Body: []byte(`{}`)},
		{Method: "POST", Body: []byte(`{}`), Header: http.Header{"Idempotency-Key": {"k"}}},
	} {
		for _, repeatable := range []bool{true, false} {
			t.Run(fmt.Sprint(r.Method, len(r.Body), r.Header, repeatable), func(t *testing.T) {
				d := newDropping(t)
				c := wired(t, d.url, nil, quota.Limit{N: 50, Window: time.Hour})
				r.Endpoint, r.Path, r.Repeatable = "x", "/x", repeatable
				failed := 0
				for range 5 {
					if _, err := c.Do(t.Context(), r); err != nil {
						wantClass(t, err, ads.ClassTransient, "")
						failed++
					}
				}
				s := c.Stats()
				if s.Requests != d.seen.Load() {
					t.Errorf("counted %d, the server saw %d", s.Requests, d.seen.Load())
				}
				if repeatable && (failed > 0 || s.Retries > 0) || !repeatable && failed == 0 {
					t.Errorf("%d failed, %+v", failed, s)
				}
				for range 50 - s.Requests { // the rest of the quota is there, and no more
					r.Repeatable = true
					if c.Stats().Requests < 49 {
						if _, err := c.Do(t.Context(), r); err != nil {
							t.Fatalf("after %d: %v", c.Stats().Requests, err)
						}
					}
				}
			})
		}
	}
}

// When one kept connection is dead the others are not tried one after the other.
func TestAllKeptConnectionsAreDead(t *testing.T) {
	d := newDropping(t)
	c := wired(t, d.url, nil)
	if err := get(t, c, "list campaigns"); err != nil { // from here on the token is known to work
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	gate := make(chan struct{})
	d.hold.Store(&gate)
	for range 8 { // eight connections, each used once
		wg.Go(func() {
			if err := get(t, c, "list campaigns"); err != nil {
				t.Error(err)
			}
		})
	}
	for d.held.Load() < 8 {
		runtime.Gosched()
	}
	close(gate)
	wg.Wait()
	before := d.seen.Load()
	if err := get(t, c, "list campaigns"); err != nil {
		t.Fatal(err)
	}
	if n := d.seen.Load() - before; n > 2 || c.Stats().Retries > 0 {
		t.Errorf("sent %d times, %+v", n, c.Stats())
	}
}

// Fault 50 over HTTP/2: a server that says goodbye after each answer, while others are in flight.
func TestGoAway(t *testing.T) {
	var seen atomic.Int64
	srv := httptest.NewUnstartedServer(tokens(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("HTTP/%d", r.ProtoMajor)
		}
		if n := seen.Add(1); n%3 == 0 {
			w.Header().Set("Connection", "close") // becomes GOAWAY
		}
		ok(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	c := wired(t, srv.URL, roots)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				method, body := "GET", []byte(nil)
				if n%2 == 1 {
					method, body = "POST", []byte(`{}`)
				}
				_, err := c.Do(t.Context(), platform.Request{Endpoint: "x", Method: method, Path: "/x", Body: body, Repeatable: true})
				if err != nil {
					t.Errorf("%d.%d: %v", i, n, err)
				}
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); s.Requests != seen.Load() {
		t.Logf("counted %d, the server saw %d", s.Requests, seen.Load())
		if s.Requests < seen.Load() {
			t.Error("some were not counted")
		}
	}
}

// Promise 8 and fault 55: over plain http a proxy would read the credentials. It is asked for nothing that has any, and its own troubles are named.
func TestPlainProxy(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
	}{{407, "proxy_auth"}, {200, "proxy_plain"}} {
		var asked, saw atomic.Int64
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if strings.Contains(fmt.Sprint(r.Header), "Authorization:[B") {
				saw.Add(1)
			}
			w.WriteHeader(tt.status)
		}))
		via, err := url.Parse(proxy.URL)
		if err != nil {
			t.Fatal(err)
		}
		c := wiredBy(t, "http://platform.test", apiclient.SharedConfig{Proxy: http.ProxyURL(via)})
		wantClass(t, get(t, c, "list campaigns"), ads.ClassUnreachable, tt.code)
		if saw.Load() > 0 || asked.Load() != 1 {
			t.Errorf("the proxy was asked %d times, %d with credentials", asked.Load(), saw.Load())
		}
		proxy.Close()
		wantClass(t, get(t, c, "list campaigns"), ads.ClassUnreachable, "")
	}
}
