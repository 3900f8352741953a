// Package sqlite keeps everything in one SQLite file, in pure Go.
//
// One connection writes, in WAL mode with synchronous=FULL, so that a commit survives a power cut; a second one writes the quota's log
// with synchronous=NORMAL, which survives the death of the process; readers are apart and never wait for either. The file is created
// for its owner alone.
//
// It imports ads, quota, secret and store, and must not import the engine or anything that prints.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver of the readers

	"adsync/internal/quota"
	"adsync/internal/store"
)

// Options tune a Store. The zero value is right.
type Options struct {
	// MustExist makes Open fail where there is no file yet, instead of creating one.
	MustExist bool
	// CacheKiB bounds the writer's page cache; 0: 4 MiB.
	CacheKiB int
	// LockWait is how long a write waits for another process's; 0: 5 s.
	LockWait time.Duration
}

// Store is a database in a file. Make one with Open.
type Store struct {
	path    string
	place   place
	write   writer
	quota   writer
	readers *sql.DB
	holder  holder

	mu     sync.Mutex
	closed bool
}

var (
	_ store.Store  = (*Store)(nil)
	_ quota.Ledger = (*Store)(nil)
)

const (
	defaultCacheKiB = 4 << 10
	readerCacheKiB  = 512
	quotaCacheKiB   = 256
	maxReaders      = 3
)

// Open opens the database at path and creates the file, readable by its owner alone, where there is none. It changes nothing in an
// existing file: one that is no database is left as it is (KindDamaged).
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil || path == "" || strings.ContainsRune(path, 0) {
		return nil, &store.Error{Kind: store.KindOther, Op: "open", Message: fmt.Sprintf("%q is not a file name", path), Hint: "write sqlite:adsync.db", Err: err}
	}
	p := place{path: path}
	if err := ensureFile(abs, o.MustExist); err != nil {
		return nil, p.openError(err)
	}
	if err := walPresent(abs); err != nil {
		return nil, err
	}
	cache := o.CacheKiB
	if cache <= 0 {
		cache = defaultCacheKiB
	}
	if o.LockWait <= 0 {
		o.LockWait = busyTimeout
	}
	s := &Store{path: abs, place: p}
	turn := &turns{}
	s.write = writer{turn: turn, place: p, wait: o.LockWait, conn: conn{dsn: dsn(abs,
		"journal_mode(WAL)", "synchronous(FULL)", kib(cache), "wal_autocheckpoint(4000)", "journal_size_limit(33554432)", "foreign_keys(0)", "temp_store(MEMORY)",
	)}}
	s.quota = writer{turn: turn, place: p, wait: o.LockWait, conn: conn{dsn: dsn(abs,
		"journal_mode(WAL)", "synchronous(NORMAL)", kib(quotaCacheKiB), "wal_autocheckpoint(0)",
	)}}
	s.holder.base = abs
	s.readers, err = sql.Open("sqlite", dsn(abs, "query_only(1)", kib(readerCacheKiB)))
	if err != nil {
		return nil, p.error("open", err)
	}
	s.readers.SetMaxOpenConns(maxReaders)
	s.readers.SetMaxIdleConns(1)
	s.readers.SetConnMaxIdleTime(time.Minute)
	var n int64
	if err := s.readers.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&n); err != nil {
		_ = s.readers.Close()
		return nil, p.error("open", err)
	}
	return s, nil
}

func kib(n int) string { return fmt.Sprintf("cache_size(-%d)", n) }

