package simulator

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// span is a range of whole numbers, both ends in it.
type span struct{ from, to int }

type spans []span

func (s spans) has(n int) bool {
	return slices.ContainsFunc(s, func(r span) bool { return r.from <= n && n <= r.to })
}

// parseSpans reads "3", "3-5", "4-" and several of them with |.
func parseSpans(key, v string) (spans, error) {
	var out spans
	for part := range strings.SplitSeq(v, "|") {
		from, to, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		b := a
		if err == nil && ranged {
			b = math.MaxInt
			if to != "" {
				b, err = strconv.Atoi(to)
			}
		}
		if err != nil || a < 1 || b < a {
			return nil, fmt.Errorf("%s=%s: want 3, 3-5, 4- or several with |", key, v)
		}
		out = append(out, span{a, b})
	}
	return out, nil
}

// extent is a number of requests or a length of time; the zero value is neither.
type extent struct {
	n int
	d time.Duration
}

func parseExtent(key, v string) (extent, error) {
	if n, err := strconv.Atoi(v); err == nil && n >= 0 {
		return extent{n: n}, nil
	}
	if d, err := time.ParseDuration(v); err == nil && d >= 0 {
		return extent{d: d}, nil
	}
	return extent{}, fmt.Errorf("%s=%s: want a number of requests such as 20, or a length of time such as 8s", key, v)
}

// selector says which requests a fault plays on.
type selector struct {
	endpoints, clients, emails, ids []string
	pages, on                       spans
	every, times                    int
	p                               float64 // below 0: not asked
	after, dur                      extent
}

var endpointNames = []string{"token", "list", "sync", "health", "api", "any"}

