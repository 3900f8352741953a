package queue

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	_ "modernc.org/sqlite" // the driver

	"adsync/internal/secret"
)

// postgresConns is enough for fetching, ending and asking for jobs, and for the connection that listens.
const postgresConns = 4

// migrateLock is the advisory lock under which the queue's tables are made: "adsyncq" in ASCII.
const migrateLock = 0x61647379_6e6371

// OpenPostgres opens the queue in a PostgreSQL database. Nothing is asked of it yet.
func OpenPostgres(ctx context.Context, dsn secret.Text, o Options) (*Queue, error) {
	cfg, err := pgxpool.ParseConfig(dsn.Reveal())
	if err != nil {
		return nil, &Error{Op: "open", Err: fmt.Errorf("the database's address cannot be read")} // the cause may hold parts of it
	}
	cfg.MaxConns = postgresConns
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "adsync queue"
	}
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	cfg.ConnConfig.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, wrap("open", err)
	}
	q := newQueue(o)
	b := &riverBackend[pgx.Tx]{closeDB: pool.Close, lock: func(ctx context.Context, fn func() error) error {
		return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
			if _, err := c.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrateLock)); err != nil {
				return err
			}
			defer func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				defer cancel()
				_, _ = c.Exec(ctx, "SELECT pg_advisory_unlock($1)", int64(migrateLock))
			}()
			return fn()
		})
	}}
	if err := newBackend(q, riverpgxv5.New(pool), b); err != nil {
		pool.Close()
		return nil, wrap("open", err)
	}
	q.b = b
	return q, nil
}

// sqliteMigrate keeps migrations of this process apart; other processes wait for the file.
var sqliteMigrate sync.Mutex

// OpenSQLite opens the queue in a SQLite file that exists.
func OpenSQLite(path string, o Options) (*Queue, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, wrap("open", err)
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}
	u.RawQuery = "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=cache_size(-512)"
	db, err := sql.Open("sqlite", strings.Replace(u.String(), "file:///", "file:/", 1))
	if err != nil {
		return nil, wrap("open", err)
	}
	db.SetMaxOpenConns(1) // one writer is all that SQLite has
	q := newQueue(o)
	b := &riverBackend[*sql.Tx]{closeDB: func() { _ = db.Close() }, lock: func(_ context.Context, fn func() error) error {
		sqliteMigrate.Lock()
		defer sqliteMigrate.Unlock()
		return fn()
	}}
	if err := newBackend(q, riversqlite.New(db), b); err != nil {
		_ = db.Close()
		return nil, wrap("open", err)
	}
	q.b = b
	return q, nil
}

func newQueue(o Options) *Queue {
	if o.Log == nil {
		o.Log = quietLog
	}
	o.Log = slog.New(newSparse(o.Log.Handler()))
	return &Queue{o: o, active: map[int64]struct{}{}}
}
