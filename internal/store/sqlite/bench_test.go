package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store/storetest"
)

const bareColumns = `client_id, connection, account_id, id, platform, name, status, platform_status, objective, budget_micros, budget_period, currency, impressions,
	clicks, conversions, created_at, platform_updated_at, first_seen_at, changed_at, synced_at, removed_at, raw`

// BenchmarkDirect writes records beside a bare multi-row upsert of every column by the same driver.
func BenchmarkDirect(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) (storetest.Database, func(time.Time, []ads.Entity) error) {
		dir := b.TempDir()
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bare.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_txlock=immediate")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = db.Close() })
		db.SetMaxOpenConns(1)
		_, err = db.Exec(`CREATE TABLE campaigns (client_id TEXT NOT NULL, connection TEXT NOT NULL, account_id TEXT NOT NULL, id TEXT NOT NULL, platform TEXT NOT NULL, name TEXT,
			status TEXT NOT NULL, platform_status TEXT, objective TEXT, budget_micros INTEGER, budget_period TEXT, currency TEXT, impressions INTEGER, clicks INTEGER,
			conversions NUMERIC, created_at TEXT, platform_updated_at TEXT, first_seen_at TEXT NOT NULL, changed_at TEXT NOT NULL, synced_at TEXT NOT NULL, removed_at TEXT,
			raw TEXT, PRIMARY KEY (client_id, connection, account_id, id))`)
		if err != nil {
			b.Fatal(err)
		}
		const rowsEach = 50
		row := "(" + strings.TrimSuffix(strings.Repeat("?,", 22), ",") + ")"
		query := "INSERT INTO campaigns (" + bareColumns + ") VALUES " + strings.TrimSuffix(strings.Repeat(row+",", rowsEach), ",") + bareUpdate
		return database(filepath.Join(dir, "adsync.db")), func(at time.Time, batch []ads.Entity) error {
			stamp := at.Format("2006-01-02T15:04:05.000000Z")
			tx, err := db.Begin()
			if err != nil {
				return err
			}
			stmt, err := tx.Prepare(query)
			if err != nil {
				return err
			}
			var args []any
			for i := range batch {
				e := &batch[i]
				args = append(args, "acme", "adplatform", "acc", e.ID, "adplatform", e.Name, string(e.Status), e.PlatformStatus, nil, int64(e.Budget.Value), nil, nil, e.Impressions.Value,
					e.Clicks.Value, e.Conversions.Value.Coef, e.CreatedAt.Value.Format("2006-01-02T15:04:05.000000Z"), nil, stamp, stamp, stamp, nil, string(e.Raw))
				if (i+1)%rowsEach == 0 {
					if _, err := stmt.Exec(args...); err != nil {
						return err
					}
					args = args[:0]
				}
			}
			return tx.Commit()
		}
	})
}

const bareUpdate = ` ON CONFLICT (client_id, connection, account_id, id) DO UPDATE SET platform = excluded.platform, name = excluded.name, status = excluded.status,
	platform_status = excluded.platform_status, objective = excluded.objective, budget_micros = excluded.budget_micros, budget_period = excluded.budget_period,
	currency = excluded.currency, impressions = excluded.impressions, clicks = excluded.clicks, conversions = excluded.conversions, created_at = excluded.created_at,
	platform_updated_at = excluded.platform_updated_at, synced_at = excluded.synced_at, removed_at = excluded.removed_at, raw = excluded.raw`

func BenchmarkQuota(b *testing.B) {
	storetest.BenchQuota(b, func(b *testing.B) storetest.Database { return database(filepath.Join(b.TempDir(), "adsync.db")) })
}

func BenchmarkHistory(b *testing.B) {
	storetest.BenchHistory(b, func(b *testing.B) storetest.Database { return database(filepath.Join(b.TempDir(), "adsync.db")) })
}
