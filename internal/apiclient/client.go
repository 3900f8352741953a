// Package apiclient sends requests to a platform: with a token, within the quota, again where that helps, and never for longer than it may.
//
// It imports ads, observe, platform, quota, retry and secret, and knows no connector, no database and no engine.
package apiclient

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/retry"
	"adsync/internal/secret"
)

// Config describes one connection's way to its platform.
type Config struct {
	Platform         platform.Platform
	Ref              ads.Ref
	BaseURL          string
	Email, Password  secret.Text
	CredentialSource string // for people: "env ACME_PASSWORD"

	Bucket *quota.Bucket // nil: no quota, no refusals remembered

	Timeout    time.Duration // per attempt, body included; 0: 30 s
	MaxElapsed time.Duration // per request, waits for a quota or by the server's order not counted; 0: 10 min
	MaxWait    time.Duration // a longer wait is given back as ads.ClassDeferred; 0: 15 min
	Grace      time.Duration // for an attempt that is out when the caller is cancelled; 0: 5 s

	Shared   *Shared // transports and circuits of this process; nil: its own
	Observer observe.Observer
	Rand     func() float64 // uniform in [0, 1); nil: the standard source
}

// Defaults and bounds.
const (
	DefaultTimeout    = 30 * time.Second
	DefaultMaxElapsed = 10 * time.Minute
	DefaultMaxWait    = 15 * time.Minute
	DefaultGrace      = 5 * time.Second

	MaxTries         = 5 // of a request that fails on its own
	MaxTriesCritical = 8 // while its endpoint answers nobody
	MaxBody          = 32 << 20
	MaxHeader        = 1 << 20

	freshRepeats  = 3 // repeats on another connection when nothing was sent
	maxRefusals   = 64
	probeCap      = 30 * time.Second
	neverAnswered = 60 * time.Second
)

// CodeOutage is the code of the error after a host was down for MaxElapsed.
const CodeOutage = "outage"

// Client implements platform.Caller for one connection. An idle one holds no goroutine.
type Client struct {
	c       Config
	spec    platform.Spec
	base    *url.URL
	host    string
	http    *http.Transport
	circuit *circuit
	auth    *auth
	limit   *limiter
	waits   waits
	runID   atomic.Value // string
	watch   atomic.Pointer[observe.Observer]

	requests, throttled, retries atomic.Int64

	mu     sync.Mutex
	budget retry.Budget
	dead   *ads.Error     // the credentials are refused: nothing is sent any more
	failed map[string]int // failures in a row by endpoint
	shared int            // effective quota last reported
}

// New is a client for one connection.
//
// The layers, outside in: events (Do) → tries and circuit (Do, circuit.go) → token (auth.go) → quota slot (Do) → one attempt: log, metrics, transport (attempt.go).
// So every attempt pays its slot and carries a fresh token, and fetching a token never sits between taking a slot and sending.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") || base.User != nil {
		return nil, errors.New("the base URL must be http:// or https:// with a host and without credentials")
	}
	base.Path, base.RawPath, base.RawQuery, base.Fragment = strings.TrimRight(base.Path, "/"), "", "", ""
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.MaxElapsed = cmp.Or(c.MaxElapsed, DefaultMaxElapsed)
	c.MaxWait = cmp.Or(c.MaxWait, DefaultMaxWait)
	c.Grace = cmp.Or(c.Grace, DefaultGrace)
	if c.Observer == nil {
		c.Observer = observe.Discard
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Shared == nil {
		c.Shared = NewShared(SharedConfig{})
	}
	cl := &Client{c: c, spec: c.Platform.Spec(), base: base, host: base.Host, budget: retry.NewBudget(), failed: map[string]int{}}
	cl.runID.Store("")
	cl.http, cl.circuit = c.Shared.origin(base, cmp.Or(cl.spec.IdleTimeout, 30*time.Second))
	cl.waits.client = cl
	if a, ok := c.Platform.(platform.Authenticator); ok {
		cl.auth = newAuth(cl, a)
	}
	if c.Bucket == nil || !c.Bucket.Limited() {
		cl.limit = newLimiter()
	}
	return cl, nil
}

// SharedConfig says how connections are made.
type SharedConfig struct {
	Proxy       func(*http.Request) (*url.URL, error)                             // nil: the standard variables
	RootCAs     *x509.CertPool                                                    // nil: the system's
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error) // nil: a net.Dialer
}

// Shared has what connections to one origin have in common in a process: sockets, and the knowledge whether the host answers.
type Shared struct {
	c       SharedConfig
	mu      sync.Mutex
	origins map[string]*origin
}

