package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/store"
)

// itemsAtOnce bounds the items held in memory.
const itemsAtOnce = 256

// How a failed record is tried again by itself. The wait doubles from try to try, to a day.
var (
	// What may pass is worth asking about soon. Each try makes up to five attempts, so it is given up after some twenty tries: eight until the
	// wait has grown to a day, then one a day for nearly two weeks, longer than any outage that nobody mends.
	backoffPassing = store.Backoff{First: 15 * time.Minute, Most: 24 * time.Hour, Limit: 100}
	// What gives the same answer when it is asked again is asked for the sake of those answers that are wrong about that: ten times in some
	// four days, each of which costs a slot of the quota.
	backoffLasting = store.Backoff{First: time.Hour, Most: 24 * time.Hour, Limit: 10}
)

// follow makes the follow-up calls of listed records, several at once, until the listing has ended and none is left.
func (r *run) follow(ctx context.Context) error {
	f, ok := r.o.Platform.(platform.Follower)
	if !ok || !r.anyFollowUps() {
		return nil
	}
	var calls sync.WaitGroup
	defer calls.Wait()
	out := newGate(r.o.FirstInFlight, r.o.MaxInFlight)
	after := int64(0)
	for {
		ended := r.ended.Load() // read before the items: none is added after it
		items, err := r.o.Store.Pending(ctx, r.lease, r.id, after, itemsAtOnce)
		if err != nil {
			return err
		}
		for _, it := range items {
			if !out.enter(ctx, r.waiting) || r.followsOff.Load() {
				return nil
			}
			after = it.Seq
			calls.Go(func() {
				defer out.leave()
				r.followOne(ctx, f, it)
			})
		}
		if len(items) > 0 {
			continue
		}
		if ended {
			return nil
		}
		select {
		case <-r.more:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *run) anyFollowUps() bool {
	for _, s := range r.spec.Streams {
		if s.FollowUps {
			return true
		}
	}
	return false
}

// followOne makes one call and hands its result to the committer. A call that was cut off leaves its item as it was.
func (r *run) followOne(ctx context.Context, f platform.Follower, it store.Item) {
	task := platform.Task{Account: ads.Account{ID: it.Account}, Stream: it.Stream, RunID: r.id}
	err := guard(r.note, func() error { return f.Follow(ctx, r.o.API, task, it.ID) })
	o := op{account: it.Account, stream: it.Stream}
	switch {
	case err == nil:
		o.done = it.Seq
	case ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, context.Canceled)):
		return
	case r.putOff(err):
		r.followsOff.Store(true)
		return
	case stopsRun(err):
		r.stop(err)
		return
	default:
		fail := failureOf(err)
		fail.Seq = it.Seq
		o.fail, o.failedID = &fail, it.ID
	}
	if err := r.com.send(o); err != nil {
		r.note(observe.Note{Level: observe.Debug, Code: "not_committed", Message: "a result came after the run had stopped; its call is made again"})
	}
}

// failureOf keeps what is known about why a record failed.
func failureOf(err error) store.ItemFailure {
	e, ok := errors.AsType[*ads.Error](err)
	if !ok {
		return store.ItemFailure{
			Class: ads.ClassInternal, Code: "internal", Message: err.Error(), Attempts: 1, Hint: "report this id; the rest of the run is not affected",
			Backoff: backoffLasting,
		}
	}
	backoff := backoffLasting
	if e.Class == ads.ClassTransient || e.Class == ads.ClassBadReply {
		backoff = backoffPassing
	}
	return store.ItemFailure{
		Class: e.Class, Code: e.Code, Message: ads.Printable(e.Message, 500), Hint: e.Hint, RequestID: e.RequestID,
		Attempts: max(e.Attempts, 1), Backoff: backoff,
	}
}
