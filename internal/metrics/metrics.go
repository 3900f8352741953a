package metrics

import (
	"cmp"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// Options of Metrics.
type Options struct {
	Version string // of the program
	// MaxConnections bounds the connections with series of their own; where there are more, all are summed up by platform. 0: DefaultMaxConnections.
	MaxConnections int
	Now            func() time.Time // nil: time.Now
	// Caught makes the error of a source that panicked, with a trace in the log; it is called where the panic was recovered. nil: nothing is logged.
	Caught func(doing string) error
}

// DefaultMaxConnections is how many connections have series of their own unless Options say otherwise: some 30 series each.
const DefaultMaxConnections = 2000

// Connection is what the configuration says of a connection.
type Connection struct {
	Ref      ads.Ref
	Platform string
	Interval time.Duration // longest time between two runs that its schedule asks for; 0: it has none
}

// Metrics are the figures of this process. It implements observe.Observer, has no goroutine and needs no end.
type Metrics struct {
	o   Options
	reg *prometheus.Registry

	mu         sync.RWMutex
	conns      map[ads.Ref]*conn
	gone       sums // of connections that are no more
	configured bool // only what Configure names has series of its own

	platforms, endpoints, codes, hostNames open
	endpointsSeen                          sync.Map // attemptKey → *attemptSeries

	attemptSeconds, requestSeconds, runSeconds, storeSeconds *prometheus.HistogramVec
	attempts, recordsFailed, tokens, circuitOpened           *prometheus.CounterVec
	storeErrors, readErrors, overflow                        *prometheus.CounterVec
	circuitOpen                                              *prometheus.GaugeVec

	ops     sync.Map // op → prometheus.Observer
	sources sources
}

// New makes metrics of nothing yet, with a registry of their own.
func New(o Options) *Metrics {
	o.MaxConnections = cmp.Or(o.MaxConnections, DefaultMaxConnections)
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Metrics{
		o: o, reg: prometheus.NewRegistry(), conns: map[ads.Ref]*conn{}, gone: sums{},
		platforms: open{name: "platform", max: maxPlatforms}, endpoints: open{name: "endpoint", max: maxEndpoints},
		codes: open{name: "code", max: maxCodes}, hostNames: open{name: "host", max: maxHosts},
	}
	m.attemptSeconds, m.requestSeconds = m.histogram(attemptSeconds), m.histogram(requestSeconds)
	m.runSeconds, m.storeSeconds = m.histogram(runSeconds), m.histogram(storeSeconds)
	m.attempts, m.recordsFailed, m.tokens = m.counter(attempts), m.counter(recordsFailed), m.counter(tokens)
	m.circuitOpened, m.storeErrors = m.counter(circuitOpened), m.counter(storeErrors)
	m.readErrors, m.overflow = m.counter(readErrors), m.counter(overflow)
	m.circuitOpen = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: circuitOpen.name, Help: circuitOpen.help}, circuitOpen.labels)
	m.reg.MustRegister(m.circuitOpen, collector{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, l := range []string{"platform", "endpoint", "code", "host"} {
		m.overflow.WithLabelValues(l)
	}
	return m
}

func (m *Metrics) histogram(f *family) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: f.name, Help: f.help, Buckets: f.bounds}, f.labels)
	m.reg.MustRegister(v)
	return v
}

func (m *Metrics) counter(f *family) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: f.name, Help: f.help}, f.labels)
	m.reg.MustRegister(v)
	return v
}

// Registry is where others may register metrics of their own.
func (m *Metrics) Registry() *prometheus.Registry { return m.reg }

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	h := promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.refresh(r.Context())
		h.ServeHTTP(w, r)
	})
}

// maxScrapes bounds the scrapes that are answered at once; the memory of each grows with the number of series.
const maxScrapes = 4

// Configure says which connections there are: those that are not named any more lose their series. Until the first call, and without one, whatever
// connection an event names is taken for one.
func (m *Metrics) Configure(conns []Connection) {
	now := m.o.Now()
	keep := make(map[ads.Ref]bool, len(conns))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.configured = true
	for _, x := range conns {
		keep[x.Ref] = true
		c := m.conns[x.Ref]
		if c == nil {
			c = newConn(x.Ref, now)
			m.conns[x.Ref] = c
		}
		platform := m.label(&m.platforms, x.Platform)
		for reason := range renewals {
			m.tokens.WithLabelValues(platform, reason) // at 0: a counter that begins at 1 has no increase
		}
		c.mu.Lock()
		c.platform, c.interval = platform, x.Interval
		c.mu.Unlock()
	}
	for ref := range m.conns {
		if !keep[ref] {
			m.drop(ref)
		}
	}
}

