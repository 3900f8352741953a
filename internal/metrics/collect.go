package metrics

import (
	"maps"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"adsync/internal/observe"
)

// collector shows what is kept per connection, and what is read from elsewhere.
type collector struct{ m *Metrics }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, section := range families {
		for _, f := range section.all {
			if f.per {
				ch <- f.desc
			}
		}
	}
	for _, f := range []*family{connections, parkedConnections, staleConnections, jobs, workers, workerRuns, readAge, detail, buildInfo} {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	m, now := c.m, c.m.o.Now()
	put := func(f *family, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(f.desc, f.valueType(), v, labels...)
	}
	m.mu.RLock()
	conns := make([]*conn, 0, len(m.conns))
	for _, x := range m.conns {
		conns = append(conns, x)
	}
	single, merged := len(conns) <= m.o.MaxConnections, sums{}
	if !single {
		merged = maps.Clone(m.gone)
	}
	m.mu.RUnlock()

	all := fleet{}
	for _, x := range conns {
		x.mu.Lock()
		s := x.stateAt(now)
		all.add(s)
		x.show(s, now, func(f *family, v float64, label ...string) {
			if single {
				put(f, v, append([]string{x.client, x.connection, s.platform}, label...)...)
			} else {
				merged.add(f, v, s.platform, label)
			}
		})
		x.mu.Unlock()
	}
	merged.each(put)
	all.each(put)
	put(detail, oneIf(single))
	put(buildInfo, 1, m.o.Version, runtime.Version())
	m.sources.show(now, put)
}

// fleet counts connections by state.
type fleet map[string]*platformCount

type platformCount struct {
	running, parked, idle, stale int
	kinds                        map[observe.ParkKind]int
}

func (f fleet) add(s state) {
	p := f[s.platform]
	if p == nil {
		p = &platformCount{kinds: map[observe.ParkKind]int{}}
		f[s.platform] = p
	}
	switch {
	case s.running:
		p.running++
	case s.parked != "":
		p.parked++
		p.kinds[s.parked]++
	default:
		p.idle++
	}
	if s.stale {
		p.stale++
	}
}

func (f fleet) each(put func(*family, float64, ...string)) {
	for name, p := range f {
		put(connections, float64(p.running), name, "running")
		put(connections, float64(p.parked), name, "parked")
		put(connections, float64(p.idle), name, "idle")
		put(staleConnections, float64(p.stale), name)
		for k := range parkKinds {
			put(parkedConnections, float64(p.kinds[k]), name, string(k))
		}
		if n := p.kinds[other]; n > 0 {
			put(parkedConnections, float64(n), name, other)
		}
	}
}

// sums are values of connections that have no series of their own.
type sums map[sumKey]float64

type sumKey struct {
	f        *family
	platform string
	label    string
}

func (s sums) add(f *family, v float64, platform string, label []string) {
	if f == quotaUsed || f == quotaLimit || f == quotaWindow || f == quotaNextFree {
		return // a bucket is a client's own
	}
	k := sumKey{f, platform, strings.Join(label, "")} // one label at most
	was, ok := s[k]
	switch {
	case !ok:
		s[k] = v
	case f.merge == most:
		s[k] = max(was, v)
	case f.merge == least:
		s[k] = min(was, v)
	default:
		s[k] = was + v
	}
}

func (s sums) each(put func(*family, float64, ...string)) {
	for k, v := range s {
		labels := []string{"", "", k.platform}
		if len(k.f.labels) > 0 {
			labels = append(labels, k.label)
		}
		put(k.f, v, labels...)
	}
}
