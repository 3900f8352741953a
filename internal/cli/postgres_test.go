package cli

import (
	"context"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/pgtest"
)

func query(t testing.TB, dsn, q string) (out string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, q).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// PostgreSQL's schema is somebody's decision: without it nothing is sent, and the hint says what to do.
func TestPostgres(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	sim, api := startPlatform(t, nil)
	env := environ(t, api, "DATABASE_URL="+dsn)
	r := run(t, within(t), env, "sync", "--json")
	if sum := summaryOf(t, r); r.code != 6 || !strings.Contains(*sum.Connections[0].Error, "no tables of adsync yet") ||
		!strings.Contains(r.stderr, "Run `adsync migrate` once, or give --migrate.") || sim.Stats().Requests != 0 {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	for _, cmd := range [][]string{{"status"}, {"failures", "list"}, {"failures", "retry"}} {
		if r := run(t, within(t), env, cmd...); r.code != 6 || !strings.Contains(r.stderr, "adsync migrate") {
			t.Errorf("%v: exit %d, %s", cmd, r.code, r.stderr)
		}
	}
	if r := run(t, within(t), env, "migrate", "--status"); r.code != 0 || !strings.Contains(r.stdout, "has no tables of adsync yet") {
		t.Errorf("exit %d, %s", r.code, r.stdout)
	}
	if r := run(t, within(t), env, "migrate"); r.code != 0 || !strings.Contains(r.stdout, "is at version") || !strings.Contains(r.stdout, "applied") {
		t.Errorf("exit %d, %s%s", r.code, r.stdout, r.stderr)
	}
	r = run(t, within(t), env, "sync", "--json")
	if c := summaryOf(t, r).Connections[0]; r.code != 0 || c.Synced != 25 {
		t.Errorf("exit %d: %+v\n%s", r.code, c, r.stderr)
	}
	if n := query(t, dsn, "SELECT count(*)::text FROM campaigns WHERE client_id = 'default' AND removed_at IS NULL"); n != "25" {
		t.Errorf("%s campaigns are stored", n)
	}
	if r := run(t, within(t), env, "status"); !regexp.MustCompile(`default +adplatform +fresh .* 25 +0`).MatchString(r.stdout) {
		t.Errorf("%s", r.stdout)
	}
	if r := run(t, within(t), env, "check"); r.code != 0 {
		t.Errorf("exit %d\n%s", r.code, r.stdout)
	}
}

// --migrate does both at once, in a schema of its own where the address says so.
func TestPostgresMigrateFlag(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", "ads_of_ours")
	u.RawQuery = q.Encode()
	_, api := startPlatform(t, nil)
	r := run(t, within(t), environ(t, api, "DATABASE_URL="+u.String()), "sync", "--migrate", "--json")
	if sum := summaryOf(t, r); r.code != 0 || sum.Outcome != ads.Complete {
		t.Fatalf("exit %d: %+v\n%s", r.code, sum, r.stderr)
	}
	if n := query(t, dsn, "SELECT count(*)::text FROM ads_of_ours.campaigns"); n != "25" {
		t.Errorf("%s campaigns are stored", n)
	}
}

// A table of ours that adsync did not make is left alone.
func TestPostgresForeignTable(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	ctx := within(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(ctx, "CREATE TABLE campaigns (mine int); INSERT INTO campaigns VALUES (7)")
	conn.Close(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sim, api := startPlatform(t, nil)
	r := run(t, ctx, environ(t, api, "DATABASE_URL="+dsn), "sync", "--migrate")
	if r.code != 6 || !strings.Contains(r.stderr, "search_path") || sim.Stats().Requests != 0 {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
	if got := query(t, dsn, "SELECT mine::text FROM campaigns"); got != "7" {
		t.Errorf("%s", got)
	}
}
