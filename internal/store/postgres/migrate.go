package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

//go:embed migrations/*.sql
var migrations embed.FS

func migrationFiles() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded
	}
	return sub
}

func newer(sc store.Schema) error {
	return &store.Error{
		Kind: store.KindSchema, Op: "migrate", Message: fmt.Sprintf("database is at %d, this binary knows %d", sc.Current, sc.Known),
		Hint: "a newer adsync has been at work here: use that one",
	}
}

func older(sc store.Schema) error {
	return &store.Error{
		Kind: store.KindSchema, Op: "check", Message: fmt.Sprintf("database is at %d, this binary needs %d", sc.Current, sc.Known), Hint: "run: adsync migrate",
	}
}

// Schema implements store.Store.
func (s *Store) Schema(ctx context.Context) (sc store.Schema, err error) {
	err = s.read(ctx, "schema", func(ctx context.Context, c *pgx.Conn) error {
		sc, err = schemaOf(ctx, c)
		return err
	})
	return sc, err
}

func schemaOf(ctx context.Context, c *pgx.Conn) (store.Schema, error) {
	sc := store.Schema{Known: common.Newest(migrationFiles())}
	var there bool
	err := c.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", common.VersionTable).Scan(&there)
	if err == nil && there {
		err = c.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+common.VersionTable+" WHERE is_applied").Scan(&sc.Current)
	}
	return sc, err
}

// migrateWait bounds how long Migrate waits for another process that migrates.
const migrateWait = 2 * time.Minute

// migrateKey is the advisory lock of whoever migrates; each schema of a database has its own.
const migrateKey = "hashtextextended('adsync migrate ' || coalesce($1, current_schema(), ''), 0)"

// Migrate implements store.Store.
func (s *Store) Migrate(ctx context.Context) (sc store.Schema, err error) {
	if sc, err = s.Schema(ctx); err != nil {
		return sc, err
	}
	if sc.Current > sc.Known {
		return sc, newer(sc)
	}
	if sc.Current == sc.Known {
		return sc, nil
	}
	limited, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	sc, err = s.migrate(limited)
	return sc, s.place.error(ctx, "migrate", err)
}

func (s *Store) migrate(ctx context.Context) (sc store.Schema, err error) {
	cfg := s.config.ConnConfig.Copy()
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return sc, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	_, err = c.PgConn().Exec(ctx, fmt.Sprintf("SET statement_timeout = 0; SET lock_timeout = '%ds'", int(migrateWait.Seconds()))).ReadAll()
	if err == nil {
		_, err = c.Exec(ctx, "SELECT pg_advisory_lock("+migrateKey+")", orNull(s.schema))
	}
	if err != nil {
		return sc, err
	}
	if sc, err = schemaOf(ctx, c); err != nil {
		return sc, err
	}
	switch {
	case sc.Current > sc.Known:
		return sc, newer(sc)
	case sc.Current == sc.Known:
		return sc, nil
	case sc.Current == 0:
		if err := s.prepareSchema(ctx, c); err != nil {
			return sc, err
		}
	}
	db := stdlib.OpenDB(*cfg)
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrationFiles(), goose.WithTableName(common.VersionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return sc, err
	}
	done, err := p.Up(ctx)
	var applied []string
	for _, r := range done {
		applied = append(applied, fmt.Sprintf("%d %s", r.Source.Version, strings.TrimSuffix(path.Base(r.Source.Path), ".sql")))
	}
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		err = partial.Err
	}
	if err != nil {
		sc.Applied = applied
		return sc, err
	}
	sc, err = schemaOf(ctx, c)
	sc.Applied = applied
	return sc, err
}

// prepareSchema makes the schema that the address names where it is missing, and looks for tables in it that are not ours.
func (s *Store) prepareSchema(ctx context.Context, c *pgx.Conn) error {
	if enc := c.PgConn().ParameterStatus("server_encoding"); enc != "UTF8" {
		return &store.Error{
			Kind: store.KindSchema, Op: "migrate", Message: fmt.Sprintf("%s keeps its text as %s, which cannot hold every name", s.place, enc), Hint: "create a database with the encoding UTF8",
		}
	}
	if s.schema != "" {
		var there bool
		if err := c.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", s.schema).Scan(&there); err != nil {
			return err
		}
		if !there {
			if _, err := c.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{s.schema}.Sanitize()); err != nil {
				return err
			}
		}
	}
	rows, err := c.Query(ctx, `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema() AND c.relname = ANY ($1) AND c.relkind IN ('r', 'v', 'm', 'p', 'f') ORDER BY 1`, common.Tables)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return common.ForeignTables(s.place.String(), found, "keep adsync's tables in a schema of their own: add ?search_path=adsync to the database's address")
	}
	return nil
}

// checkRights names what the user may not do with the tables that a sync writes.
func (s *Store) checkRights(ctx context.Context) error {
	var missing []string
	err := s.read(ctx, "check", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT p || ' on ' || t FROM unnest($1::text[]) t, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p WHERE NOT has_table_privilege(t, p)
			UNION ALL SELECT 'DELETE on ' || t FROM unnest($2::text[]) t WHERE NOT has_table_privilege(t, 'DELETE')`,
			[]string{"campaigns", "accounts", "runs", "failures", "adsync_locks", "adsync_audit", "adsync_notices", "adsync_run_state", "adsync_items", "adsync_sweeps", "adsync_quota", "adsync_workers", "adsync_token_root", "adsync_tokens", "adsync_token_ends"},
			[]string{"failures", "adsync_audit", "adsync_notices", "adsync_items", "adsync_sweeps", "adsync_workers", "adsync_tokens", "adsync_token_ends"})
		if err != nil {
			return err
		}
		missing, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err == nil && len(missing) > 0 {
		err = &store.Error{
			Kind: store.KindDenied, Op: "check", Message: fmt.Sprintf("the user %s lacks rights in %s: %s", s.place.user, s.place, strings.Join(missing, ", ")),
			Hint: "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA … TO " + s.place.user,
		}
	}
	return err
}
