package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// States of an item.
const (
	itemDone   = 1
	itemFailed = 2
	itemHeld   = 3
)

// itemSQL keeps listed records until their own calls. Listed again, an item that waits or is held takes the newer values and keeps its place;
// one that is done or has failed stays so.
var itemSQL = func() string {
	var set strings.Builder
	for _, c := range append([]string{"platform"}, strings.Split(entityColumns, ", ")[1:]...) {
		set.WriteString(", " + c + " = CASE WHEN t.state IN (0, 3) THEN excluded." + c + " ELSE t." + c + " END")
	}
	source := strings.Replace(arraySource, ") AS a (", ") WITH ORDINALITY AS a (", 1)
	source = source[:len(source)-1] + ", n)"
	return "INSERT INTO adsync_items AS t (run_no, account_id, stream, pass, platform, seq, " + entityColumns + ") SELECT $1::bigint, $2::text, $3::text, $4::integer, $5::text, $6::bigint + n - 1, " +
		arrayColumns + " FROM " + source + " ON CONFLICT (run_no, account_id, stream, id) DO UPDATE SET pass = excluded.pass" + set.String()
}()

// itemChunk bounds the rows of one statement, and with them the memory for its arrays.
const itemChunk = 1000

// items keeps listed records that wait for their own call.
func (t *commit) items(ctx context.Context, l *store.Listed) error {
	if len(l.Records) == 0 {
		return nil
	}
	if ids := suspects(l); len(ids) > 0 {
		var inRun, inPass int64
		err := t.conn.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE i.pass = $5) FROM unnest($4::text[]) AS s (id) CROSS JOIN LATERAL (
			SELECT pass FROM adsync_items WHERE run_no = $1 AND account_id = $2 AND stream = $3 AND id = s.id LIMIT 1) AS i`,
			t.no, t.c.Account, t.c.Stream, ids, l.Pass).Scan(&inRun, &inPass)
		if err != nil {
			return err
		}
		t.res.SeenInRun += inRun
		t.res.SeenInPass += inPass
	}
	if _, err := t.conn.Exec(ctx, "UPDATE adsync_run_state SET has_items = true WHERE no = $1 AND NOT has_items", t.no); err != nil {
		return err
	}
	write := func(lo, hi int) error {
		for ; lo < hi; lo += itemChunk {
			part := l.Records[lo:min(hi, lo+itemChunk)]
			args := append([]any{t.no, t.c.Account, t.c.Stream, l.Pass, l.Platform, l.FirstSeq + int64(lo)}, arraysOf(part)...)
			if _, err := t.conn.Exec(ctx, itemSQL, args...); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if t.careful {
		err = t.narrow(ctx, 0, len(l.Records), write, func(i int, err error) error {
			return t.refuse(ctx, l.Records[i].ID, l.Records[i].Raw, err)
		})
	} else {
		err = write(0, len(l.Records))
	}
	if err != nil || !l.HoldFailed || !t.open {
		return err
	}
	tag, err := t.conn.Exec(ctx, holdSQL, t.no, l.FirstSeq, t.ref.ClientID, t.ref.Connection, t.c.Account, t.c.Stream, t.stamp)
	t.res.Held = tag.RowsAffected()
	return err
}

// holdSQL holds the items of this commit whose failures are not due. It asks once for each item: there may be many more failures.
// An id that is too long to stand in a failure as it is holds nothing.
const holdSQL = `WITH listed AS MATERIALIZED (SELECT seq, id FROM adsync_items WHERE run_no = $1 AND seq >= $2 AND account_id = $5 AND stream = $6 AND state = 0)
	UPDATE adsync_items i SET state = 3 FROM listed CROSS JOIN LATERAL (SELECT 1 FROM failures f WHERE f.client_id = $3 AND f.connection = $4
		AND f.account_id = $5 AND f.stream = $6 AND f.entity_id = listed.id AND f.resolved_at IS NULL AND f.class <> '` + string(ads.ClassBadRecord) + `'
		AND (f.next_retry_at IS NULL OR f.next_retry_at > $7) LIMIT 1) AS not_due
	WHERE i.run_no = $1 AND i.seq = listed.seq`

// doneSQL makes rows of items.
func doneSQL(table string) string {
	return "INSERT INTO " + table + " AS t (client_id, connection, account_id, platform, first_seen_at, changed_at, synced_at, " + entityColumns + ")" +
		" SELECT $1::text, $2::text, account_id, platform, $3::timestamptz, $3::timestamptz, $3::timestamptz, " + entityColumns +
		" FROM adsync_items WHERE run_no = $4 AND seq = ANY ($5::bigint[]) AND state = 0 ORDER BY account_id, id" + onConflict + " RETURNING t.id, t.changed_at <> $3"
}

var doneBy = map[string]string{"campaigns": doneSQL("campaigns"), "ad_groups": doneSQL("ad_groups"), "ads": doneSQL("ads")}

// done makes rows of the items whose own calls have succeeded.
func (t *commit) done(ctx context.Context) error {
	seqs := t.c.Done
	if len(seqs) == 0 {
		return nil
	}
	var ids []string
	write := func(lo, hi int) error {
		rows, err := t.conn.Query(ctx, doneBy[t.table], t.ref.ClientID, t.ref.Connection, t.stamp, t.no, seqs[lo:hi])
		if err != nil {
			return err
		}
		var id string
		var same bool
		var written []string
		var unchanged int64
		_, err = pgx.ForEachRow(rows, []any{&id, &same}, func() error {
			written = append(written, common.EntityID(id))
			if same {
				unchanged++
			}
			return nil
		})
		if err != nil {
			return err
		}
		if _, err := t.conn.Exec(ctx, "UPDATE adsync_items SET state = $3, raw = NULL WHERE run_no = $1 AND seq = ANY ($2) AND state = 0", t.no, seqs[lo:hi], itemDone); err != nil {
			return err
		}
		ids = append(ids, written...)
		t.res.Written += int64(len(written))
		t.res.Unchanged += unchanged
		return nil
	}
	var err error
	if t.careful {
		err = t.narrow(ctx, 0, len(seqs), write, func(i int, err error) error { return t.refuseItem(ctx, seqs[i], err) })
	} else {
		err = write(0, len(seqs))
	}
	if err != nil {
		return err
	}
	return t.resolve(ctx, ids)
}

// waiting reads waiting items by their Seq.
func (t *commit) waiting(ctx context.Context, seqs []int64) (map[int64]ads.Entity, error) {
	rows, err := t.conn.Query(ctx, "SELECT seq, id, raw::text FROM adsync_items WHERE run_no = $1 AND seq = ANY ($2) AND state = 0", t.no, seqs)
	if err != nil {
		return nil, err
	}
	out := map[int64]ads.Entity{}
	var seq int64
	var id string
	var raw *string
	_, err = pgx.ForEachRow(rows, []any{&seq, &id, &raw}, func() error {
		e := ads.Entity{ID: id}
		if raw != nil {
			e.Raw = []byte(*raw)
		}
		out[seq] = e
		return nil
	})
	return out, err
}

func (t *commit) refuseItem(ctx context.Context, seq int64, cause error) error {
	items, err := t.waiting(ctx, []int64{seq})
	if err != nil {
		return err
	}
	e, ok := items[seq]
	if !ok {
		return nil
	}
	if err := t.refuse(ctx, e.ID, e.Raw, cause); err != nil {
		return err
	}
	return t.endFailed(ctx, []int64{seq})
}

// endFailed takes items that have failed off the list of those that wait. What is left of them says that they were listed.
func (t *commit) endFailed(ctx context.Context, seqs []int64) error {
	_, err := t.conn.Exec(ctx, "UPDATE adsync_items SET state = $3, raw = NULL WHERE run_no = $1 AND seq = ANY ($2)", t.no, seqs, itemFailed)
	return err
}

// failed keeps the items whose own calls have failed for good.
func (t *commit) failed(ctx context.Context) error {
	if len(t.c.Failed) == 0 {
		return nil
	}
	seqs := make([]int64, len(t.c.Failed))
	for i := range seqs {
		seqs[i] = t.c.Failed[i].Seq
	}
	items, err := t.waiting(ctx, seqs)
	if err != nil {
		return err
	}
	var fs []common.Failure
	seqs = seqs[:0]
	for i := range t.c.Failed {
		f := &t.c.Failed[i]
		e, ok := items[f.Seq]
		if !ok {
			continue
		}
		fs = append(fs, common.Failure{
			EntityID: common.EntityID(e.ID), Class: f.Class, Code: f.Code, Message: f.Message, Hint: f.Hint, RequestID: f.RequestID,
			Attempts: int64(f.Attempts), Backoff: f.Backoff, Raw: common.CutRaw(e.Raw),
		})
		seqs = append(seqs, f.Seq)
	}
	if err := t.fail(ctx, fs); err != nil {
		return err
	}
	return t.endFailed(ctx, seqs)
}
