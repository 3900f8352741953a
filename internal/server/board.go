package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"adsync/internal/ads"
	"adsync/internal/live"
	"adsync/internal/metrics"
	"adsync/internal/report"
	"adsync/internal/store"
)

// freshFor is how long all viewers share one look at the database.
const freshFor = 2 * time.Second

// board is what the database said last, for all viewers together.
type board struct {
	flight singleflight.Group
	mu     sync.Mutex
	status []store.ConnectionStatus
	at     time.Time // on the monotonic clock
}

// read gives the status of all connections, at most freshFor old. The slice is shared: nobody writes to it. A viewer who leaves does not
// take the answer from the others.
func (b *board) read(ctx context.Context, st store.Store, log *slog.Logger) ([]store.ConnectionStatus, error) {
	b.mu.Lock()
	if !b.at.IsZero() && time.Since(b.at) < freshFor {
		defer b.mu.Unlock()
		return b.status, nil
	}
	b.mu.Unlock()
	done := b.flight.DoChan("status", func() (out any, err error) {
		// A panic in there would end the process: nobody can catch what runs on its own.
		defer func() {
			if recover() != nil {
				out, err = nil, report.Caught(log, "reading what the database knows")
			}
		}()
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
		defer cancel()
		got, err := st.Status(limited)
		if err != nil {
			return nil, err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.status, b.at = got, time.Now()
		return got, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.([]store.ConnectionStatus), nil
	}
}

// stale makes the next viewer look again.
func (b *board) stale() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = time.Time{}
}

// all joins what the database knows with the configuration and the runs of this process.
func (s *Server) all(ctx context.Context) ([]known, error) {
	status, err := s.board.read(ctx, s.o.Store, s.o.Log)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	out := make([]known, len(status), len(status)+8)
	at := make(map[ads.Ref]int, len(status))
	for i, k := range status {
		out[i].ConnectionStatus, at[k.Ref] = k, i
	}
	intervals := map[string]time.Duration{}
	for _, c := range s.o.Service.Configured() {
		i, ok := at[c.Ref]
		if !ok {
			i = len(out)
			out = append(out, known{ConnectionStatus: store.ConnectionStatus{Ref: c.Ref}})
		}
		every, ok := intervals[c.Schedule.Text]
		if !ok {
			every = metrics.IntervalOf(c.Schedule.Next, now)
			intervals[c.Schedule.Text] = every
		}
		k := &out[i]
		k.Configured, k.Platform, k.Schedule, k.Interval, k.Next = true, c.Platform, c.Schedule.Text, every, s.o.Service.NextRun(c.Ref)
		if k.paused() {
			k.Next = time.Time{}
		}
	}
	for i := range out {
		out[i].Live = s.live(out[i].Ref)
	}
	return out, nil
}

// one is a single connection's part of all.
func (s *Server) one(ctx context.Context, ref ads.Ref) (known, bool, error) {
	all, err := s.all(ctx)
	if err != nil {
		return known{}, false, err
	}
	for _, k := range all {
		if k.Ref == ref {
			return k, true, nil
		}
	}
	return known{}, false, nil
}

func (s *Server) live(ref ads.Ref) live.Progress {
	if s.o.Live == nil {
		return live.Progress{}
	}
	p, _ := s.o.Live.Of(ref)
	return p
}
