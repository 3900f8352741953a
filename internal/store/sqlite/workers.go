package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// leaseEndedSQL says of a holder, named by the column after it, that it has beaten and its lease has ended. Its argument is the time.
const leaseEndedSQL = `EXISTS (SELECT 1 FROM adsync_workers w WHERE w.lease_until <= ? AND w.holder_id = `

// leaseEnded says the same of one holder, now.
func leaseEnded(c *conn, holder string) (bool, error) {
	var n int64
	err := c.query("SELECT "+leaseEndedSQL+"?)", scanOne(&n), stamp(time.Now()), holder)
	return n == 1, err
}

// buried is how long a worker is remembered after its lease has ended.
const buried = 24 * time.Hour

// Beat implements store.Store.
func (s *Store) Beat(ctx context.Context, b store.Beat) (out []store.Worker, err error) {
	me, err := s.holder.take()
	if err != nil {
		return nil, s.place.openError(err)
	}
	err = s.write.urgent(ctx, "beat", func(c *conn) error {
		now := time.Now()
		// An id that comes back with another holder is another process.
		_, err := c.exec(`INSERT INTO adsync_workers (id, name, version, holder_id, runs, started_at, beat_at, lease_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, holder_id = excluded.holder_id, runs = excluded.runs,
				started_at = iif(holder_id = excluded.holder_id, started_at, excluded.started_at), beat_at = excluded.beat_at, lease_until = excluded.lease_until`,
			ads.Text(b.ID), ads.Text(b.Name), ads.Text(b.Version), me, b.Runs, stamp(now), stamp(now.Add(b.Lease)))
		if err != nil {
			return err
		}
		// Long gone. What they hold is given back: without their row, a process that is only stopped would be taken for one at work.
		_, err = c.exec("UPDATE adsync_locks SET holder_id = NULL, holder_text = NULL, since = NULL WHERE holder_id IN (SELECT holder_id FROM adsync_workers WHERE lease_until < ?)", stamp(now.Add(-buried)))
		if err != nil {
			return err
		}
		if _, err := c.exec("DELETE FROM adsync_workers WHERE lease_until < ?", stamp(now.Add(-buried))); err != nil {
			return err
		}
		out, err = workers(c, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func workers(c *conn, now time.Time) (out []store.Worker, err error) {
	err = c.query("SELECT id, name, version, started_at, beat_at, lease_until, runs FROM adsync_workers ORDER BY started_at, id", func(v []driver.Value) (err error) {
		w := store.Worker{ID: asString(v[0]), Name: asString(v[1]), Version: asString(v[2]), Runs: int(asInt(v[6]))}
		for i, at := range []*time.Time{&w.StartedAt, &w.BeatAt, &w.LeaseUntil} {
			if *at, err = asTime(v[3+i]); err != nil {
				return err
			}
		}
		w.Alive = now.Before(w.LeaseUntil)
		out = append(out, w)
		return nil
	})
	return out, err
}

// Workers implements store.Store.
func (s *Store) Workers(ctx context.Context) (out []store.Worker, err error) {
	err = s.write.tx(ctx, "read workers", func(c *conn) error {
		out, err = workers(c, time.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Leave implements store.Store.
func (s *Store) Leave(ctx context.Context, id string) error {
	return s.write.tx(ctx, "leave", func(c *conn) error {
		_, err := c.exec("DELETE FROM adsync_workers WHERE id = ?", ads.Text(id))
		return err
	})
}

// lastStart selects when the newest run of a connection began that was no retry.
const lastStart = "SELECT r.started_at FROM runs r WHERE r.client_id = l.client_id AND r.connection = l.connection AND r.trigger <> '" + store.TriggerRetry + "' ORDER BY r.started_at DESC LIMIT 1"

// LastStarts implements store.Store. Whoever has run has a lock, so the locks name the connections, and each costs one look into an index.
func (s *Store) LastStarts(ctx context.Context) (map[ads.Ref]time.Time, error) {
	return s.lastStarts(ctx, "")
}

// LastStart implements store.Store.
func (s *Store) LastStart(ctx context.Context, ref ads.Ref) (time.Time, error) {
	all, err := s.lastStarts(ctx, " WHERE l.client_id = ? AND l.connection = ?", ref.ClientID, ref.Connection)
	return all[ref], err
}

func (s *Store) lastStarts(ctx context.Context, where string, args ...any) (map[ads.Ref]time.Time, error) {
	out := map[ads.Ref]time.Time{}
	err := s.each(ctx, "read runs", "SELECT l.client_id, l.connection, ("+lastStart+") FROM adsync_locks l"+where, args, func(rows *sql.Rows) error {
		var ref ads.Ref
		var at nullStamp
		err := rows.Scan(&ref.ClientID, &ref.Connection, &at)
		if at := time.Time(at); !at.IsZero() {
			out[ref] = at
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DueRetries implements store.Store. It goes from connection to connection in the index, however much each of them has failed at.
func (s *Store) DueRetries(ctx context.Context, now time.Time, limit int) (out []ads.Ref, err error) {
	const next = "FROM failures f WHERE f.resolved_at IS NULL AND f.next_retry_at IS NOT NULL"
	err = s.each(ctx, "read failures", `WITH RECURSIVE n (client_id, connection, at) AS (
			SELECT * FROM (SELECT f.client_id, f.connection, f.next_retry_at `+next+` ORDER BY f.client_id, f.connection, f.next_retry_at LIMIT 1)
			UNION ALL
			SELECT f.client_id, f.connection, f.next_retry_at FROM n JOIN failures f ON f.id = (
				SELECT f.id `+next+` AND (f.client_id, f.connection) > (n.client_id, n.connection) ORDER BY f.client_id, f.connection, f.next_retry_at LIMIT 1))
		SELECT client_id, connection FROM n WHERE at <= ? ORDER BY at, client_id, connection LIMIT ?`, []any{stamp(now), limit}, func(rows *sql.Rows) error {
		var ref ads.Ref
		err := rows.Scan(&ref.ClientID, &ref.Connection)
		out = append(out, ref)
		return err
	})
	return out, err
}
