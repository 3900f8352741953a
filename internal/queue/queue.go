// Package queue decides when and where a connection is worked on: jobs on River, in PostgreSQL or SQLite. A job is small ("sync
// connection X"), unique per connection, parked rather than failed, and taken over when the process that had it is gone.
//
// It knows nothing of platforms, of records or of what a run is: the handler does. It imports ads, config, secret and store (for its
// errors), and must not import the engine.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"adsync/internal/ads"
)

// Job asks for work on one connection.
type Job struct {
	Ref     ads.Ref
	Retry   bool      // try its failures that are due, instead of syncing it
	Trigger string    // "schedule", "manual", "retry": who asked
	Slot    time.Time // of the schedule; a run that began at or after it makes the job needless. Zero: asked for by a person
}

// args are a job as it is stored. What is marked unique names the work: while such a job is open, another one joins it.
type args struct {
	Client     string    `json:"client" river:"unique"`
	Connection string    `json:"connection" river:"unique"`
	Retry      bool      `json:"retry" river:"unique"`
	Trigger    string    `json:"trigger"`
	Slot       time.Time `json:"slot,omitzero"`
}

const kind = "adsync_sync"

// Kind implements river.JobArgs.
func (args) Kind() string { return kind }

func (a args) job() Job {
	return Job{Ref: ads.Ref{ClientID: a.Client, Connection: a.Connection}, Retry: a.Retry, Trigger: a.Trigger, Slot: a.Slot}
}

// Task is a job in a handler's hands.
type Task struct {
	Job
	Queued time.Time // when it was asked for
}

// Outcome is what becomes of a job.
type Outcome struct {
	// Later keeps the job: it comes back after Pause, to any process, and no attempt is spent. Otherwise it is done.
	Later bool
	Pause time.Duration
}

// Done ends a job.
var Done = Outcome{}

// Park gives the worker back until later.
func Park(d time.Duration) Outcome { return Outcome{Later: true, Pause: max(d, 0)} }

// Handler works on a job. It must return soon after its context ends.
type Handler func(ctx context.Context, t Task) Outcome

// State of a job.
type State string

// The states that matter outside.
const (
	Queued  State = "queued"  // waits for a worker
	Running State = "running" // some process works on it
	Parked  State = "parked"  // comes back by itself at Until
)

// Asked is what an Enqueue found.
type Asked struct {
	Joined bool // the work was asked for already
	State  State
	Until  time.Time // of a parked job

	id int64
}

// Options of a queue.
type Options struct {
	ID  string // of this process; names it among those that share the queue
	Log *slog.Logger
	// MaxRunning bounds the jobs that this process has at once; 0: 10,000, which is River's own bound.
	MaxRunning int
}

// Queue is one database's jobs.
type Queue struct {
	o       Options
	b       backend
	handler Handler

	mu      sync.Mutex
	active  map[int64]struct{} // jobs in a handler's hands
	lotSize int
	lotAt   time.Time // when the last one was taken
	stopped bool
}

// backend is River on one of the databases.
type backend interface {
	exec() riverdriver.Executor
	insert(ctx context.Context, p []river.InsertManyParams) ([]*rivertype.JobInsertResult, error)
	retry(ctx context.Context, id int64) error
	start(ctx context.Context) error
	stop(ctx context.Context) error
	migrate(ctx context.Context) (applied []string, err error)
	missing(ctx context.Context) (bool, error)
	close()
}

const (
	pollEvery  = time.Second / 2       // for jobs that no notification told of, and for the next lot
	cooldown   = 50 * time.Millisecond // between two fetches
	firstLot   = 5                     // jobs in one fetch; doubled while there are more. So processes share what is due all at once, and it does not burst
	largestLot = 50
	lotEvery   = pollEvery * 3 / 4   // however often River would fetch
	keepDone   = time.Hour           // rows of ended jobs; what they did stands in runs
	neverStuck = 1 << 15 * time.Hour // River must not judge: a run may take days, and Adopt knows who is dead
	manyTries  = 1<<15 - 1           // a job ends by its handler's word alone
)

// unique makes a job join an open one of the same work. The set of states must be the same at every insert.
var unique = river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
	rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning, rivertype.JobStateScheduled,
}}

