package apiclient

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/retry"
	"adsync/internal/secret"
)

// sibling is the client for another origin that the platform's Spec names, with the same credentials, run and observers. It keeps no quota.
func (c *Client) sibling(origin string) (*Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.siblings[origin]; s != nil {
		return s, nil
	}
	base, err := url.Parse(origin)
	if !slices.Contains(c.spec.Origins, origin) || err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") || base.User != nil {
		return nil, &ads.Error{
			Class: ads.ClassPermanent, Code: codeForeign, Message: "refused to send to an address that the platform has not named: " + ads.Printable(origin, 120),
			Hint: "requests and credentials go to the connection's own addresses and to no other",
		}
	}
	base.Path, base.RawPath, base.RawQuery, base.Fragment = strings.TrimRight(base.Path, "/"), "", "", ""
	s := &Client{
		c: c.c, spec: c.spec, base: base, host: base.Host, budget: retry.NewBudget(), parent: c, authenticator: c.authenticator, refresher: c.refresher, credentials: c.credentials, auth: c.auth,
	}
	s.c.Bucket = nil
	s.runID.Store("")
	if s.origin, err = c.c.Shared.origin(base, c.c.CA, 30*time.Second); err != nil {
		return nil, err
	}
	s.http, s.circuit, s.waits.client = s.origin.transport, s.origin.circuit, s
	s.limit = newLimiter()
	if c.siblings == nil {
		c.siblings = map[string]*Client{}
	}
	c.siblings[origin] = s
	return s, nil
}

// sealed is a copy of a request that its connector has completed with secrets.
func sealed(r platform.Request, bag secret.Bag, tok *token) platform.Request {
	r.Header = r.Header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	method, origin, path := r.Method, r.Origin, r.Path
	r.Seal(secrets{bag, tok}, &r)
	r.Method, r.Origin, r.Path = method, origin, path
	return r
}

type secrets struct {
	bag secret.Bag
	tok *token
}

func (s secrets) Credential(name string) string { return s.bag.Get(name).Reveal() }
func (s secrets) Token() string                 { return s.tok.text() }

// scopes are the parts of a connection that were refused for quota by themselves, and until when: one account of many.
type scopes struct {
	mu    sync.Mutex
	until map[string]held
}

type held struct {
	until time.Time
	why   *ads.Error
}

// maxScopes bounds what is kept in mind.
const maxScopes = 10_000

func (s *scopes) hold(scope string, h held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = map[string]held{}
	}
	if len(s.until) >= maxScopes {
		now := time.Now()
		maps.DeleteFunc(s.until, func(_ string, h held) bool { return !h.until.After(now) })
	}
	if old := s.until[scope]; len(s.until) < maxScopes && h.until.After(old.until) {
		s.until[scope] = h
	}
}

// wait is the pause that a request of that scope makes before it asks for a slot.
func (s *scopes) wait(scope string) (outcome, bool) {
	if scope == "" {
		return outcome{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.until[scope]
	left := time.Until(h.until)
	if !ok || left <= 0 {
		delete(s.until, scope)
		return outcome{}, false
	}
	return outcome{again: true, pause: left, told: true, cause: h.why}, true
}

// refusedScope obeys a refusal that is about one part of the connection only: what asks for the others goes on.
func (c *Client) refusedScope(l *logical, slot *quota.Slot, a attempt, wait time.Duration) outcome {
	switch {
	case slot == nil:
	case a.verdict.NotCounted:
		slot.GiveBack()
	default:
		slot.Done(true)
	}
	e := c.errorOf(l, a)
	e.Bucket = l.r.Scope
	c.scopes.hold(l.r.Scope, held{until: time.Now().Add(min(wait, quota.MaxBlock)), why: e})
	c.emit(observe.Note{
		Level: observe.Info, Code: "scope_refused", Message: fmt.Sprintf("refused for quota: only %s waits, for %s", l.r.Scope, wait.Round(time.Millisecond)),
	})
	return outcome{again: true, pause: wait, told: true, cause: e}
}
