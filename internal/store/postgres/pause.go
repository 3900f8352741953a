package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// SetPaused implements store.Store.
func (s *Store) SetPaused(ctx context.Context, ref ads.Ref, by string, on bool) error {
	return s.tx(ctx, "pause", func(ctx context.Context, c *pgx.Conn) error {
		if !on {
			_, err := c.Exec(ctx, "UPDATE adsync_locks SET paused_at = NULL, paused_by = NULL WHERE client_id = $1 AND connection = $2", ref.ClientID, ref.Connection)
			return err
		}
		_, err := c.Exec(ctx, `INSERT INTO adsync_locks AS l (client_id, connection, fence, paused_at, paused_by) VALUES ($1, $2, 0, clock_timestamp(), $3)
			ON CONFLICT (client_id, connection) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by WHERE l.paused_at IS NULL`,
			ref.ClientID, ref.Connection, ads.Text(by))
		return err
	})
}

// ReadPause implements store.Store.
func (s *Store) ReadPause(ctx context.Context, ref ads.Ref) (p store.Pause, err error) {
	err = s.read(ctx, "read pause", func(ctx context.Context, c *pgx.Conn) error {
		var at *time.Time
		err := c.QueryRow(ctx, "SELECT paused_at, coalesce(paused_by, '') FROM adsync_locks WHERE client_id = $1 AND connection = $2 AND paused_at IS NOT NULL", ref.ClientID, ref.Connection).Scan(&at, &p.By)
		p.At = utc(at)
		if noRow(err) {
			return nil
		}
		return err
	})
	return p, err
}

// Paused implements store.Store.
func (s *Store) Paused(ctx context.Context) (out map[ads.Ref]store.Pause, err error) {
	err = s.read(ctx, "read pauses", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT client_id, connection, paused_at, coalesce(paused_by, '') FROM adsync_locks WHERE paused_at IS NOT NULL")
		if err != nil {
			return err
		}
		out = map[ads.Ref]store.Pause{}
		var ref ads.Ref
		var p store.Pause
		_, err = pgx.ForEachRow(rows, []any{&ref.ClientID, &ref.Connection, &p.At, &p.By}, func() error {
			p.At = p.At.UTC()
			out[ref] = p
			return nil
		})
		return err
	})
	return out, err
}
