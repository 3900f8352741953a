package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/store"
)

func beat(t testing.TB, s store.Store, id string, lease time.Duration) []store.Worker {
	t.Helper()
	ws, err := s.Beat(testContext(t), store.Beat{ID: id, Name: "host of " + id, Version: "v1", Runs: 3, Lease: lease})
	if err != nil {
		t.Fatalf("Beat: %v", err)
	}
	return ws
}

func find(t testing.TB, ws []store.Worker, id string) store.Worker {
	t.Helper()
	for _, w := range ws {
		if w.ID == id {
			return w
		}
	}
	t.Fatalf("no worker %s in %+v", id, ws)
	return store.Worker{}
}

func workerIDs(ws []store.Worker) (out []string) {
	for _, w := range ws {
		out = append(out, w.ID)
	}
	slices.Sort(out)
	return out
}

func testWorkers(t *testing.T, db Database) {
	s, s2 := open(t, db), open(t, db)
	ctx := testContext(t)
	a := find(t, beat(t, s, "a", time.Hour), "a")
	if a.Name != "host of a" || a.Version != "v1" || a.Runs != 3 || !a.Alive || a.LeaseUntil.Sub(a.BeatAt) != time.Hour || !a.StartedAt.Equal(a.BeatAt) ||
		time.Since(a.BeatAt).Abs() > time.Minute || a.BeatAt.Location() != time.UTC {
		t.Errorf("%+v", a)
	}
	ws := beat(t, s2, "b", 0)
	if got := workerIDs(ws); !slices.Equal(got, []string{"a", "b"}) || !find(t, ws, "a").Alive || find(t, ws, "b").Alive {
		t.Errorf("%+v", ws)
	}
	if seen, err := s2.Workers(ctx); err != nil || !slices.Equal(workerIDs(seen), []string{"a", "b"}) || !find(t, seen, "a").Alive || find(t, seen, "b").Alive ||
		!find(t, seen, "a").BeatAt.Equal(a.BeatAt) {
		t.Errorf("%+v, %v", seen, err)
	}
	// Another beat moves the lease, not the start.
	ws, err := s.Beat(ctx, store.Beat{ID: "a", Name: "renamed", Version: "v2", Lease: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	again := find(t, ws, "a")
	if again.Name != "renamed" || again.Version != "v2" || again.Runs != 0 || !again.StartedAt.Equal(a.StartedAt) || again.BeatAt.Before(a.BeatAt) || !again.LeaseUntil.After(a.LeaseUntil) {
		t.Errorf("%+v after %+v", again, a)
	}
	// An id that comes back is another process.
	if other := find(t, beat(t, s2, "a", time.Hour), "a"); other.StartedAt.Before(again.BeatAt) {
		t.Errorf("%+v after %+v", other, again)
	}
	for range 2 {
		if err := s.Leave(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := workerIDs(beat(t, s, "c", time.Hour)); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("after leaving: %v", got)
	}
	// Forgotten a day after its end, and not before.
	db.Exec(t, "UPDATE adsync_workers SET lease_until = '"+text(time.Now().Add(-23*time.Hour))+"' WHERE id = 'b'")
	if got := workerIDs(beat(t, s, "c", time.Hour)); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("after 23 hours: %v", got)
	}
	db.Exec(t, "UPDATE adsync_workers SET lease_until = '"+text(time.Now().Add(-25*time.Hour))+"' WHERE id = 'b'")
	if got := workerIDs(beat(t, s, "c", time.Hour)); !slices.Equal(got, []string{"c"}) {
		t.Errorf("after 25 hours: %v", got)
	}
}

// fencedOut wants every write of an old holder refused.
func fencedOut(t testing.TB, x *session) {
	t.Helper()
	ctx := testContext(t)
	_, commit := x.try(store.Commit{Stamp: at(100), Listed: x.listedDirect(entity("late"))})
	_, sweep := x.s.Sweep(ctx, x.lease, store.Sweep{RunID: x.run.ID, Account: "acc", Stream: ads.StreamCampaigns, Direct: true, Stamp: at(100), MaxShare: 1})
	_, opened := x.s.OpenRun(ctx, x.lease, newRun("late", at(100)))
	for what, err := range map[string]error{
		"Commit": commit, "Sweep": sweep, "OpenRun": opened, "NoteWait": x.s.NoteWait(ctx, x.lease, store.Wait{Reason: "late", Until: at(100)}),
		"FinishRun": x.s.FinishRun(ctx, x.lease, store.FinishRun{RunID: x.run.ID, Outcome: ads.Complete, Now: at(100)}), "Release": x.s.Release(ctx, x.lease),
	} {
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s of the old holder: %v", what, err)
		}
	}
}

// Fault 123: a holder whose lease has ended loses its locks, lives as it may, and writes nothing more.
func testLease(t *testing.T, db Database) {
	s, s2 := open(t, db), open(t, db)
	ctx := testContext(t)
	x := begin(t, s, acme, newRun("r1", at(0)))
	x.direct(at(1), entity("a"))
	other := begin(t, s2, ads.Ref{ClientID: "other", Connection: "c"}, newRun("r2", at(0)))
	running := func(want bool) {
		t.Helper()
		st, err := s2.Status(ctx)
		if err != nil || len(st) != 2 || st[0].Ref != acme || st[0].Running != want || !st[1].Running {
			t.Errorf("%+v, %v", st, err)
		}
	}
	beat(t, s, "a", time.Hour)
	wantBusy(t, s2, acme)
	wantBusy(t, s, acme)
	running(true)
	// It leaves, and is judged by its life again.
	beat(t, s, "a", 0)
	running(false)
	if err := s.Leave(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	wantBusy(t, s2, acme)
	running(true)
	beat(t, s, "a", 0)
	running(false)
	x.direct(at(2), entity("b")) // nobody has taken it over
	l, err := s2.Acquire(ctx, acme)
	if err != nil || l.Fence <= x.lease.Fence {
		t.Fatalf("%+v, %v", l, err)
	}
	fencedOut(t, x)
	beat(t, s, "a", time.Hour) // awake again, and too late
	fencedOut(t, x)
	wantBusy(t, s, acme)
	running(true)
	run, err := s2.OpenRun(ctx, l, newRun("r3", at(3)))
	if err != nil || !run.Resumed || run.ID != "r1" || run.CommitSeq != 2 {
		t.Errorf("%+v, %v", run, err)
	}
	wantRows(t, db, "SELECT id FROM campaigns ORDER BY id", []string{"a"}, []string{"b"})
	// Its own locks too: another run of the same process may have them when its lease has ended.
	own := other.lease
	beat(t, s2, "b", 0)
	if l, err = s2.Acquire(ctx, own.Ref); err != nil || l.Fence <= own.Fence {
		t.Fatalf("%+v, %v", l, err)
	}
	fencedOut(t, other)
	beat(t, s2, "b", time.Hour)
	wantBusy(t, s2, own.Ref)
	wantBusy(t, s, own.Ref)
	if err := s2.Release(ctx, l); err != nil {
		t.Fatal(err)
	}
}

// A worker that is forgotten while its process is only stopped does not keep its locks for ever.
func testForgottenWorker(t *testing.T, db Database) {
	s, s2 := open(t, db), open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	y := begin(t, s2, ads.Ref{ClientID: "other", Connection: "c"}, newRun("r2", at(0)))
	beat(t, s, "a", -25*time.Hour)
	if ws := beat(t, s2, "b", time.Hour); len(ws) != 1 {
		t.Errorf("%+v", ws)
	}
	l, err := s2.Acquire(testContext(t), acme)
	if err != nil || l.Fence <= x.lease.Fence {
		t.Fatalf("%+v, %v", l, err)
	}
	fencedOut(t, x)
	wantResult(t, y.direct(at(1), entity("a")), store.Result{Written: 1}) // the others' stay
}

// holdLease takes acme's connection under a lease that it does not renew, and writes when it is told to end.
func holdLease(ctx context.Context, s store.Store, _ string) error {
	x := begin(childTB{}, s, acme, newRun("held", at(0)))
	if _, err := s.Beat(ctx, store.Beat{ID: "child", Lease: 100 * time.Millisecond}); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	if _, err := x.try(store.Commit{Stamp: at(1), Listed: x.listedDirect(entity("late"))}); !errors.Is(err, store.ErrFenced) {
		x.t = childTB{}
		x.direct(at(2), entity("not fenced"))
	}
	return s.Close()
}

// Fault 123: a living process that does not renew its lease is taken over by another when it ends.
func testLeaseOfProcess(t *testing.T, db Database) {
	s := open(t, db)
	_, quit := start(t, db, "lease", "")
	l := acquireSoon(t, s, acme)
	if run, err := s.OpenRun(testContext(t), l, newRun("mine", at(1))); err != nil || run.ID != "held" {
		t.Errorf("%+v, %v", run, err)
	}
	if st, err := s.Status(testContext(t)); err != nil || len(st) != 1 || !st[0].Running {
		t.Errorf("%+v, %v", st, err)
	}
	quit()
	wantRows(t, db, "SELECT id FROM campaigns")
}

func testLastStarts(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	ref := func(c string) ads.Ref { return ads.Ref{ClientID: c, Connection: "x"} }
	n := 0
	run := func(client, trigger string, second int) {
		n++
		o := newRun(fmt.Sprint("run", n), at(second))
		o.Trigger = trigger
		begin(t, s, ref(client), o).finish(ads.Partial, at(second+1))
	}
	if got, err := s.LastStarts(ctx); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	run("a", store.TriggerManual, 10)
	run("a", store.TriggerSchedule, 20)
	run("a", store.TriggerRetry, 30)
	run("b", store.TriggerRetry, 10)
	run("c", store.TriggerDemo, 40)
	run("c", store.TriggerRetry, 50)
	run("c", store.TriggerManual, 60)
	if err := s.Park(ctx, ref("parked"), store.Wait{Reason: "r", Until: at(1)}); err != nil {
		t.Fatal(err)
	}
	begin(t, s, acme, newRun("under way", at(70)))
	want := map[ads.Ref]time.Time{ref("a"): at(20), ref("c"): at(60), acme: at(70)}
	got, err := s.LastStarts(ctx)
	if err != nil || !maps.EqualFunc(got, want, time.Time.Equal) {
		t.Errorf("%v, %v", got, err)
	}
	for _, client := range []string{"a", "b", "c", "nobody", "parked"} {
		got, err := s.LastStart(ctx, ref(client))
		if err != nil || !got.Equal(want[ref(client)]) {
			t.Errorf("%s: %v, %v", client, got, err)
		}
	}
}

func testPark(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	w := store.Wait{Reason: "credentials refused", Until: at(50), Mark: "mark\x1f1"}
	want := func(w store.Wait) {
		t.Helper()
		if got, err := s.ReadWait(ctx, acme); err != nil || got != w {
			t.Errorf("%+v, %v, want %+v", got, err, w)
		}
		st, err := s.Status(ctx)
		shown := store.Wait{}
		for _, c := range st {
			shown = c.Wait
		}
		if err != nil || shown != w {
			t.Errorf("status: %+v, %v, want %+v", st, err, w)
		}
	}
	park := func(w store.Wait) {
		t.Helper()
		if err := s.Park(ctx, acme, w); err != nil {
			t.Fatal(err)
		}
		want(w)
	}
	want(store.Wait{})
	park(store.Wait{})
	if st, err := s.Status(ctx); err != nil || len(st) != 0 {
		t.Errorf("a cleared wait makes a connection: %+v, %v", st, err)
	}
	park(w)
	if st, err := s.Status(ctx); err != nil || len(st) != 1 || st[0].Running || st[0].Last != nil {
		t.Errorf("%+v, %v", st, err)
	}
	park(store.Wait{Mark: "alone"})
	park(w)
	park(store.Wait{})
	park(w)
	// A lock is taken and given back as ever; the beginning of a run clears the wait.
	l, err := s.Acquire(ctx, acme)
	if err != nil || l.Fence != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	want(w)
	if err := s.Release(ctx, l); err != nil {
		t.Fatal(err)
	}
	x := begin(t, s, acme, newRun("r1", at(0)))
	want(store.Wait{})
	noted := store.Wait{Reason: "quota", Until: at(9)}
	for _, after := range []store.Wait{noted, {}} {
		park(w)
		if err := s.NoteWait(ctx, x.lease, after); err != nil {
			t.Fatal(err)
		}
		want(after)
	}
	if err := s.FinishRun(ctx, x.lease, store.FinishRun{RunID: "r1", Outcome: ads.Interrupted, Now: at(10), Wait: noted}); err != nil {
		t.Fatal(err)
	}
	want(noted)
	x.release()
	park(w)
	x = begin(t, s, acme, newRun("r2", at(20)))
	if !x.run.Resumed {
		t.Errorf("%+v", x.run)
	}
	want(store.Wait{})
	park(w)
	x.finish(ads.Complete, at(30))
	want(store.Wait{})
}

// Whatever the history, what is left is what somebody may still ask for.
func testPrune(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	check := 0
	rapid.Check(t, func(rt *rapid.T) {
		check++
		kept := map[string]bool{}
		limit := at(rapid.IntRange(0, 100).Draw(rt, "before"))
		deleted := int64(0)
		for c := range 3 {
			ref := ads.Ref{ClientID: fmt.Sprintf("client%d.%d", check, c), Connection: "x"}
			type past struct {
				id       string
				finished time.Time
				complete bool
			}
			var all []past
			second := 0
			for i, n := 0, rapid.IntRange(0, 5).Draw(rt, "runs"); i < n; i++ {
				second += rapid.IntRange(1, 10).Draw(rt, "pause")
				o := newRun(fmt.Sprintf("%d.%d.%d", check, c, i), at(second))
				o.Fresh = true // a run that has not ended is closed by the next
				x := begin(t, s, ref, o)
				second += rapid.IntRange(1, 10).Draw(rt, "length")
				outcome := rapid.SampledFrom([]ads.Outcome{ads.Complete, ads.Partial, ads.Failed, ads.Interrupted}).Draw(rt, "outcome")
				x.commit(store.Commit{Stamp: at(second), Problems: []ads.Problem{{EntityID: fmt.Sprint("p", i), Message: "m"}}})
				if outcome == ads.Complete {
					x.direct(at(second), entity("p0")) // resolves
				}
				x.finish(outcome, at(second))
				all = append(all, past{o.NewID, at(second), outcome == ads.Complete})
			}
			complete := -1
			for i, r := range all {
				if r.complete {
					complete = i
				}
			}
			for i, r := range all {
				if i == len(all)-1 || i == complete || !r.finished.Before(limit) {
					kept[r.id] = true
				} else {
					deleted++
				}
			}
		}
		like := fmt.Sprintf("client%d.%%", check)
		resolved := func() int64 {
			return int64(len(db.Rows(t, "SELECT id FROM failures WHERE client_id LIKE '"+like+"' AND resolved_at < '"+text(limit)+"'")))
		}
		open := db.Rows(t, "SELECT id FROM failures WHERE client_id LIKE '"+like+"' AND (resolved_at IS NULL OR resolved_at >= '"+text(limit)+"') ORDER BY id")
		deleted += resolved()
		// What earlier checks have left may go too: their limits were others.
		before := db.Rows(t, "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM failures)")
		mine := db.Rows(t, "SELECT (SELECT count(*) FROM runs WHERE client_id LIKE '"+like+"') + (SELECT count(*) FROM failures WHERE client_id LIKE '"+like+"')")
		n, err := s.Prune(ctx, limit)
		if err != nil {
			rt.Fatal(err)
		}
		after := db.Rows(t, "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM failures)")
		left := db.Rows(t, "SELECT (SELECT count(*) FROM runs WHERE client_id LIKE '"+like+"') + (SELECT count(*) FROM failures WHERE client_id LIKE '"+like+"')")
		if number(t, before)-number(t, after) != n || number(t, mine)-number(t, left) != deleted {
			rt.Fatalf("%d deleted of %v, left %v; of mine %v, left %v, want %d deleted", n, before, after, mine, left, deleted)
		}
		var got []string
		for _, r := range db.Rows(t, "SELECT id FROM runs WHERE client_id LIKE '"+like+"' ORDER BY id") {
			got = append(got, r[0])
		}
		if want := slices.Sorted(maps.Keys(kept)); !slices.Equal(got, want) {
			rt.Fatalf("runs left %v, want %v", got, want)
		}
		wantRows(t, db, "SELECT count(*) FROM adsync_run_state s WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = s.run_id)", []string{"0"})
		wantRows(t, db, "SELECT count(*) FROM runs r WHERE NOT EXISTS (SELECT 1 FROM adsync_run_state s WHERE r.id = s.run_id)", []string{"0"})
		wantRows(t, db, "SELECT id FROM failures WHERE client_id LIKE '"+like+"' ORDER BY id", open...)
	})
}

func number(t testing.TB, rows [][]string) (n int64) {
	t.Helper()
	if _, err := fmt.Sscan(rows[0][0], &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// More than fits one step, with runs in between that have to stay, and items that a dead process has left.
func testPruneMany(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("first", at(0)))
	l := x.listedDirect(entities("a", "b", "c")...)
	l.Direct, l.FirstSeq = false, 1
	x.commit(store.Commit{Stamp: at(1), Listed: l})
	db.Exec(t, "UPDATE adsync_run_state SET open = (1 = 0) WHERE run_id = 'first'")
	db.Exec(t, "UPDATE runs SET outcome = 'interrupted', finished_at = '"+text(at(2))+"'")
	x.release()
	db.Exec(t, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1700)
		INSERT INTO runs (id, client_id, connection, trigger, started_at, finished_at, outcome) SELECT 'old' || i, 'acme', 'adplatform', 'manual', '`+text(at(10))+"', '"+text(at(11))+"', 'partial' FROM n")
	db.Exec(t, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
		INSERT INTO runs (id, client_id, connection, trigger, started_at, finished_at, outcome) SELECT 'single' || i, 'single' || i, 'c', 'manual', '`+text(at(5))+"', '"+text(at(6))+"', 'complete' FROM n")
	db.Exec(t, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
		INSERT INTO failures (client_id, connection, account_id, stream, entity_id, class, message, attempts, first_failed_at, last_failed_at, resolved_at)
		SELECT 'acme', 'c', 'a', 'campaigns', 'e' || i, 'transient', 'm', 1, '`+text(at(1))+"', '"+text(at(1))+"', '"+text(at(2))+"' FROM n")
	// One in between may be resumed, however that came about.
	db.Exec(t, "INSERT INTO adsync_run_state (run_id, client_id, connection, plan, open) VALUES ('old7', 'acme', 'another', 'plan', (1 = 1))")
	x = begin(t, s, acme, newRun("newest", at(20)))
	n, err := s.Prune(testContext(t), at(15))
	if err != nil || n != 1+1699+1100 {
		t.Errorf("%d deleted, %v", n, err)
	}
	wantRows(t, db, "SELECT count(*) FROM runs", []string{"602"})
	wantRows(t, db, "SELECT run_id FROM adsync_run_state ORDER BY run_id", []string{"newest"}, []string{"old7"})
	wantRows(t, db, "SELECT count(*) FROM failures", []string{"0"})
	wantRows(t, db, "SELECT count(*) FROM adsync_items", []string{"0"})
	// An open run stays, however old.
	if n, err := s.Prune(testContext(t), at(1000)); err != nil || n != 0 {
		t.Errorf("%d deleted, %v", n, err)
	}
	x.finish(ads.Complete, at(30))
}