// drop takes a connection out. What it has counted stays in the sums, which would otherwise seem to have started anew. m.mu is held.
func (m *Metrics) drop(ref ads.Ref) {
	c := m.conns[ref]
	if c == nil {
		return
	}
	delete(m.conns, ref)
	now := m.o.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stateAt(now)
	c.show(s, now, func(f *family, v float64, label ...string) {
		if f.kind == counter {
			m.gone.add(f, v, s.platform, label)
		}
	})
}

// Forget drops the series of these connections. What still comes of their runs counts for the platform only.
func (m *Metrics) Forget(refs ...ads.Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.configured = true
	for _, ref := range refs {
		m.drop(ref)
	}
}

// conn is the connection's, nil where it has none.
func (m *Metrics) conn(ref ads.Ref, platform string) *conn {
	m.mu.RLock()
	c, closed := m.conns[ref], m.configured
	m.mu.RUnlock()
	if c != nil || closed || ref == (ads.Ref{}) {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c = m.conns[ref]; c == nil && !m.configured && len(m.conns) < maxUnasked {
		c = newConn(ref, m.o.Now())
		c.platform = m.label(&m.platforms, platform)
		m.conns[ref] = c
	}
	return c
}

// maxUnasked bounds the connections that are known by events alone.
const maxUnasked = 100_000

// label is the value that v is counted under.
func (m *Metrics) label(o *open, v string) string {
	out, ok := o.admit(ads.Text(v))
	if !ok {
		m.overflow.WithLabelValues(o.name).Inc()
	}
	return out
}

type attemptKey struct {
	platform, endpoint string
	status             int // its class: 0, 1, … 5
	class              ads.Class
}

type attemptSeries struct {
	seconds prometheus.Observer
	total   prometheus.Counter
}

// Observe implements observe.Observer.
func (m *Metrics) Observe(e observe.Event) {
	switch d := e.Data.(type) {
	case observe.Attempt:
		s := m.attempt(attemptKey{e.Platform, d.Endpoint, d.Status / 100, d.Class}, d.Status)
		s.seconds.Observe(d.Duration.Seconds())
		s.total.Inc()
		return
	case observe.PageListed:
		return // Progress comes with it
	case observe.RequestEnded:
		outcome := "ok"
		switch {
		case d.Class != ads.ClassOK:
			outcome = "failed"
		case d.Code != "":
			outcome = "stopped"
		}
		m.requestSeconds.WithLabelValues(m.label(&m.platforms, e.Platform), m.label(&m.endpoints, d.Endpoint), outcome).Observe(d.Duration.Seconds())
		return
	case observe.TokenRenewed:
		m.tokens.WithLabelValues(m.label(&m.platforms, e.Platform), within(renewals, d.Reason)).Inc()
		return
	case observe.RecordFailed:
		m.recordsFailed.WithLabelValues(m.label(&m.platforms, e.Platform), string(class(d.Class))).Inc()
		return
	case observe.Circuit:
		m.circuit(d)
		return
	case observe.RunFinished:
		m.runSeconds.WithLabelValues(m.label(&m.platforms, e.Platform), string(d.Outcome)).Observe(d.Duration.Seconds())
	case observe.Note:
		if d.Level != observe.Warn {
			return
		}
		code := m.label(&m.codes, d.Code)
		if c := m.conn(e.Ref, e.Platform); c != nil {
			c.mu.Lock()
			c.worked = true
			c.findings = count(c.findings, code)
			c.mu.Unlock()
		}
		return
	case observe.QuotaState:
		d.Bucket = ads.Text(d.Bucket)
		e.Data = d
	}
	c := m.conn(e.Ref, e.Platform)
	if c == nil {
		return
	}
	c.mu.Lock()
	c.observe(&e)
	c.mu.Unlock()
}

func (m *Metrics) circuit(d observe.Circuit) {
	host, opened := m.label(&m.hostNames, d.Host), 0.0
	if d.Open {
		opened = 1
	}
	m.circuitOpen.WithLabelValues(host).Set(opened)
	m.circuitOpened.WithLabelValues(host).Add(opened)
}

// attempt is the series of one kind of attempt.
func (m *Metrics) attempt(k attemptKey, status int) *attemptSeries {
	if s, ok := m.endpointsSeen.Load(k); ok {
		return s.(*attemptSeries)
	}
	platform, endpoint := m.label(&m.platforms, k.platform), m.label(&m.endpoints, k.endpoint)
	s := &attemptSeries{
		seconds: m.attemptSeconds.WithLabelValues(platform, endpoint, statusClass(status)),
		total:   m.attempts.WithLabelValues(platform, endpoint, string(class(k.class))),
	}
	if platform == k.platform && endpoint == k.endpoint && k.status <= 9 && class(k.class) != other {
		m.endpointsSeen.Store(k, s)
	}
	return s
}
