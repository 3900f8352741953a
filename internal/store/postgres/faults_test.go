package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"adsync/internal/ads"
	"adsync/internal/pgtest"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/postgres"
	"adsync/internal/store/storetest"
)

// with gives a database's address other user, host or parameters.
func with(t testing.TB, dsn string, change func(u *url.URL, q url.Values)) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	change(u, q)
	u.RawQuery = q.Encode()
	return u.String()
}

// mustOpen opens a Store and closes it with the test.
func mustOpen(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), secret.New(dsn), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// wantSafe fails the test when an error holds a password.
func wantSafe(t testing.TB, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if se, ok := e.(*store.Error); ok { //nolint:errorlint // walks the chain itself
			if text := se.Error() + se.Hint; strings.Contains(text, pgtest.Password) || strings.Contains(text, "c4n4ry") {
				t.Errorf("a password is in %q", text)
			}
		}
	}
	if err != nil && strings.Contains(err.Error(), "c4n4ry") {
		t.Errorf("a password is in %q", err.Error())
	}
}

// Fault 94: the server is not there, does not answer, or does not let us in. Host and user are named, the password is not.
func TestFault94Unreachable(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	role := "stranger"
	s, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN PASSWORD 'right'"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Exec(context.Background(), "DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	for _, tt := range []struct {
		name string
		dsn  string
		kind store.Kind
		want string
	}{
		{"closed port", with(t, dsn, func(u *url.URL, _ url.Values) { u.Host = closed.Addr().String() }), store.KindUnreachable, closed.Addr().String()},
		{"silence", with(t, dsn, func(u *url.URL, _ url.Values) { u.Host = silent.Addr().String() }), store.KindUnreachable, silent.Addr().String()},
		{"unknown name", with(t, dsn, func(u *url.URL, _ url.Values) { u.Host = "db.invalid:5432" }), store.KindUnreachable, "db.invalid"},
		{"no such database", with(t, dsn, func(u *url.URL, _ url.Values) { u.Path = "/nothing" }), store.KindUnreachable, "nothing"},
		{"wrong password", with(t, dsn, func(u *url.URL, _ url.Values) { u.User = url.UserPassword(role, pgtest.Password) }), store.KindDenied, role},
		{"unknown user", with(t, dsn, func(u *url.URL, _ url.Values) { u.User = url.UserPassword("nobody_here", pgtest.Password) }), store.KindDenied, "nobody_here"},
		{"not an address", "postgres://user:" + pgtest.Password + "@host:port/name", store.KindOther, "address"},
		{"bad escape", "postgres://user:" + pgtest.Password + "%zz@host/name", store.KindOther, "address"},
		{"bad option", with(t, dsn, func(_ *url.URL, q url.Values) { q.Set("sslmode", pgtest.Password) }), store.KindOther, "address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			s, err := postgres.Open(ctx, secret.New(tt.dsn), postgres.Options{})
			if err == nil {
				_ = s.Close()
			}
			if storetest.KindOf(err) != tt.kind || !strings.Contains(strings.ToLower(err.Error()), tt.want) {
				t.Errorf("%q: %v", storetest.KindOf(err), err)
			}
			wantSafe(t, err)
		})
	}
	if got := mustOpen(t, dsn).Describe(); strings.Contains(got, pgtest.Password) || !strings.Contains(got, s.Addr()) {
		t.Errorf("Describe: %s", got)
	}
}

// untilDone repeats a commit that the database was too unwell for.
func untilDone(t testing.TB, commit func() (store.Result, error)) store.Result {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for {
		res, err := commit()
		if err == nil {
			return res
		}
		wantSafe(t, err)
		if k := storetest.KindOf(err); k != store.KindUnreachable && k != store.KindReadOnly || time.Now().After(end) {
			t.Fatalf("%q: %v", k, err)
		}
	}
}

