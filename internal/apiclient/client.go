// Package apiclient sends requests to a platform: with a token, within the quota, again where that helps, and never for longer than it may.
//
// It imports ads, observe, platform, quota, retry, secret and tokens, and knows no connector, no database and no engine.
package apiclient

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
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
	"weak"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/retry"
	"adsync/internal/secret"
	"adsync/internal/tokens"
)

// Config describes one connection's way to its platform.
type Config struct {
	Platform         platform.Platform
	Ref              ads.Ref
	BaseURL          string
	CA               string // PEM: the authorities that the host's certificate is checked against; empty: those of Shared
	Email, Password  secret.Text
	Credentials      secret.Bag // what else there is, for requests that are sealed
	CredentialSource string     // for people: "env ACME_PASSWORD"

	Bucket *quota.Bucket // nil: no quota, no refusals remembered

	Timeout    time.Duration // per attempt, body included; 0: 30 s
	MaxElapsed time.Duration // per request, waits for a quota or by the server's order not counted; 0: 10 min
	MaxWait    time.Duration // a longer wait is given back as ads.ClassDeferred; 0: 15 min
	ParkAfter  time.Duration // a host that is down for longer is not waited for: ads.ClassDeferred, code CodeOutage; 0: waited for until MaxElapsed. One for all of a Shared
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

	probeCap      = 30 * time.Second // between two probes of a host that is down
	neverAnswered = 60 * time.Second // after that a host that cannot be reached is given up, if it never answered
	poorDelay     = 2 * time.Second  // between the tries of a critical request when the retry budget is used up

	userAgent = "adsync"
)

// CodeOutage is the code of the error after a host was down for MaxElapsed, and of class ads.ClassDeferred for longer than ParkAfter.
const CodeOutage = "outage"

// Client implements platform.Caller for one connection, for many runs one after the other (Begin). An idle one holds no goroutine and no timer.
type Client struct {
	c       Config
	spec    platform.Spec
	base    *url.URL
	host    string
	origin  *origin
	http    *http.Transport
	circuit *circuit
	auth    *auth // of credentials; nil: they are not exchanged for a token
	seat    seat  // in auth
	line    line  // for places
	limit   *limiter

	authenticator platform.Authenticator // nil: there is no login
	refresher     platform.Refresher     // nil: tokens are not had from earlier ones
	credentials   *credentials

	parent   *Client            // of one for another origin
	siblings map[string]*Client // by origin
	scopes   scopes

	waits waits
	runID atomic.Value // string
	watch atomic.Pointer[observe.Observer]

	requests, throttled, retries atomic.Int64
	numbers                      atomic.Int64 // of requests
	lastBody                     atomic.Int64 // its length

	mu     sync.Mutex
	budget retry.Budget
	dead   *ads.Error     // the credentials are refused to this connection: nothing is sent any more
	failed map[string]int // failures in a row by endpoint
	shared int            // effective quota last reported

	endTold bool      // until when tokens can be had was told:
	end     time.Time // this,
	endDays int       // and which warning was due
}

// New is a client for one connection.
//
// The layers, outside in:
//
//	Do      tries, back-off and waits that the server asks for (do.go)
//	round   one attempt with all it takes:
//	 token    fetched by one for all, renewed ahead (auth.go)
//	 admit    the circuit: while the host is down only probes pass (circuit.go)
//	 slot     the quota (package quota)
//	 place    one of those that the process has for exchanges (places.go)
//	 attempt  events, counts, one exchange with its time-out (attempt.go, transport.go)
//	judge   what the attempt means for request, token, slot and host (do.go)
//
// So every attempt pays its slot and carries a fresh token, and fetching a token never sits between taking a slot and sending. A place is held while
// something is on the wire, and for no wait.
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
	cl := &Client{c: c, spec: c.Platform.Spec(), base: base, host: base.Host, budget: retry.NewBudget()}
	cl.runID.Store("")
	if cl.origin, err = c.Shared.origin(base, c.CA, cmp.Or(cl.spec.IdleTimeout, 30*time.Second)); err != nil {
		return nil, err
	}
	cl.http, cl.circuit = cl.origin.transport, cl.origin.circuit
	cl.waits.client = cl
	cl.authenticator, _ = c.Platform.(platform.Authenticator)
	cl.refresher, _ = c.Platform.(platform.Refresher)
	cl.credentials = c.Shared.credentialsFor(cl)
	cl.auth = cl.credentials.auth
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

	// MaxInFlight bounds the exchanges on the wire at once in this process; 0: no bound. One connection alone gets at most half of them, and a
	// connection that hangs soon one.
	MaxInFlight int

	// Tokens keeps tokens for all processes; nil: each process has its own.
	Tokens *tokens.Manager
}

