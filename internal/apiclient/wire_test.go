package apiclient_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/quota/quotatest"
	"adsync/internal/secret"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // servers that are cut off on purpose complain there
	goleak.VerifyTestMain(m)
}

// wired is a client of a real server on loopback.
func wired(t *testing.T, url string, roots *x509.CertPool, limits ...quota.Limit) *apiclient.Client {
	t.Helper()
	return wiredBy(t, url, apiclient.SharedConfig{RootCAs: roots}, limits...)
}

func wiredBy(t *testing.T, url string, sc apiclient.SharedConfig, limits ...quota.Limit) *apiclient.Client {
	t.Helper()
	shared := apiclient.NewShared(sc)
	t.Cleanup(shared.CloseIdle)
	c, err := apiclient.New(apiclient.Config{
		Platform: adplatform.New(adplatform.Options{Account: "acme", PageSize: 10, PerCampaignSync: true}), Ref: ads.Ref{ClientID: "acme", Connection: "adplatform"},
		BaseURL: url, Email: secret.New("ops"), Password: secret.New(canaryPassword), Shared: shared, Timeout: 5 * time.Second,
		Bucket: quota.NewManager(quotatest.NewMemory()).Bucket("b", "acme", limits...), Rand: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(t *testing.T, c *apiclient.Client, endpoint string) error {
	t.Helper()
	_, err := c.Do(t.Context(), platform.Request{Endpoint: endpoint, Method: "GET", Path: "/api/campaigns", Repeatable: true})
	if err != nil && (strings.Contains(fmt.Sprintf("%+v", err), canaryPassword) || strings.Contains(err.Error(), canaryToken)) {
		t.Errorf("a secret is in %v", err)
	}
	return err
}

// tokens answers the token page and leaves the rest to h.
func tokens(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth/token" {
			if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
				w.WriteHeader(400)
				return
			}
			giveToken(w, 1, "3600")
			return
		}
		h(w, r)
	}
}

// Faults 51 to 53: no redirect is followed, wherever it leads, and no credential leaves for there.
func TestRedirects(t *testing.T) {
	var abroad atomic.Int64
	foreign := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { abroad.Add(1) }))
	defer foreign.Close()
	for _, to := range []string{foreign.URL + "/x", "http://169.254.169.254/latest", "file:///etc/passwd", "/api/campaigns", "//other.test/x"} {
		for _, code := range []int{301, 302, 307, 308} {
			calls := 0
			home := httptest.NewServer(tokens(func(w http.ResponseWriter, _ *http.Request) {
				calls++
				w.Header().Set("Location", to)
				w.WriteHeader(code)
			}))
			e := wantClass(t, get(t, wired(t, home.URL, nil), "list campaigns"), ads.ClassPermanent, "redirect")
			if !strings.Contains(e.Message, "refused redirect to origin") || calls != 1 {
				t.Errorf("%s: %q, %d calls", to, e.Message, calls)
			}
			home.Close()
		}
	}
	if abroad.Load() > 0 {
		t.Errorf("%d requests reached the other origin", abroad.Load())
	}
}

// Fault 54: a certificate that cannot be trusted ends it with one try, and never without TLS.
func TestTLS(t *testing.T) {
	var calls atomic.Int64
	srv := httptest.NewTLSServer(tokens(func(w http.ResponseWriter, r *http.Request) { calls.Add(1); ok(w, r) }))
	defer srv.Close()
	wantClass(t, get(t, wired(t, srv.URL, nil), "list campaigns"), ads.ClassUnreachable, "tls")
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	wrongName := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	wantClass(t, get(t, wired(t, wrongName, roots), "list campaigns"), ads.ClassUnreachable, "tls")
	if calls.Load() > 0 {
		t.Fatalf("%d calls over a connection that cannot be trusted", calls.Load())
	}
	if err := get(t, wired(t, srv.URL, roots), "list campaigns"); err != nil {
		t.Error(err)
	}
	plain := httptest.NewServer(tokens(ok))
	defer plain.Close()
	wantClass(t, get(t, wired(t, strings.Replace(plain.URL, "http:", "https:", 1), nil), "list campaigns"), ads.ClassUnreachable, "tls")
}

