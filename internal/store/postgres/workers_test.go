package postgres_test

import (
	"context"
	"testing"
	"time"

	"adsync/internal/pgtest"
	"adsync/internal/secret"
	"adsync/internal/store"
	"adsync/internal/store/postgres"
	"adsync/internal/store/storetest"
)

// A lease is renewed while all connections of the pool are in use.
func TestBeatBesideBusyPool(t *testing.T) {
	s, err := postgres.Open(t.Context(), secret.New(pgtest.New(t)), postgres.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = s.UpdateQuota(ctx, "bucket", func(state []byte, _ time.Time) ([]byte, error) { // holds the only one
		_, err := s.Beat(ctx, store.Beat{ID: "a", Lease: time.Minute})
		return state, err
	})
	if err != nil {
		t.Error(err)
	}
}

// Fault 124: a beat makes its way back by itself when the server has closed all connections.
func TestFault124BeatGoesOn(t *testing.T) {
	dsn := pgtest.New(t)
	db := database(t, dsn)
	s := mustOpen(t, dsn)
	storetest.Begin(t, s)
	for range 3 {
		ws, err := s.Beat(t.Context(), store.Beat{ID: "a", Lease: time.Minute})
		if err != nil || len(ws) != 1 || !ws[0].Alive {
			t.Fatalf("%+v, %v", ws, err)
		}
		db.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	}
}
