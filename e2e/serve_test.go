package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// paced gives a program whose lease of thirty seconds, and whose other waits, are divided by a number: everything else is the same.
func paced(t *testing.T, by string) string {
	t.Helper()
	pacedPrograms.Lock()
	defer pacedPrograms.Unlock()
	path := strings.TrimSuffix(program, ".exe") + "-" + by + ".exe"
	if !pacedPrograms.built[path] {
		build := exec.Command("go", "build", "-ldflags", "-X adsync/internal/service.pace="+by, "-o", path, "adsync/cmd/adsync")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		pacedPrograms.built[path] = true
	}
	return path
}

var pacedPrograms = struct {
	sync.Mutex
	built map[string]bool
}{built: map[string]bool{}}

// patience is how long anything may take that has no limit of its own.
const patience = 90 * time.Second

// fleet is a configuration, a database and the processes that serve it.
type fleet struct {
	*bed
	p        *platform
	database string // as the configuration names it
	program  string
	sql      *sql.DB
}

// newFleet uses a database that is named as in a configuration, and a program whose lease is of six seconds.
func newFleet(t *testing.T, p *platform, database string) *fleet {
	t.Helper()
	return &fleet{bed: newBed(t, p), p: p, database: database, program: paced(t, "5")}
}

// client is one connection of the configuration. Empty fields: the platform's own, without a quota, once a day.
type client struct {
	id, quota, schedule, url, password, more string
}

func clients(n int, c client) []client {
	out := make([]client, n)
	for i := range out {
		out[i] = c
		out[i].id = fmt.Sprintf("c%03d", i)
	}
	return out
}

// configure writes the configuration.
func (f *fleet) configure(cs ...client) {
	f.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "database: %s\nclients:\n", f.database)
	for _, c := range cs {
		fmt.Fprintf(&b, "  - id: %s\n    connections:\n      - {platform: adplatform, url: %s, quota: %s, schedule: %s, timeout: 20s, credentials: {email: '${AD_PLATFORM_EMAIL}', password: '%s'}%s}\n",
			c.id, or(c.url, f.p.URL), or(c.quota, "none"), or(c.schedule, "every 24h"), or(c.password, "${AD_PLATFORM_PASSWORD}"), c.more)
	}
	f.write(b.String())
}

func (f *fleet) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, "adsync.yaml"), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// server is one process of the service.
type server struct {
	f    *fleet
	cmd  *exec.Cmd
	log  *logged
	url  string
	done chan struct{}
}

// logged is what a process prints, as it comes.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// serve starts a process and waits until it listens.
func (f *fleet) serve(args ...string) *server {
	f.t.Helper()
	cmd := exec.Command(f.program, append([]string{"serve", "--listen", "127.0.0.1:0", "--migrate"}, args...)...)
	s := &server{f: f, cmd: cmd, log: &logged{}, done: make(chan struct{})}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = f.dir, f.env, s.log, s.log
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(s.done) }()
	f.t.Cleanup(func() {
		if !s.ended() {
			s.signal(syscall.SIGCONT)
			s.signal(syscall.SIGTERM)
			select {
			case <-s.done:
			case <-time.After(20 * time.Second):
				f.t.Errorf("pid %d does not end", cmd.Process.Pid)
				_ = cmd.Process.Kill()
				<-s.done
			}
		}
		text := s.log.String()
		if strings.Contains(text, simulator.DefaultPassword) || strings.Contains(text, pgtest.Password) {
			f.t.Error("a password is in the log")
		}
		if strings.Contains(text, "internal error") || strings.Contains(text, "panic") || strings.Contains(text, "DATA RACE") {
			f.t.Error("a bug shows in the log")
		}
		if f.t.Failed() {
			f.t.Logf("the log of pid %d:\n%s", cmd.Process.Pid, tail(text, 6000))
		}
	})
	await(f.t, "a process that listens", func() bool {
		if s.ended() {
			f.t.Fatalf("it ended at once:\n%s", s.log)
		}
		_, rest, ok := strings.Cut(s.log.String(), "listening on ")
		if ok {
			s.url = "http://" + strings.TrimPrefix(strings.Fields(rest)[0], "http://")
			s.url = strings.TrimRight(s.url, "\"")
		}
		return ok && strings.Contains(rest, "serving ")
	})
	return s
}

// serveTogether starts processes and gives them their connections when all of them are at work, so that they share them.
func (f *fleet) serveTogether(processes int, cs ...client) []*server {
	f.t.Helper()
	f.configure(cs[:1]...)
	var ss []*server
	for range processes {
		ss = append(ss, f.serve())
	}
	await(f.t, "all processes at work", func() bool {
		return f.count("SELECT count(*) FROM adsync_workers WHERE beat_at > started_at") == processes
	})
	f.configure(cs...)
	for _, s := range ss {
		s.signal(syscall.SIGHUP)
	}
	await(f.t, "each to have a share", func() bool {
		for _, s := range ss {
			if f.held(s) < 2 {
				return false
			}
		}
		return true
	})
	return ss
}

