package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

const figureColumns = "r.listed, r.synced, r.unchanged, r.failed, r.removed, r.pages, r.requests, r.throttled, r.retries, r.waited_seconds"

// figures gives places for figureColumns; waited is in seconds.
func figures(f *ads.Figures, waited *float64) []any {
	return []any{&f.Listed, &f.Synced, &f.Unchanged, &f.Failed, &f.Removed, &f.Pages, &f.Requests, &f.Throttled, &f.Retries, waited}
}

func seconds(s float64) time.Duration { return time.Duration(s*1e6+0.5) * time.Microsecond }

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// OpenRun implements store.Store.
func (s *Store) OpenRun(ctx context.Context, l store.Lease, o store.OpenRun) (store.Run, error) {
	var run store.Run
	s.forget(l)
	err := s.fenced(ctx, "open run", l, func(ctx context.Context, c *pgx.Conn, last time.Time) error {
		run = store.Run{Resumed: true}
		var no, active, told, writing int64
		var plan string
		var waited float64
		err := c.QueryRow(ctx, `SELECT s.no, s.run_id, s.plan, s.state, s.commit_seq, s.active_us, coalesce(s.told_us, 0), coalesce(s.writing_us, 0), r.started_at, `+figureColumns+`
			FROM adsync_run_state s JOIN runs r ON r.id = s.run_id WHERE s.client_id = $1 AND s.connection = $2 AND s.open`, l.Ref.ClientID, l.Ref.Connection).
			Scan(append([]any{&no, &run.ID, &plan, &run.State, &run.CommitSeq, &active, &told, &writing, &run.StartedAt}, figures(&run.Figures, &waited)...)...)
		if noRow(err) {
			run.Resumed = false
		} else if err != nil {
			return err
		}
		run.StartedAt, run.Active, run.Figures.Waited = run.StartedAt.UTC(), micros(active), seconds(waited)
		run.Figures.Told, run.Figures.Writing = micros(told), micros(writing)
		now := common.Micro(o.Now)
		b := &pgx.Batch{}
		if run.Resumed && run.ID == o.NewID && run.CommitSeq == 0 { // opened a moment ago; the answer was lost
			run.Resumed = false
			_, err := c.Exec(ctx, "COMMIT")
			return err
		}
		if run.Resumed {
			if plan == o.Plan && !o.Fresh && now.Sub(run.StartedAt) < o.MaxAge {
				b.Queue("UPDATE runs SET outcome = NULL, finished_at = NULL, error = NULL WHERE id = $1", run.ID)
				queueWait(b, l.Ref, store.Wait{})
				b.Queue("SELECT count(*) FROM adsync_items WHERE run_no = $1 AND state = 0", no).QueryRow(func(row pgx.Row) error { return row.Scan(&run.Pending) })
				b.Queue("COMMIT")
				return send(ctx, c, b)
			}
			b.Queue("UPDATE runs SET outcome = coalesce(outcome, $2), finished_at = coalesce(finished_at, greatest(started_at, $3::timestamptz)) WHERE id = $1", run.ID, string(ads.Interrupted), now)
			queueClose(b, no)
		}
		// What an earlier run has stamped is older than this run's start, whatever the clock says.
		if !now.After(last) {
			now = last.Add(time.Microsecond)
		}
		run = store.Run{ID: o.NewID, StartedAt: now}
		b.Queue("INSERT INTO runs (id, client_id, connection, trigger, started_at) VALUES ($1, $2, $3, $4, $5)", o.NewID, l.Ref.ClientID, l.Ref.Connection, o.Trigger, now)
		b.Queue("INSERT INTO adsync_run_state (run_id, client_id, connection, plan, open) VALUES ($1, $2, $3, $4, true)", o.NewID, l.Ref.ClientID, l.Ref.Connection, o.Plan)
		b.Queue("UPDATE adsync_locks SET last_stamp = $3, wait_reason = NULL, wait_until = NULL, wait_mark = NULL WHERE client_id = $1 AND connection = $2", l.Ref.ClientID, l.Ref.Connection, now)
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
	if err != nil {
		return store.Run{}, err
	}
	s.dropOldItems(ctx, l.Ref)
	return run, nil
}

// queueClose keeps of a run's state only what is shown later.
func queueClose(b *pgx.Batch, no int64) {
	b.Queue("UPDATE adsync_run_state SET open = false, state = NULL, result = NULL WHERE no = $1", no)
	b.Queue("DELETE FROM adsync_sweeps WHERE run_no = $1", no)
}

func notOpen(ref ads.Ref, runID string) error {
	return &store.Error{Kind: store.KindOther, Op: "run", Message: fmt.Sprintf("run %s of %s is not open", runID, ref)}
}

const runNoSQL = "SELECT no FROM adsync_run_state WHERE run_id = $1 AND client_id = $2 AND connection = $3 AND open"

// dropBatch bounds how many items are deleted in one transaction.
const dropBatch = 5000

// dropOldItems deletes the items of runs that have ended. What it cannot delete now, the next run does.
func (s *Store) dropOldItems(ctx context.Context, ref ads.Ref) {
	for more := true; more; {
		err := s.read(ctx, "clean up", func(ctx context.Context, c *pgx.Conn) (err error) {
			more, err = dropSome(ctx, c, "client_id = $1 AND connection = $2", ref.ClientID, ref.Connection)
			return err
		})
		if err != nil {
			return
		}
	}
}

// dropSome deletes a batch of the items of one run that has ended, of those that where selects. It says whether there was such a run.
func dropSome(ctx context.Context, c *pgx.Conn, where string, args ...any) (more bool, err error) {
	var no int64
	err = c.QueryRow(ctx, "SELECT no FROM adsync_run_state WHERE "+where+" AND has_items AND NOT open LIMIT 1", args...).Scan(&no)
	if noRow(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	tag, err := c.Exec(ctx, "DELETE FROM adsync_items WHERE ctid = ANY (ARRAY (SELECT ctid FROM adsync_items WHERE run_no = $1 LIMIT $2))", no, dropBatch)
	if err == nil && tag.RowsAffected() < dropBatch {
		_, err = c.Exec(ctx, "UPDATE adsync_run_state SET has_items = false WHERE no = $1", no)
	}
	return true, err
}

// Pending implements store.Store.
func (s *Store) Pending(ctx context.Context, l store.Lease, runID string, afterSeq int64, limit int) (items []store.Item, err error) {
	err = s.read(ctx, "read items", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT seq, account_id, stream, id FROM adsync_items WHERE run_no = (`+runNoSQL+`) AND seq > $4 AND state = 0 ORDER BY seq LIMIT $5`,
			runID, l.Ref.ClientID, l.Ref.Connection, afterSeq, limit)
		if err != nil {
			return err
		}
		items, err = pgx.CollectRows(rows, pgx.RowToStructByPos[store.Item])
		return err
	})
	return items, err
}

// FinishRun implements store.Store.
func (s *Store) FinishRun(ctx context.Context, l store.Lease, f store.FinishRun) error {
	ends := f.Outcome == ads.Complete || f.Outcome == ads.Partial
	err := s.fenced(ctx, "finish run", l, func(ctx context.Context, c *pgx.Conn, _ time.Time) error {
		var no int64
		err := c.QueryRow(ctx, runNoSQL, f.RunID, l.Ref.ClientID, l.Ref.Connection).Scan(&no)
		if noRow(err) {
			var outcome *string
			err := c.QueryRow(ctx, "SELECT outcome FROM runs WHERE id = $1", f.RunID).Scan(&outcome)
			if err == nil && ends && outcome != nil && *outcome == string(f.Outcome) {
				_, err = c.Exec(ctx, "COMMIT") // done before; the answer was lost
				return err
			}
			return notOpen(l.Ref, f.RunID)
		}
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		queueUpdate(b, f.RunID, no, f.Update)
		b.Queue("UPDATE runs SET outcome = $2, finished_at = greatest(started_at, $3::timestamptz), error = $4 WHERE id = $1", f.RunID, string(f.Outcome), common.Micro(f.Now), orNull(f.Error))
		if ends {
			queueClose(b, no)
		} else {
			b.Queue("DELETE FROM adsync_sweeps WHERE run_no = $1", no)
		}
		queueWait(b, l.Ref, f.Wait)
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
	if err == nil && ends {
		s.dropOldItems(ctx, l.Ref)
	}
	return err
}

// queueUpdate keeps a run's state and figures.
func queueUpdate(b *pgx.Batch, runID string, no int64, u store.RunUpdate) {
	b.Queue("UPDATE adsync_run_state SET state = $2, active_us = $3, told_us = $4, writing_us = $5 WHERE no = $1", no, u.State, u.Active.Microseconds(), u.Figures.Told.Microseconds(), u.Figures.Writing.Microseconds())
	queueFigures(b, runID, u.Figures)
}

func queueFigures(b *pgx.Batch, runID string, f ads.Figures) {
	b.Queue(`UPDATE runs SET listed = $2, synced = $3, unchanged = $4, failed = $5, removed = $6, pages = $7, requests = $8, throttled = $9,
		retries = $10, waited_seconds = $11 WHERE id = $1`,
		runID, f.Listed, f.Synced, f.Unchanged, f.Failed, f.Removed, f.Pages, f.Requests, f.Throttled, f.Retries, float64(f.Waited.Microseconds())/1e6)
}
