package server

import (
	"context"
	"strings"
	"testing"

	"adsync/internal/store"
)

// clumsy is a database whose code panics, with a value that holds a secret.
type clumsy struct{ store.Store }

func (clumsy) Status(context.Context) ([]store.ConnectionStatus, error) {
	panic("no place for hunter2")
}

func TestPanicOfTheDatabaseIsAnError(t *testing.T) {
	var b board
	got, err := b.read(t.Context(), clumsy{})
	if err == nil || got != nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("%v, %v", got, err)
	}
}
