package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

const noticesSQL = "SELECT client_id, connection, trouble, reason, since, ended_at, told_at, tries, coalesce(claimed_by, ''), claimed_until FROM adsync_notices ORDER BY client_id, connection, trouble"

func scanNotice(row pgx.CollectableRow) (n store.Notice, err error) {
	var ended, told, until *time.Time
	err = row.Scan(&n.Ref.ClientID, &n.Ref.Connection, &n.Trouble, &n.Reason, &n.Since, &ended, &told, &n.Tries, &n.ClaimedBy, &until)
	n.Since, n.EndedAt, n.ToldAt, n.ClaimedUntil = n.Since.UTC(), utc(ended), utc(told), utc(until)
	return n, err
}

// Notices implements store.Store.
func (s *Store) Notices(ctx context.Context) (out []store.Notice, err error) {
	err = s.read(ctx, "read notices", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, noticesSQL)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scanNotice)
		return err
	})
	return out, err
}

// UpdateNotices implements store.Store. The table's lock lets readers through and no other update.
func (s *Store) UpdateNotices(ctx context.Context, fn func([]store.Notice, time.Time) ([]store.Notice, []store.NoticeKey)) error {
	return s.tx(ctx, "notices", func(ctx context.Context, c *pgx.Conn) error {
		var all []store.Notice
		var now time.Time
		b := &pgx.Batch{}
		b.Queue(begin)
		b.Queue(quotaHeld)
		b.Queue("LOCK TABLE adsync_notices IN SHARE ROW EXCLUSIVE MODE")
		b.Queue("SELECT clock_timestamp()").QueryRow(func(row pgx.Row) error { return row.Scan(&now) })
		b.Queue(noticesSQL).Query(func(rows pgx.Rows) (err error) {
			all, err = pgx.CollectRows(rows, scanNotice)
			return err
		})
		if err := send(ctx, c, b); err != nil {
			return err
		}
		put, drop := fn(all, now.UTC())
		b = &pgx.Batch{}
		for _, k := range drop {
			b.Queue("DELETE FROM adsync_notices WHERE client_id = $1 AND connection = $2 AND trouble = $3", k.Ref.ClientID, k.Ref.Connection, k.Trouble)
		}
		for _, n := range put {
			b.Queue(`INSERT INTO adsync_notices (client_id, connection, trouble, reason, since, ended_at, told_at, tries, claimed_by, claimed_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
				ON CONFLICT (client_id, connection, trouble) DO UPDATE SET reason = excluded.reason, since = excluded.since, ended_at = excluded.ended_at, told_at = excluded.told_at,
					tries = excluded.tries, claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until`,
				n.Ref.ClientID, n.Ref.Connection, n.Trouble, ads.Text(n.Reason), common.Micro(n.Since), timeOrNull(n.EndedAt), timeOrNull(n.ToldAt), n.Tries, orNull(n.ClaimedBy), timeOrNull(n.ClaimedUntil))
		}
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
}