// ensureFile creates an empty file for its owner alone where there is none. A file that exists is not opened: to close it again would
// drop the locks that other connections of this process hold on it.
func ensureFile(path string, mustExist bool) error {
	st, err := os.Stat(path)
	switch {
	case err == nil && st.IsDir():
		return &store.Error{Kind: store.KindOther, Op: "open", Message: path + " is a directory", Hint: "name a file in it: " + filepath.Join(path, "adsync.db")}
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist) || mustExist:
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // somebody else was quicker
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func (p place) openError(err error) error {
	dir := filepath.Dir(p.path)
	se, ok := errors.AsType[*store.Error](p.error("open", err))
	if !ok {
		return err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		se.Kind = store.KindUnreachable
		if _, dirErr := os.Stat(dir); dirErr != nil {
			se.Message, se.Hint = fmt.Sprintf("the directory %s does not exist", dir), "create it, or name another file"
		} else {
			se.Message, se.Hint = fmt.Sprintf("there is no database %s", p.path), "run a sync first, or name another file"
		}
	case errors.Is(err, fs.ErrPermission):
		se.Kind = store.KindReadOnly
		se.Message, se.Hint = fmt.Sprintf("%s cannot be created: the directory %s may not be written", p.path, dir), "give this user the right to write there, or name another file"
	}
	return se
}

// walPresent notices a write-ahead log that was taken away. SQLite creates the log before its index and removes the index before the
// log, so an index alone means that somebody deleted the log, and with it what was committed last.
func walPresent(path string) error {
	exists := func(suffix string) bool {
		_, err := os.Stat(path + suffix)
		return err == nil
	}
	for range 3 {
		if !exists("-shm") || exists("-wal") {
			return nil
		}
		if !exists("-shm") {
			return nil // the last user has just closed it
		}
	}
	return &store.Error{
		Kind: store.KindDamaged, Op: "open", Message: fmt.Sprintf("%s-wal is missing: what was committed last is in it", path),
		Hint: fmt.Sprintf("put the file back; to go on without those commits, delete %s-shm", path),
	}
}

// Describe names the database for people.
func (s *Store) Describe() string { return "sqlite:" + s.place.path }

// Close gives back all locks and files.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.write.turn.take(context.Background(), false, math.MaxInt64)
	defer s.write.turn.give()
	err := errors.Join(s.readers.Close(), s.quota.close(), s.write.close(), s.holder.close())
	s.write.dsn, s.quota.dsn = closedDSN, closedDSN
	return s.place.error("close", err)
}

// closedDSN makes a write after Close fail instead of opening the file again.
const closedDSN = "file:/dev/null/closed?mode=ro"

// CheckWritable writes a row, syncs it to the disk, and takes it away again.
func (s *Store) CheckWritable(ctx context.Context) error {
	sc, err := s.Schema(ctx)
	if err != nil {
		return err
	}
	if err := s.usable(sc); err != nil {
		return err
	}
	for _, q := range []string{"INSERT OR REPLACE INTO adsync_probe (id, at) VALUES (1, ?)", "DELETE FROM adsync_probe WHERE at <= ?"} {
		now := stamp(time.Now())
		err := s.write.tx(ctx, "check", func(c *conn) error {
			_, err := c.exec(q, now)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// usable says whether the schema is the one that this binary writes.
func (s *Store) usable(sc store.Schema) error {
	switch {
	case sc.Current > sc.Known:
		return newer(sc)
	case sc.Current < sc.Known:
		return &store.Error{
			Kind: store.KindSchema, Op: "check", Message: fmt.Sprintf("database is at %d, this binary needs %d", sc.Current, sc.Known), Hint: "run: adsync migrate",
		}
	}
	return nil
}

func newer(sc store.Schema) error {
	return &store.Error{
		Kind: store.KindSchema, Op: "migrate", Message: fmt.Sprintf("database is at %d, this binary knows %d", sc.Current, sc.Known),
		Hint: "a newer adsync has been at work here: use that one",
	}
}

// UpdateQuota implements quota.Ledger.
func (s *Store) UpdateQuota(ctx context.Context, bucket string, fn func(state []byte, now time.Time) ([]byte, error)) error {
	return s.quota.tx(ctx, "quota", func(c *conn) error {
		var state []byte
		err := c.query("SELECT state FROM adsync_quota WHERE bucket = ?", scanOne(&state), bucket)
		if err != nil {
			return err
		}
		next, err := fn(state, time.Now().UTC())
		if err != nil {
			return &callbackError{err}
		}
		if sameSlice(state, next) {
			return nil
		}
		_, err = c.exec("INSERT INTO adsync_quota (bucket, state) VALUES (?1, ?2) ON CONFLICT (bucket) DO UPDATE SET state = excluded.state", bucket, next)
		return err
	})
}

// sameSlice reports whether b is a itself.
func sameSlice(a, b []byte) bool {
	return len(a) == len(b) && (a == nil) == (b == nil) && (len(a) == 0 || &a[0] == &b[0])
}
