// Package service keeps connections fresh on their schedules: it asks the queue for what is due, works on what the queue hands out, parks what
// has to wait, and takes over what a process that died has left. Several processes with the same configuration share one database.
//
// It imports the engine and what a connection is made of, and must not import a connector, a database or anything that prints.
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/observe"
	"adsync/internal/queue"
	"adsync/internal/store"
)

// Options of a service.
type Options struct {
	ID      string // of this process, the queue's too
	Name    string // for people: host and process id
	Version string
	Store   store.Store
	Queue   *queue.Queue
	Maker   *connect.Maker
	Secrets Secrets // nil: credentials change with the configuration only
	Log     *slog.Logger
}

// Secrets reads credentials again from where they are kept. *config.Config does.
type Secrets interface {
	// Renewable says whether a connection has any that may change while the process runs.
	Renewable(ref ads.Ref) bool
	// ResolveConnection gives the connection with its secrets as they were a short while ago at the latest.
	ResolveConnection(ctx context.Context, ref ads.Ref) (config.Connection, error)
	// Renew reads those of a connection anew, past every cache, and says whether they are others.
	Renew(ctx context.Context, c config.Connection) (renewed config.Connection, changed bool, err error)
}

// Times by which processes judge each other.
var (
	lease      = Paced(30 * time.Second) // a process that is not heard of for so long has lost its connections to the others
	beatEvery  = Paced(7 * time.Second)
	beatWithin = Paced(5 * time.Second)
	cutMargin  = Paced(8 * time.Second) // before the lease ends, a process that cannot renew it stops its runs
	retryEvery = Paced(time.Minute)     // looks for failures that are due
)

// Other times and bounds of a service.
const (
	tick        = time.Second // of the calendar
	tickBatch   = 500         // jobs asked for at once
	retryBatch  = 1000
	pruneEvery  = time.Hour
	keepRuns    = 90 * 24 * time.Hour
	refusedPoll = 5 * time.Minute // looks whether refused credentials have changed
	stopWithin  = 9 * time.Second // the contract allows 10
	strangerFor = 10 * time.Minute
)

// Service is one process of it.
type Service struct {
	o    Options
	root context.Context // of all runs; ends with the service, or when it is cut off
	open chan struct{}   // closed when it works

	mu       sync.Mutex
	conns    map[ads.Ref]*conn
	calendar *calendar
	owed     []queue.Job // due and not asked for yet
	started  bool
	stopping bool
	leaseEnd time.Time // on the monotonic clock
	leaseDay time.Time // the same on the wall clock: a machine that slept has lost its lease too
	workers  []store.Worker
	first    bool // of the living workers: does what one of them has to do
	running  int
	refused  map[ads.Ref]bool // parked for their credentials, as far as this process knows
	paused   map[ads.Ref]bool // by somebody, as far as this process knows
}

// New is a service of these connections.
func New(o Options, conns []config.Connection) *Service {
	s := &Service{o: o, open: make(chan struct{}), conns: map[ads.Ref]*conn{}, calendar: newCalendar(), refused: map[ads.Ref]bool{}, paused: map[ads.Ref]bool{}}
	for _, c := range conns {
		s.o.Maker.Declare(c)
		s.conns[c.Ref] = &conn{c: c}
	}
	return s
}

// Errors that end runs early.
var (
	errCutOff  = errors.New("this process lost touch with the database for too long; others go on with its connections")
	errChanged = errors.New("the configuration of this connection has changed")
	errBug     = errors.New("internal error in the service; the log says where")
)

// Run works until ctx ends, and then gives everything back. Its error is why it could not start.
func (s *Service) Run(ctx context.Context) error {
	root, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	s.root = root
	if err := s.beat(ctx); err != nil {
		return err
	}
	if err := s.learnPauses(ctx); err != nil {
		return err
	}
	last, err := s.o.Store.LastStarts(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	s.mu.Lock()
	for ref, c := range s.conns {
		s.calendar.set(ref, c.c.Schedule, last[ref], true, now)
	}
	s.started = true
	s.mu.Unlock()
	if err := s.o.Queue.Start(context.WithoutCancel(ctx), s.work); err != nil {
		return err
	}
	close(s.open)
	var loops sync.WaitGroup
	for every, fn := range map[time.Duration]func(context.Context){
		beatEvery: s.keepLease, tick: s.tick, retryEvery: s.retries, pruneEvery: s.prune, refusedPoll: s.lookAtRefused,
	} {
		loops.Go(func() { s.loop(ctx, every, fn) })
	}
	<-ctx.Done()
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	cancel(context.Cause(ctx))
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer stop()
	if err := s.o.Queue.Stop(end); err != nil {
		s.o.Log.Warn("not everything could be given back in time; another process takes it over: " + err.Error())
	}
	loops.Wait()
	if err := s.o.Store.Leave(end, s.o.ID); err != nil {
		s.o.Log.Warn("the others could not be told of the end of this process: " + err.Error())
	}
	return nil
}

// loop calls fn now and then, until ctx ends. A panic ends that call alone.
func (s *Service) loop(ctx context.Context, every time.Duration, fn func(context.Context)) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		s.guarded(func() { fn(ctx) })
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Service) guarded(fn func()) {
	defer func() {
		if recover() != nil {
			// The value could hold data; where it came from cannot.
			s.o.Log.Error("internal error "+uuid.NewString()[:8]+" in the service", "stack", frames(debug.Stack()))
		}
	}()
	fn()
}

