package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pressly/goose/v3"

	"adsync/internal/store"
	"adsync/internal/store/sqlite"
	"adsync/internal/store/storetest"
)

func open(ctx context.Context, path string) (store.Store, error) {
	return sqlite.Open(ctx, path, sqlite.Options{})
}

func TestMain(m *testing.M) {
	if limitChild() {
		os.Exit(1)
	}
	os.Exit(storetest.Main(m, open))
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Database {
		path := filepath.Join(t.TempDir(), "adsync.db")
		db := database(path)
		conn := beside(t, path)
		db.Rows = func(t testing.TB, query string) [][]string { return ask(t, conn, query) }
		db.Exec = func(t testing.TB, query string) { ask(t, conn, query) }
		return db
	})
}

// beside is another program's connection, which makes an empty database where there is none.
func beside(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func database(path string) storetest.Database {
	return storetest.Database{
		Name: path,
		Open: func(ctx context.Context) (store.Store, error) { return open(ctx, path) },
		Rows: func(t testing.TB, query string) [][]string { return rows(t, path, query) },
		Exec: func(t testing.TB, query string) { rows(t, path, query) },
	}
}

// rows runs a statement on a connection of its own and gives what it returns as text.
func rows(t testing.TB, path, query string) [][]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	return ask(t, db, query)
}

func ask(t testing.TB, db *sql.DB, query string) [][]string {
	t.Helper()
	res, err := db.Query(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = res.Close() }()
	columns, err := res.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for res.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := res.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make([]string, len(values))
		for i, v := range values {
			switch v := v.(type) {
			case nil:
				row[i] = "NULL"
			case float64:
				row[i] = strconv.FormatFloat(v, 'f', -1, 64)
			case []byte:
				row[i] = string(v)
			default:
				row[i] = fmt.Sprint(v)
			}
		}
		out = append(out, row)
	}
	if err := res.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// Fault 154: a database of the first version is brought up to date, and its run goes on.
func TestUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "adsync.db")
	storetest.Upgrade(t, database(path), func(t testing.TB) { storetest.MigrateTo(t, goose.DialectSQLite3, beside(t, path), 1) })
}
