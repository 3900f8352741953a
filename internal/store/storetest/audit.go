package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

func testAudit(t *testing.T, db Database) {
	s, other := open(t, db), openRaw(t, db)
	ctx := testContext(t)
	log := func(limit int, before int64) []store.AuditEntry {
		t.Helper()
		es, err := other.AuditLog(ctx, limit, before)
		if err != nil {
			t.Fatal(err)
		}
		return es
	}
	if es := log(10, 0); len(es) != 0 {
		t.Errorf("%+v", es)
	}
	for i := range 5 {
		e := store.AuditEntry{Who: "login 1234", Remote: "192.0.2.1", Action: "drop", Ref: acme, Detail: fmt.Sprint(i), Result: "done"}
		if i == 4 {
			e = store.AuditEntry{Who: "Ünï\x00\x1b[31m", Action: "login", Result: strings.Repeat("x", 2*store.MaxAuditText)}
		}
		if err := s.Audit(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	es := log(3, 0)
	if len(es) != 3 || es[0].Ref != (ads.Ref{}) || len(es[0].Result) < store.MaxAuditText || len(es[0].Result) > store.MaxAuditText+4 || strings.ContainsAny(es[0].Who, "\x00\x1b") {
		t.Fatalf("%+v", es)
	}
	want := store.AuditEntry{ID: es[1].ID, At: es[1].At, Who: "login 1234", Remote: "192.0.2.1", Action: "drop", Ref: acme, Detail: "3", Result: "done"}
	if es[1] != want || es[1].At.IsZero() || es[1].At.Location() != time.UTC {
		t.Errorf("%+v, want %+v", es[1], want)
	}
	var rest []string
	for _, e := range log(10_000, es[2].ID) {
		rest = append(rest, e.Detail)
	}
	if !slices.Equal(rest, []string{"1", "0"}) {
		t.Errorf("%v", rest)
	}
	// A year later it is forgotten, and nothing younger.
	db.Exec(t, "UPDATE adsync_audit SET at = '"+text(time.Now().Add(-store.KeepAudit-time.Hour))+"' WHERE detail IN ('0', '1')")
	db.Exec(t, "UPDATE adsync_audit SET at = '"+text(time.Now().Add(-store.KeepAudit+time.Hour))+"' WHERE detail = '2'")
	if n, err := s.Prune(ctx, at(0)); err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
	if es := log(10, 0); len(es) != 3 || es[2].Detail != "2" {
		t.Errorf("%+v", es)
	}
}

func testNotices(t *testing.T, db Database) {
	s, other := open(t, db), openRaw(t, db)
	ctx := testContext(t)
	want := func(want ...store.Notice) {
		t.Helper()
		if got, err := other.Notices(ctx); err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
		// An update sees the same.
		err := s.UpdateNotices(ctx, func(all []store.Notice, now time.Time) ([]store.Notice, []store.NoticeKey) {
			if !slices.Equal(all, want) || now.IsZero() || now.Location() != time.UTC {
				t.Errorf("%+v at %s, want %+v", all, now, want)
			}
			return nil, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	update := func(put []store.Notice, drop ...store.NoticeKey) {
		t.Helper()
		err := s.UpdateNotices(ctx, func([]store.Notice, time.Time) ([]store.Notice, []store.NoticeKey) { return put, drop })
		if err != nil {
			t.Fatal(err)
		}
	}
	want()
	full := store.Notice{
		NoticeKey: store.NoticeKey{Ref: acme, Trouble: "failing"}, Reason: "Ünï <b>", Since: at(1), EndedAt: at(2), ToldAt: at(3), Tries: 4, ClaimedBy: "me", ClaimedUntil: at(5),
	}
	bare := store.Notice{NoticeKey: store.NoticeKey{Ref: acme, Trouble: "stale"}, Since: at(6)}
	update([]store.Notice{bare, full})
	want(full, bare)
	full.Tries, full.ClaimedBy, full.ClaimedUntil, full.EndedAt = 0, "", time.Time{}, time.Time{}
	update([]store.Notice{full}, bare.NoticeKey)
	want(full)
	// Several at once: each update sees all that came before it.
	var wg sync.WaitGroup
	for range 8 {
		for _, x := range []store.Store{s, other} {
			wg.Go(func() {
				err := x.UpdateNotices(ctx, func(all []store.Notice, _ time.Time) ([]store.Notice, []store.NoticeKey) {
					n := all[0]
					n.Tries++
					return []store.Notice{n}, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	full.Tries = 16
	want(full)
}
