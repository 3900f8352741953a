package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// Acquire implements store.Store.
func (s *Store) Acquire(ctx context.Context, ref ads.Ref) (store.Lease, error) {
	me, err := s.holder.take(ctx)
	if err != nil {
		return store.Lease{}, s.place.error(ctx, "lock", err)
	}
	lease := store.Lease{Ref: ref}
	nonce := uuid.NewString()
	err = s.tx(ctx, "lock", func(ctx context.Context, c *pgx.Conn) error {
		var holder, text, taken *string
		var since *time.Time
		gone := false // what the holder held is free
		b := &pgx.Batch{}
		b.Queue(begin)
		b.Queue("INSERT INTO adsync_locks (client_id, connection, fence) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING", ref.ClientID, ref.Connection)
		b.Queue("SELECT fence, holder_id, holder_text, since, nonce FROM adsync_locks WHERE client_id = $1 AND connection = $2 FOR NO KEY UPDATE", ref.ClientID, ref.Connection).QueryRow(func(row pgx.Row) error {
			return row.Scan(&lease.Fence, &holder, &text, &since, &taken)
		})
		b.Queue("SELECT "+leaseEndedSQL+"l.holder_id) FROM adsync_locks l WHERE l.client_id = $1 AND l.connection = $2", ref.ClientID, ref.Connection).QueryRow(func(row pgx.Row) error {
			return row.Scan(&gone)
		})
		if err := send(ctx, c, b); err != nil {
			return err
		}
		if holder != nil && taken != nil && *taken == nonce { // taken a moment ago; the answer was lost
			_, err := c.Exec(ctx, "COMMIT")
			return err
		}
		if holder != nil && *holder != me && !gone {
			// The share is ours only when nobody holds the lock; several may ask at once, and it ends with the transaction.
			if err := c.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock_shared($1::bigint)", *holder).Scan(&gone); err != nil {
				return err
			}
		}
		if holder != nil && !gone {
			busy := &store.BusyError{Ref: ref}
			if text != nil {
				busy.Holder = *text
			}
			if since != nil {
				busy.Since = since.UTC()
			}
			return busy
		}
		lease.Fence++
		b = &pgx.Batch{}
		b.Queue("UPDATE adsync_locks SET fence = $3, holder_id = $4, holder_text = $5, nonce = $6, since = clock_timestamp() WHERE client_id = $1 AND connection = $2",
			ref.ClientID, ref.Connection, lease.Fence, me, common.HolderText(), nonce)
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
	if err != nil {
		return store.Lease{}, err
	}
	return lease, nil
}

// Release implements store.Store.
func (s *Store) Release(ctx context.Context, l store.Lease) error {
	s.forget(l)
	return s.tx(ctx, "unlock", func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, "UPDATE adsync_locks SET holder_id = NULL, holder_text = NULL, since = NULL WHERE client_id = $1 AND connection = $2 AND fence = $3 AND holder_id = $4",
			l.Ref.ClientID, l.Ref.Connection, l.Fence, s.holder.current())
		if err == nil && tag.RowsAffected() == 0 {
			return store.ErrFenced
		}
		return err
	})
}

// NoteWait implements store.Store.
func (s *Store) NoteWait(ctx context.Context, l store.Lease, w store.Wait) error {
	return s.fenced(ctx, "wait", l, func(ctx context.Context, c *pgx.Conn, _ time.Time) error {
		b := &pgx.Batch{}
		queueWait(b, l.Ref, w)
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
}

func queueWait(b *pgx.Batch, ref ads.Ref, w store.Wait) {
	b.Queue("UPDATE adsync_locks SET wait_reason = $3, wait_until = $4, wait_mark = $5 WHERE client_id = $1 AND connection = $2", ref.ClientID, ref.Connection, orNull(w.Reason), timeOrNull(w.Until), orNull(w.Mark))
}

// Park implements store.Store.
func (s *Store) Park(ctx context.Context, ref ads.Ref, w store.Wait) error {
	return s.tx(ctx, "park", func(ctx context.Context, c *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(begin)
		if w == (store.Wait{}) {
			queueWait(b, ref, w)
		} else {
			b.Queue(`INSERT INTO adsync_locks (client_id, connection, fence, wait_reason, wait_until, wait_mark) VALUES ($1, $2, 0, $3, $4, $5)
				ON CONFLICT (client_id, connection) DO UPDATE SET wait_reason = excluded.wait_reason, wait_until = excluded.wait_until, wait_mark = excluded.wait_mark`,
				ref.ClientID, ref.Connection, orNull(w.Reason), timeOrNull(w.Until), orNull(w.Mark))
		}
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
}

// ReadWait implements store.Store.
func (s *Store) ReadWait(ctx context.Context, ref ads.Ref) (w store.Wait, err error) {
	err = s.read(ctx, "read wait", func(ctx context.Context, c *pgx.Conn) error {
		var until *time.Time
		err := c.QueryRow(ctx, "SELECT coalesce(wait_reason, ''), wait_until, coalesce(wait_mark, '') FROM adsync_locks WHERE client_id = $1 AND connection = $2", ref.ClientID, ref.Connection).
			Scan(&w.Reason, &until, &w.Mark)
		w.Until = utc(until)
		if noRow(err) {
			return nil
		}
		return err
	})
	return w, err
}

// forget drops what is remembered about a lease.
func (s *Store) forget(l store.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.fresh {
		if k.ref == l.Ref {
			delete(s.fresh, k)
		}
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return ads.Text(s)
}

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return common.Micro(t)
}

// noRow says that a query found nothing, where that is no failure.
func noRow(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
