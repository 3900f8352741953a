// Package live remembers what the runs of this process are doing at the moment, for whoever looks at a page: one small struct for each connection.
//
// It imports the words of the field and the events, and must not import anything that prints, a database or the engine.
package live

import (
	"sync"
	"sync/atomic"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// Progress is what is known of one connection. Outside a run only the quota's figures stay.
type Progress struct {
	Running bool
	Since   time.Time
	Page    int
	Figures ads.Figures
	Total   ads.Opt[int64] // as the platform says
	Pending int64
	Wait    Wait
	Quota   observe.QuotaState
	QuotaAt time.Time // zero: no quota was seen yet
}

// Wait is why nothing is sent now; the zero Wait is none.
type Wait struct {
	Reason observe.WaitReason
	Since  time.Time
	Until  time.Time
	Note   string
}

// Board has the connections of a process. The zero Board is ready for use.
type Board struct {
	mu      sync.Mutex
	by      map[ads.Ref]*entry
	version atomic.Uint64
}

// entry is a connection's progress, and what it has sent of late.
type entry struct {
	Progress
	recent recent
}

// maxConnections bounds the board, whatever the events name; a configuration has no more.
const maxConnections = 100_000

// Version changes whenever something on the board does.
func (b *Board) Version() uint64 { return b.version.Load() }

// Of gives what is known of a connection, and whether anything is.
func (b *Board) Of(ref ads.Ref) (Progress, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.by[ref]
	if p == nil {
		return Progress{}, false
	}
	return p.Progress, true
}

// Recent gives what a connection has sent in the last Span, the oldest first, and how its quota stood then. Moments in which nothing was sent are left out.
func (b *Board) Recent(ref ads.Ref, now time.Time) []Moment {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.by[ref]; p != nil {
		return p.recent.read(now)
	}
	return nil
}

// Forget drops connections that are no longer configured.
func (b *Board) Forget(refs []ads.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ref := range refs {
		delete(b.by, ref)
	}
	b.version.Add(1)
}

// Observe implements observe.Observer.
func (b *Board) Observe(e observe.Event) {
	switch e.Data.(type) {
	case observe.RunStarted, observe.PageListed, observe.Progress, observe.WaitStarted, observe.WaitEnded, observe.QuotaState, observe.Attempt, observe.Parked, observe.RunFinished:
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.by[e.Ref]
	if p == nil {
		if len(b.by) >= maxConnections {
			return
		}
		if b.by == nil {
			b.by = map[ads.Ref]*entry{}
		}
		p = &entry{}
		b.by[e.Ref] = p
	}
	p.observe(e)
	p.recent.observe(e)
	b.version.Add(1)
}

func (p *Progress) observe(e observe.Event) {
	switch d := e.Data.(type) {
	case observe.RunStarted:
		*p = Progress{Running: true, Since: e.At, Figures: d.Before, Quota: p.Quota, QuotaAt: p.QuotaAt}
	case observe.PageListed:
		p.Page, p.Figures.Listed = d.Page, max(p.Figures.Listed, d.Listed)
		if d.Total.Set {
			p.Total = d.Total
		}
	case observe.Progress:
		p.Figures, p.Pending = d.Figures, d.Pending
		if d.Total.Set {
			p.Total = d.Total
		}
	case observe.WaitStarted:
		p.Wait = Wait{Reason: d.Reason, Since: e.At, Until: d.Until, Note: d.Note}
	case observe.WaitEnded:
		if p.Wait.Reason == d.Reason {
			p.Wait = Wait{}
		}
	case observe.QuotaState:
		p.Quota, p.QuotaAt = d, e.At
	case observe.Parked, observe.RunFinished:
		*p = Progress{Quota: p.Quota, QuotaAt: p.QuotaAt}
	}
}

// Share is how much of a run is done, from 0 to 1; ok is false where nothing says how much there is.
func (p *Progress) Share() (share float64, ok bool) {
	whole := p.Figures.Listed
	if p.Total.Set {
		whole = max(whole, p.Total.Value)
	}
	if !p.Running || whole <= 0 {
		return 0, false
	}
	return min(max(float64(p.Figures.Synced+p.Figures.Failed)/float64(whole), 0), 1), true
}
