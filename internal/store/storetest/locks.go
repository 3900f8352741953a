package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// roles are what a child process can be told to do. It says "ready" when it has done so and then waits for its end.
var roles = map[string]func(ctx context.Context, s store.Store, arg string) error{
	"hold":    hold,
	"lease":   holdLease,
	"commits": commits,
	"quota":   countQuota,
	"fill":    fill,
}

// Role adds something that a child process can be told to do.
func Role(name string, run func(ctx context.Context, s store.Store, arg string) error) {
	roles[name] = run
}

// Start starts a child in a role and waits until it has said "ready". kill ends it by SIGKILL, quit by the end of its input.
func Start(t testing.TB, db Database, role, arg string) (kill, quit func()) {
	t.Helper()
	return start(t, db, role, arg)
}

// Ready says that a child has done its part, and waits until it may end.
func Ready() error { return ready() }

func ready() error {
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// hold takes acme's connection and opens a run.
func hold(ctx context.Context, s store.Store, arg string) error {
	l, err := s.Acquire(ctx, acme)
	if err != nil {
		return err
	}
	if _, err := s.OpenRun(ctx, l, newRun(arg, at(0))); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	return s.Close()
}

// start starts a child and waits until it is ready. kill ends it by SIGKILL, quit by the end of its input.
func start(t testing.TB, db Database, role, arg string) (kill, quit func()) {
	t.Helper()
	cmd := child(t, db, role, arg)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end := func(stop func() error) func() {
		return func() {
			once.Do(func() {
				_ = stop()
				_, _ = io.Copy(io.Discard, out)
				_ = cmd.Wait()
			})
		}
	}
	kill, quit = end(cmd.Process.Kill), end(in.Close)
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("child %s said %q, %v", role, line, err)
	}
	return kill, quit
}

func wantBusy(t testing.TB, s store.Store, ref ads.Ref) {
	t.Helper()
	_, err := s.Acquire(testContext(t), ref)
	busy, ok := errors.AsType[*store.BusyError](err)
	if !ok {
		t.Fatalf("Acquire: %v, want busy", err)
	}
	if busy.Ref != ref || !strings.HasPrefix(busy.Holder, "pid ") || time.Since(busy.Since) > time.Hour || time.Since(busy.Since) < -time.Minute {
		t.Errorf("%+v", busy)
	}
}

// Fault 113: a connection is synced by one at a time.
func testBusy(t *testing.T, db Database) {
	s, s2 := open(t, db), open(t, db)
	ctx := testContext(t)
	l, err := s.Acquire(ctx, acme)
	if err != nil {
		t.Fatal(err)
	}
	wantBusy(t, s, acme)
	wantBusy(t, s2, acme)
	other, err := s2.Acquire(ctx, ads.Ref{ClientID: "other", Connection: "adplatform"})
	if err != nil {
		t.Fatal(err)
	}
	wantBusy(t, s, other.Ref)
	if err := s2.Release(ctx, l); !errors.Is(err, store.ErrFenced) {
		t.Errorf("somebody else's lease was given back: %v", err)
	}
	wantBusy(t, s2, acme)
	if err := s.Release(ctx, l); err != nil {
		t.Fatal(err)
	}
	l2, err := s2.Acquire(ctx, acme)
	if err != nil || l2.Fence <= l.Fence {
		t.Fatalf("%+v after %+v, %v", l2, l, err)
	}
	if err := s.Release(ctx, l); !errors.Is(err, store.ErrFenced) {
		t.Errorf("an old lease was given back: %v", err)
	}
	// A Store that is closed lets go.
	if err := s2.Close(); err != nil {
		t.Fatal(err)
	}
	if l3, err := s.Acquire(ctx, acme); err != nil || l3.Fence <= l2.Fence {
		t.Errorf("%+v, %v", l3, err)
	}
}

