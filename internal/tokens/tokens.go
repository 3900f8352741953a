// Package tokens keeps access and refresh tokens for all processes that share a database: sealed, renewed by one at a time, and stored before they are used.
//
// It imports ads, platform and secret. It knows no database (what it asks of one is Ledger), and sends nothing itself: its caller does, when it is told to.
package tokens

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"adsync/internal/platform"
)

// Options say where tokens are kept.
type Options struct {
	Ledger Ledger
	Keys   []Key // the first seals, all open

	Lease time.Duration // of who renews, extended while it is at it: a dead one blocks nobody for longer; 0: 30 s
	Poll  time.Duration // the longest time between two looks at what somebody else renews; 0: 1 s
}

// Manager hands tokens out. It may be used by many goroutines.
type Manager struct {
	o    Options
	keys ring

	mu       sync.Mutex
	renewals int           // under way
	idle     chan struct{} // closed when there is none left; nil: nobody waits for that
	root     []byte
	turns    map[string]*turn
	unsaved  map[string]unsaved // by id: what the platform gave and the database did not take
}

// unsaved is a token that replaces that of a generation, and could not be stored.
type unsaved struct {
	generation int64
	kept       kept
	got        time.Time
}

const (
	defaultLease = 30 * time.Second
	defaultPoll  = time.Second
	firstPoll    = 50 * time.Millisecond
	storeWithin  = 20 * time.Second
	mostUnsaved  = 1000
	resealStep   = 100
)

// New makes a Manager.
func New(o Options) (*Manager, error) {
	if len(o.Keys) == 0 || o.Ledger == nil {
		return nil, errors.New("tokens: no key or no ledger")
	}
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	return &Manager{o: o, keys: o.Keys, turns: map[string]*turn{}, unsaved: map[string]unsaved{}}, nil
}

// InMemory keeps tokens for as long as the process lives.
func InMemory() *Manager {
	raw := make([]byte, KeySize)
	_, _ = crand.Read(raw) // it cannot fail
	key, err := newKey(raw)
	if err != nil {
		panic(err) // the lengths are fixed
	}
	m, err := New(Options{Ledger: NewMemory(), Keys: []Key{key}})
	if err != nil {
		panic(err)
	}
	return m
}

// Wait waits for renewals that are under way: what the platform answers to them would be lost. It says whether they have ended before ctx has.
func (m *Manager) Wait(ctx context.Context) bool {
	m.mu.Lock()
	if m.renewals == 0 {
		m.mu.Unlock()
		return true
	}
	if m.idle == nil {
		m.idle = make(chan struct{})
	}
	idle := m.idle
	m.mu.Unlock()
	select {
	case <-idle:
		return true
	case <-ctx.Done():
		return false
	}
}

// renewing counts a renewal until the function that it returns is called.
func (m *Manager) renewing() func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renewals++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.renewals--; m.renewals == 0 && m.idle != nil {
			close(m.idle)
			m.idle = nil
		}
	}
}

// aboutRoot binds the root to its purpose.
const aboutRoot = "adsync tokens: root"

// about binds what is kept to its row and its turn there.
func about(id string, generation int64) string {
	return fmt.Sprintf("adsync token: %s %d", id, generation)
}

// Check proves that what is stored can be opened, and changes nothing. The error is an *UnknownKeyError where a key is missing.
func (m *Manager) Check(ctx context.Context) error {
	root, err := m.o.Ledger.TokenRoot(ctx, Sealed{})
	if err != nil || root.Box == nil {
		return err
	}
	if _, err := m.keys.open(root, aboutRoot); err != nil {
		return err
	}
	return m.each(ctx, func(r Row) error {
		_, err := m.keys.open(r.Sealed, about(r.ID, r.Generation))
		return err
	})
}

