package postgres_test

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx of database/sql
	"github.com/pressly/goose/v3"

	"adsync/internal/pgtest"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/postgres"
	"adsync/internal/store/storetest"
)

func open(ctx context.Context, dsn string) (store.Store, error) {
	return postgres.Open(ctx, secret.New(dsn), postgres.Options{})
}

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, open)) }

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Database { return database(t, pgtest.New(t)) })
}

func database(t testing.TB, dsn string) storetest.Database {
	t.Helper()
	conn := connect(t, dsn)
	return storetest.Database{
		Name: dsn,
		Open: func(ctx context.Context) (store.Store, error) { return open(ctx, dsn) },
		Rows: func(t testing.TB, query string) [][]string { return rows(t, conn, query) },
		Exec: func(t testing.TB, query string) { rows(t, conn, query) },
	}
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// rows runs a statement and gives what it returns as text.
func rows(t testing.TB, conn *pgx.Conn, query string) [][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := conn.Query(ctx, query, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer res.Close()
	var out [][]string
	for res.Next() {
		var row []string
		for i, v := range res.RawValues() {
			switch {
			case v == nil:
				row = append(row, "NULL")
			case res.FieldDescriptions()[i].DataTypeOID == pgtype.TimestamptzOID:
				var at time.Time
				if err := conn.TypeMap().Scan(pgtype.TimestamptzOID, pgx.TextFormatCode, v, &at); err != nil {
					t.Fatal(err)
				}
				row = append(row, at.UTC().Format("2006-01-02T15:04:05.000000Z"))
			default:
				row = append(row, strings.Clone(string(v)))
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
	dsn := pgtest.New(t)
	storetest.Upgrade(t, database(t, dsn), func(t testing.TB) {
		db, err := sql.Open("pgx", dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		storetest.MigrateTo(t, goose.DialectPostgres, db, 1)
	})
}
