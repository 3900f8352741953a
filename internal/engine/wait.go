package engine

import (
	"context"
	"sync"
	"time"

	"adsync/internal/observe"
	"adsync/internal/store"
)

// worthNoting is the length from which a wait is written down for other processes to show.
const worthNoting = 5 * time.Second

// waitNotes writes down what the connection waits for, so that status in another process can say it. Only the newest state counts, and a
// database that is slow delays nothing.
type waitNotes struct {
	r    *run
	mu   sync.Mutex
	want store.Wait
	now  map[observe.WaitReason]bool // all waits that go on, short ones too
	news chan struct{}
	done chan struct{}
}

// any says whether some request of the connection waits for a quota, or for the server's sake.
func (w *waitNotes) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.now) > 0
}

func noteWaits(ctx context.Context, r *run) *waitNotes {
	w := &waitNotes{r: r, now: map[observe.WaitReason]bool{}, news: make(chan struct{}, 1), done: make(chan struct{})}
	go w.loop(ctx)
	return w
}

// Observe implements observe.Observer.
func (w *waitNotes) Observe(e observe.Event) {
	var next store.Wait
	switch d := e.Data.(type) {
	case observe.WaitStarted:
		w.mu.Lock()
		w.now[d.Reason] = true
		w.mu.Unlock()
		if time.Until(d.Until) < worthNoting {
			return
		}
		next = store.Wait{Reason: reasonText(d), Until: d.Until.UTC().Truncate(time.Microsecond)}
	case observe.WaitEnded:
		w.mu.Lock()
		delete(w.now, d.Reason)
		w.mu.Unlock()
	default:
		return
	}
	w.mu.Lock()
	changed := w.want != next
	w.want = next
	w.mu.Unlock()
	if changed {
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
}

func reasonText(d observe.WaitStarted) string {
	switch d.Reason {
	case observe.WaitServer:
		return "the platform asked " + d.Bucket + " to wait"
	case observe.WaitReport:
		return "the platform prepares a report of " + d.Bucket
	case observe.WaitCircuit:
		return d.Bucket + " does not answer"
	}
	return "quota of " + d.Bucket
}

func (w *waitNotes) loop(ctx context.Context) {
	defer close(w.done)
	var stored store.Wait
	for {
		select {
		case <-w.news:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		want := w.want
		w.mu.Unlock()
		if want == stored {
			continue
		}
		write, cancel := context.WithTimeout(ctx, 5*time.Second)
		if err := w.r.o.Store.NoteWait(write, w.r.lease, want); err == nil {
			stored = want
		}
		cancel()
	}
}
