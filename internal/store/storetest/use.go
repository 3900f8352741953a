package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// Session is one run of one connection, for tests of a database's own.
type Session struct{ x *session }

// Begin migrates s, takes acme's connection and opens its run, or goes on with it.
func Begin(t testing.TB, s store.Store) *Session {
	t.Helper()
	if _, err := s.Migrate(testContext(t)); err != nil {
		t.Fatalf("Migrate: %v", err)
	}
	return &Session{begin(t, s, acme, newRun(fmt.Sprint("run ", runs.Add(1)), at(0)))}
}

// runs tells runs apart.
var runs atomic.Int64

func (s *Session) stamp() time.Time {
	return s.x.run.StartedAt.Add(time.Duration(s.x.seq+1) * time.Second)
}

// Open opens a Store on db and closes it with the test.
func Open(t testing.TB, db Database) store.Store { return openRaw(t, db) }

// Resumed says whether the run goes on from an earlier life, and after which commit.
func (s *Session) Resumed() (bool, int64) { return s.x.run.Resumed, s.x.run.CommitSeq }

// Direct commits n new records whose ids begin with prefix. Again after an error it is the same commit.
func (s *Session) Direct(prefix string, n int) (store.Result, error) {
	records := make([]ads.Entity, n)
	for i := range records {
		records[i] = entity(fmt.Sprintf("%s%05d", prefix, i))
	}
	return s.Records(records)
}

// Records commits records.
func (s *Session) Records(records []ads.Entity) (store.Result, error) {
	l := s.x.listedDirect(records...)
	l.AllMaybeSeen = false
	return s.x.try(store.Commit{Stamp: s.stamp(), Listed: l})
}

// Items lists n records that wait for their own calls.
func (s *Session) Items(prefix string, n int) error {
	records := make([]ads.Entity, n)
	for i := range records {
		records[i] = entity(fmt.Sprintf("%s%05d", prefix, i))
	}
	l := s.x.listedDirect(records...)
	l.AllMaybeSeen, l.Direct, l.FirstSeq = false, false, 1
	_, err := s.x.try(store.Commit{Stamp: s.stamp(), Listed: l})
	return err
}

// Done commits the success of items.
func (s *Session) Done(seqs ...int64) (store.Result, error) {
	return s.x.try(store.Commit{Stamp: s.stamp(), Done: seqs})
}

// Seq is the number of the last commit that succeeded.
func (s *Session) Seq() int64 { return s.x.seq }

// End finishes the run as complete and gives the lock back.
func (s *Session) End() { s.x.finish(ads.Complete, at(10_000)) }

// Entity is a plain record.
func Entity(id string) ads.Entity { return entity(id) }

// Acme is the connection that all of these tests use.
func Acme() ads.Ref { return acme }

// WantKind fails the test when err is not of the kind.
func WantKind(t testing.TB, err error, want store.Kind) {
	t.Helper()
	wantKind(t, err, want)
}

// killRows is the size of a commit of the role "fill".
const killRows = 40

// fill commits records for ever. Each commit has killRows of them, named after its number.
func fill(ctx context.Context, s store.Store, _ string) error {
	l, err := acquire(ctx, s)
	if err != nil {
		return err
	}
	run, err := s.OpenRun(ctx, l, newRun("run", at(0)))
	if err != nil {
		return err
	}
	x := &Session{&session{t: childTB{}, s: s, lease: l, run: run, seq: run.CommitSeq}}
	fmt.Println("ready")
	for ctx.Err() == nil {
		if _, err := x.Direct(fmt.Sprintf("c%06d-", x.Seq()+1), killRows); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func acquire(ctx context.Context, s store.Store) (store.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for {
		l, err := s.Acquire(ctx, acme)
		if _, busy := errors.AsType[*store.BusyError](err); !busy || ctx.Err() != nil {
			return l, err
		}
	}
}

// KillLoop starts a process that writes, kills it at a random moment, and looks at what it has left, n times: each commit is there whole
// or not at all, none is lost, and the next one goes on. Nobody else has the database open when a process dies, so that whoever comes next has
// to recover it. check looks at the database in its own way after each death.
func KillLoop(t *testing.T, db Database, n int, pause func() <-chan time.Time, check func(t testing.TB)) {
	seq := int64(0)
	visit := func(name string, end func(*session)) {
		s, err := db.Open(testContext(t))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.Migrate(testContext(t)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l := acquireSoon(t, s, acme)
		run, err := s.OpenRun(testContext(t), l, newRun("run", at(0)))
		if err != nil || run.ID != "run" || run.CommitSeq < seq || (seq > 0 && !run.Resumed) {
			t.Fatalf("%s: %+v, %v; commit %d was there before", name, run, err, seq)
		}
		seq = run.CommitSeq
		rows := db.Rows(t, "SELECT count(*), count(DISTINCT id), count(DISTINCT substr(id, 1, 7)), coalesce(max(substr(id, 1, 7)), '') FROM campaigns")
		want := []string{fmt.Sprint(seq * killRows), fmt.Sprint(seq * killRows), fmt.Sprint(seq), fmt.Sprintf("c%06d", seq)}
		if seq == 0 {
			want[3] = ""
		}
		if !slices.Equal(rows[0], want) {
			t.Fatalf("%s: %v, want %v", name, rows, want)
		}
		if check != nil {
			check(t)
		}
		end(&session{t: t, s: s, lease: l, run: run, seq: seq})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	visit("before", func(x *session) { x.release() })
	for i := range n {
		kill, _ := start(t, db, "fill", "")
		<-pause()
		kill()
		visit(fmt.Sprintf("after death %d", i+1), func(x *session) { x.release() })
	}
	t.Logf("%d deaths, %d commits, none lost", n, seq)
	if seq == 0 {
		t.Error("no commit came through between all these deaths")
	}
	visit("at the end", func(x *session) { x.finish(ads.Complete, at(10_000)) })
}
