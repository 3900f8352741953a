package apiclient

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/secret"
	"adsync/internal/tokens"
)

const (
	exchangeShare = 0.5                        // of the life of a token that is exchanged for the next: once it has ended it cannot be
	noEnd         = 100 * 365 * 24 * time.Hour // the life of a token that ends only when somebody makes it
	lastBit       = time.Hour                  // of a long life that is not used, at most
	lateBit       = 0.08                       // and the share of a short one
	mostHidden    = 8
	tellWithin    = 10 * time.Second
)

// keeper is where c's tokens are kept; nil: nowhere, they are fetched anew by each process. What has to be renewed from an earlier one is kept in any case.
func (c *Client) keeper() *tokens.Manager {
	switch s := c.c.Shared; {
	case s.c.Tokens != nil:
		return s.c.Tokens
	case c.refresher != nil:
		return s.memory()
	}
	return nil
}

// memory keeps tokens where there is no database for them.
func (s *Shared) memory() *tokens.Manager {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inMemory == nil {
		s.inMemory = tokens.InMemory()
	}
	return s.inMemory
}

// obtain gets a token that nobody has refused yet: one that is kept, or another from the platform.
func (t *auth) obtain(ctx context.Context, c *Client, l *logical) (tok *token, life time.Duration, err error) {
	m := c.keeper()
	if m == nil {
		got, at, err := t.login(ctx, c, l)
		if err != nil {
			return nil, 0, err
		}
		return t.plain(c, got, at), lifeOf(got), nil
	}
	t.mu.Lock()
	dead, again := t.dead, t.again
	t.again = false
	t.mu.Unlock()
	lost := time.Time{}
	w := tokens.Want{
		Platform: c.spec.Name, Credential: c.credentialParts(), Login: c.loginName(), Rotates: c.refresher != nil,
		Good: func(k tokens.Kept) bool {
			due, end := c.times(k)
			if c.stuck(k) && !again {
				due = end
			}
			return k.Generation > 0 && k.Value != "" && k.Value != dead && time.Now().Before(due)
		},
		Fetch: func(ctx context.Context, k tokens.Kept) (platform.Token, error) {
			t.hides(k.Value, k.Refresh)
			got, err := t.exchange(ctx, c, l, k, dead, again)
			t.hides(got.Value, got.Refresh)
			return got, err
		},
		Outcome: outcomeOf,
		Lost: func(began time.Time) {
			lost = began
			c.emit(observe.Note{
				Level: observe.Warn, Code: "token_lost", Message: "a renewal of the token was begun at " + utcText(began) + " and never stored: the process that began it has ended, or the platform did not answer it",
				Hint: "the refresh token is tried once more; where the platform has replaced it already, somebody has to authorise adsync again",
			})
		},
	}
	if c.refresher != nil {
		w.Seed = platform.Token{Value: c.c.Credentials.Get(platform.CredentialAccessToken).Reveal(), Refresh: c.c.Credentials.Get(platform.CredentialRefreshToken).Reveal()}
	}
	k, fetched, err := m.Obtain(ctx, w)
	t.hides(k.Value, k.Refresh)
	if err == nil {
		tok = c.tokenOf(k)
		tok.old = !fetched
		return tok, k.Life, nil
	}
	e, ok := err.(*ads.Error)
	if !ok || outcomeOf(err) != tokens.Refused || c.refresher == nil {
		return nil, 0, err
	}
	if _, end := c.times(k); k.Value != "" && k.Value != dead && time.Now().Before(end) {
		// It cannot be renewed, and is good until it ends.
		c.emit(observe.Note{Level: observe.Warn, Code: "token_not_renewed", Message: "the platform refuses to renew the token: " + e.Message, Hint: "the token is used until it ends; authorise adsync again before"})
		k.Refused = w.Login
		tok = c.tokenOf(k)
		tok.old = true
		return tok, k.Life, nil
	}
	out := *e
	if !lost.IsZero() {
		out.Message += "; a renewal that was begun at " + utcText(lost) + " was never stored, and the platform may have replaced the refresh token in it"
	}
	return nil, 0, c.refuseAll("credentials refused", out)
}

