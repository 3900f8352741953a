package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

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
	err = s.fenced(ctx, "sweep", l, func(ctx context.Context, c *pgx.Conn, _ time.Time) error {
		res = store.SweepResult{}
		var no int64
		err := c.QueryRow(ctx, runNoSQL, w.RunID, l.Ref.ClientID, l.Ref.Connection).Scan(&no)
		if noRow(err) {
			return notOpen(l.Ref, w.RunID)
		}
		if err != nil {
			return err
		}
		key := "t.synced_at < $4"
		args := []any{l.Ref.ClientID, l.Ref.Connection, w.Account, common.Micro(w.PassStart)}
		if !w.Direct {
			key = "NOT EXISTS (SELECT 1 FROM adsync_items i WHERE i.run_no = $4 AND i.account_id = $3 AND i.stream = $5 AND i.id = t.id AND i.pass = $6)"
			args = []any{l.Ref.ClientID, l.Ref.Connection, w.Account, no, w.Stream, w.Pass}
		}
		// What an earlier sweep of this run has marked, and no figures tell of yet, counts again: its answer may have been lost.
		var before, gone int64
		b := &pgx.Batch{}
		b.Queue("SELECT coalesce(sum(marked), 0)::bigint FROM adsync_sweeps WHERE run_no = $1 AND account_id = $2 AND stream = $3", no, w.Account, w.Stream).
			QueryRow(func(row pgx.Row) error { return row.Scan(&before) })
		b.Queue("SELECT count(*), count(*) FILTER (WHERE "+key+") FROM "+table+" t WHERE t.client_id = $1 AND t.connection = $2 AND t.account_id = $3 AND t.removed_at IS NULL", args...).
			QueryRow(func(row pgx.Row) error { return row.Scan(&res.Present, &gone) })
		if err := send(ctx, c, b); err != nil {
			return err
		}
		res.Present += before
		res.Gone = gone + before
		b = &pgx.Batch{}
		if common.TooMany(res.Gone, res.Present, w.MaxShare) {
			b.Queue("COMMIT")
			return send(ctx, c, b)
		}
		stamp := common.Micro(w.Stamp)
		if gone > 0 {
			at := "$5"
			if !w.Direct {
				at = "$7"
			}
			b.Queue("UPDATE "+table+" t SET removed_at = "+at+", changed_at = "+at+" WHERE t.client_id = $1 AND t.connection = $2 AND t.account_id = $3 AND t.removed_at IS NULL AND "+key,
				append(args, stamp)...)
			b.Queue(`INSERT INTO adsync_sweeps AS t (run_no, account_id, stream, marked) VALUES ($1, $2, $3, $4)
				ON CONFLICT (run_no, account_id, stream) DO UPDATE SET marked = t.marked + excluded.marked`, no, w.Account, w.Stream, gone)
		}
		res.Marked = res.Gone
		// What is held was listed, and has not been tried.
		b.Queue(`UPDATE failures f SET resolved_at = $5 WHERE client_id = $1 AND connection = $2 AND account_id = $3 AND stream = $4
			AND resolved_at IS NULL AND last_failed_at < $6 AND NOT EXISTS (SELECT 1 FROM adsync_items i WHERE i.run_no = $7 AND i.account_id = $3 AND i.stream = $4
				AND i.id = f.entity_id AND i.state = $8 AND i.pass = $9)`,
			l.Ref.ClientID, l.Ref.Connection, w.Account, w.Stream, stamp, common.Micro(w.RunStart), no, itemHeld, w.Pass)
		b.Queue("UPDATE adsync_locks SET last_stamp = greatest(last_stamp, $3::timestamptz) WHERE client_id = $1 AND connection = $2", l.Ref.ClientID, l.Ref.Connection, stamp)
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
	return res, err
}