// beat renews the lease and learns who else is there. One that panics has failed like any other: the lease is not renewed, and runs must stop
// before it ends.
func (s *Service) beat(ctx context.Context) (err error) {
	err = errBug
	s.guarded(func() { err = s.renewLease(ctx) })
	return err
}

func (s *Service) renewLease(ctx context.Context) error {
	s.mu.Lock()
	n := s.running
	s.mu.Unlock()
	begin := time.Now()
	limited, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	ws, err := s.o.Store.Beat(limited, store.Beat{ID: s.o.ID, Name: s.o.Name, Version: s.o.Version, Runs: n, Lease: lease})
	if err != nil {
		return err
	}
	living := slices.DeleteFunc(slices.Clone(ws), func(w store.Worker) bool { return !w.Alive })
	slices.SortFunc(living, func(a, b store.Worker) int { return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID)) })
	s.mu.Lock()
	s.leaseEnd, s.leaseDay = begin.Add(lease), begin.Round(0).Add(lease)
	s.workers = ws
	s.first = len(living) > 0 && living[0].ID == s.o.ID
	s.mu.Unlock()
	return nil
}

// left is how much of the lease is left.
func (s *Service) left(now time.Time) time.Duration {
	return min(s.leaseEnd.Sub(now), s.leaseDay.Sub(now.Round(0)))
}

// keepLease renews the lease, stops all runs when that fails for too long, and takes over what the dead have left.
func (s *Service) keepLease(ctx context.Context) {
	s.mu.Lock()
	late := s.left(time.Now()) <= 0 // stopped, or asleep: what was held may have gone to others
	s.mu.Unlock()
	if late {
		s.cutOff()
	}
	if err := s.beat(ctx); err != nil {
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		left := s.left(time.Now())
		s.mu.Unlock()
		if left < cutMargin {
			s.o.Log.Warn("the database does not answer; all runs are stopped, and go on when it is back: " + err.Error())
			s.cutOff()
		} else {
			s.o.Log.Warn(fmt.Sprintf("the database does not answer; runs are stopped in %s unless it does: %s", (left - cutMargin).Round(time.Second), err))
		}
		return
	}
	s.mu.Lock()
	alive := map[string]bool{}
	for _, w := range s.workers {
		alive[w.ID] = w.Alive
	}
	s.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	if err := s.learnPauses(limited); err != nil && ctx.Err() == nil {
		s.o.Log.Warn("what is paused could not be read; it is tried again: " + err.Error())
	}
	switch n, err := s.o.Queue.Adopt(limited, func(id string) bool { return alive[id] }); {
	case err != nil && ctx.Err() == nil:
		s.o.Log.Warn(err.Error())
	case n > 0:
		s.o.Log.Warn(fmt.Sprintf("%d of a process that is gone are taken over", n))
	}
}

// cutOff stops all runs: their connections are, or will soon be, somebody else's.
func (s *Service) cutOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if c.cancel != nil {
			c.cancel(errCutOff)
		}
	}
}

// tick asks for what is due.
func (s *Service) tick(ctx context.Context) {
	s.mu.Lock()
	if s.left(time.Now()) <= 0 { // asked for later, and once
		s.mu.Unlock()
		return
	}
	for _, d := range s.calendar.due(time.Now().Round(0), tickBatch) {
		if s.paused[d.ref] { // whoever ends the pause asks for a run
			continue
		}
		s.owed = append(s.owed, queue.Job{Ref: d.ref, Trigger: store.TriggerSchedule, Slot: d.at.UTC()})
	}
	jobs := s.owed
	s.owed = nil
	s.mu.Unlock()
	if len(jobs) == 0 {
		return
	}
	got, err := s.o.Queue.Enqueue(ctx, jobs)
	if err != nil {
		s.mu.Lock()
		s.owed = append(jobs[len(got):], s.owed...)
		s.mu.Unlock()
		if ctx.Err() == nil {
			s.o.Log.Warn("what is due could not be asked for; it is tried again: " + err.Error())
		}
	}
	for i, a := range got {
		if a.Joined && a.State == queue.Parked {
			s.credentialsChanged(ctx, jobs[i].Ref, a)
		}
	}
}

