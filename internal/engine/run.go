package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/store"
)

// run is one life of one run.
type run struct {
	o     Options
	spec  platform.Spec
	begin time.Time

	id            string
	startedAt     time.Time
	activeEarlier time.Duration
	lease         store.Lease
	com           *committer
	writing       writing
	outcome       ads.Outcome
	cancel        context.CancelCauseFunc

	phase   atomic.Value // string
	waiting func() bool  // whether some request waits for a quota

	more  chan struct{} // items may have been added, or the listing ended
	ended atomic.Bool   // the listing has ended: no more items will come

	followsOff atomic.Bool // a follow-up was deferred: the others would be too

	mu      sync.Mutex
	listErr error      // the listing failed, but follow-ups went on
	put     *ads.Error // the first that may go on is told when: what could not wait was put off, but what has a slot goes on
}

func (r *run) setPhase(p string)       { r.phase.Store(p) }
func (r *run) getPhase() string        { return r.phase.Load().(string) }
func (r *run) active() time.Duration   { return r.activeEarlier + time.Since(r.begin) }
func (r *run) figuresNow() ads.Figures { return r.com.snapshot().figures(r.life()) }
func (r *run) note(n observe.Note)     { r.emit(n) }
func (r *run) itemsAdded() {
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *run) emit(d observe.Data) {
	r.o.Observer.Observe(observe.Event{At: time.Now(), Ref: r.o.Ref, Platform: r.spec.Name, RunID: r.id, Data: d})
}

// stop ends the run with its first cause.
func (r *run) stop(err error) { r.cancel(err) }

// stopped is why the run ends before its end.
func (r *run) stopped() error { return errStopped }

// errStopped stands for the run's own cause, which context.Cause gives.
var errStopped = errors.New("the run was stopped")

// plan is the fingerprint of what a run's place depends on.
func (r *run) plan() string {
	kind := "list"
	if len(r.o.Retry) > 0 {
		kind = "retry"
	}
	p := kind + "|" + r.spec.Name + "|" + r.o.PlanKey
	for _, s := range r.spec.Streams {
		p += "|" + s.Name + ":" + strconv.FormatBool(s.FollowUps)
	}
	return p
}

// whole is a run from its lock to its end.
func (r *run) whole(ctx context.Context) (err error) {
	if r.lease, err = r.acquire(ctx); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if rel := r.o.Store.Release(ctx, r.lease); rel != nil && err == nil && !errors.Is(rel, store.ErrFenced) {
			r.note(observe.Note{Level: observe.Warn, Code: "release", Message: "the connection's lock could not be given back: " + rel.Error()})
		}
	}()
	opened, err := r.o.Store.OpenRun(ctx, r.lease, store.OpenRun{
		NewID: uuid.Must(uuid.NewV7()).String(), Trigger: cmp.Or(r.o.Trigger, store.TriggerManual), Plan: r.plan(),
		Fresh: r.o.Fresh, MaxAge: ResumeAge, Now: time.Now().UTC().Truncate(time.Microsecond),
	})
	if err != nil {
		return err
	}
	st, err := loadState(opened)
	if err != nil {
		return &store.Error{Kind: store.KindSchema, Op: "resume", Message: err.Error(), Hint: "sync with --fresh to start anew", Err: err}
	}
	r.startedAt, r.activeEarlier = opened.StartedAt, opened.Active
	r.more = make(chan struct{}, 1)
	r.com = newCommitter(r, st, opened.CommitSeq)
	r.id = opened.ID
	r.o.API.SetRun(r.id)
	notes, endNotes := context.WithCancel(context.WithoutCancel(ctx))
	waits := noteWaits(notes, r)
	r.waiting = waits.any
	r.o.API.Watch(waits)
	defer func() { // before the lock is given back
		r.o.API.Watch(nil)
		endNotes()
		<-waits.done
	}()
	r.emit(observe.RunStarted{Trigger: r.o.Trigger, Resumed: opened.Resumed, Before: opened.Figures})
	work := guard(r.note, func() error { return r.work(ctx) })
	return r.finish(ctx, work)
}

