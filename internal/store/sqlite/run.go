package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

const figureColumns = "listed, synced, unchanged, failed, removed, pages, requests, throttled, retries, waited_seconds"

// asFigures reads figureColumns.
func asFigures(v []driver.Value) ads.Figures {
	f := ads.Figures{
		Listed: asInt(v[0]), Synced: asInt(v[1]), Unchanged: asInt(v[2]), Failed: asInt(v[3]), Removed: asInt(v[4]), Pages: asInt(v[5]),
		Requests: asInt(v[6]), Throttled: asInt(v[7]), Retries: asInt(v[8]),
	}
	switch w := v[9].(type) {
	case float64:
		f.Waited = time.Duration(w*1e6+0.5) * time.Microsecond
	case int64:
		f.Waited = time.Duration(w) * time.Second
	}
	return f
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// OpenRun implements store.Store.
func (s *Store) OpenRun(ctx context.Context, l store.Lease, o store.OpenRun) (store.Run, error) {
	var run store.Run
	err := s.fenced(ctx, "open run", l, func(c *conn, last time.Time) error {
		run = store.Run{}
		var no int64
		var plan string
		err := c.query(`SELECT s.no, s.run_id, s.plan, s.state, s.commit_seq, s.active_us, r.started_at, `+figureColumns+`, coalesce(s.told_us, 0), coalesce(s.writing_us, 0)
			FROM adsync_run_state s JOIN runs r ON r.id = s.run_id WHERE s.client_id = ? AND s.connection = ? AND s.open = 1`, func(v []driver.Value) (err error) {
			no, plan = asInt(v[0]), asString(v[2])
			run = store.Run{
				ID: asString(v[1]), State: asBytes(v[3]), CommitSeq: asInt(v[4]), Active: time.Duration(asInt(v[5])) * time.Microsecond,
				Figures: asFigures(v[7:]), Resumed: true,
			}
			run.Figures.Told, run.Figures.Writing = micros(asInt(v[17])), micros(asInt(v[18]))
			run.StartedAt, err = asTime(v[6])
			return err
		}, l.Ref.ClientID, l.Ref.Connection)
		if err != nil {
			return err
		}
		now := common.Micro(o.Now)
		if run.Resumed {
			if plan == o.Plan && !o.Fresh && now.Sub(run.StartedAt) < o.MaxAge {
				return s.resume(c, l.Ref, no, &run)
			}
			if err := endOld(c, no, run, now); err != nil {
				return err
			}
		}
		// What an earlier run has stamped is older than this run's start, whatever the clock says.
		if !now.After(last) {
			now = last.Add(time.Microsecond)
		}
		run = store.Run{ID: o.NewID, StartedAt: now}
		_, err = c.exec("INSERT INTO runs (id, client_id, connection, trigger, started_at) VALUES (?, ?, ?, ?, ?)", o.NewID, l.Ref.ClientID, l.Ref.Connection, o.Trigger, stamp(now))
		if err != nil {
			return err
		}
		_, err = c.exec("INSERT INTO adsync_run_state (run_id, client_id, connection, plan, open) VALUES (?, ?, ?, ?, 1)", o.NewID, l.Ref.ClientID, l.Ref.Connection, o.Plan)
		if err != nil {
			return err
		}
		if err := setLastStamp(c, l.Ref, now); err != nil {
			return err
		}
		return setWait(c, l.Ref, store.Wait{})
	})
	if err != nil {
		return store.Run{}, err
	}
	s.dropOldItems(ctx, l.Ref)
	return run, nil
}

func (s *Store) resume(c *conn, ref ads.Ref, no int64, run *store.Run) error {
	if _, err := c.exec("UPDATE runs SET outcome = NULL, finished_at = NULL, error = NULL WHERE id = ?", run.ID); err != nil {
		return err
	}
	if err := setWait(c, ref, store.Wait{}); err != nil {
		return err
	}
	return c.query("SELECT count(*) FROM adsync_items WHERE run_no = ? AND state = 0", scanOne(&run.Pending), no)
}

// endOld closes a run that will not be resumed.
func endOld(c *conn, no int64, run store.Run, now time.Time) error {
	if now.Before(run.StartedAt) {
		now = run.StartedAt
	}
	_, err := c.exec("UPDATE runs SET outcome = coalesce(outcome, ?2), finished_at = coalesce(finished_at, ?3) WHERE id = ?1", run.ID, string(ads.Interrupted), stamp(now))
	if err != nil {
		return err
	}
	return closeState(c, no)
}

// closeState keeps of a run's state only what is shown later.
func closeState(c *conn, no int64) error {
	if _, err := c.exec("UPDATE adsync_run_state SET open = 0, state = NULL, result = NULL WHERE no = ?", no); err != nil {
		return err
	}
	_, err := c.exec("DELETE FROM adsync_sweeps WHERE run_no = ?", no)
	return err
}

func setLastStamp(c *conn, ref ads.Ref, t time.Time) error {
	_, err := c.exec("UPDATE adsync_locks SET last_stamp = max(coalesce(last_stamp, ''), ?3) WHERE client_id = ?1 AND connection = ?2", ref.ClientID, ref.Connection, stamp(t))
	return err
}

// runNo finds the number of an open run of the connection.
func runNo(c *conn, ref ads.Ref, runID string) (no int64, err error) {
	err = c.query("SELECT no FROM adsync_run_state WHERE run_id = ? AND client_id = ? AND connection = ? AND open = 1", scanOne(&no), runID, ref.ClientID, ref.Connection)
	if err == nil && no == 0 {
		err = notOpen(ref, runID)
	}
	return no, err
}

func notOpen(ref ads.Ref, runID string) error {
	return &store.Error{Kind: store.KindOther, Op: "run", Message: fmt.Sprintf("run %s of %s is not open", runID, ref)}
}

// dropBatch bounds how many items are deleted in one transaction.
const dropBatch = 5000

// dropOldItems deletes the items of runs that have ended. What it cannot delete now, the next run does.
func (s *Store) dropOldItems(ctx context.Context, ref ads.Ref) {
	for more := true; more; {
		err := s.write.tx(ctx, "clean up", func(c *conn) (err error) {
			more, err = dropSome(c, "client_id = ? AND connection = ?", ref.ClientID, ref.Connection)
			return err
		})
		if err != nil {
			return
		}
	}
}

// dropSome deletes a batch of the items of one run that has ended, of those that where selects. It says whether there was such a run.
func dropSome(c *conn, where string, args ...any) (more bool, err error) {
	var no int64
	err = c.query("SELECT no FROM adsync_run_state WHERE "+where+" AND has_items = 1 AND open = 0 LIMIT 1", scanOne(&no), args...)
	if err != nil || no == 0 {
		return false, err
	}
	n, err := c.exec("DELETE FROM adsync_items WHERE rowid IN (SELECT rowid FROM adsync_items WHERE run_no = ? LIMIT ?)", no, dropBatch)
	if err == nil && n < dropBatch {
		_, err = c.exec("UPDATE adsync_run_state SET has_items = 0 WHERE no = ?", no)
	}
	return true, err
}

// Pending implements store.Store.
func (s *Store) Pending(ctx context.Context, l store.Lease, runID string, afterSeq int64, limit int) ([]store.Item, error) {
	rows, err := s.readers.QueryContext(ctx, `SELECT i.seq, i.account_id, i.stream, i.id FROM adsync_items i
		WHERE i.run_no = (SELECT no FROM adsync_run_state WHERE run_id = ? AND client_id = ? AND connection = ? AND open = 1) AND i.seq > ? AND i.state = 0
		ORDER BY i.seq LIMIT ?`, runID, l.Ref.ClientID, l.Ref.Connection, afterSeq, limit)
	if err != nil {
		return nil, s.place.error("read items", err)
	}
	defer func() { _ = rows.Close() }()
	var items []store.Item
	for rows.Next() {
		var it store.Item
		if err := rows.Scan(&it.Seq, &it.Account, &it.Stream, &it.ID); err != nil {
			return nil, s.place.error("read items", err)
		}
		items = append(items, it)
	}
	return items, s.place.error("read items", rows.Err())
}

// FinishRun implements store.Store.
func (s *Store) FinishRun(ctx context.Context, l store.Lease, f store.FinishRun) error {
	ends := f.Outcome == ads.Complete || f.Outcome == ads.Partial
	err := s.fenced(ctx, "finish run", l, func(c *conn, _ time.Time) error {
		no, err := runNo(c, l.Ref, f.RunID)
		if err != nil {
			var outcome string
			if qerr := c.query("SELECT outcome FROM runs WHERE id = ?", scanOne(&outcome), f.RunID); qerr == nil && ends && outcome == string(f.Outcome) {
				return nil // done before; the answer was lost
			}
			return err
		}
		if err := storeUpdate(c, f.RunID, no, f.Update); err != nil {
			return err
		}
		if _, err := c.exec("DELETE FROM adsync_sweeps WHERE run_no = ?", no); err != nil {
			return err
		}
		_, err = c.exec("UPDATE runs SET outcome = ?2, finished_at = max(started_at, ?3), error = ?4 WHERE id = ?1", f.RunID, string(f.Outcome), stamp(f.Now), textOrNull(f.Error))
		if err != nil {
			return err
		}
		if ends {
			if err := closeState(c, no); err != nil {
				return err
			}
		}
		return setWait(c, l.Ref, f.Wait)
	})
	if err == nil && ends {
		s.dropOldItems(ctx, l.Ref)
	}
	return err
}

// storeUpdate keeps a run's state and figures.
func storeUpdate(c *conn, runID string, no int64, u store.RunUpdate) error {
	_, err := c.exec("UPDATE adsync_run_state SET state = ?2, active_us = ?3, told_us = ?4, writing_us = ?5 WHERE no = ?1", no, u.State, u.Active.Microseconds(), u.Figures.Told.Microseconds(), u.Figures.Writing.Microseconds())
	if err != nil {
		return err
	}
	f := u.Figures
	_, err = c.exec(`UPDATE runs SET listed = ?2, synced = ?3, unchanged = ?4, failed = ?5, removed = ?6, pages = ?7, requests = ?8, throttled = ?9,
		retries = ?10, waited_seconds = ?11 WHERE id = ?1`,
		runID, f.Listed, f.Synced, f.Unchanged, f.Failed, f.Removed, f.Pages, f.Requests, f.Throttled, f.Retries, float64(f.Waited.Microseconds())/1e6)
	return err
}
