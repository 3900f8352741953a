package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// commit is one transaction under way.
type commit struct {
	conn    *pgx.Conn
	ref     ads.Ref
	no      int64 // of the run
	c       *store.Commit
	table   string
	stamp   time.Time
	res     store.Result
	open    bool // there are unresolved failures of this account and stream
	fresh   bool // the account had no rows of this stream when this life of the run began
	staged  bool // the connection has its staging table
	careful bool // something in this commit is refused: every part goes behind a savepoint
	depth   int  // of savepoints, for their names

	refused common.RefusedIDs
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, l store.Lease, c *store.Commit) (store.Result, error) {
	var res store.Result
	careful := false
	for {
		res = store.Result{}
		var spoiled error // what was refused in the last try
		err := s.tx(ctx, "commit", func(ctx context.Context, conn *pgx.Conn) error {
			spoiled = nil
			t := &commit{conn: conn, ref: l.Ref, c: c, stamp: common.Micro(c.Stamp), careful: careful}
			err := s.commit(ctx, l, t)
			if err != nil && !careful && halve(err) {
				spoiled = err
			}
			res = t.res
			return err
		})
		if spoiled == nil {
			return res, common.NotWritten(err, c)
		}
		// The quick way takes no savepoints, so it leaves nothing when something is refused. The careful one finds out what it is.
		if !s.disbelieve(l, c, spoiled) {
			careful = true
		}
	}
}

// disbelieve notes that an account was not empty after all, where that is what an error means. It says whether that was news.
func (s *Store) disbelieve(l store.Lease, c *store.Commit, err error) bool {
	key := freshKey{l.Ref, l.Fence, c.Account, c.Stream}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sqlState(err) != codeUniqueConflict || !s.fresh[key] {
		return false
	}
	s.fresh[key] = false
	return true
}

func (s *Store) commit(ctx context.Context, l store.Lease, t *commit) error {
	c := t.c
	listed := c.Listed
	if listed != nil && len(listed.Records) == 0 {
		listed = nil
	}
	writes := listed != nil || len(c.Done) > 0 || len(c.Failed) > 0 || len(c.Problems) > 0 || len(c.Resolved) > 0
	if listed != nil || len(c.Done) > 0 {
		var err error
		if t.table, err = common.EntityTable(c.Stream); err != nil {
			return err
		}
	}
	if listed != nil && listed.Direct && len(listed.Records) >= stageRows {
		var err error
		if t.staged, err = staging(ctx, t.conn); err != nil {
			return err
		}
	}
	var seq int64
	var saved []byte
	var last *time.Time
	found := false
	b := &pgx.Batch{}
	fence := s.queueFence(b, l, t.stamp, &last)
	b.Queue("SELECT no, commit_seq, result FROM adsync_run_state WHERE run_id = $1 AND client_id = $2 AND connection = $3 AND open", c.RunID, l.Ref.ClientID, l.Ref.Connection).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			found = true
			if err := rows.Scan(&t.no, &seq, &saved); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if writes {
		b.Queue("SELECT EXISTS (SELECT 1 FROM failures WHERE client_id = $1 AND connection = $2 AND account_id = $3 AND stream = $4 AND resolved_at IS NULL)",
			l.Ref.ClientID, l.Ref.Connection, c.Account, c.Stream).QueryRow(func(row pgx.Row) error { return row.Scan(&t.open) })
	}
	key := freshKey{l.Ref, l.Fence, c.Account, c.Stream}
	known := true
	if listed != nil && listed.Direct {
		s.mu.Lock()
		t.fresh, known = s.fresh[key]
		s.mu.Unlock()
		if !known {
			b.Queue("SELECT NOT EXISTS (SELECT 1 FROM "+t.table+" WHERE client_id = $1 AND connection = $2 AND account_id = $3)", l.Ref.ClientID, l.Ref.Connection, c.Account).
				QueryRow(func(row pgx.Row) error { return row.Scan(&t.fresh) })
		}
	}
	if err := send(ctx, t.conn, b); err != nil {
		return err
	}
	switch {
	case !fence.ok:
		return store.ErrFenced
	case !found:
		return notOpen(l.Ref, c.RunID)
	case seq == c.Seq: // done before; the answer was lost
		if err := json.Unmarshal(saved, &t.res); err != nil {
			return err
		}
		c.After(t.res)
		_, err := t.conn.Exec(ctx, "ROLLBACK")
		return err
	case seq != c.Seq-1:
		return &store.Error{Kind: store.KindOther, Op: "commit", Message: fmt.Sprintf("commit %d of run %s does not follow the last one, %d", c.Seq, c.RunID, seq)}
	}
	if !known {
		s.mu.Lock()
		s.fresh[key] = t.fresh
		s.mu.Unlock()
	}
	if err := t.apply(ctx); err != nil {
		return err
	}
	saved, err := json.Marshal(t.res)
	if err != nil {
		return err
	}
	u := c.After(t.res)
	b = &pgx.Batch{}
	b.Queue("UPDATE adsync_run_state SET state = $2, active_us = $3, commit_seq = $4, result = $5, told_us = $6, writing_us = $7 WHERE no = $1", t.no, u.State, u.Active.Microseconds(), c.Seq, string(saved),
		u.Figures.Told.Microseconds(), u.Figures.Writing.Microseconds())
	queueFigures(b, c.RunID, u.Figures)
	b.Queue("COMMIT")
	return send(ctx, t.conn, b)
}

