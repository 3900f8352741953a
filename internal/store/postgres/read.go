package postgres

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

const runColumns = "r.client_id, r.connection, r.id, r.trigger, r.started_at, r.finished_at, coalesce(r.outcome, ''), coalesce(r.error, ''), coalesce(s.active_us, 0), s.told_us, s.writing_us, " + figureColumns

func scanRun(row pgx.CollectableRow) (r store.RunRecord, err error) {
	var finished *time.Time
	var active int64
	var told, writing *int64
	var waited float64
	err = row.Scan(append([]any{&r.Ref.ClientID, &r.Ref.Connection, &r.ID, &r.Trigger, &r.StartedAt, &finished, &r.Outcome, &r.Error, &active, &told, &writing}, figures(&r.Figures, &waited)...)...)
	r.StartedAt, r.FinishedAt, r.Active, r.Figures.Waited = r.StartedAt.UTC(), utc(finished), micros(active), seconds(waited)
	if told != nil && writing != nil {
		r.Figures.Told, r.Figures.Writing, r.Split = micros(*told), micros(*writing), true
	}
	return r, err
}

func utc(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// Runs implements store.Store.
func (s *Store) Runs(ctx context.Context, ref ads.Ref, limit int) (out []store.RunRecord, err error) {
	query, args := "SELECT "+runColumns+" FROM runs r LEFT JOIN adsync_run_state s ON s.run_id = r.id", []any{limit}
	if ref != (ads.Ref{}) {
		query += " WHERE r.client_id = $2 AND r.connection = $3"
		args = append(args, ref.ClientID, ref.Connection)
	}
	err = s.read(ctx, "read runs", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, query+" ORDER BY r.started_at DESC, r.id DESC LIMIT $1", args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scanRun)
		return err
	})
	return out, err
}

// Status implements store.Store.
func (s *Store) Status(ctx context.Context) ([]store.ConnectionStatus, error) {
	var out []store.ConnectionStatus
	err := s.read(ctx, "status", func(ctx context.Context, c *pgx.Conn) (err error) {
		out, err = status(ctx, c)
		return err
	})
	return out, err
}

// status asks everything at once. A holder lives when somebody has its advisory lock, whose number stands in two halves in pg_locks.
func status(ctx context.Context, c *pgx.Conn) ([]store.ConnectionStatus, error) {
	all := map[ads.Ref]*store.ConnectionStatus{}
	at := func(ref ads.Ref) *store.ConnectionStatus {
		if all[ref] == nil {
			all[ref] = &store.ConnectionStatus{Ref: ref}
		}
		return all[ref]
	}
	each := func(scan func(row pgx.CollectableRow, ref *ads.Ref) (func(*store.ConnectionStatus), error)) func(pgx.Rows) error {
		return func(rows pgx.Rows) error {
			for rows.Next() {
				var ref ads.Ref
				set, err := scan(rows, &ref)
				if err != nil {
					return err
				}
				set(at(ref))
			}
			return rows.Err()
		}
	}
	count := func(set func(*store.ConnectionStatus, int64)) func(pgx.Rows) error {
		return each(func(row pgx.CollectableRow, ref *ads.Ref) (func(*store.ConnectionStatus), error) {
			var n int64
			err := row.Scan(&ref.ClientID, &ref.Connection, &n)
			return func(c *store.ConnectionStatus) { set(c, n) }, err
		})
	}
	b := &pgx.Batch{}
	b.Queue(`SELECT l.client_id, l.connection, coalesce(l.holder_text, ''), l.since, coalesce(l.wait_reason, ''), l.wait_until, coalesce(l.wait_mark, ''), l.paused_at, coalesce(l.paused_by, ''), NOT ` + leaseEndedSQL + `l.holder_id) AND EXISTS (
			SELECT 1 FROM pg_locks p WHERE p.locktype = 'advisory' AND p.objsubid = 1 AND p.granted AND p.mode = 'ExclusiveLock'
			AND p.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND p.classid::bigint << 32 | p.objid::bigint = l.holder_id::bigint) FROM adsync_locks l`).Query(each(func(row pgx.CollectableRow, ref *ads.Ref) (func(*store.ConnectionStatus), error) {
		var holder, reason, mark, by string
		var since, until, paused *time.Time
		var alive bool
		err := row.Scan(&ref.ClientID, &ref.Connection, &holder, &since, &reason, &until, &mark, &paused, &by, &alive)
		return func(c *store.ConnectionStatus) {
			c.Wait = store.Wait{Reason: reason, Until: utc(until), Mark: mark}
			c.Pause = store.Pause{At: utc(paused), By: by}
			if alive {
				c.Running, c.Holder, c.Since = true, holder, utc(since)
			}
		}, err
	}))
	// Whoever has run has a lock, so the locks name the connections, and a long history costs nothing.
	b.Queue("SELECT " + runColumns + ` FROM adsync_locks l CROSS JOIN LATERAL (SELECT * FROM runs WHERE client_id = l.client_id AND connection = l.connection
			ORDER BY started_at DESC, id DESC LIMIT 1) r LEFT JOIN adsync_run_state s ON s.run_id = r.id`).
		Query(each(func(row pgx.CollectableRow, ref *ads.Ref) (func(*store.ConnectionStatus), error) {
			r, err := scanRun(row)
			*ref = r.Ref
			return func(c *store.ConnectionStatus) { c.Last = &r }, err
		}))
	b.Queue(`SELECT l.client_id, l.connection, r.finished_at FROM adsync_locks l CROSS JOIN LATERAL (SELECT finished_at FROM runs
			WHERE client_id = l.client_id AND connection = l.connection AND outcome = 'complete' ORDER BY finished_at DESC LIMIT 1) r`).
		Query(each(func(row pgx.CollectableRow, ref *ads.Ref) (func(*store.ConnectionStatus), error) {
			var t *time.Time
			err := row.Scan(&ref.ClientID, &ref.Connection, &t)
			return func(c *store.ConnectionStatus) { c.LastComplete = utc(t) }, err
		}))
	b.Queue("SELECT client_id, connection, count(*) FROM failures WHERE resolved_at IS NULL GROUP BY client_id, connection").Query(count(func(c *store.ConnectionStatus, n int64) { c.OpenFailures = n }))
	b.Queue("SELECT client_id, connection, count(*) FROM campaigns WHERE removed_at IS NULL GROUP BY client_id, connection").Query(count(func(c *store.ConnectionStatus, n int64) { c.Campaigns = n }))
	b.Queue("SELECT client_id, connection, ends_at, why FROM adsync_token_ends").Query(each(func(row pgx.CollectableRow, ref *ads.Ref) (func(*store.ConnectionStatus), error) {
		var at time.Time
		var why string
		err := row.Scan(&ref.ClientID, &ref.Connection, &at, &why)
		return func(c *store.ConnectionStatus) { c.TokenEnd, c.TokenWhy = at.UTC(), why }, err
	}))
	if err := send(ctx, c, b); err != nil {
		return nil, err
	}
	return common.StatusList(all), nil
}