// retries asks for another try of failures that are due.
func (s *Service) retries(ctx context.Context) {
	s.mu.Lock()
	first := s.first
	s.mu.Unlock()
	if !first {
		return
	}
	refs, err := s.o.Store.DueRetries(ctx, time.Now().UTC(), retryBatch)
	if err != nil {
		if ctx.Err() == nil {
			s.o.Log.Warn("failures that are due could not be looked for: " + err.Error())
		}
		return
	}
	var jobs []queue.Job
	for _, ref := range refs {
		if s.conn(ref) != nil && !s.isPaused(ref) {
			jobs = append(jobs, queue.Job{Ref: ref, Retry: true, Trigger: store.TriggerRetry})
		}
	}
	if _, err := s.o.Queue.Enqueue(ctx, jobs); err != nil && ctx.Err() == nil {
		s.o.Log.Warn("failures that are due could not be asked for: " + err.Error())
	}
}

// prune forgets what is long over.
func (s *Service) prune(ctx context.Context) {
	s.mu.Lock()
	first := s.first
	s.mu.Unlock()
	if !first {
		return
	}
	if _, err := s.o.Store.Prune(ctx, time.Now().Add(-keepRuns).UTC()); err != nil && ctx.Err() == nil {
		s.o.Log.Warn("old runs could not be cleared away: " + err.Error())
	}
}

func (s *Service) conn(ref ads.Ref) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[ref]
}

// Changes are what a new configuration brought.
type Changes struct{ Added, Changed, Removed []ads.Ref }

// Reload takes on a new configuration. Runs of connections that are gone or have changed stop in good order; what has changed goes on at once
// with the new settings.
func (s *Service) Reload(conns []config.Connection, secrets Secrets) Changes {
	var ch Changes
	var again []queue.Job
	now := time.Now()
	s.mu.Lock()
	s.o.Secrets = secrets
	keep := map[ads.Ref]bool{}
	for _, c := range conns {
		keep[c.Ref] = true
		was := s.conns[c.Ref]
		if was != nil && same(was.c, c) {
			continue
		}
		s.o.Maker.Declare(c)
		n := &conn{c: c}
		if was == nil {
			ch.Added = append(ch.Added, c.Ref)
		} else {
			ch.Changed = append(ch.Changed, c.Ref)
			if was.cancel != nil {
				was.cancel(errChanged)
			}
			if !sameLogin(was.c, c) {
				again = append(again, queue.Job{Ref: c.Ref, Trigger: store.TriggerManual})
			}
		}
		s.conns[c.Ref] = n
		if s.started {
			s.calendar.set(c.Ref, c.Schedule, time.Time{}, was == nil, now)
		}
	}
	for ref, c := range s.conns {
		if keep[ref] {
			continue
		}
		ch.Removed = append(ch.Removed, ref)
		if c.cancel != nil {
			c.cancel(errChanged)
		}
		s.o.Maker.Retire(c.c)
		delete(s.conns, ref)
		delete(s.refused, ref)
		s.calendar.drop(ref)
	}
	s.owed = slices.DeleteFunc(s.owed, func(j queue.Job) bool { return s.conns[j.Ref] == nil })
	s.mu.Unlock()
	for _, l := range [][]ads.Ref{ch.Added, ch.Changed, ch.Removed} {
		slices.SortFunc(l, func(a, b ads.Ref) int {
			return slices.Compare([]string{a.ClientID, a.Connection}, []string{b.ClientID, b.Connection})
		})
	}
	if len(again) > 0 {
		// Parked for the sake of what has changed, perhaps.
		ctx, cancel := context.WithTimeout(context.Background(), beatWithin)
		defer cancel()
		for _, j := range again {
			if got, err := s.o.Queue.Enqueue(ctx, []queue.Job{j}); err == nil && got[0].State == queue.Parked {
				s.credentialsChanged(ctx, j.Ref, got[0])
			}
		}
	}
	return ch
}

// Configured are the connections of the service.
func (s *Service) Configured() []config.Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]config.Connection, 0, len(s.conns))
	for _, c := range s.conns {
		out = append(out, c.c)
	}
	slices.SortFunc(out, func(a, b config.Connection) int {
		return slices.Compare([]string{a.Ref.ClientID, a.Ref.Connection}, []string{b.Ref.ClientID, b.Ref.Connection})
	})
	return out
}

