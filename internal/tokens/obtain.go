package tokens

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// Want is a token that is asked for.
type Want struct {
	Platform   string
	Credential []string       // what the token is of: secrets, of which a keyed hash is kept
	Seed       platform.Token // the configured one; zero: none

	// Good says whether a token will do. It is asked before the right to renew is taken, and again with it.
	Good func(Kept) bool
	// Fetch asks the platform for another one. current is zero where there is none. ErrAsIs: current has to do as it is.
	Fetch func(ctx context.Context, current Kept) (platform.Token, error)
	// Outcome says what a failed Fetch leaves behind.
	Outcome func(error) Outcome
	// Rotates says that a Fetch may make the current token void: it is not given up when nobody waits for it any more.
	Rotates bool
	// Login is a keyed hash of all that a renewal is made with, for Kept.Refused.
	Login string
	// Lost is told that an earlier renewal was begun then and that no end of it is known; nil: nobody.
	Lost func(began time.Time)
}

// Outcome is what a failed renewal leaves behind.
type Outcome int

// The outcomes.
const (
	Unknown Outcome = iota // the platform may have renewed the token
	Settled                // it has not
	Refused                // it has not, and will not until something changes
)

// ErrAsIs says that there is no other token than the current one, and that nobody was asked.
var ErrAsIs = errors.New("the token is used as it is")

// CodeStore is the code of an error of the database that tokens are kept in.
const CodeStore = "token_store"

// turn is whose turn it is in this process to look after one credential.
type turn struct {
	free chan struct{} // holds one while nobody has it
	used int
}

