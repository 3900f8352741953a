package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/gofrs/flock"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// Acquire implements store.Store.
func (s *Store) Acquire(ctx context.Context, ref ads.Ref) (store.Lease, error) {
	me, err := s.holder.take()
	if err != nil {
		return store.Lease{}, s.place.openError(err)
	}
	lease := store.Lease{Ref: ref}
	var takenOver func()
	err = s.write.tx(ctx, "lock", func(c *conn) error {
		var holder, text string
		var since time.Time
		err := c.query("SELECT fence, holder_id, holder_text, since FROM adsync_locks WHERE client_id = ? AND connection = ?", func(v []driver.Value) (err error) {
			lease.Fence, holder, text = asInt(v[0]), asString(v[1]), asString(v[2])
			since, err = asTime(v[3])
			return err
		}, ref.ClientID, ref.Connection)
		if err != nil {
			return err
		}
		if holder != "" {
			gone, err := leaseEnded(c, holder)
			if err != nil {
				return err
			}
			if !gone && holder != me {
				var lock *flock.Flock
				if gone, lock = dead(s.path, holder); lock != nil {
					takenOver = func() { _ = dropLock(lock) }
				}
			}
			if !gone {
				return &store.BusyError{Ref: ref, Holder: text, Since: since}
			}
		}
		lease.Fence++
		_, err = c.exec(`INSERT INTO adsync_locks (client_id, connection, fence, holder_id, holder_text, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
			ON CONFLICT (client_id, connection) DO UPDATE SET fence = excluded.fence, holder_id = excluded.holder_id,
				holder_text = excluded.holder_text, since = excluded.since`,
			ref.ClientID, ref.Connection, lease.Fence, me, common.HolderText(), stamp(time.Now()))
		return err
	})
	if takenOver != nil {
		takenOver()
	}
	if err != nil {
		return store.Lease{}, err
	}
	return lease, nil
}

// Release implements store.Store.
func (s *Store) Release(ctx context.Context, l store.Lease) error {
	return s.write.tx(ctx, "unlock", func(c *conn) error {
		n, err := c.exec(`UPDATE adsync_locks SET holder_id = NULL, holder_text = NULL, since = NULL
			WHERE client_id = ? AND connection = ? AND fence = ? AND holder_id = ?`, l.Ref.ClientID, l.Ref.Connection, l.Fence, s.holder.current())
		if err == nil && n == 0 {
			return store.ErrFenced
		}
		return err
	})
}

// fenced is a transaction that only the newest holder of the connection gets through. fn is given the newest stamp of the connection.
func (s *Store) fenced(ctx context.Context, op string, l store.Lease, fn func(c *conn, last time.Time) error) error {
	return s.write.tx(ctx, op, func(c *conn) error {
		ok, last := false, time.Time{}
		err := c.query("SELECT last_stamp FROM adsync_locks WHERE client_id = ? AND connection = ? AND fence = ? AND holder_id = ?", func(v []driver.Value) (err error) {
			ok = true
			last, err = asTime(v[0])
			return err
		}, l.Ref.ClientID, l.Ref.Connection, l.Fence, s.holder.current())
		if err != nil {
			return err
		}
		if !ok {
			return store.ErrFenced
		}
		return fn(c, last)
	})
}

// NoteWait implements store.Store.
func (s *Store) NoteWait(ctx context.Context, l store.Lease, w store.Wait) error {
	return s.fenced(ctx, "wait", l, func(c *conn, _ time.Time) error { return setWait(c, l.Ref, w) })
}

func setWait(c *conn, ref ads.Ref, w store.Wait) error {
	_, err := c.exec("UPDATE adsync_locks SET wait_reason = ?3, wait_until = ?4, wait_mark = ?5 WHERE client_id = ?1 AND connection = ?2",
		ref.ClientID, ref.Connection, textOrNull(w.Reason), timeOrNull(w.Until), textOrNull(w.Mark))
	return err
}

// Park implements store.Store.
func (s *Store) Park(ctx context.Context, ref ads.Ref, w store.Wait) error {
	return s.write.tx(ctx, "park", func(c *conn) error {
		if w != (store.Wait{}) {
			if _, err := c.exec("INSERT INTO adsync_locks (client_id, connection, fence) VALUES (?, ?, 0) ON CONFLICT DO NOTHING", ref.ClientID, ref.Connection); err != nil {
				return err
			}
		}
		return setWait(c, ref, w)
	})
}

// ReadWait implements store.Store.
func (s *Store) ReadWait(ctx context.Context, ref ads.Ref) (w store.Wait, err error) {
	err = s.each(ctx, "read wait", "SELECT wait_reason, wait_until, wait_mark FROM adsync_locks WHERE client_id = ? AND connection = ?", []any{ref.ClientID, ref.Connection}, func(rows *sql.Rows) error {
		var reason, mark nullText
		var until nullStamp
		err := rows.Scan(&reason, &until, &mark)
		w = store.Wait{Reason: string(reason), Until: time.Time(until), Mark: string(mark)}
		return err
	})
	return w, err
}

// scanOne reads the first column of the only row.
func scanOne[T int64 | string | []byte](into *T) func([]driver.Value) error {
	return func(v []driver.Value) error {
		switch p := any(into).(type) {
		case *int64:
			*p = asInt(v[0])
		case *string:
			*p = asString(v[0])
		case *[]byte:
			*p = asBytes(v[0])
		}
		return nil
	}
}
