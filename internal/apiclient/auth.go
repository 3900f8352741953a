package apiclient

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
)

// token is a bearer token in use. It is renewed when due, which is counted on the monotonic clock from its receipt: neither the platform's clock
// nor what it says of the time of issue is trusted.
type token struct {
	value  string
	due    time.Time
	worked bool
}

const (
	unknownLife = time.Hour      // of a token whose life the platform did not say
	longestLife = 24 * time.Hour // whatever it said
)

// auth has a connection's token: one for all, fetched by one at a time, renewed ahead of its end, and once when the platform refuses it.
type auth struct {
	c *Client
	a platform.Authenticator

	mu       sync.Mutex
	current  *token
	fetching chan struct{} // closed when the fetch under way ends
	fetchErr error
	reason   string // of the next fetch
	refusals int    // fresh tokens refused in a row
	proving  bool   // after a refusal: one request tries the new token before the others do
	proof    chan struct{}
}

func newAuth(c *Client, a platform.Authenticator) *auth { return &auth{c: c, a: a, reason: "first"} }

// maxFreshRefusals: a second fresh token that is refused settles it.
const maxFreshRefusals = 2

// token gives the token to send with. release must be called when its request is over.
func (t *auth) token(ctx context.Context) (*token, func(), error) {
	nothing := func() {}
	for {
		t.mu.Lock()
		if err := t.c.deadError(); err != nil {
			t.mu.Unlock()
			return nil, nothing, err
		}
		if tok := t.current; tok != nil && time.Now().Before(tok.due) {
			if tok.worked || t.refusals == 0 {
				t.mu.Unlock()
				return tok, nothing, nil
			}
			if !t.proving {
				t.proving, t.proof = true, make(chan struct{})
				proof := t.proof
				t.mu.Unlock()
				return tok, func() {
					t.mu.Lock()
					t.proving = false
					t.mu.Unlock()
					close(proof)
				}, nil
			}
			proof := t.proof
			t.mu.Unlock()
			select {
			case <-proof:
			case <-ctx.Done():
				return nil, nothing, context.Cause(ctx)
			}
			continue
		}
		if t.fetching == nil {
			t.fetching = make(chan struct{})
			go t.fetch(context.WithoutCancel(ctx), t.reason)
		}
		fetching := t.fetching
		t.mu.Unlock()
		select {
		case <-fetching:
			t.mu.Lock()
			err := t.fetchErr
			ok := t.current != nil
			t.mu.Unlock()
			if err != nil && !ok {
				return nil, nothing, err
			}
		case <-ctx.Done():
			return nil, nothing, context.Cause(ctx)
		}
	}
}

// fetch gets a token. Nobody's cancellation ends it, since others wait for it too; its own bounds do.
func (t *auth) fetch(ctx context.Context, reason string) {
	ctx, cancel := context.WithTimeout(ctx, t.c.c.MaxElapsed+t.c.c.MaxWait)
	defer cancel()
	tok, life, err := t.ask(ctx)
	t.mu.Lock()
	t.fetchErr = err
	t.current = tok
	if err == nil {
		t.reason = "ahead"
	}
	close(t.fetching)
	t.fetching = nil
	t.mu.Unlock()
	if err == nil {
		t.c.emit(observe.TokenRenewed{Reason: reason, Life: life})
	}
}

func (t *auth) ask(ctx context.Context) (*token, time.Duration, error) {
	r := t.a.TokenRequest()
	r.NoAuth, r.Basic, r.Uncounted = true, true, true
	var got platform.Token
	var received time.Time
	r.Parse = func(reply platform.Reply) error {
		received = time.Now()
		var err error
		if got, err = t.a.ParseToken(reply); err != nil {
			return err
		}
		if !printable(got.Value) {
			return &ads.Error{Class: ads.ClassBadReply, Code: "bad_token", Endpoint: r.Endpoint, Message: "the token answer has an empty token, or one with characters that no token may have"}
		}
		return nil
	}
	if _, err := t.c.Do(ctx, r); err != nil {
		return nil, 0, err
	}
	life := got.Life
	if life <= 0 {
		life = unknownLife
	}
	life = min(life, longestLife)
	share := 0.75 + 0.05*t.c.c.Rand()
	return &token{value: got.Value, due: received.Add(time.Duration(float64(life) * share))}, life, nil
}

// printable says whether a token can stand in a header.
func printable(v string) bool {
	return v != "" && !strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' })
}

// good says that a token is still the one to use.
func (t *auth) good(tok *token) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return tok == t.current && time.Now().Before(tok.due)
}

func (t *auth) works(tok *token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tok.worked = true
	if tok == t.current {
		t.refusals = 0
	}
}

// refused takes in that the platform refused a token. Only the one in use is given up: an older one has been replaced already.
func (t *auth) refused(tok *token, v platform.Verdict) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tok != t.current {
		return nil
	}
	t.current, t.reason = nil, "refused"
	if tok.worked {
		t.refusals = 1
		return nil
	}
	if t.refusals++; t.refusals < maxFreshRefusals {
		return nil
	}
	msg := fmt.Sprintf("fresh token refused for client %s", t.c.c.Ref.ClientID)
	if t.c.c.CredentialSource != "" {
		msg += " (source: " + t.c.c.CredentialSource + ")"
	}
	return t.c.kill(&ads.Error{
		Class: ads.ClassAuth, Code: "fresh_token_refused", Status: 401, RequestID: v.RequestID, Message: msg + ": " + v.Message,
		Hint: "the credentials buy tokens that the API does not accept: check that the user still has access",
	})
}