// acquire takes the connection's lock, or queues up for it.
func (r *run) acquire(ctx context.Context) (store.Lease, error) {
	const poll = 500 * time.Millisecond
	var since time.Time
	for {
		l, err := r.o.Store.Acquire(ctx, r.o.Ref)
		busy, isBusy := errors.AsType[*store.BusyError](err)
		if !isBusy || !r.o.Wait {
			if !since.IsZero() {
				r.emit(observe.WaitEnded{Reason: observe.WaitBusy, Waited: time.Since(since)})
			}
			return l, err
		}
		if since.IsZero() {
			since = time.Now()
			r.emit(observe.WaitStarted{Reason: observe.WaitBusy, Note: busy.Error()})
		}
		select {
		case <-ctx.Done():
			return store.Lease{}, context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// work lists, follows up and commits until all is done, or a cause stops it. Its error is the cause.
func (r *run) work(outer context.Context) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	r.cancel = cancel

	var loops errgroup.Group
	go r.com.loop(ctx)
	if r.com.snapshot().Held > 0 && !r.holdsFailed() { // an earlier life was scheduled, and this one tries all
		if err := r.com.sendWait(op{unhold: true, alone: true}); err != nil {
			r.stop(err)
		}
	}
	loops.Go(func() error {
		defer func() { r.ended.Store(true); r.itemsAdded() }()
		err := guard(r.note, func() error { return r.list(ctx) })
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if r.putOff(err) {
			return nil
		}
		if stopsRun(err) || isInternal(err) || isStore(err) {
			r.stop(err)
			return nil
		}
		r.mu.Lock()
		r.listErr = err
		r.mu.Unlock()
		r.note(observe.Note{Level: observe.Warn, Code: "listing_failed", Message: r.getPhase() + ": " + err.Error() + "; what is listed already goes on"})
		return nil
	})
	loops.Go(func() error {
		if err := guard(r.note, func() error { return r.follow(ctx) }); err != nil && ctx.Err() == nil {
			r.stop(err)
		}
		return nil
	})
	_ = loops.Wait()
	close(r.com.ops)
	<-r.com.done
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.put != nil {
		return r.put
	}
	return r.listErr
}

// putOff takes note of a request that was deferred, and reports whether err is one. The run begins nothing more, but what is out, or has a slot of
// the quota already, comes to its end: those slots would be lost for as long as the run is put off.
func (r *run) putOff(err error) bool {
	e, ok := errors.AsType[*ads.Error](err)
	if !ok || ads.ClassOf(err) != ads.ClassDeferred {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.put == nil || e.Until.Before(r.put.Until) {
		r.put = e
	}
	return true
}

func isInternal(err error) bool {
	_, ok := errors.AsType[*InternalError](err)
	return ok
}

func isStore(err error) bool {
	_, ok := errors.AsType[*store.Error](err)
	return ok || errors.Is(err, store.ErrFenced)
}

// holdsFailed says whether this life of the run leaves out records that have failed and are not due.
func (r *run) holdsFailed() bool {
	return r.o.Trigger == store.TriggerSchedule && len(r.o.Retry) == 0
}

// list reads every account's listings, one page after the other.
func (r *run) list(ctx context.Context) error {
	switch {
	case len(r.o.Retry) > 0 && r.spec.Accounts:
		return r.failedAccounts(ctx)
	case len(r.o.Retry) > 0:
		return r.seed(ctx)
	}
	r.setPhase("reading accounts")
	if r.spec.Accounts {
		return r.accounts(ctx, nil)
	}
	for acc, err := range r.o.Platform.Accounts(ctx, r.o.API) {
		if err != nil {
			return err
		}
		for _, s := range r.spec.Streams {
			if err := r.listStream(ctx, acc, s); err != nil {
				return err
			}
		}
	}
	r.setPhase("syncing " + r.recordName() + "s")
	return nil
}

func (r *run) recordName() string {
	for _, s := range r.spec.Streams {
		if s.FollowUps {
			return cmp.Or(s.RecordName, "record")
		}
	}
	return "record"
}

// listStream reads one listing to its end, from wherever the last life left it.
func (r *run) listStream(ctx context.Context, acc ads.Account, s platform.Stream) error {
	key := listingKey(acc.ID, s.Name)
	begin := func(st *state) *listing { // with the first commit about it
		if st.Listings[key] == nil {
			st.Listings[key] = new(firstPass(st.LastStamp))
		}
		return st.Listings[key]
	}
	again := func(moved, stale int) error {
		return r.com.sendWait(op{account: acc.ID, stream: s.Name, accounts: []ads.Account{acc}, alone: true, change: func(st *state) {
			l := begin(st)
			st.LastStamp = st.LastStamp.Add(time.Microsecond) // a pass begins after all that the last one wrote
			*l = l.restart(st.LastStamp)
			l.Again += moved
			l.Stale += stale
		}})
	}
	l := firstPass(time.Time{})
	if known := r.com.snapshot().Listings[key]; known != nil {
		l = *known
	}
	sent := l.have() // what will have come when all pages handed over are committed
	for {
		switch l.next(r.o.Slack) {
		case ended:
			if l.Done {
				return nil
			}
			err := r.com.sendWait(op{account: acc.ID, stream: s.Name, alone: true, change: func(st *state) { st.Listings[key].Done = true }})
			if err == nil {
				r.reportFindings(r.com.snapshot().Listings[key])
			}
			return err
		case readAgain:
			r.note(observe.Note{
				Level: observe.Warn, Code: "list_moved",
				Message: fmt.Sprintf("the list moved while it was read (%d of %s came): reading it again, pass %d", l.have(), totalText(l.Total), l.Pass+1),
			})
			if err := again(1, 0); err != nil {
				return err
			}
			l = *r.com.snapshot().Listings[key]
			sent = 0
			continue
		}
		page, next, err := r.step(ctx, acc, s, &l)
		if ads.ClassOf(err) == ads.ClassStaleCursor && l.Stale < maxPasses {
			r.note(observe.Note{Level: observe.Warn, Code: "stale_cursor", Message: err.Error() + ": the listing starts again"})
			if err := again(0, 1); err != nil {
				return err
			}
			l = *r.com.snapshot().Listings[key]
			sent = 0
			continue
		}
		if err != nil {
			return err
		}
		if next.Echo.Set {
			l.TrustEcho++
		}
		regular := l.Pages > 0 && page.rows > 0 && page.rows == l.MaxRows && len(page.problems) == 0 && next.More.Set && next.More.Value &&
			next.Total.Set && next.Total == l.Total && next.Cursor != "" && sent+int64(page.rows) < next.Total.Value && !next.Echo.Set && !l.Hole
		o := op{account: acc.ID, stream: s.Name, page: page}
		trust := l.TrustEcho
		o.change = func(st *state) {
			l := begin(st)
			if next.Echo.Set {
				l.TrustEcho = trust
			}
		}
		if l.Pages == 0 {
			o.accounts = []ads.Account{acc}
		}
		if regular {
			if err := r.com.send(o); err != nil {
				return err
			}
			// Nothing about this page can change what comes next, so the next one is asked for while this one is written.
			sent += int64(page.rows)
			l.Cursor, l.Rows, l.More = next.Cursor, page.rows, next.More
			l.Pages++
			continue
		}
		o.alone = true
		if err := r.com.sendWait(o); err != nil {
			return err
		}
		l = *r.com.snapshot().Listings[key]
		if l.Done { // with this page
			r.reportFindings(&l)
		}
		sent = l.have()
	}
}

// step reads one page. An answer that is about another page is asked for again, unless this platform does that always.
func (r *run) step(ctx context.Context, acc ads.Account, s platform.Stream, l *listing) (*pageOp, platform.Next, error) {
	number := l.Pages + 1
	r.setPhase("listing page " + strconv.Itoa(number))
	task := platform.Task{Account: acc, Stream: s.Name, RunID: r.id, Cursor: l.Cursor}
	for asked := 1; ; asked++ {
		p := &pageOp{direct: !s.FollowUps, number: number, records: make([]ads.Entity, 0, s.PageRows)}
		next, err := r.o.Platform.Step(observe.WithPage(ctx, number), r.o.API, task, func(rec ads.Record) error {
			p.rows++
			if rec.Problem != nil {
				p.problems = append(p.problems, *rec.Problem)
			} else {
				p.records = append(p.records, rec.Entity)
			}
			return nil
		})
		if err != nil {
			return nil, next, err
		}
		if next.Page > 0 {
			p.number = next.Page
		}
		if next.Echo.Set {
			r.note(observe.Note{
				Level: observe.Warn, Code: "page_echo",
				Message: fmt.Sprintf("asked for %s, the answer says it is %s", next.Echo.Value.Asked, next.Echo.Value.Got),
			})
			if l.TrustEcho == 0 && asked < maxEchoes {
				continue
			}
		}
		if l.Pages == 0 {
			for _, f := range next.Findings {
				r.note(observe.Note{Level: observe.Info, Code: f.Code, Message: f.Message, Hint: f.Hint})
			}
		}
		p.read = pageRead{Pages: 1, Rows: p.rows, MaxRows: p.rows, Cursor: next.Cursor, More: next.More, Total: next.Total}
		if next.Cursor != "" && next.Cursor == l.Cursor {
			return nil, next, &ads.Error{Class: ads.ClassBadReply, Code: "cursor_stuck", Message: "the platform names the page just read as the next one"}
		}
		return p, next, nil
	}
}

func (r *run) reportFindings(l *listing) {
	for _, f := range l.findings() {
		r.note(observe.Note{Level: observe.Warn, Code: f.Code, Message: f.Message})
	}
}

func totalText(t ads.Opt[int64]) string {
	if !t.Set {
		return "an unknown total"
	}
	return strconv.FormatInt(t.Value, 10)
}

// seed makes items of the failures that are to be retried, each read again from the JSON kept with it. Since somebody chose them they may
// have been resolved or dropped, or have failed again: what counts is what the database has now that the lock is ours.
func (r *run) seed(ctx context.Context) error {
	dec, ok := r.o.Platform.(platform.Decoder)
	if !ok {
		return &ads.Error{Class: ads.ClassPermanent, Code: "no_retry", Message: "this platform's records can only be retried by a sync"}
	}
	r.setPhase("retrying failures")
	ids := make([]int64, len(r.o.Retry))
	for i := range ids {
		ids[i] = r.o.Retry[i].ID
	}
	byListing := map[string][]store.Failure{}
	var order []string
	for f, err := range r.o.Store.Failures(ctx, store.FailureFilter{ClientID: r.o.Ref.ClientID, Connection: r.o.Ref.Connection, IDs: ids}) {
		if err != nil {
			return err
		}
		key := listingKey(f.Account, f.Stream)
		if byListing[key] == nil {
			order = append(order, key)
		}
		byListing[key] = append(byListing[key], f)
	}
	for _, key := range order {
		if l := r.com.snapshot().Listings[key]; l != nil && l.Done {
			continue // seeded in an earlier life
		}
		fs := byListing[key]
		account, stream := fs[0].Account, fs[0].Stream
		p := &pageOp{direct: !r.followUps(stream)}
		for _, f := range fs {
			p.rows++
			if rec := r.decode(dec, f); rec.Problem != nil {
				p.problems = append(p.problems, *rec.Problem)
			} else {
				p.records = append(p.records, rec.Entity)
			}
		}
		err := r.com.sendWait(op{account: account, stream: stream, page: p, alone: true, change: func(st *state) {
			l := firstPass(st.LastStamp)
			l.Done = true
			st.Listings[key] = &l
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// decode reads a failure's record. What cannot be tried alone becomes a problem, which nobody retries by itself.
func (r *run) decode(dec platform.Decoder, f store.Failure) ads.Record {
	if !slices.ContainsFunc(r.spec.Streams, func(s platform.Stream) bool { return s.Name == f.Stream }) {
		return ads.Record{Problem: &ads.Problem{
			EntityID: f.EntityID, Code: "no_stream", Message: fmt.Sprintf("%s gives no %s here: this cannot be tried alone", r.spec.Name, f.Stream),
			Hint: "drop it; a sync keeps a new failure where there is reason to",
		}}
	}
	rec := dec.Decode(platform.Task{Account: ads.Account{ID: f.Account}, Stream: f.Stream, RunID: r.id}, f.Raw)
	if rec.Problem != nil {
		rec.Problem.EntityID = f.EntityID
	}
	return rec
}

func (r *run) followUps(stream string) bool {
	for _, s := range r.spec.Streams {
		if s.Name == stream {
			return s.FollowUps
		}
	}
	return false
}

// finish closes this life of the run and decides how it ended. work is why the work stopped, nil when it came to its end.
func (r *run) finish(outer context.Context, work error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(outer), 2*time.Minute)
	defer cancel()
	if work == nil {
		r.setPhase("closing the run")
		work = guard(r.note, func() error { return r.settle(ctx) })
	}
	st := r.com.snapshot()
	fin := store.FinishRun{RunID: r.id, Now: time.Now().UTC().Truncate(time.Microsecond)}
	_, partial := errors.AsType[*PartialError](work)
	switch {
	case work == nil:
		fin.Outcome = ads.Complete
	case partial:
		fin.Outcome = ads.Partial
	case outer.Err() != nil:
		fin.Outcome = ads.Interrupted
	case ads.ClassOf(work) == ads.ClassDeferred:
		fin.Outcome = ads.Interrupted
		e, _ := errors.AsType[*ads.Error](work)
		fin.Wait = store.Wait{Reason: e.Message, Until: e.Until}
	default:
		fin.Outcome = ads.Failed
	}
	if work != nil {
		fin.Error = ads.Printable(work.Error(), 2000)
	}
	r.outcome = fin.Outcome
	if errors.Is(work, store.ErrFenced) {
		return work
	}
	fin.Update = store.RunUpdate{State: st.encode(), Figures: r.figuresNow(), Active: r.active()}
	if err := r.writing.during(func() error { return r.o.Store.FinishRun(ctx, r.lease, fin) }); err != nil {
		if work == nil || partial {
			r.outcome = ads.Failed
			return err
		}
		r.note(observe.Note{Level: observe.Warn, Code: "not_closed", Message: "the run's end could not be recorded: " + err.Error()})
	}
	return work
}

// settle is the end of a run whose work is done: what is gone is marked, and the figures must add up.
func (r *run) settle(ctx context.Context) error {
	st := r.com.snapshot().clone()
	var reasons []string
	if len(r.o.Retry) == 0 {
		for _, s := range r.spec.Streams {
			for key, l := range st.Listings {
				account, stream := splitListingKey(key)
				if stream != s.Name {
					continue
				}
				for _, f := range l.findings() {
					if f.Partial {
						reasons = append(reasons, f.Message)
					}
				}
				if !l.clean() || st.Failed > st.Held && !s.FollowUps {
					continue
				}
				if err := r.sweep(ctx, st, s, account, l); err != nil {
					return err
				}
			}
		}
	}
	r.com.mu.Lock()
	r.com.st = st
	r.com.mu.Unlock()
	f := r.figuresNow()
	if st.Held > 0 {
		r.note(observe.Note{
			Level: observe.Info, Code: "held", Message: fmt.Sprintf("%d of %d failed were not tried: their next try is not due, or they are no longer tried by themselves", st.Held, f.Failed),
			Hint: "adsync failures retry tries them now",
		})
	}
	if st.Faults > 0 {
		reasons = append(reasons, st.Wrong...)
		if more := st.Faults - int64(len(st.Wrong)); more > 0 {
			reasons = append(reasons, fmt.Sprintf("and %d more of that kind", more))
		}
	}
	if f.Failed > 0 {
		reasons = append(reasons, fmt.Sprintf("%d of %d failed and are kept for retry", f.Failed, f.Listed))
	}
	if f.Listed != f.Synced+f.Failed {
		reasons = append(reasons, fmt.Sprintf("the figures do not add up: %d listed, %d synced, %d failed", f.Listed, f.Synced, f.Failed))
	}
	if len(reasons) > 0 {
		return &PartialError{Reasons: reasons}
	}
	return nil
}

// sweep marks what a clean listing no longer has.
func (r *run) sweep(ctx context.Context, st *state, s platform.Stream, account string, l *listing) error {
	share := MaxRemovedShare
	if r.o.AllowRemovals {
		share = 1
	}
	st.LastStamp = st.stamp(time.Now())
	var res store.SweepResult
	err := r.writing.during(func() (err error) {
		res, err = r.o.Store.Sweep(ctx, r.lease, store.Sweep{
			RunID: r.id, Account: account, Stream: s.Name, Direct: !s.FollowUps, Pass: l.Pass, PassStart: l.PassStart, RunStart: r.startedAt,
			Stamp: st.LastStamp, MaxShare: share,
		})
		return err
	})
	if err != nil {
		return err
	}
	if res.Gone > res.Marked {
		// The next life reads the list again: its place is given up, what it has synced is kept.
		st.LastStamp = st.LastStamp.Add(time.Microsecond)
		again := l.restart(st.LastStamp)
		again.Again, again.Stale = 0, 0
		st.Listings[listingKey(account, s.Name)] = &again
		r.com.mu.Lock()
		r.com.st = st
		r.com.mu.Unlock()
		return &RemovalError{Gone: res.Gone, Present: res.Present}
	}
	st.Removed += res.Marked
	return nil
}
