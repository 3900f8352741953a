package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/tokens"
)

func box(s string) tokens.Sealed { return tokens.Sealed{Key: "k1", Box: []byte(s)} }

func testTokenRoot(t *testing.T, db Database) {
	s, s2 := open(t, db), open(t, db)
	ctx := testContext(t)
	want := func(s store.Store, first tokens.Sealed, wanted string) {
		t.Helper()
		if got, err := s.TokenRoot(ctx, first); err != nil || string(got.Box) != wanted {
			t.Errorf("%+v, %v, want %q", got, err, wanted)
		}
	}
	want(s, tokens.Sealed{}, "")
	want(s, box("one"), "one")
	want(s2, box("two"), "one")
	want(s2, tokens.Sealed{}, "one")
	if ok, err := s2.SwapTokenRoot(ctx, box("two"), box("three")); ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := s2.SwapTokenRoot(ctx, box("one"), tokens.Sealed{Key: "k2", Box: []byte{0, 1, 0xff}}); !ok || err != nil {
		t.Error(ok, err)
	}
	want(s, tokens.Sealed{}, "\x00\x01\xff")
}

func lease(t testing.TB, s store.Store, id, holder string, generation int64, life time.Duration) (tokens.Row, bool) {
	t.Helper()
	r, ok, err := s.LeaseToken(testContext(t), id, tokens.Lease{Platform: "p", Holder: holder, Generation: generation, Life: life})
	if err != nil {
		t.Fatal(err)
	}
	return r, ok
}

