package queue_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/pgtest"
	"adsync/internal/queue"
	"adsync/internal/secret"
)

// place is an empty database with the queue's tables; open gives another process's view of it.
type place struct {
	open func(t *testing.T, id string) *queue.Queue
}

func onBoth(t *testing.T, fn func(t *testing.T, p place)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "adsync.db")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		fn(t, ready(t, func(t *testing.T, id string) (*queue.Queue, error) {
			return queue.OpenSQLite(path, queue.Options{ID: id})
		}))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pgtest.Need(t)
		dsn := secret.New(pgtest.New(t))
		fn(t, ready(t, func(t *testing.T, id string) (*queue.Queue, error) {
			return queue.OpenPostgres(t.Context(), dsn, queue.Options{ID: id})
		}))
	})
}

func ready(t *testing.T, open func(t *testing.T, id string) (*queue.Queue, error)) place {
	p := place{open: func(t *testing.T, id string) *queue.Queue {
		q, err := open(t, id)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(q.Close)
		return q
	}}
	q := p.open(t, "migrator")
	if missing, err := q.Missing(t.Context()); err != nil || !missing {
		t.Fatalf("an empty database: missing %t, %v", missing, err)
	}
	var both sync.WaitGroup
	for _, m := range []*queue.Queue{q, p.open(t, "another")} {
		both.Go(func() {
			if _, err := m.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if missing, err := q.Missing(t.Context()); err != nil || missing {
		t.Fatalf("after Migrate: missing %t, %v", missing, err)
	}
	return p
}

func start(t *testing.T, q *queue.Queue, h queue.Handler) {
	t.Helper()
	if err := q.Start(context.WithoutCancel(t.Context()), h); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, q) })
}

func stop(t *testing.T, q *queue.Queue) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := q.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func job(client string) queue.Job {
	return queue.Job{Ref: ads.Ref{ClientID: client, Connection: "adplatform"}, Trigger: "manual"}
}

func ask(t *testing.T, q *queue.Queue, jobs ...queue.Job) []queue.Asked {
	t.Helper()
	got, err := q.Enqueue(t.Context(), jobs)
	if err != nil || len(got) != len(jobs) {
		t.Fatal(len(got), err)
	}
	return got
}

func receive[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatal("never came: " + what)
		panic("unreachable")
	}
}

func TestOneJobPerConnection(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		q := p.open(t, "a")
		slot := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		scheduled := job("acme")
		scheduled.Slot, scheduled.Trigger = slot, "schedule"
		retry := job("acme")
		retry.Retry = true
		got := ask(t, q, scheduled, job("acme"), retry, job("other"))
		if got[0].Joined || !got[1].Joined || got[2].Joined || got[3].Joined || got[1].State != queue.Queued {
			t.Errorf("%+v", got)
		}
		if d, err := q.Depth(t.Context()); err != nil || d[queue.Queued] != 3 {
			t.Errorf("%v, %v", d, err)
		}
		tasks, release := make(chan queue.Task, 10), make(chan struct{})
		start(t, q, func(_ context.Context, tk queue.Task) queue.Outcome {
			tasks <- tk
			<-release
			return queue.Done
		})
		seen := map[queue.Job]bool{}
		for range 3 {
			seen[receive(t, tasks, "a job").Job] = true
		}
		if !seen[scheduled] || !seen[retry] || !seen[job("other")] {
			t.Errorf("%v", seen)
		}
		if got := ask(t, q, job("acme")); !got[0].Joined || got[0].State != queue.Running {
			t.Errorf("while it runs: %+v", got)
		}
		close(release)
		for again := false; !again; { // its end is recorded a moment later
			again = !ask(t, q, job("other"))[0].Joined
		}
		receive(t, tasks, "a job asked for after the first had ended")
	})
}

