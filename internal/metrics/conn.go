package metrics

import (
	"slices"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// conn is what is known of one connection.
type conn struct {
	client, connection string // fit for labels

	mu       sync.Mutex
	platform string
	interval time.Duration
	seen     time.Time // since when it is known

	worked   bool // by this process: its counters are shown
	running  bool
	turned   time.Time // when running or parked last changed here
	parked   observe.ParkKind
	until    time.Time
	complete time.Time
	data     time.Time
	pending  int64

	last     ads.Figures // of the run now going, as far as they are in total
	total    ads.Figures
	runs     [len(outcomes)]int64
	waits    []wait
	retries  []tally[ads.Class]
	findings []tally[string]
	quota    observe.QuotaState
	quotaAt  time.Time

	versionEnd time.Time // when the API's version is switched off; zero: not known
	tokenEnd   time.Time // when it can no longer get a token by itself; zero: not known
	tokenAt    time.Time // when that was told here

	stored Standing // as the database last had it
	readAt time.Time
}

func newConn(ref ads.Ref, seen time.Time) *conn {
	return &conn{client: ads.Text(ref.ClientID), connection: ads.Text(ref.Connection), seen: seen}
}

type wait struct {
	reason observe.WaitReason
	since  time.Time // zero: it is over
	sum    time.Duration
}

type tally[K comparable] struct {
	key K
	n   int64
}

func count[K comparable](ts []tally[K], key K) []tally[K] {
	for i := range ts {
		if ts[i].key == key {
			ts[i].n++
			return ts
		}
	}
	return append(ts, tally[K]{key, 1})
}

// disagreements are the findings that say that a listing does not add up.
var disagreements = []string{"total_disagrees", "list_moved", "never_ends"}

// outcomes in the order of conn.runs.
var outcomes = [...]ads.Outcome{ads.Complete, ads.Partial, ads.Failed, ads.Interrupted}

// observe takes in an event. c.mu is held.
func (c *conn) observe(e *observe.Event) {
	switch d := e.Data.(type) {
	case observe.RunStarted:
		c.worked, c.running, c.turned = true, true, e.At
		c.parked, c.until, c.last, c.pending = "", time.Time{}, d.Before, 0
		c.endWait(observe.WaitBusy, e.At)
	case observe.Progress:
		c.add(d.Figures, e.At)
		c.pending = d.Pending
	case observe.RunFinished:
		c.worked, c.running, c.turned, c.pending = true, false, e.At, 0
		c.add(d.Figures, e.At)
		for i, o := range outcomes {
			if o == d.Outcome {
				c.runs[i]++
			}
		}
		if d.Outcome == ads.Complete {
			c.complete, c.data = e.At, e.At
		}
		for _, w := range c.waits {
			c.endWait(w.reason, e.At)
		}
	case observe.Parked:
		c.parked, c.until, c.turned = parkKind(d.Kind), d.Until, e.At
	case observe.WaitStarted:
		c.worked = true
		w := c.wait(waitReason(d.Reason))
		if w.since.IsZero() {
			w.since = e.At
		}
	case observe.WaitEnded:
		c.endWait(waitReason(d.Reason), e.At)
	case observe.Retry:
		c.worked = true
		c.retries = count(c.retries, class(d.Class))
	case observe.QuotaState:
		c.quota, c.quotaAt = d, e.At
	case observe.TokenEnds:
		c.tokenEnd, c.tokenAt = d.At, e.At
	case observe.VersionEnds:
		c.versionEnd = d.At
	}
}

// add counts what came since the last figures of the run. Figures that fall, as they may when a listing starts again, count for nothing until they are
// above what they were.
func (c *conn) add(f ads.Figures, at time.Time) {
	c.worked = true
	grow := func(total, last *int64, now int64) bool {
		if now <= *last {
			return false
		}
		*total += now - *last
		*last = now
		return true
	}
	t, l := &c.total, &c.last
	grow(&t.Listed, &l.Listed, f.Listed)
	if grow(&t.Synced, &l.Synced, f.Synced) {
		c.data = at
	}
	grow(&t.Unchanged, &l.Unchanged, f.Unchanged)
	grow(&t.Failed, &l.Failed, f.Failed)
	grow(&t.Removed, &l.Removed, f.Removed)
	grow(&t.Pages, &l.Pages, f.Pages)
	grow(&t.Requests, &l.Requests, f.Requests)
	grow(&t.Throttled, &l.Throttled, f.Throttled)
}

func (c *conn) wait(r observe.WaitReason) *wait {
	for i := range c.waits {
		if c.waits[i].reason == r {
			return &c.waits[i]
		}
	}
	c.waits = append(c.waits, wait{reason: r})
	return &c.waits[len(c.waits)-1]
}

func (c *conn) endWait(r observe.WaitReason, at time.Time) {
	for i := range c.waits {
		if w := &c.waits[i]; w.reason == r && !w.since.IsZero() {
			w.sum += max(at.Sub(w.since), 0)
			w.since = time.Time{}
		}
	}
}

// state is where a connection stands, from events of this process and from what the database had, whichever is newer.
type state struct {
	platform       string
	running        bool
	parked         observe.ParkKind // empty: it is not
	until          time.Time
	complete, data time.Time
	seen           time.Time
	stale          bool
}

// stateAt is c's state. c.mu is held.
func (c *conn) stateAt(now time.Time) state {
	s := state{platform: c.platform, running: c.running, parked: c.parked, until: c.until, complete: c.complete, data: c.data, seen: c.seen}
	if !c.readAt.IsZero() {
		s.complete, s.data = later(s.complete, c.stored.LastComplete), later(s.data, c.stored.LastData)
		s.data = later(s.data, s.complete)
		if since := c.stored.Since; !since.IsZero() && since.Before(s.seen) {
			s.seen = since
		}
		if !c.running && c.readAt.After(c.turned) {
			s.running, s.parked, s.until = c.stored.Running, "", time.Time{}
			if !c.stored.Running && !c.stored.ParkedUntil.IsZero() {
				s.parked, s.until = parkKind(c.stored.Parked), c.stored.ParkedUntil
			}
		}
	}
	if s.running {
		s.parked, s.until = "", time.Time{}
	}
	s.stale = c.interval > 0 && now.Sub(later(s.complete, s.seen)) > StaleAfter(c.interval)
	return s
}

// StaleAfter is the age of the last complete run from which a connection with this interval counts as stale: three intervals, ten minutes at least.
func StaleAfter(interval time.Duration) time.Duration { return max(3*interval, 10*time.Minute) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// tokenEnds is what was heard last, here or from the database. c.mu is held.
func (c *conn) tokenEnds() time.Time {
	if c.readAt.After(c.tokenAt) {
		return c.stored.TokenEnd
	}
	return c.tokenEnd
}

// show gives every series of the connection to emit. c.mu is held.
func (c *conn) show(s state, now time.Time, emit func(f *family, v float64, label ...string)) {
	stamp := func(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
	age := func(t time.Time) float64 { return max(now.Sub(t).Seconds(), 0) }
	emit(seenSince, stamp(s.seen))
	if c.interval > 0 {
		emit(scheduleInterval, c.interval.Seconds())
	}
	if !s.complete.IsZero() {
		emit(lastSuccess, stamp(s.complete))
		emit(freshness, age(s.complete))
	}
	if !s.data.IsZero() {
		emit(dataAge, age(s.data))
	}
	emit(running, oneIf(s.running))
	if s.parked != "" {
		emit(parkedUntil, stamp(s.until), string(s.parked))
	}
	if end := c.tokenEnds(); !end.IsZero() {
		emit(tokenExpires, stamp(end))
	}
	if !c.versionEnd.IsZero() {
		emit(versionSunset, stamp(c.versionEnd))
	}
	if !c.readAt.IsZero() {
		emit(campaigns, float64(c.stored.Campaigns))
		emit(openFailures, float64(c.stored.OpenFailures))
	}
	if !c.worked {
		return
	}
	for i, o := range outcomes {
		emit(runs, float64(c.runs[i]), string(o))
	}
	t := &c.total
	emit(listed, float64(t.Listed))
	emit(synced, float64(t.Synced))
	emit(unchanged, float64(t.Unchanged))
	emit(failed, float64(t.Failed))
	emit(removed, float64(t.Removed))
	emit(pages, float64(t.Pages))
	emit(pending, float64(c.pending))
	emit(requests, float64(t.Requests))
	emit(throttled, float64(t.Throttled))
	for _, r := range c.retries {
		emit(retries, float64(r.n), string(r.key))
	}
	for _, w := range c.waits {
		sum := w.sum
		if !w.since.IsZero() {
			sum += max(now.Sub(w.since), 0)
		}
		emit(waiting, oneIf(!w.since.IsZero()), string(w.reason))
		emit(waited, sum.Seconds(), string(w.reason))
	}
	for _, code := range disagreements {
		if !slices.ContainsFunc(c.findings, func(t tally[string]) bool { return t.key == code }) {
			emit(findings, 0, code) // a counter that begins at 1 has no increase
		}
	}
	for _, f := range c.findings {
		emit(findings, float64(f.n), f.key)
	}
	if q := c.quota; q.Limit > 0 {
		used, next := q.Used, max(q.NextFree.Sub(now), 0)
		if now.Sub(c.quotaAt) >= q.Window {
			used, next = 0, 0
		}
		emit(quotaUsed, float64(used), q.Bucket)
		emit(quotaLimit, float64(q.Limit), q.Bucket)
		emit(quotaWindow, q.Window.Seconds(), q.Bucket)
		emit(quotaNextFree, next.Seconds(), q.Bucket)
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
