package tokens_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
	"adsync/internal/secret"
	"adsync/internal/tokens"
)

func keyText(seed byte) secret.Text {
	b := make([]byte, tokens.KeySize)
	for i := range b {
		b[i] = seed + byte(i)*11
	}
	return secret.New(base64.StdEncoding.EncodeToString(b))
}

func key(t testing.TB, seed byte) tokens.Key {
	t.Helper()
	k, err := tokens.ParseKey(keyText(seed))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func manager(t testing.TB, l tokens.Ledger, seeds ...byte) *tokens.Manager {
	t.Helper()
	o := tokens.Options{Ledger: l}
	for _, s := range seeds {
		o.Keys = append(o.Keys, key(t, s))
	}
	m, err := tokens.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// rotating is a platform whose refresh tokens are good once.
type rotating struct {
	mu      sync.Mutex
	n       int
	current string // the refresh token that is good
	asked   atomic.Int64
	life    time.Duration
}

var errGrant = &ads.Error{Class: ads.ClassAuth, Code: "invalid_grant", Message: "the refresh token is void"}

func (p *rotating) refresh(with string) (platform.Token, error) {
	p.asked.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if with != p.current {
		return platform.Token{}, errGrant
	}
	p.n++
	p.current = fmt.Sprintf("refresh-token-number-%d", p.n)
	return platform.Token{Value: fmt.Sprintf("access-token-number-%d", p.n), Life: p.life, Refresh: p.current}, nil
}

func newRotating() *rotating { return &rotating{current: "refresh-token-number-0", life: time.Hour} }

// want asks p for a token that is not due.
func (p *rotating) want() tokens.Want {
	return tokens.Want{
		Platform: "p", Credential: []string{"refresh-token-number-0"}, Seed: platform.Token{Refresh: "refresh-token-number-0"}, Rotates: true, Login: "login-1",
		Good:    func(k tokens.Kept) bool { return k.Generation > 0 && k.Value != "" && time.Since(k.Got) < k.Life*3/4 },
		Fetch:   func(_ context.Context, k tokens.Kept) (platform.Token, error) { return p.refresh(k.Refresh) },
		Outcome: outcome,
	}
}

func outcome(err error) tokens.Outcome {
	if ads.ClassOf(err) == ads.ClassAuth {
		return tokens.Refused
	}
	return tokens.Unknown
}

func obtain(t testing.TB, m *tokens.Manager, w tokens.Want) (tokens.Kept, bool) {
	t.Helper()
	k, fetched, err := m.Obtain(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return k, fetched
}

func TestParseKey(t *testing.T) {
	for text, want := range map[string]string{
		"": "holds 0 bytes", "x": "not base64", "AAAA": "holds 3 bytes", strings.Repeat("A", 43) + "=": "not random",
		keyText(1).Reveal() + "\n": "", keyText(1).Reveal()[:43]: "not base64", strings.Repeat("AAEC", 32): "holds 96 bytes",
	} {
		_, err := tokens.ParseKey(secret.New(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	k := key(t, 1)
	if k.ID() == key(t, 2).ID() || k.ID() != key(t, 1).ID() || len(k.ID()) != 12 {
		t.Error(k.ID())
	}
	if got := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); got != "*** *** *** ***" {
		t.Error(got)
	}
	kept := tokens.Kept{Token: platform.Token{Value: "v4lue", Refresh: "r3fresh"}}
	if got := fmt.Sprintf("%v %+v %#v", kept, &kept, kept.Token); strings.Contains(got, "v4lue") || strings.Contains(got, "r3fresh") {
		t.Error(got)
	}
}

func TestKeptAndRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := tokens.NewMemory(), newRotating()
		one, two := manager(t, l, 1), manager(t, l, 1)
		k, fetched := obtain(t, one, p.want())
		if !fetched || k.Value != "access-token-number-1" || k.Refresh != "refresh-token-number-1" || k.Generation != 1 {
			t.Errorf("%v %v", k.Generation, fetched)
		}
		time.Sleep(time.Minute)
		if k, fetched = obtain(t, two, p.want()); fetched || k.Value != "access-token-number-1" || time.Since(k.Got) != time.Minute {
			t.Errorf("%v, %s old", fetched, time.Since(k.Got))
		}
		time.Sleep(time.Hour)
		if k, fetched = obtain(t, two, p.want()); !fetched || k.Value != "access-token-number-2" || k.Generation != 2 {
			t.Errorf("%v %v", k.Generation, fetched)
		}
		if k, fetched = obtain(t, one, p.want()); fetched || k.Value != "access-token-number-2" {
			t.Errorf("%v %v", k.Generation, fetched)
		}
		// Another configured token is another credential, and one that was made from the first stays what it is.
		other := newRotating()
		other.current = "refresh-token-number-7"
		w := other.want()
		w.Credential, w.Seed.Refresh = []string{other.current}, other.current
		if k, fetched = obtain(t, one, w); !fetched || k.Generation != 1 {
			t.Errorf("%v %v", k.Generation, fetched)
		}
		if p.asked.Load() != 2 {
			t.Errorf("asked %d times", p.asked.Load())
		}
	})
}

func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := tokens.NewMemory(), newRotating()
		ms := []*tokens.Manager{manager(t, l, 1), manager(t, l, 1)}
		w := p.want()
		w.Fetch = func(_ context.Context, k tokens.Kept) (platform.Token, error) {
			time.Sleep(3 * time.Minute) // longer than the right to renew lasts without being extended
			return p.refresh(k.Refresh)
		}
		var wg sync.WaitGroup
		var fetched atomic.Int64
		for i := range 32 {
			wg.Go(func() {
				k, f, err := ms[i%2].Obtain(t.Context(), w)
				if err != nil || k.Value != "access-token-number-1" {
					t.Error(err)
				}
				if f {
					fetched.Add(1)
				}
			})
		}
		wg.Wait()
		if p.asked.Load() != 1 || fetched.Load() != 1 {
			t.Errorf("asked %d times, %d got it", p.asked.Load(), fetched.Load())
		}
	})
}

