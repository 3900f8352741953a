package sqlite

import (
	"context"
	"time"

	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// Sweep implements store.Store.
func (s *Store) Sweep(ctx context.Context, l store.Lease, w store.Sweep) (store.SweepResult, error) {
	table, err := common.EntityTable(w.Stream)
	if err != nil {
		return store.SweepResult{}, err
	}
	var res store.SweepResult
	err = s.fenced(ctx, "sweep", l, func(c *conn, _ time.Time) error {
		res = store.SweepResult{}
		no, err := runNo(c, l.Ref, w.RunID)
		if err != nil {
			return err
		}
		// What an earlier sweep of this run has marked, and no figures tell of yet, counts again: its answer may have been lost.
		var before, gone int64
		if err := c.query("SELECT marked FROM adsync_sweeps WHERE run_no = ? AND account_id = ? AND stream = ?", scanOne(&before), no, w.Account, w.Stream); err != nil {
			return err
		}
		where := " FROM " + table + " WHERE client_id = ?1 AND connection = ?2 AND account_id = ?3 AND removed_at IS NULL"
		if err := c.query("SELECT count(*)"+where, scanOne(&res.Present), l.Ref.ClientID, l.Ref.Connection, w.Account); err != nil {
			return err
		}
		key, args := "", []any{l.Ref.ClientID, l.Ref.Connection, w.Account}
		if w.Direct {
			key = "synced_at < ?4"
			args = append(args, stamp(w.PassStart))
		} else {
			key = "NOT EXISTS (SELECT 1 FROM adsync_items i WHERE i.run_no = ?4 AND i.account_id = ?3 AND i.stream = ?5 AND i.id = " + table + ".id AND i.pass = ?6)"
			args = append(args, no, w.Stream, w.Pass)
		}
		if err := c.query("SELECT count(*)"+where+" AND "+key, scanOne(&gone), args...); err != nil {
			return err
		}
		res.Present += before
		res.Gone = gone + before
		if common.TooMany(res.Gone, res.Present, w.MaxShare) {
			return nil
		}
		if gone > 0 {
			n := "?7"
			if w.Direct {
				n = "?5"
			}
			args = append(args, stamp(w.Stamp))
			if _, err := c.exec("UPDATE "+table+" SET removed_at = "+n+", changed_at = "+n+where[len(" FROM "+table):]+" AND "+key, args...); err != nil {
				return err
			}
			_, err := c.exec(`INSERT INTO adsync_sweeps (run_no, account_id, stream, marked) VALUES (?1, ?2, ?3, ?4)
				ON CONFLICT (run_no, account_id, stream) DO UPDATE SET marked = marked + excluded.marked`, no, w.Account, w.Stream, gone)
			if err != nil {
				return err
			}
		}
		res.Marked = res.Gone
		// What is held was listed, and has not been tried.
		_, err = c.exec(`UPDATE failures SET resolved_at = ?5 WHERE client_id = ?1 AND connection = ?2 AND account_id = ?3 AND stream = ?4
			AND resolved_at IS NULL AND last_failed_at < ?6 AND NOT EXISTS (SELECT 1 FROM adsync_items i WHERE i.run_no = ?7 AND i.account_id = ?3 AND i.stream = ?4
				AND i.id = failures.entity_id AND i.state = ?8 AND i.pass = ?9)`, l.Ref.ClientID, l.Ref.Connection, w.Account, w.Stream, stamp(w.Stamp), stamp(w.RunStart), no, itemHeld, w.Pass)
		if err != nil {
			return err
		}
		return setLastStamp(c, l.Ref, w.Stamp)
	})
	return res, err
}
