package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// Nullable columns as the contract's types.

type nullText string

func (n *nullText) Scan(v any) error {
	var s sql.NullString
	err := s.Scan(v)
	*n = nullText(s.String)
	return err
}

type nullStamp time.Time

func (n *nullStamp) Scan(v any) error {
	var s sql.NullString
	if err := s.Scan(v); err != nil || !s.Valid {
		return err
	}
	t, err := parseStamp(s.String)
	*n = nullStamp(t)
	return err
}

const runColumns = "r.client_id, r.connection, r.id, r.trigger, r.started_at, r.finished_at, r.outcome, r.error, coalesce(s.active_us, 0), " +
	"r.listed, r.synced, r.unchanged, r.failed, r.removed, r.pages, r.requests, r.throttled, r.retries, r.waited_seconds, s.told_us, s.writing_us"

func scanRun(rows *sql.Rows) (store.RunRecord, error) {
	var r store.RunRecord
	var started, finished nullStamp
	var outcome, text nullText
	var active int64
	var waited float64
	var told, writing sql.NullInt64
	f := &r.Figures
	err := rows.Scan(&r.Ref.ClientID, &r.Ref.Connection, &r.ID, &r.Trigger, &started, &finished, &outcome, &text, &active,
		&f.Listed, &f.Synced, &f.Unchanged, &f.Failed, &f.Removed, &f.Pages, &f.Requests, &f.Throttled, &f.Retries, &waited, &told, &writing)
	r.StartedAt, r.FinishedAt, r.Outcome, r.Error = time.Time(started), time.Time(finished), ads.Outcome(outcome), string(text)
	r.Active = time.Duration(active) * time.Microsecond
	f.Waited = time.Duration(waited*1e6+0.5) * time.Microsecond
	f.Told, f.Writing, r.Split = micros(told.Int64), micros(writing.Int64), told.Valid && writing.Valid
	return r, err
}

// each runs a query over the readers and calls scan for each row.
func (s *Store) each(ctx context.Context, op, query string, args []any, scan func(*sql.Rows) error) error {
	rows, err := s.readers.QueryContext(ctx, query, args...)
	if err != nil {
		return s.readError(ctx, op, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return s.readError(ctx, op, err)
		}
	}
	return s.readError(ctx, op, rows.Err())
}

func (s *Store) readError(ctx context.Context, op string, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return s.place.error(op, err)
}

// Runs implements store.Store.
func (s *Store) Runs(ctx context.Context, ref ads.Ref, limit int) ([]store.RunRecord, error) {
	query, args := "SELECT "+runColumns+" FROM runs r LEFT JOIN adsync_run_state s ON s.run_id = r.id", []any{}
	if ref != (ads.Ref{}) {
		query += " WHERE r.client_id = ? AND r.connection = ?"
		args = append(args, ref.ClientID, ref.Connection)
	}
	args = append(args, limit)
	var out []store.RunRecord
	err := s.each(ctx, "read runs", query+" ORDER BY r.started_at DESC, r.id DESC LIMIT ?", args, func(rows *sql.Rows) error {
		r, err := scanRun(rows)
		out = append(out, r)
		return err
	})
	return out, err
}

