package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Superuser says who works with the database, and whether that user may do everything in its whole server.
func (s *Store) Superuser(ctx context.Context) (user string, yes bool, err error) {
	err = s.read(ctx, "check", func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT current_user, coalesce(bool_or(rolsuper), false) FROM pg_roles WHERE rolname IN (current_user, session_user)").Scan(&user, &yes)
	})
	return user, yes, err
}