// Fault 95: connections are ended in the middle of batches. Each batch is there whole and once.
func TestFault95Terminated(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	server, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dsn)
	x := storetest.Begin(t, s)
	const batches, rowsEach = 12, 400
	ended := 0
	for i := range batches {
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 3 {
				<-time.After(rand.N(8 * time.Millisecond))
				n, err := server.TerminateBackends(context.Background(), u.Path[1:])
				if err != nil {
					t.Error(err)
				}
				ended += n
			}
		})
		res := untilDone(t, func() (store.Result, error) { return x.Direct(fmt.Sprintf("b%02d-", i), rowsEach) })
		if res.Written != rowsEach {
			t.Errorf("batch %d: %+v", i, res)
		}
		wg.Wait()
	}
	t.Logf("%d connections were ended", ended)
	if ended == 0 {
		t.Error("no connection was ended")
	}
	db := database(t, dsn)
	want := fmt.Sprint(batches * rowsEach)
	if got := db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM campaigns"); got[0][0] != want || got[0][1] != want {
		t.Errorf("%v rows, want %s", got, want)
	}
	// The proof of our life was ended as well, and is there again.
	for end := time.Now().Add(20 * time.Second); ; {
		st, err := s.Status(t.Context())
		if err == nil && len(st) == 1 && st[0].Running {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the holder is not alive: %+v, %v", st, err)
		}
	}
	x.End()
}

// Fault 95: the whole server is killed in the middle of batches, and comes back. What was committed is there.
func TestFault95ServerKilled(t *testing.T) {
	t.Parallel()
	server := pgtest.StartFor(t, pgtest.Options{Durable: true})
	dsn := pgtest.NewOn(t, server)
	s := mustOpen(t, dsn)
	x := storetest.Begin(t, s)
	const batches, rowsEach = 2, 600
	for i := range batches {
		var wg sync.WaitGroup
		wg.Go(func() {
			server.Kill()
			if err := server.Restart(context.Background(), nil); err != nil {
				t.Error(err)
			}
		})
		if res := untilDone(t, func() (store.Result, error) { return x.Direct(fmt.Sprintf("b%02d-", i), rowsEach) }); res.Written != rowsEach {
			t.Errorf("batch %d: %+v", i, res)
		}
		wg.Wait()
	}
	x.End()
	want := fmt.Sprint(batches * rowsEach)
	if got := database(t, dsn).Rows(t, "SELECT count(*), count(DISTINCT id) FROM campaigns"); got[0][0] != want || got[0][1] != want {
		t.Errorf("%v rows, want %s", got, want)
	}
}

// proxy passes bytes on until it is told to cut the connection at the server's answer to a commit.
type proxy struct {
	l   net.Listener
	to  string
	cut atomic.Bool
	n   atomic.Int64 // connections cut
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return p
}

func (p *proxy) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	s, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(s, c)
		_ = s.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := s.Read(buf)
		if bytes.Contains(buf[:n], []byte("COMMIT\x00")) && p.cut.CompareAndSwap(true, false) {
			p.n.Add(1)
			break // the server has committed; nobody hears of it
		}
		if _, werr := c.Write(buf[:n]); werr != nil || err != nil {
			break
		}
	}
	_ = c.Close()
	_ = s.Close()
	wg.Wait()
}

