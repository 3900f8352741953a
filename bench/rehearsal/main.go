// Command rehearsal runs the service as it is run in production: a simulated platform with many clients, one PostgreSQL, and one or more
// processes of `adsync serve`. It prints how near they come to what the quotas allow, what they cost, how fair they are, and how soon a killed
// process's work is taken over.
//
//	go run ./bench/rehearsal -clients 1000 -quota 10/4s -campaigns 30 -processes 1,2,4
//	go run ./bench/rehearsal -isolation -clients 1000 -quota 10/15s
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"adsync/internal/pgtest"
	"adsync/internal/quota"
)

type options struct {
	clients, campaigns, page, idle int
	quota                          quota.Limit
	latency                        time.Duration
	processes                      []int
	kill, keep, isolation          bool
	pairs                          int
	within                         time.Duration
}

func main() {
	var o options
	limit := flag.String("quota", "10/4s", "of each client; 10/1m in a scaled window")
	procs := flag.String("processes", "1,2,4", "numbers of serve processes, comma-separated")
	flag.IntVar(&o.clients, "clients", 1000, "clients, each with a quota of its own")
	flag.IntVar(&o.campaigns, "campaigns", 30, "campaigns of each client")
	flag.IntVar(&o.page, "page", 10, "page size")
	flag.IntVar(&o.idle, "idle", 10_000, "connections of the idle process; 0: leave that part out")
	flag.DurationVar(&o.latency, "latency", 100*time.Millisecond, "of one per-campaign sync")
	flag.BoolVar(&o.kill, "kill", true, "kill one of two processes in the middle, as a part of its own")
	flag.BoolVar(&o.keep, "keep", false, "keep the working directory")
	flag.BoolVar(&o.isolation, "isolation", false, "instead: how much ten clients that hang, ten that are refused, ten that answer garbage and a huge one hold up the others")
	flag.IntVar(&o.pairs, "pairs", 1, "with -isolation: pairs of runs, without the sick ones and with them")
	flag.DurationVar(&o.within, "within", 15*time.Minute, "give up on a part after this")
	flag.Parse()
	var err error
	if o.quota, err = quota.ParseLimit(*limit); err == nil {
		for _, s := range strings.Split(*procs, ",") {
			n, perr := strconv.Atoi(strings.TrimSpace(s))
			if perr != nil || n < 1 {
				err = fmt.Errorf("-processes %q: want numbers", *procs)
				break
			}
			o.processes = append(o.processes, n)
		}
	}
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rehearsal:", err)
		os.Exit(1)
	}
}

// stage has what all parts use.
type stage struct {
	o       options
	dir     string
	program string
	server  *pgtest.Server
	url     string
	n       int // databases made
}

