package sqlite

import (
	"context"
	"database/sql"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// SetPaused implements store.Store.
func (s *Store) SetPaused(ctx context.Context, ref ads.Ref, by string, on bool) error {
	return s.write.tx(ctx, "pause", func(c *conn) error {
		if !on {
			_, err := c.exec("UPDATE adsync_locks SET paused_at = NULL, paused_by = NULL WHERE client_id = ? AND connection = ?", ref.ClientID, ref.Connection)
			return err
		}
		_, err := c.exec(`INSERT INTO adsync_locks (client_id, connection, fence, paused_at, paused_by) VALUES (?1, ?2, 0, ?3, ?4)
			ON CONFLICT (client_id, connection) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by WHERE paused_at IS NULL`,
			ref.ClientID, ref.Connection, stamp(time.Now()), ads.Text(by))
		return err
	})
}

// ReadPause implements store.Store.
func (s *Store) ReadPause(ctx context.Context, ref ads.Ref) (p store.Pause, err error) {
	err = s.each(ctx, "read pause", "SELECT paused_at, paused_by FROM adsync_locks WHERE client_id = ? AND connection = ? AND paused_at IS NOT NULL", []any{ref.ClientID, ref.Connection}, func(rows *sql.Rows) error {
		var at nullStamp
		var by nullText
		err := rows.Scan(&at, &by)
		p = store.Pause{At: time.Time(at), By: string(by)}
		return err
	})
	return p, err
}

// Paused implements store.Store.
func (s *Store) Paused(ctx context.Context) (map[ads.Ref]store.Pause, error) {
	out := map[ads.Ref]store.Pause{}
	err := s.each(ctx, "read pauses", "SELECT client_id, connection, paused_at, paused_by FROM adsync_locks WHERE paused_at IS NOT NULL", nil, func(rows *sql.Rows) error {
		var ref ads.Ref
		var at nullStamp
		var by nullText
		err := rows.Scan(&ref.ClientID, &ref.Connection, &at, &by)
		out[ref] = store.Pause{At: time.Time(at), By: string(by)}
		return err
	})
	return out, err
}
