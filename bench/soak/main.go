// Command soak runs `adsync serve` for half an hour, or as long as it is told to, against a simulated platform that plays its whole catalogue of
// faults, all the time and at every client in turn, and looks at what the process holds: memory, goroutines, files, and the size of the database.
// It ends with 1 where one of the first three grows, or the process ends by itself.
//
//	go run ./bench/soak -for 30m -database postgres -svg soak.svg
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

type options struct {
	length, every, turn time.Duration
	clients, campaigns  int
	database, svg       string
	keep                bool
}

func main() {
	var o options
	flag.DurationVar(&o.length, "for", 30*time.Minute, "how long")
	flag.DurationVar(&o.every, "every", 10*time.Second, "between two looks")
	flag.DurationVar(&o.turn, "turn", 20*time.Second, "until each fault goes to another client")
	flag.IntVar(&o.clients, "clients", 150, "clients; those beyond the number of faults are well")
	flag.IntVar(&o.campaigns, "campaigns", 30, "campaigns of each client")
	flag.StringVar(&o.database, "database", "sqlite", "sqlite or postgres")
	flag.StringVar(&o.svg, "svg", "", "file for the curves")
	flag.BoolVar(&o.keep, "keep", false, "keep the working directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// soak is one rehearsal.
type soak struct {
	o      options
	dir    string
	base   string // of the service's pages
	sim    *simulator.Server
	faults []simulator.Fault
	size   func(context.Context) (int64, error) // of the database

	mu   sync.Mutex
	bugs map[string]int // lines of the log that should not be
	last bytes.Buffer   // of the log
}

func run(ctx context.Context, o options) error {
	if o.database != "sqlite" && o.database != "postgres" {
		return fmt.Errorf("-database %s: want sqlite or postgres", o.database)
	}
	dir, err := os.MkdirTemp("", "adsync-soak-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("working in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	s := &soak{o: o, dir: dir, bugs: map[string]int{}}
	program := filepath.Join(dir, "adsync")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "adsync/cmd/adsync")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	urls, stop, err := s.platforms(ctx)
	if err != nil {
		return err
	}
	defer stop()
	dsn, stopDB, err := s.store(ctx)
	if err != nil {
		return err
	}
	defer stopDB()
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	s.base = "http://" + addr
	config, err := s.config(dsn, urls)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "serve", "--config", config, "--listen", addr, "--migrate", "--log-level", "warn")
	cmd.Dir, cmd.Stderr = dir, s
	cmd.Env = append(os.Environ(), "PASSWORD="+simulator.DefaultPassword)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	samples, err := s.watch(ctx, cmd.Process.Pid, ended)
	if err == nil || errors.Is(err, context.Canceled) {
		err = s.end(cmd, ended)
	}
	return errors.Join(err, s.report(samples))
}

// ofListeners are faults that are settled when a platform starts to listen.
var ofListeners = []string{"idle-close", "tls-expired", "tls-wrong-name"}

// platforms starts the platform that plays everything that can be switched on while it runs, and one for each fault that is of the listener.
func (s *soak) platforms(ctx context.Context) (urls []string, stop func(), err error) {
	base := simulator.Config{
		Campaigns: s.o.campaigns, Quota: simulator.Quota{N: 50, Window: time.Second}, SyncLatency: 5 * time.Millisecond, TokenLife: 90 * time.Second, Seed: 1,
	}
	for i := range s.o.clients {
		base.Accounts = append(base.Accounts, simulator.Account{Email: email(i), Password: simulator.DefaultPassword})
	}
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	stop = func() { cancel(); serving.Wait() }
	serve := func(cfg simulator.Config) (*simulator.Server, error) {
		sim, err := simulator.New(cfg)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		serving.Go(func() { _ = sim.Serve(ctx, l); _ = sim.Close() })
		scheme := "http://"
		if cfg.TLS {
			scheme = "https://"
		}
		urls = append(urls, scheme+l.Addr().String())
		return sim, nil
	}
	if s.sim, err = serve(base); err != nil {
		stop()
		return nil, nil, err
	}
	for _, f := range simulator.Catalogue() {
		if !slices.Contains(ofListeners, f.Name) {
			s.faults = append(s.faults, f)
			continue
		}
		cfg := base
		cfg.Faults, cfg.TLS = []string{f.Name}, strings.HasPrefix(f.Name, "tls-")
		if _, err := serve(cfg); err != nil {
			stop()
			return nil, nil, fmt.Errorf("fault %s: %w", f.Name, err)
		}
	}
	if len(s.faults) > s.o.clients {
		stop()
		return nil, nil, fmt.Errorf("-clients %d: there are %d faults", s.o.clients, len(s.faults))
	}
	return urls, stop, nil
}

func email(i int) string  { return fmt.Sprintf("client%03d@example.com", i) }
func client(i int) string { return fmt.Sprintf("client%03d", i) }

// turn gives every fault to another client. Faults that play a few times begin anew.
func (s *soak) turn(n int) error {
	var on, restore []string
	for i, f := range s.faults {
		who := (i + n) % s.o.clients
		spec := f.Name + ":client=" + client(who)
		if strings.Contains(f.Default, "endpoint=token") { // a login does not say for which client
			spec = f.Name + ":email=" + email(who)
		}
		switch {
		case f.Name == "gzip-bomb", f.Name == "endless-body": // they cost the platform more than us
			spec += ",times=1"
		case strings.Contains(f.Default, "times="):
			spec += ",times=5"
			if strings.Contains(f.Default, "on=") {
				spec += ",on=1-"
			}
		}
		on = append(on, spec)
	}
	for i := range s.o.clients {
		restore = append(restore, email(i))
	}
	if err := s.sim.Control(simulator.Command{FaultsOff: []string{"*"}}); err != nil {
		return err
	}
	return s.sim.Control(simulator.Command{FaultsOn: on, Restore: restore, RevokeTokens: true})
}

// nudge asks for a run of everybody: whose credentials were refused would wait until a person does.
func (s *soak) nudge(ctx context.Context) {
	for i := range s.o.clients {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/api/v1/sync", strings.NewReader(fmt.Sprintf(`{"client": %q, "connection": "adplatform"}`, client(i))))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
}

// store makes the database.
func (s *soak) store(ctx context.Context) (dsn string, stop func(), err error) {
	if s.o.database == "sqlite" {
		path := filepath.Join(s.dir, "adsync.db")
		s.size = func(context.Context) (n int64, err error) {
			for _, suffix := range []string{"", "-wal"} {
				if info, err := os.Stat(path + suffix); err == nil {
					n += info.Size()
				}
			}
			return n, nil
		}
		return "sqlite:" + path, func() {}, nil
	}
	server, err := pgtest.Start(ctx, pgtest.Options{Durable: true})
	if err != nil {
		return "", nil, err
	}
	dsn, _, err = server.Create(ctx)
	if err != nil {
		server.Stop()
		return "", nil, err
	}
	s.size = func(ctx context.Context) (n int64, err error) {
		c, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return 0, err
		}
		defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
		return n, c.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&n)
	}
	return dsn, server.Stop, nil
}

