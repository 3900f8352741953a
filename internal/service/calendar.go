package service

import (
	"container/heap"
	"hash/fnv"
	"math/bits"
	"time"

	"adsync/internal/ads"
	"adsync/internal/config"
)

// clockError is by how much clocks may be wrong without anybody taking notice: slots that come again within it are known to have had their run.
const clockError = time.Hour

// cronSpread is the time over which connections with the same cron line are spread: its minute.
const cronSpread = time.Minute

// offset is a connection's place within its schedule's interval. It depends on the name alone: all processes agree, and a restart changes nothing.
func offset(ref ads.Ref, s config.Schedule) time.Duration {
	spread := s.Every
	if spread == 0 {
		spread = cronSpread
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(ref.ClientID))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(ref.Connection))
	x := h.Sum64() // its high bits say little about short names
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	hi, _ := bits.Mul64(x, uint64(spread))
	return time.Duration(hi)
}

// NextSlot is when a connection's schedule asks for its next run after t; zero where it never does.
func NextSlot(ref ads.Ref, s config.Schedule, t time.Time) time.Time { return next(ref, s, t) }

// next is the connection's first slot after t; zero where its schedule has none.
func next(ref ads.Ref, s config.Schedule, t time.Time) time.Time {
	off := offset(ref, s)
	n := s.Next(t.Add(-off))
	if n.IsZero() {
		return n
	}
	return n.Add(off)
}

// entry is one connection's place in the calendar.
type entry struct {
	ref  ads.Ref
	when config.Schedule
	next time.Time
	at   int // in the heap
}

// calendar says which connections are due. It has no clock and no lock.
type calendar struct {
	by     map[ads.Ref]*entry
	heap   entries
	newest time.Time // that it was asked about
}

func newCalendar() *calendar { return &calendar{by: map[ads.Ref]*entry{}} }

// set enters a connection, or its new schedule. last is when its last run began (zero: never): a slot missed since then is due at once, however many
// there were; known false keeps what an entry has to come.
func (c *calendar) set(ref ads.Ref, s config.Schedule, last time.Time, known bool, now time.Time) {
	e := c.by[ref]
	if e != nil && e.when.Text == s.Text {
		return
	}
	n := next(ref, s, now)
	if known {
		if missed := next(ref, s, last); missed.Before(n) || last.IsZero() {
			n = now
		}
	}
	if n.IsZero() {
		c.drop(ref)
		return
	}
	if e == nil {
		e = &entry{ref: ref}
		c.by[ref] = e
		e.when, e.next = s, n
		heap.Push(&c.heap, e)
		return
	}
	e.when, e.next = s, n
	heap.Fix(&c.heap, e.at)
}

func (c *calendar) drop(ref ads.Ref) {
	if e := c.by[ref]; e != nil {
		heap.Remove(&c.heap, e.at)
		delete(c.by, ref)
	}
}

// slot is a connection that is due, and since when.
type slot struct {
	ref ads.Ref
	at  time.Time
}

// due takes out, at most limit at a time, what is due at now. A connection whose slots were missed is due once. When the clock was far ahead and has been set
// right, what comes next is what comes next by the clock as it is.
func (c *calendar) due(now time.Time, limit int) (out []slot) {
	if now.Before(c.newest.Add(-clockError)) {
		for _, e := range c.heap {
			if n := next(e.ref, e.when, now); n.Before(e.next) && !n.IsZero() {
				e.next = n
			}
		}
		heap.Init(&c.heap)
	}
	if now.Before(c.newest.Add(-clockError)) || now.After(c.newest) {
		c.newest = now
	}
	for len(c.heap) > 0 && len(out) < limit && !c.heap[0].next.After(now) {
		e := c.heap[0]
		out = append(out, slot{e.ref, e.next})
		e.next = next(e.ref, e.when, now)
		if e.next.IsZero() {
			c.drop(e.ref)
			continue
		}
		heap.Fix(&c.heap, 0)
	}
	return out
}

// when gives a connection's next slot.
func (c *calendar) when(ref ads.Ref) time.Time {
	if e := c.by[ref]; e != nil {
		return e.next
	}
	return time.Time{}
}

type entries []*entry

func (h entries) Len() int           { return len(h) }
func (h entries) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h entries) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }

// Push implements heap.Interface.
func (h *entries) Push(x any) {
	e := x.(*entry)
	e.at = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *entries) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