// Fault 123: who was taken over writes nothing any more.
func testFence(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	x := begin(t, s, acme, newRun("r1", at(0)))
	x.direct(at(1), entity("a"))
	db.Exec(t, "UPDATE adsync_locks SET fence = fence + 1")
	fenced := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := x.try(store.Commit{Stamp: at(2), Listed: x.listedDirect(entities("a", "b")...)})
	fenced("Commit", err)
	_, err = s.Sweep(ctx, x.lease, store.Sweep{RunID: "r1", Account: "acc", Stream: "campaigns", Direct: true, PassStart: at(5), Stamp: at(5), MaxShare: 1})
	fenced("Sweep", err)
	fenced("FinishRun", s.FinishRun(ctx, x.lease, store.FinishRun{RunID: "r1", Outcome: ads.Complete, Now: at(3)}))
	fenced("NoteWait", s.NoteWait(ctx, x.lease, store.Wait{Reason: "r", Until: at(9)}))
	_, err = s.OpenRun(ctx, x.lease, newRun("r2", at(3)))
	fenced("OpenRun", err)
	fenced("Release", s.Release(ctx, x.lease))
	wantRows(t, db, "SELECT id, synced_at, removed_at FROM campaigns", []string{"a", text(at(1)), "NULL"})
	wantRows(t, db, "SELECT id, outcome FROM runs", []string{"r1", "NULL"})
}

// Promise 2: the lock of a process that was killed is free within two seconds, and one that ends in order leaves it free too.
func testDeadHolder(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	fence := int64(0)
	for i := range 4 {
		kill, quit := start(t, db, "hold", "held")
		wantBusy(t, s, acme)
		st, err := s.Status(ctx)
		if err != nil || len(st) != 1 || !st[0].Running || !strings.HasPrefix(st[0].Holder, "pid ") {
			t.Errorf("while it lives: %+v, %v", st, err)
		}
		if i%2 == 0 {
			kill()
		} else {
			quit()
		}
		dead := time.Now()
		l := acquireSoon(t, s, acme)
		t.Logf("free %s after its holder's end", time.Since(dead).Round(time.Millisecond))
		if l.Fence <= fence {
			t.Errorf("fence %d after %d", l.Fence, fence)
		}
		fence = l.Fence
		run, err := s.OpenRun(ctx, l, newRun("mine", at(1)))
		if err != nil || !run.Resumed || run.ID != "held" {
			t.Errorf("%+v, %v", run, err)
		}
		if err := s.Release(ctx, l); err != nil {
			t.Fatal(err)
		}
		if st, err := s.Status(ctx); err != nil || len(st) != 1 || st[0].Running {
			t.Errorf("after its end: %+v, %v", st, err)
		}
	}
}

// acquireSoon takes a lock whose holder has just died: the server may need a moment to notice. The bound is that of the contract.
func acquireSoon(t testing.TB, s store.Store, ref ads.Ref) store.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), 2*time.Second)
	defer cancel()
	for {
		l, err := s.Acquire(ctx, ref)
		if err == nil {
			return l
		}
		if _, busy := errors.AsType[*store.BusyError](err); !busy || ctx.Err() != nil {
			t.Fatalf("Acquire after the holder's end: %v", err)
		}
	}
}

// script is a run of commits that a child makes until it is killed.
var script = []func(x *session){
	func(x *session) {
		x.commit(store.Commit{Stamp: at(1), Platform: "p", Accounts: []ads.Account{{ID: "acc"}}})
	},
	func(x *session) {
		l := x.listedDirect(entities("a", "b", "c", "d")...)
		l.Direct, l.FirstSeq = false, 1
		x.commit(store.Commit{Stamp: at(2), Listed: l})
	},
	func(x *session) { x.commit(store.Commit{Stamp: at(3), Done: []int64{1, 2}}) },
	func(x *session) {
		x.commit(store.Commit{Stamp: at(4), Done: []int64{3}, Failed: []store.ItemFailure{{Seq: 4, Class: ads.ClassTransient, Message: "m", Attempts: 5}}})
	},
	func(x *session) { x.direct(at(5), entities("e", "f")...) },
	func(x *session) {
		x.commit(store.Commit{Stamp: at(6), Problems: []ads.Problem{{EntityID: "p", Message: "m"}}})
	},
}

// childTB lets a child use what fails a test: it ends the child.
type childTB struct{ testing.TB }