// dying is a ledger whose process dies with it: from a moment on nothing arrives any more.
type dying struct {
	tokens.Ledger
	dead  atomic.Bool
	fails atomic.Bool
}

var errDead = errors.New("no answer")

func (d *dying) ExtendToken(ctx context.Context, id, holder string, life time.Duration) (bool, error) {
	if d.dead.Load() {
		<-ctx.Done()
		return false, ctx.Err()
	}
	return d.Ledger.ExtendToken(ctx, id, holder, life)
}

func (d *dying) FreeToken(ctx context.Context, id, holder string, settled bool) error {
	if d.dead.Load() {
		return errDead
	}
	return d.Ledger.FreeToken(ctx, id, holder, settled)
}

func (d *dying) KeepToken(ctx context.Context, id string, k tokens.Keep) (bool, error) {
	if d.dead.Load() || d.fails.Load() {
		return false, errDead
	}
	return d.Ledger.KeepToken(ctx, id, k)
}

func TestDeadRefresher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := tokens.NewMemory(), newRotating()
		d := &dying{Ledger: l}
		first, second := manager(t, d, 1), manager(t, l, 1)
		// The platform has answered, and the process dies before the answer is stored.
		w := p.want()
		w.Fetch = func(_ context.Context, k tokens.Kept) (platform.Token, error) {
			tok, err := p.refresh(k.Refresh)
			d.dead.Store(true)
			return tok, err
		}
		begin := time.Now()
		if _, _, err := first.Obtain(t.Context(), w); ads.ClassOf(err) != ads.ClassTransient {
			t.Error(err)
		}
		var lost time.Time
		w = p.want()
		w.Lost = func(at time.Time) { lost = at }
		_, _, err := second.Obtain(t.Context(), w)
		if !errors.Is(err, errGrant) {
			t.Errorf("%v: the platform has replaced the token, which cannot be known but by asking", err)
		}
		if waited := time.Since(begin); waited < 29*time.Second || waited > 35*time.Second {
			t.Errorf("the dead one blocked for %s", waited)
		}
		if !lost.Equal(begin) {
			t.Errorf("told of %s, begun at %s", lost, begin)
		}
		// Nobody asks again for what was refused: the refusal is kept.
		if n := p.asked.Load(); n != 2 {
			t.Errorf("asked %d times", n)
		}
		w.Good = func(k tokens.Kept) bool { return k.Refused == "login-1" }
		if k, fetched := obtain(t, manager(t, l, 1), w); fetched || k.Refused != "login-1" || k.Refresh != "refresh-token-number-0" {
			t.Errorf("%v %v", fetched, k.Generation)
		}
	})
}

// A process that is only slow to store what it got, and whose database comes back, loses nothing.
func TestStoredLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := tokens.NewMemory(), newRotating()
		d := &dying{Ledger: l}
		m := manager(t, d, 1)
		d.fails.Store(true)
		_, _, err := m.Obtain(t.Context(), p.want())
		if e, ok := errors.AsType[*ads.Error](err); !ok || e.Code != tokens.CodeStore {
			t.Fatal(err)
		}
		d.fails.Store(false)
		k, _ := obtain(t, m, p.want())
		if k.Value != "access-token-number-1" || p.asked.Load() != 1 {
			t.Errorf("asked %d times", p.asked.Load())
		}
		if k, fetched := obtain(t, manager(t, l, 1), p.want()); fetched || k.Refresh != "refresh-token-number-1" {
			t.Error("not stored")
		}
	})
}

