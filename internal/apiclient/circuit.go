package apiclient

import (
	"context"
	"net/http"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// circuit knows whether a host answers. It opens after tripAfter failed attempts in a row, when what fails is the host and not one request: at
// least two requests began to fail in this row, or no connection can be made, or the health page fails too. While it is open only
// probes go out, one at a time, and no tries are spent.
type circuit struct {
	host string

	mu       sync.Mutex
	everUp   bool
	streak   int       // failed attempts in a row
	began    time.Time // of the streak
	evidence map[*logical]bool
	asked    int // streak at which the health page was asked
	open     bool
	opened   time.Time
	delay    time.Duration
	next     time.Time // of the next probe
	prober   *logical
	change   chan struct{} // closed when anything that a waiter waits for changes
}

const tripAfter = 5

func newCircuit(host string) *circuit {
	return &circuit{host: host, evidence: map[*logical]bool{}, change: make(chan struct{})}
}

func (k *circuit) changed() {
	close(k.change)
	k.change = make(chan struct{})
}

func (k *circuit) isOpen() (bool, time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open, k.opened
}

func (k *circuit) answered() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.everUp
}

// success says that the host answered something.
func (k *circuit) success(c *Client) {
	k.mu.Lock()
	was := k.open
	k.everUp, k.streak, k.open, k.prober, k.asked = true, 0, false, nil, 0
	if len(k.evidence) > 0 {
		clear(k.evidence)
	}
	since := k.opened
	if was {
		k.changed()
	}
	k.mu.Unlock()
	if was {
		c.emit(observe.Circuit{Host: k.host, Message: "the host answers again", Since: since})
	}
}

// cancelProbe lets another request probe, when this one came to nothing.
func (k *circuit) cancelProbe(l *logical) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.prober == l {
		k.prober = nil
		k.changed()
	}
}

// failure counts a failed attempt.
func (k *circuit) failure(ctx context.Context, c *Client, l *logical, a attempt) {
	k.mu.Lock()
	now := time.Now()
	if k.streak == 0 {
		k.began = now
	}
	k.streak++
	if !l.badSince.Before(k.began) {
		k.evidence[l] = true
	}
	if k.open {
		if k.prober == l {
			k.prober = nil
			k.delay = min(2*k.delay, probeCap)
			k.next = now.Add(k.delay*3/4 + time.Duration(c.c.Rand()*float64(k.delay)/4))
			k.changed()
		}
		k.mu.Unlock()
		return
	}
	trip := k.streak >= tripAfter && k.everUp
	sure := len(k.evidence) >= 2 || a.verdict.Class == ads.ClassUnreachable
	ask := trip && !sure && (k.asked == 0 || k.streak >= k.asked+3)
	if ask {
		k.asked = k.streak
	}
	k.mu.Unlock()
	if ask {
		sure = !c.healthy(ctx)
	}
	if !trip || !sure {
		return
	}
	k.mu.Lock()
	opened := !k.open && k.streak >= tripAfter
	if opened {
		k.open, k.opened, k.delay = true, now, time.Second
		k.next = now.Add(k.delay)
		k.changed()
	}
	k.mu.Unlock()
	if opened {
		c.emit(observe.Circuit{Open: true, Host: k.host, Since: now, Message: "the host does not answer: only probes are sent until it does (" + a.verdict.Message + ")"})
	}
}

// admit lets a request through, or makes it wait for its turn to probe.
func (c *Client) admit(ctx context.Context, l *logical) error {
	k := c.circuit
	var w *wait
	defer func() {
		if w != nil {
			w.end()
		}
	}()
	for {
		k.mu.Lock()
		if !k.open {
			k.mu.Unlock()
			return nil
		}
		now := time.Now()
		if now.Sub(k.opened) > c.c.MaxElapsed {
			since := k.opened
			k.mu.Unlock()
			return c.outage(l.lastError, since)
		}
		if k.prober == nil && !now.Before(k.next) {
			k.prober = l
			k.mu.Unlock()
			return nil
		}
		change, until := k.change, k.next
		giveUp := k.opened.Add(c.c.MaxElapsed)
		busy := k.prober != nil
		k.mu.Unlock()
		if w == nil {
			w = c.waits.quiet()
			w.tell(observe.WaitStarted{Reason: observe.WaitCircuit, Bucket: c.host, Until: giveUp, Note: "probing until it answers"})
		}
		if busy || until.After(giveUp) {
			until = giveUp.Add(time.Millisecond)
		}
		t := time.NewTimer(time.Until(until))
		select {
		case <-t.C:
		case <-change:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
		t.Stop()
	}
}

// healthy asks the platform's health page whether the host is up though a request fails. A platform without one tells nothing: the
// request is then taken to fail on its own.
func (c *Client) healthy(ctx context.Context) bool {
	if c.spec.HealthPath == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, min(5*time.Second, c.c.Timeout))
	defer cancel()
	u := *c.base
	u.Path += c.spec.HealthPath
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return true
	}
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode < 500
}
