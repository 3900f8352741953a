package platformtest

import (
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// Bed is a connection to a simulated platform with a database of its own, for what a connector's own tests want to see.
type Bed struct {
	*testing.T
	b *bed
}

// Play runs fn on a new bed, in virtual time.
func Play(t *testing.T, start func(testing.TB) Site, fn func(*Bed)) {
	t.Helper()
	onBed(t, Subject{Start: func(t testing.TB, _ ...string) Site { return start(t) }}, nil, func(b *bed) { fn(&Bed{b.T, b}) })
}

// Sync runs once, as a process of its own.
func (b *Bed) Sync() engine.Summary { b.Helper(); return b.b.run(b.b.st) }

// Complete is Sync that must end well.
func (b *Bed) Complete() engine.Summary { b.Helper(); return b.b.complete() }

// Holds compares the database with what is true.
func (b *Bed) Holds() { b.Helper(); b.b.holds() }

// Since is the first day of figures that is wanted.
func (b *Bed) Since() ads.Date { return b.b.since }

// Store is the database.
func (b *Bed) Store() store.Store { return b.b.st }

// Ref is the connection.
func (b *Bed) Ref() ads.Ref { return b.b.ref }

// MaxWait makes a run give back longer waits.
func (b *Bed) MaxWait(d time.Duration) { b.b.maxWait = d }

// Events are those so far.
func (b *Bed) Events() []observe.Event {
	b.b.mu.Lock()
	defer b.b.mu.Unlock()
	return append([]observe.Event(nil), b.b.events...)
}
