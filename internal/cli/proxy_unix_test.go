//go:build unix

package cli

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"adsync/internal/leaktest"
	"adsync/internal/simulator"
)

// proxy is one that makes tunnels to a single place, whatever is asked for, and keeps all that it is told in the clear.
type proxy struct {
	to string

	mu    sync.Mutex
	asked []string // hosts
	told  bytes.Buffer
	auth  string // of the last one
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	p.auth = r.Header.Get("Proxy-Authorization")
	r.Header.Del("Proxy-Authorization")
	_ = r.Write(&p.told)
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		http.Error(w, "tunnels only", http.StatusMethodNotAllowed)
		return
	}
	there, err := net.Dial("tcp", p.to)
	if err != nil {
		http.Error(w, "not there", http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(there, here); _ = there.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(here, there)
}

// Fault 55: the standard variables of proxies hold. What the proxy hears is the name of the host and its own password; NO_PROXY is heeded, and a proxy
// that cannot be reached is named without its password.
func TestProxy(t *testing.T) {
	t.Parallel()
	const proxyPassword = "c4n4ry-of-the-proxy"
	sim, err := simulator.New(simulator.Config{Email: testEmail, Password: testPassword, Campaigns: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	cert, ca := certificateFor(t, "platform.test")
	platform := httptest.NewUnstartedServer(sim)
	platform.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	platform.StartTLS()
	defer func() { platform.CloseClientConnections(); platform.Close() }()
	p := &proxy{to: platform.Listener.Addr().String()}
	front := httptest.NewServer(p)
	defer func() { front.CloseClientConnections(); front.Close() }()
	file := filepath.Join(t.TempDir(), "ca.pem")
	write(t, file, ca)
	scan, err := leaktest.New(map[string]string{"proxy's password": proxyPassword, "password": testPassword})
	if err != nil {
		t.Fatal(err)
	}
	sync := func(more ...string) (code int, out string) {
		t.Helper()
		cmd := spawn(t, append(environ(t, "https://platform.test", "AD_PLATFORM_CA_FILE="+file, "AD_PLATFORM_MAX_ELAPSED=1s", "NO_PROXY=", "HTTP_PROXY="), more...), "sync", "--log-level", "debug")
		b, _ := cmd.CombinedOutput()
		if found := scan.Scan(b); len(found) > 0 {
			t.Errorf("%q: %v", more, found)
		}
		return cmd.ProcessState.ExitCode(), string(b)
	}
	through := "HTTPS_PROXY=" + strings.Replace(front.URL, "http://", "http://me:"+proxyPassword+"@", 1)

	if code, out := sync(through); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	p.mu.Lock()
	told, asked, auth := p.told.String(), p.asked, p.auth
	p.mu.Unlock()
	if len(asked) == 0 || asked[0] != "CONNECT platform.test:443" || !strings.HasPrefix(auth, "Basic ") {
		t.Errorf("the proxy was asked for %q, by %q", asked, auth)
	}
	if found := scan.Scan([]byte(told)); len(found) > 0 || strings.Contains(told, "Authorization") {
		t.Errorf("the proxy was told %v:\n%s", found, told)
	}

	if code, out := sync(through, "NO_PROXY=other.test,platform.test"); code != 5 || !strings.Contains(out, "platform.test") || strings.Contains(out, "the proxy") {
		t.Errorf("around the proxy: exit %d\n%s", code, out)
	}
	p.mu.Lock()
	if len(p.asked) != len(asked) {
		t.Errorf("the proxy was asked for %q", p.asked[len(asked):])
	}
	p.mu.Unlock()
	front.CloseClientConnections()
	front.Close()
	if code, out := sync(through); code != 5 || !strings.Contains(out, "the proxy cannot be reached") {
		t.Errorf("no proxy: exit %d\n%s", code, out)
	}
}

// certificateFor is a certificate for a host, and its authority in PEM.
func certificateFor(t *testing.T, host string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{host},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
