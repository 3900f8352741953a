package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// commit is one transaction under way.
type commit struct {
	*conn
	ref   ads.Ref
	no    int64 // of the run
	c     *store.Commit
	table string
	stamp string
	res   store.Result
	open  bool // there are unresolved failures of this account and stream

	refused common.RefusedIDs
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, l store.Lease, c *store.Commit) (store.Result, error) {
	var res store.Result
	err := s.fenced(ctx, "commit", l, func(conn *conn, _ time.Time) error {
		t := &commit{conn: conn, ref: l.Ref, c: c, stamp: stamp(c.Stamp)}
		var seq int64
		var saved []byte
		err := conn.query("SELECT no, commit_seq, result FROM adsync_run_state WHERE run_id = ? AND client_id = ? AND connection = ? AND open = 1", func(v []driver.Value) error {
			t.no, seq, saved = asInt(v[0]), asInt(v[1]), asBytes(v[2])
			return nil
		}, c.RunID, l.Ref.ClientID, l.Ref.Connection)
		switch {
		case err != nil:
			return err
		case t.no == 0:
			return notOpen(l.Ref, c.RunID)
		case seq == c.Seq:
			if err := json.Unmarshal(saved, &res); err != nil {
				return err
			}
			c.After(res)
			return nil
		case seq != c.Seq-1:
			return &store.Error{Kind: store.KindOther, Op: "commit", Message: fmt.Sprintf("commit %d of run %s does not follow the last one, %d", c.Seq, c.RunID, seq)}
		}
		if err := t.apply(); err != nil {
			return err
		}
		res = t.res
		saved, err = json.Marshal(res)
		if err != nil {
			return err
		}
		if err := storeUpdate(conn, c.RunID, t.no, c.After(res)); err != nil {
			return err
		}
		if _, err := conn.exec("UPDATE adsync_run_state SET commit_seq = ?2, result = ?3 WHERE no = ?1", t.no, c.Seq, string(saved)); err != nil {
			return err
		}
		return setLastStamp(conn, l.Ref, c.Stamp)
	})
	return res, common.NotWritten(err, c)
}

func (t *commit) apply() error {
	if t.c.Unhold {
		n, err := t.exec("UPDATE adsync_items SET state = 0 WHERE run_no = ? AND state = ?", t.no, itemHeld)
		if err != nil {
			return err
		}
		t.res.Unheld = n
	}
	if err := t.accounts(); err != nil {
		return err
	}
	listed := t.c.Listed
	if listed != nil && len(listed.Records) == 0 {
		listed = nil
	}
	if listed == nil && len(t.c.Done) == 0 && len(t.c.Failed) == 0 && len(t.c.Problems) == 0 && t.c.Metrics == nil && len(t.c.Faults) == 0 && len(t.c.Resolved) == 0 {
		return nil
	}
	var err error
	if listed != nil || len(t.c.Done) > 0 {
		if t.table, err = common.EntityTable(t.c.Stream); err != nil {
			return err
		}
	}
	var n int64
	err = t.query("SELECT 1 FROM failures WHERE client_id = ? AND connection = ? AND account_id = ? AND stream = ? AND resolved_at IS NULL LIMIT 1", scanOne(&n), t.ref.ClientID, t.ref.Connection, t.c.Account, t.c.Stream)
	if err != nil {
		return err
	}
	t.open = n > 0
	if listed != nil {
		if listed.Direct {
			if err = t.direct(listed); err == nil {
				err = t.parents(listed)
			}
		} else {
			err = t.items(listed)
		}
		if err != nil {
			return err
		}
	}
	for _, seq := range t.c.Done {
		if err := t.done(seq); err != nil {
			return err
		}
	}
	for i := range t.c.Failed {
		if err := t.failed(&t.c.Failed[i]); err != nil {
			return err
		}
	}
	for i := range t.c.Problems {
		if err := t.fail(common.FromProblem(&t.c.Problems[i])); err != nil {
			return err
		}
	}
	if t.c.Metrics != nil {
		if err := t.metrics(t.c.Metrics); err != nil {
			return err
		}
	}
	for i := range t.c.Faults {
		if err := t.fail(common.FromFault(&t.c.Faults[i])); err != nil {
			return err
		}
	}
	for _, id := range t.c.Resolved {
		if err := t.resolve(id); err != nil {
			return err
		}
	}
	return nil
}

