package apiclient

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
	"adsync/internal/retry"
)

// logical is one request through all of its attempts.
type logical struct {
	c        *Client
	r        platform.Request
	token    bool  // it asks for a token, for all who share it
	renews   bool  // by an earlier one: that it is refused does not settle it yet
	number   int64 // of the request, in events
	begin    time.Time
	place    int64         // in the bucket's queue, kept over all attempts
	try      int           // attempts that counted
	attempts int           // all of them
	sends    int           // attempts that were sent
	excused  bool          // the last attempt was refused for quota, or met a dead connection: the next is no retry
	spent    time.Duration // attempts and back-off, not the waits that are nobody's fault
	stale    int           // repeats because a connection was dead
	barred   int           // times it gave its slot back, since the host went down or there was no place
	renewals int           // times a token ended before its request was sent
	refusals int
	unlogged int       // slots that the ledger was too slow to write down
	reauthed int       // refused tokens that it met
	outlived int       // and those that had worked, but not of late
	badSince time.Time // of its first failure
	probed   int       // probes of a host that was down
	held     time.Time // since when the outage that is now holds it up
	queued   *list.Element
	last     *ads.Error
}

const (
	maxStale    = 3   // repeats on another connection of what may have been counted
	maxUnsent   = 8   // and of what has not
	maxRenewals = 500 // times that a slot is given back for a token's sake; each costs a wait
	maxBarred   = 100 // times that one is given back for a host that went down, or for want of a place
	maxReauth   = 4   // times a request may meet a refused token
	maxOutlived = 64  // or one that may have died early while all waited for the quota: by bad luck one request may meet many of these
	maxUnlogged = 30  // times that the ledger may be too slow to write a slot down in time
	maxRefusals = 64  // for quota
)

// mayRepeat says whether a request whose connection was dead is repeated at once, at no cost.
func (l *logical) mayRepeat(a attempt) bool {
	if a.sent {
		return l.r.Repeatable && l.stale < maxStale
	}
	return l.stale < maxUnsent
}

// outcome is what follows from an attempt.
type outcome struct {
	again bool
	err   error
	pause time.Duration // before the next
	told  bool          // the server asked for the pause
	cause *ads.Error    // of the pause
}

// Do implements platform.Caller.
func (c *Client) Do(ctx context.Context, r platform.Request) (platform.Reply, error) {
	return c.do(ctx, &logical{c: c, r: r, begin: time.Now()})
}

// stopped says why a request is not sent, since its credentials are refused. A token request is made for all who share them.
func (c *Client) stopped(l *logical) error {
	if l.token {
		return c.refusedError()
	}
	return c.deadError()
}

// codeForeign is the code of a request that would not have gone below the base URL.
const codeForeign = "foreign_link"

// below says whether a path stays below the base URL: a whole URL in its place would be written into the request line, where gateways take it for
// the host that is meant, and two slashes begin a host's name in a link.
func below(path string) bool { return path == "" || path[0] == '/' && !strings.HasPrefix(path, "//") }

func (c *Client) do(ctx context.Context, l *logical) (platform.Reply, error) {
	if err := c.stopped(l); err != nil {
		return platform.Reply{}, err
	}
	if ctx.Err() != nil {
		return platform.Reply{}, context.Cause(ctx)
	}
	if !below(l.r.Path) {
		return platform.Reply{}, &ads.Error{
			Class: ads.ClassPermanent, Code: codeForeign, Endpoint: l.r.Endpoint, Message: "refused to follow a link that leads elsewhere: " + ads.Printable(c.scrub(l.r.Path, nil), 120),
			Hint: "requests and credentials go to the connection's url and to no other address",
		}
	}
	if c.limit != nil && l.r.Priority != platform.PriorityListing && !l.r.Uncounted {
		if err := c.limit.acquire(ctx); err != nil {
			return platform.Reply{}, err
		}
		defer c.limit.release()
	}
	if l.r.Origin != "" && c.parent == nil {
		s, err := c.sibling(l.r.Origin)
		if err != nil {
			return platform.Reply{}, err
		}
		return s.do(ctx, l)
	}
	l.number = c.numbers.Add(1)
	reply, err := c.rounds(ctx, l)
	c.tellEnd(ctx, l, err)
	return reply, err
}

// rounds makes attempts until one brings an end.
func (c *Client) rounds(ctx context.Context, l *logical) (platform.Reply, error) {
	for {
		reply, next := c.round(ctx, l)
		if !next.again {
			return reply, next.err
		}
		if err := c.pause(ctx, l, next); err != nil {
			return platform.Reply{}, err
		}
	}
}

