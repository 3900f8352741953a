package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// Audit implements store.Store.
func (s *Store) Audit(ctx context.Context, e store.AuditEntry) error {
	return s.tx(ctx, "audit", func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "INSERT INTO adsync_audit (at, who, remote, action, client_id, connection, detail, result) VALUES (clock_timestamp(), $1, $2, $3, $4, $5, $6, $7)", common.AuditTexts(e)...)
		return err
	})
}

// AuditLog implements store.Store.
func (s *Store) AuditLog(ctx context.Context, limit int, beforeID int64) (out []store.AuditEntry, err error) {
	if beforeID <= 0 {
		beforeID = math.MaxInt64
	}
	err = s.read(ctx, "read audit log", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT id, at, who, remote, action, client_id, connection, detail, result FROM adsync_audit WHERE id < $1 ORDER BY id DESC LIMIT $2", beforeID, max(0, min(limit, store.MaxAudit)))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e store.AuditEntry, err error) {
			err = row.Scan(&e.ID, &e.At, &e.Who, &e.Remote, &e.Action, &e.Ref.ClientID, &e.Ref.Connection, &e.Detail, &e.Result)
			e.At = e.At.UTC()
			return e, err
		})
		return err
	})
	return out, err
}
