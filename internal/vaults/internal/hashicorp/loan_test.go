package hashicorp

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/config"
	"adsync/internal/vaults/fakevault"
	"adsync/internal/vaults/internal/source"
)

func certificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// serve gives the address of a handler on loopback or on a socket, for as long as the test runs.
func serve(t *testing.T, network string, h http.Handler) string {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "agent.sock")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	if network == "unix" {
		return "unix://" + address
	}
	return "http://" + l.Addr().String()
}

// pipes is a listener without a network, so that a server can run in virtual time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, errors.New("closed")
	}
}
func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// virtual runs f in virtual time with a fake and a Store that reaches it.
func virtual(t *testing.T, f func(t *testing.T, v *fakevault.Vault, s *Store), set config.Vault, env map[string]string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := fakevault.New()
		p := &pipes{make(chan net.Conn), make(chan struct{})}
		srv := &http.Server{Handler: v}
		go func() { _ = srv.Serve(p) }()
		set.Address = "http://127.0.0.1:1"
		set.Mount = or(set.Mount, set.Auth)
		s := New(config.Secrets{Vault: set, Getenv: func(name string) string { return env[name] }})
		s.dial = p.dial
		f(t, v, s)
		s.Close()
		close(p.done)
		_ = srv.Close()
		synctest.Wait()
	})
}

var byToken = config.Vault{Auth: config.AuthToken, Token: kept(fakevault.Root)}

// A lease is extended while it is in use, up to what Vault allows at all; then the document has ended and a new one is lent.
func TestLease(t *testing.T) {
	virtual(t, func(t *testing.T, v *fakevault.Vault, s *Store) {
		d, err := s.Fetch(t.Context(), "database/creds/ads")
		if err != nil {
			t.Fatal(err)
		}
		first := d.Until()
		if left := time.Until(first); left < 50*time.Minute || left > time.Hour {
			t.Errorf("ends in %s", left)
		}
		time.Sleep(20 * time.Hour)
		leases := v.Leases()
		if len(leases) != 1 {
			t.Fatalf("%d leases hold after 20 hours", len(leases))
		}
		for _, l := range leases {
			v.Look(func() {
				if l.Renewed < 25 || l.Renewed > 35 {
					t.Errorf("renewed %d times in 20 hours", l.Renewed)
				}
			})
		}
		if !time.Now().Before(d.Until()) {
			t.Error("the document ended though its lease holds")
		}
		time.Sleep(5 * time.Hour)
		if len(v.Leases()) != 0 || time.Now().Before(d.Until()) {
			t.Errorf("after a day: %d leases, the document ends %s", len(v.Leases()), d.Until())
		}
		n := v.Count("sys/leases/renew")
		time.Sleep(48 * time.Hour)
		if v.Count("sys/leases/renew") != n {
			t.Error("a lease that has ended is extended on and on")
		}
	}, byToken, nil)
}

func TestLeaseRefusedDroppedFixed(t *testing.T) {
	virtual(t, func(t *testing.T, v *fakevault.Vault, s *Store) {
		refused, err := s.Fetch(t.Context(), "database/creds/ads")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range v.Leases() {
			v.Look(func() { l.Refuse = true })
		}
		fixed, err := s.Fetch(t.Context(), "database/creds/ads-fixed")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59*time.Minute + 30*time.Second)
		if time.Now().Before(refused.Until()) || time.Now().Before(fixed.Until()) {
			t.Error("what is not extended is given out to its last second")
		}
		if n := v.Count("sys/leases/renew"); n != 1 {
			t.Errorf("%d tries to extend what was refused", n)
		}
		dropped, err := s.Fetch(t.Context(), "database/creds/ads")
		if err != nil {
			t.Fatal(err)
		}
		dropped.Drop()
		time.Sleep(2 * time.Hour)
		if n := v.Count("sys/leases/renew"); n != 1 {
			t.Errorf("what nobody uses is extended: %d tries", n)
		}
	}, byToken, nil)
}

