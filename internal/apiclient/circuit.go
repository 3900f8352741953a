package apiclient

import (
	"container/list"
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// circuit knows whether a host answers. It opens after tripAfter failed attempts in a row, when what fails is the host and not some requests: no
// connection can be made, or at least two requests began to fail in this row and the host itself says that it is not available (or has no health page to ask),
// or the health page fails too. While it is open only probes go out, one at a time, and no tries are spent.
//
// A probe is the health page, where the platform has one, and when that answers the request of the waiter that has probed least. Every third probe is
// a request in any case: a health page can be out of order by itself.
//
// An outage that outlasts Config.ParkAfter is not waited for: all who ask are told to come back at the same time, when the first of them probes. The others
// wait a moment for what that brings; when it fails they all get another time, further away the longer the outage lasts.
type circuit struct {
	host string

	mu      sync.Mutex
	everUp  bool
	streak  int       // failed attempts in a row
	began   time.Time // of the streak
	first   *logical  // whose failing began in this streak
	several bool      // and another one's
	asked   int       // streak at which the health page was asked

	open    bool
	opened  time.Time
	delay   time.Duration
	next    time.Time // of the next probe
	failed  time.Time // the last probe
	down    time.Time // the last that showed the host to be down, not a request to be bad
	parked  time.Time // until then nothing is sent, and who asks is told to come back
	probes  int
	waiting list.List // of *logical, in the order of coming
	turn    *logical  // whose turn it is to probe
	suspect *Client   // whose request failed where the host may be up
	probing bool
	probe   time.Time     // of the probe under way
	healthy bool          // the health page answered before this probe
	change  chan struct{} // closed when anything that a waiter waits for changes
}

const (
	tripAfter     = 5
	healthTimeout = 5 * time.Second
	healthyCap    = 5 * time.Second // between probes of a host that is up
	requestEvery  = 3               // probes

	parkLeast = time.Minute // until a host that is down for long is asked again: half of the outage so far, but not less
	parkMost  = 15 * time.Minute
)

func newCircuit(host string) *circuit { return &circuit{host: host, change: make(chan struct{})} }

// changed wakes all waiters. k.mu is held.
func (k *circuit) changed() {
	close(k.change)
	k.change = make(chan struct{})
}

func (k *circuit) answered() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.everUp
}

// success says that the host answered something.
func (k *circuit) success(c *Client) {
	k.mu.Lock()
	was, since := k.open, k.opened
	k.everUp, k.streak, k.first, k.several, k.asked = true, 0, nil, false, 0
	if was {
		k.open, k.turn, k.probing, k.probes, k.parked, k.suspect = false, nil, false, 0, time.Time{}, nil
		k.changed()
	}
	k.mu.Unlock()
	if was {
		c.emit(observe.Circuit{Host: k.host, Message: "the host answers again", Since: since})
	}
}

// bars says whether a request must not leave now, since the host is down and it is not the one to probe.
func (k *circuit) bars(l *logical) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open && k.turn != l
}

// leave ends a request's waiting and, where it was about to probe and came to nothing, lets another one.
func (k *circuit) leave(l *logical) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.queued != nil {
		k.waiting.Remove(l.queued)
		l.queued = nil
	}
	if k.turn == l {
		k.turn, k.probing = nil, false
		k.changed()
	}
}

// probeFailed plans the next probe. k.mu is held. bad: the host is up, and the request itself is at fault. told is how long the answer asks to stay away.
func (c *Client) probeFailed(now time.Time, bad bool, told time.Duration) {
	k := c.circuit
	k.failed, k.probes = now, k.probes+1
	k.turn, k.probing = nil, false
	most := probeCap
	if bad {
		most, k.suspect = healthyCap, c
	} else {
		k.down = now
	}
	k.delay = min(2*k.delay, most)
	k.next = now.Add(max(k.delay*3/4+time.Duration(c.c.Rand()*float64(k.delay)/4), told))
	if !bad && c.c.ParkAfter > 0 && !now.Before(c.longest(k)) {
		if now.Before(k.parked) { // some have been told already
			k.next = k.parked
		} else {
			k.park(now)
		}
	}
	k.changed()
}

