package sqlite

import (
	"database/sql/driver"
	"strings"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// States of an item.
const (
	itemPending = 0
	itemDone    = 1
	itemFailed  = 2
	itemHeld    = 3
)

// itemSQL keeps a listed record until its own call. Listed again, an item that waits or is held takes the newer values and keeps its place;
// one that is done or has failed stays so.
var itemSQL = func() string {
	var set strings.Builder
	for _, c := range append([]string{"platform"}, entityColumns[1:]...) {
		set.WriteString(", " + c + " = iif(state IN (0, 3), excluded." + c + ", " + c + ")")
	}
	return "INSERT INTO adsync_items (run_no, seq, account_id, stream, pass, platform, " + strings.Join(entityColumns, ", ") + ") VALUES (?,?,?,?,?,?" +
		strings.Repeat(",?", len(entityColumns)) + ") ON CONFLICT (run_no, account_id, stream, id) DO UPDATE SET pass = excluded.pass" + set.String()
}()

// items keeps listed records that wait for their own call.
func (t *commit) items(l *store.Listed) error {
	if err := t.itemsBefore(l); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE adsync_run_state SET has_items = 1 WHERE no = ?", t.no); err != nil {
		return err
	}
	for i := range l.Records {
		e := &l.Records[i]
		t.named([]any{t.no, l.FirstSeq + int64(i), t.c.Account, t.c.Stream, l.Pass, l.Platform})
		t.args = appendEntity(t.args, e)
		err := t.queryBound(itemSQL, nil)
		if err != nil && aboutData(err) {
			err = t.refuse(e.ID, e.Raw, err)
		}
		if err != nil {
			return err
		}
	}
	if !l.HoldFailed || !t.open {
		return nil
	}
	n, err := t.exec(holdSQL, t.no, l.FirstSeq, t.ref.ClientID, t.ref.Connection, t.c.Account, t.c.Stream, t.stamp)
	t.res.Held = n
	return err
}

// holdSQL holds the items of this commit whose failures are not due. An id that is too long to stand in a failure as it is holds nothing.
const holdSQL = `UPDATE adsync_items SET state = 3 WHERE run_no = ?1 AND seq >= ?2 AND account_id = ?5 AND stream = ?6 AND state = 0
	AND EXISTS (SELECT 1 FROM failures f WHERE f.client_id = ?3 AND f.connection = ?4 AND f.account_id = ?5 AND f.stream = ?6 AND f.entity_id = adsync_items.id
		AND f.resolved_at IS NULL AND f.class <> '` + string(ads.ClassBadRecord) + `' AND (f.next_retry_at IS NULL OR f.next_retry_at > ?7))`

// itemsBefore counts the records that this run has listed before.
func (t *commit) itemsBefore(l *store.Listed) error {
	for _, i := range suspects(l) {
		err := t.query("SELECT pass FROM adsync_items WHERE run_no = ? AND account_id = ? AND stream = ? AND id = ?", func(v []driver.Value) error {
			t.res.SeenInRun++
			if asInt(v[0]) == int64(l.Pass) {
				t.res.SeenInPass++
			}
			return nil
		}, t.no, t.c.Account, t.c.Stream, l.Records[i].ID)
		if err != nil {
			return err
		}
	}
	return nil
}

// doneSQL makes a row of an item.
var doneSQL = func() map[string]string {
	m := map[string]string{}
	for _, table := range []string{"campaigns", "ad_groups", "ads"} {
		cols := strings.Join(entityColumns, ", ")
		m[table] = "INSERT INTO " + table + " (client_id, connection, account_id, platform, first_seen_at, changed_at, synced_at, " + cols + ")" +
			" SELECT ?1, ?2, account_id, platform, ?3, ?3, ?3, " + cols + " FROM adsync_items WHERE run_no = ?4 AND seq = ?5 AND state = 0" +
			onConflict(table, "excluded.changed_at") + " RETURNING changed_at <> ?3, id"
	}
	return m
}()

// done makes a row of an item whose own call has succeeded.
func (t *commit) done(seq int64) error {
	id, rows, same := "", int64(0), int64(0)
	err := t.query(doneSQL[t.table], func(v []driver.Value) error {
		rows++
		same += asInt(v[0])
		id = asString(v[1])
		return nil
	}, t.ref.ClientID, t.ref.Connection, t.stamp, t.no, seq)
	if err != nil && aboutData(err) {
		return t.refuseItem(seq, err)
	}
	if err != nil || rows == 0 {
		return err
	}
	t.res.Written += rows
	t.res.Unchanged += same
	if err := t.resolve(id); err != nil {
		return err
	}
	return t.endItem(seq, itemDone)
}

// endItem takes an item off the list of those that wait. What is left of it says that it was listed.
func (t *commit) endItem(seq int64, state int) error {
	_, err := t.exec("UPDATE adsync_items SET state = ?, raw = NULL WHERE run_no = ? AND seq = ?", state, t.no, seq)
	return err
}

// waiting reads a waiting item.
func (t *commit) waiting(seq int64) (id string, raw []byte, ok bool, err error) {
	err = t.query("SELECT id, raw FROM adsync_items WHERE run_no = ? AND seq = ? AND state = 0", func(v []driver.Value) error {
		id, raw, ok = asString(v[0]), asBytes(v[1]), true
		return nil
	}, t.no, seq)
	return id, raw, ok, err
}

func (t *commit) refuseItem(seq int64, cause error) error {
	id, raw, ok, err := t.waiting(seq)
	if err != nil || !ok {
		return err
	}
	if err := t.refuse(id, raw, cause); err != nil {
		return err
	}
	return t.endItem(seq, itemFailed)
}

// failed keeps an item whose own call has failed for good.
func (t *commit) failed(f *store.ItemFailure) error {
	id, raw, ok, err := t.waiting(f.Seq)
	if err != nil || !ok {
		return err
	}
	err = t.fail(common.Failure{
		EntityID: common.EntityID(id), Class: f.Class, Code: f.Code, Message: f.Message, Hint: f.Hint, RequestID: f.RequestID,
		Attempts: int64(f.Attempts), Backoff: f.Backoff, Raw: common.CutRaw(raw),
	})
	if err != nil {
		return err
	}
	return t.endItem(f.Seq, itemFailed)
}
