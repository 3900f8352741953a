package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// refuseSome makes the database refuse records named "double", but for one: an index that nobody planned for.
func refuseSome(t testing.TB, db Database) {
	db.Exec(t, "CREATE UNIQUE INDEX unplanned ON campaigns (name) WHERE name LIKE 'double%'")
}

// Faults 104 and 109: what the database refuses is one failed record, and the batch goes on.
func testRefused(t *testing.T, db Database) {
	s := open(t, db)
	refuseSome(t, db)
	for run, n := range []int{3, 60, 1200} {
		ref := ads.Ref{ClientID: fmt.Sprint("client", n), Connection: "c"}
		x := begin(t, s, ref, newRun(fmt.Sprint("run", run), at(0)))
		double := fmt.Sprint("double ", n)
		first := entity("first")
		first.Name = double
		x.direct(at(1), first)
		var records []ads.Entity
		bad := map[string]bool{}
		for i := range n {
			e := entity(fmt.Sprintf("campaign_%04d", i))
			if i == 1 || i == n-1 || i == n/2 {
				e.Name = double
				bad[e.ID] = true
			}
			records = append(records, e)
		}
		l := x.listedDirect(records...)
		l.AllMaybeSeen = false
		res := x.commit(store.Commit{Stamp: at(2), Listed: l})
		if res.RejectedReason == "" {
			t.Error("the refusal has no reason")
		}
		res.RejectedReason = ""
		wantResult(t, res, store.Result{Written: int64(n - len(bad)), Rejected: int64(len(bad))})
		wantRows(t, db, fmt.Sprintf("SELECT count(*) FROM campaigns WHERE client_id = '%s'", ref.ClientID), []string{fmt.Sprint(n - len(bad) + 1)})
		rows := db.Rows(t, fmt.Sprintf("SELECT entity_id, class, attempts, raw, message FROM failures WHERE client_id = '%s' AND resolved_at IS NULL", ref.ClientID))
		if len(rows) != len(bad) {
			t.Errorf("%d failures, want %d: %q", len(rows), len(bad), rows)
		}
		for _, r := range rows {
			if !bad[r[0]] || r[1] != "bad_record" || r[2] != "1" || r[3] != `{"id":"`+r[0]+`"}` || !strings.Contains(r[4], "unplanned") && !strings.Contains(r[4], "name") {
				t.Errorf("failure %q", r)
			}
		}
		// Written at last, it is no failure any more.
		x.direct(at(3), entity("campaign_0001"))
		wantRows(t, db, fmt.Sprintf("SELECT resolved_at FROM failures WHERE client_id = '%s' AND entity_id = 'campaign_0001'", ref.ClientID), []string{text(at(3))})
		x.finish(ads.Partial, at(4))
	}
}