func (t *commit) apply(ctx context.Context) error {
	if t.c.Unhold {
		tag, err := t.conn.Exec(ctx, "UPDATE adsync_items SET state = 0 WHERE run_no = $1 AND state = $2", t.no, itemHeld)
		if err != nil {
			return err
		}
		t.res.Unheld = tag.RowsAffected()
	}
	if err := t.accounts(ctx); err != nil {
		return err
	}
	if l := t.c.Listed; l != nil {
		write := t.items
		if l.Direct {
			write = t.direct
		}
		if err := write(ctx, l); err != nil {
			return err
		}
		if l.Direct {
			if err := t.parents(ctx, l); err != nil {
				return err
			}
		}
	}
	if t.c.Metrics != nil {
		if err := t.metrics(ctx, t.c.Metrics); err != nil {
			return err
		}
	}
	resolved := make([]string, len(t.c.Resolved))
	for i, id := range t.c.Resolved {
		resolved[i] = common.EntityID(id)
	}
	if err := t.resolve(ctx, resolved); err != nil {
		return err
	}
	if err := t.done(ctx); err != nil {
		return err
	}
	if err := t.failed(ctx); err != nil {
		return err
	}
	fs := make([]common.Failure, len(t.c.Problems))
	for i := range fs {
		fs[i] = common.FromProblem(&t.c.Problems[i])
	}
	for i := range t.c.Faults {
		fs = append(fs, common.FromFault(&t.c.Faults[i]))
	}
	return t.fail(ctx, fs)
}

func (t *commit) accounts(ctx context.Context) error {
	if len(t.c.Accounts) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	for i := range t.c.Accounts {
		a := &t.c.Accounts[i]
		var raw any
		if a.Raw != nil {
			raw = string(common.Raw(a.Raw))
		}
		b.Queue(`INSERT INTO accounts AS t (client_id, connection, id, platform, name, status, platform_status, currency, time_zone, first_seen_at, synced_at, raw)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11::text::json)
			ON CONFLICT (client_id, connection, id) DO UPDATE SET platform = excluded.platform, name = excluded.name, status = excluded.status,
				platform_status = excluded.platform_status, currency = excluded.currency, time_zone = excluded.time_zone, synced_at = excluded.synced_at, raw = excluded.raw`,
			t.ref.ClientID, t.ref.Connection, ads.Text(a.ID), common.Platform(t.ref, t.c), ads.Text(a.Name), string(a.Status), orNull(a.PlatformStatus), orNull(a.Currency), orNull(a.TimeZone), t.stamp, raw)
	}
	return send(ctx, t.conn, b)
}

// fail keeps failures: each a new one, or another time that an open one has happened.
func (t *commit) fail(ctx context.Context, fs []common.Failure) error {
	if len(fs) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	for _, f := range fs {
		var raw any
		if f.Raw != nil {
			raw = string(f.Raw)
		}
		var next any
		if at := common.NextTry(f.Backoff, t.stamp, t.stamp, f.Attempts); !at.IsZero() {
			next = common.Micro(at)
		}
		b.Queue(`INSERT INTO failures AS t (client_id, connection, account_id, stream, entity_id, class, code, message, hint, request_id, attempts,
				first_failed_at, last_failed_at, next_retry_at, raw)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $14)
			ON CONFLICT (client_id, connection, account_id, stream, entity_id) WHERE resolved_at IS NULL DO UPDATE SET
				class = excluded.class, code = excluded.code, message = excluded.message, hint = excluded.hint, request_id = excluded.request_id,
				attempts = t.attempts + excluded.attempts, last_failed_at = excluded.last_failed_at,
				next_retry_at = CASE WHEN t.attempts + excluded.attempts < $15
					THEN excluded.last_failed_at + least(greatest(excluded.last_failed_at - t.first_failed_at, $16::interval), $17::interval) END,
				raw = coalesce(excluded.raw, t.raw)`,
			t.ref.ClientID, t.ref.Connection, t.c.Account, t.c.Stream, f.EntityID, string(f.Class), orNull(f.Code), ads.Text(f.Message), orNull(f.Hint), orNull(f.RequestID),
			f.Attempts, t.stamp, next, raw, f.Backoff.Limit, f.Backoff.First, f.Backoff.Most)
	}
	return send(ctx, t.conn, b)
}

// resolve ends open failures of entities that have succeeded.
func (t *commit) resolve(ctx context.Context, ids []string) error {
	if !t.open || len(ids) == 0 {
		return nil
	}
	_, err := t.conn.Exec(ctx, `UPDATE failures SET resolved_at = $6 WHERE client_id = $1 AND connection = $2 AND account_id = $3 AND stream = $4 AND entity_id = ANY ($5) AND resolved_at IS NULL`,
		t.ref.ClientID, t.ref.Connection, t.c.Account, t.c.Stream, ids, t.stamp)
	return err
}

// refuse keeps a record that the database did not take.
func (t *commit) refuse(ctx context.Context, id string, raw []byte, err error) error {
	reason := words(err)
	t.refused.Add(&t.res, id, reason)
	return t.fail(ctx, []common.Failure{common.Refused(id, raw, reason)})
}