func utcText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// outcomeOf says what a failed token request has left behind.
func outcomeOf(err error) tokens.Outcome {
	e, ok := errors.AsType[*ads.Error](err)
	if !ok {
		return tokens.Unknown
	}
	switch e.Class {
	case ads.ClassAuth, ads.ClassTokenDead, ads.ClassDenied:
		return tokens.Refused
	case ads.ClassThrottled, ads.ClassDeferred, ads.ClassUnreachable, ads.ClassPermanent:
		return tokens.Settled
	}
	return tokens.Unknown
}

// exchange asks the platform for a token: by the one that there is, where that can be, else by a login.
func (t *auth) exchange(ctx context.Context, c *Client, l *logical, k tokens.Kept, dead string, again bool) (platform.Token, error) {
	if c.refresher == nil || k.Value+k.Refresh == "" {
		if c.authenticator == nil {
			return platform.Token{}, &ads.Error{Class: ads.ClassAuth, Code: "no_token", Message: "there is no token to begin with", Hint: "set credentials: access_token or refresh_token"}
		}
		got, _, err := t.login(ctx, c, l)
		return got, err
	}
	r := c.refresher.RefreshRequest(k.Token)
	var err error
	switch {
	case c.stuck(k) && !again:
		err = &ads.Error{Class: ads.ClassAuth, Code: "token_not_renewed", Message: "the platform has refused to renew the token", Hint: "authorise adsync again, and configure the new token"}
	case r.Method == "" && k.Value != "" && k.Value != dead && c.authenticator == nil:
		return platform.Token{}, tokens.ErrAsIs
	case r.Method == "":
		err = &ads.Error{Class: ads.ClassAuth, Code: "token_ended", Message: "the token has ended or is refused, and cannot be renewed", Hint: "authorise adsync again, and configure the new token"}
	default:
		var got platform.Token
		if got, _, err = t.send(ctx, c, &logical{c: c, r: r, token: true, renews: true, begin: time.Now()}, c.refresher.ParseToken); err == nil {
			return got, nil
		}
	}
	if c.authenticator == nil || outcomeOf(err) != tokens.Refused {
		return platform.Token{}, err
	}
	got, _, err := t.login(ctx, c, l)
	return got, err
}

// login makes the connector's own token request.
func (t *auth) login(ctx context.Context, c *Client, l *logical) (platform.Token, time.Time, error) {
	l.r = c.authenticator.TokenRequest()
	l.r.Basic = l.r.Seal == nil // a sealed request brings its own credentials: a second set in a header would contradict them
	return t.send(ctx, c, l, c.authenticator.ParseToken)
}

// send sends a token request and reads its answer.
func (t *auth) send(ctx context.Context, c *Client, l *logical, read func(platform.Reply) (platform.Token, error)) (got platform.Token, received time.Time, err error) {
	l.r.NoAuth, l.r.Uncounted = true, true
	endpoint := l.r.Endpoint
	l.r.Parse = func(reply platform.Reply) (err error) {
		received = time.Now()
		if got, err = read(reply); err != nil {
			return err
		}
		if got.Refresh != "" && !printable(got.Refresh) {
			return &ads.Error{Class: ads.ClassBadReply, Code: "bad_token", Endpoint: endpoint, Message: "the token answer has a refresh token with characters that none may have"}
		}
		if !printable(got.Value) {
			return &ads.Error{Class: ads.ClassBadReply, Code: "bad_token", Endpoint: endpoint, Message: "the token answer has an empty token, or one with characters that no token may have"}
		}
		return nil
	}
	if err := t.told(ctx, c, l); err != nil {
		return platform.Token{}, time.Time{}, err
	}
	if _, err := c.do(ctx, l); err != nil {
		return platform.Token{}, time.Time{}, err
	}
	return got, received, nil
}

// lifeOf is how long a token of a login is believed to live.
func lifeOf(got platform.Token) time.Duration {
	if got.Life <= 0 {
		return unknownLife
	}
	return min(got.Life, longestLife)
}

func (t *auth) plain(c *Client, got platform.Token, received time.Time) *token {
	return c.tokenOf(tokens.Kept{Token: got, Got: received})
}

