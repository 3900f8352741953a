package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/store"
)

// accounts brings all ad accounts up to date, several side by side. One that is refused, or whose data cannot be read, is kept as a failure, and the
// others go on; what would meet all of them ends the listing.
//
// Where only is given, all others are left alone.
func (r *run) accounts(ctx context.Context, only map[string]bool) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(r.o.MaxAccounts)
	met := map[string]bool{}
	var listed error
	var later deferrals
	for acc, err := range r.o.Platform.Accounts(ctx, r.o.API) {
		if only != nil && acc.ID != "" && !only[acc.ID] {
			continue
		}
		if err != nil && acc.ID != "" && ctx.Err() == nil && aboutAccount(err) {
			if err := r.keepFault(ads.StreamAccounts, acc.ID, acc, nil, err, nil, fmt.Sprintf("account %s: %s", nameOf(acc), err)); err != nil {
				listed = err
				break
			}
			met[acc.ID] = true
			continue
		}
		if err != nil {
			listed = err
			break
		}
		if inner.Err() != nil {
			break
		}
		met[acc.ID] = true
		group.Go(func() error {
			return later.take(guard(r.note, func() error { return r.account(inner, acc) }))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if listed != nil || ctx.Err() != nil {
		return listed
	}
	if only != nil {
		for id := range only {
			if met[id] {
				continue
			}
			why := "account " + ads.Printable(id, 80) + " is not listed any more, or not wanted: what failed there cannot be tried"
			if err := r.com.sendWait(op{alone: true, change: func(st *state) { st.wrong(why) }}); err != nil {
				return err
			}
		}
		return later.earliest()
	}
	if len(met) == 0 {
		const message = "the credentials can read no ad account that is wanted"
		r.note(observe.Note{Level: observe.Warn, Code: "no_accounts", Message: message, Hint: "check the connection's accounts and the rights that the credentials have"})
		if err := r.com.sendWait(op{alone: true, change: func(st *state) { st.wrong(message) }}); err != nil {
			return err
		}
	}
	if err := later.earliest(); err != nil {
		return err
	}
	return r.resolveGone(ctx, met)
}

// deferrals are waits that are longer than a run makes in place. One account's keep no other from being read; the run ends with the one that is over first.
type deferrals struct {
	mu    sync.Mutex
	first *ads.Error
}

// take keeps a deferral and gives back any other error.
func (d *deferrals) take(err error) error {
	e, ok := errors.AsType[*ads.Error](err)
	if !ok || e.Class != ads.ClassDeferred || e.Code == CodeOutage {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first == nil || e.Until.Before(d.first.Until) {
		d.first = e
	}
	return nil
}

func (d *deferrals) earliest() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first == nil {
		return nil
	}
	return d.first
}

// failedAccounts brings the accounts up to date in which something failed that is to be tried again: the account itself, a slice of its figures, or a record,
// which is had anew since it may have changed.
func (r *run) failedAccounts(ctx context.Context) error {
	r.setPhase("retrying failures")
	ids := make([]int64, len(r.o.Retry))
	for i := range ids {
		ids[i] = r.o.Retry[i].ID
	}
	only := map[string]bool{}
	for f, err := range r.o.Store.Failures(ctx, store.FailureFilter{ClientID: r.o.Ref.ClientID, Connection: r.o.Ref.Connection, IDs: ids}) {
		if err != nil {
			return err
		}
		only[f.Account] = true
	}
	if len(only) == 0 {
		return nil
	}
	return r.accounts(ctx, only)
}

// resolveGone ends the failures of accounts that a whole listing does not name any more: nobody will read them again.
func (r *run) resolveGone(ctx context.Context, met map[string]bool) error {
	var gone []string
	for f, err := range r.o.Store.Failures(ctx, store.FailureFilter{ClientID: r.o.Ref.ClientID, Connection: r.o.Ref.Connection}) {
		if err != nil {
			return err
		}
		if f.Stream == ads.StreamAccounts && !met[f.Account] {
			gone = append(gone, f.Account)
		}
	}
	for _, id := range gone {
		if err := r.com.sendWait(op{account: id, stream: ads.StreamAccounts, resolved: []string{id}, alone: true}); err != nil {
			return err
		}
	}
	return nil
}

// account brings one account up to date: first what there is in it, then its figures.
func (r *run) account(ctx context.Context, acc ads.Account) error {
	err := r.accountSteps(ctx, acc)
	if err == nil {
		return r.com.sendWait(op{account: acc.ID, stream: ads.StreamAccounts, accounts: []ads.Account{acc}, resolved: []string{acc.ID}, alone: true})
	}
	if ctx.Err() != nil || !aboutAccount(err) {
		return err
	}
	return r.fault(ads.StreamAccounts, acc.ID, acc, err, nil, fmt.Sprintf("account %s: %s", nameOf(acc), err))
}

func (r *run) accountSteps(ctx context.Context, acc ads.Account) error {
	for _, s := range r.spec.Streams {
		if err := r.listStream(ctx, acc, s); err != nil {
			return err
		}
	}
	if rep, ok := r.o.Platform.(platform.Reporter); ok && len(r.spec.Reports.Levels) > 0 {
		return r.reports(ctx, rep, acc)
	}
	return nil
}

func nameOf(acc ads.Account) string {
	if acc.Name == "" {
		return acc.ID
	}
	return acc.ID + " (" + ads.Printable(acc.Name, 80) + ")"
}

// aboutAccount says that an error is about one account and would not meet the others.
func aboutAccount(err error) bool {
	if isInternal(err) {
		return true
	}
	if e, ok := errors.AsType[*ads.Error](err); ok && e.Code == CodeOutage {
		return false
	}
	switch ads.ClassOf(err) {
	case ads.ClassDenied, ads.ClassPermanent, ads.ClassBadReply, ads.ClassTooLarge, ads.ClassStaleCursor, ads.ClassTransient:
		return true
	}
	return false
}

// fault keeps a failure of an account or a slice, and the run from being complete.
func (r *run) fault(stream, entity string, acc ads.Account, err error, m *store.Metrics, why string) error {
	return r.keepFault(stream, entity, acc, []ads.Account{acc}, err, m, why)
}

// keepFault is fault with the accounts that are written along: none, where it may be a manager, or not there at all.
func (r *run) keepFault(stream, entity string, acc ads.Account, rows []ads.Account, err error, m *store.Metrics, why string) error {
	f := store.Fault{EntityID: entity, Class: ads.ClassOf(err), Message: err.Error()}
	if e, ok := errors.AsType[*ads.Error](err); ok {
		f.Code, f.Message, f.Hint, f.RequestID, f.Attempts = e.Code, e.Message, e.Hint, e.RequestID, e.Attempts
	}
	key := listingKey(acc.ID, stream)
	sent := r.com.sendWait(op{account: acc.ID, stream: stream, accounts: rows, metrics: m, faults: []store.Fault{f}, alone: true, change: func(st *state) {
		st.wrong(why)
		delete(st.Slices, key)
	}})
	if sent != nil {
		return sent
	}
	r.emit(observe.RecordFailed{
		Account: acc.ID, Stream: stream, EntityID: ads.Printable(entity, 80), Class: f.Class, Code: f.Code, Message: f.Message, Hint: f.Hint, RequestID: f.RequestID, Attempts: f.Attempts,
	})
	return nil
}

// pause waits for a report that the platform prepares.
func (r *run) pause(ctx context.Context, acc ads.Account, d time.Duration, message string) error {
	begin := time.Now()
	r.emit(observe.WaitStarted{Reason: observe.WaitReport, Bucket: nameOf(acc), Until: begin.Add(d), Note: message})
	defer func() { r.emit(observe.WaitEnded{Reason: observe.WaitReport, Waited: time.Since(begin)}) }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