// failurePage is how many failures are read at a time; no connection is held while they are looked at.
const failurePage = 500

// Failures implements store.Store.
func (s *Store) Failures(ctx context.Context, f store.FailureFilter) iter.Seq2[store.Failure, error] {
	return func(yield func(store.Failure, error) bool) {
		left := f.Limit
		for {
			n := failurePage
			if f.Limit > 0 {
				n = min(n, left)
			}
			page, err := s.failures(ctx, f, n)
			if err != nil {
				yield(store.Failure{}, err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			left -= len(page)
			if len(page) < n || (f.Limit > 0 && left == 0) {
				return
			}
			f.After = page[len(page)-1].ID
		}
	}
}

// failures reads the next n failures.
func (s *Store) failures(ctx context.Context, f store.FailureFilter, n int) (out []store.Failure, err error) {
	var where []string
	var args []any
	add := func(cond string, v ...any) {
		for _, v := range v {
			args = append(args, v)
			cond = strings.Replace(cond, "?", fmt.Sprint("$", len(args)), 1)
		}
		where = append(where, cond)
	}
	if f.ClientID != "" {
		add("client_id = ?", f.ClientID)
	}
	if f.Connection != "" {
		add("connection = ?", f.Connection)
	}
	if f.Class != "" {
		add("class = ?", f.Class)
	}
	if !f.Since.IsZero() {
		add("last_failed_at >= ?", common.Micro(f.Since))
	}
	if !f.DueBefore.IsZero() {
		add("next_retry_at <= ?", f.DueBefore)
	}
	if f.After != 0 {
		add("id > ?", f.After)
	}
	if len(f.IDs) > 0 {
		add("id = ANY (?)", f.IDs)
	}
	if !f.Resolved {
		add("resolved_at IS NULL")
	}
	query := `SELECT id, client_id, connection, account_id, stream, entity_id, class, coalesce(code, ''), message, coalesce(hint, ''), coalesce(request_id, ''), attempts,
		first_failed_at, last_failed_at, next_retry_at, resolved_at, raw FROM failures`
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	args = append(args, n)
	query += fmt.Sprint(" ORDER BY id LIMIT $", len(args))
	err = s.read(ctx, "read failures", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (x store.Failure, err error) {
			var next, resolved *time.Time
			var raw *string
			err = row.Scan(&x.ID, &x.Ref.ClientID, &x.Ref.Connection, &x.Account, &x.Stream, &x.EntityID, &x.Class, &x.Code, &x.Message, &x.Hint, &x.RequestID,
				&x.Attempts, &x.FirstFailedAt, &x.LastFailedAt, &next, &resolved, &raw)
			x.FirstFailedAt, x.LastFailedAt, x.NextRetryAt, x.ResolvedAt = x.FirstFailedAt.UTC(), x.LastFailedAt.UTC(), utc(next), utc(resolved)
			if raw != nil {
				x.Raw = []byte(*raw)
			}
			return x, err
		})
		return err
	})
	return out, err
}

// HastenFailures implements store.Store.
func (s *Store) HastenFailures(ctx context.Context, ids []int64, now time.Time) (n int64, err error) {
	err = s.tx(ctx, "hasten failures", func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, "UPDATE failures SET next_retry_at = $2 WHERE id = ANY ($1) AND resolved_at IS NULL", ids, now)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// DropFailures implements store.Store.
func (s *Store) DropFailures(ctx context.Context, ids []int64) (n int64, err error) {
	err = s.tx(ctx, "drop failures", func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, "DELETE FROM failures WHERE id = ANY ($1)", ids)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}
