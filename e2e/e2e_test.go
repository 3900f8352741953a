package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"adsync/internal/simulator"
)

// program is the built adsync.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "adsync-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "adsync")
		if runtime.GOOS == "windows" {
			program += ".exe"
		}
		build := exec.Command("go", "build", "-o", program, "adsync/cmd/adsync")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// platform is a simulated platform on loopback whose requests a test can watch.
type platform struct {
	*simulator.Server
	URL string

	mu     sync.Mutex
	before func(*http.Request) // ahead of each request
	after  func(*http.Request) // once it is answered
}

func newPlatform(t *testing.T, tune func(*simulator.Config)) *platform {
	t.Helper()
	c := simulator.Default()
	c.ListFailRate503, c.ListSilenceRate, c.SyncLatency = 0, 0, 10*time.Millisecond
	if tune != nil {
		tune(&c)
	}
	s, err := simulator.New(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &platform{Server: s}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before, after := p.hooks()
		if before != nil {
			before(r)
		}
		s.ServeHTTP(w, r)
		if after != nil {
			after(r)
		}
	}))
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	p.URL = srv.URL
	return p
}

func (p *platform) hooks() (before, after func(*http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.before, p.after
}

func (p *platform) watch(before, after func(*http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.after = before, after
}

// bed is a working directory with the environment of one client.
type bed struct {
	t   *testing.T
	dir string
	env []string
}

func newBed(t *testing.T, p *platform, env ...string) *bed {
	return &bed{t: t, dir: t.TempDir(), env: append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(),
		"AD_PLATFORM_API_URL=" + p.URL, "AD_PLATFORM_EMAIL=" + simulator.DefaultEmail, "AD_PLATFORM_PASSWORD=" + simulator.DefaultPassword,
		"AD_PLATFORM_CLIENT_ID=acme",
	}, env...)}
}

// command is adsync with these arguments, not yet started.
func (b *bed) command(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	return cmd, &out, &errs
}

// run runs adsync to its end, within a minute.
func (b *bed) run(args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	cmd, out, errs := b.command(args...)
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	for _, s := range []string{out.String(), errs.String()} {
		if strings.Contains(s, simulator.DefaultPassword) {
			b.t.Errorf("the password is in the output:\n%s", s)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// summary is the contract's document.
type summary struct {
	Outcome     string  `json:"outcome"`
	Duration    float64 `json:"duration_seconds"`
	Connections []struct {
		Client     string  `json:"client"`
		Connection string  `json:"connection"`
		Platform   string  `json:"platform"`
		Outcome    string  `json:"outcome"`
		RunID      string  `json:"run_id"`
		Listed     int     `json:"listed"`
		Synced     int     `json:"synced"`
		Unchanged  int     `json:"unchanged"`
		Failed     int     `json:"failed"`
		Removed    int     `json:"removed"`
		Pages      int     `json:"pages"`
		Requests   int     `json:"requests"`
		Throttled  int     `json:"throttled"`
		Retries    int     `json:"retries"`
		Waited     float64 `json:"waited_seconds"`
		Duration   float64 `json:"duration_seconds"`
		Error      *string `json:"error"`
	} `json:"connections"`
}

func (b *bed) sync(args ...string) (int, summary, string) {
	b.t.Helper()
	code, out, errs := b.run(append([]string{"sync", "--json"}, args...)...)
	var s summary
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		b.t.Fatalf("exit %d, stdout is not the contract's document (%v):\n%s\nstderr:\n%s", code, err, out, errs)
	}
	return code, s, errs
}

// db opens the bed's database for reading.
func (b *bed) db() *sql.DB {
	b.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.dir, "adsync.db")+"?_pragma=busy_timeout(5000)&mode=ro")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { db.Close() })
	return db
}

// ids are the campaigns that the database holds.
func ids(t *testing.T, db *sql.DB) map[string]bool {
	t.Helper()
	got := map[string]bool{}
	rows, err := db.QueryContext(context.Background(), "SELECT id FROM campaigns")
	if err != nil {
		if strings.Contains(err.Error(), "no such table") {
			return got
		}
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		if got[id] {
			t.Errorf("%s is stored twice", id)
		}
		got[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

func one[T any](t *testing.T, db *sql.DB, query string, args ...any) (v T) {
	t.Helper()
	if err := db.QueryRowContext(context.Background(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}
