package stage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Platform is what a host serves.
type Platform interface {
	// Route says what is asked for: it sets the call's Endpoint (left empty: nothing that there is), Account and Level.
	Route(c *Call)
	// Answer does the work. It asks c.Instead once quotas are charged, and c.Play for faults of its own.
	Answer(c *Call) *Reply
	// Own answers a page of the simulator's own, such as /__truth; nil: there is none of that name.
	Own(w http.ResponseWriter, r *http.Request) any
	// Extra is what the platform adds to the statistics; reset says that its counts are to begin anew afterwards.
	Extra(reset bool) any
}

// Options are those that all platforms have.
type Options struct {
	Seed        uint64
	Faults      []string
	Speed       float64          // divides lengths of time that the simulator itself decides; 0: 1
	Date        time.Time        // what the platform's clock shows at the start; zero: the truth
	Clock       func() time.Time // what time passes by; nil: time.Now
	Latency     time.Duration    // work of every request
	IdleTimeout time.Duration    // 0: 60 s
	TLS         bool
}

// Host is a simulated platform's machine. It is an http.Handler, safe for concurrent use; Serve puts it on a listener.
type Host struct {
	p       Platform
	k       *Catalogue
	o       Options
	start   time.Time
	ahead   atomic.Int64 // how far the clock was put forward
	faults  atomic.Pointer[[]*Active]
	quiet   chan struct{} // closed when silences are to end
	stopped chan struct{} // closed when all waiting is to end
	cert    *Certificate
	stats   stats

	mu      sync.Mutex
	held    map[net.Conn]struct{}
	trap    *trap
	closing bool
	hushed  bool
}

// NewHost makes a machine for a platform; nothing runs until it is asked. Close ends it.
func NewHost(p Platform, k *Catalogue, o Options) (*Host, error) {
	var errs []error
	active, err := k.Compile(o.Faults, o.Seed)
	errs = append(errs, err)
	if o.Speed == 0 {
		o.Speed = 1
	}
	if !(o.Speed > 0 && o.Speed <= 1e6) {
		errs = append(errs, fmt.Errorf("simulator: speed %v: want a factor above 0, such as 10 for ten times as fast", o.Speed))
		o.Speed = 1
	}
	if o.Latency < 0 || o.IdleTimeout < 0 {
		errs = append(errs, errors.New("simulator: latency and idle-timeout: want 0 or more"))
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = time.Minute
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	h := &Host{p: p, k: k, o: o, start: o.Clock(), quiet: make(chan struct{}), stopped: make(chan struct{}), held: map[net.Conn]struct{}{}}
	h.stats.init(h.start)
	h.faults.Store(&active)
	if o.TLS {
		if h.cert, err = NewCertificate(false, false); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Elapsed is the time on the platform's own clock since the start, which no change of the wall clock moves.
func (h *Host) Elapsed() time.Duration {
	return h.o.Clock().Sub(h.start) + time.Duration(h.ahead.Load())
}

// Now is what the platform's clock shows.
func (h *Host) Now() time.Time {
	base := h.start
	if !h.o.Date.IsZero() {
		base = h.o.Date
	}
	return base.Round(0).Add(h.Elapsed()).UTC()
}

// maxAhead keeps the clock within what dates and durations can hold.
const maxAhead = 100 * 365 * 24 * time.Hour

// Advance puts the platform's clock forward.
func (h *Host) Advance(d time.Duration) error {
	if d < 0 || d > maxAhead || time.Duration(h.ahead.Load()) > maxAhead {
		return fmt.Errorf("simulator: advance %s: want 0 or more, and not a lifetime", d)
	}
	h.ahead.Add(int64(d))
	return nil
}

// Scaled is a length of time that the simulator decides, at its speed.
func (h *Host) Scaled(d time.Duration) time.Duration { return time.Duration(float64(d) / h.o.Speed) }

// CAPEM is the certificate authority that a client must trust to talk to a host with TLS; nil without TLS.
func (h *Host) CAPEM() []byte {
	if h.cert == nil {
		return nil
	}
	return h.cert.CA
}

// Close ends every wait and every connection that a fault took over. It may be called more than once.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closing {
		h.mu.Unlock()
		return nil
	}
	h.closing = true
	if !h.hushed {
		h.hushed = true
		close(h.quiet)
	}
	close(h.stopped)
	held, t := h.held, h.trap
	h.held = map[net.Conn]struct{}{}
	h.mu.Unlock()
	for conn := range held {
		_ = conn.Close()
	}
	if t != nil {
		_ = t.srv.Close()
	}
	return nil
}

func (h *Host) endSilences() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.hushed {
		h.hushed = true
		close(h.quiet)
	}
}

// hold remembers a connection that a fault took over, until drop; false when the host is closed already.
func (h *Host) hold(conn net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return false
	}
	h.held[conn] = struct{}{}
	return true
}

func (h *Host) drop(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, conn)
}

// Switch puts faults off by name ("*": all), then others on.
func (h *Host) Switch(on, off []string) error {
	next, err := h.k.Compile(on, h.o.Seed)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	old := *h.faults.Load()
	for _, name := range off {
		if name != "*" && !slices.ContainsFunc(old, func(f *Active) bool { return f.def.Name == name }) {
			return fmt.Errorf("simulator: fault %q is not on", name)
		}
	}
	var keep []*Active
	for _, f := range old {
		if slices.Contains(off, "*") || slices.Contains(off, f.def.Name) {
			f.mu.Lock()
			f.off = true
			h.stats.playedBefore(f.def.Name, f.played)
			f.mu.Unlock()
			continue
		}
		keep = append(keep, f)
	}
	keep = append(keep, next...)
	h.faults.Store(&keep)
	return nil
}

