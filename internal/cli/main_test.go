package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"adsync/internal/ads"
	"adsync/internal/report"
	"adsync/internal/simulator"
)

// asCommand makes this test binary behave as adsync, for tests that need a real process.
const asCommand = "ADSYNC_TEST_AS_COMMAND"

// panicWith makes it die of a panic with that value.
const panicWith = "ADSYNC_TEST_PANIC_WITH"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(process())
	}
	testscript.Main(m, map[string]func(){"adsync": func() { os.Exit(process()) }})
}

// process is what cmd/adsync does.
func process() int {
	NoCore()
	if v := os.Getenv(panicWith); v != "" {
		go panic(v)
	}
	ctx, stop := Signals(context.Background())
	defer stop()
	return Main(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
}

const (
	testEmail    = "ops@example.com"
	testPassword = "c4n4ry/p@ss+w0rd"
)

// startPlatform starts a simulator on loopback that goes with testEmail and testPassword, and gives it with its URL.
func startPlatform(t testing.TB, change func(*simulator.Config)) (*simulator.Server, string) {
	t.Helper()
	cfg := simulator.Config{Email: testEmail, Password: testPassword, Campaigns: 25, Seed: 7}
	if change != nil {
		change(&cfg)
	}
	sim, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = sim.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-done })
	return sim, "http://" + ln.Addr().String()
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// run runs adsync in process.
func run(t testing.TB, ctx context.Context, env []string, args ...string) result {
	t.Helper()
	var stdout, stderr safeBuffer
	code := Main(ctx, args, env, strings.NewReader(""), &stdout, &stderr)
	r := result{code, stdout.String(), stderr.String()}
	for what, s := range map[string]string{"stdout": r.stdout, "stderr": r.stderr} {
		if strings.Contains(s, testPassword) {
			t.Errorf("the password is on %s of %q:\n%s", what, args, s)
		}
	}
	return r
}

// safeBuffer is a buffer that may be read while it is written,.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	on func(all string) // called after each write with all that was written
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	n, err := b.b.Write(p)
	all := b.b.String()
	on := b.on
	b.mu.Unlock()
	if on != nil {
		on(all)
	}
	return n, err
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// environ describes one client by variables, with a database of its own.
func environ(t testing.TB, url string, more ...string) []string {
	t.Helper()
	return append([]string{
		"AD_PLATFORM_API_URL=" + url, "AD_PLATFORM_EMAIL=" + testEmail, "AD_PLATFORM_PASSWORD=" + testPassword, "AD_PLATFORM_QUOTA=none",
		"DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "adsync.db"),
	}, more...)
}

func summaryOf(t testing.TB, r result) report.Summary {
	t.Helper()
	var s struct {
		Outcome     string
		Connections []json.RawMessage
	}
	dec := json.NewDecoder(strings.NewReader(r.stdout))
	if err := dec.Decode(&s); err != nil {
		t.Fatalf("stdout is not JSON: %v\n%s\n%s", err, r.stdout, r.stderr)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("more than one document on stdout:\n%s", r.stdout)
	}
	var out report.Summary
	out.Outcome = "?"
	type conn struct {
		Client, Connection, Platform, Outcome string
		Run                                   string `json:"run_id"`
		Listed, Synced, Unchanged, Failed     int64
		Removed, Pages, Requests, Throttled   int64
		Retries                               int64
		Error                                 *string
	}
	for _, raw := range s.Connections {
		var c conn
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		if (c.Outcome == string(ads.Complete) || c.Outcome == string(ads.Partial)) && c.Listed != c.Synced+c.Failed {
			t.Errorf("%s: %d listed, %d synced, %d failed", c.Client, c.Listed, c.Synced, c.Failed)
		}
		out.Connections = append(out.Connections, report.ConnectionSummary{
			Client: c.Client, Connection: c.Connection, Platform: c.Platform, Outcome: ads.Outcome(c.Outcome), RunID: c.Run, Listed: c.Listed, Synced: c.Synced,
			Unchanged: c.Unchanged, Failed: c.Failed, Removed: c.Removed, Pages: c.Pages, Requests: c.Requests, Throttled: c.Throttled, Retries: c.Retries, Error: c.Error,
		})
	}
	out.Outcome = ads.Outcome(s.Outcome)
	return out
}

// within gives a context that ends long after any test should have.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
