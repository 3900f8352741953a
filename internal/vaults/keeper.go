package vaults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"adsync/internal/retry"
	"adsync/internal/secret"
	"adsync/internal/vaults/internal/source"
)

// Bounds of what is asked of one store.
const (
	inFlight    = 8                // requests at once
	tries       = 4                // of one document
	tryWithin   = 8 * time.Second  // one try, its login included
	fetchWithin = 20 * time.Second // all tries of one document, and the waits between them
	errorsHold  = time.Second      // how long a failure is told to those who are content with what is known
	maxHeld     = 100_000          // documents that are remembered
)

var pause = retry.Backoff{Base: 400 * time.Millisecond, Cap: 4 * time.Second}

// keeper reads documents of one store for many: who wants what somebody is asking for waits for that answer, and what was read is
// remembered for a while. It never keeps anything but in memory.
type keeper struct {
	store source.Store
	ttl   time.Duration
	free  chan struct{} // a place for each request that may be in flight

	mu      sync.Mutex
	held    map[string]*held
	flights map[string]*flight
	trouble held // the last failure that would meet every document alike
	swept   time.Time
	closed  bool
	flying  sync.WaitGroup
}

// held is an answer that is remembered.
type held struct {
	doc   *source.Document
	err   error
	asked time.Time // when the request for it began
	until time.Time // for a document on loan: doc says it
}

func (h *held) end() time.Time {
	if h.doc != nil && h.doc.Until != nil {
		return h.doc.Until()
	}
	return h.until
}

// drop says that nobody will ask for the document again.
func (h *held) drop() {
	if h.doc != nil && h.doc.Drop != nil {
		h.doc.Drop()
	}
}

// serves reports whether the answer is good enough for one who wants what was read at since or later (zero: whatever is remembered).
func (h *held) serves(now, since time.Time) bool {
	if h == nil || h.doc == nil && h.err == nil || !now.Before(h.end()) {
		return false
	}
	return since.IsZero() || !h.asked.Before(since)
}

// flight is a document that is being fetched.
type flight struct {
	name    string
	began   time.Time
	waiting int // who wants it; when nobody is left it is given up
	giveUp  context.CancelFunc
	done    chan struct{}
	doc     *source.Document // with err, once done is closed
	err     error
}

func newKeeper(st source.Store, ttl time.Duration) *keeper {
	return &keeper{store: st, ttl: ttl, free: make(chan struct{}, inFlight), held: map[string]*held{}, flights: map[string]*flight{}}
}

// Check is config.Checker's.
func (k *keeper) Check(ref string) error {
	_, err := k.store.Parse(ref)
	return err
}

// Resolve is config.Resolver's.
func (k *keeper) Resolve(ctx context.Context, ref string) (secret.Text, error) {
	return k.Fresh(ctx, ref, time.Time{})
}

// Fresh is config.Freshener's.
func (k *keeper) Fresh(ctx context.Context, ref string, since time.Time) (secret.Text, error) {
	r, err := k.store.Parse(ref)
	if err != nil {
		return secret.Text{}, err
	}
	d, err := k.read(ctx, r.Doc, since)
	if err != nil {
		return secret.Text{}, err
	}
	return d.Pick(r.Key)
}

var errClosed = &source.Error{Kind: source.Misconfigured, Message: "the stores of secrets are closed", Hint: "this is adsync's own mistake; please report it"}

func (k *keeper) read(ctx context.Context, doc string, since time.Time) (*source.Document, error) {
	// A fetch that began before since is waited for and its answer not used: the second round finds no such fetch, or one that began later.
	for range 3 {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		k.mu.Lock()
		now := time.Now()
		switch h := k.held[doc]; {
		case k.closed:
			k.mu.Unlock()
			return nil, errClosed
		case h.serves(now, since):
			k.mu.Unlock()
			return h.doc, h.err
		case since.IsZero() && k.trouble.serves(now, since):
			err := k.trouble.err
			k.mu.Unlock()
			return nil, err
		}
		f := k.flights[doc]
		if f == nil {
			f = k.start(doc, now)
		}
		f.waiting++
		k.mu.Unlock()

		select {
		case <-f.done:
		case <-ctx.Done():
			k.leave(f)
			return nil, context.Cause(ctx)
		}
		k.leave(f)
		if since.IsZero() || !f.began.Before(since) {
			return f.doc, f.err
		}
	}
	return nil, errors.New("the reference is asked for again and again") // not reached: a flight that begins after since serves
}

