// Package notify tells somebody outside of trouble with a connection, and of its end: one message for each trouble, one reminder a day while it lasts, and one
// when it is over, however many processes share the database. Messages are JSON for a webhook, in the form that Slack and others take.
//
// What there is to tell is kept in the database and claimed there before it is told, so a process that dies in between costs a repeated message at worst.
// Nothing here is waited for by a run. It imports ads, observe, retry, secret and store, and must not import the service or the engine.
package notify

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/secret"
	"adsync/internal/store"
)

// Ledger is what is asked of the database. store.Store has it.
type Ledger interface {
	Status(ctx context.Context) ([]store.ConnectionStatus, error)
	Notices(ctx context.Context) ([]store.Notice, error)
	UpdateNotices(ctx context.Context, fn func(all []store.Notice, now time.Time) (put []store.Notice, drop []store.NoticeKey)) error
}

// Connection is one of the configuration.
type Connection struct {
	Ref      ads.Ref
	Platform string
	Interval time.Duration // of its schedule; 0: it has none
}

// Options of a Notifier.
type Options struct {
	ID     string // of this process
	Ledger Ledger
	First  func() bool // of all processes, this one looks after notices now
	Log    *slog.Logger
	Client *http.Client // nil: one of its own
	// Pace divides the times below; 0: 1.
	Pace func(time.Duration) time.Duration
}

// Times of a Notifier, and its bounds.
const (
	lookEvery   = 30 * time.Second
	settle      = time.Minute    // that a trouble, or its end, has to last before anybody is told
	remindEvery = 24 * time.Hour // while it lasts
	claimFor    = 5 * time.Minute
	dbWithin    = 20 * time.Second
	mostClaims  = 100  // in one look: the rest is for the next one
	mostHints   = 1000 // that wait to be written down
	mostFound   = 100_000
)

// Notifier looks for trouble and tells of it. Make one with New, and let it watch the events.
type Notifier struct {
	o     Options
	every time.Duration // between two looks
	hints chan hint

	mu    sync.Mutex
	url   secret.Text
	conns []Connection
	found map[ads.Ref]string // disagreements of runs that are going
	lost  int                // hints that found no room
}

// hint is a run that ended with figures that do not add up: what the status alone does not show.
type hint struct {
	ref    ads.Ref
	reason string
}

// New is a Notifier that knows of nothing yet: see Configure.
func New(o Options) *Notifier {
	if o.Client == nil {
		o.Client = newClient()
	}
	if o.Pace == nil {
		o.Pace = func(d time.Duration) time.Duration { return d }
	}
	return &Notifier{o: o, every: o.Pace(lookEvery), hints: make(chan hint, mostHints), found: map[ads.Ref]string{}}
}

// Configure says where messages go, and which connections there are. With an empty url nobody is told, and nothing is written down.
func (n *Notifier) Configure(url secret.Text, conns []Connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.url, n.conns = url, conns
}

func (n *Notifier) configured() (secret.Text, []Connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.url, n.conns
}

// disagreements are the codes of notes which say that the platform's figures do not add up.
var disagreements = map[string]bool{"total_disagrees": true, "list_moved": true, "never_ends": true, "disagrees": true}

// Observe implements observe.Observer. It never waits.
func (n *Notifier) Observe(e observe.Event) {
	switch d := e.Data.(type) {
	case observe.Note:
		if disagreements[d.Code] {
			n.mu.Lock()
			if _, known := n.found[e.Ref]; known || len(n.found) < mostFound {
				n.found[e.Ref] = d.Message
			}
			n.mu.Unlock()
		}
	case observe.RunFinished:
		n.mu.Lock()
		reason, ok := n.found[e.Ref]
		delete(n.found, e.Ref)
		n.mu.Unlock()
		if !ok || d.Outcome != ads.Partial {
			return
		}
		select {
		case n.hints <- hint{e.Ref, reason}:
		default:
			n.mu.Lock()
			n.lost++
			n.mu.Unlock()
		}
	}
}

// Run looks for trouble until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	t := time.NewTicker(n.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		n.guarded(func() { n.look(ctx) })
	}
}

// guarded keeps a bug in here from ending the process: its runs are worth more than a message.
func (n *Notifier) guarded(fn func()) {
	defer func() {
		if recover() != nil {
			// The value could hold data; the stack's first lines cannot.
			stack := debug.Stack()
			n.o.Log.Error("internal error while looking for what to tell", "stack", string(stack[:min(len(stack), 2000)]))
		}
	}()
	fn()
}

// look writes down what is the matter, and tells what is due.
func (n *Notifier) look(ctx context.Context) {
	url, conns := n.configured()
	hints := n.drain()
	if url.Empty() {
		return
	}
	limited, cancel := context.WithTimeout(ctx, dbWithin)
	defer cancel()
	if err := n.keep(limited, hints); err != nil {
		n.complain(ctx, "what does not add up could not be written down: "+err.Error())
		return
	}
	if !n.o.First() {
		return
	}
	due, err := n.judge(limited, conns)
	if err != nil {
		n.complain(ctx, "trouble could not be looked for: "+err.Error())
		return
	}
	n.tell(ctx, url, due, conns)
}

func (n *Notifier) complain(ctx context.Context, what string) {
	if ctx.Err() == nil {
		n.o.Log.Warn(what)
	}
}

func (n *Notifier) drain() (out []hint) {
	n.mu.Lock()
	lost := n.lost
	n.lost = 0
	n.mu.Unlock()
	if lost > 0 {
		n.o.Log.Warn("runs ended with figures that do not add up, more than could be kept in mind for a message; their connections stand as partial", "runs", lost)
	}
	for {
		select {
		case h := <-n.hints:
			out = append(out, h)
		default:
			return out
		}
	}
}

// keep writes disagreements down, whichever process looks after notices.
func (n *Notifier) keep(ctx context.Context, hints []hint) error {
	if len(hints) == 0 {
		return nil
	}
	return n.o.Ledger.UpdateNotices(ctx, func(all []store.Notice, now time.Time) (put []store.Notice, _ []store.NoticeKey) {
		return disagreed(all, hints, now), nil
	})
}

// judge brings the notices in line with what is the matter now, and claims those that are due.
func (n *Notifier) judge(ctx context.Context, conns []Connection) (due []store.Notice, err error) {
	status, err := n.o.Ledger.Status(ctx)
	if err != nil {
		return nil, err
	}
	known, err := n.o.Ledger.Notices(ctx)
	if err != nil {
		return nil, err
	}
	// Most of the time there is nothing to write: the database's own clock is asked only where there may be.
	p := n.plan(status, conns, known, time.Now().UTC())
	if len(p.put)+len(p.drop) == 0 {
		return nil, nil
	}
	err = n.o.Ledger.UpdateNotices(ctx, func(all []store.Notice, now time.Time) ([]store.Notice, []store.NoticeKey) {
		p := n.plan(status, conns, all, now)
		due = p.due
		return p.put, p.drop
	})
	if err != nil {
		return nil, err
	}
	return due, nil
}
