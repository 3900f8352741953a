package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// pruneRunsSQL deletes those of a stretch of runs, from one start to another, that nobody needs any more.
const pruneRunsSQL = `DELETE FROM runs WHERE (started_at, id) > (?2, ?3) AND (started_at, id) <= (?4, ?5) AND finished_at < ?1
	AND id <> (SELECT n.id FROM runs n WHERE n.client_id = runs.client_id AND n.connection = runs.connection ORDER BY n.started_at DESC, n.id DESC LIMIT 1)
	AND id IS NOT (SELECT n.id FROM runs n WHERE n.client_id = runs.client_id AND n.connection = runs.connection AND n.outcome = 'complete' ORDER BY n.finished_at DESC, n.id DESC LIMIT 1)
	AND NOT EXISTS (SELECT 1 FROM adsync_run_state s WHERE s.run_id = runs.id AND (s.open = 1 OR s.has_items = 1)) RETURNING id`

// Prune implements store.Store.
func (s *Store) Prune(ctx context.Context, before time.Time) (int64, error) {
	if err := s.dropItems(ctx); err != nil {
		return 0, err
	}
	var at, id string // the last run that was looked at
	runs, err := common.Prune(func() (seen, gone int64, err error) {
		err = s.write.tx(ctx, "prune", func(c *conn) error {
			var lastAt, lastID string
			err := c.query("SELECT started_at, id FROM runs WHERE started_at < ? AND (started_at, id) > (?, ?) ORDER BY started_at, id LIMIT ?", func(v []driver.Value) error {
				seen++
				lastAt, lastID = asString(v[0]), asString(v[1])
				return nil
			}, stamp(before), at, id, common.PruneBatch)
			if err != nil || seen == 0 {
				return err
			}
			var ids []string
			err = c.query(pruneRunsSQL, func(v []driver.Value) error {
				ids = append(ids, asString(v[0]))
				return nil
			}, stamp(before), at, id, lastAt, lastID)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if _, err := c.exec("DELETE FROM adsync_run_state WHERE run_id = ?", id); err != nil {
					return err
				}
			}
			at, id, gone = lastAt, lastID, int64(len(ids))
			return nil
		})
		return seen, gone, err
	})
	if err != nil {
		return runs, err
	}
	failures, err := common.Prune(func() (seen, gone int64, err error) {
		err = s.write.tx(ctx, "prune", func(c *conn) (err error) {
			gone, err = c.exec("DELETE FROM failures WHERE id IN (SELECT id FROM failures WHERE resolved_at < ? ORDER BY resolved_at LIMIT ?)", stamp(before), common.PruneBatch)
			return err
		})
		return gone, gone, err
	})
	if err != nil {
		return runs + failures, err
	}
	entries, err := common.Prune(func() (seen, gone int64, err error) {
		err = s.write.tx(ctx, "prune", func(c *conn) (err error) {
			gone, err = c.exec("DELETE FROM adsync_audit WHERE id IN (SELECT id FROM adsync_audit WHERE at < ? ORDER BY at LIMIT ?)", stamp(time.Now().Add(-store.KeepAudit)), common.PruneBatch)
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
		err := s.write.tx(ctx, "prune", func(c *conn) (err error) {
			more, err = dropSome(c, "1")
			return err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
