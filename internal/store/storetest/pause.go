package storetest

import (
	"testing"

	"adsync/internal/ads"
	"adsync/internal/store"
)

func testPause(t *testing.T, db Database) {
	s, other := open(t, db), openRaw(t, db)
	ctx := testContext(t)
	globex := ads.Ref{ClientID: "globex", Connection: "adplatform"}
	set := func(ref ads.Ref, by string, on bool) {
		t.Helper()
		if err := s.SetPaused(ctx, ref, by, on); err != nil {
			t.Fatal(err)
		}
	}
	// want looks with the eyes of another process.
	want := func(ref ads.Ref, by string) {
		t.Helper()
		p, err := other.ReadPause(ctx, ref)
		if err != nil || p.By != by || p.At.IsZero() != (by == "") {
			t.Errorf("%s: %+v, %v, want %q", ref, p, err, by)
		}
		all, err := other.Paused(ctx)
		if err != nil || all[ref] != p {
			t.Errorf("all: %+v, %v, want %+v of %s", all, err, p, ref)
		}
		st, err := other.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		shown := store.Pause{}
		for _, c := range st {
			if c.Ref == ref {
				shown = c.Pause
			}
		}
		if shown != p {
			t.Errorf("status: %+v, want %+v", shown, p)
		}
	}
	want(acme, "")
	set(acme, "somebody", false)
	if st, err := s.Status(ctx); err != nil || len(st) != 0 {
		t.Errorf("a pause that was never there makes a connection: %+v, %v", st, err)
	}
	// One that never ran can be paused; who did so first stands, whoever asks again.
	set(acme, "Ünï\x00", true)
	want(acme, "Ünï\ufffd")
	first, _ := s.ReadPause(ctx, acme)
	set(acme, "somebody else", true)
	if again, err := s.ReadPause(ctx, acme); err != nil || again != first {
		t.Errorf("%+v, %v, want %+v", again, err, first)
	}
	want(globex, "")
	// A run of it, which somebody else may ask for, neither ends the pause nor is kept from anything.
	x := begin(t, s, acme, newRun("r1", at(0)))
	x.finish(ads.Complete, at(10))
	want(acme, first.By)
	// A pause does not touch the lock of a run, nor what it waits for.
	y := begin(t, s, globex, newRun("r2", at(0)))
	w := store.Wait{Reason: "quota", Until: at(9)}
	if err := s.NoteWait(ctx, y.lease, w); err != nil {
		t.Fatal(err)
	}
	set(globex, "token", true)
	if got, err := s.ReadWait(ctx, globex); err != nil || got != w {
		t.Errorf("%+v, %v", got, err)
	}
	want(globex, "token")
	y.commit(store.Commit{Stamp: at(1), Platform: "adplatform", Accounts: []ads.Account{{ID: "a", Status: ads.StatusActive}}})
	set(globex, "", false)
	want(globex, "")
	want(acme, first.By)
	y.finish(ads.Complete, at(20))
}
