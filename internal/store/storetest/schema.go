package storetest

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"adsync/internal/ads"
	"adsync/internal/store"
)

func testSchema(t *testing.T, db Database) {
	s := openRaw(t, db)
	ctx := testContext(t)
	sc, err := s.Schema(ctx)
	if err != nil || sc.Current != 0 || sc.Known < 1 {
		t.Fatalf("before: %+v, %v", sc, err)
	}
	// A database without a schema says what is missing instead of failing somewhere.
	wantKind(t, s.CheckWritable(ctx), store.KindSchema)
	_, err = s.Acquire(ctx, acme)
	wantKind(t, err, store.KindSchema)
	sc, err = s.Migrate(ctx)
	if err != nil || sc.Current != sc.Known || len(sc.Applied) != migrationFiles(t) {
		t.Fatalf("migrated: %+v, %v", sc, err)
	}
	sc, err = s.Migrate(ctx)
	if err != nil || sc.Current != sc.Known || len(sc.Applied) != 0 {
		t.Fatalf("again: %+v, %v", sc, err)
	}
	if sc, err := openRaw(t, db).Schema(ctx); err != nil || sc.Current != sc.Known {
		t.Fatalf("another store: %+v, %v", sc, err)
	}
}

// contractColumns are the tables of the contract, to the letter.
var contractColumns = map[string]string{
	"campaigns": "client_id, connection, account_id, id, platform, name, status, platform_status, objective, budget_micros, budget_period, " +
		"currency, impressions, clicks, conversions, created_at, platform_updated_at, first_seen_at, changed_at, synced_at, removed_at, raw",
	"accounts": "client_id, connection, id, platform, name, status, platform_status, currency, time_zone, first_seen_at, synced_at, raw",
	"ad_groups": "client_id, connection, account_id, id, campaign_id, platform, name, status, platform_status, objective, budget_micros, budget_period, " +
		"currency, impressions, clicks, conversions, created_at, platform_updated_at, first_seen_at, changed_at, synced_at, removed_at, raw",
	"ads": "client_id, connection, account_id, id, campaign_id, ad_group_id, platform, name, status, platform_status, objective, budget_micros, budget_period, " +
		"currency, impressions, clicks, conversions, created_at, platform_updated_at, first_seen_at, changed_at, synced_at, removed_at, raw",
	"daily_metrics": "client_id, connection, account_id, level, entity_id, date, platform, impressions, clicks, spend_micros, conversions, " +
		"conversion_value_micros, currency, final, synced_at, raw",
	"coverage": "client_id, connection, account_id, stream, date, state, rows, verified_at, note",
	"runs": "id, client_id, connection, trigger, started_at, finished_at, outcome, listed, synced, unchanged, failed, removed, pages, requests, " +
		"throttled, retries, waited_seconds, error",
	"failures": "id, client_id, connection, account_id, stream, entity_id, class, code, message, hint, request_id, attempts, first_failed_at, " +
		"last_failed_at, next_retry_at, resolved_at, raw",
	"ad_reporting_account": "date_day, platform, account_id, account_name, impressions, clicks, spend, conversions, conversions_value, currency, client_id, connection",
	"ad_reporting_campaign": "date_day, platform, account_id, account_name, campaign_id, campaign_name, impressions, clicks, spend, conversions, " +
		"conversions_value, currency, client_id, connection",
	"ad_reporting_ad_group": "date_day, platform, account_id, account_name, campaign_id, campaign_name, ad_group_id, ad_group_name, impressions, clicks, " +
		"spend, conversions, conversions_value, currency, client_id, connection",
	"ad_reporting_ad": "date_day, platform, account_id, account_name, campaign_id, campaign_name, ad_group_id, ad_group_name, ad_id, ad_name, impressions, " +
		"clicks, spend, conversions, conversions_value, currency, client_id, connection",
}

func testColumns(t *testing.T, db Database) {
	open(t, db)
	for table, columns := range contractColumns {
		// Each column by its name, and no other: a union needs as many on both sides.
		nulls := strings.TrimSuffix(strings.Repeat("NULL, ", strings.Count(columns, ",")+1), ", ")
		db.Exec(t, "SELECT "+columns+" FROM "+table+" UNION ALL SELECT * FROM "+table+" WHERE 1 = 0")
		db.Exec(t, "SELECT * FROM "+table+" UNION ALL SELECT "+nulls+" WHERE 1 = 0")
	}
	db.Exec(t, `INSERT INTO accounts (client_id, connection, id, platform, name, status, first_seen_at, synced_at)
		VALUES ('c', 'p', 'a', 'adplatform', 'Account', 'active', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z')`)
	db.Exec(t, `INSERT INTO daily_metrics (client_id, connection, account_id, level, entity_id, date, platform, impressions, clicks, spend_micros, conversions,
		conversion_value_micros, currency, synced_at) VALUES ('c', 'p', 'a', 'account', 'a', '2026-01-01', 'adplatform', 10, 2, 1500000, 1, 2250000, 'EUR', '2026-01-01T00:00:00.000000Z')`)
	wantRows(t, db, "SELECT account_name, impressions, clicks, round(spend * 1000), round(conversions_value * 1000), currency FROM ad_reporting_account WHERE round(spend * 100) = 150",
		db.Rows(t, "SELECT 'Account', 10, 2, round(1.5 * 1000), round(2.25 * 1000), 'EUR'")[0])
}