// take waits for the turn.
func (m *Manager) take(ctx context.Context, id string) (func(), error) {
	m.mu.Lock()
	t := m.turns[id]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		m.turns[id] = t
	}
	t.used++
	m.mu.Unlock()
	leave := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if t.used--; t.used == 0 {
			delete(m.turns, id)
		}
	}
	select {
	case <-t.free:
		return func() { t.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

// Obtain gives a token that is good: the one that is kept, the one that somebody else is just getting, or a new one. fetched says that it was had from
// the platform by this call. A new one is stored before it is given out; one that could not be stored is not given out, and is stored by the next call.
//
// Errors of the ledger are *ads.Error with CodeStore, those of Fetch are given as they are.
func (m *Manager) Obtain(ctx context.Context, w Want) (k Kept, fetched bool, err error) {
	root, err := m.rooted(ctx)
	if err != nil {
		return Kept{}, false, storeError(ctx, err)
	}
	id := name(root, w.Credential)
	leave, err := m.take(ctx, id)
	if err != nil {
		return Kept{}, false, err
	}
	defer leave()
	holder := newHolder()
	for pause := firstPoll; ; pause = min(pause*2, m.o.Poll) {
		row, err := m.o.Ledger.ReadToken(ctx, id)
		if err != nil {
			return Kept{}, false, storeError(ctx, err)
		}
		if k, err = m.current(id, row, w); err != nil {
			return Kept{}, false, storeError(ctx, err)
		}
		if w.Good(k) {
			return k, false, nil
		}
		if row.Held <= 0 {
			was, taken, err := m.o.Ledger.LeaseToken(ctx, id, Lease{Platform: w.Platform, Holder: holder, Generation: row.Generation, Life: m.o.Lease})
			if err != nil {
				return Kept{}, false, storeError(ctx, err)
			}
			if taken {
				return m.renew(ctx, w, id, holder, was, k)
			}
			if was.Generation != row.Generation {
				pause = firstPoll
				continue // it has been renewed in the meantime
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return Kept{}, false, err
		}
	}
}

// current is what a row holds, or the configured token where it holds none.
func (m *Manager) current(id string, row Row, w Want) (Kept, error) {
	if row.Generation == 0 {
		k := Kept{Token: w.Seed, Got: time.Now()}
		if w.Seed.RefreshLife > 0 {
			k.RefreshEnd = k.Got.Add(w.Seed.RefreshLife)
		}
		return k, nil
	}
	plain, err := m.keys.open(row.Sealed, about(id, row.Generation))
	if err != nil {
		return Kept{}, err
	}
	var k kept
	if err := json.Unmarshal(plain, &k); err != nil {
		return Kept{}, errors.New("what is stored opens, and is no token")
	}
	return k.open(time.Now().Add(-row.Age), row.Generation), nil
}

// renew gets another token, with the right to do so.
func (m *Manager) renew(ctx context.Context, w Want, id, holder string, was Row, k Kept) (Kept, bool, error) {
	if u, ok := m.takeUnsaved(id, was.Generation); ok {
		return m.keep(ctx, w, id, holder, u)
	}
	if !was.Began.IsZero() && w.Lost != nil && k.Refresh != "" {
		w.Lost(was.Began)
	}
	defer m.renewing()()
	if w.Rotates {
		ctx = context.WithoutCancel(ctx) // Fetch has bounds of its own
	}
	fetchCtx, end := m.hold(ctx, id, holder)
	defer end() // nothing, unless Fetch has panicked
	tok, err := w.Fetch(fetchCtx, k)
	end()
	got := time.Now()
	switch {
	case err == nil:
		return m.keep(ctx, w, id, holder, unsaved{generation: was.Generation, kept: next(k, tok, got), got: got})
	case errors.Is(err, ErrAsIs):
		return k, false, m.free(ctx, id, holder, was.Began.IsZero())
	}
	outcome := w.Outcome(err)
	if outcome == Refused && k.Value+k.Refresh != "" && w.Login != "" && k.Refused != w.Login {
		// Kept, so that no other process asks again for what was refused.
		end := int64(0)
		if !k.RefreshEnd.IsZero() {
			end = k.RefreshEnd.Unix()
		}
		life := k.Life
		u := unsaved{generation: was.Generation, got: k.Got, kept: kept{
			Value: k.Value, Life: life, Refresh: k.Refresh, RefreshEnd: end, Fixed: k.Fixed, Scope: k.Scope, Refused: w.Login,
		}}
		if kept, _, stored := m.keep(ctx, w, id, holder, u); stored == nil {
			m.takeUnsaved(id, was.Generation)
			return kept, false, err
		}
		m.takeUnsaved(id, was.Generation)
		return k, false, err
	}
	_ = m.free(ctx, id, holder, outcome != Unknown) // it ends by itself
	return k, false, err
}

func (m *Manager) free(ctx context.Context, id, holder string, settled bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWithin)
	defer cancel()
	if err := m.o.Ledger.FreeToken(ctx, id, holder, settled); err != nil {
		return storeError(ctx, err)
	}
	return nil
}

// keep stores a token, also when nobody waits for it any more: the platform may have made the one before void.
func (m *Manager) keep(ctx context.Context, w Want, id, holder string, u unsaved) (Kept, bool, error) {
	plain, err := json.Marshal(u.kept)
	if err != nil {
		return Kept{}, false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWithin)
	defer cancel()
	stored, err := m.o.Ledger.KeepToken(ctx, id, Keep{
		Holder: holder, Generation: u.generation, Sealed: m.keys.seal(plain, about(id, u.generation+1)), Age: time.Since(u.got),
	})
	if err != nil {
		m.mu.Lock()
		if len(m.unsaved) < mostUnsaved {
			m.unsaved[id] = u
		}
		m.mu.Unlock()
		return Kept{}, false, storeError(ctx, err)
	}
	if stored {
		return u.kept.open(u.got, u.generation+1), true, nil
	}
	// The right was lost, and somebody else has stored another: that one is what all others use.
	row, err := m.o.Ledger.ReadToken(ctx, id)
	if err != nil {
		return Kept{}, false, storeError(ctx, err)
	}
	k, err := m.current(id, row, w)
	switch {
	case err != nil:
		return Kept{}, false, storeError(ctx, err)
	case row.Generation <= u.generation:
		return Kept{}, false, &ads.Error{Class: ads.ClassTransient, Code: CodeStore, Message: "the row of the token was deleted while it was renewed", Hint: "run again"}
	}
	return k, false, nil
}

func (m *Manager) takeUnsaved(id string, generation int64) (unsaved, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, ok := m.unsaved[id]
	delete(m.unsaved, id)
	return u, ok && u.generation == generation
}

// hold extends the right to renew while it is used. The context ends before the right does, so that no two ask at the same time.
func (m *Manager) hold(ctx context.Context, id, holder string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		sure := time.Now().Add(m.o.Lease * 2 / 3)
		for {
			if sleep(ctx, m.o.Lease/3) != nil {
				return
			}
			asked := time.Now()
			within, end := context.WithDeadline(ctx, sure)
			ok, err := m.o.Ledger.ExtendToken(within, id, holder, m.o.Lease)
			end()
			switch {
			case ok:
				sure = asked.Add(m.o.Lease * 2 / 3)
			case err == nil || !time.Now().Before(sure):
				cancel(&ads.Error{
					Class: ads.ClassTransient, Code: CodeStore, Message: "the right to renew the token was lost: the database did not answer in time", Hint: "run again",
				})
				return
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled); <-done }
}

func newHolder() string {
	b := make([]byte, 12)
	_, _ = crand.Read(b) // it cannot fail
	return hex.EncodeToString(b)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// storeError puts what is wrong with the database, or what is in it, in words. The context's error stays what it is.
func storeError(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	out := &ads.Error{Class: ads.ClassTransient, Code: CodeStore, Message: "the token could not be read from the database, or stored there: " + err.Error(), Hint: "run again when the database is well", Err: err}
	if key, ok := errors.AsType[*UnknownKeyError](err); ok {
		out.Class, out.Message, out.Hint = ads.ClassPermanent, key.Error(), key.Advice()
	}
	return out
}