func (t *commit) accounts() error {
	for i := range t.c.Accounts {
		a := &t.c.Accounts[i]
		_, err := t.exec(`INSERT INTO accounts (client_id, connection, id, platform, name, status, platform_status, currency, time_zone, first_seen_at, synced_at, raw)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11)
			ON CONFLICT (client_id, connection, id) DO UPDATE SET platform = excluded.platform, name = excluded.name, status = excluded.status,
				platform_status = excluded.platform_status, currency = excluded.currency, time_zone = excluded.time_zone, synced_at = excluded.synced_at, raw = excluded.raw`,
			t.ref.ClientID, t.ref.Connection, ads.Text(a.ID), common.Platform(t.ref, t.c), ads.Text(a.Name), string(a.Status), textOrNull(a.PlatformStatus), textOrNull(a.Currency),
			textOrNull(a.TimeZone), t.stamp, rawText(a.Raw))
		if err != nil {
			return err
		}
	}
	return nil
}

// fail keeps a failure: a new one, or another time that an open one has happened.
func (t *commit) fail(f common.Failure) error {
	var raw any
	if f.Raw != nil {
		raw = string(f.Raw)
	}
	last := common.Micro(t.c.Stamp)
	first, attempts := last, f.Attempts
	err := t.query("SELECT first_failed_at, attempts FROM failures WHERE client_id = ? AND connection = ? AND account_id = ? AND stream = ? AND entity_id = ? AND resolved_at IS NULL",
		func(v []driver.Value) (err error) {
			first, err = asTime(v[0])
			attempts += asInt(v[1])
			return err
		}, t.ref.ClientID, t.ref.Connection, t.c.Account, t.c.Stream, f.EntityID)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO failures (client_id, connection, account_id, stream, entity_id, class, code, message, hint, request_id, attempts,
			first_failed_at, last_failed_at, next_retry_at, raw)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, ?13, ?14)
		ON CONFLICT (client_id, connection, account_id, stream, entity_id) WHERE resolved_at IS NULL DO UPDATE SET
			class = excluded.class, code = excluded.code, message = excluded.message, hint = excluded.hint, request_id = excluded.request_id,
			attempts = failures.attempts + excluded.attempts, last_failed_at = excluded.last_failed_at, next_retry_at = excluded.next_retry_at,
			raw = coalesce(excluded.raw, failures.raw)`,
		t.ref.ClientID, t.ref.Connection, t.c.Account, t.c.Stream, f.EntityID, string(f.Class), textOrNull(f.Code), ads.Text(f.Message), textOrNull(f.Hint), textOrNull(f.RequestID),
		f.Attempts, t.stamp, timeOrNull(common.NextTry(f.Backoff, first, last, attempts)), raw)
	return err
}

// resolve ends an open failure of an entity that has succeeded.
func (t *commit) resolve(id string) error {
	if !t.open {
		return nil
	}
	_, err := t.exec("UPDATE failures SET resolved_at = ?6 WHERE client_id = ?1 AND connection = ?2 AND account_id = ?3 AND stream = ?4 AND entity_id = ?5 AND resolved_at IS NULL",
		t.ref.ClientID, t.ref.Connection, t.c.Account, t.c.Stream, common.EntityID(id), t.stamp)
	return err
}

// refuse keeps a record that the database did not take.
func (t *commit) refuse(id string, raw []byte, err error) error {
	reason := words(err)
	t.refused.Add(&t.res, id, reason)
	return t.fail(common.Refused(id, raw, reason))
}
