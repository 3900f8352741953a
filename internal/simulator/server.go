package simulator

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a simulated platform. It is an http.Handler, safe for concurrent use; Serve puts it on a listener.
type Server struct {
	cfg     Config
	start   time.Time
	serial  uint64 // tells the tokens of one server from those of another
	faults  atomic.Pointer[[]*activeFault]
	quiet   chan struct{} // closed when silences are to end
	stopped chan struct{} // closed when all waiting is to end

	mu      sync.Mutex
	clients map[string]*client
	tokens  tokens
	revoked map[string]bool // accounts whose credentials are refused
	jobs    jobs
	global  globalStats
	played  map[string]int64 // by faults that are no longer active
	held    map[net.Conn]struct{}
	trap    *trap
	closing bool
	hushed  bool // quiet is closed
	cert    *certificate
}

type globalStats struct {
	since               time.Time
	requests, tokens    int64
	tokensNow, tokenMax int
	now, most           int
	connections, outage int64
	strays              []string
	strayCount          int64
}

var serials atomic.Uint64

// New checks the configuration and makes a server; nothing runs until it is asked. Close ends it.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.normalise()
	if err != nil {
		return nil, err
	}
	active, err := compile(cfg.Faults, cfg.Seed)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, start: time.Now(), serial: serials.Add(1), quiet: make(chan struct{}), stopped: make(chan struct{}),
		clients: map[string]*client{}, tokens: newTokens(), revoked: map[string]bool{}, jobs: newJobs(),
		held: map[net.Conn]struct{}{}, played: map[string]int64{},
	}
	s.global.since = s.start
	s.faults.Store(&active)
	if cfg.TLS {
		if s.cert, err = newCertificate(active); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Config is the configuration in force, with defaults filled in and durations scaled.
func (s *Server) Config() Config { return s.cfg }

// Close ends every wait and every connection that a fault took over. Requests in hand are cut off. It may be called more
// than once, and comes before the Close of an httptest.Server around it, which would wait for the silences.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	if !s.hushed {
		s.hushed = true
		close(s.quiet)
	}
	close(s.stopped)
	t := s.trap
	held := s.held
	s.held = map[net.Conn]struct{}{}
	s.mu.Unlock()
	for conn := range held {
		_ = conn.Close()
	}
	if t != nil {
		t.close()
	}
	return nil
}

// endSilences lets go of the requests that would never be answered; work in hand goes on.
func (s *Server) endSilences() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hushed {
		s.hushed = true
		close(s.quiet)
	}
}

// hold remembers a connection that a fault took over, until drop; false when the server is closed already.
func (s *Server) hold(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.held[conn] = struct{}{}
	return true
}

func (s *Server) drop(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, conn)
}

// since is the time on the server's own clock, which no change of the wall clock moves.
func (s *Server) since() time.Duration { return time.Since(s.start) }

// call is one request on its way through the server.
type call struct {
	s        *Server
	w        http.ResponseWriter
	r        *http.Request
	endpoint string // token, list, sync, health
	clientID string
	cl       *client
	email    string // whose credentials or token it carries; empty for none that are known
	token    string
	body     []byte
	page     int // list
	limit    int
	id       string // sync
	now      time.Duration
	skew     time.Duration // how far the platform's clock is off
	faults   []*activeFault
	silent   bool
	end      func()
}

// wall is the platform's idea of the time.
func (c *call) wall() time.Time { return time.Now().Add(c.skew).UTC() }

// wait passes the time, or reports false as soon as the client leaves or the server stops.
func (c *call) wait(d time.Duration) bool {
	if d <= 0 {
		return c.r.Context().Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.r.Context().Done():
	case <-c.s.stopped:
	}
	return false
}

// pause passes the time on a connection that was taken over, whose context says nothing any more.
func (c *call) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.s.stopped:
	}
}

// hang waits until the client leaves or the server stops.
func (c *call) hang() {
	select {
	case <-c.r.Context().Done():
	case <-c.s.quiet:
	}
}

func (c *call) over() bool {
	select {
	case <-c.r.Context().Done():
		return true
	case <-c.s.quiet:
		return true
	default:
		return false
	}
}

const maxRequestBody = 1 << 20

// route finds the endpoint. It works on the path as it was sent, so that an id with a slash in it stays one segment.
func route(u *url.URL) (endpoint, id string) {
	p := u.EscapedPath()
	switch p {
	case "/auth/token":
		return "token", ""
	case "/api/campaigns":
		return "list", ""
	case "/health":
		return "health", ""
	}
	if rest, ok := strings.CutPrefix(p, "/api/campaigns/"); ok {
		if seg, ok := strings.CutSuffix(rest, "/sync"); ok && seg != "" && seg != "." && seg != ".." && !strings.Contains(seg, "/") {
			if id, err := url.PathUnescape(seg); err == nil {
				return "sync", id
			}
		}
	}
	return "", ""
}

