package service

import (
	"context"
	"errors"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/queue"
	"adsync/internal/quota"
	"adsync/internal/simulator"
	"adsync/internal/store"
)

// until waits for something that another goroutine or process does.
func until(t *testing.T, what string, fn func() bool) {
	t.Helper()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	late := time.After(time.Minute)
	for !fn() {
		select {
		case <-every.C:
		case <-late:
			t.Fatal("never: " + what)
		}
	}
}

// A run that is paused stops in good order, nothing begins another one, and resuming goes on with it.
func TestPause(t *testing.T) {
	t.Parallel()
	onBoth(t, func(c *simulator.Config) { c.Quota = simulator.Quota{N: 10, Window: time.Second} }, func(t *testing.T, b *bed) {
		c := b.conn("acme", "every 24h")
		c.Quota = []quota.Limit{{N: 5, Window: time.Second}}
		syncs := func() int64 {
			if s := b.sim.Stats().Clients["acme"]; s != nil {
				return int64(s.Syncs)
			}
			return 0
		}
		l := b.start("a", c)
		until(t, "two campaigns synced", func() bool { return syncs() >= 2 })
		must(t, l.Pause(t.Context(), c.Ref, "anna"))
		if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Interrupted {
			t.Errorf("%+v", d)
		}
		l.idle(t)
		before := syncs()
		// Whoever asks is told, and nothing is done, in this life or the next.
		asks := func(l *life) {
			t.Helper()
			got, err := l.SyncNow(t.Context(), []ads.Ref{c.Ref}, false)
			if err != nil || len(got) != 1 || got[0].State != Paused || got[0].Ref != c.Ref || got[0].Reason == "" {
				t.Errorf("%+v, %v", got, err)
			}
		}
		asks(l)
		must(t, l.Pause(t.Context(), c.Ref, "somebody else"))
		l.stop()
		l = b.start("b", c)
		until(t, "ready", func() bool { return l.Ready() == nil })
		asks(l)
		// A job that comes up all the same, as one that the calendar of another process has made, is put off.
		got, err := l.o.Queue.Enqueue(t.Context(), []queue.Job{{Ref: c.Ref, Trigger: store.TriggerSchedule, Slot: time.Now().UTC()}})
		must(t, err)
		must(t, l.o.Queue.Wake(t.Context(), got[0]))
		l.idle(t)
		if st, err := l.st.Status(t.Context()); err != nil || len(st) != 1 || st[0].Pause.By != "anna" || st[0].Running || st[0].Last.Outcome != ads.Interrupted {
			t.Errorf("%+v, %v", st, err)
		}
		if syncs() != before {
			t.Errorf("%d calls while it was paused", syncs()-before)
		}
		if a, err := l.Resume(t.Context(), c.Ref); err != nil || a.State != queue.Queued {
			t.Errorf("%+v, %v", a, err)
		}
		if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Complete || d.Figures.Synced != 12 {
			t.Errorf("%+v", d)
		}
		if n := syncs(); n > 12+5 { // those in flight when it stopped
			t.Errorf("%d calls", n)
		}
		if runs, err := l.st.Runs(t.Context(), c.Ref, 10); err != nil || len(runs) != 1 {
			t.Errorf("%d runs, %v", len(runs), err)
		}
		l.idle(t)
		// Resuming what is not paused asks for a run.
		if a, err := l.Resume(t.Context(), c.Ref); err != nil || a.State != queue.Queued {
			t.Errorf("%+v, %v", a, err)
		}
		if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Complete {
			t.Errorf("%+v", d)
		}
		nobody := ads.Ref{ClientID: "nobody", Connection: "adplatform"}
		_, err = l.Resume(t.Context(), nobody)
		for _, err := range []error{err, l.Pause(t.Context(), nobody, "anna")} {
			if _, ok := errors.AsType[*UnknownError](err); !ok {
				t.Errorf("%v", err)
			}
		}
	})
}

// What one process is told holds in the others: they stop their runs, and none begins another.
func TestPauseElsewhere(t *testing.T) {
	t.Parallel()
	onBoth(t, func(c *simulator.Config) { c.Quota = simulator.Quota{N: 10, Window: time.Second} }, func(t *testing.T, b *bed) {
		c := b.conn("acme", "every 24h")
		c.Quota = []quota.Limit{{N: 2, Window: time.Second}}
		l := b.start("a", c)
		until(t, "the first campaigns synced", func() bool {
			s := b.sim.Stats().Clients["acme"]
			return s != nil && s.Syncs >= 1
		})
		st, q := b.open("b") // another process, which has no run of it
		other := New(Options{ID: "b", Store: st, Queue: q, Maker: l.o.Maker, Log: l.o.Log}, nil)
		other.conns[c.Ref] = &conn{c: c}
		must(t, other.Pause(t.Context(), c.Ref, "token"))
		must(t, l.learnPauses(t.Context())) // as its next beat does
		if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Interrupted {
			t.Errorf("%+v", d)
		}
		l.idle(t)
		if !l.isPaused(c.Ref) {
			t.Error("it does not know")
		}
		if _, err := other.Resume(context.WithoutCancel(t.Context()), c.Ref); err != nil {
			t.Error(err)
		}
		q.Close()
		must(t, st.Close())
		if d := following[observe.RunFinished](t, l, "acme"); d.Outcome != ads.Complete || d.Figures.Synced != 12 {
			t.Errorf("%+v", d)
		}
	})
}

// Resuming does not have refused credentials tried again.
func TestResumeRefused(t *testing.T) {
	t.Parallel()
	onBoth(t, func(c *simulator.Config) { c.Password = "another-one" }, func(t *testing.T, b *bed) {
		c := b.conn("acme", "every 24h")
		l := b.start("a", c)
		if d := following[observe.Parked](t, l, "acme"); d.Kind != observe.ParkAuth {
			t.Fatalf("%+v", d)
		}
		l.idle(t)
		refused := func() (n int64) {
			for _, c := range b.sim.Stats().Clients {
				n += c.TokensRefused
			}
			return n
		}
		logins := refused()
		must(t, l.Pause(t.Context(), c.Ref, "anna"))
		if a, err := l.Resume(t.Context(), c.Ref); err != nil || a.State != queue.Parked || a.Until.IsZero() {
			t.Errorf("%+v, %v", a, err)
		}
		l.idle(t)
		if n := refused(); n != logins || n == 0 {
			t.Errorf("%d more logins", n-logins)
		}
		if w, err := l.st.ReadWait(t.Context(), c.Ref); err != nil || !refusedMark(w.Mark) {
			t.Errorf("%+v, %v", w, err)
		}
	})
}
