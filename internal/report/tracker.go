package report

import (
	"fmt"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// tracker keeps what the events have said about each connection so far: what heartbeats and live progress show.
type tracker struct {
	mu    sync.Mutex
	conns map[ads.Ref]*connection
	order []*connection
}

// connection is the last known of one connection.
type connection struct {
	ref     ads.Ref
	name    string // short
	started bool
	ended   bool
	outcome ads.Outcome
	moved   time.Time // of the last event

	stream  string
	page    int
	pass    int
	listed  int64
	total   ads.Opt[int64]
	more    bool
	figures ads.Figures
	pending int64
	waits   []observe.WaitStarted // begun and not ended, oldest first
	quota   observe.QuotaState
	circuit bool
}

func newTracker(refs []ads.Ref) *tracker {
	t := &tracker{conns: make(map[ads.Ref]*connection, len(refs))}
	for i, name := range shortNames(refs) {
		t.of(refs[i]).name = name
	}
	return t
}

// of is called with mu held, or before t is shared.
func (t *tracker) of(ref ads.Ref) *connection {
	c := t.conns[ref]
	if c == nil {
		c = &connection{ref: ref, name: ref.ClientID}
		t.conns[ref] = c
		t.order = append(t.order, c)
	}
	return c
}

func (t *tracker) apply(e observe.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.of(e.Ref)
	c.moved = e.At
	switch d := e.Data.(type) {
	case observe.RunStarted:
		c.started, c.ended, c.figures, c.listed = true, false, d.Before, d.Before.Listed
	case observe.PageListed:
		c.stream, c.page, c.pass, c.listed, c.total, c.more = d.Stream, d.Page, d.Pass, d.Listed, d.Total, d.More
	case observe.Progress:
		c.figures, c.pending = d.Figures, d.Pending
		if d.Total.Set {
			c.total = d.Total
		}
	case observe.WaitStarted:
		c.endWait(d.Reason)
		c.waits = append(c.waits, d)
	case observe.WaitEnded:
		c.endWait(d.Reason)
	case observe.QuotaState:
		c.quota = d
	case observe.Circuit:
		c.circuit = d.Open
	case observe.RunFinished:
		c.ended, c.outcome, c.figures, c.waits = true, d.Outcome, d.Figures, nil
	}
}

func (c *connection) endWait(r observe.WaitReason) {
	kept := c.waits[:0]
	for _, w := range c.waits {
		if w.Reason != r {
			kept = append(kept, w)
		}
	}
	c.waits = kept
}

// end marks a connection as over that never got to a run.
func (t *tracker) end(ref ads.Ref, o ads.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.of(ref)
	if !c.ended {
		c.ended, c.outcome, c.waits = true, o, nil
	}
}

// done and of how many: records that are through, of those known to exist.
func (c *connection) progress() (done, of int64) {
	of = max(c.listed, c.figures.Listed)
	if c.total.Set {
		of = max(of, c.total.Value)
	}
	return c.figures.Synced + c.figures.Failed, of
}

// records is the word for what is synced.
func (c *connection) records() string {
	if c.stream == "" {
		return ads.StreamCampaigns
	}
	return c.stream
}

// waiting is the wait to show: the one that began last, since the others go on beneath it.
func (c *connection) waiting() (observe.WaitStarted, bool) {
	if len(c.waits) == 0 {
		return observe.WaitStarted{}, false
	}
	return c.waits[len(c.waits)-1], true
}

// waitText puts a wait into words as it stands at now. A wait without an end in sight has no length.
func waitText(w observe.WaitStarted, now time.Time, more string) string {
	length := ""
	if !w.Until.IsZero() {
		length = " " + wait(w.Until.Sub(now)) + more
	}
	var s string
	switch w.Reason {
	case observe.WaitQuota:
		s = fmt.Sprintf("waiting%s for the quota of %s", length, w.Bucket)
		if w.Limit > 0 {
			s += fmt.Sprintf(", %d of %d used", w.Used, w.Limit)
		}
		if !w.Until.IsZero() {
			s += ", next slot " + clock(w.Until, now)
		}
	case observe.WaitServer:
		s = fmt.Sprintf("waiting%s, as the server asked", length)
		if w.Bucket != "" {
			s += " of " + w.Bucket
		}
		if w.Told > 0 {
			s += fmt.Sprintf(" (it said %s)", span(w.Told))
		}
		if !w.Until.IsZero() {
			s += ", until " + clock(w.Until, now)
		}
	case observe.WaitCircuit:
		s = fmt.Sprintf("waiting%s: the host does not answer, it is only probed", length)
	case observe.WaitWorker:
		s = fmt.Sprintf("waiting%s for a worker", length)
	case observe.WaitBusy:
		s = "queued up behind another process"
	default:
		s = fmt.Sprintf("waiting%s (%s)", length, w.Reason)
	}
	if w.Note != "" {
		s += ": " + w.Note
	}
	return s
}

// beat is what there is to say of c while nothing happens.
func (c *connection) beat(now time.Time) string {
	done, of := c.progress()
	s := "still syncing"
	switch {
	case !c.started:
		s += ": starting"
	case of > 0:
		s += fmt.Sprintf(": %d of %d %s", done, of, c.records())
	default:
		s += ": nothing listed yet"
	}
	if c.more && c.page > 0 {
		s += fmt.Sprintf(", listing page %d", c.page+1)
	}
	if w, ok := c.waiting(); ok {
		s += ", " + waitText(w, now, " more")
	}
	return s
}

// overall is one line about all connections.
func (t *tracker) overall() string {
	var ended, bad, waiting int
	var done, of int64
	for _, c := range t.order {
		d, o := c.progress()
		done, of = done+d, of+o
		switch {
		case c.ended:
			ended++
			if c.outcome != ads.Complete {
				bad++
			}
		case len(c.waits) > 0:
			waiting++
		}
	}
	s := fmt.Sprintf("%d of %d connections done", ended, len(t.order))
	if bad > 0 {
		s += fmt.Sprintf(" (%d not complete)", bad)
	}
	s += fmt.Sprintf(", %s of %s records", count(done), count(of))
	if waiting > 0 {
		s += fmt.Sprintf(", %d waiting", waiting)
	}
	return s
}

// beatsShown is the number of running connections up to which each gets a heartbeat line of its own.
const beatsShown = 5

// beats are the heartbeat lines; a nil connection stands for all of them.
func (t *tracker) beats(now time.Time) (of []*connection, lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.order {
		if !c.ended {
			of = append(of, c)
		}
	}
	if len(of) > beatsShown {
		return []*connection{nil}, []string{"still syncing: " + t.overall()}
	}
	for _, c := range of {
		lines = append(lines, c.beat(now))
	}
	return of, lines
}
