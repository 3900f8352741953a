// Package hashicorp reads secrets from HashiCorp Vault, and from OpenBao, which speaks the same protocol: KV of both versions and every
// other engine that gives values by key, with tokens, AppRole and Kubernetes to log in by. Loans (leases) and the login's own token are
// extended while they are in use.
//
// The vendor's client asks. Its ways of retrying, following redirects and leaving certificates unchecked are switched off: the first is
// the keeper's, the others are not wanted.
package hashicorp

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/vault/api"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/secret"
	"adsync/internal/vaults/internal/source"
)

// Store is one Vault. It asks nobody before Fetch.
type Store struct {
	set    config.Vault
	getenv func(string) string

	turn      chan struct{} // who holds it may use what follows
	client    *api.Config   // nil until it is needed
	transport *http.Transport
	session   session
	refused   refusal

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // of tests; nil: the system's

	mu      sync.Mutex
	loans   map[*loan]bool
	closed  bool
	ctx     context.Context // of what goes on in the background
	cancel  context.CancelFunc
	renewer sync.WaitGroup
}

// New gives the Vault that the settings and the VAULT_ variables name.
func New(s config.Secrets) *Store {
	st := &Store{set: s.Vault, getenv: s.Getenv, turn: make(chan struct{}, 1), loans: map[*loan]bool{}}
	st.ctx, st.cancel = context.WithCancel(context.Background())
	return st
}

// Parse reads PATH#KEY and PATH?version=N#KEY.
func (s *Store) Parse(ref string) (source.Reference, error) {
	doc, key, err := source.Cut(ref)
	if err != nil {
		return source.Reference{}, err
	}
	path, query, hasQuery := strings.Cut(doc, "?")
	const form = "write vault:PATH#KEY, such as vault:secret/data/acme#password"
	switch {
	case key == "":
		return source.Reference{}, source.Malformed("names no key", form)
	case path == "" || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "//"):
		return source.Reference{}, source.Malformed("does not hold a path", form)
	case !strings.Contains(path, "/"):
		return source.Reference{}, source.Malformed("names a mount and no secret in it", form)
	case strings.HasPrefix(path, "v1/"):
		return source.Reference{}, source.Malformed("begins with v1/", "leave v1/ away: "+form)
	case strings.ContainsAny(path, "%*\\") || strings.Contains("/"+path+"/", "/../") || strings.Contains("/"+path+"/", "/./"):
		return source.Reference{}, source.Malformed("holds a path with .., %, * or \\ in it", form)
	}
	if hasQuery {
		n, ok := strings.CutPrefix(query, "version=")
		if v, err := strconv.ParseUint(n, 10, 31); !ok || err != nil || v == 0 {
			return source.Reference{}, source.Malformed("has something behind ? that is not a version", "write vault:secret/data/acme?version=3#password, or leave the version away for the newest")
		}
	}
	return source.Reference{Doc: doc, Key: key}, nil
}

// Fetch reads one path.
func (s *Store) Fetch(ctx context.Context, doc string) (*source.Document, error) {
	used, err := s.enter(ctx, session{})
	if err != nil {
		return nil, err
	}
	d, err := s.read(ctx, used.client, doc)
	denied, ok := errors.AsType[*source.Error](err)
	if !ok || denied.Kind != source.Denied {
		return d, err
	}
	// Vault refuses a token that has ended in the words in which it refuses a path.
	blamed := s.blame(ctx, used.client, denied)
	if blamed.Kind != source.Expired {
		return nil, blamed
	}
	now, err := s.enter(ctx, used)
	switch {
	case err != nil:
		return nil, err
	case now.token.Reveal() == used.token.Reveal():
		return nil, blamed
	}
	return s.read(ctx, now.client, doc)
}

// address is where Vault is.
func (s *Store) address() string {
	return cmp.Or(s.set.Address, s.getenv(api.EnvVaultAgentAddr), s.getenv(api.EnvVaultAddress), api.DefaultAddress)
}

// name is Vault in messages: what is in the address beside host and port is not shown.
func (s *Store) name() string {
	u, err := url.Parse(s.address())
	if err != nil || u.Host == "" {
		return "Vault"
	}
	return "Vault at " + u.Scheme + "://" + ads.Printable(u.Host, 100)
}