// tail is the end of a text.
func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (s *server) signal(sig syscall.Signal) {
	_ = s.cmd.Process.Signal(sig)
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

func (s *server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// stop ends it in good order.
func (s *server) stop() {
	s.f.t.Helper()
	begin := time.Now()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		s.f.t.Fatal("it does not end")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 143 || time.Since(begin) > 10*time.Second {
		s.f.t.Errorf("exit %d after %v", code, time.Since(begin))
	}
}

// holder is how the database names it.
func (s *server) holder() string { return fmt.Sprintf("pid %d on %%", s.cmd.Process.Pid) }

func (s *server) ready() (code int, text string) {
	code, b := s.call(http.MethodGet, "/readyz", "")
	return code, b
}

func (s *server) call(method, path, body string) (int, string) {
	s.f.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.f.t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// answer is that to an asked run.
type answer struct {
	Joined bool    `json:"joined"`
	State  string  `json:"state"`
	Until  *string `json:"parked_until"`
	Reason *string `json:"parked_reason"`
}

// ask asks the service for a run.
func (s *server) ask(client string) (a answer) {
	s.f.t.Helper()
	code, body := s.call(http.MethodPost, "/api/v1/sync", `{"client": "`+client+`", "connection": "adplatform"}`)
	if err := json.Unmarshal([]byte(body), &a); err != nil || code != http.StatusAccepted {
		s.f.t.Fatalf("asked for %s: %d %s (%v)", client, code, body, err)
	}
	return a
}

// await waits for something that a test can see.
func await(t *testing.T, what string, fn func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !fn() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// rows opens the fleet's database for reading and small changes.
func (f *fleet) rows() *sql.DB {
	f.t.Helper()
	if f.sql == nil {
		driver, name := "pgx", f.database
		if path, ok := strings.CutPrefix(f.database, "sqlite:"); ok {
			driver, name = "sqlite", "file:"+filepath.Join(f.dir, path)+"?_pragma=busy_timeout(10000)"
		}
		db, err := sql.Open(driver, name)
		if err != nil {
			f.t.Fatal(err)
		}
		db.SetMaxOpenConns(2)
		f.t.Cleanup(func() { db.Close() })
		f.sql = db
	}
	return f.sql
}

// count gives a number from the database. While that is away there is none.
func (f *fleet) count(query string, args ...any) int {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var n int
	if err := f.rows().QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		var no interface{ SQLState() string }
		if errors.As(err, &no) && no.SQLState() == "42601" {
			f.t.Fatalf("%s: %v", query, err)
		}
		return -1
	}
	return n
}

// complete counts connections whose newest run is complete.
func (f *fleet) complete() int {
	return f.count("SELECT count(DISTINCT client_id) FROM runs WHERE outcome = 'complete'")
}

// held counts the connections that a process has.
func (f *fleet) held(s *server) int {
	return f.count("SELECT count(*) FROM adsync_locks WHERE holder_text LIKE $1", s.holder())
}

// finished waits until so many connections are complete.
func (f *fleet) finished(n int) {
	f.t.Helper()
	await(f.t, fmt.Sprintf("%d connections that are complete", n), func() bool { return f.complete() == n })
}

// holds waits until the database has more than n campaigns.
func (f *fleet) holds(n int) {
	f.t.Helper()
	await(f.t, fmt.Sprintf("%d campaigns", n), func() bool { return f.count("SELECT count(*) FROM campaigns") > n })
}

// stored are the campaigns that the database holds, as client/id.
func (f *fleet) stored() []string {
	f.t.Helper()
	rows, err := f.rows().QueryContext(context.Background(), "SELECT client_id, id FROM campaigns")
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var c, id string
		if err := rows.Scan(&c, &id); err != nil {
			f.t.Fatal(err)
		}
		out = append(out, c+"/"+id)
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	return out
}

// called says how often the platform was asked for each campaign, as client/id.
func (p *platform) called() map[string]int64 {
	out := map[string]int64{}
	for c, s := range p.Stats().Clients {
		for id, n := range s.Called {
			out[c+"/"+id] = n
		}
	}
	return out
}

// committed are campaigns whose results are in the database, with the calls that this took so far.
type committed map[string]int64

// note adds what is stored by now.
func (c committed) note(f *fleet) {
	f.t.Helper()
	stored := f.stored()
	called := f.p.called()
	for _, id := range stored {
		if _, known := c[id]; !known {
			c[id] = called[id]
		}
	}
}

// check fails for each that was called again.
func (c committed) check(f *fleet) {
	f.t.Helper()
	for id, n := range f.p.called() {
		if was, ok := c[id]; ok && n > was {
			f.t.Errorf("%s was synced again after its sync had been committed: %d calls, %d when it was stored", id, n, was)
		}
	}
}

// sound checks what holds at the end of any story: every campaign is there once, the runs are complete and add up, no window was exceeded.
func (f *fleet) sound(clients, campaigns int) {
	f.t.Helper()
	if all := f.stored(); len(all) != clients*campaigns {
		f.t.Errorf("%d campaigns stored, not %d", len(all), clients*campaigns)
	}
	if n := f.count("SELECT count(*) FROM runs WHERE outcome = 'complete' AND (listed <> $1 OR synced <> $1 OR failed <> 0)", campaigns); n != 0 {
		f.t.Errorf("%d complete runs do not add up", n)
	}
	f.within()
}

// within checks that no window was exceeded.
func (f *fleet) within() {
	f.t.Helper()
	for c, s := range f.p.Stats().Clients {
		if s.Throttled > 0 || (s.Limit > 0 && s.MaxCountedInWindow > s.Limit) {
			f.t.Errorf("%s: %d in a window of %d, %d refusals", c, s.MaxCountedInWindow, s.Limit, s.Throttled)
		}
	}
}

// once checks that each connection had one run, which one life after the other went on with.
func (f *fleet) once(clients int) {
	f.t.Helper()
	if n := f.count("SELECT count(*) FROM runs"); n != clients {
		f.t.Errorf("%d runs of %d connections", n, clients)
	}
}

// twice counts the calls that were made again.
func (p *platform) twice() (n int64) {
	for _, k := range p.called() {
		n += k - 1
	}
	return n
}

// now is the database's clock.
func (f *fleet) now() (at time.Time) {
	f.t.Helper()
	if err := f.rows().QueryRowContext(f.t.Context(), "SELECT now()").Scan(&at); err != nil {
		f.t.Fatal(err)
	}
	return at
}
