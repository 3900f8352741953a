package apiclient

import (
	"context"
	"strings"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/secret"
	"adsync/internal/tokens"
)

// token is a bearer token. Its life is counted on the monotonic clock from its receipt: neither the platform's clock nor what it says of the
// time of issue is trusted.
type token struct {
	value  string
	due    time.Time // to be renewed
	end    time.Time // not to be used any more
	worked bool
	last   time.Time // when it worked last
	old    bool      // it was kept, so it may have ended long ago: that it is refused says nothing of the credentials
	lasts  time.Time // when there will be no other one without somebody's help; zero: no such end is known
	why    string    // and why
}

const (
	unknownLife = time.Hour      // of a token whose life the platform did not say
	longestLife = 24 * time.Hour // whatever it said
	usableShare = 0.92           // of its life

	maxFreshRefusals = 2 // a second fresh token that is refused settles it
	firstProvers     = 4 // requests that may try a first token before any of them has worked

	renewalWait = 5 * time.Second  // a renewal is waited for although the old token is still good
	ahead       = 2 * time.Second  // a token that will be needed is fetched so long before
	fetchPause  = 10 * time.Second // after a failure to renew a token that is still good
)

// text is the token's value; empty where there is no token.
func (t *token) text() string {
	if t == nil {
		return ""
	}
	return t.value
}

// auth has the token that all connections with the same credentials share: fetched by one at a time, in the name of the connection that needed it first,
// renewed ahead of its end, and once when the platform refuses it.
type auth struct {
	mu      sync.Mutex
	current *token
	fetch   *fetch // under way
	reason  string // of the next fetch
	pause   time.Time
	stay    time.Time  // the token page is not asked before, by its own order
	order   *ads.Error // in which it came
	ever    bool       // some token has worked
	doubt   bool       // the last one was refused, and none has worked since

	line     line // for places
	refusals int  // fresh tokens refused in a row
	proof    chan struct{}

	dead   string        // the token that was refused last
	again  bool          // somebody has asked for what was refused to be tried again
	hidden []secret.Text // tokens that the platform may repeat in its answers
}

// seat is one connection's part in an auth. auth.mu guards it.
type seat struct {
	proving  int         // its requests that try a token which has not worked yet
	refusals int         // fresh tokens refused to it in a row
	waiting  int         // its requests that wait for a slot
	needed   *time.Timer // a fetch that is planned for them
	neededAt time.Time
}

// fetch is one token request with those who wait for it.
type fetch struct {
	of      *Client
	done    chan struct{}
	began   time.Time
	err     error // once done is closed
	cancel  context.CancelFunc
	waiters int
	left    bool // by all of them
}

func newAuth() *auth { return &auth{reason: "first", proof: make(chan struct{})} }

func nothing() {}

// token gives the token to send with, fetching it where there is none. A token that has not worked yet is given to few until it has. release must be
// called when the request is over, once.
func (t *auth) token(ctx context.Context, c *Client) (*token, func(), error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if err := c.deadError(); err != nil {
			return nil, nothing, err
		}
		now := time.Now()
		if tok := t.current; tok != nil && now.Before(tok.end) {
			if !now.Before(tok.due) {
				if t.fetch == nil && !now.Before(t.pause) {
					t.begin(c)
				}
				// A platform may end the old token with the new one, so a renewal is waited for; but not for long.
				if until := t.patience(tok); t.fetch != nil && now.Before(until) {
					_ = t.join(ctx, until) // a renewal that failed is tried again later: the old token is good
					if ctx.Err() != nil {
						return nil, nothing, context.Cause(ctx)
					}
					continue
				}
			}
			if tok.worked || (t.ever && !t.doubt) {
				return tok, nothing, nil
			}
			provers := 1
			if !t.ever && !t.doubt {
				provers = firstProvers
			}
			if c.seat.proving < provers {
				c.seat.proving++
				return tok, func() { t.proved(c) }, nil
			}
			proof := t.proof
			t.mu.Unlock()
			err := await(ctx, proof, tok.end)
			t.mu.Lock()
			if err != nil {
				return nil, nothing, err
			}
			continue
		}
		if t.fetch == nil {
			t.begin(c)
		}
		f := t.fetch
		if err := t.join(ctx, time.Time{}); err != nil {
			switch {
			case ctx.Err() != nil:
				return nil, nothing, context.Cause(ctx)
			case f.left:
				continue // it was ending when this request came to it
			}
			return nil, nothing, c.asOwn(f.of, err)
		}
	}
}