// open finds out how Vault is reached; the turn is held.
func (s *Store) open() error {
	if s.client != nil {
		return nil
	}
	wrong := func(message, hint string) error {
		return &source.Error{Kind: source.Misconfigured, Message: message, Hint: hint}
	}
	if skip, err := strconv.ParseBool(cmp.Or(s.getenv("VAULT_SKIP_VERIFY"), "false")); err != nil || skip {
		return wrong("VAULT_SKIP_VERIFY asks for Vault's certificate not to be checked, which adsync never does", "unset it, and give the authority as VAULT_CACERT or secrets: vault: ca_cert:")
	}
	transport := cleanhttp.DefaultPooledTransport()
	source.Bound(transport)
	address := s.address()
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		address = "http://localhost"
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: source.DialWithin}).DialContext(ctx, "unix", path)
		}
	} else if proxy := cmp.Or(s.getenv("VAULT_PROXY_ADDR"), s.getenv("VAULT_HTTP_PROXY")); proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil || u.Host == "" {
			return wrong("VAULT_PROXY_ADDR is not a URL", "write http://proxy.example.com:3128")
		}
		transport.Proxy = http.ProxyURL(u)
	}
	if s.dial != nil {
		transport.DialContext, transport.Proxy = s.dial, nil
	}
	cfg := &api.Config{
		Address: address, MaxRetries: 0, CheckRetry: neverAgain, DisableRedirects: true, Timeout: time.Minute,
		HttpClient: &http.Client{Transport: transport, CheckRedirect: source.Stay},
	}
	certificates := api.TLSConfig{
		CACert: cmp.Or(s.set.CACert, s.getenv(api.EnvVaultCACert)), ClientCert: s.getenv(api.EnvVaultClientCert), ClientKey: s.getenv(api.EnvVaultClientKey),
		TLSServerName: s.getenv(api.EnvVaultTLSServerName),
	}
	if certificates.CACert == "" {
		certificates.CACertBytes, certificates.CAPath = []byte(s.getenv(api.EnvVaultCACertBytes)), s.getenv(api.EnvVaultCAPath)
	}
	if err := cfg.ConfigureTLS(&certificates); err != nil {
		return wrong("the certificates for Vault cannot be read", "VAULT_CACERT (or ca_cert:), VAULT_CLIENT_CERT and VAULT_CLIENT_KEY name PEM files")
	}
	cfg.HttpClient.Transport = source.Transport{Base: transport}
	if _, err := api.NewClient(cfg); err != nil {
		return wrong("the address of Vault, or another VAULT_ variable, cannot be used", "write https://vault.example.com:8200")
	}
	s.client, s.transport = cfg, transport
	return nil
}

// with gives a client that sends this token, or none. Each login has a client of its own, so that no request is sent with half of it.
func (s *Store) with(token secret.Text) (*api.Client, error) {
	c, err := api.NewClient(s.client)
	if err != nil {
		return nil, &source.Error{Kind: source.Misconfigured, Message: "a VAULT_ variable cannot be used", Hint: "check the VAULT_ variables"}
	}
	// The client has taken some variables from the process's environment by itself.
	c.ClearNamespace()
	if ns := strings.Trim(cmp.Or(s.set.Namespace, s.getenv(api.EnvVaultNamespace)), "/"); ns != "" {
		c.SetNamespace(ns)
	}
	c.SetToken(token.Reveal())
	return c, nil
}

// neverAgain leaves tries to the caller.
func neverAgain(context.Context, *http.Response, error) (bool, error) { return false, nil }

// Close stops extending loans and, where adsync logged in by itself, ends the login: with it end the loans that were taken by it.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	for l := range s.loans {
		l.stop()
	}
	clear(s.loans)
	s.mu.Unlock()
	s.cancel()
	s.renewer.Wait()

	s.turn <- struct{}{} // whoever has it is bounded by its own context
	defer func() { <-s.turn }()
	if s.client == nil {
		return
	}
	if s.session.own && s.session.alive(time.Now()) {
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeWithin)
		defer cancel()
		_ = s.session.client.Auth().Token().RevokeSelfWithContext(ctx, "") // it ends by itself otherwise
	}
	s.session = session{}
	s.transport.CloseIdleConnections()
}

// goodbyeWithin bounds the end of a login.
const goodbyeWithin = 2 * time.Second