// tellEnd tells how a request ended. One that its caller gave up has no class of its own.
func (c *Client) tellEnd(ctx context.Context, l *logical, err error) {
	end := observe.RequestEnded{
		Request: l.number, Endpoint: l.r.Endpoint, Page: observe.PageOf(ctx), Attempts: l.attempts, Duration: time.Since(l.begin), Token: l.r.Uncounted,
	}
	if e, ok := errors.AsType[*ads.Error](err); ok {
		end.Class, end.Code = e.Class, e.Code
	} else if err != nil {
		end.Code = "stopped"
	}
	c.emit(end)
}

// round makes one attempt with all it takes: a token, leave to ask the host, a slot. Whatever it holds is let go when it returns, also by a
// panic of the connector.
func (c *Client) round(ctx context.Context, l *logical) (platform.Reply, outcome) {
	fail := func(err error) (platform.Reply, outcome) { return platform.Reply{}, outcome{err: err} }
	var tok *token
	if c.auth != nil && !l.r.NoAuth {
		var release func()
		var err error
		if tok, release, err = c.auth.token(ctx, c); err != nil {
			return fail(err)
		}
		defer release()
		c.tellTokenEnd(ctx, tok)
	}
	if next, held := c.scopes.wait(l.r.Scope); held {
		return platform.Reply{}, next
	}
	defer c.circuit.leave(l)
	if err := c.admit(ctx, l); err != nil {
		return fail(err)
	}
	slot, place, again, err := c.onTheWire(ctx, l)
	switch {
	case again:
		return platform.Reply{}, outcome{again: true}
	case err != nil:
		return fail(err)
	}
	defer place.leave() // nothing, where it has been left
	giveBack := func() {}
	if slot != nil {
		defer slot.Done(false) // nothing, where it has ended
		giveBack = slot.GiveBack
	}
	if err := c.stopped(l); err != nil || ctx.Err() != nil {
		giveBack()
		if err == nil {
			err = context.Cause(ctx)
		}
		return fail(err)
	}
	if l.barred < maxBarred && c.circuit.bars(l) {
		giveBack() // the host went down in the meantime: what is not a probe waits for it
		l.barred++
		return platform.Reply{}, outcome{again: true}
	}
	if tok != nil {
		now := c.auth.latest()
		if now == nil {
			// It ended while something else was waited for. A new one first: fetching it now would keep the slot from being used.
			giveBack()
			if l.renewals++; l.renewals > maxRenewals {
				return fail(&ads.Error{
					Class: ads.ClassTransient, Code: CodeOutage, Endpoint: l.r.Endpoint,
					Message: "the platform's tokens end before they can be used", Hint: "the token page may be too slow for the life of its tokens",
				})
			}
			return platform.Reply{}, outcome{again: true}
		}
		tok = now
	}
	a := c.attempt(ctx, l, tok, slot)
	place.ends(a)
	next := c.judge(ctx, l, tok, slot, a)
	if next.again || next.err != nil {
		return platform.Reply{}, next
	}
	return a.reply, next
}

// slot takes a slot of the quota, if there is one.
func (c *Client) slot(ctx context.Context, l *logical, maxWait time.Duration) (*quota.Slot, error) {
	r := l.r
	if r.Uncounted || c.c.Bucket == nil {
		return nil, nil
	}
	w := c.waits.begin()
	defer w.end()
	tell := w.tell
	if c.auth != nil && !r.NoAuth {
		defer c.auth.queue(c)()
		tell = func(ev observe.WaitStarted) {
			c.auth.needBy(c, ev.Until)
			w.tell(ev)
		}
	}
	s, err := c.c.Bucket.Take(ctx, quota.Ask{
		Owner: c.c.Ref.String(), Place: l.place, Priority: r.Priority, MaxWait: maxWait, OnWait: tell,
	})
	if err != nil {
		return nil, err
	}
	l.place = s.Place()
	if c.limit == nil {
		c.emit(c.c.Bucket.Use())
	}
	return s, nil
}

