package apiclient

import (
	"context"
	"sync"

	"adsync/internal/ads"
)

// limiter bounds the follow-up requests in flight where no quota paces them: it starts low, grows while every place is used and all goes well, and
// halves when the platform refuses or fails.
type limiter struct {
	mu      sync.Mutex
	limit   float64
	used    int
	waiters []chan struct{}
	since   int // answers since the last cut
}

const (
	limiterStart = 8
	limiterMax   = 64
)

func newLimiter() *limiter { return &limiter{limit: limiterStart} }

func (l *limiter) acquire(ctx context.Context) error {
	l.mu.Lock()
	if l.used < int(l.limit) {
		l.used++
		l.mu.Unlock()
		return nil
	}
	ch := make(chan struct{}, 1)
	l.waiters = append(l.waiters, ch)
	l.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		for i, w := range l.waiters {
			if w == ch {
				l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
				l.mu.Unlock()
				return context.Cause(ctx)
			}
		}
		l.mu.Unlock()
		l.release() // it was given at the same moment
		return context.Cause(ctx)
	}
}

func (l *limiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used--
	for l.used < int(l.limit) && len(l.waiters) > 0 {
		l.used++
		l.waiters[0] <- struct{}{}
		l.waiters = l.waiters[1:]
	}
}

func (l *limiter) learn(class ads.Class) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since++
	switch class {
	case ads.ClassOK:
		if l.used >= int(l.limit) {
			l.limit = min(l.limit+2/l.limit, limiterMax)
		}
	case ads.ClassThrottled, ads.ClassTransient, ads.ClassUnreachable:
		if l.since >= int(l.limit) { // once for all that was out together
			l.limit, l.since = max(l.limit/2, 1), 0
		}
	}
}