func TestParkAndWake(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		q := p.open(t, "a")
		ask(t, q, job("acme"))
		tasks := make(chan queue.Task, 10)
		n := 0
		start(t, q, func(context.Context, queue.Task) queue.Outcome {
			tasks <- queue.Task{}
			if n++; n < 3 {
				return queue.Park(11 * time.Hour)
			}
			return queue.Done
		})
		for range 2 {
			receive(t, tasks, "the job")
			var got queue.Asked
			for got.State != queue.Parked {
				got = ask(t, q, job("acme"))[0]
			}
			if left := time.Until(got.Until); !got.Joined || left < 10*time.Hour || left > 11*time.Hour {
				t.Errorf("%+v, %s left", got, left)
			}
			if err := q.Wake(t.Context(), got); err != nil {
				t.Fatal(err)
			}
		}
		receive(t, tasks, "the job woken twice")
	})
}

// A job of a process that is gone goes to another, at once and as it was; one of a living process stays.
func TestAdopt(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		dead, alive := p.open(t, "dead"), p.open(t, "alive")
		ask(t, dead, job("acme"))
		held, release := make(chan queue.Task, 1), make(chan struct{})
		start(t, dead, func(_ context.Context, tk queue.Task) queue.Outcome {
			held <- tk
			<-release
			return queue.Done
		})
		defer close(release)
		first := receive(t, held, "the first process's job")
		taken := make(chan queue.Task, 1)
		start(t, alive, func(_ context.Context, tk queue.Task) queue.Outcome {
			taken <- tk
			<-release
			return queue.Done
		})
		if n, err := alive.Adopt(t.Context(), func(string) bool { return true }); n != 0 || err != nil {
			t.Fatalf("%d adopted from the living, %v", n, err)
		}
		if n, err := alive.Adopt(t.Context(), func(id string) bool { return id == "alive" }); n != 1 || err != nil {
			t.Fatalf("%d adopted, %v", n, err)
		}
		// Which of the two is quicker is open, so the job may go back to where it was.
		select {
		case got := <-taken:
			if got.Job != first.Job || !got.Queued.Equal(first.Queued) {
				t.Errorf("%+v, was %+v", got, first)
			}
		case got := <-held:
			if got.Job != first.Job {
				t.Errorf("%+v, was %+v", got, first)
			}
		case <-time.After(time.Minute):
			t.Fatal("nobody took it over")
		}
	})
}

// Stop gives back what is in hand, and the next process goes on with it at once.
func TestStopGivesBack(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		q := p.open(t, "a")
		ask(t, q, job("acme"))
		held := make(chan struct{}, 1)
		if err := q.Start(context.WithoutCancel(t.Context()), func(ctx context.Context, _ queue.Task) queue.Outcome {
			held <- struct{}{}
			<-ctx.Done()
			return queue.Park(0)
		}); err != nil {
			t.Fatal(err)
		}
		receive(t, held, "the job")
		stop(t, q)
		again := make(chan struct{}, 1)
		start(t, p.open(t, "b"), func(context.Context, queue.Task) queue.Outcome { again <- struct{}{}; return queue.Done })
		receive(t, again, "the job that was given back")
	})
}

func TestPanicKeepsTheJob(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, p place) {
		q := p.open(t, "a")
		ask(t, q, job("acme"))
		start(t, q, func(context.Context, queue.Task) queue.Outcome { panic("boom") })
		for {
			got := ask(t, q, job("acme"))[0]
			if got.State == queue.Parked {
				return
			}
			if !got.Joined {
				t.Fatal("the job is gone")
			}
		}
	})
}

// Another program's queue is left alone.
func TestForeignQueue(t *testing.T) {
	t.Parallel()
	pgtest.Need(t)
	dsn := pgtest.New(t)
	p := ready(t, func(t *testing.T, id string) (*queue.Queue, error) {
		return queue.OpenPostgres(t.Context(), secret.New(dsn), queue.Options{ID: id})
	})
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), "INSERT INTO river_job (kind, args, max_attempts) VALUES ('send_mail', '{}', 1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.open(t, "b").Migrate(t.Context()); err == nil {
		t.Error("it was taken over")
	}
}
