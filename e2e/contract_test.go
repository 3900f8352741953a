package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// The first deployment's way: variables alone. The first run stores, the second finds all unchanged.
func TestSyncTwice(t *testing.T) {
	p := newPlatform(t, func(c *simulator.Config) { c.Quota = simulator.Quota{} })
	b := newBed(t, p, "AD_PLATFORM_QUOTA=none")
	code, s, errs := b.sync()
	if code != 0 || s.Outcome != "complete" || len(s.Connections) != 1 {
		t.Fatalf("exit %d: %+v\n%s", code, s, errs)
	}
	c := s.Connections[0]
	if c.Client != "default" || c.Connection != "adplatform" || c.Platform != "adplatform" || c.Listed != 100 || c.Synced != 100 || c.Unchanged != 0 || c.Pages != 10 || c.Requests != 110 || c.Error != nil {
		t.Errorf("%+v", c)
	}
	_, s, _ = b.sync()
	if c := s.Connections[0]; c.Outcome != "complete" || c.Unchanged != 100 || c.Synced != 100 {
		t.Errorf("%+v", c)
	}
	db := b.db()
	if n := one[int](t, db, "SELECT count(*) FROM campaigns WHERE client_id = 'default' AND connection = 'adplatform' AND account_id = 'default' AND platform = 'adplatform' AND raw LIKE '{%' AND synced_at LIKE '%Z'"); n != 100 {
		t.Errorf("%d rows", n)
	}
	if fi, err := os.Stat(filepath.Join(b.dir, "adsync.db")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the database's mode: %v %v", fi.Mode(), err)
	}
}

// Exit codes and the one line on stderr.
func TestExitCodes(t *testing.T) {
	p := newPlatform(t, func(c *simulator.Config) { c.Quota, c.Campaigns = simulator.Quota{}, 20 })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()
	junk := filepath.Join(t.TempDir(), "junk.db")
	if err := os.WriteFile(junk, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  []string
		args []string
		code int
		says []string
	}{
		{"0", nil, nil, 0, nil},
		{"2: a flag", nil, []string{"--flesh"}, 2, []string{"--fresh"}},
		{"2: a variable is missing", []string{"AD_PLATFORM_API_URL=", "AD_PLATFORM_EMAIL="}, nil, 2, []string{"AD_PLATFORM_API_URL", "AD_PLATFORM_EMAIL"}},
		{"2: a bad quota", []string{"AD_PLATFORM_QUOTA=ten"}, nil, 2, []string{"AD_PLATFORM_QUOTA", "10/1m"}},
		{"2: an unknown client", nil, []string{"--client", "nobody"}, 2, []string{"nobody"}},
		{"4: wrong password", []string{"AD_PLATFORM_PASSWORD=wr0ng-s3cret"}, nil, 4, []string{"exit 4 (auth)", "client default", "AD_PLATFORM_PASSWORD"}},
		{"5: nobody there", []string{"AD_PLATFORM_API_URL=" + nobody}, nil, 5, []string{"exit 5 (upstream)", strings.TrimPrefix(nobody, "http://"), "refuses connections"}},
		{"6: not a database", []string{"DATABASE_URL=sqlite:" + junk}, nil, 6, []string{"exit 6 (store)", "not a database"}},
		{"6: no server", []string{"DATABASE_URL=postgres://u:pg-s3cret@" + strings.TrimPrefix(nobody, "http://") + "/x"}, nil, 6, []string{"exit 6 (store)", "127.0.0.1"}},
		{"6: no directory", []string{"DATABASE_URL=sqlite:/nowhere/at/all/x.db"}, nil, 6, []string{"exit 6 (store)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, p, append([]string{"AD_PLATFORM_QUOTA=none"}, tt.env...)...)
			begin := time.Now()
			code, out, errs := b.run(append([]string{"sync"}, tt.args...)...)
			if code != tt.code {
				t.Fatalf("exit %d, want %d\n%s%s", code, tt.code, out, errs)
			}
			for _, s := range tt.says {
				if !strings.Contains(errs, s) {
					t.Errorf("stderr does not say %q:\n%s", s, errs)
				}
			}
			if strings.Contains(out+errs, "s3cret") {
				t.Errorf("a secret is in\n%s%s", out, errs)
			}
			if time.Since(begin) > 30*time.Second {
				t.Errorf("took %v", time.Since(begin))
			}
		})
	}
}