func testRefusedItem(t *testing.T, db Database) {
	s := open(t, db)
	refuseSome(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	records := entities("a", "b", "c", "d")
	records[1].Name, records[3].Name = "double", "double"
	l := x.listedDirect(records...)
	l.Direct, l.FirstSeq = false, 1
	x.commit(store.Commit{Stamp: at(1), Listed: l})
	res := x.commit(store.Commit{Stamp: at(2), Done: []int64{1, 2, 3, 4}})
	res.RejectedReason = ""
	wantResult(t, res, store.Result{Written: 3, Rejected: 1})
	wantRows(t, db, "SELECT entity_id, class, raw FROM failures", []string{"d", "bad_record", `{"id":"d"}`})
	if got := x.pending(); len(got) != 0 {
		t.Errorf("pending: %v", got)
	}
	x.finish(ads.Partial, at(3))
}

func testFailures(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	list := func(second int, first int64, records ...ads.Entity) {
		l := x.listedDirect(records...)
		l.Direct, l.FirstSeq = false, first
		x.commit(store.Commit{Stamp: at(second), Listed: l})
	}
	const query = "SELECT entity_id, class, code, message, hint, request_id, attempts, first_failed_at, last_failed_at, next_retry_at, resolved_at, raw FROM failures ORDER BY id"
	list(1, 1, entities("a")...)
	x.commit(store.Commit{Stamp: at(2), Failed: []store.ItemFailure{{Seq: 1, Class: ads.ClassTransient, Code: "http_500", Message: "down", Hint: "wait", RequestID: "q1", Attempts: 5, Backoff: store.Backoff{First: 48 * time.Second, Most: time.Hour, Limit: 6}}}})
	wantRows(t, db, query, []string{"a", "transient", "http_500", "down", "wait", "q1", "5", text(at(2)), text(at(2)), text(at(50)), "NULL", `{"id":"a"}`})
	x.finish(ads.Partial, at(3))
	// It fails again: the same failure, once more.
	x = begin(t, s, acme, newRun("r2", at(10)))
	list(11, 1, entities("a", "b")...)
	x.commit(store.Commit{Stamp: at(12), Failed: []store.ItemFailure{{Seq: 1, Class: ads.ClassPermanent, Message: "gone", Attempts: 2}}})
	again := []string{"a", "permanent", "NULL", "gone", "NULL", "NULL", "7", text(at(2)), text(at(12)), "NULL", "NULL", `{"id":"a"}`}
	wantRows(t, db, query, again)
	// Another record's success leaves it open, its own resolves it.
	x.commit(store.Commit{Stamp: at(13), Done: []int64{2}})
	wantRows(t, db, query, again)
	x.finish(ads.Partial, at(14))
	x = begin(t, s, acme, newRun("r3", at(20)))
	list(21, 1, entities("a")...)
	x.commit(store.Commit{Stamp: at(22), Done: []int64{1}})
	again[10] = text(at(22))
	wantRows(t, db, query, again)
	// After that it is a new one.
	x.finish(ads.Complete, at(23))
	x = begin(t, s, acme, newRun("r4", at(30)))
	x.commit(store.Commit{Stamp: at(31), Problems: []ads.Problem{
		{EntityID: "a", Code: "bad_value", Message: "budget is no number", Hint: "ask them", Raw: []byte("{\"budget\": \xff\x00}")},
		{EntityID: "page 1, position 2", Code: "no_id", Message: "no id"},
		{EntityID: strings.Repeat("long", 5000), Code: "bad_id", Message: "too long", Raw: []byte(strings.Repeat("é", ads.MaxRawKept))},
	}})
	rows := db.Rows(t, query)
	if len(rows) != 4 {
		t.Fatalf("%d rows: %.500q", len(rows), rows)
	}
	wantRows(t, db, strings.Replace(query, "ORDER BY", "WHERE resolved_at IS NULL AND code <> 'bad_id' ORDER BY", 1),
		[]string{"a", "bad_record", "bad_value", "budget is no number", "ask them", "NULL", "1", text(at(31)), text(at(31)), "NULL", "NULL", "{\"budget\": \uFFFD\uFFFD}"},
		[]string{"page 1, position 2", "bad_record", "no_id", "no id", "NULL", "NULL", "1", text(at(31)), text(at(31)), "NULL", "NULL", "NULL"})
	if long := rows[3]; len(long[0]) > 1100 || len(long[11]) > ads.MaxRawKept || len(long[11]) < ads.MaxRawKept-8 {
		t.Errorf("id of %d bytes, raw of %d", len(long[0]), len(long[11]))
	}
	// A problem that comes with a record of the same id is the newer word on it.
	x.commit(store.Commit{Stamp: at(32), Listed: x.listedDirect(entity("a")), Problems: []ads.Problem{{EntityID: "a", Code: "duplicate", Message: "comes twice"}}})
	wantRows(t, db, "SELECT code FROM failures WHERE entity_id = 'a' AND resolved_at IS NULL", []string{"duplicate"})
	x.direct(at(33), entity("a"))
	wantRows(t, db, "SELECT count(*) FROM failures WHERE entity_id = 'a' AND resolved_at IS NULL", []string{"0"})
	x.finish(ads.Partial, at(34))
}

// The wait before the next try grows with the age of the failure, between its bounds, and there is none once the attempts of its whole life
// have reached the limit, however they came.
func testBackoff(t *testing.T, db Database) {
	s := open(t, db)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		ref := ads.Ref{ClientID: fmt.Sprint("client", n), Connection: "c"}
		now := at(0)
		var first time.Time
		attempts := int64(0)
		for try := range rapid.IntRange(1, 8).Draw(rt, "tries") {
			now = now.Add(time.Duration(rapid.Int64Range(1, int64(3*time.Hour/time.Microsecond)).Draw(rt, "pause")) * time.Microsecond)
			x := begin(t, s, ref, newRun(fmt.Sprintf("%d.%d", n, try), now))
			l := x.listedDirect(entity("a"))
			l.Direct, l.FirstSeq = false, 1
			x.commit(store.Commit{Stamp: now, Listed: l})
			b := store.Backoff{
				First: time.Duration(rapid.IntRange(0, 60).Draw(rt, "first")) * time.Minute, Most: time.Duration(rapid.IntRange(0, 600).Draw(rt, "most")) * time.Minute,
				Limit: rapid.Int64Range(0, 30).Draw(rt, "limit"),
			}
			made := rapid.IntRange(1, 5).Draw(rt, "attempts")
			x.commit(store.Commit{Stamp: now, Failed: []store.ItemFailure{{Seq: 1, Class: ads.ClassTransient, Message: "m", Attempts: made, Backoff: b}}})
			x.finish(ads.Partial, now)
			if try == 0 {
				first = now
			}
			attempts += int64(made)
			want := "NULL"
			if attempts < b.Limit {
				wait := now.Sub(first)
				if wait < b.First {
					wait = b.First
				}
				if wait > b.Most {
					wait = b.Most
				}
				want = text(now.Add(wait))
			}
			wantRows(t, db, "SELECT next_retry_at, attempts, first_failed_at, last_failed_at FROM failures WHERE client_id = '"+ref.ClientID+"'", []string{want, fmt.Sprint(attempts), text(first), text(now)})
		}
	})
}

