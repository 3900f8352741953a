package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

const noticesSQL = "SELECT client_id, connection, trouble, reason, since, ended_at, told_at, tries, claimed_by, claimed_until FROM adsync_notices ORDER BY client_id, connection, trouble"

// Notices implements store.Store.
func (s *Store) Notices(ctx context.Context) (out []store.Notice, err error) {
	err = s.each(ctx, "read notices", noticesSQL, nil, func(rows *sql.Rows) error {
		var n store.Notice
		var since, ended, told, until nullStamp
		var by nullText
		err := rows.Scan(&n.Ref.ClientID, &n.Ref.Connection, &n.Trouble, &n.Reason, &since, &ended, &told, &n.Tries, &by, &until)
		n.Since, n.EndedAt, n.ToldAt, n.ClaimedBy, n.ClaimedUntil = time.Time(since), time.Time(ended), time.Time(told), string(by), time.Time(until)
		out = append(out, n)
		return err
	})
	return out, err
}

// UpdateNotices implements store.Store.
func (s *Store) UpdateNotices(ctx context.Context, fn func([]store.Notice, time.Time) ([]store.Notice, []store.NoticeKey)) error {
	return s.write.tx(ctx, "notices", func(c *conn) error {
		var all []store.Notice
		err := c.query(noticesSQL, func(v []driver.Value) error {
			n := store.Notice{
				NoticeKey: store.NoticeKey{Ref: ads.Ref{ClientID: asString(v[0]), Connection: asString(v[1])}, Trouble: asString(v[2])},
				Reason:    asString(v[3]), Tries: int(asInt(v[7])), ClaimedBy: asString(v[8]),
			}
			var errs [4]error
			n.Since, errs[0] = asTime(v[4])
			n.EndedAt, errs[1] = asTime(v[5])
			n.ToldAt, errs[2] = asTime(v[6])
			n.ClaimedUntil, errs[3] = asTime(v[9])
			all = append(all, n)
			return errors.Join(errs[:]...)
		})
		if err != nil {
			return err
		}
		put, drop := fn(all, time.Now().UTC())
		for _, k := range drop {
			if _, err := c.exec("DELETE FROM adsync_notices WHERE client_id = ? AND connection = ? AND trouble = ?", k.Ref.ClientID, k.Ref.Connection, k.Trouble); err != nil {
				return err
			}
		}
		for _, n := range put {
			_, err := c.exec(`INSERT OR REPLACE INTO adsync_notices (client_id, connection, trouble, reason, since, ended_at, told_at, tries, claimed_by, claimed_until)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, n.Ref.ClientID, n.Ref.Connection, n.Trouble, ads.Text(n.Reason), stamp(n.Since), timeOrNull(n.EndedAt), timeOrNull(n.ToldAt),
				n.Tries, textOrNull(n.ClaimedBy), timeOrNull(n.ClaimedUntil))
			if err != nil {
				return err
			}
		}
		return nil
	})
}
