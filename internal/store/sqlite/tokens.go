package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"adsync/internal/ads"
	"adsync/internal/tokens"
)

// TokenRoot implements tokens.Ledger.
func (s *Store) TokenRoot(ctx context.Context, first tokens.Sealed) (out tokens.Sealed, err error) {
	if first.Box != nil {
		_, err = s.changes(ctx, "INSERT INTO adsync_token_root (id, key_id, sealed) VALUES (1, ?, ?) ON CONFLICT DO NOTHING", first.Key, first.Box)
	}
	if err != nil {
		return out, err
	}
	err = s.each(ctx, "tokens", "SELECT key_id, sealed FROM adsync_token_root", nil, func(rows *sql.Rows) error { return rows.Scan(&out.Key, &out.Box) })
	return out, err
}

// SwapTokenRoot implements tokens.Ledger.
func (s *Store) SwapTokenRoot(ctx context.Context, was, now tokens.Sealed) (bool, error) {
	return s.changes(ctx, "UPDATE adsync_token_root SET key_id = ?3, sealed = ?4 WHERE id = 1 AND key_id = ?1 AND sealed = ?2", was.Key, was.Box, now.Key, now.Box)
}

// changes runs one statement, before what runs have to write, and says whether it has changed a row.
func (s *Store) changes(ctx context.Context, query string, args ...any) (changed bool, err error) {
	err = s.write.urgent(ctx, "tokens", func(c *conn) error {
		n, err := c.exec(query, args...)
		changed = n > 0
		return err
	})
	return changed && err == nil, err
}

const tokenColumns = "id, platform, generation, key_id, sealed, received_at, holder, lease_until, began_at"

// tokenRow reads tokenColumns.
func tokenRow(v []driver.Value) (r tokens.Row, holder string, err error) {
	r = tokens.Row{ID: asString(v[0]), Platform: asString(v[1]), Generation: asInt(v[2]), Sealed: tokens.Sealed{Key: asString(v[3]), Box: asBytes(v[4])}}
	var received, until time.Time
	for i, at := range map[int]*time.Time{5: &received, 7: &until, 8: &r.Began} {
		if *at, err = asTime(v[i]); err != nil {
			return r, "", err
		}
	}
	if r.Generation > 0 {
		r.Age = time.Since(received)
	}
	if holder = asString(v[6]); holder != "" {
		r.Held = time.Until(until)
	}
	return r, holder, nil
}

// ReadToken implements tokens.Ledger.
func (s *Store) ReadToken(ctx context.Context, id string) (r tokens.Row, err error) {
	err = s.each(ctx, "tokens", "SELECT "+tokenColumns+" FROM adsync_tokens WHERE id = ?", []any{id}, func(rows *sql.Rows) (err error) {
		r, err = scanTokens(rows)
		return err
	})
	return r, err
}

func scanTokens(rows *sql.Rows) (tokens.Row, error) {
	var v [9]any
	var at [9]any
	for i := range v {
		at[i] = &v[i]
	}
	if err := rows.Scan(at[:]...); err != nil {
		return tokens.Row{}, err
	}
	values := make([]driver.Value, len(v))
	for i := range v {
		values[i] = v[i]
	}
	r, _, err := tokenRow(values)
	return r, err
}

// LeaseToken implements tokens.Ledger.
func (s *Store) LeaseToken(ctx context.Context, id string, l tokens.Lease) (was tokens.Row, taken bool, err error) {
	err = s.write.urgent(ctx, "tokens", func(c *conn) error {
		now := time.Now()
		if l.Generation == 0 {
			if _, err := c.exec("INSERT INTO adsync_tokens (id, platform, touched_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", id, ads.Text(l.Platform), stamp(now)); err != nil {
				return err
			}
		}
		holder := ""
		err := c.query("SELECT "+tokenColumns+" FROM adsync_tokens WHERE id = ?", func(v []driver.Value) (err error) {
			was, holder, err = tokenRow(v)
			return err
		}, id)
		if err != nil || was.ID == "" || was.Generation != l.Generation || was.Held > 0 && holder != l.Holder {
			return err
		}
		taken = true
		_, err = c.exec("UPDATE adsync_tokens SET holder = ?2, lease_until = ?3, began_at = ?4, touched_at = ?4 WHERE id = ?1", id, l.Holder, stamp(now.Add(l.Life)), stamp(now))
		return err
	})
	return was, taken && err == nil, err
}

// ExtendToken implements tokens.Ledger.
func (s *Store) ExtendToken(ctx context.Context, id, holder string, life time.Duration) (bool, error) {
	return s.changes(ctx, "UPDATE adsync_tokens SET lease_until = ?3 WHERE id = ?1 AND holder = ?2", id, holder, stamp(time.Now().Add(life)))
}