// firstSync is closed when the next per-campaign call arrives.
func (p *platform) firstSync() <-chan struct{} {
	started := make(chan struct{})
	var once sync.Once
	p.watch(func(r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path != "/auth/token" {
			once.Do(func() { close(started) })
		}
	}, nil)
	return started
}

// Exit 7 names the holder; --wait queues up; a killed holder's lock is free within two seconds.
func TestBusy(t *testing.T) {
	p := newPlatform(t, func(c *simulator.Config) {
		c.Campaigns, c.SyncLatency = 30, 50*time.Millisecond
		c.Quota = simulator.Quota{N: 10, Window: time.Second}
	})
	b := newBed(t, p, "AD_PLATFORM_QUOTA=20/1s")
	started := p.firstSync()
	first, _, firstErrs := b.command("sync", "--json")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-started
	code, _, errs := b.run("sync")
	if code != 7 || !strings.Contains(errs, fmt.Sprint(first.Process.Pid)) || !strings.Contains(errs, "since") {
		t.Errorf("exit %d:\n%s", code, errs)
	}
	code, s, errs := b.sync("--wait")
	if code != 0 || s.Connections[0].Unchanged != 30 {
		t.Errorf("--wait: exit %d, %+v\n%s", code, s, errs)
	}
	if err := first.Wait(); err != nil {
		t.Errorf("the first: %v\n%s", err, firstErrs)
	}
	// Now one that is killed.
	started = p.firstSync()
	second, _, _ := b.command("sync")
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	<-started
	_ = second.Process.Kill()
	_ = second.Wait()
	begin := time.Now()
	opened := make(chan time.Duration, 1)
	var first2 sync.Once
	p.watch(func(r *http.Request) { first2.Do(func() { opened <- time.Since(begin) }) }, nil)
	if code, _, errs := b.run("sync"); code != 0 {
		t.Errorf("after the kill: exit %d\n%s", code, errs)
	}
	t.Logf("the next one sent its first request %v after the kill", <-opened)
}

// SIGTERM in the middle: 143 within ten seconds, and the next one resumes (promise 10).
func TestSigterm(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := newPlatform(t, func(c *simulator.Config) {
			c.Campaigns, c.SyncLatency = 30, 300*time.Millisecond
			c.Quota = simulator.Quota{N: 12, Window: time.Second}
		})
		b := newBed(t, p, "AD_PLATFORM_QUOTA=12/1s")
		synced := make(chan struct{})
		var once sync.Once
		p.watch(nil, func(r *http.Request) {
			if r.Method == http.MethodPost && r.URL.Path != "/auth/token" {
				once.Do(func() { close(synced) })
			}
		})
		cmd, _, errs := b.command("sync")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-synced
		begin := time.Now()
		_ = cmd.Process.Signal(sig)
		_ = cmd.Wait()
		if code, want := cmd.ProcessState.ExitCode(), 128+int(sig); code != want || time.Since(begin) > 10*time.Second || !strings.Contains(errs.String(), "resume") {
			t.Errorf("%v: exit %d after %v\n%s", sig, code, time.Since(begin), errs)
		}
		p.watch(nil, nil)
		code, s, e := b.sync()
		if code != 0 || s.Connections[0].Synced != 30 {
			t.Errorf("%v: resumed: exit %d %+v\n%s", sig, code, s, e)
		}
		for id, n := range p.Stats().Clients["acme"].Called {
			if n != 1 {
				t.Errorf("%v: %s was synced %d times", sig, id, n)
			}
		}
	}
}

// Several processes on one quota and one database: the sum stays within it, and hardly a slot is left (fault 34).
func TestProcessesShareAQuota(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { processesShareAQuota(t, "sqlite:adsync.db") })
	t.Run("postgres", func(t *testing.T) {
		pgtest.Need(t)
		processesShareAQuota(t, pgtest.New(t))
	})
}

