package e2e

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// The platform's window is a little shorter than the one that the program is told: what a busy machine delivers late is not the program's doing.
func windowed(n int, campaigns int) func(*simulator.Config) {
	return func(c *simulator.Config) {
		c.Campaigns, c.SyncLatency, c.Quota = campaigns, 20*time.Millisecond, simulator.Quota{N: n, Window: 1700 * time.Millisecond}
	}
}

// Fault 122: a process is killed in the middle of its work. Another one has taken all of it over within a minute, without repeating what was committed.
func TestServeKilled(t *testing.T) {
	t.Parallel()
	const n, campaigns = 12, 30
	p := newPlatform(t, windowed(8, campaigns))
	f := newFleet(t, p, pgtest.New(t))
	f.program = program // with the lease as it is: the minute is the contract's
	ss := f.serveTogether(2, clients(n, client{quota: "8/2s"})...)
	a := ss[0]
	f.holds(n * campaigns / 3)
	a.kill()
	killed := time.Now()
	mine := f.held(a)
	had := committed{}
	had.note(f)
	before := p.twice()
	if mine == 0 {
		t.Fatal("it had nothing in hand")
	}
	await(t, "the other to take over", func() bool { return f.held(a) == 0 })
	if took := time.Since(killed); took > time.Minute {
		t.Errorf("taken over after %v", took)
	}
	f.finished(n)
	had.check(f)
	f.sound(n, campaigns)
	f.once(n)
	if again := p.twice(); before != 0 || again > int64(8*mine) {
		t.Errorf("%d calls were repeated before the kill, %d in all, with %d connections in hand", before, again, mine)
	}
}

// Fault 123: a process is stopped, its work goes to another, and it wakes. What it still had to commit is refused, and it goes on with new work.
func TestServePaused(t *testing.T) {
	t.Parallel()
	const n, campaigns = 10, 40
	p := newPlatform(t, windowed(8, campaigns))
	f := newFleet(t, p, pgtest.New(t))
	ss := f.serveTogether(2, clients(n, client{quota: "8/2s"})...)
	a, b := ss[0], ss[1]
	f.holds(n * campaigns / 4)
	a.signal(syscall.SIGSTOP)
	mine := f.held(a)
	had := committed{}
	had.note(f)
	await(t, "the other to take over", func() bool { return f.held(a) == 0 })
	a.signal(syscall.SIGCONT)
	f.finished(n)
	had.check(f)
	f.sound(n, campaigns)
	f.once(n)
	if again := p.twice(); mine == 0 || again > int64(8*mine) {
		t.Errorf("%d calls were repeated, with %d connections in hand", again, mine)
	}
	b.stop()
	await(t, "it to be ready again", func() bool { code, _ := a.ready(); return code == 200 })
	asked := f.now()
	for _, c := range clients(n, client{}) {
		a.ask(c.id)
	}
	await(t, "new runs", func() bool { // one that the calendar had begun already is joined
		return f.count("SELECT count(DISTINCT client_id) FROM runs WHERE finished_at >= $1 AND outcome = 'complete' AND unchanged = $2", asked, campaigns) == n
	})
	f.sound(n, campaigns)
	a.stop()
}

// Backends are terminated again and again while two processes work: every run ends complete.
func TestServeBackendsTerminated(t *testing.T) {
	t.Parallel()
	const n, campaigns = 10, 30
	server, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	p := newPlatform(t, windowed(8, campaigns))
	dsn := pgtest.New(t)
	f := newFleet(t, p, dsn)
	name := dsn[strings.LastIndex(dsn, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	ss := f.serveTogether(2, clients(n, client{quota: "8/2s"})...)
	killed := 0
	beat := time.NewTicker(400 * time.Millisecond)
	defer beat.Stop()
	late := time.After(patience)
	for f.complete() != n {
		select {
		case <-beat.C:
			k, err := server.TerminateBackends(context.Background(), name)
			if err != nil {
				t.Fatal(err)
			}
			killed += k
		case <-late:
			t.Fatalf("%d of %d complete, %d backends terminated", f.complete(), n, killed)
		}
	}
	if killed < 20 || ss[0].ended() || ss[1].ended() {
		t.Errorf("%d backends terminated; ended: %t %t", killed, ss[0].ended(), ss[1].ended())
	}
	t.Logf("%d backends terminated, %d calls repeated", killed, p.twice())
	f.sound(n, campaigns)
	f.once(n)
	ss[0].stop()
	ss[1].stop()
}