func (k *keeper) leave(f *flight) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f.waiting--; f.waiting > 0 {
		return
	}
	f.giveUp()
	if k.flights[f.name] == f {
		delete(k.flights, f.name) // who comes now wants one that is not given up
	}
}

// start begins to fetch a document; k.mu is held.
func (k *keeper) start(doc string, now time.Time) *flight {
	ctx, cancel := context.WithTimeout(context.Background(), fetchWithin)
	f := &flight{name: doc, began: now, giveUp: cancel, done: make(chan struct{})}
	k.flights[doc] = f
	k.flying.Go(func() {
		d, err := k.fetch(ctx, doc)
		k.land(f, d, err)
		cancel()
	})
	return f
}

// land remembers what a flight brought.
func (k *keeper) land(f *flight, d *source.Document, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(f.done)
	f.doc, f.err = d, err
	if k.flights[f.name] == f {
		delete(k.flights, f.name)
	}
	now := time.Now()
	h := &held{doc: d, err: err, asked: f.began, until: f.began.Add(k.ttl)}
	if err != nil {
		h.until = now.Add(errorsHold)
		e, ok := errors.AsType[*source.Error](err)
		if f.waiting == 0 || !ok {
			return // given up: that says nothing of the store
		}
		if e.StoreWide() {
			k.trouble = *h
		}
	} else {
		k.trouble = held{}
	}
	k.sweep(now)
	old := k.held[f.name]
	if k.closed || len(k.held) >= maxHeld || old != nil && old.asked.After(h.asked) {
		h.drop()
		return
	}
	if old != nil {
		old.drop()
	}
	k.held[f.name] = h
}

// sweep forgets what has ended, from time to time; k.mu is held.
func (k *keeper) sweep(now time.Time) {
	if now.Sub(k.swept) < min(k.ttl, time.Minute) && len(k.held) < maxHeld {
		return
	}
	k.swept = now
	for doc, h := range k.held {
		if !now.Before(h.end()) {
			h.drop()
			delete(k.held, doc)
		}
	}
}

// fetch tries until there is an answer that will not change by asking again.
func (k *keeper) fetch(ctx context.Context, doc string) (*source.Document, error) {
	select {
	case k.free <- struct{}{}:
		defer func() { <-k.free }()
	case <-ctx.Done():
		return nil, source.Network("the store of secrets", ctx.Err(), "others are asking it at the same time; run again")
	}
	for n := 1; ; n++ {
		d, err := k.try(ctx, doc)
		e, ok := errors.AsType[*source.Error](err)
		if err == nil || !ok || !e.Passing() || n == tries || ctx.Err() != nil {
			return d, err
		}
		wait := e.Wait
		if wait == 0 {
			wait = pause.Delay(n, rand.Float64())
		}
		if end, _ := ctx.Deadline(); time.Until(end) < wait {
			if e.Wait > 0 {
				e.Message += fmt.Sprintf("; it asks to be left alone for %s", e.Wait.Round(time.Second))
			}
			return nil, e
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, e
		}
	}
}

// try fetches once. A client that panics fails one document, and what it panicked with is not shown: it may hold what was read.
func (k *keeper) try(ctx context.Context, doc string) (d *source.Document, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	defer func() {
		if recover() != nil {
			d, err = nil, &source.Error{Kind: source.BadAnswer, Message: "the store's client failed in a way that it should not", Hint: "this is a mistake in adsync or in the client; please report it"}
		}
	}()
	return k.store.Fetch(ctx, doc)
}

// Close gives up what is in flight, forgets what was read and closes the store.
func (k *keeper) Close() {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	k.closed = true
	clear(k.held)
	for _, f := range k.flights {
		f.giveUp()
	}
	k.mu.Unlock()
	k.flying.Wait()
	k.store.Close()
}