// A connection may name authorities of its own. They hold for it alone, and instead of the system's: another connection to the same host neither
// profits from them nor gets at its sockets.
func TestOwnAuthorities(t *testing.T) {
	srv := httptest.NewTLSServer(tokens(ok))
	defer srv.Close()
	other := httptest.NewUnstartedServer(tokens(ok))
	other.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	other.StartTLS()
	defer other.Close()
	authority := func(s *httptest.Server) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	}
	shared := apiclient.NewShared(apiclient.SharedConfig{})
	defer shared.CloseIdle()
	client := func(url, ca string) (*apiclient.Client, error) {
		return apiclient.New(apiclient.Config{
			Platform: adplatform.New(adplatform.Options{Account: "acme", PageSize: 10}), Ref: ads.Ref{ClientID: "acme", Connection: "adplatform"},
			BaseURL: url, CA: ca, Email: secret.New("ops"), Password: secret.New(canaryPassword), Shared: shared, Timeout: 5 * time.Second,
		})
	}
	try := func(url, ca string) error {
		t.Helper()
		c, err := client(url, ca)
		if err != nil {
			t.Fatal(err)
		}
		return get(t, c, "list campaigns")
	}
	for range 2 { // the second time sockets are open
		if err := try(srv.URL, authority(srv)); err != nil {
			t.Error(err)
		}
		if err := try(srv.URL, authority(other)+authority(srv)); err != nil {
			t.Error(err)
		}
		wantClass(t, try(srv.URL, ""), ads.ClassUnreachable, "tls")
		wantClass(t, try(srv.URL, authority(other)), ads.ClassUnreachable, "tls")
	}
	if _, err := client(srv.URL, "no certificate"); err == nil {
		t.Error("no certificate is an authority")
	}
}

// selfSigned is a certificate for 127.0.0.1 that vouches for itself.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Fault 48: two megabytes that unpack to two gigabytes.
func TestGzipBomb(t *testing.T) {
	var member, bomb bytes.Buffer
	z := gzip.NewWriter(&member)
	_, _ = z.Write(make([]byte, 8<<20))
	_ = z.Close()
	for range 256 { // a gzip stream may have many members
		bomb.Write(member.Bytes())
	}
	var calls atomic.Int64
	srv := httptest.NewServer(tokens(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) > 1 {
			ok(w, r)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	defer srv.Close()
	c := wired(t, srv.URL, nil)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := get(t, c, "list campaigns"); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	// All that was ever allocated, whatever the collector did meanwhile. What it unfolds to is 2 GiB.
	if took := after.TotalAlloc - before.TotalAlloc; took > 16*apiclient.MaxBody {
		t.Errorf("it took %d MiB", took>>20)
	} else {
		t.Logf("it took %d MiB", took>>20)
	}
}

// Fault 49: four megabytes of headers.
func TestHeaderFlood(t *testing.T) {
	var calls atomic.Int64
	srv := httptest.NewServer(tokens(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			for i := range 4000 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1000))
			}
		}
		ok(w, r)
	}))
	defer srv.Close()
	if err := get(t, wired(t, srv.URL, nil), "list campaigns"); err != nil || calls.Load() != 2 {
		t.Errorf("%v after %d calls: the flood was taken in", err, calls.Load())
	}
}

// A kept connection that the server drops when the next request comes: repeated on a new one, no try spent, and every request that may have been
// counted has its own slot.
func TestDroppedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				defer stop()
				in := bufio.NewReader(conn)
				for n := 0; ; n++ {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if r.URL.Path != "/auth/token" {
						if seen.Add(1); n > 0 {
							conn.(*net.TCPConn).SetLinger(0) // a reset, the request read and unanswered
							return
						}
					}
					body := `{"access_token":"x","data":[],"pagination":{"total":0,"has_more":false}}`
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				}
			}()
		}
	}()
	t.Cleanup(func() { cancel(); l.Close(); <-done })
	c := wired(t, "http://"+l.Addr().String(), nil, quota.Limit{N: 8, Window: time.Hour})
	for range 4 {
		if err := get(t, c, "list campaigns"); err != nil {
			t.Fatal(err)
		}
	}
	s := c.Stats()
	if s.Retries != 0 || s.Requests != seen.Load() {
		t.Errorf("%+v, the server saw %d", s, seen.Load())
	}
	if s.Requests != 8 {
		t.Errorf("%d requests, want 4 answered and 4 dropped", s.Requests)
	}
	// All eight slots are used: the next has to wait for an hour, which is longer than it may.
	wantClass(t, get(t, c, "list campaigns"), ads.ClassDeferred, "quota")
}

// Fault 55: a proxy that asks for authentication is named as such.
func TestProxyAuth(t *testing.T) {
	var sawSecret atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			sawSecret.Store(true)
		}
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	via, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := wiredBy(t, "https://platform.test", apiclient.SharedConfig{Proxy: http.ProxyURL(via)})
	wantClass(t, get(t, c, "list campaigns"), ads.ClassUnreachable, "proxy_auth")
	if sawSecret.Load() {
		t.Error("the platform's credentials went to the proxy")
	}
	proxy.Close()
	wantClass(t, get(t, c, "list campaigns"), ads.ClassUnreachable, "proxy")
}
