package apiclient

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"weak"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// credentials are what connections that log in alike have in common: the token, and whether the platform refuses them. They live as long as a Client that
// has them; the refusal as long as the Shared.
type credentials struct {
	shared *Shared
	key    credentialsKey
	auth   *auth // nil: they are not exchanged for a token

	mu      sync.Mutex
	refusal *refusal
}

// refusal is why nothing is sent with some credentials any more.
type refusal struct {
	what string // "credentials refused"
	err  ads.Error
}

// credentialsKey tells credentials apart without having them: a keyed hash of them and of the token request, under a key that never leaves the process.
type credentialsKey [sha256.Size]byte

// maxRefused bounds the refused credentials that are kept in mind when no connection has them any more.
const maxRefused = 10_000

// credentialsFor gives what is known of a connection's credentials. Two connections have the same when their platform and address are, and all that
// their token requests are made of.
func (s *Shared) credentialsFor(c *Client) *credentials {
	key := s.keyOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.credentials[key].Value(); known != nil {
		return known
	}
	out := &credentials{shared: s, key: key}
	if c.authenticator != nil || c.refresher != nil {
		out.auth = newAuth()
	}
	s.credentials[key] = weak.Make(out)
	runtime.AddCleanup(out, s.forget, key)
	return out
}

// forget drops the entry of credentials that nobody has any more.
func (s *Shared) forget(key credentialsKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.credentials[key].Value() == nil {
		delete(s.credentials, key)
	}
}

func (s *Shared) keyOf(c *Client) (key credentialsKey) {
	h := hmac.New(sha256.New, s.secret[:])
	for _, p := range c.loginParts() {
		fmt.Fprintf(h, "%d:", len(p))
		_, _ = io.WriteString(h, p)
	}
	h.Sum(key[:0])
	return key
}

// loginParts are all that a connection's login is made of.
func (c *Client) loginParts() (out []string) {
	out = append(out, c.spec.Name, c.tokenBase(), c.c.Email.Reveal(), c.c.Password.Reveal())
	for _, name := range c.c.Credentials.Names() {
		out = append(out, name, c.c.Credentials.Get(name).Reveal())
	}
	if c.authenticator != nil {
		r := tokenRequest(c.authenticator)
		out = append(out, "token", r.Method, r.Path, r.Query, string(r.Body))
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			out = append(append(out, name), r.Header[name]...)
		}
	}
	return out
}

// tokenRequest asks the connector. One that panics is met again when the token is needed, where it spoils that request only.
func tokenRequest(a platform.Authenticator) (r platform.Request) {
	defer func() { _ = recover() }()
	return a.TokenRequest()
}

// refused gives the refusal, if there is one.
func (k *credentials) refused() *refusal {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refusal
}

// refuse keeps in mind that the credentials are refused. The first word on it stands.
func (k *credentials) refuse(r *refusal) {
	k.mu.Lock()
	if k.refusal == nil {
		k.refusal = r
	}
	k.mu.Unlock()
	k.shared.mu.Lock()
	defer k.shared.mu.Unlock()
	if len(k.shared.refused) < maxRefused {
		k.shared.refused[k.key] = k
	}
}

func (k *credentials) forgive() {
	k.mu.Lock()
	was := k.refusal
	k.refusal = nil
	k.mu.Unlock()
	if was == nil {
		return
	}
	k.shared.mu.Lock()
	delete(k.shared.refused, k.key)
	k.shared.mu.Unlock()
	if k.auth != nil {
		k.auth.forgive()
	}
}

// Forgive lets refused credentials be tried once more, by all connections that have them: a person has asked for it, or the platform's side was mended.
// Without it they are never tried again, also not by a Client that is made anew with the same; one with others begins anew. Where nothing is refused
// it does nothing.
func (c *Client) Forgive() {
	c.mu.Lock()
	c.dead = nil
	c.mu.Unlock()
	if c.auth != nil {
		c.auth.mu.Lock()
		c.seat.refusals = 0
		c.auth.mu.Unlock()
	}
	c.credentials.forgive()
}

// deadError says why nothing is sent any more, nil where it is: the credentials are refused to all, or to this connection.
func (c *Client) deadError() error {
	c.mu.Lock()
	dead := c.dead
	c.mu.Unlock()
	if dead != nil {
		return dead
	}
	return c.refusedError()
}

// refusedError says that the credentials are refused to all who have them.
func (c *Client) refusedError() error {
	r := c.credentials.refused()
	if r == nil {
		return nil
	}
	return c.named(r.what, r.err)
}

// kill makes the connection send nothing any more.
func (c *Client) kill(e *ads.Error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil {
		c.dead = e
	}
	return c.dead
}

// refuseAll makes all connections with these credentials send nothing any more.
func (c *Client) refuseAll(what string, e ads.Error) error {
	c.credentials.refuse(&refusal{what: what, err: e})
	return c.deadError()
}

// named puts a refusal of the credentials in this connection's words.
func (c *Client) named(what string, e ads.Error) *ads.Error {
	reason := e.Message
	e.Message = fmt.Sprintf("%s for client %s", what, c.c.Ref.ClientID)
	if c.c.CredentialSource != "" {
		e.Message += " (source: " + c.c.CredentialSource + ")"
	}
	e.Message += ": " + reason
	return &e
}
