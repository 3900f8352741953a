package service

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// clumsy is a database whose heartbeat panics, with a value that holds a secret.
type clumsy struct{ store.Store }

func (clumsy) Beat(context.Context, store.Beat) ([]store.Worker, error) { panic("hunter2") }

// A heartbeat that panics has not renewed the lease: runs stop with the same margin before its end as after any other failure.
func TestPanicOfTheHeartbeatStopsRunsInTime(t *testing.T) {
	var log bytes.Buffer
	s := New(Options{ID: "a", Store: clumsy{}, Log: slog.New(slog.NewTextHandler(&log, nil))}, nil)
	run, cancel := context.WithCancelCause(t.Context())
	s.conns[ads.Ref{ClientID: "acme", Connection: "adplatform"}] = &conn{cancel: cancel}
	now := time.Now()
	s.leaseEnd, s.leaseDay = now.Add(lease), now.Round(0).Add(lease)
	s.keepLease(t.Context())
	if run.Err() != nil {
		t.Fatal("stopped with the whole lease left")
	}
	s.leaseEnd, s.leaseDay = now.Add(cutMargin-time.Millisecond), now.Round(0).Add(cutMargin-time.Millisecond)
	s.keepLease(t.Context())
	if !errors.Is(context.Cause(run), errCutOff) {
		t.Errorf("%v with less than the margin left", context.Cause(run))
	}
	if l := log.String(); strings.Contains(l, "hunter2") || !strings.Contains(l, "internal error") || !strings.Contains(l, "clumsy") {
		t.Errorf("the log is\n%s", l)
	}
}
