package metrics

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// Standing is what the database knows of one connection, whoever works on it.
type Standing struct {
	Ref          ads.Ref
	LastComplete time.Time // zero: never
	LastData     time.Time // when a record was last brought in step, as far as is known
	Since        time.Time // when its newest run began
	Running      bool
	Parked       observe.ParkKind // with ParkedUntil
	ParkedUntil  time.Time        // zero: not parked
	OpenFailures int64
	Campaigns    int64     // not marked as removed
	TokenEnd     time.Time // when it can no longer get a token by itself; zero: no such end is known
}

// Sources are where gauges come from that events do not tell. Each may be nil. They are asked when a scrape comes and what they last said is old, one at a
// time and within a time-out; a failure leaves what was said before.
type Sources struct {
	Standings func(ctx context.Context) ([]Standing, error)
	Jobs      func(ctx context.Context) (map[string]int64, error) // in the queue, by state
	Workers   func() int                                          // processes alive, this one included
	Runs      func() int                                          // going in this process
}

const (
	readEvery  = 15 * time.Second // the sources that ask a database
	readWithin = 4 * time.Second
	readShare  = 50 // the time between two readings is at least so many times what a reading takes
	readSpare  = 5 * time.Minute
)

type sources struct {
	one sync.Mutex // held while sources are read

	mu    sync.Mutex
	s     Sources
	reads map[string]*reading
	jobs  map[string]int64
}

type reading struct {
	at   time.Time // of the last that succeeded
	next time.Time
}

// Names of sources, as labels.
const (
	sourceStandings = "connections"
	sourceJobs      = "queue"
)

// Source sets where gauges come from.
func (m *Metrics) Source(s Sources) {
	m.sources.mu.Lock()
	defer m.sources.mu.Unlock()
	m.sources.s = s
	m.sources.reads = map[string]*reading{}
}

// refresh reads what is old. A scrape that comes while another one reads goes on with what there is.
func (m *Metrics) refresh(ctx context.Context) {
	if !m.sources.one.TryLock() {
		return
	}
	defer m.sources.one.Unlock()
	m.sources.mu.Lock()
	s := m.sources.s
	m.sources.mu.Unlock()
	if s.Standings != nil {
		m.read(ctx, sourceStandings, func(ctx context.Context) error {
			all, err := s.Standings(ctx)
			if err == nil {
				m.take(all, m.o.Now())
			}
			return err
		})
	}
	if s.Jobs != nil {
		m.read(ctx, sourceJobs, func(ctx context.Context) error {
			jobs, err := s.Jobs(ctx)
			if err == nil {
				m.sources.mu.Lock()
				m.sources.jobs = jobs
				m.sources.mu.Unlock()
			}
			return err
		})
	}
}

// read asks one source, if it is time to.
func (m *Metrics) read(ctx context.Context, name string, fn func(context.Context) error) {
	begin := m.o.Now()
	m.sources.mu.Lock()
	r := m.sources.reads[name]
	if r == nil {
		r = &reading{}
		m.sources.reads[name] = r
	}
	due := !begin.Before(r.next)
	m.sources.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	err := m.guarded(name, func() error { return fn(ctx) })
	now := m.o.Now()
	if err != nil {
		m.readErrors.WithLabelValues(name).Inc()
	}
	m.sources.mu.Lock()
	defer m.sources.mu.Unlock()
	r.next = begin.Add(max(readEvery, min(readShare*now.Sub(begin), readSpare)))
	if err == nil {
		r.at = begin // what happened while it was read may be in it or not
	}
}

// guarded makes a source's panic a failure like any other: the page goes on with what was said before.
func (m *Metrics) guarded(name string, fn func() error) (err error) {
	defer func() {
		if recover() == nil {
			return
		}
		if err = errCaught; m.o.Caught != nil {
			err = m.o.Caught("reading what the metrics show of the " + name)
		}
	}()
	return fn()
}

var errCaught = errors.New("internal error")

// take lays what the database had at a time beside what events told.
func (m *Metrics) take(all []Standing, at time.Time) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, s := range all {
		c := m.conns[s.Ref]
		if c == nil {
			continue
		}
		c.mu.Lock()
		c.stored, c.readAt = s, at
		c.mu.Unlock()
	}
}

// show gives what the sources said last.
func (s *sources) show(now time.Time, put func(*family, float64, ...string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, r := range s.reads {
		if !r.at.IsZero() {
			put(readAge, max(now.Sub(r.at).Seconds(), 0), name)
		}
	}
	for state, n := range s.jobs {
		put(jobs, float64(n), state)
	}
	if s.s.Workers != nil {
		put(workers, float64(s.s.Workers()))
	}
	if s.s.Runs != nil {
		put(workerRuns, float64(s.s.Runs()))
	}
}

// Stored reads standings from the database's status.
func Stored(st store.Store) func(ctx context.Context) ([]Standing, error) {
	return func(ctx context.Context) ([]Standing, error) {
		all, err := st.Status(ctx)
		if err != nil {
			return nil, err
		}
		out := make([]Standing, 0, len(all))
		for _, c := range all {
			s := Standing{Ref: c.Ref, LastComplete: c.LastComplete, Running: c.Running, OpenFailures: c.OpenFailures, Campaigns: c.Campaigns, TokenEnd: c.TokenEnd}
			if c.Last != nil {
				s.Since = c.Last.StartedAt
				if c.Last.Figures.Synced > 0 {
					s.LastData = c.Last.FinishedAt
				}
			}
			if !c.Running {
				kind, _, _ := strings.Cut(c.Wait.Mark, ":")
				s.Parked, s.ParkedUntil = observe.ParkKind(kind), c.Wait.Until
			}
			out = append(out, s)
		}
		return out, nil
	}
}

// ByState makes a source of jobs of a count by states of another type.
func ByState[K ~string, N ~int | ~int64](fn func(ctx context.Context) (map[K]N, error)) func(ctx context.Context) (map[string]int64, error) {
	return func(ctx context.Context) (map[string]int64, error) {
		counts, err := fn(ctx)
		if err != nil {
			return nil, err
		}
		out := make(map[string]int64, len(counts))
		for k, n := range counts {
			out[string(k)] = int64(n)
		}
		return out, nil
	}
}