// With a wait that is kept to, a failure is tried by itself some ten times before its wait has grown to a day, and once a day after that.
func testBackoffDoubles(t *testing.T, db Database) {
	s := open(t, db)
	b := store.Backoff{First: 15 * time.Minute, Most: 24 * time.Hour, Limit: 1000}
	now, wait := at(0), time.Duration(0)
	for try := range 12 {
		x := begin(t, s, acme, newRun(fmt.Sprint("r", try), now))
		l := x.listedDirect(entity("a"))
		l.Direct, l.FirstSeq = false, 1
		x.commit(store.Commit{Stamp: now, Listed: l})
		x.commit(store.Commit{Stamp: now, Failed: []store.ItemFailure{{Seq: 1, Class: ads.ClassTransient, Message: "m", Attempts: 1, Backoff: b}}})
		x.finish(ads.Partial, now)
		last := wait
		for f, err := range s.Failures(testContext(t), store.FailureFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			wait = f.NextRetryAt.Sub(now)
		}
		switch {
		case try == 0 && wait != 15*time.Minute, try == 1 && wait != 15*time.Minute, try > 1 && wait != min(2*last, 24*time.Hour):
			t.Errorf("after try %d: %s after %s", try+1, wait, last)
		}
		now = now.Add(wait)
	}
	if wait != 24*time.Hour {
		t.Errorf("at last %s", wait)
	}
}

