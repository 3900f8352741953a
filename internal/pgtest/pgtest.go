// Package pgtest starts a private PostgreSQL server for tests and benches: its own data directory in the temporary directory, listening on
// loopback only, gone when the program that started it is gone, however that ends.
//
// It is for tests and benches only and imports nothing of adsync.
package pgtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options say what kind of server to start.
type Options struct {
	// Durable leaves fsync on. Off, a server is quicker and still survives the death of its processes, but not a power cut.
	Durable bool
	// Settings are further lines of postgresql.conf.
	Settings map[string]string
}

// The superuser of every server. It is let in without asking for the password, which stands in each address all the same, so that a test can
// look for it where it must not be. Other roles are asked for theirs.
const (
	User     = "adsync"
	Password = "pg-c4n4ry-password"
)

// Install says how to get what is missing.
const Install = "PostgreSQL is needed: sudo apt-get install -y postgresql (or set ADSYNC_TEST_NO_POSTGRES=1 to leave these tests out)"

const (
	startTimeout = 30 * time.Second
	portTries    = 5
)

// Server is a running server.
type Server struct {
	dir  string // of the data and the log
	bin  string
	port int
	opts Options

	mu       sync.Mutex
	proc     *process
	database int
}

// Start starts a server. The caller stops it, or ends.
func Start(ctx context.Context, o Options) (*Server, error) {
	bin, err := findBin()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "adsync-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, opts: o}
	if err := s.start(ctx); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// findBin looks for the directory of initdb, the newest of Debian's first.
func findBin() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	for _, dir := range append(dirs, filepath.SplitList(os.Getenv("PATH"))...) {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New(Install)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := handOver(s.dir); err != nil {
		return err
	}
	initdb := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", User, "-A", "trust", "--no-sync", "--no-instructions", "--locale=C.UTF-8", "-E", "UTF8")
	asUser(initdb)
	initdb.Dir = s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	if err := s.configure(); err != nil {
		return err
	}
	var err error
	for range portTries {
		if s.port, err = freePort(); err != nil {
			return err
		}
		if err = s.launch(ctx); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (s *Server) configure() error {
	set := map[string]string{
		"listen_addresses": "'127.0.0.1'", "unix_socket_directories": "''", "max_connections": "60", "shared_buffers": "64MB",
		"log_min_messages": "warning", "max_wal_size": "1GB", "password_encryption": "'scram-sha-256'",
	}
	if !s.opts.Durable {
		set["fsync"], set["full_page_writes"] = "off", "off"
	}
	for k, v := range s.opts.Settings {
		set[k] = v
	}
	var conf strings.Builder
	for k, v := range set {
		fmt.Fprintf(&conf, "%s = %s\n", k, v)
	}
	hba := "host all " + User + " 127.0.0.1/32 trust\nhost replication " + User + " 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	for name, text := range map[string]string{"postgresql.auto.conf": conf.String(), "pg_hba.conf": hba} {
		// The file is there already and belongs to the server's user; its content is replaced in place.
		if err := os.WriteFile(filepath.Join(s.data(), name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// launch starts the server process and waits until it answers.
func (s *Server) launch(ctx context.Context) error {
	proc, err := startProcess(s.bin, s.dir, s.data(), s.port)
	if err != nil {
		return err
	}
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			s.proc = proc
			return conn.Close(ctx)
		}
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-t.C:
		case <-proc.ended:
			t.Stop()
			return fmt.Errorf("the server ended at once: %s", s.logTail())
		case <-ctx.Done():
			t.Stop()
			proc.stop()
			return fmt.Errorf("the server does not answer: %w: %s", err, s.logTail())
		}
	}
}

func (s *Server) logTail() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// URL is the address of a database, with the superuser's name and password.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(User, Password), Host: s.Addr(), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Addr is where the server listens.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Dir is where the server keeps its data and its log.
func (s *Server) Dir() string { return s.dir }

// Create makes an empty database and gives its address; drop removes it and whoever uses it.
func (s *Server) Create(ctx context.Context) (dsn string, drop func(context.Context) error, err error) {
	s.mu.Lock()
	s.database++
	name := fmt.Sprintf("test%d", s.database)
	s.mu.Unlock()
	if err := s.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", nil, err
	}
	return s.URL(name), func(ctx context.Context) error { return s.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") }, nil
}

// Exec runs statements as the superuser in the maintenance database.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, q := range statements {
		if _, err := conn.Exec(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

// TerminateBackends ends all connections to a database as an administrator would, and says how many there were.
func (s *Server) TerminateBackends(ctx context.Context, database string) (int, error) {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var n int
	err = conn.QueryRow(ctx, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()", database).Scan(&n)
	return n, err
}

// Kill ends the server's processes with SIGKILL. Restart starts it again.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.kill()
		s.proc = nil
	}
}

// Shutdown ends the server in order, cutting connections. Restart starts it again.
func (s *Server) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.fast()
		select {
		case <-s.proc.ended:
		case <-time.After(startTimeout):
		}
		s.proc.stop()
		s.proc = nil
	}
}

// Restart starts the server again on its port, after Kill or Shutdown. Settings replace those of Start.
func (s *Server) Restart(ctx context.Context, settings map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return errors.New("the server is running")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.opts.Settings = settings
	if err := s.configure(); err != nil {
		return err
	}
	return s.launch(ctx)
}

// Stop ends the server and removes its data.
func (s *Server) Stop() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// Tail is the end of the server's log.
func (s *Server) Tail() string { return s.logTail() }

var shared = struct {
	once sync.Once
	s    *Server
	err  error
}{}

// Shared is one server for all tests of a binary. It ends with the process.
func Shared() (*Server, error) {
	shared.once.Do(func() { shared.s, shared.err = Start(context.Background(), Options{}) })
	return shared.s, shared.err
}

// Need skips a test where the environment says that there is no PostgreSQL on purpose.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv("ADSYNC_TEST_NO_POSTGRES") == "1" {
		t.Skip("ADSYNC_TEST_NO_POSTGRES is set")
	}
}

// New makes an empty database on the shared server and removes it with the test. A test fails where there is no PostgreSQL.
func New(t testing.TB) (dsn string) {
	t.Helper()
	Need(t)
	s, err := Shared()
	if err != nil {
		t.Fatal(err)
	}
	return NewOn(t, s)
}

// NewOn is New on a given server.
func NewOn(t testing.TB, s *Server) (dsn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	dsn, drop, err := s.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		if err := drop(ctx); err != nil {
			t.Errorf("dropping the test's database: %v", err)
		}
	})
	return dsn
}

// StartFor starts a server for one test.
func StartFor(t testing.TB, o Options) *Server {
	t.Helper()
	Need(t)
	s, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}