// A renewal that nobody waits for any more is seen through: its answer may be the only good token.
func TestSeenThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := tokens.NewMemory(), newRotating()
		m := manager(t, l, 1)
		w := p.want()
		asked := make(chan struct{})
		w.Fetch = func(ctx context.Context, k tokens.Kept) (platform.Token, error) {
			close(asked)
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
				return platform.Token{}, context.Cause(ctx)
			}
			return p.refresh(k.Refresh)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _, _ = m.Obtain(ctx, w) }()
		<-asked
		cancel()
		soon, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if m.Wait(soon) {
			t.Error("it has ended")
		}
		if !m.Wait(t.Context()) {
			t.Error("it has not ended")
		}
		if k, fetched := obtain(t, m, p.want()); fetched || k.Value != "access-token-number-1" {
			t.Error("its answer was lost")
		}
	})
}

func TestAsIs(t *testing.T) {
	m := manager(t, tokens.NewMemory(), 1)
	w := tokens.Want{
		Credential: []string{"c"}, Seed: platform.Token{Value: "configured-token"}, Good: func(k tokens.Kept) bool { return k.Generation > 0 },
		Fetch: func(context.Context, tokens.Kept) (platform.Token, error) {
			return platform.Token{}, fmt.Errorf("it is: %w", tokens.ErrAsIs)
		},
		Outcome: outcome,
	}
	for range 2 {
		if k, fetched := obtain(t, m, w); fetched || k.Value != "configured-token" || k.Generation != 0 {
			t.Errorf("%v %v", fetched, k.Generation)
		}
	}
}

func TestKeysReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := tokens.NewMemory(), newRotating()
		old := manager(t, l, 1)
		obtain(t, old, p.want())
		// Another key alone opens nothing, says so, and changes nothing.
		wrong := manager(t, l, 2)
		for _, err := range []error{wrong.Check(t.Context()), wrong.Open(t.Context())} {
			e, ok := errors.AsType[*tokens.UnknownKeyError](err)
			if !ok || e.Key != key(t, 1).ID() || e.Have != key(t, 2).ID() || !strings.Contains(e.Advice(), "behind the new one") {
				t.Error(err)
			}
		}
		if _, _, err := wrong.Obtain(t.Context(), p.want()); ads.ClassOf(err) != ads.ClassPermanent || p.asked.Load() != 1 {
			t.Errorf("%v, asked %d times", err, p.asked.Load())
		}
		// First all processes learn the new key, then it seals, then the old one goes. Nothing is asked of the platform.
		both := manager(t, l, 1, 2)
		if err := both.Open(t.Context()); err != nil {
			t.Error(err)
		}
		turned := manager(t, l, 2, 1)
		if err := turned.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if rows, err := l.TokensNotOf(t.Context(), key(t, 1).ID(), "", 9); err != nil || len(rows) != 0 {
			t.Error("Check has changed something", err)
		}
		if err := turned.Open(t.Context()); err != nil {
			t.Error(err)
		}
		for _, m := range []*tokens.Manager{both, turned, manager(t, l, 2)} {
			if k, fetched := obtain(t, m, p.want()); fetched || k.Value != "access-token-number-1" {
				t.Error("another token")
			}
		}
		if err := manager(t, l, 2).Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := manager(t, l, 1).Check(t.Context()); err == nil {
			t.Error("the old key still opens it")
		}
	})
}