// times are when a token is due to be renewed and when it is not used any more.
func (c *Client) times(k tokens.Kept) (due, end time.Time) {
	part := func(life time.Duration, s float64) time.Time { return k.Got.Add(time.Duration(float64(life) * s)) }
	share := 0.75 + 0.05*c.c.Rand()
	if c.refresher == nil {
		life := lifeOf(k.Token)
		return part(life, share), part(life, usableShare)
	}
	life := k.Life
	switch {
	case life <= 0 && k.Refresh != "" && k.Generation > 0:
		life = unknownLife
	case life <= 0:
		life = noEnd
	}
	end = k.Got.Add(life - min(lastBit, time.Duration(float64(life)*lateBit)))
	if k.Refresh == "" {
		share = exchangeShare
	}
	return part(life, share), end
}

// stuck says that a renewal was refused to who logs in as c does.
func (c *Client) stuck(k tokens.Kept) bool { return k.Refused != "" && k.Refused == c.loginName() }

// tokenOf makes of what is kept what requests are sent with.
func (c *Client) tokenOf(k tokens.Kept) *token {
	tok := &token{value: k.Value}
	tok.due, tok.end = c.times(k)
	if c.refresher == nil {
		return tok
	}
	switch {
	case c.stuck(k):
		tok.due = tok.end
		if k.Life > 0 {
			tok.lasts, tok.why = k.Got.Add(k.Life), "the platform refuses to renew it"
		}
	case k.Refresh != "":
		if !k.RefreshEnd.IsZero() && (k.Fixed || k.RefreshEnd.Before(tok.due)) {
			tok.lasts, tok.why = k.RefreshEnd, "its refresh token ends, and renewals do not prolong it"
		}
	case k.Life > 0 && c.refresher.RefreshRequest(k.Token).Method == "":
		tok.lasts, tok.why = k.Got.Add(k.Life), "it cannot be renewed"
	}
	return tok
}

// hides keeps values out of what is said of the platform's answers.
func (t *auth) hides(values ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range values {
		if v != "" {
			t.hidden = append(t.hidden, secret.New(v))
		}
	}
	if n := len(t.hidden) - mostHidden; n > 0 {
		t.hidden = append([]secret.Text(nil), t.hidden[n:]...)
	}
}

func (t *auth) hiding() []secret.Text {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hidden[:len(t.hidden):len(t.hidden)]
}

// tellTokenEnd tells, once for each end, when this connection can no longer get a token by itself, and warns when that is near and nobody has warned yet.
func (c *Client) tellTokenEnd(ctx context.Context, tok *token) {
	if c.parent != nil {
		c.parent.tellTokenEnd(ctx, tok)
		return
	}
	if c.refresher == nil {
		return
	}
	c.mu.Lock()
	now := tokens.Due(tok.lasts, time.Now())
	if tok.lasts.IsZero() {
		now = 0
	}
	known := c.endTold && tok.lasts.Equal(c.end) && now == c.endDays
	c.endTold, c.end, c.endDays = true, tok.lasts, now
	c.mu.Unlock()
	if known {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	days, err := c.keeper().Ends(ctx, tokens.End{Ref: c.c.Ref, At: tok.lasts, Why: tok.why})
	if err != nil {
		c.emit(observe.Note{Level: observe.Debug, Code: "token_end", Message: "when the token ends could not be written down: " + err.Error()})
		c.mu.Lock()
		c.endTold = false
		c.mu.Unlock()
		days = now
	}
	c.emit(observe.TokenEnds{At: tok.lasts, Days: days, Why: tok.why})
}

// credentialParts are what a kept token is found by. Where it was made from a configured one, that is all: whoever configures another begins anew, and
// another client secret does not lose what was renewed since.
func (c *Client) credentialParts() []string {
	if c.refresher != nil {
		access, refresh := c.c.Credentials.Get(platform.CredentialAccessToken), c.c.Credentials.Get(platform.CredentialRefreshToken)
		if !access.Empty() || !refresh.Empty() {
			return []string{"from", c.spec.Name, c.tokenBase(), access.Reveal(), refresh.Reveal()}
		}
	}
	return append([]string{"login"}, c.loginParts()...)
}

// tokenBase is the address of the connection, whichever of its origins c is for.
func (c *Client) tokenBase() string {
	if c.parent != nil {
		return c.parent.base.String()
	}
	return c.base.String()
}

// loginName stands for all that c logs in and renews with. It is kept sealed only.
func (c *Client) loginName() string {
	h := sha256.New()
	for _, p := range c.loginParts() {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