func testForeignTables(t *testing.T, db Database) {
	s := openRaw(t, db)
	db.Exec(t, "CREATE TABLE campaigns (id integer, name text)")
	db.Exec(t, "INSERT INTO campaigns VALUES (1, 'theirs')")
	_, err := s.Migrate(testContext(t))
	wantKind(t, err, store.KindForeignTable)
	if err == nil || !strings.Contains(err.Error(), "campaigns") {
		t.Errorf("the table is not named: %v", err)
	}
	wantRows(t, db, "SELECT * FROM campaigns", []string{"1", "theirs"})
	if sc, err := s.Schema(testContext(t)); err != nil || sc.Current != 0 {
		t.Errorf("schema %+v, %v", sc, err)
	}
	// With the table out of the way it is a database like any other.
	db.Exec(t, "DROP TABLE campaigns")
	if _, err := s.Migrate(testContext(t)); err != nil {
		t.Error(err)
	}
}

// Fault 103: a newer schema is left alone.
func testNewerSchema(t *testing.T, db Database) {
	s := open(t, db)
	ctx := testContext(t)
	known, err := s.Schema(ctx)
	if err != nil {
		t.Fatal(err)
	}
	db.Exec(t, "INSERT INTO adsync_schema_version (version_id, is_applied) VALUES (4711, TRUE)")
	sc, err := s.Migrate(ctx)
	wantKind(t, err, store.KindSchema)
	if err == nil || !strings.Contains(err.Error(), "database is at 4711, this binary knows ") || sc.Current != 4711 || sc.Known != known.Known {
		t.Errorf("%+v, %v", sc, err)
	}
	wantKind(t, s.CheckWritable(ctx), store.KindSchema)
}

// Fault 103: several processes migrate at once, and one does it.
func testMigrateTogether(t *testing.T, db Database) {
	var wg sync.WaitGroup
	applied := make([]int, 6)
	for i := range applied {
		s := openRaw(t, db)
		wg.Go(func() {
			sc, err := s.Migrate(testContext(t))
			if err != nil || sc.Current != sc.Known {
				t.Errorf("%+v, %v", sc, err)
			}
			applied[i] = len(sc.Applied)
		})
	}
	wg.Wait()
	total := 0
	for _, n := range applied {
		total += n
	}
	sc, err := openRaw(t, db).Schema(testContext(t))
	if err != nil || total != int(sc.Known) {
		t.Errorf("%d migrations were applied for version %d: %v", total, sc.Known, err)
	}
}

func testCheckWritable(t *testing.T, db Database) {
	s := open(t, db)
	before := db.Rows(t, "SELECT count(*) FROM adsync_probe")
	for range 2 {
		if err := s.CheckWritable(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(t, db, "SELECT count(*) FROM adsync_probe", before...)
	wantRows(t, db, "SELECT count(*) FROM runs", []string{"0"})
	if s.Describe() == "" {
		t.Error("Describe says nothing")
	}
}

func testAccounts(t *testing.T, db Database) {
	s := open(t, db)
	x := begin(t, s, acme, newRun("r1", at(0)))
	acc := ads.Account{ID: "a1", Name: "Ünï 'quoted'", Status: ads.StatusActive, PlatformStatus: "ENABLED", Currency: "EUR", TimeZone: "Europe/Berlin", Raw: []byte(`{"a":1}`)}
	x.commit(store.Commit{Stamp: at(1), Platform: "adplatform", Accounts: []ads.Account{acc, {ID: "a2", Status: ads.StatusUnknown}}})
	acc.Name = "renamed"
	x.commit(store.Commit{Stamp: at(2), Platform: "adplatform", Accounts: []ads.Account{acc}})
	wantRows(t, db, "SELECT client_id, connection, id, platform, name, status, platform_status, currency, time_zone, first_seen_at, synced_at, raw FROM accounts ORDER BY id",
		[]string{"acme", "adplatform", "a1", "adplatform", "renamed", "active", "ENABLED", "EUR", "Europe/Berlin", text(at(1)), text(at(2)), `{"a":1}`},
		[]string{"acme", "adplatform", "a2", "adplatform", "", "unknown", "NULL", "NULL", "NULL", text(at(1)), text(at(1)), "NULL"})
}

// migrationFiles counts the migrations of the package under test: not every number was used.
func migrationFiles(t testing.TB) int {
	t.Helper()
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal("no migrations here", err)
	}
	return len(files)
}
