package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"adsync/internal/pgtest"
	"adsync/internal/simulator/googleads"
	"adsync/internal/simulator/meta"
)

// queryOf is the SQL of docs/reporting.md below a mark.
func queryOf(t *testing.T, mark string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/reporting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "<!-- query: "+mark+" -->\n```sql\n")
	query, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("docs/reporting.md has no query %q", mark)
	}
	return query
}

// What docs/reporting.md asks gives what the platforms know, on both databases, with two clients on two platforms.
func TestReportingExamples(t *testing.T) {
	mc := meta.Default()
	mc.Accounts, mc.Campaigns, mc.JobTime = 3, 6, 0
	m, err := meta.New(mc)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	gc := googleads.Default()
	gc.Accounts, gc.Campaigns = 3, 6
	g, err := googleads.New(gc)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ms, gs := httptest.NewServer(m), httptest.NewServer(g)
	defer ms.Close()
	defer gs.Close()

	type key struct{ client, platform, currency, campaign string }
	type sums struct{ spend, revenue float64 }
	truth := func(currencies map[string]string) map[key]sums {
		out := map[key]sums{}
		// All days that the query may take in, by any zone's calendar; those that the database has bound it below.
		from, to := time.Now().UTC().AddDate(0, 0, -29).Format(time.DateOnly), time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
		for _, a := range m.Accounts() {
			currencies[a.AccountID] = a.Currency
			for _, f := range m.Figures(a.ID, "campaign", from, to) {
				k := key{"acme", "meta", a.Currency, f.ID}
				s := out[k]
				out[k] = sums{s.spend + float64(f.SpendMinor)/float64(a.Minor), s.revenue + float64(f.ValueMinor)/float64(a.Minor)}
			}
		}
		for _, a := range g.Accounts() {
			currencies[a.ID] = a.Currency
			for _, f := range g.Figures(a.ID, "campaign", from, to) {
				k := key{"globex", "google_ads", a.Currency, f.ID}
				s := out[k]
				out[k] = sums{s.spend + float64(f.CostMicros)/1e6, s.revenue + f.Value}
			}
		}
		return out
	}
	config := func(database string) string {
		return fmt.Sprintf(`database: %s
clients:
  - id: acme
    connections:
      - platform: meta
        url: %s
        app_id: %q
        credentials: {access_token: "${META_TOKEN}", app_secret: "${META_SECRET}"}
        levels: [account, campaign]
        since: 40d
  - id: globex
    connections:
      - platform: google_ads
        url: %s
        oauth_url: %[4]s
        credentials: {client_id: "${G_ID}", client_secret: "${G_SECRET}", refresh_token: "${G_REFRESH}"}
        levels: [account, campaign]
        since: 40d
`, database, ms.URL, meta.DefaultAppID, gs.URL)
	}
	try := func(t *testing.T, database, driver, dsn, mark string, args ...string) {
		b := &bed{t: t, dir: t.TempDir(), env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(), "META_TOKEN=" + meta.DefaultToken, "META_SECRET=" + meta.DefaultAppSecret,
			"G_ID=" + googleads.DefaultClientID, "G_SECRET=" + googleads.DefaultClientSecret, "G_REFRESH=" + googleads.DefaultRefreshToken,
		}}
		if err := os.WriteFile(filepath.Join(b.dir, "adsync.yaml"), []byte(config(database)), 0o600); err != nil {
			t.Fatal(err)
		}
		code, s, errs := b.sync(args...)
		if code != 0 || s.Outcome != "complete" || len(s.Connections) != 2 {
			t.Fatalf("exit %d %+v\n%s", code, s, errs)
		}
		for _, secret := range []string{meta.DefaultToken, meta.DefaultAppSecret, googleads.DefaultClientSecret, googleads.DefaultRefreshToken} {
			if strings.Contains(errs, secret) {
				t.Error("a secret is in the output")
			}
		}
		if dsn == "" {
			dsn = "file:" + filepath.Join(b.dir, "ads.db") + "?mode=ro"
		}
		db, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		rows, err := db.QueryContext(ctx, queryOf(t, mark))
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		want, last := truth(map[string]string{}), math.Inf(1)
		n := 0
		for rows.Next() {
			var k key
			var name sql.NullString
			var impressions, clicks int64
			var spend, revenue float64
			var roas sql.NullFloat64
			if err := rows.Scan(&k.client, &k.platform, &k.currency, &k.campaign, &name, &impressions, &clicks, &spend, &revenue, &roas); err != nil {
				t.Fatal(err)
			}
			n++
			w, ok := want[k]
			if !ok || math.Abs(w.spend-spend) > 0.01 || math.Abs(w.revenue-revenue) > 0.01 || !name.Valid || name.String == "" || spend > last || impressions < clicks {
				t.Errorf("%+v (%s): spend %.2f, revenue %.2f; want %+v", k, name.String, spend, revenue, w)
			}
			if spend > 0 && (!roas.Valid || math.Abs(roas.Float64-revenue/spend) > 0.006) {
				t.Errorf("%+v: ROAS %v of %.2f and %.2f", k, roas, revenue, spend)
			}
			last = spend
		}
		if err := rows.Err(); err != nil || n != len(want) || n == 0 {
			t.Errorf("%d rows, want %d; %v", n, len(want), err)
		}
		days, err := db.QueryContext(ctx, queryOf(t, "both"))
		if err != nil {
			t.Fatal(err)
		}
		defer days.Close()
		n = 0
		for days.Next() {
			n++
		}
		if err := days.Err(); err != nil || n < 6 {
			t.Errorf("coverage: %d rows, %v", n, err)
		}
	}
	t.Run("sqlite", func(t *testing.T) { try(t, "sqlite:ads.db", "sqlite", "", "sqlite") })
	t.Run("postgres", func(t *testing.T) {
		pgtest.Need(t)
		dsn := pgtest.New(t)
		try(t, `"`+dsn+`"`, "pgx", dsn, "postgres", "--migrate")
	})
}