// Call is one request on its way through the host.
type Call struct {
	Host     *Host
	W        http.ResponseWriter
	R        *http.Request
	Endpoint string
	Account  string // that the request is about; empty: none
	Level    string // of a report or listing
	Page     int    // of a listing or report, from 1
	Who      string // the app or project that asks, never a credential; empty as long as it is not known
	Body     []byte
	Now      time.Duration // on the platform's clock, since the start
	Inner    bool          // part of a batch
	State    any           // what the platform keeps for the request
	faults   []*Active
	silent   bool
}

// MaxBody bounds the body of a request.
const MaxBody = 4 << 20

// ServeHTTP answers as the platform would.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/__") {
		h.serveOwn(w, r)
		return
	}
	c := &Call{Host: h, W: w, R: r, Page: 1}
	rp := h.answer(c)
	if rp == Gone {
		panic(http.ErrAbortHandler)
	}
	rp.write(c)
	rp.release()
}

// Inside answers a request that is a part of another one. It gives Gone for one that would have been cut off.
func (c *Call) Inside(r *http.Request) *Reply {
	rp := c.Host.answer(&Call{Host: c.Host, W: c.W, R: r.WithContext(c.R.Context()), Page: 1, Inner: true})
	if rp == Gone || rp.Status == 0 {
		return Gone
	}
	rp.whole()
	return rp
}

func (h *Host) answer(c *Call) *Reply {
	c.Now, c.faults = h.Elapsed(), *h.faults.Load()
	h.p.Route(c)
	h.stats.begin(c)
	rp := Gone
	defer func() { h.stats.end(c, rp) }()
	body, err := io.ReadAll(io.LimitReader(c.R.Body, MaxBody+1))
	if err != nil {
		return rp
	}
	c.Body = body[:min(len(body), MaxBody)]
	rp = h.work(c)
	return rp
}

func (h *Host) work(c *Call) *Reply {
	for _, f := range c.faults {
		if f.def.Arrive != nil && f.hit(c) {
			if rp := f.def.Arrive(c, f); rp != nil {
				return rp
			}
		}
	}
	rp := h.p.Answer(c)
	if rp != Gone && rp.outcome() == Good {
		for _, f := range c.faults {
			if f.def.Finish != nil && f.hit(c) {
				f.def.Finish(c, f, rp)
			}
		}
	}
	return rp
}

// Instead asks the faults that take the place of the work, then passes the time that the work takes.
func (c *Call) Instead() *Reply {
	for _, f := range c.faults {
		if f.def.Instead != nil && f.hit(c) {
			if rp := f.def.Instead(c, f); rp != nil {
				return rp
			}
		}
	}
	if c.Host.o.Latency > 0 && !c.Wait(c.Host.Scaled(c.Host.o.Latency)) {
		return Gone
	}
	return nil
}

// Play is the fault of that name, when it is on and plays on this request. Each call counts.
func (c *Call) Play(name string) *Active {
	for _, f := range c.faults {
		if f.def.Name == name && f.hit(c) {
			return f
		}
	}
	return nil
}

// On is the fault of that name when it is on and its settings allow this request, without counting it.
func (c *Call) On(name string) *Active {
	for _, f := range c.faults {
		if f.def.Name == name && f.sel.allows(c) {
			return f
		}
	}
	return nil
}

// Wait passes the time, or reports false as soon as the client leaves or the host stops.
func (c *Call) Wait(d time.Duration) bool {
	if d <= 0 {
		return c.R.Context().Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.R.Context().Done():
	case <-c.Host.stopped:
	}
	return false
}

// pause passes the time on a connection that was taken over, whose context says nothing any more.
func (c *Call) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.Host.stopped:
	}
}

// hang waits until the client leaves or the host stops.
func (c *Call) hang() {
	select {
	case <-c.R.Context().Done():
	case <-c.Host.quiet:
	}
}

func (c *Call) over() bool {
	select {
	case <-c.R.Context().Done():
		return true
	case <-c.Host.quiet:
		return true
	default:
		return false
	}
}

// Silence never answers.
func (c *Call) Silence() *Reply {
	c.silent = true
	c.hang()
	return Gone
}

// stopGrace is how long work in hand may go on when the host is to end.
const stopGrace = 3 * time.Second

// Serve answers on the listener until ctx ends, then lets work in hand finish for a moment, ends what a fault holds up, and closes the
// host. It closes the listener, and returns nil after an orderly end.
func (h *Host) Serve(ctx context.Context, ln net.Listener) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           h,
		IdleTimeout:       h.o.IdleTimeout,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          log.New(io.Discard, "", 0), // cut connections are its trade, not news
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				h.stats.connection()
			}
		},
	}
	failed := make(chan error, 1)
	go func() {
		if h.cert != nil {
			srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{h.cert.Leaf}, MinVersion: tls.VersionTLS12}
			failed <- srv.ServeTLS(ln, "", "")
		} else {
			failed <- srv.Serve(ln)
		}
	}()
	select {
	case err := <-failed:
		_ = h.Close()
		_ = srv.Close()
		return err
	case <-ctx.Done():
	}
	h.endSilences()
	grace, done := context.WithTimeout(base, stopGrace)
	defer done()
	err := srv.Shutdown(grace)
	_ = h.Close()
	if err != nil {
		_ = srv.Close()
	}
	<-failed
	return nil
}