// What is moved from row to row, or changed, does not open.
func TestBoundToItsRow(t *testing.T) {
	l, p := tokens.NewMemory(), newRotating()
	m := manager(t, l, 1)
	obtain(t, m, p.want())
	other := newRotating()
	w := other.want()
	w.Credential = []string{"another"}
	obtain(t, m, w)
	rows, err := l.TokensNotOf(t.Context(), "", "", 9)
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	for name, box := range map[string][]byte{
		"moved":   rows[0].Sealed.Box,
		"changed": append(bytes.Clone(rows[1].Sealed.Box[:len(rows[1].Sealed.Box)-1]), rows[1].Sealed.Box[len(rows[1].Sealed.Box)-1]^1),
		"short":   {1, 2, 3},
		"empty":   {},
	} {
		if _, err := l.SwapToken(t.Context(), rows[1].ID, 1, tokens.Sealed{Key: rows[1].Sealed.Key, Box: box}); err != nil {
			t.Fatal(err)
		}
		bad := 0
		for _, w := range []tokens.Want{p.want(), w} {
			if _, _, err := m.Obtain(t.Context(), w); err != nil {
				bad++
				if e, ok := errors.AsType[*ads.Error](err); !ok || e.Code != tokens.CodeStore || !strings.Contains(err.Error(), "does not open with its key") {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if bad != 1 {
			t.Errorf("%s: %d rows do not open", name, bad)
		}
	}
}

// What an answer does not say holds on, and a refresh token whose end does not move is told from one that lives anew.
func TestRefreshEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		day := 24 * time.Hour
		answers := []platform.Token{
			{Value: "a1", Life: time.Hour, Refresh: "r1", RefreshLife: 30 * day, Scope: "read"},
			{Value: "a2", Life: time.Hour},
			{Value: "a3", Life: time.Hour, RefreshLife: 30*day - 2*time.Hour},
			{Value: "a4", Life: time.Hour, Refresh: "r4", RefreshLife: 30 * day},
			{Value: "a5", Life: time.Hour, Refresh: "r5"},
		}
		start := time.Now()
		m := manager(t, tokens.NewMemory(), 1)
		n := 0
		w := tokens.Want{
			Credential: []string{"c"}, Seed: platform.Token{Refresh: "r0"}, Good: func(k tokens.Kept) bool { return k.Generation > 0 && time.Since(k.Got) < k.Life },
			Fetch: func(context.Context, tokens.Kept) (platform.Token, error) { n++; return answers[n-1], nil }, Outcome: outcome,
		}
		for i, want := range []struct {
			refresh string
			end     time.Time
			fixed   bool
		}{
			{"r1", start.Add(30 * day), false},
			{"r1", start.Add(30 * day), true},
			{"r1", start.Add(30 * day), true},
			{"r4", start.Add(30*day + 3*time.Hour), false},
			{"r5", time.Time{}, false},
		} {
			k, fetched := obtain(t, m, w)
			if !fetched || k.Refresh != want.refresh || k.Fixed != want.fixed || !k.RefreshEnd.Equal(want.end) || k.Scope != "read" {
				t.Errorf("%d: %s, fixed %v, until %s, scope %q", i, k.Refresh, k.Fixed, k.RefreshEnd, k.Scope)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := tokens.NewMemory()
		one, two := manager(t, l, 1), manager(t, l, 1)
		ref := ads.Ref{ClientID: "acme", Connection: "meta"}
		start := time.Now()
		end := start.Add(10 * 24 * time.Hour)
		var mu sync.Mutex
		var warned []string
		tell := func(e tokens.End, days int) {
			mu.Lock()
			defer mu.Unlock()
			if days > 0 {
				warned = append(warned, fmt.Sprintf("%d days ahead after %s", days, time.Since(start).Truncate(time.Hour)))
			}
			if e.Ref != ref || !e.At.Equal(end) || e.Why != "it cannot be renewed" {
				t.Errorf("%+v", e)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, m := range []*tokens.Manager{one, two} {
			wg.Go(func() { m.Watch(ctx, func(r ads.Ref) bool { return r == ref }, tell, func(err error) { t.Error(err) }) })
		}
		e := tokens.End{Ref: ref, At: end, Why: "it cannot be renewed"}
		if days, err := one.Ends(ctx, e); days != 0 || err != nil {
			t.Error(days, err)
		}
		if err := l.NoteTokenEnd(ctx, tokens.End{Ref: ads.Ref{ClientID: "globex", Connection: "meta"}, At: end}); err != nil { // not ours
			t.Error(err)
		}
		time.Sleep(12 * 24 * time.Hour)
		if days, err := two.Ends(ctx, e); days != 0 || err != nil {
			t.Error("warned again", days, err)
		}
		cancel()
		wg.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got, want := strings.Join(warned, "; "), "7 days ahead after 72h0m0s; 3 days ahead after 168h0m0s; 1 days ahead after 216h0m0s"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		// Another token begins anew; one that comes late is warned of once, for what is left.
		end = time.Now().Add(2 * 24 * time.Hour)
		if days, err := one.Ends(t.Context(), tokens.End{Ref: ref, At: end}); days != 3 || err != nil {
			t.Error(days, err)
		}
		if err := l.NoteTokenEnd(t.Context(), tokens.End{Ref: ref}); err != nil {
			t.Error(err)
		}
		if ends, err := l.TokenEnds(t.Context()); len(ends) != 1 || ends[0].Warned != 0 || err != nil {
			t.Error(ends, err)
		}
	})
}