// judge decides what an attempt means for its request, for the token, the slot and the host.
func (c *Client) judge(ctx context.Context, l *logical, tok *token, slot *quota.Slot, a attempt) outcome {
	v := a.verdict
	if a.barred != nil { // it says nothing about the host
		slot.GiveBack()
		slow, ok := errors.AsType[*ads.Error](a.barred)
		if l.unlogged++; !ok || l.unlogged > maxUnlogged || ctx.Err() != nil {
			return outcome{err: a.barred}
		}
		l.try--
		return outcome{again: true, pause: time.Duration((0.5 + c.c.Rand()) * float64(time.Second)), cause: slow}
	}
	if c.limit != nil && !l.r.Uncounted {
		c.limit.learn(v.Class)
	}
	switch v.Class {
	case ads.ClassOK:
		if slot != nil {
			slot.Done(true)
		}
		if tok != nil {
			c.auth.works(c, tok)
		}
		c.circuit.success(c)
		c.endpointOK(l.r.Endpoint)
		c.heed(l, a)
		return outcome{}
	case ads.ClassThrottled:
		c.circuit.success(c) // a host that refuses is up
		return c.refused(l, slot, a)
	case ads.ClassTokenDead:
		c.circuit.success(c)
		return c.tokenDead(l, tok, slot, a)
	}
	if slot != nil {
		if a.sent {
			slot.Done(a.status > 0)
		} else {
			slot.GiveBack()
		}
	}
	if a.cut {
		return outcome{err: context.Cause(ctx)} // by us: it says nothing about the host
	}
	if a.stale && l.mayRepeat(a) {
		l.stale++
		c.http.CloseIdleConnections() // the others were kept as long
		return outcome{again: true}
	}
	e := c.errorOf(l, a)
	switch v.Class {
	case ads.ClassTransient, ads.ClassUnreachable:
		if v.Code == codeSockets { // the host knows nothing of it, and no try is spent
			l.try--
			c.c.Shared.CloseIdle() // there are some in reserve, perhaps for other hosts
			if delay := time.Duration((0.5 + c.c.Rand()) * float64(time.Second)); l.spent+delay <= c.c.MaxElapsed {
				return outcome{again: true, pause: delay, cause: e}
			}
			return outcome{err: e}
		}
		return c.retryOrGiveUp(ctx, l, a, e, c.circuitFailure(ctx, l, a, e))
	case ads.ClassBadReply:
		c.circuit.success(c) // an answer that makes no sense still is one
		return c.retryOrGiveUp(ctx, l, a, e, false)
	}
	c.circuit.success(c)
	c.endpointOK(l.r.Endpoint)
	if v.Class == ads.ClassAuth && !l.renews {
		return outcome{err: c.refuseAll("credentials refused", *e)}
	}
	return outcome{err: e}
}

// tokenDead gives the token up, if it still is the one in use, and repeats the request with another.
func (c *Client) tokenDead(l *logical, tok *token, slot *quota.Slot, a attempt) outcome {
	if slot != nil {
		if a.verdict.NotCounted {
			slot.GiveBack()
		} else {
			slot.Done(true)
		}
	}
	if tok == nil {
		return outcome{err: c.errorOf(l, a)}
	}
	if err := c.auth.refused(c, tok, a.verdict); err != nil {
		return outcome{err: err}
	}
	if c.auth.outlived(tok) {
		l.outlived++
	} else {
		l.reauthed++
	}
	if l.reauthed > maxReauth || l.outlived > maxOutlived {
		e := c.errorOf(l, a)
		e.Class = ads.ClassAuth
		return outcome{err: c.kill(c.named("every token refused", *e))}
	}
	return outcome{again: true}
}

// circuitFailure tells the circuit, unless no repetition would help. It reports whether the host is down: then the attempt was a probe and spent no try.
func (c *Client) circuitFailure(ctx context.Context, l *logical, a attempt, e *ads.Error) (down bool) {
	if l.badSince.IsZero() {
		l.badSince = time.Now()
	}
	if final(e) {
		return false
	}
	return c.circuit.failure(ctx, c, l, a)
}

// final are errors of the way to the host that the next try meets again.
func final(e *ads.Error) bool {
	return e.Code == codeTLS || e.Code == codeProxyAuth || e.Code == codeProxyPlain
}