// longest is until when an outage is waited for. k.mu is held.
func (c *Client) longest(k *circuit) time.Time { return k.opened.Add(c.patient()) }

// patient is how long a request waits for a host that is down.
func (c *Client) patient() time.Duration {
	if c.c.ParkAfter > 0 {
		return min(c.c.ParkAfter, c.c.MaxElapsed)
	}
	return c.c.MaxElapsed
}

// park plans the next probe of an outage that nobody waits for. k.mu is held.
func (k *circuit) park(now time.Time) {
	k.parked = now.Add(min(max(now.Sub(k.opened)/2, parkLeast), parkMost))
	if k.next.After(k.parked) {
		k.parked = k.next
	}
	k.next, k.suspect = k.parked, nil
}

// unproven says that the failure of one connection's request is no reason yet to give all the others back: the health page is asked first, or where it
// cannot decide, another connection, if there is one. k.mu is held.
func (c *Client) unproven(k *circuit, a attempt, now time.Time) bool {
	switch {
	case c.c.ParkAfter <= 0 || now.Before(c.longest(k)) || a.verdict.Class == ads.ClassUnreachable:
		return false
	case c.spec.HealthPath != "" && !unavailable(a):
		return true
	}
	return k.suspect == nil || (k.suspect == c && k.awaitedBy(c))
}

// awaitedBy says whether another connection than c waits. k.mu is held.
func (k *circuit) awaitedBy(c *Client) bool {
	for e := k.waiting.Front(); e != nil; e = e.Next() {
		if e.Value.(*logical).c != c {
			return true
		}
	}
	return false
}

// outcome is how long others wait for a probe.
func (c *Client) outcome() time.Duration { return c.c.Timeout + healthTimeout }

// parks says whether a request is given back instead of waiting on. k.mu is held.
func (c *Client) parks(k *circuit, l *logical, now time.Time) bool {
	switch {
	case now.Before(k.parked):
		return true
	case k.probing && now.Before(k.probe.Add(c.outcome())):
		return false // the host may be back
	case !k.probing && !k.down.After(l.held) && now.Before(l.held.Add(c.patient())):
		return false // it has not been asked since this request came
	}
	k.park(now)
	return true
}

// failure counts a failed attempt. It reports whether the host is taken to be down now, so that the attempt costs no try.
func (k *circuit) failure(ctx context.Context, c *Client, l *logical, a attempt) (down bool) {
	k.mu.Lock()
	now := time.Now()
	if k.streak == 0 {
		k.began = now
	}
	k.streak++
	if !l.badSince.Before(k.began) {
		if k.first == nil {
			k.first = l
		}
		k.several = k.several || k.first != l
	}
	if k.open {
		// The host is up, so this is the request's own failure: two that fail for good would otherwise be waited for as if it were down.
		own := k.turn == l && ((k.healthy && !unavailable(a)) || c.unproven(k, a, now))
		if k.turn == l {
			l.probed++
			c.probeFailed(now, own, min(a.told, c.c.MaxWait))
		}
		k.mu.Unlock()
		return !own
	}
	trip := k.streak >= tripAfter && k.everUp
	sure := a.verdict.Class == ads.ClassUnreachable || (k.several && (unavailable(a) || c.spec.HealthPath == ""))
	ask := trip && !sure && (k.asked == 0 || k.streak >= k.asked+3)
	if ask {
		k.asked = k.streak
	}
	k.mu.Unlock()
	if ask {
		sure = !c.healthy(ctx)
	}
	if !trip || !sure {
		return false
	}
	k.mu.Lock()
	opened := !k.open && k.streak >= tripAfter
	if opened {
		k.open, k.opened, k.delay, k.probes, k.failed, k.down, k.parked = true, now, time.Second, 0, time.Time{}, time.Time{}, time.Time{}
		k.next = now.Add(max(k.delay, min(a.told, c.c.MaxWait)))
		k.changed()
	}
	down = k.open
	k.mu.Unlock()
	if opened {
		c.emit(observe.Circuit{Open: true, Host: k.host, Since: now, Message: "the host does not answer: only probes are sent until it does (" + a.verdict.Message + ")"})
	}
	return down
}