func (childTB) Helper()        {}
func (childTB) Cleanup(func()) {}
func (childTB) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// commits makes the next n commits of the script, wherever the run stands.
func commits(ctx context.Context, s store.Store, arg string) error {
	n, err := strconv.Atoi(arg)
	if err != nil {
		return err
	}
	l, err := s.Acquire(ctx, acme)
	if err != nil {
		return err
	}
	run, err := s.OpenRun(ctx, l, newRun("run", at(0)))
	if err != nil {
		return err
	}
	x := &session{t: childTB{}, s: s, lease: l, run: run, seq: run.CommitSeq}
	for range n {
		script[x.seq](x)
	}
	return ready()
}

// Promise 2: death after any commit loses nothing that was committed, and the run goes on from there.
func testCrashAfterEveryCommit(t *testing.T, db Database) {
	s := open(t, db)
	for i := range script {
		kill, _ := start(t, db, "commits", "1")
		kill()
		l := acquireSoon(t, s, acme)
		run, err := s.OpenRun(testContext(t), l, newRun("another", at(1)))
		if err != nil || run.ID != "run" || run.CommitSeq != int64(i+1) || string(run.State) != fmt.Sprintf(`{"commit":%d}`, i+1) {
			t.Fatalf("after commit %d: %+v, %v", i+1, run, err)
		}
		if err := s.Release(testContext(t), l); err != nil {
			t.Fatal(err)
		}
	}
	x := begin(t, s, acme, newRun("another", at(1)))
	x.finish(ads.Partial, at(10))
	wantRows(t, db, "SELECT id, synced_at FROM campaigns ORDER BY id", []string{"a", text(at(3))}, []string{"b", text(at(3))}, []string{"c", text(at(4))},
		[]string{"e", text(at(5))}, []string{"f", text(at(5))})
	wantRows(t, db, "SELECT entity_id FROM failures ORDER BY entity_id", []string{"d"}, []string{"p"})
	wantRows(t, db, "SELECT count(*) FROM adsync_items", []string{"0"})
}

// Two processes work on two connections at once.
func testTwoStores(t *testing.T, db Database) {
	var wg sync.WaitGroup
	for i := range 4 {
		s := open(t, db)
		ref := ads.Ref{ClientID: fmt.Sprint("client", i), Connection: "c"}
		wg.Go(func() {
			x := begin(t, s, ref, newRun(fmt.Sprint("run", i), at(0)))
			for k := range 10 {
				var records []ads.Entity
				for n := range 100 {
					records = append(records, entity(fmt.Sprintf("c%d-%d", k, n)))
				}
				wantResult(t, x.direct(at(k+1), records...), store.Result{Written: 100})
			}
			x.finish(ads.Complete, at(20))
		})
	}
	wg.Wait()
	wantRows(t, db, "SELECT client_id, count(*) FROM campaigns GROUP BY client_id ORDER BY client_id",
		[]string{"client0", "1000"}, []string{"client1", "1000"}, []string{"client2", "1000"}, []string{"client3", "1000"})
}

// add counts one up in a bucket.
func add(state []byte, _ time.Time) ([]byte, error) {
	n := 0
	if state != nil {
		v, err := strconv.Atoi(string(state))
		if err != nil {
			return nil, err
		}
		n = v
	}
	return []byte(strconv.Itoa(n + 1)), nil
}