var methods = map[string]string{"token": http.MethodPost, "list": http.MethodGet, "sync": http.MethodPost, "health": http.MethodGet}

// ServeHTTP answers as the platform would.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/__") {
		s.serveOwn(w, r)
		return
	}
	c := &call{s: s, w: w, r: r, clientID: r.Header.Get("X-Client-ID"), now: s.since(), faults: *s.faults.Load()}
	c.endpoint, c.id = route(r.URL)
	c.begin()
	defer c.end()
	rp := c.answer()
	if rp == gone {
		c.note(rp)
		panic(http.ErrAbortHandler)
	}
	c.note(rp)
	rp.write(c)
	rp.release()
}

// begin counts the request and finds its client; end, called once or more, takes it out of those in flight.
func (c *call) begin() {
	s := c.s
	s.mu.Lock()
	g := &s.global
	g.requests++
	g.now++
	g.most = max(g.most, g.now)
	if c.endpoint == "token" {
		g.tokensNow++
		g.tokenMax = max(g.tokenMax, g.tokensNow)
	}
	if c.endpoint == "" {
		g.strayCount++
		if len(g.strays) < maxStrays {
			p := c.r.URL.EscapedPath()
			g.strays = append(g.strays, c.r.Method+" "+p[:min(len(p), 200)])
		}
	}
	if c.endpoint != "" && c.endpoint != "health" {
		c.cl = s.client(c.clientID)
	}
	s.mu.Unlock()
	if cl := c.cl; cl != nil {
		cl.mu.Lock()
		t := &cl.track
		t.s.Requests[c.endpoint]++
		if c.endpoint == "token" {
			t.tokensNow++
			t.s.MaxConcurrentTokenRequests = max(t.s.MaxConcurrentTokenRequests, t.tokensNow)
		} else {
			t.inFlight++
			t.s.MaxConcurrent = max(t.s.MaxConcurrent, t.inFlight)
		}
		cl.mu.Unlock()
	}
	c.end = sync.OnceFunc(c.finished)
}

func (c *call) finished() {
	c.s.mu.Lock()
	c.s.global.now--
	if c.endpoint == "token" {
		c.s.global.tokensNow--
	}
	c.s.mu.Unlock()
	if c.cl == nil {
		return
	}
	c.cl.mu.Lock()
	defer c.cl.mu.Unlock()
	if c.endpoint == "token" {
		c.cl.track.tokensNow--
	} else {
		c.cl.track.inFlight--
	}
}

// client finds or makes a client; nil when it does not exist here or there are too many. The caller holds s.mu.
func (s *Server) client(id string) *client {
	if cl := s.clients[id]; cl != nil {
		return cl
	}
	if len(id) > maxClientID || len(s.clients) >= maxClients || (s.cfg.Clients != nil && id != "" && !slices.Contains(s.cfg.Clients, id)) {
		return nil
	}
	cl := newClient(id, s.cfg)
	s.clients[id] = cl
	return cl
}

// note enters the answer in the client's figures.
func (c *call) note(r *reply) {
	if c.cl == nil {
		return
	}
	c.cl.mu.Lock()
	defer c.cl.mu.Unlock()
	t := &c.cl.track
	switch {
	case c.silent: // counted when it began
	case r == gone:
		t.s.GaveUp++
	case r.status == http.StatusUnauthorized && c.endpoint == "token":
		t.s.TokensRefused++
	case r.status == http.StatusUnauthorized:
		t.s.Unauthorized++
	case r.status == http.StatusServiceUnavailable:
		t.s.Unavailable++
	}
}

// silence never answers.
func (c *call) silence() *reply {
	c.silent = true
	if c.cl != nil {
		c.cl.mu.Lock()
		c.cl.track.s.Silences++
		c.cl.mu.Unlock()
	}
	c.hang()
	return gone
}

func (c *call) answer() *reply {
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxRequestBody+1))
	if err != nil {
		return gone
	}
	if len(body) > maxRequestBody {
		return failure(http.StatusRequestEntityTooLarge, "Request too large", "The body is larger than 1 MiB")
	}
	c.body = body
	if c.endpoint == "" {
		return failure(http.StatusNotFound, "Not found", "There is no such path")
	}
	if want := methods[c.endpoint]; c.r.Method != want {
		return failure(http.StatusMethodNotAllowed, "Method not allowed", "Use "+want).with("Allow", want)
	}
	if c.endpoint == "list" {
		if rp := c.readPaging(); rp != nil {
			return rp
		}
	}
	c.identify()
	for _, f := range c.faults {
		if f.def.arrive != nil && f.hit(c) {
			if rp := f.def.arrive(c, f); rp != nil {
				return rp
			}
		}
	}
	switch c.endpoint {
	case "health":
		return c.finish(c.health())
	case "token":
		return c.finish(c.serveToken())
	}
	if rp := c.authorise(); rp != nil {
		return rp
	}
	if c.cl == nil {
		return failure(http.StatusForbidden, "Unknown client", "There is no client of that X-Client-ID")
	}
	if rp := c.admit(); rp != nil {
		return rp
	}
	if rp := c.instead(); rp != nil {
		return c.finish(rp)
	}
	if c.endpoint == "list" {
		return c.finish(c.serveList())
	}
	return c.finish(c.serveSync())
}