type origin struct {
	transport *http.Transport
	circuit   *circuit
}

// NewShared makes an empty one.
func NewShared(c SharedConfig) *Shared { return &Shared{c: c, origins: map[string]*origin{}} }

func (s *Shared) origin(base *url.URL, idle time.Duration) (*http.Transport, *circuit) {
	key := base.Scheme + "://" + base.Host
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.origins[key]
	if o == nil {
		o = &origin{transport: newTransport(s.c, idle), circuit: newCircuit(base.Host)}
		s.origins[key] = o
	}
	return o.transport, o.circuit
}

// CloseIdle closes sockets that nobody uses.
func (s *Shared) CloseIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.origins {
		o.transport.CloseIdleConnections()
	}
}

// SetRun names the run in events.
func (c *Client) SetRun(id string) { c.runID.Store(id) }

// Watch makes o hear of this client's events too; nil ends that.
func (c *Client) Watch(o observe.Observer) {
	if o == nil {
		c.watch.Store(nil)
		return
	}
	c.watch.Store(&o)
}

// Stats counts since New: requests, throttled, retries, waited.
func (c *Client) Stats() ads.Figures {
	return ads.Figures{Requests: c.requests.Load(), Throttled: c.throttled.Load(), Retries: c.retries.Load(), Waited: c.waits.total()}
}

func (c *Client) emit(d observe.Data) {
	e := observe.Event{At: time.Now(), Ref: c.c.Ref, Platform: c.spec.Name, RunID: c.runID.Load().(string), Data: d}
	c.c.Observer.Observe(e)
	if o := c.watch.Load(); o != nil {
		(*o).Observe(e)
	}
}

func (c *Client) deadError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil {
		return nil
	}
	return c.dead
}

func (c *Client) kill(e *ads.Error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil {
		c.dead = e
	}
	return c.dead
}

// Login fetches a token without sending anything else, to prove that the credentials work.
func (c *Client) Login(ctx context.Context) error {
	if c.auth == nil {
		return nil
	}
	_, release, err := c.auth.token(ctx)
	release()
	return err
}

// logical is one request through all of its attempts.
type logical struct {
	r         platform.Request
	try       int           // attempts that counted
	spent     time.Duration // attempts and back-off, not the waits that are nobody's fault
	fresh     int           // repeats because a connection was dead
	refusals  int
	reauthed  int
	badSince  time.Time // of its first failure in a row
	lastError *ads.Error
}

// Do implements platform.Caller.
func (c *Client) Do(ctx context.Context, r platform.Request) (platform.Reply, error) {
	if err := c.deadError(); err != nil {
		return platform.Reply{}, err
	}
	if c.limit != nil && r.Priority != platform.PriorityListing && !r.Uncounted {
		if err := c.limit.acquire(ctx); err != nil {
			return platform.Reply{}, err
		}
		defer c.limit.release()
	}
	l := &logical{r: r}
	for {
		if err := c.admit(ctx, l); err != nil {
			return platform.Reply{}, err
		}
		var tok *token
		release := func() {}
		if c.auth != nil && !r.NoAuth {
			var err error
			if tok, release, err = c.auth.token(ctx); err != nil {
				c.circuit.cancelProbe(l)
				return platform.Reply{}, err
			}
		}
		slot, err := c.slot(ctx, r)
		if err != nil {
			release()
			c.circuit.cancelProbe(l)
			return platform.Reply{}, err
		}
		if tok != nil && !c.auth.good(tok) {
			// It ended while the quota was waited for: another one first, since fetching it would keep the slot from being used.
			if slot != nil {
				slot.GiveBack()
			}
			release()
			c.circuit.cancelProbe(l)
			continue
		}
		a := c.attempt(ctx, l, tok, slot)
		again, err := c.judge(ctx, l, tok, slot, a)
		release()
		if !again {
			return a.reply, err
		}
	}
}

// slot takes a slot of the quota, if there is one.
func (c *Client) slot(ctx context.Context, r platform.Request) (*quota.Slot, error) {
	if r.Uncounted || c.c.Bucket == nil {
		return nil, ctx.Err()
	}
	w := c.waits.begin()
	defer w.end()
	return c.c.Bucket.Take(ctx, r.Priority, c.c.MaxWait, w.tell)
}

