package service

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/engine"
	"adsync/internal/observe"
	"adsync/internal/queue"
	"adsync/internal/secret"
	"adsync/internal/store"
)

// What becomes of a job, by the end of its run.
func TestConclude(t *testing.T) {
	stop := errors.New("SIGTERM")
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	deferred := func(code string, until time.Time) error {
		return &ads.Error{Class: ads.ClassDeferred, Code: code, Until: until, Message: "deferred until 2026-03-01 23:00:00 UTC: the quota of acme is used up"}
	}
	down := &ads.Error{Class: ads.ClassTransient, Message: "down"}
	for _, c := range []struct {
		name     string
		err      error
		cause    error
		stopping bool
		fails    int
		every    time.Duration
		want     conclusion
	}{
		{name: "complete", fails: 3, want: conclusion{out: queue.Done}},
		{name: "partial is an end too", err: &engine.PartialError{Reasons: []string{"1 of 10 failed"}}, fails: 3, want: conclusion{out: queue.Done}},
		{name: "stopped: given back at once", err: stop, cause: stop, stopping: true, fails: 2, want: conclusion{out: queue.Park(0), fails: 2}},
		{name: "changed: goes on with the new settings", err: context.Canceled, cause: errChanged, want: conclusion{out: queue.Park(0)}},
		{name: "paused: comes back, and is put off then", err: context.Canceled, cause: errPaused, fails: 1, want: conclusion{out: queue.Park(0), fails: 1}},
		{name: "cut off", err: &store.Error{}, cause: errCutOff, want: conclusion{out: queue.Park(0)}},
		{
			name: "quota of a day", err: deferred("quota", at(11*time.Hour)), fails: 2,
			want: conclusion{
				out: queue.Park(11 * time.Hour), kind: observe.ParkQuota,
				wait: store.Wait{Reason: "the quota of acme is used up", Until: at(11 * time.Hour), Mark: "quota"},
			},
		},
		{
			name: "host down", err: deferred(apiclient.CodeOutage, at(time.Minute)),
			want: conclusion{
				out: queue.Park(time.Minute), kind: observe.ParkOutage,
				wait: store.Wait{Reason: "the quota of acme is used up", Until: at(time.Minute), Mark: "outage"},
			},
		},
		{
			name: "a time that has passed", err: deferred("quota", at(-time.Minute)),
			want: conclusion{out: queue.Park(0), kind: observe.ParkQuota, wait: store.Wait{Reason: "the quota of acme is used up", Until: at(0), Mark: "quota"}},
		},
		{
			name: "credentials refused", err: &ads.Error{Class: ads.ClassAuth, Message: "401"},
			want: conclusion{out: queue.Park(24 * time.Hour), kind: observe.ParkAuth, wait: store.Wait{Reason: "401", Until: at(24 * time.Hour), Mark: "auth"}, fails: 1},
		},
		{
			name: "first failure", err: down, every: time.Hour,
			want: conclusion{out: queue.Park(time.Minute), kind: observe.ParkFailed, wait: store.Wait{Reason: "down", Until: at(time.Minute), Mark: "failed"}, fails: 1},
		},
		{
			name: "third failure", err: down, every: time.Hour, fails: 2,
			want: conclusion{out: queue.Park(4 * time.Minute), kind: observe.ParkFailed, wait: store.Wait{Reason: "down", Until: at(4 * time.Minute), Mark: "failed"}, fails: 3},
		},
		{
			name: "no longer than the schedule", err: down, every: 15 * time.Minute, fails: 40,
			want: conclusion{out: queue.Park(15 * time.Minute), kind: observe.ParkFailed, wait: store.Wait{Reason: "down", Until: at(15 * time.Minute), Mark: "failed"}, fails: 41},
		},
		{
			name: "no longer than an hour", err: &engine.RemovalError{Gone: 9, Present: 10}, every: 24 * time.Hour, fails: 40,
			want: conclusion{
				out: queue.Park(time.Hour), kind: observe.ParkFailed, fails: 41,
				wait: store.Wait{Reason: (&engine.RemovalError{Gone: 9, Present: 10}).Error(), Until: at(time.Hour), Mark: "failed"},
			},
		},
		{name: "somebody else syncs it", err: &store.BusyError{}, want: conclusion{out: queue.Park(pauseBusy), kind: observe.ParkBusy}},
		{name: "taken over", err: store.ErrFenced, want: conclusion{out: queue.Park(pauseBusy)}},
		{name: "database", err: fmt.Errorf("commit: %w", &store.Error{Kind: store.KindUnreachable}), fails: 1, want: conclusion{out: queue.Park(pauseStore), fails: 1}},
		{
			name: "a bug", err: &engine.InternalError{ID: "abc"},
			want: conclusion{
				out: queue.Park(pauseBug), kind: observe.ParkFailed, fails: 1,
				wait: store.Wait{Reason: "internal error abc", Until: at(pauseBug), Mark: "failed"},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := conclude(engine.Summary{Err: c.err}, c.cause, c.stopping, c.fails, c.every, noon)
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestMark(t *testing.T) {
	c := config.Connection{Ref: ref(1), URL: "https://ads.example.com", Email: secret.New("a@example.com"), Password: secret.New("one")}
	mark := markOf(c)
	if !refusedMark(mark) || !sameMark(mark, c) {
		t.Errorf("%s does not know its own credentials", mark)
	}
	alike := 0
	for i := range 1000 { // 16 bits: by chance one in 65,536 looks the same
		other := c
		other.Password = secret.New(fmt.Sprint("two", i))
		if sameMark(mark, other) {
			alike++
		}
	}
	if alike > 3 {
		t.Errorf("%d of 1000 others look the same", alike)
	}
	if markOf(c) == mark {
		t.Error("the salt is the same every time")
	}
	for _, bad := range []string{"", "quota", "auth:", "auth:zz:0000", "auth:00"} {
		if sameMark(bad, c) {
			t.Errorf("%q", bad)
		}
	}
}