// NextRun is when the connection's schedule has its next slot; zero where it has none.
func (s *Service) NextRun(ref ads.Ref) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calendar.when(ref)
}

// Answer is what became of asking for a run.
type Answer struct {
	Ref    ads.Ref
	Joined bool // it was asked for, or going, already
	State  queue.State
	Until  time.Time // of a parked one that stays parked
	Reason string
}

// SyncNow asks for a run of each of its connections, as Ask does.
func (s *Service) SyncNow(ctx context.Context, refs []ads.Ref, retry bool) ([]Answer, error) {
	for _, ref := range refs {
		if s.conn(ref) == nil {
			return nil, &UnknownError{ref}
		}
	}
	return Ask(ctx, s.o.Store, s.o.Queue, refs, retry)
}

// RetryNow makes single failures of a connection due and asks for another try of those that are, the others that wait for their time left alone.
func (s *Service) RetryNow(ctx context.Context, ref ads.Ref, ids []int64) (Answer, error) {
	if s.conn(ref) == nil {
		return Answer{}, &UnknownError{ref}
	}
	if _, err := s.o.Store.HastenFailures(ctx, ids, time.Now().UTC()); err != nil {
		return Answer{}, err
	}
	got, err := ask(ctx, s.o.Store, s.o.Queue, []ads.Ref{ref}, true, store.TriggerRetry)
	if err != nil {
		return Answer{}, err
	}
	return got[0], nil
}

// Ask asks whatever processes work on a queue for a run of each connection, or for another try of its failures. A run that is going is joined;
// one that is parked stays parked where a quota or the server is what it waits for, and is tried at once otherwise. One that is paused is left alone.
func Ask(ctx context.Context, st store.Store, q *queue.Queue, refs []ads.Ref, retry bool) ([]Answer, error) {
	return ask(ctx, st, q, refs, retry, store.TriggerManual)
}

func ask(ctx context.Context, st store.Store, q *queue.Queue, refs []ads.Ref, retry bool, trigger string) ([]Answer, error) {
	paused, err := st.Paused(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Answer, 0, len(refs))
	var jobs []queue.Job
	var at []int // of out, for each job
	for _, ref := range refs {
		if p, ok := paused[ref]; ok {
			out = append(out, Answer{Ref: ref, State: Paused, Reason: pauseWords(p)})
			continue
		}
		at, jobs = append(at, len(out)), append(jobs, queue.Job{Ref: ref, Trigger: trigger, Retry: retry})
		out = append(out, Answer{Ref: ref})
	}
	got, err := q.Enqueue(ctx, jobs)
	for i, a := range got {
		ans := Answer{Ref: jobs[i].Ref, Joined: a.Joined, State: a.State, Until: a.Until}
		if a.Joined && a.State == queue.Queued {
			err = errors.Join(err, st.Park(ctx, ans.Ref, store.Wait{Mark: markAsked}))
		}
		if a.Joined && a.State == queue.Parked {
			w, werr := st.ReadWait(ctx, ans.Ref)
			ans.Reason = w.Reason
			if werr == nil && !waitsForQuota(w) {
				if werr = st.Park(ctx, ans.Ref, store.Wait{Mark: markAsked}); werr == nil {
					werr = q.Wake(ctx, a)
				}
				ans.State, ans.Until = queue.Queued, time.Time{}
			}
			err = errors.Join(err, werr)
		}
		out[at[i]] = ans
	}
	if err != nil && len(got) < len(jobs) {
		return nil, err
	}
	return out, err
}

// waitsForQuota says that nobody can shorten what a connection waits for.
func waitsForQuota(w store.Wait) bool {
	return w.Mark == string(observe.ParkQuota) && w.Until.After(time.Now())
}

// UnknownError names a connection that the configuration does not have.
type UnknownError struct{ Ref ads.Ref }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("the configuration has no connection %s", e.Ref)
}

// Ready says why the service cannot do its work now; nil: it can.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.started:
		return errors.New("starting")
	case s.stopping:
		return errors.New("stopping")
	case s.left(time.Now()) <= 0:
		return errors.New("the database does not answer")
	}
	return nil
}

// Workers are the processes that share the database, as last heard.
func (s *Service) Workers() []store.Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.workers)
}

// First says that of all living processes this one does what one of them has to do.
func (s *Service) First() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first && s.left(time.Now()) > 0
}

// Running counts the runs of this process.
func (s *Service) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// Refs are the names of all connections.
func (s *Service) Refs() []ads.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}