func keepToken(t testing.TB, s store.Store, id, holder string, generation int64, b tokens.Sealed) bool {
	t.Helper()
	ok, err := s.KeepToken(testContext(t), id, tokens.Keep{Holder: holder, Generation: generation, Sealed: b, Age: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func testTokenRows(t *testing.T, db Database) {
	s, s2 := open(t, db), open(t, db)
	ctx := testContext(t)
	if r, err := s.ReadToken(ctx, "a"); err != nil || r.ID != "" || r.Generation != 0 || r.Sealed.Box != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if keepToken(t, s, "a", "h", 0, box("x")) {
		t.Error("kept where there is no row")
	}
	for i, id := range []string{"a", "b", "c"} {
		if _, ok := lease(t, s, id, "h", 0, time.Minute); !ok {
			t.Fatal("no lease of", id)
		}
		if !keepToken(t, s, id, "h", 0, tokens.Sealed{Key: fmt.Sprint("k", i), Box: []byte{byte(i), 0}}) {
			t.Fatal("not kept:", id)
		}
	}
	r, err := s2.ReadToken(ctx, "b")
	if err != nil || r.ID != "b" || r.Platform != "p" || r.Generation != 1 || r.Sealed.Key != "k1" || !bytes.Equal(r.Sealed.Box, []byte{1, 0}) ||
		r.Age < time.Minute || r.Age > 5*time.Minute || r.Held > 0 || !r.Began.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
	if !keepToken(t, s, "b", "h", 0, tokens.Sealed{Key: "k1", Box: []byte{1, 0}}) {
		t.Error("what was stored already is not taken for stored")
	}
	if keepToken(t, s, "b", "h", 0, box("other")) || keepToken(t, s, "b", "h", 7, box("other")) {
		t.Error("stored over another generation")
	}
	ids := func(after string, limit int) (out string) {
		rows, err := s2.TokensNotOf(ctx, "k1", after, limit)
		if err != nil {
			t.Error(err)
		}
		for _, r := range rows {
			out += r.ID
		}
		return out
	}
	if ids("", 9) != "ac" || ids("a", 9) != "c" || ids("", 1) != "a" || ids("c", 9) != "" {
		t.Error(ids("", 9), ids("a", 9), ids("", 1))
	}
	if ok, err := s.SwapToken(ctx, "a", 2, box("new")); ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := s.SwapToken(ctx, "a", 1, box("new")); !ok || err != nil {
		t.Error(ok, err)
	}
	if r, err := s2.ReadToken(ctx, "a"); err != nil || string(r.Sealed.Box) != "new" || r.Generation != 1 || ids("", 9) != "c" {
		t.Errorf("%+v, %v", r, err)
	}
}

func testTokenLease(t *testing.T, db Database) {
	s, s2 := open(t, db), open(t, db)
	ctx := testContext(t)
	if _, ok := lease(t, s, "a", "h1", 3, time.Minute); ok {
		t.Error("a lease of a generation that is not there")
	}
	if was, ok := lease(t, s, "a", "h1", 0, time.Hour); !ok || was.Generation != 0 || was.Held > 0 || !was.Began.IsZero() {
		t.Errorf("%+v, %v", was, ok)
	}
	if was, ok := lease(t, s2, "a", "h2", 0, time.Hour); ok || was.Held <= 0 || was.Held > time.Hour || was.Began.IsZero() {
		t.Errorf("%+v, %v", was, ok)
	}
	if was, ok := lease(t, s, "a", "h1", 0, time.Hour); !ok || !was.Began.IsZero() && was.Held <= 0 {
		t.Errorf("the holder again: %+v, %v", was, ok)
	}
	if ok, err := s2.ExtendToken(ctx, "a", "h2", time.Hour); ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := s.ExtendToken(ctx, "a", "h1", -time.Second); !ok || err != nil {
		t.Error(ok, err)
	}
	// The time of the first holder is over: another takes it, and is told that something was begun.
	if was, ok := lease(t, s2, "a", "h2", 0, time.Hour); !ok || was.Began.IsZero() {
		t.Errorf("%+v, %v", was, ok)
	}
	if err := s.FreeToken(ctx, "a", "h1", true); err != nil {
		t.Error(err)
	}
	if r, err := s.ReadToken(ctx, "a"); err != nil || r.Held <= 0 {
		t.Errorf("freed by who had it no more: %+v, %v", r, err)
	}
	if err := s2.FreeToken(ctx, "a", "h2", false); err != nil {
		t.Error(err)
	}
	if was, ok := lease(t, s, "a", "h3", 0, time.Hour); !ok || was.Began.IsZero() {
		t.Errorf("what is not settled is not told: %+v, %v", was, ok)
	}
	if err := s.FreeToken(ctx, "a", "h3", true); err != nil {
		t.Error(err)
	}
	if was, ok := lease(t, s, "a", "h4", 0, time.Hour); !ok || !was.Began.IsZero() {
		t.Errorf("what is settled is told: %+v, %v", was, ok)
	}
	if !keepToken(t, s, "a", "h4", 0, box("x")) {
		t.Error("not kept")
	}
	if was, ok := lease(t, s2, "a", "h5", 0, time.Hour); ok || was.Generation != 1 || was.Held > 0 {
		t.Errorf("%+v, %v", was, ok)
	}
	if was, ok := lease(t, s2, "a", "h5", 1, time.Hour); !ok || !was.Began.IsZero() {
		t.Errorf("%+v, %v", was, ok)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := s.LeaseToken(cancelled, "a", tokens.Lease{Holder: "h6", Generation: 1}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func testTokenLeaseTogether(t *testing.T, db Database) {
	stores := []store.Store{open(t, db), open(t, db)}
	for generation := range int64(5) {
		var taken atomic.Int64
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				holder := fmt.Sprint("h", i)
				_, ok, err := stores[i%2].LeaseToken(testContext(t), "a", tokens.Lease{Platform: "p", Holder: holder, Generation: generation, Life: time.Hour})
				if err != nil {
					t.Error(err)
				}
				if ok {
					taken.Add(1)
				}
			})
		}
		wg.Wait()
		if taken.Load() != 1 {
			t.Fatalf("%d have the lease of generation %d", taken.Load(), generation)
		}
		if !keepToken(t, stores[0], "a", "", generation, box(fmt.Sprint(generation))) {
			t.Fatal("not kept")
		}
	}
}

func testTokenEnds(t *testing.T, db Database) {
	s, s2 := open(t, db), open(t, db)
	ctx := testContext(t)
	other := ads.Ref{ClientID: "zeta", Connection: "x"}
	begin(t, s, acme, newRun("r1", at(0)))
	note := func(e tokens.End) {
		t.Helper()
		if err := s.NoteTokenEnd(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	claim := func(e tokens.End, days int, want bool) {
		t.Helper()
		if got, err := s2.ClaimTokenWarning(ctx, e, days); err != nil || got != want {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	e := tokens.End{Ref: acme, At: at(1000), Why: "no refresh token"}
	claim(e, 7, false)
	note(tokens.End{Ref: acme})
	note(e)
	note(tokens.End{Ref: other, At: at(5), Why: "w"})
	claim(e, 7, true)
	claim(e, 7, false)
	note(tokens.End{Ref: acme, At: at(1100), Why: "because"}) // the same, told a little later
	claim(e, 7, false)
	claim(e, 3, true)
	claim(e, 7, false)
	ends, err := s.TokenEnds(ctx)
	if err != nil || len(ends) != 2 || ends[0] != (tokens.End{Ref: acme, At: at(1100), Why: "because", Warned: 3}) || ends[1].Ref != other {
		t.Errorf("%+v, %v", ends, err)
	}
	if st, err := s2.Status(ctx); err != nil || len(st) != 1 || !st[0].TokenEnd.Equal(at(1100)) || st[0].TokenWhy != "because" {
		t.Errorf("%+v, %v", st, err)
	}
	later := tokens.End{Ref: acme, At: at(900_000), Why: "another"}
	claim(later, 1, false)
	note(later)
	claim(later, 7, true)
	note(tokens.End{Ref: acme})
	claim(later, 1, false)
	if ends, err := s.TokenEnds(ctx); err != nil || len(ends) != 1 {
		t.Errorf("%+v, %v", ends, err)
	}
}