// config gives each client an account of its own; the last ones go to the platforms of their own.
func (s *soak) config(dsn string, urls []string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "database: %s\ndefaults: {schedule: every 10s, page_size: 10, quota: 50/1s, timeout: 500ms, max_elapsed: 3s}\nclients:\n", dsn)
	add := func(id, mail, url string) {
		fmt.Fprintf(&b, "  - id: %s\n    connections: [{platform: adplatform, url: %q, credentials: {email: %q, password: \"${PASSWORD}\"}}]\n", id, url, mail)
	}
	for i := range s.o.clients {
		add(client(i), email(i), urls[0])
	}
	for i, url := range urls[1:] {
		add(fmt.Sprintf("special%03d", i), email(0), url)
	}
	path := filepath.Join(s.dir, "adsync.yaml")
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// mostLog is how much of the log's end is kept.
const mostLog = 64 << 10

var bug = regexp.MustCompile(`internal error|panic|goroutine \d+ \[|DATA RACE|fatal error`)

// Write takes the service's log: its end is kept, and lines that tell of bugs are counted.
func (s *soak) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(string(p)) {
		if bug.MatchString(line) {
			s.bugs[strings.TrimSpace(line)]++
		}
	}
	s.last.Write(p)
	if s.last.Len() > 2*mostLog {
		end := bytes.Clone(s.last.Bytes()[s.last.Len()-mostLog:])
		s.last.Reset()
		s.last.Write(end)
	}
	return len(p), nil
}