// instead asks the faults that take the place of the work.
func (c *call) instead() *reply {
	for _, f := range c.faults {
		if f.def.instead != nil && f.hit(c) {
			if rp := f.def.instead(c, f); rp != nil {
				return rp
			}
		}
	}
	return nil
}

// finish lets faults change a good answer.
func (c *call) finish(r *reply) *reply {
	if r.status != http.StatusOK {
		return r
	}
	for _, f := range c.faults {
		if f.def.finish != nil && f.hit(c) {
			f.def.finish(c, f, r)
		}
	}
	return r
}

func (c *call) health() *reply {
	return jsonReply(http.StatusOK, (&record{fields: []field{
		{"status", `"ok"`},
		{"timestamp", quote(c.wall().Format("2006-01-02T15:04:05.000Z"))},
		{"uptime", strconv.FormatFloat(c.s.since().Seconds(), 'f', 3, 64)},
	}}).bytes())
}

// admit lets a request in by the quota or gives the refusal.
func (c *call) admit() *reply {
	cl, q := c.cl, c.s.cfg.Quota
	cl.mu.Lock()
	defer cl.mu.Unlock()
	// The clock is read under the lock, so that the log never runs backwards.
	now := c.s.since()
	c.now = now
	t := &cl.track
	t.arrive(now, "api", c.endpoint)
	t.s.Arrivals++
	t.all.add(now)
	t.s.Last = time.Now().UTC()
	if t.s.First.IsZero() {
		t.s.First = t.s.Last
	}
	if len(t.tokens) < maxSyncedIDs {
		t.tokens[c.token] = struct{}{}
	}
	if now < cl.blocked {
		if f := cl.blockedShape; f != nil && f.def.restart {
			cl.blocked = max(cl.blocked, now+f.dur("wait"))
		}
		return c.refuse(cl.blockedShape, cl.blocked-now)
	}
	var shape *activeFault
	for _, f := range c.faults {
		switch {
		case f.def.refuse == nil:
		case f.hit(c):
			cl.blocked, cl.blockedShape = now+f.dur("wait"), f
			return c.refuse(f, f.dur("wait"))
		case shape == nil && f.sel.allows(c):
			shape = f
		}
	}
	if q.N > 0 {
		c.foreignRequests(now)
		if cl.quota.count(now) >= q.N {
			wait := cl.quota.oldest() + q.Window - now
			if shape != nil && shape.def.restart {
				cl.blocked, cl.blockedShape = now+wait, shape
			}
			return c.refuse(shape, wait)
		}
		cl.quota.add(now)
	}
	t.s.Counted++
	t.counted.add(now)
	if c.endpoint == "sync" {
		t.s.SyncCalls++
		if _, known := t.called[c.id]; known || len(t.called) < maxSyncedIDs {
			t.called[c.id]++
		}
		if c.s.seenKey(c) {
			t.s.RepeatedKeys++
		}
	}
	return nil
}

// refuse is the answer to a request beyond the quota; wait is the truth about when the next may come. The caller holds the client's lock.
func (c *call) refuse(f *activeFault, wait time.Duration) *reply {
	t := &c.cl.track
	t.s.Throttled++
	var rp *reply
	var toldWait time.Duration
	if f == nil {
		rp, toldWait = plainRefusal(c, wait)
	} else {
		rp, toldWait = f.def.refuse(c, f, wait)
	}
	t.tell("api", c.now, toldWait)
	return rp
}

// tell notes a wait that an answer asks for, and what it is about.
func (c *call) tell(about string, wait time.Duration) {
	if c.cl == nil {
		return
	}
	c.cl.mu.Lock()
	defer c.cl.mu.Unlock()
	c.cl.track.tell(about, c.s.since(), wait)
}

// plainRefusal is the published one: the body names the window's length, whenever the next slot is free.
func plainRefusal(c *call, wait time.Duration) (*reply, time.Duration) {
	seconds := ceilSeconds(cmp.Or(c.s.cfg.Quota.Window, wait))
	return failure(http.StatusTooManyRequests, "Rate limit exceeded", "Too many requests, try again later",
		field{"retry_after", strconv.FormatInt(seconds, 10)}), time.Duration(seconds) * time.Second
}

func ceilSeconds(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}