// patience is until when a renewal is waited for though the old token is good.
func (t *auth) patience(tok *token) time.Time {
	if t.fetch == nil {
		return time.Time{}
	}
	if until := t.fetch.began.Add(renewalWait); until.Before(tok.end) {
		return until
	}
	return tok.end
}

// join waits for the fetch under way, at most until a time (zero: to its end), and gives its error or that of ctx. t.mu is held, but not while it waits.
func (t *auth) join(ctx context.Context, until time.Time) error {
	f := t.fetch
	f.waiters++
	t.mu.Unlock()
	err := await(ctx, f.done, until)
	t.mu.Lock()
	if f.waiters--; f.waiters == 0 && err != nil {
		f.left = true // nobody wants it any more
		f.cancel()
	}
	if err != nil {
		return err
	}
	return f.err
}

// asOwn puts the error of a token request that another connection made in this one's name.
func (c *Client) asOwn(of *Client, err error) error {
	if dead := c.deadError(); dead != nil {
		return dead
	}
	e, ok := err.(*ads.Error)
	if !ok || of == c || e.Bucket != of.c.Ref.ClientID {
		return err
	}
	out := *e
	out.Bucket = c.c.Ref.ClientID
	return &out
}

// proved ends a request that tried a token.
func (t *auth) proved(c *Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.seat.proving--
	t.wakeProof()
}

func (t *auth) wakeProof() {
	close(t.proof)
	t.proof = make(chan struct{})
}

// latest gives the token to send with now: the one that was got before a wait, or what has replaced it; nil when a new one must be fetched first.
func (t *auth) latest() *token {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil || !time.Now().Before(t.current.end) {
		return nil
	}
	return t.current
}

// queue says that a request waits for a slot from now on; the function it returns ends that.
func (t *auth) queue(c *Client) (leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.seat.waiting++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if c.seat.waiting--; c.seat.waiting == 0 && c.seat.needed != nil {
			c.seat.needed.Stop()
			c.seat.needed = nil
		}
	}
}

// needBy plans that there is a good token at a time for which a request waits, so that the slot is not wasted on fetching it.
func (t *auth) needBy(c *Client, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil || at.Before(t.current.end) || t.fetch != nil {
		return
	}
	life := t.current.end.Sub(t.current.due) // a fifth of it or less
	at = at.Add(-min(ahead, max(life, 100*time.Millisecond)))
	if c.seat.needed != nil {
		if at.Equal(c.seat.neededAt) {
			return
		}
		c.seat.needed.Stop()
	}
	c.seat.neededAt = at
	c.seat.needed = time.AfterFunc(time.Until(at), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		c.seat.needed = nil
		if now := time.Now(); t.current != nil && !now.Before(t.current.due) && t.fetch == nil && !now.Before(t.pause) && c.deadError() == nil {
			t.begin(c)
		}
	})
}

// begin starts to fetch a token for c. It goes on while anybody waits for it, whoever began it. t.mu is held.
func (t *auth) begin(c *Client) {
	if c.parent != nil {
		c = c.parent // token requests go to the connection's own address, or to the one that they name
	}
	limit := c.c.MaxElapsed + c.c.MaxWait
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, &ads.Error{
		Class: ads.ClassTransient, Code: CodeOutage, Endpoint: "token", Message: "the platform gave no token within " + inWords(limit), Hint: "run again later: it goes on where it stopped",
	})
	f := &fetch{of: c, done: make(chan struct{}), began: time.Now(), cancel: cancel}
	t.fetch = f
	reason := t.reason
	go func() {
		defer cancel()
		tok, life, err := t.ask(ctx, c)
		t.mu.Lock()
		if f.err = t.failed(err); err == nil {
			t.current, t.reason = tok, "ahead"
			if tok.old && !time.Now().Before(tok.due) {
				t.pause = time.Now().Add(fetchPause)
			}
		} else {
			t.pause = time.Now().Add(fetchPause)
		}
		t.fetch = nil
		close(f.done)
		t.mu.Unlock()
		if err == nil && !tok.old {
			c.emit(observe.TokenRenewed{Reason: reason, Life: life})
		}
	}()
}

