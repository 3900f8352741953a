package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
)

// riverBackend is River over one driver; T is the driver's transaction.
type riverBackend[T any] struct {
	driver  riverdriver.Driver[T]
	client  *river.Client[T]
	lock    func(ctx context.Context, fn func() error) error // one process at a time
	closeDB func()
}

func newBackend[T any](q *Queue, d riverdriver.Driver[T], b *riverBackend[T]) error {
	b.driver = &lotDriver[T]{d, q.lot}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{q: q})
	n := q.o.MaxRunning
	if n <= 0 || n > river.QueueNumWorkersMax {
		n = river.QueueNumWorkersMax
	}
	var err error
	b.client, err = river.NewClient(b.driver, &river.Config{
		ID:                          q.o.ID,
		Logger:                      q.o.Log,
		Queues:                      map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: n}},
		Workers:                     workers,
		JobTimeout:                  -1,
		RescueStuckJobsAfter:        neverStuck,
		MaxAttempts:                 manyTries,
		FetchPollInterval:           pollEvery,
		FetchCooldown:               cooldown,
		FetchOnlyKnownKinds:         true,
		CompletedJobRetentionPeriod: keepDone,
		CancelledJobRetentionPeriod: keepDone,
		DiscardedJobRetentionPeriod: keepDone,
		ReindexerSchedule:           river.NeverSchedule(), // who runs it does not own the tables: it would complain every midnight
	})
	return err
}

func (b *riverBackend[T]) exec() riverdriver.Executor { return b.driver.GetExecutor() }

func (b *riverBackend[T]) insert(ctx context.Context, p []river.InsertManyParams) ([]*rivertype.JobInsertResult, error) {
	return b.client.InsertMany(ctx, p)
}

func (b *riverBackend[T]) retry(ctx context.Context, id int64) error {
	_, err := b.client.JobRetry(ctx, id)
	return err
}

func (b *riverBackend[T]) start(ctx context.Context) error { return b.client.Start(ctx) }

func (b *riverBackend[T]) stop(ctx context.Context) error { return b.client.StopAndCancel(ctx) }

func (b *riverBackend[T]) close() { b.closeDB() }

func (b *riverBackend[T]) migrator() (*rivermigrate.Migrator[T], error) {
	return rivermigrate.New(b.driver, &rivermigrate.Config{Logger: quietLog})
}

func (b *riverBackend[T]) migrate(ctx context.Context) (applied []string, err error) {
	m, err := b.migrator()
	if err != nil {
		return nil, err
	}
	err = b.lock(ctx, func() error {
		if err := b.foreign(ctx); err != nil {
			return err
		}
		res, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil)
		if err != nil {
			return err
		}
		for _, v := range res.Versions {
			applied = append(applied, fmt.Sprintf("queue %03d %s", v.Version, v.Name))
		}
		return nil
	})
	return applied, err
}

func (b *riverBackend[T]) missing(ctx context.Context) (bool, error) {
	m, err := b.migrator()
	if err != nil {
		return false, err
	}
	res, err := m.Validate(ctx, nil)
	if err != nil {
		return false, err
	}
	return !res.OK, nil
}

// foreign refuses a queue that another program uses: its leader would throw our jobs away, or ours its.
func (b *riverBackend[T]) foreign(ctx context.Context) error {
	there, err := b.exec().TableExists(ctx, &riverdriver.TableExistsParams{Table: "river_job"})
	if err != nil || !there {
		return err
	}
	kinds, err := b.exec().JobKindList(ctx, &riverdriver.JobKindListParams{Exclude: []string{kind}, Max: 1})
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(kinds, func(k string) bool { return k != kind }); i >= 0 {
		return &ForeignError{Kind: kinds[i]}
	}
	return nil
}

// ForeignError says that the queue's tables belong to another program.
type ForeignError struct{ Kind string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("the tables river_* here hold jobs of another program (%q)", e.Kind)
}

// lotDriver is a driver whose fetches can be kept small, so that several processes share what comes all at once.
type lotDriver[T any] struct {
	riverdriver.Driver[T]
	lot func(want int) (int, func(int))
}

func (d *lotDriver[T]) GetExecutor() riverdriver.Executor {
	return &lotExecutor{d.Driver.GetExecutor(), d.lot}
}

type lotExecutor struct {
	riverdriver.Executor
	lot func(want int) (int, func(int))
}

func (e *lotExecutor) JobGetAvailable(ctx context.Context, p *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	few := *p
	n, brought := e.lot(p.MaxToLock)
	if n == 0 {
		return &riverdriver.JobGetAvailableResult{}, nil
	}
	few.MaxToLock = n
	res, err := e.Executor.JobGetAvailable(ctx, &few)
	if err == nil && res != nil {
		brought(len(res.Jobs))
	}
	return res, err
}