// retryOrGiveUp decides about another try after a failure that may pass.
func (c *Client) retryOrGiveUp(ctx context.Context, l *logical, a attempt, e *ads.Error, down bool) outcome {
	if l.badSince.IsZero() {
		l.badSince = time.Now()
	}
	l.last = e
	if final(e) || (a.sent && !l.r.Repeatable) {
		return outcome{err: e}
	}
	if ctx.Err() != nil {
		return outcome{err: context.Cause(ctx)}
	}
	if down {
		// admit makes it wait, and gives up when the outage has lasted too long.
		l.try--
		if a.told == 0 {
			c.emit(observe.Retry{Endpoint: l.r.Endpoint, Try: l.try, Class: e.Class, Code: e.Code, Message: e.Message, Request: l.number})
		}
		return outcome{again: true, pause: a.told, told: a.told > 0, cause: e}
	}
	if l.try >= c.tries(l) {
		return outcome{err: e}
	}
	if e.Class == ads.ClassUnreachable && !c.circuit.answered() && time.Since(l.begin) > neverAnswered {
		return outcome{err: e}
	}
	poor := !c.spendRetry()
	if poor && !l.r.Critical {
		return outcome{err: e}
	}
	if a.told > 0 {
		return outcome{again: true, pause: a.told, told: true, cause: e}
	}
	delay := retry.Default.Delay(l.try, c.c.Rand())
	if l.try >= MaxTries {
		delay = 2*time.Second<<(l.try-MaxTries) + delay/4
	}
	if poor {
		delay = max(delay, poorDelay)
	}
	if l.spent+delay > c.c.MaxElapsed {
		return outcome{err: e}
	}
	return outcome{again: true, pause: delay, cause: e}
}

// pause waits before the next attempt: for our own reasons, which count as time spent, or because the server asked for it, which do not.
func (c *Client) pause(ctx context.Context, l *logical, o outcome) error {
	if o.pause <= 0 {
		return nil
	}
	if o.told {
		return c.obey(ctx, l, o.pause, o.cause)
	}
	c.emit(observe.Retry{Endpoint: l.r.Endpoint, Try: l.try, Class: o.cause.Class, Code: o.cause.Code, Message: o.cause.Message, Delay: o.pause, Request: l.number})
	l.spent += o.pause
	return sleep(ctx, o.pause)
}

// tries is how often a request may be tried. One that the run cannot do without gets three more while its endpoint answers nobody.
func (c *Client) tries(l *logical) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = map[string]int{}
	}
	c.failed[l.r.Endpoint]++
	if l.r.Critical && c.failed[l.r.Endpoint] >= MaxTries && c.circuit.answered() {
		return MaxTriesCritical
	}
	return MaxTries
}

func (c *Client) endpointOK(endpoint string) {
	c.mu.Lock()
	delete(c.failed, endpoint)
	c.mu.Unlock()
}

func (c *Client) spendRetry() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budget.Spend()
}

// obey waits as long as the server asked, with a 503 for instance. It delays this request alone.
func (c *Client) obey(ctx context.Context, l *logical, wait time.Duration, e *ads.Error) error {
	told := wait
	wait = min(wait, quota.MaxBlock)
	until := time.Now().Add(wait)
	whose := cmp.Or(e.Bucket, c.c.Ref.ClientID)
	if l.token {
		c.auth.stays(until, e)
	}
	if wait > c.c.MaxWait {
		return &ads.Error{
			Class: ads.ClassDeferred, Code: "told", Endpoint: l.r.Endpoint, Until: until.UTC(), Told: told, Bucket: whose,
			Message: fmt.Sprintf("deferred until %s: the platform asked to wait (%s)", until.UTC().Format("2006-01-02 15:04:05 UTC"), e.Message),
			Hint:    "run again then: it goes on where it stopped", Err: e,
		}
	}
	c.emit(observe.Retry{Endpoint: l.r.Endpoint, Try: l.try, Class: e.Class, Code: e.Code, Message: e.Message, Delay: wait, Request: l.number})
	w := c.waits.begin()
	defer w.end()
	w.tell(observe.WaitStarted{Reason: observe.WaitServer, Bucket: whose, Until: until, Told: told})
	return sleep(ctx, wait)
}