// stays keeps in mind until when the token page is not to be asked, for whoever asks next.
func (t *auth) stays(until time.Time, order *ads.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if until.After(t.stay) {
		t.stay, t.order = until, order
	}
}

// told waits for as long as the token page has asked to be left alone.
func (t *auth) told(ctx context.Context, c *Client, l *logical) error {
	t.mu.Lock()
	wait, order := time.Until(t.stay), t.order
	t.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	return c.obey(ctx, l, wait, order)
}

// failed is what those get who wait for a token that could not be had. It concerns every request, not the one that happened to ask.
func (t *auth) failed(err error) error {
	e, ok := err.(*ads.Error)
	if !ok || (e.Class != ads.ClassTransient && e.Class != ads.ClassBadReply) || e.Code == CodeOutage || e.Code == tokens.CodeStore {
		return err
	}
	out := *e
	out.Code, out.Err = CodeOutage, e
	return &out
}

// ask makes the token request. A connector that panics spoils this connection only.
func (t *auth) ask(ctx context.Context, c *Client) (tok *token, life time.Duration, err error) {
	defer func() {
		if v := recover(); v != nil {
			tok, err = nil, &ads.Error{Class: ads.ClassInternal, Code: "panic", Message: "the connector failed on the token answer (a bug)"}
		}
	}()
	return t.obtain(ctx, c, &logical{c: c, token: true, begin: time.Now()})
}

// printable says whether a token can stand in a header.
func printable(v string) bool {
	return v != "" && len(v) <= 64<<10 && !strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' })
}

// forgive forgets what was refused, and the token with it.
func (t *auth) forgive() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current, t.reason, t.pause, t.refusals, t.doubt, t.again = nil, "first", time.Time{}, 0, false, true
	t.wakeProof()
}

// ofLate is how long a token that works is taken to be good for others.
const ofLate = 5 * time.Second

// outlived says that a token was good once, and that nobody has used it of late.
func (t *auth) outlived(tok *token) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return tok.worked && time.Since(tok.last) > ofLate
}

func (t *auth) works(c *Client, tok *token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tok.last = time.Now()
	if tok == t.current {
		c.seat.refusals = 0
	}
	if tok.worked {
		return
	}
	tok.worked, t.ever = true, true
	if tok == t.current {
		t.doubt, t.refusals = false, 0
	}
	t.wakeProof()
}

// refused takes in that the platform refused a token to c. Only the one in use is given up: an older one has been replaced already. Credentials whose
// tokens have worked for anybody are not given up for all when one connection's are refused: that is the connection's own trouble.
func (t *auth) refused(c *Client, tok *token, v platform.Verdict) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tok != t.current {
		return nil
	}
	t.current, t.reason, t.pause, t.doubt, t.dead = nil, "refused", time.Time{}, true, tok.value
	t.wakeProof()
	if tok.worked || tok.old {
		return nil
	}
	c.seat.refusals++
	if t.refusals++; t.refusals < maxFreshRefusals {
		return nil
	}
	what, e := "fresh token refused", ads.Error{
		Class: ads.ClassAuth, Code: "fresh_token_refused", Status: 401, RequestID: v.RequestID, Message: v.Message,
		Hint: "the credentials buy tokens that the API does not accept: check that the user still has access",
	}
	if !t.ever {
		return c.refuseAll(what, e)
	}
	if c.seat.refusals < maxFreshRefusals {
		return nil
	}
	return c.kill(c.named(what, e))
}