// unavailable says that the host, or what stands before it, says of itself that it is not available.
func unavailable(a attempt) bool {
	return a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout ||
		(a.status == 0 && a.verdict.Class == ads.ClassUnreachable)
}

// choose gives the turn to the waiter that has probed least. Where there was no turn, all waiters have just been woken and see whose it is. k.mu is held.
func (k *circuit) choose() {
	for e := k.waiting.Front(); e != nil; e = e.Next() {
		if l := e.Value.(*logical); k.turn == nil || l.probed < k.turn.probed {
			k.turn = l
		}
	}
}

// admit lets a request through, or makes it wait: until the host answers, for its turn to probe, or until the outage has lasted for MaxElapsed. Even then
// a request that comes anew waits for one probe, since the host may be back. With ParkAfter it is given back after that instead. What it lets
// through must leave.
func (c *Client) admit(ctx context.Context, l *logical) error {
	k := c.circuit
	var w *wait
	defer func() {
		if w != nil {
			w.end()
		}
	}()
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.open {
		now := time.Now()
		if l.held.Before(k.opened) {
			l.held = now
		}
		parking, longest := c.c.ParkAfter > 0, c.longest(k)
		if !now.Before(longest) {
			if parking && c.parks(k, l, now) {
				return c.parkedUntil(l, k.parked, k.opened)
			}
			if !parking && k.failed.After(l.begin) {
				return c.outage(l, k.opened)
			}
		}
		if l.queued == nil {
			l.queued = k.waiting.PushBack(l)
		}
		if k.turn == nil {
			k.choose()
		}
		mine := k.turn == l && !k.probing
		if mine && !now.Before(k.next) {
			k.probing, k.healthy, k.probe = true, false, now
			if c.spec.HealthPath == "" || k.probes%requestEvery == requestEvery-1 {
				return nil
			}
			k.mu.Unlock()
			up := c.healthy(ctx)
			k.mu.Lock()
			switch {
			case k.turn != l: // the host answered somebody in the meantime
			case up:
				k.healthy = true
				return nil
			case ctx.Err() != nil:
				return context.Cause(ctx)
			default:
				c.probeFailed(time.Now(), false, 0)
			}
			continue
		}
		change, until := k.change, time.Time{}
		look := func(at time.Time) {
			if at.After(now) && (until.IsZero() || at.Before(until)) {
				until = at
			}
		}
		if mine {
			look(k.next)
		}
		if !mine || parking {
			look(longest)
		}
		if parking {
			look(l.held.Add(c.patient()))
			if k.probing {
				look(k.probe.Add(c.outcome()))
			}
		}
		k.mu.Unlock()
		if w == nil {
			w = c.waits.quiet()
			w.tell(observe.WaitStarted{Reason: observe.WaitCircuit, Bucket: c.host, Until: longest, Note: "probing until it answers"})
		}
		err := await(ctx, change, until)
		k.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// await returns when ch is closed, at a time (zero: never), or with the end of ctx.
func await(ctx context.Context, ch <-chan struct{}, until time.Time) error {
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ch:
	case <-timer:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// healthy asks the platform's health page whether the host is up though a request fails. A platform without one tells nothing: the request is then taken to
// fail on its own. It takes no place: requests to this very host may have them all.
func (c *Client) healthy(ctx context.Context) bool {
	if c.spec.HealthPath == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, min(healthTimeout, c.c.Timeout))
	defer cancel()
	u := *c.base
	u.Path += c.spec.HealthPath
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return true
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be kept
	return resp.StatusCode < 500 && (err == nil || err == io.EOF)
}
