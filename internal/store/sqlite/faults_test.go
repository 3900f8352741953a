package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/sqlite"
	"adsync/internal/store/storetest"
)

// kills is how often a loop kills: a few times in a normal run, as often as ADSYNC_KILLS says at leisure.
func kills(t testing.TB, n int) int {
	t.Helper()
	if v, err := strconv.Atoi(os.Getenv("ADSYNC_KILLS")); err == nil {
		return v
	}
	return n
}

// Fault 101: killed at random in a write, again and again.
func TestFault101KilledInWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adsync.db")
	seed := rand.Uint64()
	t.Log("seed", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	pause := func() <-chan time.Time { return time.After(time.Duration(rnd.IntN(40_000)) * time.Microsecond) }
	storetest.KillLoop(t, database(path), kills(t, 12), pause, func(t testing.TB) {
		if got := rows(t, path, "PRAGMA integrity_check"); len(got) != 1 || got[0][0] != "ok" {
			t.Fatalf("integrity_check: %v", got)
		}
	})
	holders, err := filepath.Glob(path + ".holder-*")
	if err != nil || len(holders) > 1 {
		t.Errorf("dead holders have left their files: %v, %v", holders, err)
	}
}

// Holders that died leave a file each; the next one removes them, but not those of the living.
func TestDeadHoldersAreTidied(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adsync.db")
	alive := storetest.Open(t, database(path))
	storetest.Begin(t, alive)
	for _, id := range []string{"one", "two"} {
		if err := os.WriteFile(path+".holder-"+id, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := storetest.Open(t, database(path))
	if _, err := other.Acquire(t.Context(), ads.Ref{ClientID: "other", Connection: "c"}); err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(path + ".holder-*"); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
	if _, err := other.Acquire(t.Context(), storetest.Acme()); err == nil {
		t.Error("a living holder lost its connection")
	}
}

// Fault 136: the database is for its owner alone, whatever the umask.
func TestFault136FilesArePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%e.db")
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := storetest.Begin(t, s)
	if _, err := x.Direct("c", 10); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 4 {
		t.Errorf("%v, %v: want the database, its log, the log's index and the holder's lock", entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(e.Name(), filepath.Base(path)) {
			t.Errorf("%s has the mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err = os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("after Close there is %v, %v", entries, err)
	}
}

// Fault 102: what is no database is said to be none, and left as it is.
func TestFault102NotADatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"text":  []byte(strings.Repeat("This is a letter to somebody.\n", 400)),
		"short": []byte("short"),
		"zeros": make([]byte, 8192),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if err == nil {
			_, err = s.Migrate(t.Context())
			_ = s.Close()
		}
		if storetest.KindOf(err) != store.KindDamaged || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "not a database") {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
}

// filled makes a database with records in it.
func filled(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "adsync.db")
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := storetest.Begin(t, s)
	for _, p := range []string{"a", "b", "c"} {
		if _, err := x.Direct(p, 500); err != nil {
			t.Fatal(err)
		}
	}
	x.End()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Fault 102: cut short, or with its middle overwritten.
func TestFault102Damaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(b []byte) []byte{
		"cut short": func(b []byte) []byte { return b[:len(b)/2/4096*4096] },
		"cut in a page": func(b []byte) []byte {
			return b[:len(b)/3/4096*4096+100]
		},
		"overwritten": func(b []byte) []byte {
			for i := 4096; i < len(b); i++ {
				b[i] = byte(i * 7)
			}
			return b
		},
	} {
		path := filled(t)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b = damage(b)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if err == nil {
			_, err = s.Status(t.Context())
			if err == nil {
				err = s.CheckWritable(t.Context())
			}
			_ = s.Close()
		}
		if storetest.KindOf(err) != store.KindDamaged || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(path); err != nil || len(got) != len(b) {
			t.Errorf("%s: the file has %d bytes, had %d: %v", name, len(got), len(b), err)
		}
	}
}

// Fault 102: the write-ahead log was deleted, and with it what was committed last.
func TestFault102LogDeleted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adsync.db")
	db := database(path)
	s := storetest.Open(t, db)
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	kill, _ := storetest.Start(t, db, "fill", "")
	kill() // leaves its log
	if err := os.Remove(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if storetest.KindOf(err) != store.KindDamaged || !strings.Contains(err.Error(), "adsync.db-wal") {
		t.Errorf("%v", err)
	}
	// The hint works.
	if err := os.Remove(path + "-shm"); err != nil {
		t.Fatal(err)
	}
	s = storetest.Open(t, db)
	if err := s.CheckWritable(t.Context()); err != nil {
		t.Error(err)
	}
}

// Fault 100: another process holds the database. It is waited for, and then named as the trouble.
func TestFault100Locked(t *testing.T) {
	t.Parallel()
	path := filled(t)
	const wait = 300 * time.Millisecond
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{LockWait: wait})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	lock, unlock := foreignLock(t, path)
	lock()
	begin := time.Now()
	_, err = s.Acquire(t.Context(), storetest.Acme())
	if took := time.Since(begin); storetest.KindOf(err) != store.KindLocked || took < wait {
		t.Errorf("after %s: %v", took, err)
	}
	if err := s.UpdateQuota(t.Context(), "b", func([]byte, time.Time) ([]byte, error) { return []byte("x"), nil }); storetest.KindOf(err) != store.KindLocked {
		t.Errorf("quota: %v", err)
	}
	if st, err := s.Status(t.Context()); err != nil || len(st) != 1 {
		t.Errorf("a reader was kept out: %+v, %v", st, err)
	}
	// Whoever gives up waiting is let go at once.
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	patient, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = patient.Close() }()
	wg.Go(func() {
		if _, err := patient.Acquire(ctx, storetest.Acme()); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
	cancel()
	wg.Wait()
	// And whoever waits is let in.
	wg.Go(func() {
		if _, err := patient.Acquire(t.Context(), storetest.Acme()); err != nil {
			t.Error(err)
		}
	})
	unlock()
	wg.Wait()
}

// foreignLock is another program's connection that begins and ends a write.
func foreignLock(t *testing.T, path string) (lock, unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	exec := func(q string) func() {
		return func() {
			if _, err := conn.ExecContext(context.Background(), q); err != nil {
				t.Error(err)
			}
		}
	}
	return exec("BEGIN IMMEDIATE"), exec("ROLLBACK")
}

// Fault 94: there is nothing to open.
func TestFault94NoSuchPlace(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "no", "such", "dir", "adsync.db"), dir, ""} {
		_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		se, ok := errors.AsType[*store.Error](err)
		if !ok || se.Hint == "" || path != "" && !strings.Contains(se.Message, filepath.Dir(path)) {
			t.Errorf("%q: %v", path, err)
		}
	}
	path := filepath.Join(dir, "adsync.db")
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{MustExist: true})
	storetest.WantKind(t, err, store.KindUnreachable)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a database that had to be there was made: %v", err)
	}
}

// One process's writes without a break do not keep another's out for long.
func TestWritersTakeTurns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adsync.db")
	db := database(path)
	s := storetest.Open(t, db)
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	kill, _ := storetest.Start(t, db, "fill", "")
	defer kill()
	for range 20 {
		if err := s.UpdateQuota(t.Context(), "b", func(state []byte, _ time.Time) ([]byte, error) { return append(state, 'x'), nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// A Store leaves no goroutine behind.
func TestNothingLeaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "adsync.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := storetest.Begin(t, s)
	if _, err := x.Direct("a", 10); err != nil {
		t.Error(err)
	}
	x.End()
	if _, err := s.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
}
