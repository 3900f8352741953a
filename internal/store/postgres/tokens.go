package postgres

import (
	"bytes"
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store/internal/common"
	"adsync/internal/tokens"
)

// TokenRoot implements tokens.Ledger.
func (s *Store) TokenRoot(ctx context.Context, first tokens.Sealed) (out tokens.Sealed, err error) {
	err = s.tx(ctx, "tokens", func(ctx context.Context, c *pgx.Conn) error {
		if first.Box != nil {
			if _, err := c.Exec(ctx, "INSERT INTO adsync_token_root (id, key_id, sealed) VALUES (1, $1, $2) ON CONFLICT DO NOTHING", first.Key, first.Box); err != nil {
				return err
			}
		}
		err := c.QueryRow(ctx, "SELECT key_id, sealed FROM adsync_token_root WHERE id = 1").Scan(&out.Key, &out.Box)
		if noRow(err) {
			out, err = tokens.Sealed{}, nil
		}
		return err
	})
	return out, err
}

// SwapTokenRoot implements tokens.Ledger.
func (s *Store) SwapTokenRoot(ctx context.Context, was, now tokens.Sealed) (bool, error) {
	return s.changes(ctx, "UPDATE adsync_token_root SET key_id = $3, sealed = $4 WHERE id = 1 AND key_id = $1 AND sealed = $2", was.Key, was.Box, now.Key, now.Box)
}

// changes runs one statement and says whether it has changed a row.
func (s *Store) changes(ctx context.Context, query string, args ...any) (changed bool, err error) {
	err = s.tx(ctx, "tokens", func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, query, args...)
		changed = err == nil && tag.RowsAffected() > 0
		return err
	})
	return changed, err
}

const tokenColumns = `id, platform, generation, coalesce(key_id, ''), sealed, coalesce(extract(epoch FROM clock_timestamp() - received_at), 0)::float8,
	CASE WHEN holder IS NULL THEN 0 ELSE extract(epoch FROM lease_until - clock_timestamp()) END::float8, began_at`

func scanToken(row pgx.Row) (r tokens.Row, err error) {
	var age, held float64
	var began *time.Time
	err = row.Scan(&r.ID, &r.Platform, &r.Generation, &r.Sealed.Key, &r.Sealed.Box, &age, &held, &began)
	r.Age, r.Held, r.Began = span(age), span(held), utc(began)
	return r, err
}

func span(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// ReadToken implements tokens.Ledger.
func (s *Store) ReadToken(ctx context.Context, id string) (r tokens.Row, err error) {
	err = s.read(ctx, "tokens", func(ctx context.Context, c *pgx.Conn) error {
		r, err = scanToken(c.QueryRow(ctx, "SELECT "+tokenColumns+" FROM adsync_tokens WHERE id = $1", id))
		if noRow(err) {
			return nil
		}
		return err
	})
	return r, err
}

// LeaseToken implements tokens.Ledger.
func (s *Store) LeaseToken(ctx context.Context, id string, l tokens.Lease) (was tokens.Row, taken bool, err error) {
	err = s.tx(ctx, "tokens", func(ctx context.Context, c *pgx.Conn) error {
		was, taken = tokens.Row{}, false
		missing := false
		var holder *string
		b := &pgx.Batch{}
		b.Queue(begin)
		if l.Generation == 0 {
			b.Queue("INSERT INTO adsync_tokens (id, platform, touched_at) VALUES ($1, $2, clock_timestamp()) ON CONFLICT DO NOTHING", id, ads.Text(l.Platform))
		}
		b.Queue("SELECT holder FROM adsync_tokens WHERE id = $1 FOR UPDATE", id).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&holder)
			if missing = noRow(err); missing {
				return nil
			}
			return err
		})
		b.Queue("SELECT "+tokenColumns+" FROM adsync_tokens WHERE id = $1", id).QueryRow(func(row pgx.Row) (err error) {
			if was, err = scanToken(row); missing && noRow(err) {
				return nil
			}
			return err
		})
		if err := send(ctx, c, b); err != nil {
			return err
		}
		mine := holder != nil && *holder == l.Holder // taken a moment ago; the answer was lost
		b = &pgx.Batch{}
		if taken = !missing && was.Generation == l.Generation && (was.Held <= 0 || mine); taken {
			if mine {
				was.Began = time.Time{}
			}
			b.Queue("UPDATE adsync_tokens SET holder = $2, lease_until = clock_timestamp() + $3::interval, began_at = clock_timestamp(), touched_at = clock_timestamp() WHERE id = $1", id, l.Holder, l.Life)
		}
		b.Queue("COMMIT")
		return send(ctx, c, b)
	})
	return was, taken && err == nil, err
}