// Status implements store.Store.
func (s *Store) Status(ctx context.Context) ([]store.ConnectionStatus, error) {
	all := map[ads.Ref]*store.ConnectionStatus{}
	at := func(ref ads.Ref) *store.ConnectionStatus {
		if all[ref] == nil {
			all[ref] = &store.ConnectionStatus{Ref: ref}
		}
		return all[ref]
	}
	err := s.each(ctx, "status", "SELECT client_id, connection, holder_id, holder_text, since, wait_reason, wait_until, wait_mark, paused_at, paused_by, "+leaseEndedSQL+"adsync_locks.holder_id) FROM adsync_locks", []any{stamp(time.Now())}, func(rows *sql.Rows) error {
		var ref ads.Ref
		var holder, text, reason, mark, by nullText
		var since, until, paused nullStamp
		var ended bool
		if err := rows.Scan(&ref.ClientID, &ref.Connection, &holder, &text, &since, &reason, &until, &mark, &paused, &by, &ended); err != nil {
			return err
		}
		c := at(ref)
		c.Wait = store.Wait{Reason: string(reason), Until: time.Time(until), Mark: string(mark)}
		c.Pause = store.Pause{At: time.Time(paused), By: string(by)}
		if holder != "" && !ended && s.alive(string(holder)) {
			c.Running, c.Holder, c.Since = true, string(text), time.Time(since)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Whoever has run has a lock, so the locks name the connections, and a long history costs nothing.
	err = s.each(ctx, "status", "SELECT "+runColumns+` FROM adsync_locks l JOIN runs r ON r.id = (SELECT n.id FROM runs n WHERE n.client_id = l.client_id AND n.connection = l.connection
		ORDER BY n.started_at DESC, n.id DESC LIMIT 1) LEFT JOIN adsync_run_state s ON s.run_id = r.id`, nil, func(rows *sql.Rows) error {
		r, err := scanRun(rows)
		at(r.Ref).Last = &r
		return err
	})
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, "status", `SELECT l.client_id, l.connection, (SELECT max(r.finished_at) FROM runs r WHERE r.client_id = l.client_id AND r.connection = l.connection AND r.outcome = 'complete')
		FROM adsync_locks l`, nil, func(rows *sql.Rows) error {
		var ref ads.Ref
		var t nullStamp
		err := rows.Scan(&ref.ClientID, &ref.Connection, &t)
		at(ref).LastComplete = time.Time(t)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, "status", "SELECT client_id, connection, ends_at, why FROM adsync_token_ends", nil, func(rows *sql.Rows) error {
		var ref ads.Ref
		var t nullStamp
		var why string
		err := rows.Scan(&ref.ClientID, &ref.Connection, &t, &why)
		at(ref).TokenEnd, at(ref).TokenWhy = time.Time(t), why
		return err
	})
	if err != nil {
		return nil, err
	}
	counts := []struct {
		query string
		add   func(*store.ConnectionStatus, int64)
	}{
		{"SELECT client_id, connection, count(*) FROM failures WHERE resolved_at IS NULL GROUP BY client_id, connection", func(c *store.ConnectionStatus, n int64) { c.OpenFailures = n }},
		{"SELECT client_id, connection, count(*) FROM campaigns GROUP BY client_id, connection", func(c *store.ConnectionStatus, n int64) { c.Campaigns += n }},
		{"SELECT client_id, connection, count(*) FROM campaigns WHERE removed_at IS NOT NULL GROUP BY client_id, connection", func(c *store.ConnectionStatus, n int64) { c.Campaigns -= n }},
	}
	for i, count := range counts {
		err := s.each(ctx, "status", count.query, nil, func(rows *sql.Rows) error {
			var ref ads.Ref
			var n int64
			if err := rows.Scan(&ref.ClientID, &ref.Connection, &n); err != nil {
				return err
			}
			if c := all[ref]; c != nil {
				count.add(c, n)
			} else if i == 0 {
				count.add(at(ref), n)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return common.StatusList(all), nil
}

// alive says whether a holder's process runs.
func (s *Store) alive(id string) bool {
	if id == s.holder.current() {
		return true
	}
	gone, lock := dead(s.path, id)
	if lock != nil {
		_ = lock.Close()
	}
	return !gone
}

// Failures implements store.Store.
func (s *Store) Failures(ctx context.Context, f store.FailureFilter) iter.Seq2[store.Failure, error] {
	return func(yield func(store.Failure, error) bool) {
		var where []string
		var args []any
		add := func(cond string, v any) {
			where = append(where, cond)
			args = append(args, v)
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
			add("last_failed_at >= ?", stamp(f.Since))
		}
		if !f.DueBefore.IsZero() {
			add("next_retry_at <= ?", stamp(f.DueBefore))
		}
		if f.After != 0 {
			add("id > ?", f.After)
		}
		if len(f.IDs) > 0 {
			add("id IN (SELECT value FROM json_each(?))", idList(f.IDs))
		}
		if !f.Resolved {
			where = append(where, "resolved_at IS NULL")
		}
		query := `SELECT id, client_id, connection, account_id, stream, entity_id, class, code, message, hint, request_id, attempts,
			first_failed_at, last_failed_at, next_retry_at, resolved_at, raw FROM failures`
		if len(where) > 0 {
			query += " WHERE " + strings.Join(where, " AND ")
		}
		query += " ORDER BY id"
		if f.Limit > 0 {
			query += " LIMIT ?"
			args = append(args, f.Limit)
		}
		err := s.each(ctx, "read failures", query, args, func(rows *sql.Rows) error {
			var x store.Failure
			var code, hint, request nullText
			var first, last, next, resolved nullStamp
			var raw sql.RawBytes
			if err := rows.Scan(&x.ID, &x.Ref.ClientID, &x.Ref.Connection, &x.Account, &x.Stream, &x.EntityID, &x.Class, &code, &x.Message, &hint, &request,
				&x.Attempts, &first, &last, &next, &resolved, &raw); err != nil {
				return err
			}
			x.Code, x.Hint, x.RequestID = string(code), string(hint), string(request)
			x.FirstFailedAt, x.LastFailedAt, x.NextRetryAt, x.ResolvedAt = time.Time(first), time.Time(last), time.Time(next), time.Time(resolved)
			if raw != nil {
				x.Raw = slices.Clone(raw)
			}
			if !yield(x, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(store.Failure{}, err)
		}
	}
}

// errStop ends a reading whose reader has had enough.
var errStop = errors.New("enough")

func idList(ids []int64) string {
	b, err := json.Marshal(ids)
	if err != nil {
		panic(err) // a list of numbers
	}
	return string(b)
}

// HastenFailures implements store.Store.
func (s *Store) HastenFailures(ctx context.Context, ids []int64, now time.Time) (int64, error) {
	var total int64
	for part := range slices.Chunk(ids, 1000) {
		var n int64
		err := s.write.tx(ctx, "hasten failures", func(c *conn) (err error) {
			n, err = c.exec("UPDATE failures SET next_retry_at = ?2 WHERE id IN (SELECT value FROM json_each(?1)) AND resolved_at IS NULL", idList(part), stamp(now))
			return err
		})
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// DropFailures implements store.Store.
func (s *Store) DropFailures(ctx context.Context, ids []int64) (int64, error) {
	var total int64
	for part := range slices.Chunk(ids, 1000) {
		var n int64
		err := s.write.tx(ctx, "drop failures", func(c *conn) (err error) {
			n, err = c.exec("DELETE FROM failures WHERE id IN (SELECT value FROM json_each(?))", idList(part))
			return err
		})
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}