func parseSelector(vals map[string]string) (selector, error) {
	s := selector{p: -1}
	for key, v := range vals {
		var err error
		switch key {
		case "endpoint":
			s.endpoints = strings.Split(v, "|")
			for _, e := range s.endpoints {
				if !slices.Contains(endpointNames, e) {
					return s, fmt.Errorf("endpoint=%s: want one of %s", v, strings.Join(endpointNames, ", "))
				}
			}
		case "client":
			s.clients = strings.Split(v, "|")
		case "email":
			s.emails = strings.Split(v, "|")
		case "id":
			s.ids = strings.Split(v, "|")
		case "page":
			s.pages, err = parseSpans(key, v)
		case "on":
			s.on, err = parseSpans(key, v)
		case "every":
			s.every, err = strconv.Atoi(v)
			if err != nil || s.every < 1 {
				err = fmt.Errorf("every=%s: want a whole number from 1", v)
			}
		case "times":
			s.times, err = strconv.Atoi(v)
			if err != nil || s.times < 0 {
				err = fmt.Errorf("times=%s: want a whole number, 0 for ever", v)
			}
		case "p":
			s.p, err = strconv.ParseFloat(v, 64)
			if err != nil || !(s.p >= 0 && s.p <= 1) {
				err = fmt.Errorf("p=%s: want a probability from 0 to 1", v)
			}
		case "after":
			s.after, err = parseExtent(key, v)
		case "for":
			s.dur, err = parseExtent(key, v)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// allows is the part of the selection that does not hang on what came before.
func (s *selector) allows(c *call) bool {
	if s.endpoints != nil && !slices.ContainsFunc(s.endpoints, func(e string) bool {
		return e == "any" || e == c.endpoint || (e == "api" && (c.endpoint == "list" || c.endpoint == "sync"))
	}) {
		return false
	}
	return (s.clients == nil || slices.Contains(s.clients, c.clientID)) &&
		(s.emails == nil || slices.Contains(s.emails, c.email)) &&
		(s.pages == nil || s.pages.has(c.page)) &&
		(s.ids == nil || slices.Contains(s.ids, c.id))
}

// progress is how far a fault has come with one client.
type progress struct {
	seen, hits int
	first      time.Duration // of the requests that match
	began      time.Duration // of the hits
}

// activeFault is a fault being played. It is safe for concurrent use.
type activeFault struct {
	def   *Fault
	text  string // as written
	alias string // the fault that stands for this one, by name
	seed  uint64
	sel   selector
	vals  map[string]string
	durs  map[string]time.Duration
	nums  map[string]int64

	mu     sync.Mutex
	off    bool
	state  map[string]*progress
	played int64
}

func (f *activeFault) str(key string) string        { return f.vals[key] }
func (f *activeFault) dur(key string) time.Duration { return f.durs[key] }
func (f *activeFault) num(key string) int64         { return f.nums[key] }

func (f *activeFault) name() string {
	if f.alias != "" {
		return f.alias
	}
	return f.def.Name
}

// maxProgress bounds what a fault remembers; beyond it clients share one count.
const maxProgress = 200_000

func (f *activeFault) progress(key string, now time.Duration) *progress {
	if f.def.host {
		key = ""
	}
	p := f.state[key]
	if p == nil && len(f.state) >= maxProgress {
		key = ""
		p = f.state[key]
	}
	if p == nil {
		p = &progress{first: now}
		f.state[key] = p
	}
	return p
}

// hit counts a request against the selectors and says whether the fault plays on it.
func (f *activeFault) hit(c *call) bool {
	if !f.sel.allows(c) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return false
	}
	return f.take(f.progress(c.clientID, c.now), c.clientID, c.now)
}

func (f *activeFault) take(p *progress, key string, now time.Duration) bool {
	s := &f.sel
	p.seen++
	nth := p.seen
	if nth <= s.after.n || (s.after.d > 0 && now-p.first < s.after.d) {
		return false
	}
	switch {
	case s.dur.n > 0 && nth > s.after.n+s.dur.n,
		s.dur.d > 0 && p.hits > 0 && now-p.began >= s.dur.d,
		s.on != nil && !s.on.has(nth),
		s.every > 0 && nth%s.every != 0,
		s.p >= 0 && share(hashText(f.seed+uint64(nth), key)) >= s.p,
		s.times > 0 && p.hits >= s.times:
		return false
	}
	if p.hits == 0 {
		p.began = now
	}
	p.hits++
	f.played++
	return true
}

// hitsRow says whether the fault plays on a record. Which records those are hangs on the campaign alone, so that a record met twice is
// as wrong the second time; times counts for each record, and page, after and for ask the request.
func (f *activeFault) hitsRow(c *call, r *record) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.sel
	if f.off || !f.rowChosen(c.clientID, r) || (s.pages != nil && !s.pages.has(c.page)) || (s.clients != nil && !slices.Contains(s.clients, c.clientID)) {
		return false
	}
	key := c.clientID
	if s.times > 0 || s.on != nil {
		key += "\x00" + r.id
	}
	p := f.progress(key, c.now)
	p.seen++
	if p.seen <= s.after.n || (s.after.d > 0 && c.now-p.first < s.after.d) || (s.on != nil && !s.on.has(p.seen)) || (s.times > 0 && p.hits >= s.times) {
		return false
	}
	p.hits++
	f.played++
	return true
}

// rowChosen is the part of hitsRow that only looks at the record.
func (f *activeFault) rowChosen(client string, r *record) bool {
	s := &f.sel
	return (s.ids == nil || slices.Contains(s.ids, r.id)) &&
		(s.every == 0 || r.number%s.every == 0) &&
		(s.p < 0 || share(hashText(f.seed, client, r.id)) < s.p)
}

func (f *activeFault) isOff() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.off
}

func (f *activeFault) plays() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.played
}

// forget sets the count of plays back; how far the fault has come with each client stays.
func (f *activeFault) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.played = 0
}

// rowFaults are those of faults that change records.
func rowFaults(faults []*activeFault) []*activeFault {
	var out []*activeFault
	for _, f := range faults {
		if f.def.row != nil {
			out = append(out, f)
		}
	}
	return out
}