// Shared has what connections have in common in a process. Those to one origin: sockets, and the knowledge whether the host answers. Those with the same
// credentials: the token, and the knowledge that they are refused.
type Shared struct {
	c       SharedConfig
	secret  [32]byte
	mu      sync.Mutex
	origins map[string]*origin
	places  *places // nil: no bound

	inMemory *tokens.Manager // nil: not needed yet

	credentials map[credentialsKey]weak.Pointer[credentials]
	refused     map[credentialsKey]*credentials // kept, so that they are not tried again
}

type origin struct {
	transport *http.Transport
	circuit   *circuit
	http2     atomic.Bool // the host has answered in HTTP/2
}

// NewShared makes an empty one.
func NewShared(c SharedConfig) *Shared {
	s := &Shared{
		c: c, origins: map[string]*origin{}, credentials: map[credentialsKey]weak.Pointer[credentials]{}, refused: map[credentialsKey]*credentials{},
	}
	_, _ = crand.Read(s.secret[:]) // it cannot fail
	if c.MaxInFlight > 0 {
		s.places = newPlaces(c.MaxInFlight)
	}
	return s
}

// origin is what connections to one host have in common that trust the same authorities to vouch for it.
func (s *Shared) origin(base *url.URL, ca string, idle time.Duration) (*origin, error) {
	key := base.Scheme + "://" + base.Host
	if ca != "" {
		key += fmt.Sprintf(" %x", sha256.Sum256([]byte(ca)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.origins[key]
	if o == nil {
		c := s.c
		if ca != "" {
			c.RootCAs = x509.NewCertPool()
			if !c.RootCAs.AppendCertsFromPEM([]byte(ca)) {
				return nil, errors.New("the authorities given for " + base.Host + " hold no certificate")
			}
		}
		o = &origin{transport: newTransport(c, idle), circuit: newCircuit(base.Host)}
		s.origins[key] = o
	}
	return o, nil
}

// CloseIdle closes sockets that nobody uses.
func (s *Shared) CloseIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.origins {
		o.transport.CloseIdleConnections()
	}
}

// Begin makes the client ready for another run: figures count from here, and what failed before counts no more. What is known of token, quota and host
// stays, and so does the refusal of credentials.
func (c *Client) Begin() {
	c.requests.Store(0)
	c.throttled.Store(0)
	c.retries.Store(0)
	c.waits.reset()
	c.runID.Store("")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget, c.failed = retry.NewBudget(), nil
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

// Stats counts since Begin, or New: requests, throttled, retries, waited, told.
func (c *Client) Stats() ads.Figures {
	waited, told := c.waits.total()
	return ads.Figures{Requests: c.requests.Load(), Throttled: c.throttled.Load(), Retries: c.retries.Load(), Waited: waited, Told: told}
}

func (c *Client) emit(d observe.Data) {
	if c.parent != nil {
		c.parent.emit(d)
		return
	}
	e := observe.Event{At: time.Now(), Ref: c.c.Ref, Platform: c.spec.Name, RunID: c.runID.Load().(string), Data: d}
	c.c.Observer.Observe(e)
	if o := c.watch.Load(); o != nil {
		(*o).Observe(e)
	}
}

// Login fetches a token without sending anything else, to prove that the credentials work.
func (c *Client) Login(ctx context.Context) error {
	if c.auth == nil {
		return nil
	}
	tok, release, err := c.auth.token(ctx, c)
	if err == nil {
		release()
		c.tellTokenEnd(ctx, tok)
	}
	return err
}
