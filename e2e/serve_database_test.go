package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// The database is started anew in order, and dies and comes back, while two processes work: they go on by themselves. Then it is away for longer than a lease:
// what runs is stopped before that, the service says that it is not ready and why, and all goes on when the database is back.
func TestServeDatabaseRestarts(t *testing.T) {
	t.Parallel()
	const n, campaigns = 8, 40
	server := pgtest.StartFor(t, pgtest.Options{})
	p := newPlatform(t, windowed(8, campaigns))
	f := newFleet(t, p, pgtest.NewOn(t, server))
	ss := f.serveTogether(2, clients(n, client{quota: "8/2s"})...)
	again := func() {
		t.Helper()
		if err := server.Restart(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
	}
	more := func() { // work goes on
		t.Helper()
		await(t, "the database", func() bool { return f.count("SELECT count(*) FROM campaigns") >= 0 })
		f.holds(f.count("SELECT count(*) FROM campaigns"))
	}
	server.Shutdown()
	again()
	more()
	server.Kill()
	again()
	more()

	had := committed{}
	had.note(f)
	server.Kill()
	for _, s := range ss {
		await(t, "word that it is not ready", func() bool {
			code, text := s.ready()
			return code == 503 && strings.Contains(text, "the database does not answer")
		})
	}
	// The lease of both is over. What was stopped before that sends nothing any more.
	sent := p.Stats().Requests
	for _, s := range ss {
		s.warnedAgain()
	}
	if n := p.Stats().Requests - sent; n != 0 {
		t.Errorf("%d requests without a lease", n)
	}
	again()
	f.finished(n)
	had.check(f)
	f.sound(n, campaigns)
	f.once(n)
	for _, s := range ss {
		await(t, "it to be ready again", func() bool { code, _ := s.ready(); return code == 200 })
		s.stop()
	}
}

// warnedAgain waits until a process has tried to reach the database once more, in vain.
func (s *server) warnedAgain() {
	s.f.t.Helper()
	warnings := func() int { return strings.Count(s.log.String(), "the database does not answer; ") }
	n := warnings()
	await(s.f.t, "another try to reach the database", func() bool { return warnings() > n })
}

// Fault 124: a process is cut off from the database, without being told. It sends nothing any more when its lease ends, others go on with its work, and
// it works again when the way is mended.
func TestServeCutOff(t *testing.T) {
	t.Parallel()
	const n, campaigns = 4, 30
	p := newPlatform(t, func(c *simulator.Config) {
		windowed(8, campaigns)(c)
		c.SyncLatency = 200 * time.Millisecond
	})
	dsn := pgtest.New(t)
	way, far := newLink(t, dsn)
	f, g := newFleet(t, p, far), newFleet(t, p, dsn)
	// Nothing but the end of its lease stops what tries the same requests again and again: that draws on no quota and commits nothing.
	down := newPlatform(t, func(c *simulator.Config) {
		c.Campaigns, c.Quota, c.Faults = campaigns, simulator.Quota{}, []string{"rule:endpoint=sync,id=campaign_3|campaign_5|campaign_6,times=0,do=500"}
	})
	mine := append(clients(n-1, client{quota: "8/2s"}), client{id: "c0down", url: down.URL})
	f.configure(mine...)
	g.configure(client{id: "other", quota: "8/2s"})
	var mu sync.Mutex
	var sent []time.Time
	for _, p := range []*platform{p, down} {
		p.watch(func(r *http.Request) {
			if strings.HasPrefix(r.Header.Get("X-Client-ID"), "c0") {
				mu.Lock()
				defer mu.Unlock()
				sent = append(sent, time.Now())
			}
		}, nil)
	}
	a, b := f.serve(), g.serve() // the other one does not know those clients yet: whatever is asked for them comes from the first
	await(t, "all of them at work", func() bool {
		return g.count("SELECT count(DISTINCT client_id) FROM campaigns WHERE client_id LIKE 'c0%'") == n
	})
	way.cut()
	await(t, "word that it is not ready", func() bool { code, _ := a.ready(); return code == 503 })
	await(t, "the end of its lease", func() bool {
		return g.count("SELECT count(*) FROM adsync_workers WHERE lease_until < clock_timestamp()") == 1
	})
	a.warnedAgain()
	had := committed{}
	had.note(g)
	var end time.Time
	if err := g.rows().QueryRowContext(t.Context(), "SELECT min(lease_until) FROM adsync_workers").Scan(&end); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	late := slices.DeleteFunc(slices.Clone(sent), func(at time.Time) bool { return at.Before(end) })
	before := len(sent)
	mu.Unlock()
	t.Logf("the last request came %v before the end of the lease", end.Sub(sent[before-1]))
	if len(late) > 0 {
		t.Errorf("%d of %d requests after the end of its lease, the last %v later", len(late), before, late[len(late)-1].Sub(end))
	}
	if done := g.count("SELECT count(*) FROM runs WHERE outcome = 'complete' AND client_id LIKE 'c0%'"); done != 0 {
		t.Fatalf("%d runs were complete by then: it was cut off too late", done)
	}

	if err := down.Control(simulator.Command{Client: "c0down", FaultsOff: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	g.configure(append(mine, client{id: "other", quota: "8/2s"})...)
	b.reload("the configuration is taken on")
	g.finished(n + 1)
	had.check(g)
	g.sound(n+1, campaigns)
	g.once(n + 1)
	b.stop()
	way.mend()
	await(t, "it to be ready again", func() bool { code, _ := a.ready(); return code == 200 })
	asked := g.now()
	a.ask("c000")
	await(t, "a new run", func() bool {
		return g.count("SELECT count(*) FROM runs WHERE started_at >= $1 AND outcome = 'complete' AND client_id = 'c000'", asked) == 1
	})
	g.within()
	a.stop()
}

// link is a way to a server that can be made to carry nothing, without anybody being told.
type link struct {
	listener net.Listener
	mu       sync.Mutex
	silent   bool
	conns    []net.Conn
}

// newLink gives the database's address by way of it.
func newLink(t *testing.T, dsn string) (*link, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	to := u.Host
	l := &link{}
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.listener.Close()
		l.mu.Lock()
		for _, c := range l.conns {
			_ = c.Close()
		}
		l.mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			near, err := l.listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			l.mu.Lock()
			l.conns = append(l.conns, near, far)
			l.mu.Unlock()
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				wg.Go(func() {
					_, _ = io.Copy(&valve{l, way[1]}, way[0])
					_ = way[1].Close()
				})
			}
		}
	})
	u.Host = l.listener.Addr().String()
	return l, u.String()
}

// cut has it carry nothing from now on.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
}

// mend has it carry what comes from now on, over new connections: what was lost on the old ones is lost.
func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = false
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// valve swallows what a link is not to carry.
type valve struct {
	l  *link
	to net.Conn
}

// Write implements io.Writer.
func (v *valve) Write(b []byte) (int, error) {
	v.l.mu.Lock()
	silent := v.l.silent
	v.l.mu.Unlock()
	if silent {
		return len(b), nil
	}
	return v.to.Write(b)
}