// foreignRequests enters what another program sent on the same quota since the last look. The caller holds the client's lock.
func (c *call) foreignRequests(now time.Duration) {
	cl, q := c.cl, c.s.cfg.Quota
	for _, f := range c.faults {
		if f.def.shared == nil || !f.sel.allows(c) || f.isOff() {
			continue
		}
		every := time.Duration(float64(q.Window) / (f.def.shared(f) * float64(q.N)))
		due := int64(now / every)
		cl.foreign = max(cl.foreign, due-2*int64(q.N)) // what is older has left the window
		for ; cl.foreign < due; cl.foreign++ {
			at := time.Duration(cl.foreign+1) * every
			if cl.quota.count(at) < q.N {
				cl.quota.add(at)
			}
		}
	}
}

// Stats is how the clients behaved since the start or the last reset.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	g := s.global
	out := Stats{
		Since: g.since.UTC(), Requests: g.requests, TokensIssued: g.tokens,
		MaxConcurrentTokenRequests: g.tokenMax, MaxConcurrent: g.most, Connections: g.connections,
		DuringOutage: g.outage, Strays: append([]string{}, g.strays...), StrayRequests: g.strayCount,
		FaultsPlayed: map[string]int64{}, Clients: make(map[string]*ClientStats, len(s.clients)),
	}
	for name, n := range s.played {
		out.FaultsPlayed[name] += n
	}
	clients := slices.Collect(maps.Values(s.clients))
	t := s.trap
	s.mu.Unlock()
	if t != nil {
		out.ForeignRequests, out.CredentialsSentAbroad = t.counts()
	}
	for _, f := range *s.faults.Load() {
		out.FaultsPlayed[f.name()] += f.plays()
	}
	for _, c := range clients {
		c.mu.Lock()
		out.Clients[c.id] = c.snapshot(s.cfg.Quota.N)
		c.mu.Unlock()
	}
	return out
}

// ResetStats starts the figures anew. Campaigns, tokens, quotas and faults stay as they are.
func (s *Server) ResetStats() {
	s.mu.Lock()
	now := s.global.now
	s.global = globalStats{since: time.Now(), now: now, most: now, tokensNow: s.global.tokensNow, tokenMax: s.global.tokensNow}
	s.played = map[string]int64{}
	clients := slices.Collect(maps.Values(s.clients))
	t := s.trap
	s.mu.Unlock()
	if t != nil {
		t.reset()
	}
	for _, f := range *s.faults.Load() {
		f.forget()
	}
	for _, c := range clients {
		c.mu.Lock()
		c.track.reset()
		c.mu.Unlock()
	}
}

// Truth is a client's campaigns as the platform has them now, in listing order. Asking changes nothing.
func (s *Server) Truth(clientID string) []Campaign {
	s.mu.Lock()
	cl := s.client(clientID)
	s.mu.Unlock()
	if cl == nil {
		return nil
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	out := make([]Campaign, cl.set.total())
	for i := range out {
		out[i] = cl.campaign(cl.set.at(i), s.tickOf(cl))
	}
	return out
}

// Altered is how a client's campaigns look on the wire where faults of records change them, by true id.
func (s *Server) Altered(clientID string) map[string]string {
	s.mu.Lock()
	cl := s.client(clientID)
	s.mu.Unlock()
	out := map[string]string{}
	rows := rowFaults(*s.faults.Load())
	if cl == nil || rows == nil {
		return out
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	for i := range cl.set.total() {
		n := cl.set.at(i)
		r := recordOf(n, cl.campaign(n, s.tickOf(cl)))
		altered := false
		for _, f := range rows {
			if f.rowChosen(cl.id, r) && !f.isOff() && (f.sel.clients == nil || slices.Contains(f.sel.clients, cl.id)) {
				f.def.row(f, r)
				altered = true
			}
		}
		if altered {
			out[r.id] = string(r.bytes())
		}
	}
	return out
}

// tickOf is the moment of a client's lifetime figures. The caller holds the client's lock.
func (s *Server) tickOf(cl *client) int64 {
	if s.cfg.Static {
		return 0
	}
	return cl.tick
}

// Serve answers on the listener until ctx ends, then lets work in hand finish for a moment, ends what a fault holds up, and closes the
// server. It closes the listener, and returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := s.httpServer(base)
	failed := make(chan error, 1)
	go func() {
		if s.cert != nil {
			failed <- srv.ServeTLS(ln, "", "")
		} else {
			failed <- srv.Serve(ln)
		}
	}()
	select {
	case err := <-failed:
		_ = s.Close()
		_ = srv.Close()
		return err
	case <-ctx.Done():
	}
	s.endSilences()
	grace, done := context.WithTimeout(base, stopGrace)
	defer done()
	err := srv.Shutdown(grace)
	_ = s.Close()
	if err != nil {
		_ = srv.Close()
	}
	<-failed
	return nil
}
