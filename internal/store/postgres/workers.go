package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// beatSQL moves a process's lease on. An id that comes back with another holder is another process.
const beatSQL = `INSERT INTO adsync_workers AS w (id, name, version, holder_id, runs, started_at, beat_at, lease_until)
	SELECT $1, $2, $3, $4, $5, c.t, c.t, c.t + $6::interval FROM (SELECT clock_timestamp() AS t) c
	ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, holder_id = excluded.holder_id, runs = excluded.runs,
		started_at = CASE WHEN w.holder_id = excluded.holder_id THEN w.started_at ELSE excluded.started_at END, beat_at = excluded.beat_at, lease_until = excluded.lease_until`

// buryWorkersSQL forgets those that are long gone. What they hold is given back: without their row, a process that is only stopped would be
// taken for one at work.
const buryWorkersSQL = `WITH gone AS (DELETE FROM adsync_workers WHERE lease_until < clock_timestamp() - interval '1 day' RETURNING holder_id)
	UPDATE adsync_locks l SET holder_id = NULL, holder_text = NULL, since = NULL FROM gone WHERE l.holder_id = gone.holder_id`

// leaseEndedSQL says of a holder, named by the column before it, that it has beaten and its lease has ended.
const leaseEndedSQL = `EXISTS (SELECT 1 FROM adsync_workers w WHERE w.lease_until <= clock_timestamp() AND w.holder_id = `

// heartPool is one connection that nothing else uses: a beat that waits behind the commits of many runs would cost those runs their locks.
func (s *Store) heartPool(ctx context.Context) (*pgxpool.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heart == nil {
		if s.closed {
			return nil, errClosed
		}
		cfg := s.config.Copy()
		cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = 1, 0, 0
		pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
		if err != nil {
			return nil, err
		}
		s.heart = pool
	}
	return s.heart, nil
}

// Beat implements store.Store.
func (s *Store) Beat(ctx context.Context, w store.Beat) (out []store.Worker, err error) {
	me, err := s.holder.take(ctx)
	if err != nil {
		return nil, s.place.error(ctx, "beat", err)
	}
	heart, err := s.heartPool(ctx)
	if err != nil {
		return nil, s.place.error(ctx, "beat", err)
	}
	err = s.txOn(ctx, heart, "beat", func(ctx context.Context, c *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(begin)
		b.Queue(beatSQL, ads.Text(w.ID), ads.Text(w.Name), ads.Text(w.Version), me, w.Runs, w.Lease)
		b.Queue(buryWorkersSQL)
		b.Queue(workersSQL).Query(func(rows pgx.Rows) (err error) {
			out, err = pgx.CollectRows(rows, scanWorker)
			return err
		})
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
	return out, err
}

const workersSQL = "SELECT id, name, version, started_at, beat_at, lease_until, runs, lease_until > clock_timestamp() FROM adsync_workers ORDER BY started_at, id"

func scanWorker(row pgx.CollectableRow) (x store.Worker, err error) {
	err = row.Scan(&x.ID, &x.Name, &x.Version, &x.StartedAt, &x.BeatAt, &x.LeaseUntil, &x.Runs, &x.Alive)
	x.StartedAt, x.BeatAt, x.LeaseUntil = x.StartedAt.UTC(), x.BeatAt.UTC(), x.LeaseUntil.UTC()
	return x, err
}

// Workers implements store.Store.
func (s *Store) Workers(ctx context.Context) (out []store.Worker, err error) {
	err = s.read(ctx, "read workers", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, workersSQL)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scanWorker)
		return err
	})
	return out, err
}

// Leave implements store.Store.
func (s *Store) Leave(ctx context.Context, id string) error {
	return s.tx(ctx, "leave", func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "DELETE FROM adsync_workers WHERE id = $1", ads.Text(id))
		return err
	})
}

// LastStarts implements store.Store. Whoever has run has a lock, so the locks name the connections, and each costs one look into an index.
func (s *Store) LastStarts(ctx context.Context) (out map[ads.Ref]time.Time, err error) {
	err = s.read(ctx, "read runs", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT l.client_id, l.connection, r.started_at FROM adsync_locks l CROSS JOIN LATERAL (
			SELECT r.started_at FROM runs r WHERE r.client_id = l.client_id AND r.connection = l.connection AND r.trigger <> $1 ORDER BY r.started_at DESC LIMIT 1) r`, store.TriggerRetry)
		if err != nil {
			return err
		}
		out = map[ads.Ref]time.Time{}
		var ref ads.Ref
		var at time.Time
		_, err = pgx.ForEachRow(rows, []any{&ref.ClientID, &ref.Connection, &at}, func() error {
			out[ref] = at.UTC()
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// LastStart implements store.Store.
func (s *Store) LastStart(ctx context.Context, ref ads.Ref) (time.Time, error) {
	var at *time.Time
	err := s.read(ctx, "read runs", func(ctx context.Context, c *pgx.Conn) error {
		err := c.QueryRow(ctx, "SELECT started_at FROM runs WHERE client_id = $1 AND connection = $2 AND trigger <> $3 ORDER BY started_at DESC LIMIT 1",
			ref.ClientID, ref.Connection, store.TriggerRetry).Scan(&at)
		if noRow(err) {
			return nil
		}
		return err
	})
	return utc(at), err
}

// DueRetries implements store.Store. It goes from connection to connection in the index, however much each of them has failed at.
func (s *Store) DueRetries(ctx context.Context, now time.Time, limit int) (out []ads.Ref, err error) {
	err = s.read(ctx, "read failures", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `WITH RECURSIVE n AS (
				(SELECT client_id, connection, next_retry_at FROM failures WHERE resolved_at IS NULL AND next_retry_at IS NOT NULL
					ORDER BY client_id, connection, next_retry_at LIMIT 1)
				UNION ALL
				SELECT f.client_id, f.connection, f.next_retry_at FROM n CROSS JOIN LATERAL (
					SELECT client_id, connection, next_retry_at FROM failures WHERE resolved_at IS NULL AND next_retry_at IS NOT NULL
						AND (client_id, connection) > (n.client_id, n.connection) ORDER BY client_id, connection, next_retry_at LIMIT 1) f)
			SELECT client_id, connection FROM n WHERE next_retry_at <= $1 ORDER BY next_retry_at, client_id, connection LIMIT $2`, now, limit)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ads.Ref])
		return err
	})
	return out, err
}
