package pgtest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/pgtest"
)

const roleOwner = "ADSYNC_PGTEST_OWNER"

// The owner of a server, started as another process, says where the server is and waits to be killed.
func TestMain(m *testing.M) {
	if os.Getenv(roleOwner) != "" {
		s, err := pgtest.Start(context.Background(), pgtest.Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s.Addr(), s.Dir())
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func query(t *testing.T, dsn, q string) (out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := conn.QueryRow(ctx, q).Scan(&out); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return out
}

func TestNewIsEmptyAndPrivate(t *testing.T) {
	a, b := pgtest.New(t), pgtest.New(t)
	if a == b {
		t.Fatal("one database for two tests")
	}
	query(t, a, "WITH x AS (SELECT 1) SELECT 'ok' FROM x")
	if got := query(t, a, "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'"); got != "0" {
		t.Errorf("%s tables in a new database", got)
	}
	if got := query(t, a, "SELECT current_setting('server_encoding') || ' ' || current_setting('listen_addresses')"); got != "UTF8 127.0.0.1" {
		t.Error(got)
	}
}

func TestKillAndRestart(t *testing.T) {
	s := pgtest.StartFor(t, pgtest.Options{Durable: true})
	ctx := context.Background()
	if err := s.Exec(ctx, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(){s.Kill, s.Shutdown} {
		end()
		if c, err := net.Dial("tcp", s.Addr()); err == nil {
			_ = c.Close()
			t.Error("somebody listens after the server's end")
		}
		if err := s.Restart(ctx, map[string]string{"work_mem": "'5MB'"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := query(t, s.URL("postgres"), "SELECT n::text || current_setting('work_mem') || current_setting('fsync') FROM kept"); got != "15MBon" {
		t.Error(got)
	}
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if n, err := s.TerminateBackends(ctx, "postgres"); err != nil || n != 1 {
		t.Errorf("%d connections ended: %v", n, err)
	}
	if err := conn.Ping(ctx); err == nil {
		t.Error("the connection was not ended")
	}
}

// A server does not outlive its owner, and leaves nothing behind.
func TestOwnerKilled(t *testing.T) {
	pgtest.Need(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleOwner+"=1")
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	end := time.After(20 * time.Second)
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		_, statErr := os.Stat(dir)
		if err != nil && os.IsNotExist(statErr) {
			return
		}
		select {
		case <-end:
			t.Fatalf("the server %s (%v) or its directory %s (%v) is still there", addr, err, dir, statErr)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