// judge decides what an attempt means for its request. again: go round once more.
func (c *Client) judge(ctx context.Context, l *logical, tok *token, slot *quota.Slot, a attempt) (again bool, err error) {
	v := a.verdict
	give := func() {
		if slot != nil {
			slot.GiveBack()
		}
	}
	done := func(accepted bool) {
		if slot != nil {
			slot.Done(accepted)
		}
	}
	if c.limit != nil {
		c.limit.learn(v.Class)
	}
	switch v.Class {
	case ads.ClassOK:
		done(true)
		if tok != nil {
			c.auth.works(tok)
		}
		c.circuit.success(c)
		c.endpointOK(l.r.Endpoint)
		c.noteUsage(ctx, a)
		return false, nil
	case ads.ClassThrottled:
		c.circuit.success(c) // a host that refuses is up
		return c.refused(ctx, l, slot, a)
	case ads.ClassTokenDead:
		c.circuit.success(c)
		if v.NotCounted {
			give()
		} else {
			done(true)
		}
		if tok == nil {
			return false, c.errorOf(l, a)
		}
		if err := c.auth.refused(tok, v); err != nil {
			return false, err
		}
		if l.reauthed++; l.reauthed > 4 {
			e := c.errorOf(l, a)
			e.Class = ads.ClassAuth
			return false, c.kill(e)
		}
		return true, nil
	}
	if !a.sent {
		give()
	} else {
		done(a.status > 0)
	}
	if cause := context.Cause(ctx); cause != nil && a.status == 0 {
		c.circuit.cancelProbe(l)
		return false, cause // cut off by us: it says nothing about the host
	}
	if a.stale { // a kept connection that was dead: no fault of the request
		if l.fresh++; l.fresh <= freshRepeats && (!a.sent || l.r.Repeatable) {
			c.circuit.cancelProbe(l)
			return true, nil
		}
	}
	e := c.errorOf(l, a)
	switch v.Class {
	case ads.ClassTransient, ads.ClassBadReply, ads.ClassUnreachable:
	case ads.ClassAuth:
		c.circuit.success(c)
		return false, c.kill(e)
	default:
		c.circuit.success(c)
		c.endpointOK(l.r.Endpoint)
		return false, e
	}
	return c.retryOrGiveUp(ctx, l, a, e)
}

// retryOrGiveUp decides about another try after a failure that may pass.
func (c *Client) retryOrGiveUp(ctx context.Context, l *logical, a attempt, e *ads.Error) (again bool, err error) {
	l.lastError = e
	if l.badSince.IsZero() {
		l.badSince = time.Now()
	}
	final := e.Code == "tls" || e.Code == "proxy_auth" || (a.sent && !l.r.Repeatable)
	if v := a.verdict; v.Class == ads.ClassBadReply {
		c.circuit.success(c) // an answer that makes no sense still is one
	} else if !final {
		c.circuit.failure(ctx, c, l, a)
	}
	if final {
		c.circuit.cancelProbe(l)
		return false, e
	}
	wait := a.told
	if open, since := c.circuit.isOpen(); open {
		// Known to be down: probes cost no try. admit waits, and gives up when it has lasted too long.
		if time.Since(since) > c.c.MaxElapsed {
			return false, c.outage(e, since)
		}
		if wait > 0 {
			return true, c.obey(ctx, l, wait, e)
		}
		c.emit(observe.Retry{Endpoint: l.r.Endpoint, Try: l.try, Class: e.Class, Code: e.Code, Message: e.Message})
		return true, nil
	}
	if l.try >= c.tries(l) {
		return false, e
	}
	if !c.circuit.answered() && time.Since(l.badSince) > neverAnswered {
		return false, e
	}
	if wait > 0 {
		if !c.spendRetry() {
			return false, e
		}
		return true, c.obey(ctx, l, wait, e)
	}
	delay := retry.Default.Delay(l.try, c.c.Rand())
	if l.try >= MaxTries {
		delay = 2*time.Second<<(l.try-MaxTries) + delay/4
	}
	if l.spent+delay > c.c.MaxElapsed || !c.spendRetry() {
		return false, e
	}
	c.emit(observe.Retry{Endpoint: l.r.Endpoint, Try: l.try, Class: e.Class, Code: e.Code, Message: e.Message, Delay: delay})
	l.spent += delay
	return true, sleep(ctx, delay)
}

// tries is how often a request may be tried. One that the run cannot do without gets three more while its endpoint has answered nobody.
func (c *Client) tries(l *logical) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed[l.r.Endpoint]++
	if l.r.Critical && c.failed[l.r.Endpoint] >= MaxTries && c.circuit.answered() {
		return MaxTriesCritical
	}
	return MaxTries
}

func (c *Client) endpointOK(endpoint string) {
	c.mu.Lock()
	c.failed[endpoint] = 0
	c.mu.Unlock()
}

func (c *Client) spendRetry() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budget.Spend()
}