// What has failed and is not due is listed, and not given to be tried; nothing that is said about it changes.
func testHeld(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	x := begin(t, s, acme, newRun("r1", at(0)))
	listAt := func(second, pass int, first int64, hold bool, ids ...string) store.Result {
		t.Helper()
		l := x.listedDirect(entities(ids...)...)
		l.Direct, l.FirstSeq, l.Pass, l.HoldFailed = false, first, pass, hold
		return x.commit(store.Commit{Stamp: at(second), Listed: l})
	}
	listAt(1, 1, 1, false, "soon", "later", "poison", "bad", "good", "back")
	minute := store.Backoff{First: time.Minute, Most: time.Minute, Limit: 100}
	hour := store.Backoff{First: time.Hour, Most: time.Hour, Limit: 100}
	x.commit(store.Commit{
		Stamp: at(2), Done: []int64{5},
		Failed: []store.ItemFailure{
			{Seq: 1, Class: ads.ClassTransient, Message: "m", Attempts: 1, Backoff: minute},
			{Seq: 2, Class: ads.ClassTransient, Message: "m", Attempts: 1, Backoff: hour},
			{Seq: 3, Class: ads.ClassPermanent, Message: "m", Attempts: 9, Backoff: store.Backoff{First: time.Minute, Most: time.Hour, Limit: 9}},
			{Seq: 6, Class: ads.ClassTransient, Message: "m", Attempts: 1, Backoff: hour},
		},
		Problems: []ads.Problem{{EntityID: "bad", Message: "m"}},
	})
	x.commit(store.Commit{Stamp: at(2), Done: []int64{4}})
	x.commit(store.Commit{Stamp: at(2), Problems: []ads.Problem{{EntityID: "bad", Message: "m"}}})
	x.finish(ads.Partial, at(3))
	const failures = "SELECT entity_id, attempts, last_failed_at, next_retry_at, resolved_at FROM failures WHERE resolved_at IS NULL ORDER BY entity_id"
	before := db.Rows(t, failures)
	if len(before) != 5 {
		t.Fatalf("%q", before)
	}
	x = begin(t, s, acme, newRun("r2", at(100)))
	wantResult(t, listAt(101, 1, 1, true, "later", "soon", "poison"), store.Result{Held: 2})
	wantResult(t, listAt(102, 1, 4, true, "bad", "good", "fresh"), store.Result{})
	if got := ids(x.pending()); got != "soon bad good fresh" {
		t.Errorf("pending %q", got)
	}
	// Another account's and another stream's are others.
	l := x.listedDirect(entities("later", "poison")...)
	l.Direct, l.FirstSeq, l.HoldFailed = false, 7, true
	wantResult(t, x.commit(store.Commit{Stamp: at(103), Account: "acc2", Listed: l}), store.Result{})
	// Listed again, in this pass and the next, with or without: each stays what it is, and is counted once.
	wantResult(t, listAt(104, 1, 9, true, "poison", "soon"), store.Result{SeenInRun: 2, SeenInPass: 2})
	wantResult(t, listAt(105, 1, 11, false, "poison"), store.Result{SeenInRun: 1, SeenInPass: 1})
	x.release()
	x = begin(t, s, acme, newRun("r3", at(106)))
	if !x.run.Resumed || x.run.Pending != 6 {
		t.Errorf("%+v", x.run)
	}
	wantResult(t, listAt(107, 2, 12, true, "later", "poison", "soon", "bad", "good", "fresh"), store.Result{SeenInRun: 6})
	// Calls and failures of theirs are of nobody.
	wantResult(t, x.commit(store.Commit{Stamp: at(108), Done: []int64{1}, Failed: []store.ItemFailure{{Seq: 3, Class: ads.ClassPermanent, Message: "m", Attempts: 1}}}), store.Result{})
	wantRows(t, db, failures, before...)
	// A sweep takes neither the row nor the failure of what is held for gone; of what is listed no more it does.
	x.commit(store.Commit{Stamp: at(109), Done: []int64{2, 4, 5, 6}})
	x.commit(store.Commit{Stamp: at(109), Account: "acc2", Done: []int64{7, 8}})
	db.Exec(t, "UPDATE campaigns SET account_id = 'acc' WHERE id = 'later'") // as if it had succeeded once, before it failed
	if got := x.sweep(store.Sweep{Pass: 2, Stamp: at(110), MaxShare: 1}); got != (store.SweepResult{Present: 5}) {
		t.Errorf("%+v", got)
	}
	wantRows(t, db, "SELECT entity_id FROM failures WHERE resolved_at IS NULL ORDER BY entity_id", []string{"later"}, []string{"poison"})
	x.finish(ads.Partial, at(111))
	// Not listed any more in the pass that counts: it is gone.
	x = begin(t, s, acme, newRun("r4", at(200)))
	// The failure of "back" is resolved, though its next try would not be due.
	wantResult(t, listAt(201, 1, 1, true, "later", "poison", "back"), store.Result{Held: 2})
	wantResult(t, x.commit(store.Commit{Stamp: at(201), Done: []int64{3}}), store.Result{Written: 1})
	renamed := entity("later")
	renamed.Name = "renamed"
	l = x.listedDirect(renamed)
	l.Direct, l.FirstSeq, l.Pass, l.HoldFailed = false, 4, 2, true
	wantResult(t, x.commit(store.Commit{Stamp: at(202), Listed: l}), store.Result{SeenInRun: 1})
	x.sweep(store.Sweep{Pass: 2, Stamp: at(203), MaxShare: 1})
	wantRows(t, db, "SELECT entity_id FROM failures WHERE resolved_at IS NULL", []string{"later"})
	// Somebody asks for all: what is held waits again, with the values of the last listing, and only that.
	wantResult(t, x.commit(store.Commit{Stamp: at(204), Unhold: true}), store.Result{Unheld: 2})
	wantResult(t, x.commit(store.Commit{Stamp: at(205), Unhold: true}), store.Result{})
	if got := ids(x.pending()); got != "later poison" {
		t.Errorf("pending %q", got)
	}
	wantResult(t, listAt(206, 2, 5, true, "poison"), store.Result{SeenInRun: 1})
	wantResult(t, x.commit(store.Commit{Stamp: at(207), Done: []int64{1, 2}}), store.Result{Written: 2})
	wantRows(t, db, "SELECT count(*) FROM failures WHERE resolved_at IS NULL", []string{"0"})
	wantRows(t, db, "SELECT id, name, raw FROM campaigns WHERE account_id = 'acc' AND id IN ('later', 'poison') ORDER BY id",
		[]string{"later", "renamed", `{"id":"later"}`}, []string{"poison", "Campaign poison", `{"id":"poison"}`})
	x.finish(ads.Complete, at(208))
	// What is due by the time of a commit is not held, even a moment after.
	x = begin(t, s, acme, newRun("r5", at(300)))
	listAt(301, 1, 1, true, "edge")
	x.commit(store.Commit{Stamp: at(302), Failed: []store.ItemFailure{{Seq: 1, Class: ads.ClassDenied, Message: "m", Attempts: 1, Backoff: minute}}})
	x.finish(ads.Partial, at(303))
	for i, want := range []int64{1, 0} {
		x = begin(t, s, acme, newRun(fmt.Sprint("edge", i), at(310+i)))
		l := x.listedDirect(entity("edge"))
		l.Direct, l.FirstSeq, l.HoldFailed = false, 1, true
		wantResult(t, x.commit(store.Commit{Stamp: at(362).Add(time.Duration(i-1) * time.Microsecond), Listed: l}), store.Result{Held: want})
		x.finish(ads.Partial, at(363+i))
	}
	if refs, err := s.DueRetries(ctx, at(362), 10); err != nil || len(refs) != 1 {
		t.Errorf("%v, %v", refs, err)
	}
}