// Fault 96: the commit went through, and its answer was lost. It is not done twice, and its result is the first one's.
func TestFault96AnswerLost(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	server, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, server.Addr())
	s := mustOpen(t, with(t, dsn, func(u *url.URL, _ url.Values) { u.Host = p.l.Addr().String() }))
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.cut.Store(true)
	x := storetest.Begin(t, s) // the lock's
	if p.cut.Load() {
		t.Fatal("no answer was lost")
	}
	x.End()
	for i := range 3 {
		lease, err := s.Acquire(t.Context(), storetest.Acme())
		if err != nil {
			t.Fatal(err)
		}
		p.cut.Store(true) // the new run's
		run, err := s.OpenRun(t.Context(), lease, store.OpenRun{NewID: fmt.Sprint("new ", i), Plan: "p", Fresh: true})
		if err != nil || run.Resumed || p.cut.Load() {
			t.Errorf("%+v, %v", run, err)
		}
		if err := s.Release(t.Context(), lease); err != nil {
			t.Error(err)
		}
	}
	x = storetest.Begin(t, s)
	cut := p.n.Load()
	for i := range 3 {
		p.cut.Store(true)
		res, err := x.Direct(fmt.Sprintf("b%d-", i), 300)
		if err != nil || res != (store.Result{Written: 300}) {
			t.Errorf("batch %d: %+v, %v", i, res, err)
		}
		if p.cut.Load() || p.n.Load() != cut+int64(i+1) {
			t.Fatalf("no answer was lost")
		}
	}
	if err := x.Items("i", 3); err != nil {
		t.Fatal(err)
	}
	p.cut.Store(true)
	if res, err := x.Done(1, 2, 3); err != nil || res != (store.Result{Written: 3}) {
		t.Errorf("%+v, %v", res, err)
	}
	p.cut.Store(true)
	x.End() // and the run's end, or the lock's
	db := database(t, dsn)
	if got := db.Rows(t, "SELECT count(*), count(DISTINCT synced_at) FROM campaigns"); got[0][0] != "903" || got[0][1] != "4" {
		t.Errorf("%v", got)
	}
	if got := db.Rows(t, "SELECT count(*), count(*) FILTER (WHERE outcome = 'complete'), count(*) FILTER (WHERE outcome = 'interrupted') FROM runs"); fmt.Sprint(got[0]) != "[5 2 3]" {
		t.Errorf("%v", got)
	}
}