func run(o options) error {
	dir, err := os.MkdirTemp("", "adsync-rehearsal-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("working in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	s := &stage{o: o, dir: dir, program: filepath.Join(dir, "adsync")}
	build := exec.Command("go", "build", "-o", s.program, "adsync/cmd/adsync")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if s.server, err = pgtest.Start(ctx, pgtest.Options{}); err != nil {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	defer s.server.Stop()

	requests := (o.campaigns+o.page-1)/o.page + o.campaigns
	least := time.Duration((requests-1)/o.quota.N) * o.quota.Window
	fmt.Printf("%d clients of %d campaigns, %s each: %d requests a client, %s at the least\n\n", o.clients, o.campaigns, o.quota, requests, least)
	if o.isolation {
		return s.isolation(ctx)
	}
	fmt.Printf("%-10s %9s %9s %9s %9s %10s %6s %9s %9s %9s\n", "processes", "whole s", "median s", "worst s", "of least", "worst/med", "429s", "in window", "peak MiB", "cpu s")
	for _, n := range o.processes {
		if err := s.fleet(ctx, n, requests, least); err != nil {
			return fmt.Errorf("%d processes: %w", n, err)
		}
	}
	if o.kill {
		fmt.Println()
		if err := s.takeover(ctx); err != nil {
			return fmt.Errorf("takeover: %w", err)
		}
	}
	if o.idle > 0 {
		fmt.Println()
		if err := s.idle(ctx); err != nil {
			return fmt.Errorf("idle: %w", err)
		}
	}
	return nil
}

// simulate starts the platform anew.
func (s *stage) simulate() (stop func(), err error) {
	s.url, stop, err = s.simulator("--campaigns", strconv.Itoa(s.o.campaigns), "--quota", s.o.quota.String())
	return stop, err
}

// simulator starts a platform without failures but those that args ask for.
func (s *stage) simulator(args ...string) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := l.Addr().String()
	l.Close()
	url = "http://" + addr
	cmd := exec.Command(s.program, append([]string{
		"simulate", "--listen", addr, "--sync-latency", s.o.latency.String(), "--fail-rate", "0", "--silence-rate", "0", "--quiet",
	}, args...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	for range 200 {
		if r, err := http.Get(url + "/health"); err == nil {
			r.Body.Close()
			return url, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("the simulator did not start")
}

// config writes a configuration of n clients.
func (s *stage) config(n int, dsn, schedule string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "database: %s\ndefaults:\n  schedule: %s\n  page_size: %d\n  quota: %s\nclients:\n", dsn, schedule, s.o.page, s.o.quota)
	for i := range n {
		fmt.Fprintf(&b, "  - id: client%05d\n    connections:\n      - platform: adplatform\n        url: %s\n        credentials: {email: \"${EMAIL}\", password: \"${PASSWORD}\"}\n", i, s.url)
	}
	path := filepath.Join(s.dir, fmt.Sprintf("adsync-%d.yaml", s.n))
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

// database makes an empty one, with all tables.
func (s *stage) database(ctx context.Context) (dsn string, pool *pgxpool.Pool, err error) {
	s.n++
	dsn, _, err = s.server.Create(ctx)
	if err != nil {
		return "", nil, err
	}
	pool, err = pgxpool.New(ctx, dsn)
	return dsn, pool, err
}

// process is one adsync serve.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	peak int64 // KiB
	cpu  time.Duration
}

func (s *stage) serve(config string, i int) (*process, error) {
	log, err := os.Create(filepath.Join(s.dir, fmt.Sprintf("serve-%d-%d.log", s.n, i)))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(s.program, "serve", "--config", config, "--no-web", "--migrate", "--log-level", "warn")
	cmd.Dir, cmd.Stderr, cmd.Stdout = s.dir, log, log
	cmd.Env = append(os.Environ(), "EMAIL=user@example.com", "PASSWORD=change-me-please")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }()
	return p, nil
}

// end stops a process in good order and keeps what it cost.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	if u, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		p.peak = u.Maxrss
	}
	p.cpu = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

func endAll(ps []*process) {
	var wg sync.WaitGroup
	for _, p := range ps {
		wg.Go(p.end)
	}
	wg.Wait()
}

// finished waits until so many runs are complete, or a process ends.
func (s *stage) finished(ctx context.Context, pool *pgxpool.Pool, want int, ps []*process) error {
	until := time.Now().Add(s.o.within)
	for {
		var n, bad int
		err := pool.QueryRow(ctx, "SELECT count(*) FILTER (WHERE outcome = 'complete'), count(*) FILTER (WHERE outcome IN ('failed', 'partial')) FROM runs").Scan(&n, &bad)
		if err == nil && n >= want {
			return nil
		}
		if bad > 0 {
			var why string
			_ = pool.QueryRow(ctx, "SELECT client_id || ': ' || coalesce(error, '') FROM runs WHERE outcome IN ('failed', 'partial') LIMIT 1").Scan(&why)
			return fmt.Errorf("%d runs did not end well, such as %s", bad, why)
		}
		for i, p := range ps {
			select {
			case <-p.done:
				return fmt.Errorf("process %d ended by itself; its log is %s", i, filepath.Join(s.dir, fmt.Sprintf("serve-%d-%d.log", s.n, i)))
			default:
			}
		}
		if time.Now().After(until) {
			return fmt.Errorf("only %d of %d were complete after %s", n, want, s.o.within)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// client is what the platform saw of one.
type client struct {
	Arrivals           int64     `json:"arrivals"`
	Throttled          int64     `json:"throttled"`
	MaxCountedInWindow int       `json:"max_counted_in_window"`
	Limit              int       `json:"limit"`
	SyncCalls          int64     `json:"sync_calls"`
	First              time.Time `json:"first_arrival"`
	Last               time.Time `json:"last_arrival"`
}

func (s *stage) stats() (map[string]client, error) {
	r, err := http.Get(s.url + "/__stats")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	var st struct {
		Clients map[string]client `json:"clients"`
	}
	b, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	for id := range st.Clients {
		if !strings.HasPrefix(id, "client") {
			delete(st.Clients, id)
		}
	}
	return st.Clients, err
}

// fleet is n processes that bring all clients up to date once.
func (s *stage) fleet(ctx context.Context, n, requests int, least time.Duration) error {
	stop, err := s.simulate()
	if err != nil {
		return err
	}
	defer stop()
	dsn, pool, err := s.database(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	config, err := s.config(s.o.clients, dsn, "every 24h")
	if err != nil {
		return err
	}
	begin := time.Now()
	var ps []*process
	defer func() { endAll(ps) }()
	for i := range n {
		p, err := s.serve(config, i)
		if err != nil {
			return err
		}
		ps = append(ps, p)
	}
	if err := s.finished(ctx, pool, s.o.clients, ps); err != nil {
		return err
	}
	whole := time.Since(begin)
	cs, err := s.stats()
	if err != nil {
		return err
	}
	endAll(ps)
	var took []time.Duration
	var refused int64
	most := 0
	for id, c := range cs {
		if c.Arrivals != int64(requests) && c.Throttled == 0 {
			fmt.Printf("  %s sent %d requests, not %d\n", id, c.Arrivals, requests)
		}
		took = append(took, c.Last.Sub(c.First))
		refused += c.Throttled
		most = max(most, c.MaxCountedInWindow)
	}
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	var peaks []string
	var cpu time.Duration
	for _, p := range ps {
		peaks = append(peaks, strconv.FormatInt(p.peak>>10, 10))
		cpu += p.cpu
	}
	ps = nil
	fmt.Printf("%-10d %9.1f %9.2f %9.2f %8.1f%% %10.2f %6d %5d of %d %9s %9.1f\n", n, whole.Seconds(), median.Seconds(), worst.Seconds(),
		100*least.Seconds()/median.Seconds(), worst.Seconds()/median.Seconds(), refused, most, s.o.quota.N, strings.Join(peaks, "+"), cpu.Seconds())
	return nil
}

// takeover kills one of two processes in the middle of its work.
func (s *stage) takeover(ctx context.Context) error {
	stop, err := s.simulate()
	if err != nil {
		return err
	}
	defer stop()
	dsn, pool, err := s.database(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	config, err := s.config(s.o.clients, dsn, "every 24h")
	if err != nil {
		return err
	}
	var ps []*process
	defer func() { endAll(ps) }()
	for i := range 2 {
		p, err := s.serve(config, i)
		if err != nil {
			return err
		}
		ps = append(ps, p)
	}
	// In the middle: half of the campaigns are there.
	for {
		var rows int
		if err := pool.QueryRow(ctx, "SELECT count(*) FROM campaigns").Scan(&rows); err == nil && rows >= s.o.clients*s.o.campaigns/2 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	dead := fmt.Sprintf("pid %d on %%", ps[0].cmd.Process.Pid)
	_ = ps[0].cmd.Process.Kill()
	killed := time.Now()
	<-ps[0].done
	var held int
	if err := pool.QueryRow(ctx, "SELECT count(*) FROM adsync_locks WHERE holder_text LIKE $1", dead).Scan(&held); err != nil {
		return err
	}
	first, last := time.Duration(0), time.Duration(0)
	for left := held; left > 0; {
		if err := pool.QueryRow(ctx, "SELECT count(*) FROM adsync_locks WHERE holder_text LIKE $1", dead).Scan(&left); err != nil {
			return err
		}
		if left < held && first == 0 {
			first = time.Since(killed)
		}
		last = time.Since(killed)
		if last > s.o.within {
			return fmt.Errorf("%d of %d were never taken over", left, held)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := s.finished(ctx, pool, s.o.clients, ps[1:]); err != nil {
		return err
	}
	cs, err := s.stats()
	if err != nil {
		return err
	}
	var refused, calls int64
	for _, c := range cs {
		refused += c.Throttled
		calls += c.SyncCalls
	}
	fmt.Printf("killed one of two processes in the middle: %d connections were taken over after %.1f s (the first) to %.1f s (the last)\n", held, first.Seconds(), last.Seconds())
	fmt.Printf("  429s: %d; per-campaign calls made twice: %d (at most what was in flight)\n", refused, calls-int64(s.o.clients*s.o.campaigns))
	return nil
}

// idle is one process with many connections that have nothing to do.
func (s *stage) idle(ctx context.Context) error {
	s.url = "http://127.0.0.1:1" // nobody is asked
	measure := func(n int) (rss int64, queries float64, err error) {
		dsn, pool, err := s.database(ctx)
		if err != nil {
			return 0, 0, err
		}
		defer pool.Close()
		config, err := s.config(n, dsn, "\"0 0 29 2 *\"")
		if err != nil {
			return 0, 0, err
		}
		migrate := exec.Command(s.program, "migrate", "--config", config)
		migrate.Dir, migrate.Env = s.dir, append(os.Environ(), "EMAIL=a@example.com", "PASSWORD=change-me-please")
		if out, err := migrate.CombinedOutput(); err != nil {
			return 0, 0, fmt.Errorf("migrate: %w: %s", err, out)
		}
		if _, err := pool.Exec(ctx, `INSERT INTO runs (id, client_id, connection, trigger, started_at, finished_at, outcome)
			SELECT 'run' || i, 'client' || lpad(i::text, 5, '0'), 'adplatform', 'schedule', now(), now(), 'complete' FROM generate_series(0, $1 - 1) i`, n); err != nil {
			return 0, 0, err
		}
		if _, err := pool.Exec(ctx, "INSERT INTO adsync_locks (client_id, connection, fence) SELECT client_id, connection, 1 FROM runs"); err != nil {
			return 0, 0, err
		}
		p, err := s.serve(config, 0)
		if err != nil {
			return 0, 0, err
		}
		defer p.end()
		time.Sleep(15 * time.Second) // started, and settled
		const over = 20 * time.Second
		before, err := transactions(ctx, pool)
		if err != nil {
			return 0, 0, err
		}
		time.Sleep(over)
		after, err := transactions(ctx, pool)
		if err != nil {
			return 0, 0, err
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		if err != nil {
			return 0, 0, fmt.Errorf("the memory of a process can only be read where there is /proc: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				rss, err = strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			}
		}
		return rss, float64(after-before) / over.Seconds(), err
	}
	one, q1, err := measure(1)
	if err != nil {
		return err
	}
	many, qn, err := measure(s.o.idle)
	if err != nil {
		return err
	}
	fmt.Printf("idle: %d connections in %.1f MiB, 1 in %.1f MiB: %.1f KiB each; %.1f and %.1f transactions a second\n",
		s.o.idle, float64(many)/1024, float64(one)/1024, float64(many-one)/float64(s.o.idle), qn, q1)
	return nil
}

// transactions counts those of the database; its own statistics lag a little, the same at both ends.
func transactions(ctx context.Context, pool *pgxpool.Pool) (n int64, err error) {
	err = pool.QueryRow(ctx, "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()").Scan(&n)
	return n, err
}