// FreeToken implements tokens.Ledger.
func (s *Store) FreeToken(ctx context.Context, id, holder string, settled bool) error {
	kept := "began_at"
	if settled {
		kept = "NULL"
	}
	_, err := s.changes(ctx, "UPDATE adsync_tokens SET holder = NULL, lease_until = NULL, began_at = "+kept+" WHERE id = ? AND holder = ?", id, holder)
	return err
}

// KeepToken implements tokens.Ledger.
func (s *Store) KeepToken(ctx context.Context, id string, k tokens.Keep) (stored bool, err error) {
	err = s.write.urgent(ctx, "tokens", func(c *conn) error {
		now := time.Now()
		n, err := c.exec(`UPDATE adsync_tokens SET generation = generation + 1, key_id = ?3, sealed = ?4, received_at = ?5, holder = NULL, lease_until = NULL, began_at = NULL, touched_at = ?6
			WHERE id = ?1 AND generation = ?2`, id, k.Generation, k.Sealed.Key, k.Sealed.Box, stamp(now.Add(-k.Age)), stamp(now))
		if stored = n > 0; stored || err != nil {
			return err
		}
		return c.query("SELECT generation, sealed FROM adsync_tokens WHERE id = ?", func(v []driver.Value) error {
			stored = asInt(v[0]) == k.Generation+1 && bytes.Equal(asBytes(v[1]), k.Sealed.Box) // a moment ago
			return nil
		}, id)
	})
	return stored && err == nil, err
}

// TokensNotOf implements tokens.Ledger.
func (s *Store) TokensNotOf(ctx context.Context, key, after string, limit int) (out []tokens.Row, err error) {
	err = s.each(ctx, "tokens", "SELECT "+tokenColumns+" FROM adsync_tokens WHERE generation > 0 AND key_id <> ? AND id > ? ORDER BY id LIMIT ?", []any{key, after, limit}, func(rows *sql.Rows) error {
		r, err := scanTokens(rows)
		out = append(out, r)
		return err
	})
	return out, err
}

// SwapToken implements tokens.Ledger.
func (s *Store) SwapToken(ctx context.Context, id string, generation int64, now tokens.Sealed) (bool, error) {
	return s.changes(ctx, "UPDATE adsync_tokens SET key_id = ?3, sealed = ?4 WHERE id = ?1 AND generation = ?2", id, generation, now.Key, now.Box)
}

// NoteTokenEnd implements tokens.Ledger.
func (s *Store) NoteTokenEnd(ctx context.Context, e tokens.End) error {
	if e.At.IsZero() {
		var n int
		err := s.each(ctx, "tokens", "SELECT count(*) FROM adsync_token_ends WHERE client_id = ? AND connection = ?", []any{e.Ref.ClientID, e.Ref.Connection}, func(rows *sql.Rows) error { return rows.Scan(&n) })
		if err == nil && n > 0 { // as a rule there is none, and nothing to write
			_, err = s.changes(ctx, "DELETE FROM adsync_token_ends WHERE client_id = ? AND connection = ?", e.Ref.ClientID, e.Ref.Connection)
		}
		return err
	}
	_, err := s.changes(ctx, `INSERT INTO adsync_token_ends (client_id, connection, ends_at, why) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (client_id, connection) DO UPDATE
		SET warned = iif(abs(unixepoch(ends_at) - unixepoch(excluded.ends_at)) < 3600, warned, 0), ends_at = excluded.ends_at, why = excluded.why`,
		e.Ref.ClientID, e.Ref.Connection, stamp(e.At), ads.Text(e.Why))
	return err
}

// TokenEnds implements tokens.Ledger.
func (s *Store) TokenEnds(ctx context.Context) (out []tokens.End, err error) {
	err = s.each(ctx, "tokens", "SELECT client_id, connection, ends_at, why, warned FROM adsync_token_ends ORDER BY client_id, connection", nil, func(rows *sql.Rows) error {
		var e tokens.End
		var at nullStamp
		err := rows.Scan(&e.Ref.ClientID, &e.Ref.Connection, &at, &e.Why, &e.Warned)
		e.At = time.Time(at)
		out = append(out, e)
		return err
	})
	return out, err
}

// ClaimTokenWarning implements tokens.Ledger.
func (s *Store) ClaimTokenWarning(ctx context.Context, e tokens.End, days int) (bool, error) {
	return s.changes(ctx, `UPDATE adsync_token_ends SET warned = ?4 WHERE client_id = ?1 AND connection = ?2 AND abs(unixepoch(ends_at) - unixepoch(?3)) < 3600
		AND (warned = 0 OR warned > ?4)`, e.Ref.ClientID, e.Ref.Connection, stamp(e.At), days)
}