// obey waits as long as the server asked, with a 503 for instance. It delays this request alone.
func (c *Client) obey(ctx context.Context, l *logical, wait time.Duration, e *ads.Error) error {
	told := wait
	wait = min(wait, quota.MaxBlock)
	until := time.Now().Add(wait)
	if wait > c.c.MaxWait {
		return &ads.Error{
			Class: ads.ClassDeferred, Code: "told", Endpoint: l.r.Endpoint, Until: until.UTC(), Told: told, Bucket: c.c.Ref.ClientID,
			Message: fmt.Sprintf("deferred until %s: the platform asked to wait (%s)", until.UTC().Format("2006-01-02 15:04:05 UTC"), e.Message),
			Hint:    "run again then: it goes on where it stopped", Err: e,
		}
	}
	c.emit(observe.Retry{Endpoint: l.r.Endpoint, Try: l.try, Class: e.Class, Code: e.Code, Message: e.Message, Delay: wait})
	w := c.waits.begin()
	defer w.end()
	w.tell(observe.WaitStarted{Reason: observe.WaitServer, Bucket: c.c.Ref.ClientID, Until: until, Told: told})
	return sleep(ctx, wait)
}

// refused obeys a refusal for quota: the whole bucket stays away.
func (c *Client) refused(ctx context.Context, l *logical, slot *quota.Slot, a attempt) (again bool, err error) {
	c.throttled.Add(1)
	l.refusals++
	wait, note := a.told, ""
	if wait == 0 {
		wait = max(time.Second, retry.Silent.Delay(l.refusals, c.c.Rand()))
		note = "no time given, backing off"
	}
	if l.refusals > maxRefusals {
		e := c.errorOf(l, a)
		e.Class, e.Until = ads.ClassDeferred, time.Now().Add(wait).UTC()
		return false, e
	}
	if slot == nil { // a token request, or no quota kept: the wait is this connection's own
		e := c.errorOf(l, a)
		if l.refusals >= 8 {
			e.Class, e.Until, e.Told = ads.ClassDeferred, time.Now().Add(wait).UTC(), a.told
			return false, e
		}
		return true, c.obey(ctx, l, wait, e)
	}
	effective, declared, err := slot.Refused(wait, a.told, !a.verdict.NotCounted)
	if effective.N > 0 && effective.N < declared.N {
		c.mu.Lock()
		news := c.shared != effective.N
		c.shared = effective.N
		c.mu.Unlock()
		if news {
			c.emit(observe.Note{
				Level: observe.Warn, Code: "quota_shared",
				Message: fmt.Sprintf("another user of this quota: effective rate %s of %s for %s", effective.Rate(), declared.Rate(), c.c.Bucket.Label()),
				Hint:    "is another program, or another adsync with its own database, using the same client id?",
			})
		}
	}
	if note != "" {
		c.emit(observe.Note{Level: observe.Info, Code: "refused_without_time", Message: "refused for quota, " + note + " " + wait.Round(time.Millisecond).String()})
	}
	return err == nil, err
}

// noteUsage slows down before a refusal where a good answer says that nothing is left.
func (c *Client) noteUsage(ctx context.Context, a attempt) {
	wait, ok := retry.Exhausted(a.reply.Header)
	if !ok || c.c.Bucket == nil || wait <= 0 {
		return
	}
	_ = ctx
	c.c.Bucket.Hold(min(wait, quota.MaxBlock), wait)
}

// errorOf puts a failed attempt in words.
func (c *Client) errorOf(l *logical, a attempt) *ads.Error {
	v := a.verdict
	e := &ads.Error{
		Class: v.Class, Code: v.Code, Message: v.Message, Hint: v.Hint, Endpoint: l.r.Endpoint, Status: a.status,
		RequestID: v.RequestID, Attempts: l.try,
	}
	if v.Class == ads.ClassAuth {
		e.Message = fmt.Sprintf("credentials refused for client %s", c.c.Ref.ClientID)
		if c.c.CredentialSource != "" {
			e.Message += " (source: " + c.c.CredentialSource + ")"
		}
		e.Message += ": " + v.Message
	}
	return e
}

func (c *Client) outage(last *ads.Error, since time.Time) error {
	e := &ads.Error{Class: ads.ClassTransient, Code: CodeOutage, Message: fmt.Sprintf("%s has not answered for %s", c.host, time.Since(since).Round(time.Second))}
	if last != nil {
		e.Class, e.Endpoint, e.Attempts, e.Status, e.Err = last.Class, last.Endpoint, last.Attempts, last.Status, last
		e.Message += "; last: " + last.Message
	}
	e.Hint = "the platform is down; run again later: it goes on where it stopped"
	return e
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