// enqueueBatch bounds one insert.
const enqueueBatch = 500

// work is what makes two jobs the same.
type work struct {
	ref   ads.Ref
	retry bool
}

// Enqueue asks for work, and gives an answer to each in the same order.
func (q *Queue) Enqueue(ctx context.Context, jobs []Job) ([]Asked, error) {
	out := make([]Asked, 0, len(jobs))
	first := make(map[work]int, len(jobs)) // the database takes each once in a batch
	for part := range slices.Chunk(jobs, enqueueBatch) {
		var ps []river.InsertManyParams
		at := make([]int, len(part)) // of ps, or of out where it was asked for before
		for i, j := range part {
			w := work{j.Ref, j.Retry}
			if n, again := first[w]; again {
				at[i] = -1 - n
				continue
			}
			first[w], at[i] = len(out)+i, len(ps)
			ps = append(ps, river.InsertManyParams{
				Args:       args{Client: j.Ref.ClientID, Connection: j.Ref.Connection, Retry: j.Retry, Trigger: j.Trigger, Slot: j.Slot.UTC()},
				InsertOpts: &river.InsertOpts{UniqueOpts: unique, MaxAttempts: manyTries, Priority: priority(j)},
			})
		}
		var res []*rivertype.JobInsertResult
		if len(ps) > 0 {
			var err error
			if res, err = q.b.insert(ctx, ps); err != nil {
				return out, wrap("ask for a run", err)
			}
		}
		for _, n := range at {
			if n < 0 {
				a := out[-1-n]
				a.Joined = true
				out = append(out, a)
				continue
			}
			out = append(out, asked(res[n]))
		}
	}
	return out, nil
}

func asked(r *rivertype.JobInsertResult) Asked {
	a := Asked{Joined: r.UniqueSkippedAsDuplicate, State: Queued, id: r.Job.ID}
	switch r.Job.State {
	case rivertype.JobStateRunning:
		a.State = Running
	case rivertype.JobStateScheduled, rivertype.JobStateRetryable:
		a.State, a.Until = Parked, r.Job.ScheduledAt.UTC()
	}
	return a
}

// priority puts what a person asked for first, and what is due before what failed.
func priority(j Job) int {
	switch {
	case j.Slot.IsZero() && !j.Retry:
		return 1
	case !j.Retry:
		return 2
	}
	return 3
}

// Wake brings parked work back at once.
func (q *Queue) Wake(ctx context.Context, asked Asked) error {
	if asked.State != Parked {
		return nil
	}
	return wrap("wake a parked run", q.b.retry(ctx, asked.id))
}

// Start works on jobs until Stop.
func (q *Queue) Start(ctx context.Context, h Handler) error {
	q.handler = h
	return wrap("start", q.b.start(ctx))
}

// Stop takes no more jobs and ends the contexts of those in hand, then waits until they are given back, or ctx ends.
func (q *Queue) Stop(ctx context.Context) error {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	return wrap("stop", q.b.stop(ctx))
}

// Close ends the connections to the database.
func (q *Queue) Close() { q.b.close() }

// lot bounds the next fetch, which is told how many it brought.
func (q *Queue) lot(want int) (n int, brought func(int)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if now.Sub(q.lotAt) < lotEvery {
		return 0, func(int) {}
	}
	size := min(max(q.lotSize, firstLot), largestLot)
	return min(want, size), func(n int) {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.lotSize = firstLot; n >= size {
			q.lotSize = 2 * size
		}
		if n > 0 {
			q.lotAt = now
		}
	}
}

// Migrate brings the queue's own tables up to date. Several processes may call it at once.
func (q *Queue) Migrate(ctx context.Context) (applied []string, err error) {
	applied, err = q.b.migrate(ctx)
	return applied, wrap("migrate", err)
}

// Missing says that Migrate has something to do.
func (q *Queue) Missing(ctx context.Context) (bool, error) {
	yes, err := q.b.missing(ctx)
	return yes, wrap("look at the schema", err)
}

// adoptBatch bounds one round of Adopt.
const adoptBatch = 1000

// adoptAfter keeps Adopt from a job of ours that was fetched and has not reached its handler yet.
const adoptAfter = 30 * time.Second

