package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/pgtest"
	"adsync/internal/store/storetest"
)

const bareColumns = `client_id, connection, account_id, id, platform, name, status, platform_status, objective, budget_micros, budget_period, currency, impressions,
	clicks, conversions, created_at, platform_updated_at, first_seen_at, changed_at, synced_at, removed_at, raw`

// BenchmarkDirect writes records beside pgx's own COPY into a temporary table and one upsert of every column.
func BenchmarkDirect(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) (storetest.Database, func(time.Time, []ads.Entity) error) {
		dsn := pgtest.New(b)
		db := database(b, dsn)
		conn := connect(b, dsn)
		ctx := context.Background()
		db.Exec(b, `CREATE SCHEMA bare`)
		db.Exec(b, `CREATE TABLE bare.campaigns (client_id text NOT NULL, connection text NOT NULL, account_id text NOT NULL, id text NOT NULL, platform text NOT NULL, name text,
			status text NOT NULL, platform_status text, objective text, budget_micros bigint, budget_period text, currency text, impressions bigint, clicks bigint, conversions numeric,
			created_at timestamptz, platform_updated_at timestamptz, first_seen_at timestamptz NOT NULL, changed_at timestamptz NOT NULL, synced_at timestamptz NOT NULL,
			removed_at timestamptz, raw json, PRIMARY KEY (client_id, connection, account_id, id))`)
		if _, err := conn.Exec(ctx, "CREATE TEMP TABLE bare_stage (LIKE bare.campaigns) ON COMMIT DELETE ROWS"); err != nil {
			b.Fatal(err)
		}
		names := []string{
			"client_id", "connection", "account_id", "id", "platform", "name", "status", "platform_status", "objective", "budget_micros", "budget_period", "currency", "impressions",
			"clicks", "conversions", "created_at", "platform_updated_at", "first_seen_at", "changed_at", "synced_at", "removed_at", "raw",
		}
		return db, func(stamp time.Time, batch []ads.Entity) error {
			tx, err := conn.Begin(ctx)
			if err != nil {
				return err
			}
			_, err = tx.CopyFrom(ctx, pgx.Identifier{"bare_stage"}, names, pgx.CopyFromSlice(len(batch), func(i int) ([]any, error) {
				e := &batch[i]
				return []any{
					"acme", "adplatform", "acc", e.ID, "adplatform", e.Name, string(e.Status), e.PlatformStatus, nil, int64(e.Budget.Value), nil, nil, e.Impressions.Value,
					e.Clicks.Value, e.Conversions.Value.Coef, e.CreatedAt.Value, nil, stamp, stamp, stamp, nil, e.Raw,
				}, nil
			}))
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "INSERT INTO bare.campaigns ("+bareColumns+") SELECT "+bareColumns+" FROM bare_stage"+bareUpdate); err != nil {
				return err
			}
			return tx.Commit(ctx)
		}
	})
}

const bareUpdate = ` ON CONFLICT (client_id, connection, account_id, id) DO UPDATE SET platform = excluded.platform, name = excluded.name, status = excluded.status,
	platform_status = excluded.platform_status, objective = excluded.objective, budget_micros = excluded.budget_micros, budget_period = excluded.budget_period,
	currency = excluded.currency, impressions = excluded.impressions, clicks = excluded.clicks, conversions = excluded.conversions, created_at = excluded.created_at,
	platform_updated_at = excluded.platform_updated_at, synced_at = excluded.synced_at, removed_at = excluded.removed_at, raw = excluded.raw`

func BenchmarkQuota(b *testing.B) {
	storetest.BenchQuota(b, func(b *testing.B) storetest.Database { return database(b, pgtest.New(b)) })
}

func BenchmarkHistory(b *testing.B) {
	storetest.BenchHistory(b, func(b *testing.B) storetest.Database { return database(b, pgtest.New(b)) })
}