// Many at once, and the database refuses some of them one by one: every record is one of held, waiting, or refused.
func testHeldMany(t *testing.T, db Database) {
	s := open(t, db)
	db.Exec(t, "CREATE UNIQUE INDEX unplanned ON adsync_items (run_no, name) WHERE name LIKE 'double%'")
	db.Exec(t, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
		INSERT INTO failures (client_id, connection, account_id, stream, entity_id, class, message, attempts, first_failed_at, last_failed_at)
		SELECT 'acme', 'adplatform', 'acc', 'campaigns', 'e' || i, CASE WHEN i % 7 = 0 THEN 'bad_record' ELSE 'transient' END, 'm', 1, '`+text(at(0))+"', '"+text(at(0))+"' FROM n WHERE i % 2 = 0")
	for run, doubles := range []bool{false, true} {
		x := begin(t, s, acme, newRun(fmt.Sprint("r", run), at(run*10)))
		var records []ads.Entity
		held, refused := int64(0), int64(0)
		for i := 1; i <= 3000; i++ {
			e := entity(fmt.Sprint("e", i))
			switch {
			case doubles && (i == 6 || i == 1500 || i == 2999 || i == 9):
				e.Name = "double"
				if i != 6 {
					refused++
					break
				}
				fallthrough
			case i%2 == 0 && i%7 != 0:
				held++
			}
			records = append(records, e)
		}
		l := x.listedDirect(records...)
		l.Direct, l.FirstSeq, l.HoldFailed = false, 1, true
		res := x.commit(store.Commit{Stamp: at(run*10 + 1), Listed: l})
		res.RejectedReason = ""
		wantResult(t, res, store.Result{Held: held, Rejected: refused})
		wantRows(t, db, "SELECT count(*) FROM adsync_items i JOIN adsync_run_state s ON s.no = i.run_no WHERE s.open AND i.state = 0", []string{fmt.Sprint(3000 - held - refused)})
		x.finish(ads.Partial, at(run*10+2))
	}
}

// Connections come once, in the order in which their next try is due, however much they have failed at.
func testDueRetries(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	due := func(now, limit int) string {
		t.Helper()
		refs, err := s.DueRetries(ctx, at(now), limit)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, r := range refs {
			out = append(out, r.String())
		}
		return strings.Join(out, " ")
	}
	if got := due(1000, 10); got != "" {
		t.Errorf("none has failed: %s", got)
	}
	insert := func(client, connection, entity, next, resolved string) {
		db.Exec(t, fmt.Sprintf(`INSERT INTO failures (client_id, connection, account_id, stream, entity_id, class, message, attempts, first_failed_at, last_failed_at, next_retry_at, resolved_at)
			VALUES ('%s', '%s', 'acc', 'campaigns', '%s', 'transient', 'm', 1, '%s', '%s', %s, %s)`, client, connection, entity, text(at(0)), text(at(0)), next, resolved))
	}
	second := func(n int) string { return "'" + text(at(n)) + "'" }
	for i := range 20 {
		insert("a", "x", fmt.Sprint("e", i), second(100+i), "NULL")
	}
	insert("a", "y", "e", second(50), "NULL")
	insert("b", "a", "e", second(60), "NULL")
	insert("b", "a", "earlier", second(10), second(20))
	insert("c", "a", "e", "NULL", "NULL")
	insert("d", "a", "never", "NULL", "NULL")
	insert("d", "a", "e", second(70), "NULL")
	for _, tt := range []struct {
		now, limit int
		want       string
	}{
		{49, 10, ""}, {50, 10, "a/y"}, {69, 10, "a/y b/a"}, {99, 10, "a/y b/a d/a"}, {100, 10, "a/y b/a d/a a/x"}, {1000, 10, "a/y b/a d/a a/x"}, {1000, 2, "a/y b/a"},
	} {
		if got := due(tt.now, tt.limit); got != tt.want {
			t.Errorf("at %d, %d: %s, want %s", tt.now, tt.limit, got, tt.want)
		}
	}
}

// Of a connection's failures those that somebody names are due, the others are left as they are, and so is what is resolved.
func testHastenFailures(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	x := begin(t, s, acme, newRun("run", at(0)))
	x.commit(store.Commit{Stamp: at(1), Problems: []ads.Problem{{EntityID: "p1", Message: "m"}, {EntityID: "p2", Message: "m"}, {EntityID: "p3", Message: "m"}}})
	x.direct(at(2), entity("p3"))
	ids := map[string]int64{}
	for f, err := range s.Failures(ctx, store.FailureFilter{Resolved: true}) {
		if err != nil {
			t.Fatal(err)
		}
		ids[f.EntityID] = f.ID
	}
	if n, err := s.HastenFailures(ctx, []int64{ids["p2"], ids["p3"], 4711}, at(5)); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := s.HastenFailures(ctx, nil, at(5)); n != 0 || err != nil {
		t.Errorf("none: %d, %v", n, err)
	}
	wantRows(t, db, "SELECT entity_id FROM failures WHERE next_retry_at = '"+text(at(5))+"'", []string{"p2"})
	if refs, err := s.DueRetries(ctx, at(5), 10); err != nil || len(refs) != 1 || refs[0] != acme {
		t.Errorf("due: %v, %v", refs, err)
	}
}

func testFailureFilters(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	n := 0
	for _, ref := range []ads.Ref{{ClientID: "b", Connection: "x"}, {ClientID: "a", Connection: "y"}, {ClientID: "a", Connection: "x"}} {
		n++
		x := begin(t, s, ref, newRun(fmt.Sprint("run", n), at(n*10)))
		x.commit(store.Commit{Stamp: at(n*10 + 1), Problems: []ads.Problem{{EntityID: "p1", Code: "c", Message: "m", Hint: "h", Raw: []byte("raw")}, {EntityID: "p2", Message: "m"}}})
		l := x.listedDirect(entities("i1", "i2")...)
		l.Direct, l.FirstSeq = false, 1
		x.commit(store.Commit{Stamp: at(n*10 + 2), Listed: l})
		x.commit(store.Commit{Stamp: at(n*10 + 3), Failed: []store.ItemFailure{
			{Seq: 1, Class: ads.ClassTransient, Code: "http_500", Message: "m", RequestID: "q", Attempts: 3, Backoff: store.Backoff{First: time.Duration(99-n*10-3) * time.Second, Most: time.Hour, Limit: 100}},
			{Seq: 2, Class: ads.ClassPermanent, Message: "m", Attempts: 1},
		}})
		x.finish(ads.Partial, at(n*10+4))
	}
	x := begin(t, s, ads.Ref{ClientID: "b", Connection: "x"}, newRun("resolves", at(100)))
	x.direct(at(101), entity("i1"))
	x.finish(ads.Complete, at(102))
	show := func(f store.FailureFilter) string {
		t.Helper()
		var out []string
		for f, err := range s.Failures(ctx, f) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, f.Ref.String()+"/"+f.EntityID)
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		f    store.FailureFilter
		want string
	}{
		{store.FailureFilter{}, "b/x/p1 b/x/p2 b/x/i2 a/y/p1 a/y/p2 a/y/i1 a/y/i2 a/x/p1 a/x/p2 a/x/i1 a/x/i2"},
		{store.FailureFilter{Resolved: true, ClientID: "b"}, "b/x/p1 b/x/p2 b/x/i1 b/x/i2"},
		{store.FailureFilter{ClientID: "a", Connection: "x"}, "a/x/p1 a/x/p2 a/x/i1 a/x/i2"},
		{store.FailureFilter{Connection: "y"}, "a/y/p1 a/y/p2 a/y/i1 a/y/i2"},
		{store.FailureFilter{Class: "transient"}, "a/y/i1 a/x/i1"},
		{store.FailureFilter{Since: at(31), Class: "bad_record"}, "a/x/p1 a/x/p2"},
		{store.FailureFilter{Limit: 2}, "b/x/p1 b/x/p2"},
		{store.FailureFilter{ClientID: "nobody"}, ""},
		{store.FailureFilter{DueBefore: at(99)}, "a/y/i1 a/x/i1"},
		{store.FailureFilter{DueBefore: at(98)}, ""},
	} {
		if got := show(tt.f); got != tt.want {
			t.Errorf("%+v:\n got %s\nwant %s", tt.f, got, tt.want)
		}
	}
	var some []int64
	for f, err := range s.Failures(ctx, store.FailureFilter{ClientID: "a", Connection: "x"}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.EntityID == "i1" && f.Ref.Connection == "x" {
			want := store.Failure{
				ID: f.ID, Ref: ads.Ref{ClientID: "a", Connection: "x"}, Account: "acc", Stream: "campaigns", EntityID: "i1", Class: ads.ClassTransient, Code: "http_500",
				Message: "m", RequestID: "q", Attempts: 3, FirstFailedAt: at(33), LastFailedAt: at(33), NextRetryAt: at(99), Raw: []byte(`{"id":"i1"}`),
			}
			if fmt.Sprintf("%+v", f) != fmt.Sprintf("%+v", want) {
				t.Errorf("got  %+v\nwant %+v", f, want)
			}
		}
		some = append(some, f.ID)
		if len(some) == 3 {
			break // a reader may stop early
		}
	}
	// Page by page, each as long as it may be, gives the same as all at once.
	for size := 1; size < 5; size++ {
		var paged []string
		f := store.FailureFilter{Resolved: true, Limit: size}
		for n := size; n == size; {
			n = 0
			for x, err := range s.Failures(ctx, f) {
				if err != nil {
					t.Fatal(err)
				}
				n++
				f.After = x.ID
				paged = append(paged, x.Ref.String()+"/"+x.EntityID)
			}
		}
		if all := show(store.FailureFilter{Resolved: true}); strings.Join(paged, " ") != all {
			t.Errorf("by pages of %d: %v, want %s", size, paged, all)
		}
	}
	if got := show(store.FailureFilter{IDs: some}); got != "a/x/p1 a/x/p2 a/x/i1" {
		t.Errorf("by id: %s", got)
	}
	// They may be dropped while they are read.
	for f, err := range s.Failures(ctx, store.FailureFilter{IDs: some}) {
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.DropFailures(ctx, []int64{f.ID, -1}); err != nil || n != 1 {
			t.Errorf("dropped %d, %v", n, err)
		}
	}
	if n, err := s.DropFailures(ctx, some); err != nil || n != 0 {
		t.Errorf("dropped again: %d, %v", n, err)
	}
	if n, err := s.DropFailures(ctx, nil); err != nil || n != 0 {
		t.Errorf("nothing to drop: %d, %v", n, err)
	}
	if got := show(store.FailureFilter{ClientID: "a", Connection: "x"}); got != "a/x/i2" {
		t.Errorf("left: %s", got)
	}
}