// Trouble with extending passes: it is tried again before the end, ever sooner, but not without end.
func TestLeaseTrouble(t *testing.T) {
	virtual(t, func(t *testing.T, v *fakevault.Vault, s *Store) {
		d, err := s.Fetch(t.Context(), "database/creds/ads")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		v.Seal(true)
		time.Sleep(20 * time.Minute)
		v.Seal(false)
		time.Sleep(8 * time.Minute)
		if len(v.Leases()) != 1 || !time.Now().Before(d.Until()) {
			t.Error("the lease was lost by trouble that passed")
		}
		v.Seal(true)
		time.Sleep(24 * time.Hour)
		if n := v.Count("sys/leases/renew"); n > 80 {
			t.Errorf("%d tries", n)
		}
	}, byToken, nil)
}

// The token of a login is extended too, and when it cannot be any more, adsync logs in anew.
func TestLoginLasts(t *testing.T) {
	set := config.Vault{Auth: config.AuthAppRole, RoleID: kept("role-1"), SecretID: kept("id-1")}
	virtual(t, func(t *testing.T, v *fakevault.Vault, s *Store) {
		v.Put("", "secret/acme", map[string]any{"password": "c4n4ry"})
		v.Policy("ads", "secret/data/*")
		role := v.AddRole("", "approle", "role-1", fakevault.Role{Secret: "id-1", Token: fakevault.Token{Policies: []string{"ads"}, TTL: time.Hour, Max: 10 * time.Hour, Renewable: true}})
		for hour := range 50 {
			if _, err := get(t.Context(), s, "secret/data/acme#password"); err != nil {
				t.Fatalf("hour %d: %v", hour, err)
			}
			time.Sleep(time.Hour)
		}
		n, _ := v.Logins(role)
		if n < 5 || n > 6 {
			t.Errorf("%d logins in 50 hours, with tokens that last ten", n)
		}
		if v.Count("auth/token/renew-self") < 50 {
			t.Errorf("%d extensions", v.Count("auth/token/renew-self"))
		}
		// Somebody takes the token back: it is noticed by the first refusal.
		if _, err := get(t.Context(), s, "secret/data/acme#password"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		v.Revoke(s.session.token.Reveal())
		n, _ = v.Logins(role)
		got, err := get(t.Context(), s, "secret/data/acme#password")
		if now, _ := v.Logins(role); err != nil || got != "c4n4ry" || now != n+1 {
			t.Errorf("after the token was taken back: %q, %v, %d logins", got, err, now-n)
		}
		// What the policies forbid is not helped by logging in again and again.
		_, err = get(t.Context(), s, "kv/other#password")
		wants(t, err, source.Denied, "ads")
		if now, _ := v.Logins(role); now != n+1 {
			t.Errorf("%d logins for a path that is forbidden", now-n-1)
		}
	}, set, nil)
}

func TestGivenTokenIsExtended(t *testing.T) {
	virtual(t, func(t *testing.T, v *fakevault.Vault, s *Store) {
		v.Put("", "secret/acme", map[string]any{"password": "c4n4ry"})
		tok := v.AddToken("hvs.given", fakevault.Token{Policies: []string{"root"}, TTL: time.Hour, Renewable: true})
		for range 20 {
			if _, err := get(t.Context(), s, "secret/data/acme#password"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		v.Look(func() {
			if tok.Renewed < 20 {
				t.Errorf("extended %d times", tok.Renewed)
			}
		})
		if n := v.Count("auth/token/lookup-self"); n != 1 {
			t.Errorf("looked at %d times", n)
		}
		s.Close()
		if !v.Known("hvs.given") {
			t.Error("a token that somebody else gave was taken back")
		}
	}, config.Vault{Auth: config.AuthToken, Token: kept("hvs.given")}, nil)
}