// refused obeys a refusal for quota: the whole bucket stays away.
func (c *Client) refused(l *logical, slot *quota.Slot, a attempt) outcome {
	c.throttled.Add(1)
	l.refusals++
	wait, note := a.told, ""
	if wait == 0 {
		n := l.refusals
		if slot != nil {
			n = max(n, c.c.Bucket.Refusals()+1)
		}
		wait = max(time.Second, retry.Silent.Delay(n, c.c.Rand()))
		note = "no time given, backing off"
	}
	if l.refusals > maxRefusals || (slot == nil && l.refusals >= 8) {
		e := c.errorOf(l, a)
		e.Class, e.Until, e.Told = ads.ClassDeferred, time.Now().Add(wait).UTC(), a.told
		return outcome{err: e}
	}
	if note != "" {
		c.emit(observe.Note{Level: observe.Info, Code: "refused_without_time", Message: "refused for quota, " + note + " " + wait.Round(time.Millisecond).String()})
	}
	if l.r.Scope != "" && !a.verdict.Whole {
		return c.refusedScope(l, slot, a, wait)
	}
	if slot == nil { // a token request, or no quota kept: the wait is this connection's own
		return outcome{again: true, pause: wait, told: true, cause: c.errorOf(l, a)}
	}
	effective, declared, err := slot.Refused(wait, a.told, !a.verdict.NotCounted)
	if effective.N > 0 && effective.N < declared.N {
		c.mu.Lock()
		news := c.shared != effective.N
		c.shared = effective.N
		c.mu.Unlock()
		if news {
			c.emit(observe.Note{
				Level: observe.Warn, Code: "quota_shared",
				Message: fmt.Sprintf("another user of this quota: effective rate %s of %s for %s", effective.Rate(), declared.Rate(), c.c.Bucket.Label()),
				Hint:    "is another program, or another adsync with its own database, using the same client id?",
			})
		}
	}
	return outcome{again: err == nil, err: err}
}

// heed slows down before a refusal, where a good answer says how much of a quota is left.
func (c *Client) heed(l *logical, a attempt) {
	if hold := a.verdict.Hold; hold > 0 && l.r.Scope != "" {
		e := c.errorOf(l, a)
		e.Class, e.Bucket, e.Message = ads.ClassThrottled, l.r.Scope, "almost all of the quota of "+l.r.Scope+" is used"
		c.scopes.hold(l.r.Scope, held{until: time.Now().Add(min(hold, quota.MaxBlock)), why: e})
	}
	if c.c.Bucket == nil || l.r.Uncounted {
		return
	}
	if wait, ok := retry.Exhausted(a.reply.Header, time.Now()); ok && wait > 0 {
		c.c.Bucket.Hold(wait, wait)
	}
	if u := a.verdict.Usage; u.Set && c.c.Bucket.Usage(u.Value) {
		c.emit(observe.Note{
			Level: observe.Info, Code: "slowing_down",
			Message: fmt.Sprintf("slowing down at %.0f %% of the quota of %s", 100*u.Value, c.c.Bucket.Label()),
		})
	}
}

// errorOf puts a failed attempt in words.
func (c *Client) errorOf(l *logical, a attempt) *ads.Error {
	v := a.verdict
	e := &ads.Error{
		Class: v.Class, Code: v.Code, Message: v.Message, Hint: v.Hint, Endpoint: l.r.Endpoint, Status: a.status,
		RequestID: v.RequestID, Attempts: l.try,
	}
	return e
}

// outage is the error after a host was down for as long as a request may be retried.
func (c *Client) outage(l *logical, since time.Time) error {
	e := &ads.Error{
		Class: ads.ClassTransient, Code: CodeOutage, Endpoint: l.r.Endpoint, Attempts: l.try,
		Message: fmt.Sprintf("%s has not answered for %s", c.host, time.Since(since).Round(time.Second)),
		Hint:    "the platform is down; run again later: it goes on where it stopped",
	}
	if last := l.last; last != nil {
		e.Class, e.Status, e.Err = last.Class, last.Status, last
		e.Message += "; last: " + last.Message
	}
	return e
}

// parkedUntil is the error of a request that does not wait for a host which is down for long.
func (c *Client) parkedUntil(l *logical, until, since time.Time) error {
	e := &ads.Error{
		Class: ads.ClassDeferred, Code: CodeOutage, Endpoint: l.r.Endpoint, Attempts: l.try, Until: until.UTC(), Bucket: c.host,
		Message: fmt.Sprintf("deferred until %s: %s has not answered for %s", until.UTC().Format("2006-01-02 15:04:05 UTC"), c.host, inWords(time.Since(since))),
		Hint:    "the platform is down; it is asked again then, and the run goes on where it stopped",
	}
	if l.last != nil {
		e.Status, e.Err = l.last.Status, l.last
	}
	return e
}

// inWords puts a length of time as a person would say it.
func inWords(d time.Duration) string {
	n, unit := int(d.Round(time.Second)/time.Second), "second"
	switch {
	case d >= 2*time.Hour:
		n, unit = int(d.Round(time.Hour)/time.Hour), "hour"
	case d >= 2*time.Minute:
		n, unit = int(d.Round(time.Minute)/time.Minute), "minute"
	}
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	return await(ctx, nil, time.Now().Add(d))
}