func bucketValue(t testing.TB, s store.Store, bucket string) (value string) {
	t.Helper()
	err := s.UpdateQuota(testContext(t), bucket, func(state []byte, _ time.Time) ([]byte, error) {
		value = string(state)
		return state, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func testQuota(t *testing.T, db Database) {
	s, s2 := open(t, db), open(t, db)
	ctx := testContext(t)
	first := true
	err := s.UpdateQuota(ctx, "new", func(state []byte, now time.Time) ([]byte, error) {
		if first && state != nil {
			t.Errorf("a new bucket has the state %q", state)
		}
		first = false
		if d := time.Since(now); d > time.Minute || d < -time.Minute || now.Location() != time.UTC {
			t.Errorf("now is %s", now)
		}
		return []byte{0, 1, 255}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := bucketValue(t, s2, "new"); got != "\x00\x01\xff" {
		t.Errorf("state %q", got)
	}
	mine := errors.New("mine")
	if err := s.UpdateQuota(ctx, "new", func([]byte, time.Time) ([]byte, error) { return []byte("lost"), mine }); err != mine { //nolint:errorlint // as it is
		t.Errorf("got %v, want the error itself", err)
	}
	if err := s.UpdateQuota(ctx, "untouched", func([]byte, time.Time) ([]byte, error) { return nil, mine }); err != mine { //nolint:errorlint // as it is
		t.Errorf("got %v, want the error itself", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.UpdateQuota(ctx, "new", func([]byte, time.Time) ([]byte, error) { panic("a bug") })
	}()
	if got := bucketValue(t, s, "new"); got != "\x00\x01\xff" {
		t.Errorf("state %q", got)
	}
	if bucketValue(t, s, "nothing") != "" {
		t.Error("a bucket that nobody wrote has a state")
	}
	// Many at once, in two Stores, while somebody writes records.
	const each, workers = 25, 8
	var wg sync.WaitGroup
	for i := range workers {
		st := s
		if i%2 == 0 {
			st = s2
		}
		wg.Go(func() {
			for range each {
				if err := st.UpdateQuota(ctx, "count", add); err != nil {
					t.Error(err)
				}
			}
		})
	}
	x := begin(t, s, acme, newRun("r1", at(0)))
	for k := range 5 {
		x.direct(at(k), entity("a"))
	}
	wg.Wait()
	if got := bucketValue(t, s, "count"); got != strconv.Itoa(each*workers) {
		t.Errorf("%s of %d updates", got, each*workers)
	}
	x.finish(ads.Complete, at(9))
}

const quotaEach = 40

func countQuota(ctx context.Context, s store.Store, _ string) error {
	for range quotaEach {
		if err := s.UpdateQuota(ctx, "count", add); err != nil {
			return err
		}
	}
	return ready() // an update is durable before it returns: no orderly end is needed
}

// Fault 34: several processes draw on one bucket, and die.
func testQuotaProcesses(t *testing.T, db Database) {
	s := open(t, db)
	const processes = 4
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			kill, _ := start(t, db, "quota", "")
			kill()
		})
	}
	wg.Wait()
	if got := bucketValue(t, s, "count"); got != strconv.Itoa(processes*quotaEach) {
		t.Errorf("%s of %d updates", got, processes*quotaEach)
	}
}

func testCancelled(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	_, err := s.Commit(ctx, x.lease, &store.Commit{RunID: "r1", Seq: 1, Account: "acc", Stream: "campaigns", Stamp: at(1), Listed: x.listedDirect(entity("a")), After: after(1)})
	for what, err := range map[string]error{
		"Commit": err, "NoteWait": s.NoteWait(ctx, x.lease, store.Wait{}), "Release": s.Release(ctx, x.lease),
		"UpdateQuota": s.UpdateQuota(ctx, "b", add), "Park": s.Park(ctx, acme, store.Wait{Reason: "r", Until: at(9)}), "Leave": s.Leave(ctx, "a"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Status: %v", err)
	}
	if _, err := s.Beat(ctx, store.Beat{ID: "a", Lease: time.Minute}); !errors.Is(err, context.Canceled) {
		t.Errorf("Beat: %v", err)
	}
	if _, err := s.DueRetries(ctx, at(0), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("DueRetries: %v", err)
	}
	if _, err := s.LastStarts(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("LastStarts: %v", err)
	}
	if _, err := s.Prune(ctx, at(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("Prune: %v", err)
	}
	wantResult(t, x.direct(at(2), entity("a")), store.Result{Written: 1})
	x.finish(ads.Complete, at(3))
}

func testClosed(t *testing.T, db Database) {
	s, err := db.Open(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Migrate(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Acquire(testContext(t), acme); err == nil {
		t.Error("Acquire went through after Close")
	}
	if err := s.UpdateQuota(testContext(t), "b", add); err == nil {
		t.Error("UpdateQuota went through after Close")
	}
	if _, err := s.Status(testContext(t)); err == nil {
		t.Error("Status went through after Close")
	}
	if _, err := s.Beat(testContext(t), store.Beat{ID: "a", Lease: time.Minute}); err == nil {
		t.Error("Beat went through after Close")
	}
}
