package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// pruneRunsSQL looks at the next runs in the order of their start and deletes those that nobody needs any more.
const pruneRunsSQL = `WITH old AS MATERIALIZED (
		SELECT id, client_id, connection, started_at, finished_at FROM runs WHERE started_at < $1 AND (started_at, id) > ($2, $3) ORDER BY started_at, id LIMIT $4),
	gone AS (
		DELETE FROM runs r USING old WHERE r.id = old.id AND old.finished_at < $1
			AND r.id <> (SELECT n.id FROM runs n WHERE n.client_id = old.client_id AND n.connection = old.connection ORDER BY n.started_at DESC, n.id DESC LIMIT 1)
			AND r.id IS DISTINCT FROM (SELECT n.id FROM runs n WHERE n.client_id = old.client_id AND n.connection = old.connection AND n.outcome = 'complete'
				ORDER BY n.finished_at DESC, n.id DESC LIMIT 1)
			AND NOT EXISTS (SELECT 1 FROM adsync_run_state s WHERE s.run_id = r.id AND (s.open OR s.has_items))
		RETURNING r.id),
	states AS (DELETE FROM adsync_run_state s USING gone WHERE s.run_id = gone.id)
	SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM gone), started_at, id FROM old ORDER BY started_at DESC, id DESC LIMIT 1`

// Prune implements store.Store.
func (s *Store) Prune(ctx context.Context, before time.Time) (int64, error) {
	before = common.Micro(before)
	if err := s.dropItems(ctx); err != nil {
		return 0, err
	}
	var after time.Time
	var afterID string
	runs, err := common.Prune(func() (seen, gone int64, err error) {
		err = s.tx(ctx, "prune", func(ctx context.Context, c *pgx.Conn) error {
			err := c.QueryRow(ctx, pruneRunsSQL, before, after, afterID, common.PruneBatch).Scan(&seen, &gone, &after, &afterID)
			if noRow(err) {
				return nil
			}
			return err
		})
		return seen, gone, err
	})
	if err != nil {
		return runs, err
	}
	failures, err := common.Prune(func() (seen, gone int64, err error) {
		err = s.tx(ctx, "prune", func(ctx context.Context, c *pgx.Conn) error {
			tag, err := c.Exec(ctx, "DELETE FROM failures WHERE id = ANY (ARRAY (SELECT id FROM failures WHERE resolved_at < $1 ORDER BY resolved_at LIMIT $2))", before, common.PruneBatch)
			gone = tag.RowsAffected()
			return err
		})
		return gone, gone, err
	})
	if err != nil {
		return runs + failures, err
	}
	entries, err := common.Prune(func() (seen, gone int64, err error) {
		err = s.tx(ctx, "prune", func(ctx context.Context, c *pgx.Conn) error {
			tag, err := c.Exec(ctx, "DELETE FROM adsync_audit WHERE id = ANY (ARRAY (SELECT id FROM adsync_audit WHERE at < clock_timestamp() - $1::interval ORDER BY at LIMIT $2))", store.KeepAudit, common.PruneBatch)
			gone = tag.RowsAffected()
			return err
		})
		return gone, gone, err
	})
	return runs + failures + entries, err
}

// dropItems deletes items that ended runs of any connection have left.
func (s *Store) dropItems(ctx context.Context) error {
	for range common.PruneSteps {
		more := false
		err := s.tx(ctx, "prune", func(ctx context.Context, c *pgx.Conn) (err error) {
			more, err = dropSome(ctx, c, "true")
			return err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
