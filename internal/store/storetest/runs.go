package storetest

import (
	"fmt"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

func (x *session) sweep(w store.Sweep) store.SweepResult {
	x.t.Helper()
	w.RunID, w.Account, w.Stream, w.RunStart = x.run.ID, "acc", "campaigns", x.run.StartedAt
	res, err := x.s.Sweep(testContext(x.t), x.lease, w)
	if err != nil {
		x.t.Fatalf("Sweep: %v", err)
	}
	return res
}

func wantSweep(t testing.TB, got, want store.SweepResult) {
	t.Helper()
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

const removed = "SELECT id, changed_at, synced_at, removed_at FROM campaigns ORDER BY id"

func testSweep(t *testing.T, db Database) {
	s := open(t, db)
	other := begin(t, s, ads.Ref{ClientID: "other", Connection: "adplatform"}, newRun("other", at(0)))
	other.direct(at(1), entity("b"))
	x := begin(t, s, acme, newRun("r1", at(0)))
	x.direct(at(1), entities("a", "b", "c")...)
	x.commit(store.Commit{Stamp: at(1), Account: "acc2", Listed: x.listedDirect(entity("b"))})
	wantSweep(t, x.sweep(store.Sweep{Direct: true, PassStart: at(0), Stamp: at(2), MaxShare: 0.2}), store.SweepResult{Present: 3})
	x.finish(ads.Complete, at(3))

	x = begin(t, s, acme, newRun("r2", at(10)))
	x.direct(at(11), entities("a", "c")...)
	w := store.Sweep{Direct: true, PassStart: at(10), Stamp: at(12), MaxShare: 0.5}
	wantSweep(t, x.sweep(w), store.SweepResult{Present: 3, Gone: 1, Marked: 1})
	only := " ORDER BY id"
	query := "SELECT id, changed_at, synced_at, removed_at FROM campaigns WHERE client_id = 'acme' AND account_id = 'acc'" + only
	want := [][]string{{"a", text(at(1)), text(at(11)), "NULL"}, {"b", text(at(12)), text(at(1)), text(at(12))}, {"c", text(at(1)), text(at(11)), "NULL"}}
	wantRows(t, db, query, want...)
	// Asked again, because the answer or the process was lost before the figures told of it, it counts the same.
	wantSweep(t, x.sweep(w), store.SweepResult{Present: 3, Gone: 1, Marked: 1})
	w.Stamp = at(13)
	wantSweep(t, x.sweep(w), store.SweepResult{Present: 3, Gone: 1, Marked: 1})
	wantRows(t, db, query, want...)
	if err := s.FinishRun(testContext(t), x.lease, store.FinishRun{RunID: "r2", Outcome: ads.Failed, Now: at(14)}); err != nil {
		t.Fatal(err)
	}
	x.release()
	x = begin(t, s, acme, newRun("r2b", at(15)))
	wantSweep(t, x.sweep(w), store.SweepResult{Present: 2}) // the run's figures have it now
	x.finish(ads.Complete, at(16))
	wantRows(t, db, "SELECT client_id, account_id, removed_at FROM campaigns WHERE id = 'b' AND NOT (client_id = 'acme' AND account_id = 'acc') ORDER BY client_id",
		[]string{"acme", "acc2", "NULL"}, []string{"other", "acc", "NULL"})

	// It comes back: changed, and known since the first day.
	x = begin(t, s, acme, newRun("r3", at(20)))
	wantResult(t, x.direct(at(21), entities("a", "b", "c")...), store.Result{Written: 3, Unchanged: 2})
	wantSweep(t, x.sweep(store.Sweep{Direct: true, PassStart: at(20), Stamp: at(22), MaxShare: 0}), store.SweepResult{Present: 3})
	x.finish(ads.Complete, at(23))
	wantRows(t, db, "SELECT changed_at, removed_at, first_seen_at FROM campaigns WHERE id = 'b' AND client_id = 'acme' AND account_id = 'acc'", []string{text(at(21)), "NULL", text(at(1))})
}

func testSweepItems(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	x.direct(at(1), entities("done", "failed", "waits", "gone", "old pass")...)
	x.finish(ads.Complete, at(2))
	x = begin(t, s, acme, newRun("r2", at(10)))
	l := x.listedDirect(entities("old pass")...)
	l.Direct, l.FirstSeq = false, 1
	x.commit(store.Commit{Stamp: at(11), Listed: l})
	l = x.listedDirect(entities("done", "failed", "waits")...)
	l.Direct, l.FirstSeq, l.Pass = false, 2, 2
	x.commit(store.Commit{Stamp: at(12), Listed: l})
	x.commit(store.Commit{Stamp: at(13), Done: []int64{2}, Failed: []store.ItemFailure{{Seq: 3, Class: ads.ClassPermanent, Message: "m"}}})
	w := store.Sweep{Pass: 2, PassStart: at(12), Stamp: at(14), MaxShare: 0.4}
	wantSweep(t, x.sweep(w), store.SweepResult{Present: 5, Gone: 2, Marked: 2})
	wantSweep(t, x.sweep(w), store.SweepResult{Present: 5, Gone: 2, Marked: 2})
	wantRows(t, db, removed, []string{"done", text(at(1)), text(at(13)), "NULL"}, []string{"failed", text(at(1)), text(at(1)), "NULL"},
		[]string{"gone", text(at(14)), text(at(1)), text(at(14))}, []string{"old pass", text(at(14)), text(at(1)), text(at(14))}, []string{"waits", text(at(1)), text(at(1)), "NULL"})
	x.finish(ads.Complete, at(15))
	// An item brings a removed one back.
	x = begin(t, s, acme, newRun("r3", at(20)))
	l = x.listedDirect(entities("gone")...)
	l.Direct, l.FirstSeq = false, 1
	x.commit(store.Commit{Stamp: at(21), Listed: l})
	wantResult(t, x.commit(store.Commit{Stamp: at(22), Done: []int64{1}}), store.Result{Written: 1})
	wantRows(t, db, "SELECT changed_at, removed_at FROM campaigns WHERE id = 'gone'", []string{text(at(22)), "NULL"})
	x.finish(ads.Complete, at(23))
}

// Fault 89: what would mark too many at once marks none.
func testSweepShare(t *testing.T, db Database) {
	s := open(t, db)
	var all []ads.Entity
	for i := range 10 {
		all = append(all, entity(fmt.Sprint("c", i)))
	}
	x := begin(t, s, acme, newRun("r1", at(0)))
	x.direct(at(1), all...)
	x.finish(ads.Complete, at(2))
	x = begin(t, s, acme, newRun("r2", at(10)))
	x.direct(at(11), all[:7]...)
	w := store.Sweep{Direct: true, PassStart: at(10), Stamp: at(12), MaxShare: 0.2}
	wantSweep(t, x.sweep(w), store.SweepResult{Present: 10, Gone: 3})
	wantRows(t, db, "SELECT count(*) FROM campaigns WHERE removed_at IS NOT NULL", []string{"0"})
	w.MaxShare = 1
	wantSweep(t, x.sweep(w), store.SweepResult{Present: 10, Gone: 3, Marked: 3})
	x.finish(ads.Complete, at(13))
	// Exactly the share is allowed; what is marked already no longer counts.
	x = begin(t, s, acme, newRun("r3", at(20)))
	x.direct(at(21), all[:6]...)
	wantSweep(t, x.sweep(store.Sweep{Direct: true, PassStart: at(20), Stamp: at(22), MaxShare: 1.0 / 7}), store.SweepResult{Present: 7, Gone: 1, Marked: 1})
	x.finish(ads.Complete, at(23))
	// An empty listing of everything.
	x = begin(t, s, acme, newRun("r4", at(30)))
	wantSweep(t, x.sweep(store.Sweep{Direct: true, PassStart: at(30), Stamp: at(31), MaxShare: 0.99}), store.SweepResult{Present: 6, Gone: 6})
	wantSweep(t, x.sweep(store.Sweep{Direct: true, PassStart: at(30), Stamp: at(31), MaxShare: 1}), store.SweepResult{Present: 6, Gone: 6, Marked: 6})
	wantSweep(t, x.sweep(store.Sweep{Direct: true, PassStart: at(30), Stamp: at(31), MaxShare: 1}), store.SweepResult{Present: 6, Gone: 6, Marked: 6})
	x.finish(ads.Complete, at(32))
}

func testSweepResolves(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	x.direct(at(1), entities("a", "b")...)
	x.commit(store.Commit{Stamp: at(1), Problems: []ads.Problem{{EntityID: "page 1, position 3", Message: "m"}, {EntityID: "still bad", Message: "m"}}})
	x.commit(store.Commit{Stamp: at(1), Account: "acc2", Problems: []ads.Problem{{EntityID: "elsewhere", Message: "m"}}})
	x.finish(ads.Partial, at(2))
	x = begin(t, s, acme, newRun("r2", at(10)))
	x.direct(at(11), entity("a"))
	x.commit(store.Commit{Stamp: at(11), Problems: []ads.Problem{{EntityID: "still bad", Message: "m"}}})
	open := "SELECT entity_id FROM failures WHERE resolved_at IS NULL ORDER BY entity_id"
	wantSweep(t, x.sweep(store.Sweep{Direct: true, PassStart: at(10), Stamp: at(12), MaxShare: 0.1}), store.SweepResult{Present: 2, Gone: 1})
	wantRows(t, db, open, []string{"elsewhere"}, []string{"page 1, position 3"}, []string{"still bad"}) // a listing that is not believed proves nothing
	wantSweep(t, x.sweep(store.Sweep{Direct: true, PassStart: at(10), Stamp: at(13), MaxShare: 1}), store.SweepResult{Present: 2, Gone: 1, Marked: 1})
	wantRows(t, db, open, []string{"elsewhere"}, []string{"still bad"})
	wantRows(t, db, "SELECT resolved_at FROM failures WHERE entity_id LIKE 'page%'", []string{text(at(13))})
	x.finish(ads.Partial, at(14))
}

func testOpenRun(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	const query = "SELECT id, trigger, started_at, finished_at, outcome FROM runs ORDER BY id"
	x := begin(t, s, acme, newRun("r1", at(0)))
	if x.run.Resumed || x.run.ID != "r1" || !x.run.StartedAt.Equal(at(0)) || x.run.State != nil || x.run.CommitSeq != 0 || x.run.Pending != 0 {
		t.Errorf("new: %+v", x.run)
	}
	wantRows(t, db, query, []string{"r1", "manual", text(at(0)), "NULL", "NULL"})
	x.commit(store.Commit{Stamp: at(1), After: func(store.Result) store.RunUpdate {
		return store.RunUpdate{State: []byte("state"), Active: 1500 * time.Millisecond, Figures: ads.Figures{
			Listed: 1, Synced: 2, Unchanged: 3, Failed: 4, Removed: 5, Pages: 6, Requests: 7, Throttled: 8, Retries: 9, Waited: 10_123_456 * time.Microsecond, Told: 4_000_001 * time.Microsecond, Writing: 7_000_002 * time.Microsecond,
		}}
	}})
	x.release() // as after a crash: the run is not finished
	resumed := func(o store.OpenRun, want bool) *session {
		t.Helper()
		x := begin(t, s, acme, o)
		if x.run.Resumed != want {
			t.Errorf("%+v: resumed %v", o, x.run.Resumed)
		}
		return x
	}
	x = resumed(newRun("r2", at(60)), true)
	wantRun := store.Run{
		ID: "r1", StartedAt: at(0), Resumed: true, State: []byte("state"), CommitSeq: 1, Active: 1500 * time.Millisecond, Figures: ads.Figures{
			Listed: 1, Synced: 2, Unchanged: 3, Failed: 4, Removed: 5, Pages: 6, Requests: 7, Throttled: 8, Retries: 9, Waited: 10_123_456 * time.Microsecond, Told: 4_000_001 * time.Microsecond, Writing: 7_000_002 * time.Microsecond,
		},
	}
	if fmt.Sprintf("%+v", x.run) != fmt.Sprintf("%+v", wantRun) {
		t.Errorf("got  %+v\nwant %+v", x.run, wantRun)
	}
	// Failed and interrupted runs go on, and are open meanwhile.
	x.finish(ads.Failed, at(61))
	wantRows(t, db, query, []string{"r1", "manual", text(at(0)), text(at(61)), "failed"})
	x = resumed(newRun("r2", at(62)), true)
	wantRows(t, db, query, []string{"r1", "manual", text(at(0)), "NULL", "NULL"})
	x.release()
	// Too old, another plan, fresh: each ends the old one as interrupted.
	x = resumed(newRun("r2", at(24*3600)), false)
	wantRows(t, db, query, []string{"r1", "manual", text(at(0)), text(at(24 * 3600)), "interrupted"}, []string{"r2", "manual", text(at(24 * 3600)), "NULL", "NULL"})
	x.release()
	o := newRun("r3", at(24*3600+1))
	o.Plan = "another"
	x = resumed(o, false)
	x.release()
	o.NewID, o.Fresh = "r4", true
	x = resumed(o, false)
	x.finish(ads.Complete, at(24*3600+5))
	o.NewID, o.Fresh = "r5", false
	x = resumed(o, false)
	x.finish(ads.Partial, at(24*3600+6))
	o.NewID = "r6"
	x = resumed(o, false)
	wantRows(t, db, "SELECT id, outcome FROM runs ORDER BY id", []string{"r1", "interrupted"}, []string{"r2", "interrupted"}, []string{"r3", "interrupted"},
		[]string{"r4", "complete"}, []string{"r5", "partial"}, []string{"r6", "NULL"})
	if _, err := s.Commit(ctx, x.lease, &store.Commit{RunID: "r3", Seq: 1, Account: "acc", Stream: "campaigns", Stamp: at(24*3600 + 9), After: after(1)}); err == nil {
		t.Error("a run that was given up took a commit")
	}
	x.finish(ads.Interrupted, at(24*3600+9))
}

// What a run has stamped is older than the next run's start, even when the clock was set back in between.
func testOpenRunClock(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(3600)))
	x.direct(at(3601), entities("a", "b")...)
	x.finish(ads.Complete, at(10))
	wantRows(t, db, "SELECT finished_at FROM runs", []string{text(at(3600))})
	x = begin(t, s, acme, newRun("r2", at(0)))
	if !x.run.StartedAt.After(at(3601)) {
		t.Errorf("started at %s", x.run.StartedAt)
	}
	wantRows(t, db, "SELECT started_at FROM runs WHERE id = 'r2'", []string{text(x.run.StartedAt)})
	wantResult(t, x.direct(x.run.StartedAt, entity("a")), store.Result{Written: 1, Unchanged: 1})
	wantSweep(t, x.sweep(store.Sweep{Direct: true, PassStart: x.run.StartedAt, Stamp: x.run.StartedAt, MaxShare: 1}), store.SweepResult{Present: 2, Gone: 1, Marked: 1})
	x.finish(ads.Complete, x.run.StartedAt)
}

