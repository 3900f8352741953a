package engine

import (
	"sync"
	"time"

	"adsync/internal/ads"
)

// writing tells how long the database was written to: the time in which at least one write was under way and no request waited. Together with the waits, and with what
// is left of a run's time, it says where the time went, each moment counted once.
type writing struct {
	waited func() time.Duration // so far

	mu    sync.Mutex
	n     int // writes under way
	since time.Time
	held  time.Duration // waited when it began
	sum   time.Duration
}

// during counts what do takes.
func (w *writing) during(do func() error) error {
	w.mu.Lock()
	if w.n == 0 {
		w.since, w.held = time.Now(), w.waited()
	}
	w.n++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.n--; w.n == 0 {
			w.sum += w.open()
		}
	}()
	return do()
}

// open is what the writes that are under way have taken. w.mu is held.
func (w *writing) open() time.Duration { return max(time.Since(w.since)-(w.waited()-w.held), 0) }

func (w *writing) total() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n > 0 {
		return w.sum + w.open()
	}
	return w.sum
}

// life is what this process has counted of the run.
func (r *run) life() ads.Figures {
	f := r.o.API.Stats()
	f.Writing = r.writing.total()
	return f
}
