package hashicorp

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"adsync/internal/vaults/internal/source"
)

// Times of loans.
const (
	renewWithin = 10 * time.Second
	renewPause  = time.Second // at least that between tries to extend a loan
)

// loan is something of Vault's that ends unless it is extended: a token, or values that an engine made for us.
type loan struct {
	mu      sync.Mutex
	ends    time.Time
	timer   *time.Timer // of the next try to extend it; nil: none
	stopped bool
}

func (l *loan) end() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ends
}

// stop leaves the loan to its end.
func (l *loan) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

// lend makes a document of a secret with a lease one that ends, and extends the lease where Vault allows.
func (s *Store) lend(c *api.Client, d *source.Document, got *api.Secret) {
	ttl := time.Duration(got.LeaseDuration) * time.Second
	if ttl <= 0 {
		return
	}
	// A tenth is kept back, so that what is given out can still be used.
	usable := func(ends time.Time) time.Time { return ends.Add(-min(ttl/10, time.Minute)) }
	if !got.Renewable {
		ends := usable(time.Now().Add(ttl))
		d.Until = func() time.Time { return ends }
		return
	}
	l := s.borrow(ttl, func(ctx context.Context) (*api.Secret, error) {
		return c.Sys().RenewWithContext(ctx, got.LeaseID, got.LeaseDuration)
	})
	d.Until = func() time.Time { return usable(l.end()) }
	d.Drop = func() {
		l.stop()
		s.forget(l)
	}
}

// borrow keeps a loan that lasts for ttl from ending: when two thirds of it have passed it is extended. What cannot be extended ends.
func (s *Store) borrow(ttl time.Duration, renew func(context.Context) (*api.Secret, error)) *loan {
	l := &loan{ends: time.Now().Add(ttl)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.stopped = true
		return l
	}
	s.loans[l] = true
	s.schedule(l, ttl*2/3, renew)
	return l
}

func (s *Store) forget(l *loan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loans, l)
}

// schedule sets the next try. It bounds itself: each try is nearer to the end, and after the end there is none.
func (s *Store) schedule(l *loan, after time.Duration, renew func(context.Context) (*api.Secret, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.timer = time.AfterFunc(max(after, renewPause), func() { s.extend(l, renew) })
}

func (s *Store) extend(l *loan, renew func(context.Context) (*api.Secret, error)) {
	s.mu.Lock()
	if s.closed || !s.loans[l] {
		s.mu.Unlock()
		return
	}
	s.renewer.Add(1)
	s.mu.Unlock()
	defer s.renewer.Done()

	ctx, cancel := context.WithTimeout(s.ctx, renewWithin)
	defer cancel()
	ctx, answer := source.Watch(ctx)
	asked := time.Now()
	got, err := renew(ctx)
	left := time.Until(l.end())
	var granted time.Duration
	switch {
	case err == nil && got != nil && got.Auth != nil:
		granted = time.Duration(got.Auth.LeaseDuration) * time.Second
	case err == nil && got != nil:
		granted = time.Duration(got.LeaseDuration) * time.Second
	}
	switch status := answer.Status(); {
	case err == nil && granted > 0:
		// At the end of what Vault allows at all it grants less and less.
		l.mu.Lock()
		l.ends = asked.Add(granted)
		l.mu.Unlock()
		s.schedule(l, granted*2/3, renew)
	case status >= 400 && status < 500 && status != http.StatusTooManyRequests, left <= renewPause:
		l.stop() // refused for good, or too late: whoever asks next gets a new one
		s.forget(l)
	default:
		s.schedule(l, max(left/4, answer.Wait()), renew)
	}
}