func testFinishRun(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	x := begin(t, s, acme, newRun("r1", at(0)))
	f := store.FinishRun{RunID: "r1", Outcome: ads.Interrupted, Now: at(5), Error: "deferred", Wait: store.Wait{Reason: "quota of acme", Until: at(500)}, Update: store.RunUpdate{
		State: []byte("end"), Figures: ads.Figures{Listed: 3, Synced: 2, Failed: 1, Waited: time.Minute}, Active: 4 * time.Second,
	}}
	if err := s.FinishRun(ctx, x.lease, f); err != nil {
		t.Fatal(err)
	}
	wantRows(t, db, "SELECT outcome, finished_at, error, listed, synced, failed, waited_seconds FROM runs", []string{"interrupted", text(at(5)), "deferred", "3", "2", "1", "60"})
	x.release()
	st, err := s.Status(ctx)
	if err != nil || len(st) != 1 || st[0].Running || st[0].Wait != f.Wait {
		t.Errorf("parked: %+v, %v", st, err)
	}
	x = begin(t, s, acme, newRun("r2", at(6)))
	if !x.run.Resumed || string(x.run.State) != "end" || x.run.Active != 4*time.Second || x.run.Figures != f.Update.Figures {
		t.Errorf("%+v", x.run)
	}
	st, err = s.Status(ctx)
	if err != nil || len(st) != 1 || st[0].Wait != (store.Wait{}) || !st[0].Running {
		t.Errorf("running again: %+v, %v", st, err)
	}
	f = store.FinishRun{RunID: "r1", Outcome: ads.Complete, Now: at(7), Update: f.Update}
	for range 2 { // the second time its answer was lost
		if err := s.FinishRun(ctx, x.lease, f); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(t, db, "SELECT outcome, finished_at, error FROM runs", []string{"complete", text(at(7)), "NULL"})
	f.RunID = "no such run"
	if err := s.FinishRun(ctx, x.lease, f); err == nil {
		t.Error("an unknown run was finished")
	}
	x.release()
}

func testItemsDropped(t *testing.T, db Database) {
	s := open(t, db)
	const n = 6000 // more than is dropped at once
	list := func(x *session, n int) {
		var records []ads.Entity
		for i := range n {
			records = append(records, entity(fmt.Sprint("c", i)))
		}
		l := x.listedDirect(records...)
		l.Direct, l.AllMaybeSeen, l.FirstSeq = false, false, 1
		x.commit(store.Commit{Stamp: at(1), Listed: l})
	}
	count := func(want int) {
		t.Helper()
		wantRows(t, db, "SELECT count(*) FROM adsync_items", []string{fmt.Sprint(want)})
	}
	x := begin(t, s, acme, newRun("r1", at(0)))
	list(x, n)
	x.finish(ads.Interrupted, at(2))
	count(n)
	o := newRun("r2", at(3))
	o.Fresh = true
	x = begin(t, s, acme, o)
	count(0)
	list(x, 10)
	x.finish(ads.Failed, at(4))
	count(10)
	x = begin(t, s, acme, newRun("r3", at(5)))
	if !x.run.Resumed || x.run.Pending != 10 {
		t.Errorf("%+v", x.run)
	}
	x.finish(ads.Complete, at(6))
	count(0)
}

func testStatusAndRuns(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	if st, err := s.Status(ctx); err != nil || len(st) != 0 {
		t.Errorf("empty: %+v, %v", st, err)
	}
	b := ads.Ref{ClientID: "b", Connection: "p"}
	a2 := ads.Ref{ClientID: "a", Connection: "q"}
	a1 := ads.Ref{ClientID: "a", Connection: "p"}
	for i, ref := range []ads.Ref{b, a2, a1} {
		x := begin(t, s, ref, newRun(fmt.Sprint(ref, " 1"), at(i)))
		x.direct(at(i+1), entities("c1", "c2", "c3")...)
		x.commit(store.Commit{Stamp: at(i + 1), Problems: []ads.Problem{{EntityID: "p", Message: "m"}}})
		x.finish(ads.Complete, at(i+2))
	}
	x := begin(t, s, a1, newRun("a/p 2", at(10)))
	x.direct(at(11), entities("c1", "c2")...)
	x.sweep(store.Sweep{Direct: true, PassStart: at(10), Stamp: at(12), MaxShare: 1})
	if err := s.FinishRun(ctx, x.lease, store.FinishRun{RunID: "a/p 2", Outcome: ads.Failed, Error: "platform down", Now: at(13), Update: store.RunUpdate{Figures: ads.Figures{Synced: 2, Waited: time.Second, Told: 400 * time.Millisecond, Writing: 30 * time.Microsecond}, Active: 3 * time.Second}}); err != nil {
		t.Fatal(err)
	}
	x.release()
	// A lock alone is enough to be shown.
	c := ads.Ref{ClientID: "c", Connection: "p"}
	lease, err := s.Acquire(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.NoteWait(ctx, lease, store.Wait{Reason: "quota", Until: at(100)}); err != nil {
		t.Fatal(err)
	}
	st, err := open(t, db).Status(ctx)
	if err != nil || len(st) != 4 {
		t.Fatalf("%+v, %v", st, err)
	}
	if st[0].Ref != a1 || st[1].Ref != a2 || st[2].Ref != b || st[3].Ref != c {
		t.Errorf("order: %v", st)
	}
	got := st[0]
	wantLast := store.RunRecord{
		Ref: a1, ID: "a/p 2", Trigger: "manual", StartedAt: at(10), FinishedAt: at(13), Outcome: ads.Failed, Error: "platform down", Active: 3 * time.Second, Split: true,
		Figures: ads.Figures{Synced: 2, Waited: time.Second, Told: 400 * time.Millisecond, Writing: 30 * time.Microsecond},
	}
	if got.Last == nil || *got.Last != wantLast || !got.LastComplete.Equal(at(4)) || got.Running || got.Campaigns != 2 || got.OpenFailures != 0 {
		t.Errorf("%+v, last %+v", got, got.Last)
	}
	if got := st[2]; got.Campaigns != 3 || got.OpenFailures != 1 || got.Last == nil || got.Last.Outcome != ads.Complete || !got.LastComplete.Equal(at(2)) {
		t.Errorf("%+v", got)
	}
	if got := st[3]; !got.Running || got.Holder == "" || time.Since(got.Since) > time.Hour || got.Wait != (store.Wait{Reason: "quota", Until: at(100)}) || got.Last != nil || !got.LastComplete.IsZero() {
		t.Errorf("%+v", got)
	}
	if err := s.NoteWait(ctx, lease, store.Wait{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Status(ctx); err != nil || len(st) != 3 {
		t.Errorf("released: %+v, %v", st, err)
	}
	runs, err := s.Runs(ctx, a1, 10)
	if err != nil || len(runs) != 2 || runs[0] != wantLast || runs[1].ID != "a/p 1" || runs[1].Outcome != ads.Complete {
		t.Errorf("%+v, %v", runs, err)
	}
	runs, err = s.Runs(ctx, ads.Ref{}, 3)
	if err != nil || len(runs) != 3 || runs[0].ID != "a/p 2" || runs[1].ID != "a/p 1" || runs[2].ID != "a/q 1" {
		t.Errorf("%+v, %v", runs, err)
	}
}

// Fault 75: two clients with the same ids do not mix, and neither do two connections of one.
func testClientsApart(t *testing.T, db Database) {
	s := open(t, db)
	refs := []ads.Ref{{ClientID: "a", Connection: "x"}, {ClientID: "a", Connection: "y"}, {ClientID: "b", Connection: "x"}}
	for i, ref := range refs {
		x := begin(t, s, ref, newRun(fmt.Sprint("run", i), at(i)))
		e := entity("same")
		e.Name = ref.String()
		x.direct(at(i), e)
		l := x.listedDirect(e)
		l.Direct, l.FirstSeq = false, 1
		x.commit(store.Commit{Stamp: at(i), Listed: l})
		defer x.finish(ads.Complete, at(9))
		if got := x.pending(); len(got) != 1 {
			t.Errorf("pending %v", got)
		}
	}
	wantRows(t, db, "SELECT client_id, connection, id, name FROM campaigns ORDER BY client_id, connection",
		[]string{"a", "x", "same", "a/x"}, []string{"a", "y", "same", "a/y"}, []string{"b", "x", "same", "b/x"})
}