// Open makes the store ready: it proves that what is in it can be opened, and seals with the first key what another one has sealed.
func (m *Manager) Open(ctx context.Context) error {
	if _, err := m.rooted(ctx); err != nil {
		return err
	}
	return m.each(ctx, func(r Row) error {
		plain, err := m.keys.open(r.Sealed, about(r.ID, r.Generation))
		if err == nil { // one that has changed in the meantime was sealed by who changed it
			_, err = m.o.Ledger.SwapToken(ctx, r.ID, r.Generation, m.keys.seal(plain, about(r.ID, r.Generation)))
		}
		return err
	})
}

// each calls fn for every row that the first key does not open.
func (m *Manager) each(ctx context.Context, fn func(Row) error) error {
	for after := ""; ; {
		rows, err := m.o.Ledger.TokensNotOf(ctx, m.keys[0].id, after, resealStep)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			if err := fn(r); err != nil {
				return err
			}
			after = r.ID
		}
	}
}

// rooted gives the root that names are made with. It is one for all processes and all keys, so that a row is found again under another key.
func (m *Manager) rooted(ctx context.Context) ([]byte, error) {
	m.mu.Lock()
	root := m.root
	m.mu.Unlock()
	if root != nil {
		return root, nil
	}
	fresh := make([]byte, 32)
	_, _ = crand.Read(fresh) // it cannot fail
	sealed, err := m.o.Ledger.TokenRoot(ctx, m.keys.seal(fresh, aboutRoot))
	if err != nil {
		return nil, err
	}
	if root, err = m.keys.open(sealed, aboutRoot); err != nil {
		return nil, err
	}
	if sealed.Key != m.keys[0].id {
		if _, err := m.o.Ledger.SwapTokenRoot(ctx, sealed, m.keys.seal(root, aboutRoot)); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	m.root = root
	m.mu.Unlock()
	return root, nil
}

// Kept is a token with what is known of it.
type Kept struct {
	platform.Token
	Got        time.Time // when it was received, by this process's clock
	Generation int64     // 0: it is the configured one, or none
	RefreshEnd time.Time // zero: not known
	Fixed      bool      // a renewal did not move RefreshEnd
	// Refused is the Login of those to whom a renewal of this token was refused for good; empty where it was not.
	Refused string
}

// kept is Kept as it is stored.
type kept struct {
	Value      string        `json:"value"`
	Life       time.Duration `json:"life,omitempty"`
	Refresh    string        `json:"refresh,omitempty"`
	RefreshEnd int64         `json:"refresh_end,omitempty"` // Unix seconds
	Fixed      bool          `json:"fixed,omitempty"`
	Scope      string        `json:"scope,omitempty"`
	Refused    string        `json:"refused,omitempty"`
}

func (k kept) open(got time.Time, generation int64) Kept {
	out := Kept{
		Token: platform.Token{Value: k.Value, Life: k.Life, Refresh: k.Refresh, Scope: k.Scope},
		Got:   got, Generation: generation, Fixed: k.Fixed, Refused: k.Refused,
	}
	if k.RefreshEnd != 0 {
		out.RefreshEnd = time.Unix(k.RefreshEnd, 0)
		out.RefreshLife = time.Until(out.RefreshEnd)
	}
	return out
}

// moved is how much later a refresh token must end to count as one that lives anew.
const moved = 10 * time.Minute

// next is what is to be stored after a token was received: what the answer does not say holds on.
func next(was Kept, tok platform.Token, got time.Time) kept {
	k := kept{Value: tok.Value, Life: max(tok.Life, 0), Refresh: tok.Refresh, Scope: tok.Scope}
	if k.Refresh == "" {
		k.Refresh = was.Refresh
	}
	if k.Scope == "" {
		k.Scope = was.Scope
	}
	end := time.Time{}
	switch {
	case tok.RefreshLife > 0:
		end = got.Add(tok.RefreshLife)
		k.Fixed = !was.RefreshEnd.IsZero() && end.Before(was.RefreshEnd.Add(moved))
	case k.Refresh == was.Refresh:
		end, k.Fixed = was.RefreshEnd, !was.RefreshEnd.IsZero()
	}
	if !end.IsZero() && k.Refresh != "" {
		k.RefreshEnd = end.Unix()
	}
	return k
}
