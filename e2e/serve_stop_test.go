package e2e

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// endpoint is what a request asks for: token, listing or syncing.
func endpoint(r *http.Request) string {
	switch {
	case r.URL.Path == "/auth/token":
		return "token"
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/"):
		return "listing"
	case r.Method == http.MethodPost:
		return "syncing"
	}
	return ""
}

// reached gives a channel that is closed when the platform has got n requests of a kind.
func (p *platform) reached(kind string, n int) <-chan struct{} {
	ch := make(chan struct{})
	var mu sync.Mutex
	p.watch(func(r *http.Request) {
		if endpoint(r) != kind {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if n--; n == 0 {
			close(ch)
		}
	}, nil)
	return ch
}

// after waits for a channel to be closed.
func after(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("in vain: %s", what)
	}
}

// givenBack says that a process that ended in good order has left nothing in its name.
func (f *fleet) givenBack(s *server) {
	f.t.Helper()
	for what, n := range map[string]int{
		"connections":  f.held(s),
		"running jobs": f.count("SELECT count(*) FROM river_job WHERE state = 'running'"),
		"workers":      f.count("SELECT count(*) FROM adsync_workers"),
	} {
		if n != 0 {
			f.t.Errorf("%d %s are still its own", n, what)
		}
	}
}

// Fault 110: the service is told to stop in each phase of a run. It ends within ten seconds, gives its job back, and the next process has it at once:
// the lease of 30 seconds is not waited for, and nothing is done twice that was committed.
func TestServeStopped(t *testing.T) {
	t.Parallel()
	const campaigns = 12
	const runsOf = "SELECT count(*) FROM runs WHERE client_id = 'acme'"
	window := 4 * time.Second
	for _, phase := range []string{"token", "listing", "syncing", "waiting", "parked", "idle"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t, func(c *simulator.Config) {
				c.Campaigns, c.SyncLatency, c.Quota = campaigns, 50*time.Millisecond, simulator.Quota{N: 8, Window: window - 300*time.Millisecond}
				switch phase {
				case "token":
					c.Faults = []string{"token-slow:by=2s,times=1"}
				case "listing":
					c.ListLatency = time.Second
				case "parked":
					c.Faults = []string{"retry-after-date:client=acme,endpoint=sync,on=4,times=1,wait=11h"}
				}
			})
			f := newFleet(t, p, pgtest.New(t))
			f.program = program
			var now <-chan struct{}
			switch phase {
			case "token", "listing":
				now = p.reached(phase, 1)
			case "syncing":
				now = p.reached(phase, 3)
			}
			f.configure(client{id: "acme", quota: "8/4s"})
			a := f.serve()
			switch phase {
			case "waiting":
				await(t, "a quota that is used up", func() bool { return p.counted("acme") == 8 })
			case "parked":
				await(t, "a connection that is parked", func() bool { return f.count("SELECT count(*) FROM river_job WHERE state = 'scheduled'") == 1 })
			case "idle":
				f.finished(1)
				await(t, "a job that is done", func() bool { return f.count("SELECT count(*) FROM river_job WHERE state = 'completed'") == 1 })
			default:
				after(t, phase, now)
			}
			a.stop()
			p.watch(nil, nil)
			had := committed{}
			had.note(f)
			f.givenBack(a)
			calls, runs := p.counted("acme"), f.count(runsOf)

			if phase == "parked" || phase == "idle" {
				f.configure(client{id: "acme", quota: "8/4s"}, client{id: "other", quota: "8/4s"})
			}
			began := time.Now()
			b := f.serve()
			switch phase {
			case "parked", "idle": // there is nothing to do but for another client
				await(t, "the other client", func() bool {
					return f.count("SELECT count(*) FROM runs WHERE client_id = 'other' AND outcome = 'complete'") == 1
				})
				if n := p.counted("acme"); n != calls {
					t.Errorf("%d requests more", n-calls)
				}
			default:
				await(t, "the next one to have it", func() bool { return f.held(b) == 1 || f.complete() == 1 })
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("it had to wait for %v", took)
				}
				f.finished(1)
				f.sound(1, campaigns)
			}
			had.check(f)
			if phase == "parked" { // it was refused, and must not come again
				if early := p.Stats().Clients["acme"].Early; early != 0 {
					t.Errorf("%d requests came too early", early)
				}
			} else {
				f.within()
			}
			if n := f.count(runsOf); n != max(runs, 1) {
				t.Errorf("%d runs, %d before the stop", n, runs)
			}
			if n := p.twice(); n > 8 {
				t.Errorf("%d calls were repeated", n)
			}
			b.stop()
			f.givenBack(b)
		})
	}
}

// counted is how many requests spent a client's quota.
func (p *platform) counted(client string) int64 {
	if c := p.Stats().Clients[client]; c != nil {
		return c.Counted
	}
	return 0
}

// Fault 111: a second signal ends it at once, with requests that nobody waits for any more. The next process takes over when the lease has ended, and nothing
// that was committed is repeated.
func TestServeStoppedTwice(t *testing.T) {
	t.Parallel()
	const campaigns = 12
	p := newPlatform(t, func(c *simulator.Config) {
		c.Campaigns, c.Quota = campaigns, simulator.Quota{}
		c.Faults = []string{"hang:endpoint=sync,on=6-9,times=4"}
	})
	f := newFleet(t, p, pgtest.New(t))
	f.program = paced(t, "2") // in the quickest one the stop itself would be over too soon
	f.configure(client{id: "acme"})
	a := f.serve()
	f.holds(3)
	await(t, "requests that hang", func() bool { return p.Stats().Clients["acme"].Silences > 0 })
	a.signal(syscall.SIGTERM)
	await(t, "the first signal to be heard", func() bool { return strings.Contains(a.log.String(), "SIGTERM: no new work") })
	a.signal(syscall.SIGTERM)
	after(t, "its end", a.done)
	if code := a.cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit %d", code)
	}
	if n := f.held(a); n != 1 {
		t.Errorf("it has %d connections: it has taken the time to give back what it had", n)
	}
	had := committed{}
	had.note(f)
	f.serve()
	f.finished(1)
	had.check(f)
	f.sound(1, campaigns)
	f.once(1)
}
