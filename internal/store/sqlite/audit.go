package sqlite

import (
	"context"
	"database/sql"
	"math"
	"time"

	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// Audit implements store.Store.
func (s *Store) Audit(ctx context.Context, e store.AuditEntry) error {
	return s.write.tx(ctx, "audit", func(c *conn) error {
		_, err := c.exec("INSERT INTO adsync_audit (at, who, remote, action, client_id, connection, detail, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", append([]any{stamp(time.Now())}, common.AuditTexts(e)...)...)
		return err
	})
}

// AuditLog implements store.Store.
func (s *Store) AuditLog(ctx context.Context, limit int, beforeID int64) (out []store.AuditEntry, err error) {
	if beforeID <= 0 {
		beforeID = math.MaxInt64
	}
	err = s.each(ctx, "read audit log", "SELECT id, at, who, remote, action, client_id, connection, detail, result FROM adsync_audit WHERE id < ? ORDER BY id DESC LIMIT ?",
		[]any{beforeID, max(0, min(limit, store.MaxAudit))}, func(rows *sql.Rows) error {
			var e store.AuditEntry
			var at nullStamp
			err := rows.Scan(&e.ID, &at, &e.Who, &e.Remote, &e.Action, &e.Ref.ClientID, &e.Ref.Connection, &e.Detail, &e.Result)
			e.At = time.Time(at)
			out = append(out, e)
			return err
		})
	return out, err
}
