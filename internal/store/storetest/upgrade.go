package storetest

import (
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// MigrateTo makes a database of an older version, from the directory of migrations of the package under test.
func MigrateTo(t testing.TB, dialect goose.Dialect, db *sql.DB, version int64) {
	t.Helper()
	p, err := goose.NewProvider(dialect, db, os.DirFS("migrations"), goose.WithTableName(common.VersionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(testContext(t), version); err != nil {
		t.Fatal(err)
	}
}

// Upgrade brings a database of the first version up to date in the middle of a run. older migrates it to that version and no further.
func Upgrade(t *testing.T, db Database, older func(t testing.TB)) {
	ctx := testContext(t)
	s := openRaw(t, db)
	older(t)
	quoted := func(second int) string { return "'" + text(at(second)) + "'" }
	for _, q := range []string{
		"INSERT INTO adsync_locks (client_id, connection, fence, last_stamp, wait_reason, wait_until) VALUES ('acme', 'adplatform', 7, " + quoted(5) + ", 'quota', " + quoted(99) + ")",
		"INSERT INTO runs (id, client_id, connection, trigger, started_at, finished_at, outcome) VALUES ('complete', 'acme', 'adplatform', 'schedule', " + quoted(-99) + ", " + quoted(-90) + ", 'complete')",
		"INSERT INTO runs (id, client_id, connection, trigger, started_at, listed) VALUES ('old', 'acme', 'adplatform', 'schedule', " + quoted(0) + ", 2)",
		"INSERT INTO adsync_run_state (run_id, client_id, connection, plan, open, commit_seq, has_items) VALUES ('old', 'acme', 'adplatform', 'plan', (1 = 1), 4, (1 = 1))",
		"INSERT INTO adsync_items (run_no, seq, account_id, stream, id, pass, platform, name, status) SELECT no, 1, 'acc', 'campaigns', 'a', 1, 'p', 'A', 'active' FROM adsync_run_state",
		"INSERT INTO adsync_items (run_no, seq, account_id, stream, id, pass, state, platform, name, status) SELECT no, 2, 'acc', 'campaigns', 'b', 1, 2, 'p', 'B', 'active' FROM adsync_run_state",
		"INSERT INTO failures (client_id, connection, account_id, stream, entity_id, class, message, attempts, first_failed_at, last_failed_at, next_retry_at) VALUES ('acme', 'adplatform', 'acc', 'campaigns', 'b', 'transient', 'm', 5, " +
			quoted(1) + ", " + quoted(2) + ", " + quoted(50) + ")",
		"INSERT INTO campaigns (client_id, connection, account_id, id, platform, name, status, first_seen_at, changed_at, synced_at) VALUES ('acme', 'adplatform', 'acc', 'a', 'p', 'A', 'active', " + quoted(-95) + ", " + quoted(-95) + ", " + quoted(-95) + ")",
	} {
		db.Exec(t, q)
	}
	err := s.CheckWritable(ctx)
	wantKind(t, err, store.KindSchema)
	if err == nil || !strings.Contains(err.Error(), "database is at 1, this binary needs ") {
		t.Error(err)
	}
	sc, err := s.Migrate(ctx)
	if err != nil || sc.Current != sc.Known || len(sc.Applied) != migrationFiles(t)-1 {
		t.Fatalf("%+v, %v", sc, err)
	}
	if err := s.CheckWritable(ctx); err != nil {
		t.Error(err)
	}
	if w, err := s.ReadWait(ctx, acme); err != nil || w != (store.Wait{Reason: "quota", Until: at(99)}) {
		t.Errorf("%+v, %v", w, err)
	}
	if st, err := s.Status(ctx); err != nil || len(st) != 1 || st[0].Last.ID != "old" || !st[0].LastComplete.Equal(at(-90)) || st[0].OpenFailures != 1 || st[0].Campaigns != 1 || st[0].Running {
		t.Errorf("%+v, %v", st, err)
	}
	if refs, err := s.DueRetries(ctx, at(50), 10); err != nil || len(refs) != 1 {
		t.Errorf("%v, %v", refs, err)
	}
	if last, err := s.LastStart(ctx, acme); err != nil || !last.Equal(at(0)) {
		t.Errorf("%v, %v", last, err)
	}
	if runs, err := s.Runs(ctx, acme, 1); err != nil || len(runs) != 1 || runs[0].ID != "old" || runs[0].Split {
		t.Errorf("a run of an older version: %+v, %v", runs, err)
	}
	x := begin(t, s, acme, newRun("new", at(60)))
	if x.run.ID != "old" || !x.run.Resumed || x.run.Pending != 1 || x.run.CommitSeq != 4 || x.lease.Fence != 8 || x.run.Figures.Listed != 2 {
		t.Errorf("%+v, %+v", x.run, x.lease)
	}
	wantResult(t, x.commit(store.Commit{Stamp: at(61), Done: []int64{1}}), store.Result{Written: 1, Unchanged: 1})
	x.finish(ads.Partial, at(62))
	wantRows(t, db, "SELECT id, synced_at FROM campaigns", []string{"a", text(at(61))})
}
