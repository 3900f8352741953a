package metrics_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/metrics"
	"adsync/internal/store"
)

// TestStoreMeasured: what goes through comes out as it was, and is counted by operation and kind of failure.
func TestStoreMeasured(t *testing.T) {
	f := newFleet(t)
	f.add("acme", 30, nil, "status:endpoint=sync,every=1,code=422,times=20")
	if s := f.sync(t.Context(), "acme"); s.Outcome != ads.Partial {
		t.Fatal(s.Outcome, s.Err)
	}
	ctx := t.Context()
	// An iteration that ends early, and one that is read to its end.
	for range f.store.Failures(ctx, store.FailureFilter{}) {
		break
	}
	n := 0
	for _, err := range f.store.Failures(ctx, store.FailureFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 20 {
		t.Errorf("%d failures came through", n)
	}
	// The caller's own error is none of the database.
	mine := errors.New("mine")
	if err := f.store.UpdateQuota(ctx, "b", func([]byte, time.Time) ([]byte, error) { return nil, mine }); !errors.Is(err, mine) {
		t.Errorf("UpdateQuota gave %v", err)
	}
	ref := f.conns["acme"].Ref
	l, err := f.store.Acquire(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.store.Acquire(ctx, ref)
	if _, ok := errors.AsType[*store.BusyError](err); !ok {
		t.Errorf("a second Acquire gave %v", err)
	}
	if err := f.store.Release(ctx, l); err != nil {
		t.Fatal(err)
	}
	if err := f.store.FinishRun(ctx, l, store.FinishRun{}); !errors.Is(err, store.ErrFenced) {
		t.Errorf("FinishRun without a lock gave %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := f.store.Runs(gone, ref, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Runs of a caller that is gone gave %v", err)
	}
	if f.store.Describe() != f.raw.Describe() {
		t.Error("what is not measured does not pass through")
	}
	_, got := f.scrape()
	for series, want := range map[string]float64{
		`adsync_store_duration_seconds_count{op="failures"}`:       2,
		`adsync_store_errors_total{kind="busy",op="acquire"}`:      1,
		`adsync_store_errors_total{kind="fenced",op="finish_run"}`: 1,
		`adsync_store_errors_total{kind="canceled",op="runs"}`:     1,
		`adsync_store_duration_seconds_count{op="migrate"}`:        1,
		`adsync_store_duration_seconds_count{op="open_run"}`:       1,
	} {
		if got[series] != want {
			t.Errorf("%s is %v, want %v", series, got[series], want)
		}
	}
	for series, v := range got {
		if series == `adsync_store_errors_total{kind="other",op="quota"}` && v > 0 {
			t.Errorf("%s is %v", series, v)
		}
	}
}

func TestObserveDBKinds(t *testing.T) {
	f := &fleet{t: t, m: metrics.New(metrics.Options{})}
	f.m.ObserveDB("x", time.Second, &store.Error{Kind: store.KindFull, Message: "the disk is full of secrets"})
	f.m.ObserveDB("x", time.Second, &store.Error{Kind: "made up"})
	f.m.ObserveDB("x", time.Second, context.DeadlineExceeded)
	f.m.ObserveDB("x", time.Second, errors.New("who knows"))
	_, got := f.scrape()
	for series, want := range map[string]float64{
		`adsync_store_errors_total{kind="full",op="x"}`: 1, `adsync_store_errors_total{kind="other",op="x"}`: 2, `adsync_store_errors_total{kind="timeout",op="x"}`: 1,
		`adsync_store_duration_seconds_sum{op="x"}`: 4,
	} {
		if got[series] != want {
			t.Errorf("%s is %v, want %v", series, got[series], want)
		}
	}
}