// ExtendToken implements tokens.Ledger.
func (s *Store) ExtendToken(ctx context.Context, id, holder string, life time.Duration) (bool, error) {
	return s.changes(ctx, "UPDATE adsync_tokens SET lease_until = clock_timestamp() + $3::interval WHERE id = $1 AND holder = $2", id, holder, life)
}

// FreeToken implements tokens.Ledger.
func (s *Store) FreeToken(ctx context.Context, id, holder string, settled bool) error {
	_, err := s.changes(ctx, "UPDATE adsync_tokens SET holder = NULL, lease_until = NULL, began_at = CASE WHEN $3 THEN NULL ELSE began_at END WHERE id = $1 AND holder = $2", id, holder, settled)
	return err
}

// KeepToken implements tokens.Ledger.
func (s *Store) KeepToken(ctx context.Context, id string, k tokens.Keep) (stored bool, err error) {
	err = s.tx(ctx, "tokens", func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, `UPDATE adsync_tokens SET generation = generation + 1, key_id = $3, sealed = $4, received_at = clock_timestamp() - $5::interval,
			holder = NULL, lease_until = NULL, began_at = NULL, touched_at = clock_timestamp() WHERE id = $1 AND generation = $2`, id, k.Generation, k.Sealed.Key, k.Sealed.Box, k.Age)
		if stored = err == nil && tag.RowsAffected() > 0; stored || err != nil {
			return err
		}
		var generation int64
		var box []byte
		err = c.QueryRow(ctx, "SELECT generation, sealed FROM adsync_tokens WHERE id = $1", id).Scan(&generation, &box)
		if noRow(err) {
			return nil
		}
		stored = err == nil && generation == k.Generation+1 && bytes.Equal(box, k.Sealed.Box) // a moment ago; the answer was lost
		return err
	})
	return stored, err
}

// TokensNotOf implements tokens.Ledger.
func (s *Store) TokensNotOf(ctx context.Context, key, after string, limit int) (out []tokens.Row, err error) {
	err = s.read(ctx, "tokens", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT "+tokenColumns+" FROM adsync_tokens WHERE generation > 0 AND key_id <> $1 AND id > $2 ORDER BY id LIMIT $3", key, after, limit)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (tokens.Row, error) { return scanToken(row) })
		return err
	})
	return out, err
}

// SwapToken implements tokens.Ledger.
func (s *Store) SwapToken(ctx context.Context, id string, generation int64, now tokens.Sealed) (bool, error) {
	return s.changes(ctx, "UPDATE adsync_tokens SET key_id = $3, sealed = $4 WHERE id = $1 AND generation = $2", id, generation, now.Key, now.Box)
}

// NoteTokenEnd implements tokens.Ledger.
func (s *Store) NoteTokenEnd(ctx context.Context, e tokens.End) error {
	if e.At.IsZero() {
		_, err := s.changes(ctx, "DELETE FROM adsync_token_ends WHERE client_id = $1 AND connection = $2", e.Ref.ClientID, e.Ref.Connection)
		return err
	}
	_, err := s.changes(ctx, `INSERT INTO adsync_token_ends AS e (client_id, connection, ends_at, why) VALUES ($1, $2, $3, $4) ON CONFLICT (client_id, connection) DO UPDATE
		SET warned = CASE WHEN abs(extract(epoch FROM e.ends_at - excluded.ends_at)) < 3600 THEN e.warned ELSE 0 END, ends_at = excluded.ends_at, why = excluded.why`,
		e.Ref.ClientID, e.Ref.Connection, common.Micro(e.At), ads.Text(e.Why))
	return err
}

// TokenEnds implements tokens.Ledger.
func (s *Store) TokenEnds(ctx context.Context) (out []tokens.End, err error) {
	err = s.read(ctx, "tokens", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT client_id, connection, ends_at, why, warned FROM adsync_token_ends ORDER BY client_id, connection")
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e tokens.End, err error) {
			err = row.Scan(&e.Ref.ClientID, &e.Ref.Connection, &e.At, &e.Why, &e.Warned)
			e.At = e.At.UTC()
			return e, err
		})
		return err
	})
	return out, err
}

// ClaimTokenWarning implements tokens.Ledger.
func (s *Store) ClaimTokenWarning(ctx context.Context, e tokens.End, days int) (bool, error) {
	return s.changes(ctx, `UPDATE adsync_token_ends SET warned = $4 WHERE client_id = $1 AND connection = $2 AND abs(extract(epoch FROM ends_at - $3::timestamptz)) < 3600
		AND (warned = 0 OR warned > $4)`, e.Ref.ClientID, e.Ref.Connection, common.Micro(e.At), days)
}