// A process that is paused in the middle of a change of a quota keeps the others waiting for a moment only, and makes its change when it goes on.
func TestPausedInAQuota(t *testing.T) {
	db := database(t, pgtest.New(t))
	paused, other := storetest.Open(t, db), storetest.Open(t, db)
	if _, err := paused.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	add := func(state []byte, _ time.Time) ([]byte, error) { return append(bytes.Clone(state), 'x'), nil }
	in, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	calls := 0
	go func() {
		done <- paused.UpdateQuota(t.Context(), "b", func(state []byte, now time.Time) ([]byte, error) {
			if calls++; calls == 1 {
				close(in)
				<-goOn
			}
			return add(state, now)
		})
	}()
	<-in
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := other.UpdateQuota(ctx, "b", add); err != nil {
		t.Errorf("while another is paused: %v", err)
	}
	close(goOn)
	if err := <-done; err != nil || calls != 2 {
		t.Errorf("%v after %d calls", err, calls)
	}
	err := other.UpdateQuota(ctx, "b", func(state []byte, _ time.Time) ([]byte, error) {
		if string(state) != "xx" {
			t.Errorf("state %q", state)
		}
		return state, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Fault 97: another program locks rows in the opposite order. The deadlock's victim tries again.
func TestFault97Deadlock(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	db := database(t, dsn)
	s := mustOpen(t, with(t, dsn, func(_ *url.URL, q url.Values) { q.Set("deadlock_timeout", "3s") }))
	x := storetest.Begin(t, s)
	if _, err := x.Direct("c", 300); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, "SET deadlock_timeout = '1min'") // who looks first gives in, and each looks once: that is to be ours, when the circle is closed
	db.Exec(t, "BEGIN")
	db.Exec(t, "UPDATE campaigns SET objective = 'theirs' WHERE id = 'c00200'")
	done := make(chan error, 1)
	go func() {
		_, err := x.Direct("c", 300) // has the first rows and waits for the 200th
		done <- err
	}()
	waitFor(t, connect(t, dsn), "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
	db.Exec(t, "UPDATE campaigns SET objective = 'theirs' WHERE id = 'c00001'") // waits for the first ones: one of the two must give in
	db.Exec(t, "COMMIT")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := db.Rows(t, "SELECT count(*), count(objective) FROM campaigns"); got[0][0] != "300" || got[0][1] != "0" {
		t.Errorf("%v", got)
	}
	x.End()
}

// waitFor asks until the answer is true.
func waitFor(t testing.TB, conn *pgx.Conn, query string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); rows(t, conn, query)[0][0] != "t"; {
		if time.Now().After(end) {
			t.Fatalf("%s never became true", query)
		}
	}
}

// Fault 98: the server's disk is full (its own code for it, raised by a trigger).
func TestFault98Full(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	db := database(t, dsn)
	s := mustOpen(t, dsn)
	x := storetest.Begin(t, s)
	db.Exec(t, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file "base/5/16384": No space left on device' USING ERRCODE = '53100'; END $$`)
	db.Exec(t, "CREATE TRIGGER full_disk BEFORE INSERT ON campaigns FOR EACH ROW WHEN (NEW.id = 'c00250') EXECUTE FUNCTION full_disk()")
	for _, n := range []int{260, 251} { // by COPY, by the array
		_, err := x.Direct("c", n)
		storetest.WantKind(t, err, store.KindFull)
		if want := fmt.Sprint(n, " records are not written"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	db.Exec(t, "DROP TRIGGER full_disk ON campaigns")
	if got := db.Rows(t, "SELECT count(*) FROM campaigns"); got[0][0] != "0" {
		t.Errorf("%v rows of a commit that failed", got)
	}
	if res, err := x.Direct("c", 260); err != nil || res.Written != 260 {
		t.Errorf("%+v, %v", res, err)
	}
	x.End()
}

// Fault 99: a replica, or a server that is read-only for another reason, is noticed before anything is sent.
func TestFault99ReadOnly(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	if _, err := mustOpen(t, dsn).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, with(t, dsn, func(_ *url.URL, q url.Values) { q.Set("default_transaction_read_only", "on") }))
	err := s.CheckWritable(t.Context())
	storetest.WantKind(t, err, store.KindReadOnly)
	wantSafe(t, err)
	if _, err := s.Status(t.Context()); err != nil {
		t.Errorf("it can still be read: %v", err)
	}
}

// Fault 107: a failover. The server is read-only for a moment, and the commit waits for its end.
func TestFault107Failover(t *testing.T) {
	t.Parallel()
	server := pgtest.StartFor(t, pgtest.Options{})
	dsn := pgtest.NewOn(t, server)
	s := mustOpen(t, dsn)
	x := storetest.Begin(t, s)
	server.Shutdown()
	if err := server.Restart(t.Context(), map[string]string{"default_transaction_read_only": "on"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := x.Direct("c", 300)
		done <- err
	}()
	if err := server.Exec(t.Context(), "SET default_transaction_read_only = off", "ALTER SYSTEM SET default_transaction_read_only = off", "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	x.End()
}

// Fault 105: the server has few connections. Whoever finds none waits for one.
func TestFault105TooManyConnections(t *testing.T) {
	t.Parallel()
	server := pgtest.StartFor(t, pgtest.Options{Settings: map[string]string{"max_connections": "5", "superuser_reserved_connections": "0"}})
	dsn := server.URL("postgres")
	s := mustOpen(t, dsn)
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				if err := s.UpdateQuota(t.Context(), "b", func(state []byte, _ time.Time) ([]byte, error) { return append(state, 'x'), nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// With none to spare it is said what is the matter, in time. The server needs a moment to see that connections were closed.
	taking, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	for taken := 0; taken < 5; {
		conn, err := pgx.Connect(taking, dsn)
		var no *pgconn.PgError
		switch {
		case err == nil:
			taken++
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
		case !errors.As(err, &no) || no.Code != "53300":
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := postgres.Open(ctx, secret.New(dsn), postgres.Options{})
	if storetest.KindOf(err) != store.KindUnreachable || !strings.Contains(err.Error(), "no connection to spare") {
		t.Errorf("%v", err)
	}
	wantSafe(t, err)
}

// Fault 106: a row that another program has locked holds up its batch until the server's time limit. The others are written, and it is kept as
// a failure.
func TestFault106StatementTimeout(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	db := database(t, dsn)
	s := mustOpen(t, with(t, dsn, func(_ *url.URL, q url.Values) { q.Set("statement_timeout", "250ms") }))
	x := storetest.Begin(t, s)
	if res, err := x.Direct("c", 8); err != nil || res.Written != 8 {
		t.Fatalf("%+v, %v", res, err)
	}
	db.Exec(t, "BEGIN")
	db.Exec(t, "UPDATE campaigns SET objective = 'theirs' WHERE id = 'c00005'")
	res, err := x.Direct("c", 210)
	if err != nil || res.Rejected != 1 || !strings.Contains(res.RejectedReason, "statement timeout") {
		t.Errorf("%+v, %v", res, err)
	}
	db.Exec(t, "ROLLBACK")
	if got := db.Rows(t, "SELECT entity_id FROM failures"); len(got) != 1 || got[0][0] != "c00005" {
		t.Errorf("%v", got)
	}
	if got := db.Rows(t, "SELECT count(*) FROM campaigns"); got[0][0] != "210" {
		t.Errorf("%v", got)
	}
	x.End()
}

// Fault 108: a role that may only read and write rows does all of the work, and what it lacks is named.
func TestFault108LeastPrivilege(t *testing.T) {
	t.Parallel()
	server := pgtest.StartFor(t, pgtest.Options{})
	dsn := pgtest.NewOn(t, server)
	db := database(t, dsn)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.Exec(t, "CREATE ROLE worker LOGIN PASSWORD 'c4n4ry-of-worker'")
	db.Exec(t, "REVOKE ALL ON DATABASE "+u.Path[1:]+" FROM PUBLIC")
	db.Exec(t, "GRANT CONNECT ON DATABASE "+u.Path[1:]+" TO worker")
	s := mustOpen(t, with(t, dsn, func(u *url.URL, _ url.Values) { u.User = url.UserPassword("worker", "c4n4ry-of-worker") }))
	_, err = s.Migrate(t.Context())
	storetest.WantKind(t, err, store.KindDenied)
	wantSafe(t, err)
	if _, err := mustOpen(t, dsn).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, "GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA public TO worker")
	db.Exec(t, "GRANT UPDATE ON adsync_probe TO worker")
	err = s.CheckWritable(t.Context())
	storetest.WantKind(t, err, store.KindDenied)
	if err == nil || !strings.Contains(err.Error(), "UPDATE on campaigns") || strings.Contains(err.Error(), "INSERT on campaigns") {
		t.Errorf("%v", err)
	}
	db.Exec(t, "GRANT UPDATE ON ALL TABLES IN SCHEMA public TO worker")
	if err := s.CheckWritable(t.Context()); err != nil {
		t.Error(err)
	}
	// It may not make temporary tables, so there is no staging table for the second time.
	x := storetest.Begin(t, s)
	for _, want := range []store.Result{{Written: 1000}, {Written: 1000, Unchanged: 1000}} {
		x.End()
		x = storetest.Begin(t, s)
		if res, err := x.Direct("c", 1000); err != nil || res != want {
			t.Errorf("%+v, %v", res, err)
		}
	}
	if err := x.Items("i", 10); err != nil {
		t.Error(err)
	}
	if res, err := x.Done(1, 2); err != nil || res.Written != 2 {
		t.Errorf("%+v, %v", res, err)
	}
	x.End()
	if err := s.UpdateQuota(t.Context(), "b", func([]byte, time.Time) ([]byte, error) { return []byte("x"), nil }); err != nil {
		t.Error(err)
	}
	if st, err := s.Status(t.Context()); err != nil || len(st) != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

// Fault 109: JSON that PostgreSQL does not take is one failed record.
func TestFault109BadJSON(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	s := mustOpen(t, dsn)
	x := storetest.Begin(t, s)
	var records []ads.Entity
	for i := range 300 {
		e := storetest.Entity(fmt.Sprintf("c%05d", i))
		if i == 123 {
			e.Raw = []byte(`{"id": }`)
		}
		if i == 200 {
			e.Raw = []byte(strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000)) // fault 61
		}
		records = append(records, e)
	}
	res, err := x.Records(records)
	if err != nil || res.Written != 298 || res.Rejected != 2 {
		t.Errorf("%+v, %v", res, err)
	}
	if got := database(t, dsn).Rows(t, "SELECT entity_id, class, length(raw) FROM failures ORDER BY entity_id"); len(got) != 2 || got[0][0] != "c00123" || got[1][2] != fmt.Sprint(ads.MaxRawKept) {
		t.Errorf("%v", got)
	}
	x.End()
}

// A row of another program in an account that was empty a moment ago does not spoil the first load.
func TestFirstLoadMeetsARow(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	db := database(t, dsn)
	s := mustOpen(t, dsn)
	x := storetest.Begin(t, s)
	if res, err := x.Direct("a", 300); err != nil || res.Written != 300 {
		t.Fatalf("%+v, %v", res, err)
	}
	db.Exec(t, `INSERT INTO campaigns (client_id, connection, account_id, id, platform, name, status, first_seen_at, changed_at, synced_at)
		SELECT client_id, connection, account_id, 'b00007', platform, 'theirs', status, '2020-01-01', '2020-01-01', '2020-01-01' FROM campaigns WHERE id = 'a00007'`)
	if res, err := x.Direct("b", 300); err != nil || res != (store.Result{Written: 300}) {
		t.Errorf("%+v, %v", res, err)
	}
	if got := db.Rows(t, "SELECT name, first_seen_at FROM campaigns WHERE id = 'b00007'"); got[0][0] != "Campaign b00007" || got[0][1] != "2020-01-01T00:00:00.000000Z" {
		t.Errorf("%v", got)
	}
	x.End()
}

// A database that cannot hold every name is refused.
func TestEncoding(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := "latin_" + u.Path[1:]
	conn := connect(t, dsn)
	rows(t, conn, "CREATE DATABASE "+name+" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
	s := mustOpen(t, with(t, dsn, func(u *url.URL, _ url.Values) { u.Path = "/" + name }))
	_, err = s.Migrate(t.Context())
	storetest.WantKind(t, err, store.KindSchema)
	if err == nil || !strings.Contains(err.Error(), "LATIN1") {
		t.Errorf("%v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rows(t, conn, "DROP DATABASE "+name+" WITH (FORCE)")
}

// A schema of one's own is made where it is missing, and another one's tables are no trouble there.
func TestSearchPath(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	db := database(t, dsn)
	db.Exec(t, "CREATE TABLE campaigns (theirs int)")
	for _, path := range []string{"ours", `"Odd""Name"`} {
		s := mustOpen(t, with(t, dsn, func(_ *url.URL, q url.Values) { q.Set("search_path", path) }))
		if sc, err := s.Schema(t.Context()); err != nil || sc.Current != 0 {
			t.Fatalf("%+v, %v", sc, err)
		}
		x := storetest.Begin(t, s)
		if _, err := x.Direct("c", 250); err != nil {
			t.Error(err)
		}
		x.End()
	}
	if got := db.Rows(t, "SELECT count(*) FROM information_schema.tables WHERE table_name = 'campaigns'"); got[0][0] != "3" {
		t.Errorf("%v", got)
	}
	if got := db.Rows(t, `SELECT count(*) FROM "Odd""Name".campaigns`); got[0][0] != "250" {
		t.Errorf("%v", got)
	}
	_, err := mustOpen(t, dsn).Migrate(t.Context())
	se, ok := errors.AsType[*store.Error](err)
	if !ok || se.Kind != store.KindForeignTable || !strings.Contains(se.Hint, "search_path=") {
		t.Errorf("%v", err)
	}
}

// A Store leaves no goroutine and no connection behind.
func TestNothingLeaks(t *testing.T) {
	dsn := pgtest.New(t)
	conn := connect(t, dsn)
	before := goleak.IgnoreCurrent()
	s, err := postgres.Open(t.Context(), secret.New(dsn), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := storetest.Begin(t, s)
	if _, err := x.Direct("a", 300); err != nil {
		t.Error(err)
	}
	x.End()
	if _, err := s.Beat(t.Context(), store.Beat{ID: "a", Lease: time.Minute}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
	waitFor(t, conn, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'adsync' AND datname = current_database()")
}
