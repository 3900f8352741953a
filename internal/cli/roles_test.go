package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"adsync/internal/pgtest"
	"adsync/internal/report"
)

// The roles that deploy/postgres/roles.sql makes are enough, each for what it is for, and for nothing else: fault 108 with the queue's tables too.
func TestPostgresRoles(t *testing.T) {
	t.Parallel()
	server := pgtest.StartFor(t, pgtest.Options{})
	dsn := pgtest.NewOn(t, server)
	script := func(name string) {
		t.Helper()
		b, err := os.ReadFile("../../deploy/postgres/" + name)
		if err != nil {
			t.Fatal(err)
		}
		execute(t, dsn, string(b))
	}
	script("roles.sql")
	as := func(role string) string {
		execute(t, dsn, fmt.Sprintf("ALTER ROLE %s PASSWORD 'c4n4ry-of-%s'", role, role))
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(role, "c4n4ry-of-"+role)
		q := u.Query()
		q.Set("search_path", "adsync")
		u.RawQuery = q.Encode()
		return u.String()
	}
	migrates, runs, reads := as("adsync_migrate"), as("adsync_run"), as("adsync_read")
	_, api := startPlatform(t, nil)
	command := func(dsn string, args ...string) result {
		t.Helper()
		return run(t, within(t), environ(t, api, "DATABASE_URL="+dsn), args...)
	}

	if r := command(runs, "migrate"); r.code != 6 || !strings.Contains(r.stderr, "adsync_run") {
		t.Errorf("who runs it migrates: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := command(runs, "sync"); r.code != 6 || !strings.Contains(r.stderr, "adsync migrate") {
		t.Errorf("before migrating: exit %d\n%s", r.code, r.stderr)
	}
	if r := command(migrates, "migrate"); r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	script("readers.sql")
	for _, cmd := range [][]string{{"check", "--strict"}, {"sync", "--strict"}, {"sync"}, {"status"}, {"failures", "list"}, {"migrate", "--status"}} {
		if r := command(runs, cmd...); r.code != 0 || strings.Contains(r.stderr, "superuser") {
			t.Errorf("%v: exit %d\n%s%s", cmd, r.code, r.stdout, r.stderr)
		}
	}
	serveOnce(t, environ(t, api, "DATABASE_URL="+runs))

	if n := query(t, reads, "SELECT count(*)::text FROM campaigns"); n != "25" {
		t.Errorf("%s campaigns to read", n)
	}
	for _, c := range []struct{ dsn, statement string }{
		{runs, "CREATE TABLE mine (x int)"},
		{runs, "DROP TABLE campaigns"},
		{runs, "ALTER TABLE campaigns ADD COLUMN x int"},
		{runs, "TRUNCATE campaigns"},
		{runs, "CREATE SCHEMA mine"},
		{runs, "CREATE TABLE public.mine (x int)"},
		{runs, "CREATE ROLE mine"},
		{runs, "COPY campaigns TO PROGRAM 'true'"},
		{runs, "SELECT pg_read_file('/etc/passwd')"},
		{migrates, "CREATE ROLE mine"},
		{migrates, "CREATE SCHEMA mine"},
		{reads, "DELETE FROM campaigns"},
		{reads, "SELECT * FROM adsync_quota"},
		{reads, "SELECT * FROM river_job"},
		{reads, "CREATE TEMPORARY TABLE mine (x int)"},
	} {
		if err := try(t, c.dsn, c.statement); !refused(err) {
			t.Errorf("%s: %v", c.statement, err)
		}
	}
}

// A superuser draws a warning from check, and is refused where it is strict: before anything is written or sent.
func TestSuperuser(t *testing.T) {
	t.Parallel()
	sim, api := startPlatform(t, nil)
	dsn := pgtest.New(t)
	env := environ(t, api, "DATABASE_URL="+dsn)
	const warning = "database: the user adsync is a superuser"
	if r := run(t, within(t), env, "serve", "--strict", "--listen", "127.0.0.1:0"); r.code != 2 || !strings.Contains(r.stderr, "the dashboard has no login") {
		t.Errorf("a dashboard without a login: exit %d\n%s", r.code, r.stderr)
	}
	for _, cmd := range [][]string{{"check"}, {"sync"}, {"serve", "--no-web"}} {
		r := run(t, within(t), env, append(cmd, "--strict", "--migrate")...)
		if r.code != 2 || !strings.Contains(r.stdout+r.stderr, warning) || !strings.Contains(r.stdout+r.stderr, "deploy/postgres/roles.sql") {
			t.Errorf("%s: exit %d\n%s%s", cmd, r.code, r.stdout, r.stderr)
		}
	}
	if n := query(t, dsn, "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'"); n != "0" {
		t.Errorf("%s tables were made", n)
	}
	for client, st := range sim.Stats().Clients {
		if n := st.Requests["list"] + st.Requests["sync"]; n != 0 {
			t.Errorf("%d requests of %q", n, client)
		}
	}
	if r := run(t, within(t), env, "check", "--migrate"); r.code != 0 || !strings.Contains(r.stderr, warning) {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := run(t, within(t), env, "sync"); r.code != 0 || strings.Contains(r.stderr, "superuser") {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
}

// serveOnce runs the service until it has brought its connection up to date once, because it was asked to.
func serveOnce(t *testing.T, env []string) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(within(t))
	defer cancel(nil)
	done := make(chan struct{})
	var stdout, stderr safeBuffer
	stderr.on = once(done, "sync complete")
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, []string{"serve", "--no-web"}, env, strings.NewReader(""), &stdout, &stderr)
	}()
	asked := run(t, within(t), env, "sync", "--ask")
	if asked.code != 0 {
		t.Errorf("asked: exit %d\n%s%s", asked.code, asked.stdout, asked.stderr)
	}
	select {
	case <-done:
	case c := <-code:
		t.Fatalf("it ended by itself with %d\n%s", c, stderr.String())
	case <-ctx.Done():
		t.Errorf("nothing was synced\n%s", stderr.String())
	}
	cancel(&report.Stopped{Signal: "SIGTERM", Code: 143})
	if c := <-code; c != 143 || strings.Contains(stderr.String(), "permission denied") {
		t.Errorf("exit %d\n%s", c, stderr.String())
	}
}

func try(t *testing.T, dsn, statement string) error {
	t.Helper()
	ctx := within(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, statement).ReadAll()
	return err
}

func execute(t *testing.T, dsn, statements string) {
	t.Helper()
	if err := try(t, dsn, statements); err != nil {
		t.Fatal(err)
	}
}

// refused says that the user has no right to it.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "42501"
}
