package cli

import (
	"context"
	"errors"
	"time"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/observe"
	"adsync/internal/report"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/tokens"
)

const (
	tokensWithin = 30 * time.Second // to open the store of tokens
	renewsWithin = 4 * time.Second  // for renewals that are under way at the end: their answers would be lost
)

// inMemory is what is said where there is no key.
const inMemory = "tokens are kept in memory, by each process for itself: set token_key to share them through the database"

// tokenStore makes the store of tokens of a database. Nil where there is no key.
func tokenStore(keys []secret.Text, ledger tokens.Ledger) (*tokens.Manager, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ring := make([]tokens.Key, len(keys))
	for i, k := range keys {
		var err error
		if ring[i], err = tokens.ParseKey(k); err != nil {
			return nil, &report.UnfitError{What: "token_key " + err.Error(), Hint: "make one: openssl rand -base64 32"}
		}
	}
	return tokens.New(tokens.Options{Ledger: ledger, Keys: ring})
}

// openTokens makes the store of tokens ready, in the database that the records go to.
func (a *app) openTokens(keys []secret.Text, st store.Store) (*tokens.Manager, error) {
	m, err := tokenStore(keys, st)
	if err != nil || m == nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(a.ctx, tokensWithin)
	defer cancel()
	return m, wrongKey(m.Open(ctx))
}

// wrongKey makes an error of the configuration of a key that does not open what is stored.
func wrongKey(err error) error {
	if e, ok := errors.AsType[*tokens.UnknownKeyError](err); ok {
		return &report.UnfitError{What: e.Error(), Hint: e.Advice()}
	}
	return err
}

// settle waits for renewals that are under way.
func (a *app) settle(m *tokens.Manager) {
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), renewsWithin)
	defer cancel()
	if !m.Wait(ctx) {
		a.log().Warn("a token was being renewed at the end: what the platform answers is lost")
	}
}

// watchTokens warns of tokens that end, whoever uses them, until ctx ends.
func (a *app) watchTokens(ctx context.Context, m *tokens.Manager, configured func() []config.Connection, o observe.Observer) {
	platform := func(ref ads.Ref) string { // empty: it is not configured
		for _, c := range configured() {
			if c.Ref == ref {
				return c.Platform
			}
		}
		return ""
	}
	m.Watch(ctx, func(ref ads.Ref) bool { return platform(ref) != "" }, func(e tokens.End, warn int) {
		o.Observe(observe.Event{At: time.Now(), Ref: e.Ref, Platform: platform(e.Ref), Data: observe.TokenEnds{At: e.At, Days: warn, Why: e.Why}})
	}, func(err error) { a.log().Warn("the ends of tokens could not be read: " + err.Error()) })
}

// checkTokens says whether the tokens that are kept can be opened, and gives the store of them, to be closed.
func (a *app) checkTokens(keys []secret.Text, db config.Database) (m *tokens.Manager, done func(), f finding) {
	done = func() {}
	ctx, cancel := context.WithTimeout(a.ctx, tokensWithin)
	defer cancel()
	st, err := a.openStore(ctx, db, false)
	if err == nil {
		done = func() { a.settle(m); _ = st.Close() }
		if m, err = tokenStore(keys, st); err == nil {
			err = wrongKey(m.Check(ctx))
		}
	}
	if err != nil {
		x := report.ExplainError(err, time.Now())
		return nil, done, bad("tokens", db.Display, x.Kind, x.Why, "yours", x.Next)
	}
	f = finding{Check: "tokens", Subject: st.Describe(), OK: true, Message: "kept in the database, sealed"}
	if n := len(keys); n > 1 {
		f.Message += "; " + plural(int64(n-1), "earlier key") + " may be taken out once every process has started with the first one"
	}
	return m, done, f
}