// watch turns the faults round and looks, until the time is over.
func (s *soak) watch(ctx context.Context, pid int, ended chan error) (samples []sample, err error) {
	begin := time.Now()
	look, turn, over := time.NewTicker(s.o.every), time.NewTicker(s.o.turn), time.NewTimer(s.o.length)
	defer look.Stop()
	defer turn.Stop()
	defer over.Stop()
	turns := 0
	if err := s.turn(turns); err != nil {
		return nil, err
	}
	fmt.Printf("%d clients of %d campaigns, %d faults at once, each at another client every %s; %s; %s\n\n", s.o.clients, s.o.campaigns, len(s.faults), s.o.turn, s.o.database, s.o.length)
	fmt.Println(header)
	var nudging sync.WaitGroup
	defer nudging.Wait()
	for {
		select {
		case <-ctx.Done():
			return samples, ctx.Err()
		case err := <-ended:
			ended <- err
			return samples, fmt.Errorf("the service ended by itself: %w\n%s", err, s.tail())
		case <-over.C:
			return samples, nil
		case <-turn.C:
			turns++
			if err := s.turn(turns); err != nil {
				return samples, err
			}
			if turns%3 == 0 {
				nudging.Wait()
				nudging.Go(func() { s.nudge(ctx) })
			}
		case <-look.C:
			x, err := s.look(ctx, pid, time.Since(begin))
			if err != nil {
				fmt.Println("no look:", err)
				continue
			}
			samples = append(samples, x)
			if n := int(s.o.length / s.o.every / 20); n < 2 || len(samples)%n == 1 {
				fmt.Println(x)
			}
		}
	}
}

func (s *soak) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.last.Bytes()
	return string(b[max(0, len(b)-4000):])
}

// stopWithin is what the contract allows for an orderly end, and something for the machine.
const stopWithin = 15 * time.Second

// end stops the service in good order.
func (s *soak) end(cmd *exec.Cmd, ended chan error) error {
	begin := time.Now()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(stopWithin):
		_ = cmd.Process.Kill()
		<-ended
		return errors.New("the service did not end in good order")
	}
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		return fmt.Errorf("the service ended with %d\n%s", code, s.tail())
	}
	fmt.Printf("\nSIGTERM: ended in good order after %.1f s; %s of processor time\n", time.Since(begin).Seconds(), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	return nil
}

// report says what came of it, and gives an error where something grew or broke.
func (s *soak) report(samples []sample) error {
	st := s.sim.Stats()
	var silent []string
	for _, f := range s.faults {
		if st.FaultsPlayed[f.Name] == 0 && !slices.Contains([]string{"rule", "mixture", "quota-shared"}, f.Name) { // the first two count as what they play, the last is a state
			silent = append(silent, f.Name)
		}
	}
	fmt.Printf("%d of %d faults were played", len(s.faults)-len(silent), len(s.faults))
	if len(silent) > 0 {
		fmt.Printf("; not: %s", strings.Join(silent, ", "))
	}
	fmt.Printf("; %d requests\n", st.Requests)
	var errs []error
	if st.CredentialsSentAbroad > 0 {
		errs = append(errs, fmt.Errorf("%d requests took credentials to another origin", st.CredentialsSentAbroad))
	}
	for id, c := range st.Clients {
		if c.Limit > 0 && c.MaxCountedInWindow > c.Limit {
			errs = append(errs, fmt.Errorf("client %s: %d requests in a window of %d", id, c.MaxCountedInWindow, c.Limit))
		}
	}
	for line, n := range s.bugs {
		errs = append(errs, fmt.Errorf("%d times: %.300s", n, line))
	}
	if s.o.svg != "" && len(samples) > 1 {
		if err := os.WriteFile(s.o.svg, []byte(drawing(samples)), 0o644); err != nil {
			errs = append(errs, err)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(append(errs, judge(samples))...)
}
