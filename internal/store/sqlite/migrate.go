package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

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

// Schema implements store.Store.
func (s *Store) Schema(ctx context.Context) (store.Schema, error) {
	sc := store.Schema{Known: common.Newest(migrationFiles())}
	var n int64
	err := s.readers.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", common.VersionTable).Scan(&n)
	if err == nil && n > 0 {
		err = s.readers.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM "+common.VersionTable+" WHERE is_applied").Scan(&sc.Current)
	}
	if err != nil {
		return sc, s.place.error("schema", err)
	}
	return sc, nil
}

// migrateWait bounds how long Migrate waits for another process that migrates.
const migrateWait = 2 * time.Minute

// Migrate implements store.Store.
func (s *Store) Migrate(ctx context.Context) (sc store.Schema, err error) {
	sc, err = s.Schema(ctx)
	switch {
	case err != nil:
		return sc, err
	case sc.Current > sc.Known:
		return sc, newer(sc)
	case sc.Current == sc.Known:
		return sc, nil
	}
	unlock, err := s.migrationTurn(ctx)
	if err != nil {
		return sc, err
	}
	defer unlock()
	if sc, err = s.Schema(ctx); err != nil {
		return sc, err
	}
	if sc.Current > sc.Known {
		return sc, newer(sc)
	}
	if sc.Current == 0 {
		if err := s.refuseForeign(ctx); err != nil {
			return sc, err
		}
	}
	db, err := sql.Open("sqlite", dsn(s.path, "journal_mode(WAL)", "synchronous(FULL)"))
	if err != nil {
		return sc, s.place.error("migrate", err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, migrationFiles(), goose.WithTableName(common.VersionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return sc, s.place.error("migrate", err)
	}
	done, err := p.Up(ctx)
	for _, r := range done {
		sc.Applied = append(sc.Applied, fmt.Sprintf("%d %s", r.Source.Version, strings.TrimSuffix(path.Base(r.Source.Path), ".sql")))
	}
	if err != nil {
		return sc, s.place.error("migrate", unwrapPartial(err))
	}
	applied := sc.Applied
	sc, err = s.Schema(ctx)
	sc.Applied = applied
	return sc, err
}

// unwrapPartial finds SQLite's own error in goose's.
func unwrapPartial(err error) error {
	if p, ok := errors.AsType[*goose.PartialError](err); ok {
		return p.Err
	}
	return err
}

// migrationTurn waits until no other process migrates.
func (s *Store) migrationTurn(ctx context.Context) (func(), error) {
	lockPath := s.path + ".migrate"
	end := time.Now().Add(migrateWait)
	for {
		l, err := lockFile(lockPath)
		if err != nil {
			return nil, s.place.openError(err)
		}
		if l != nil {
			return func() { _ = dropLock(l) }, nil
		}
		if time.Now().After(end) {
			return nil, &store.Error{Kind: store.KindLocked, Op: "migrate", Message: fmt.Sprintf("another process has been migrating %s for longer than %s", s.place.path, migrateWait), Hint: "end it and run again"}
		}
		t := time.NewTimer(25 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}

// refuseForeign looks for tables of the contract's names in a database that adsync has not migrated yet.
func (s *Store) refuseForeign(ctx context.Context) error {
	rows, err := s.readers.QueryContext(ctx, "SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
	if err != nil {
		return s.place.error("migrate", err)
	}
	defer func() { _ = rows.Close() }()
	var found []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return s.place.error("migrate", err)
		}
		if slices.Contains(common.Tables, name) {
			found = append(found, name)
		}
	}
	if err := rows.Err(); err != nil {
		return s.place.error("migrate", err)
	}
	if len(found) > 0 {
		return common.ForeignTables(s.place.path, found, "name another file: adsync makes its own tables and leaves these as they are")
	}
	return nil
}