// Adopt makes jobs available again whose process is gone: every running job that belongs to nobody alive, and those that River takes for ours
// though we have given them back.
func (q *Queue) Adopt(ctx context.Context, alive func(id string) bool) (n int, err error) {
	now := time.Now().UTC()
	for after := int64(0); ; {
		jobs, err := q.b.exec().JobGetStuck(ctx, &riverdriver.JobGetStuckParams{AfterID: after, Max: adoptBatch, StuckHorizon: now})
		if err != nil {
			return n, wrap("look for jobs of dead processes", err)
		}
		p := &riverdriver.JobRescueManyParams{StuckHorizon: now}
		for _, j := range jobs {
			after = j.ID
			if j.Kind != kind || !q.orphan(j, now, alive) {
				continue
			}
			p.ID = append(p.ID, j.ID)
			p.Error = append(p.Error, orphanError(j, now))
			p.FinalizedAt = append(p.FinalizedAt, nil)
			p.ScheduledAt = append(p.ScheduledAt, now)
			p.State = append(p.State, string(rivertype.JobStateAvailable))
		}
		if len(p.ID) > 0 {
			if _, err := q.b.exec().JobRescueMany(ctx, p); err != nil {
				return n, wrap("take over jobs of dead processes", err)
			}
			n += len(p.ID)
		}
		if len(jobs) < adoptBatch {
			return n, nil
		}
	}
}

func (q *Queue) orphan(j *rivertype.JobRow, now time.Time, alive func(id string) bool) bool {
	if len(j.AttemptedBy) == 0 {
		return true
	}
	by := j.AttemptedBy[len(j.AttemptedBy)-1]
	if by != q.o.ID {
		return !alive(by)
	}
	q.mu.Lock()
	_, ours := q.active[j.ID]
	q.mu.Unlock()
	return !ours && j.AttemptedAt != nil && now.Sub(*j.AttemptedAt) > adoptAfter
}

func orphanError(j *rivertype.JobRow, now time.Time) []byte {
	return fmt.Appendf(nil, `{"at":%q,"attempt":%d,"error":"the process that had this job is gone","trace":""}`, now.Format(time.RFC3339Nano), max(j.Attempt, 0))
}

// Depth counts open jobs by state.
func (q *Queue) Depth(ctx context.Context) (map[State]int, error) {
	by, err := q.b.exec().JobCountByAllStates(ctx, &riverdriver.JobCountByAllStatesParams{})
	if err != nil {
		return nil, wrap("count", err)
	}
	return map[State]int{
		Queued: by[rivertype.JobStateAvailable] + by[rivertype.JobStatePending], Running: by[rivertype.JobStateRunning],
		Parked: by[rivertype.JobStateScheduled] + by[rivertype.JobStateRetryable],
	}, nil
}

// worker hands jobs to the handler.
type worker struct {
	river.WorkerDefaults[args]
	q *Queue
}

// Timeout implements river.Worker: none. What hangs in a run has limits of its own.
func (*worker) Timeout(*river.Job[args]) time.Duration { return -1 }

// Work implements river.Worker.
func (w *worker) Work(ctx context.Context, j *river.Job[args]) (err error) {
	q := w.q
	q.mu.Lock()
	stopped := q.stopped
	if !stopped {
		q.active[j.ID] = struct{}{}
	}
	q.mu.Unlock()
	if stopped {
		return river.JobSnooze(0)
	}
	defer func() {
		if recover() != nil { // the handler guards itself; this keeps a job from being lost should it not
			q.o.Log.Error("internal error: the handler of a job panicked", "client", j.Args.Client, "connection", j.Args.Connection)
			err = river.JobSnooze(time.Minute)
		}
		q.mu.Lock()
		delete(q.active, j.ID)
		q.mu.Unlock()
	}()
	out := q.handler(ctx, Task{Job: j.Args.job(), Queued: j.CreatedAt.UTC()})
	if out.Later {
		return river.JobSnooze(out.Pause)
	}
	return nil
}

// Error is what the queue could not do.
type Error struct {
	Op  string
	Err error
}

func (e *Error) Error() string { return "queue: " + e.Op + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func wrap(op string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Op: op, Err: err}
}