func processesShareAQuota(t *testing.T, database string) {
	const processes = 3
	window, slack := 3*time.Second, 100*time.Millisecond // slack: what a busy machine delivers late is not the program's doing
	p := newPlatform(t, func(c *simulator.Config) {
		c.Campaigns, c.SyncLatency = 15, 20*time.Millisecond
		c.Quota = simulator.Quota{N: 15, Window: window - slack}
	})
	b := newBed(t, p)
	var file bytes.Buffer
	file.WriteString("database: " + database + "\ndefaults: {url: " + p.URL + ", quota: 15/3s, x_client_id: shared, credentials: {email: '${AD_PLATFORM_EMAIL}', password: '${AD_PLATFORM_PASSWORD}'}}\nclients:\n")
	for i := range processes {
		fmt.Fprintf(&file, "  - id: c%d\n    connections: [{platform: adplatform}]\n", i)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "adsync.yaml"), file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := b.run("migrate"); code != 0 {
		t.Fatalf("migrate: exit %d\n%s", code, errs)
	}
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			if code, s, errs := b.sync("--client", fmt.Sprintf("c%d", i)); code != 0 || s.Connections[0].Synced != 15 {
				t.Errorf("exit %d %+v\n%s", code, s, errs)
			}
		})
	}
	wg.Wait()
	st := p.Stats().Clients["shared"]
	n := int(st.Counted)
	took, least := st.Last.Sub(st.First), time.Duration((n-1)/15)*window
	t.Logf("%d requests in %v, the minimum is %v: %.1f %%; %d refusals", n, took, least, 100*float64(least)/float64(took), st.Throttled)
	if st.MaxCountedInWindow > 15 || st.Throttled > 0 {
		t.Errorf("%d in a window, %d refusals", st.MaxCountedInWindow, st.Throttled)
	}
}

// PostgreSQL: refused without a schema, with the cure, before anything is asked of the platform (fault 94); then the same as SQLite.
func TestPostgres(t *testing.T) {
	pgtest.Need(t)
	p := newPlatform(t, func(c *simulator.Config) { c.Quota, c.Campaigns = simulator.Quota{}, 60 })
	dsn := pgtest.New(t)
	b := newBed(t, p, "AD_PLATFORM_QUOTA=none", "DATABASE_URL="+dsn)
	code, _, errs := b.run("sync")
	if code != 6 || !strings.Contains(errs, "adsync migrate") {
		t.Errorf("without a schema: exit %d\n%s", code, errs)
	}
	if n := p.Stats().Requests; n > 0 {
		t.Errorf("fault 94: %d requests before the database was ready", n)
	}
	for i := range 2 {
		code, s, errs := b.sync("--migrate")
		if code != 0 || s.Connections[0].Synced != 60 || s.Connections[0].Unchanged != 60*i {
			t.Fatalf("exit %d %+v\n%s", code, s, errs)
		}
	}
	if code, _, errs := b.run("status", "--json"); code != 0 {
		t.Errorf("status: exit %d\n%s", code, errs)
	}
	if strings.Contains(errs, pgtest.Password) {
		t.Error("the database's password is in the output")
	}
}

// The backends are terminated while a sync runs: it reconnects and ends complete.
func TestPostgresBackendsTerminated(t *testing.T) {
	pgtest.Need(t)
	s, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	p := newPlatform(t, func(c *simulator.Config) {
		c.Quota, c.Campaigns, c.SyncLatency = simulator.Quota{}, 200, 30*time.Millisecond
	})
	dsn := pgtest.New(t)
	b := newBed(t, p, "AD_PLATFORM_QUOTA=none", "DATABASE_URL="+dsn)
	name := dsn[strings.LastIndex(dsn, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	var mu sync.Mutex
	n, killed := 0, 0
	p.watch(nil, func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if n++; n%60 == 0 {
			k, err := s.TerminateBackends(context.Background(), name)
			if err != nil {
				t.Error(err)
			}
			killed += k
		}
	})
	code, sum, errs := b.sync("--migrate")
	if code != 0 || sum.Connections[0].Synced != 200 {
		t.Errorf("exit %d %+v\n%s", code, sum, errs)
	}
	if killed == 0 {
		t.Error("nothing was terminated")
	}
	for id, calls := range p.Stats().Clients["acme"].Called {
		if calls != 1 {
			t.Errorf("%s was synced %d times", id, calls)
		}
	}
}
