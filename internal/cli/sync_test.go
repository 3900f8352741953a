package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	neturl "net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/engine"
	"adsync/internal/report"
	"adsync/internal/secret"
	"adsync/internal/simulator"
	"adsync/internal/store/sqlite"
)

func TestSyncComplete(t *testing.T) {
	t.Parallel()
	sim, url := startPlatform(t, nil)
	env := environ(t, url)
	r := run(t, within(t), env, "sync", "--json")
	sum := summaryOf(t, r)
	if r.code != 0 || sum.Outcome != ads.Complete || sum.Connections[0].Listed != 25 || sum.Connections[0].Synced != 25 || sum.Connections[0].Error != nil {
		t.Fatalf("exit %d: %+v\n%s", r.code, sum, r.stderr)
	}
	for _, want := range []string{"sync started", "page 1: 10 of 25 listed", "page 3: 25 of 25 listed", "sync complete in", "client=default connection=adplatform run_id=" + sum.Connections[0].RunID} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in the log:\n%s", want, r.stderr)
		}
	}
	if got := sim.Stats().Clients[""]; got == nil || got.Syncs != 25 {
		t.Errorf("the platform saw %+v", got)
	}
	again := summaryOf(t, run(t, within(t), env, "sync", "--json", "--quiet"))
	if c := again.Connections[0]; c.Unchanged != 25 || c.RunID == sum.Connections[0].RunID {
		t.Errorf("the second time: %+v", c)
	}
	human := run(t, within(t), env, "sync", "--log-level", "error")
	if human.code != 0 || human.stderr != "" || !regexp.MustCompile(`(?m)^default +complete +25 +25 +\(25\) +0 +0 +3 +28 `).MatchString(human.stdout) {
		t.Errorf("exit %d\n%s\n%s", human.code, human.stdout, human.stderr)
	}
	quiet := run(t, within(t), env, "sync", "-q")
	if quiet.code != 0 || quiet.stdout != "" || quiet.stderr != "" {
		t.Errorf("quiet: exit %d, %q, %q", quiet.code, quiet.stdout, quiet.stderr)
	}
}

// The exit codes of the contract, each with its one line that names code, kind, client and phase.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	refusing := func(faults ...string) func(*simulator.Config) {
		return func(c *simulator.Config) { c.Faults = faults }
	}
	for _, c := range []struct {
		name   string
		change func(*simulator.Config)
		env    []string
		args   []string
		code   int
		line   string
	}{
		{name: "config: fault 133", env: []string{"AD_PLATFORM_PASSWORD="}, code: 2, line: `^adsync: exit 2 \(config\): `},
		{name: "config: a client that is not there", args: []string{"--client", "acme"}, code: 2, line: `^adsync: exit 2 \(config\): environment has no client acme`},
		{name: "partial: fault 91", change: refusing("sync-always-500:id=campaign_7"), code: 3, line: `^adsync: exit 3 \(partial\): client default, closing the run, \d+ requests: 1 of 25 failed`},
		{name: "auth: fault 3", change: func(c *simulator.Config) { c.Password = "another" }, code: 4, line: `^adsync: exit 4 \(auth\): client default, .*, 0 requests: .*credentials refused`},
		{name: "upstream: fault 40", env: []string{"AD_PLATFORM_API_URL=http://" + closed.Addr().String(), "AD_PLATFORM_MAX_ELAPSED=2s"}, code: 5, line: `^adsync: exit 5 \(upstream\): client default, .*127\.0\.0\.1.*Run the same command again to resume`},
		{name: "store: fault 94", env: []string{"DATABASE_URL=postgres://u:" + neturl.QueryEscape(testPassword) + "@" + closed.Addr().String() + "/x"}, code: 6, line: `^adsync: exit 6 \(store\): client default, opening the database, 0 requests: .*127\.0\.0\.1`},
		{name: "store: fault 102", env: []string{"DATABASE_URL=sqlite:" + junk(t)}, code: 6, line: `^adsync: exit 6 \(store\): .*not a database`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sim, url := startPlatform(t, c.change)
			r := run(t, within(t), environ(t, url, c.env...), append([]string{"sync", "--json", "--log-level", "error"}, c.args...)...)
			sum := summaryOf(t, r)
			lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
			if r.code != c.code || !regexp.MustCompile(c.line).MatchString(lines[len(lines)-1]) {
				t.Errorf("exit %d, last line %q, want %d and %s", r.code, lines[len(lines)-1], c.code, c.line)
			}
			if sum.Outcome == ads.Complete || (len(sum.Connections) > 0 && sum.Connections[0].Error == nil) {
				t.Errorf("%+v", sum)
			}
			if c.code == 2 || c.code == 6 {
				if n := sim.Stats().Requests; n != 0 {
					t.Errorf("%d requests were sent", n)
				}
			}
		})
	}
}

func junk(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "junk.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// One connection's trouble never stops another, and the codes mix as the contract says.
func TestConnectionsAreIsolated(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, func(c *simulator.Config) { c.Faults = []string{"sync-always-500:id=campaign_3,client=initech"} })
	file := filepath.Join(t.TempDir(), "adsync.yaml")
	write(t, file, fmt.Sprintf(`
database: sqlite:%s
defaults:
  url: %s
  quota: none
  credentials: {email: %s, password: "${PW}"}
clients:
  - id: acme
    connections: [{platform: adplatform}]
  - id: globex
    connections: [{platform: adplatform, credentials: {email: %s, password: "${WRONG}"}}]
  - id: initech
    connections: [{platform: adplatform}]
`, filepath.Join(t.TempDir(), "x.db"), url, testEmail, testEmail))
	env := []string{"PW=" + testPassword, "WRONG=not-the-password"}
	r := run(t, within(t), env, "sync", "--config", file, "--json", "--log-level", "error")
	sum := summaryOf(t, r)
	if r.code != 3 || sum.Outcome != ads.Partial {
		t.Errorf("exit %d, %s\n%s", r.code, sum.Outcome, r.stderr)
	}
	got := map[string]ads.Outcome{}
	for _, c := range sum.Connections {
		got[c.Client] = c.Outcome
	}
	if got["acme"] != ads.Complete || got["globex"] != ads.Failed || got["initech"] != ads.Partial {
		t.Errorf("%v", got)
	}
	if !strings.Contains(r.stderr, "adsync: exit 3 (partial): 2 of 3 connections are not complete, such as client ") || strings.Contains(r.stderr, "not-the-password") {
		t.Errorf("%s", r.stderr)
	}
	if r := run(t, within(t), env, "sync", "--config", file, "--client", "globex", "-q"); r.code != 4 {
		t.Errorf("globex alone: exit %d", r.code)
	}
	if r := run(t, within(t), env, "sync", "--config", file, "--client", "acme", "-q"); r.code != 0 {
		t.Errorf("acme alone: exit %d", r.code)
	}
	r = run(t, within(t), env, "status", "--config", file, "--json")
	var status report.Status
	if err := json.Unmarshal([]byte(r.stdout), &status); err != nil {
		t.Fatal(err)
	}
	states := map[string]report.State{}
	for _, c := range status.Connections {
		states[c.Client] = c.State
	}
	if states["acme"] != report.StateFresh || states["globex"] != report.StateFailed || states["initech"] != report.StatePartial {
		t.Errorf("%v", states)
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Fault 113: a second sync of the same client names the first; --wait queues up behind it.
func TestBusy(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, nil)
	path := filepath.Join(t.TempDir(), "adsync.db")
	env := environ(t, url, "DATABASE_URL=sqlite:"+path)
	st, err := sqlite.Open(within(t), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.Migrate(within(t)); err != nil {
		t.Fatal(err)
	}
	lease, err := st.Acquire(within(t), ads.Ref{ClientID: "default", Connection: "adplatform"})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, within(t), env, "sync", "--json")
	if sum := summaryOf(t, r); r.code != 7 || !strings.Contains(*sum.Connections[0].Error, fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("exit %d: %+v", r.code, sum)
	}
	if r := run(t, within(t), env, "status"); !regexp.MustCompile(fmt.Sprintf(`running +never +0 +0 +by pid %d`, os.Getpid())).MatchString(r.stdout) {
		t.Errorf("status says\n%s", r.stdout)
	}
	waiting := make(chan result)
	queued := make(chan struct{})
	var stdout, stderr safeBuffer
	stderr.on = once(queued, "queued up behind another process")
	go func() {
		code := Main(within(t), []string{"sync", "--wait"}, env, strings.NewReader(""), &stdout, &stderr)
		waiting <- result{code, stdout.String(), stderr.String()}
	}()
	<-queued
	if err := st.Release(within(t), lease); err != nil {
		t.Fatal(err)
	}
	if r := <-waiting; r.code != 0 {
		t.Errorf("exit %d after waiting:\n%s", r.code, r.stderr)
	}
}

// once closes ch when text is first seen.
func once(ch chan struct{}, text string) func(string) {
	seen := false
	return func(all string) {
		if !seen && strings.Contains(all, text) {
			seen = true
			close(ch)
		}
	}
}

// Fault 110: a signal while listing, and while syncing: an orderly end with its code, and the next run resumes.
func TestStoppedAndResumed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		when string
		sig  report.Stopped
	}{
		{"page 1: 10 of 25 listed", report.Stopped{Signal: "SIGTERM", Code: 143}},
		{"next slot", report.Stopped{Signal: "SIGINT", Code: 130}},
	} {
		t.Run(c.when, func(t *testing.T) {
			t.Parallel()
			sim, url := startPlatform(t, func(s *simulator.Config) { s.Quota = simulator.Quota{N: 10, Window: 2 * time.Second} })
			env := environ(t, url, "AD_PLATFORM_QUOTA=10/2s")
			ctx, cancel := context.WithCancelCause(within(t))
			defer cancel(nil)
			seen := make(chan struct{})
			var stdout, stderr safeBuffer
			stderr.on = once(seen, c.when)
			go func() { <-seen; cancel(&c.sig) }()
			code := Main(ctx, []string{"sync", "--json"}, env, strings.NewReader(""), &stdout, &stderr)
			sum := summaryOf(t, result{code, stdout.String(), stderr.String()})
			last := sum.Connections[0]
			if code != c.sig.Code || last.Outcome != ads.Interrupted || sum.Outcome != ads.Interrupted {
				t.Fatalf("exit %d: %+v\n%s", code, sum, stderr.String())
			}
			if !strings.Contains(stderr.String(), fmt.Sprintf("adsync: exit %d (stopped): client default, ", code)) ||
				!strings.Contains(stderr.String(), fmt.Sprintf("stopped by %s after page %d", c.sig.Signal, last.Pages)) {
				t.Errorf("%s", stderr.String())
			}
			r := run(t, within(t), env, "sync", "--json")
			end := summaryOf(t, r).Connections[0]
			if r.code != 0 || end.RunID != last.RunID || end.Synced != 25 || end.Requests < last.Requests {
				t.Errorf("exit %d: %+v after %+v", r.code, end, last)
			}
			got := sim.Stats().Clients[""]
			if len(got.Synced) != 25 {
				t.Errorf("%d campaigns were synced", len(got.Synced))
			}
			for id, n := range got.Synced {
				if n != 1 {
					t.Errorf("%s was synced %d times", id, n)
				}
			}
		})
	}
}

// Fault 27: a wait beyond --max-wait ends with 5 and its place kept, and status shows it as parked.
func TestDeferred(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, func(c *simulator.Config) { c.Quota = simulator.Quota{N: 10, Window: time.Hour} })
	env := environ(t, url, "AD_PLATFORM_QUOTA=10/1h")
	r := run(t, within(t), env, "sync", "--max-wait", "2s", "--json")
	sum := summaryOf(t, r)
	if c := sum.Connections[0]; r.code != 5 || c.Outcome != ads.Interrupted || c.Listed == 0 {
		t.Errorf("exit %d: %+v", r.code, c)
	}
	if !strings.Contains(r.stderr, "or allow a longer wait with --max-wait") {
		t.Errorf("%s", r.stderr)
	}
	if r := run(t, within(t), env, "status"); !regexp.MustCompile(`default +adplatform +parked .* until .*`).MatchString(r.stdout) {
		t.Errorf("status says\n%s", r.stdout)
	}
}

func TestMetricsFile(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, nil)
	file := filepath.Join(t.TempDir(), "adsync.prom")
	if r := run(t, within(t), environ(t, url), "sync", "-q", "--metrics-file", file); r.code != 0 {
		t.Fatalf("exit %d\n%s", r.code, r.stderr)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`adsync_runs{client="default",connection="adplatform",platform="adplatform",outcome="complete"} 1`,
		`adsync_synced{client="default",connection="adplatform",platform="adplatform"} 25`,
		`adsync_last_success_timestamp_seconds{client="default",connection="adplatform",platform="adplatform"} `,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, func(c *simulator.Config) { c.Faults = []string{"sync-always-500:id=campaign_7,times=5"} })
	env := environ(t, url)
	if r := run(t, within(t), env, "failures", "list"); r.code != 0 || r.stdout != "No failures.\n" {
		t.Errorf("before anything: exit %d, %s", r.code, r.stdout)
	}
	if r := run(t, within(t), env, "sync", "-q"); r.code != 3 {
		t.Fatalf("exit %d\n%s", r.code, r.stderr)
	}
	var list report.Failures
	r := run(t, within(t), env, "failures", "list", "--json", "--client", "default", "--since", "1h", "--class", "transient")
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list.Failures) != 1 || list.Failures[0].EntityID != "campaign_7" {
		t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
	}
	for _, args := range [][]string{{"--client", "nobody"}, {"--class", "permanent"}, {"--since", "2099-01-01"}, {"999"}} {
		if r := run(t, within(t), env, append([]string{"failures", "list"}, args...)...); r.code != 0 || r.stdout != "No failures.\n" {
			t.Errorf("%v: exit %d, %s", args, r.code, r.stdout)
		}
	}
	r = run(t, within(t), env, "failures", "retry", "--json")
	if c := summaryOf(t, r).Connections[0]; r.code != 0 || c.Listed != 1 || c.Synced != 1 || c.Requests != 1 {
		t.Errorf("retry: exit %d, %+v\n%s", r.code, c, r.stderr)
	}
	if r := run(t, within(t), env, "failures", "list"); r.stdout != "No failures.\n" {
		t.Errorf("after the retry: %s", r.stdout)
	}
	if r := run(t, within(t), env, "failures", "retry"); r.code != 0 || r.stdout != "Nothing to retry.\n" {
		t.Errorf("exit %d, %s", r.code, r.stdout)
	}
}

func TestFailuresDrop(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, func(c *simulator.Config) { c.Faults = []string{"sync-always-500:id=campaign_7|campaign_9"} })
	env := environ(t, url)
	if r := run(t, within(t), env, "sync", "-q"); r.code != 3 {
		t.Fatalf("exit %d\n%s", r.code, r.stderr)
	}
	if r := run(t, within(t), env, "failures", "drop", "--class", "permanent"); r.stdout != "0 failures dropped.\n" {
		t.Errorf("%s", r.stdout)
	}
	if r := run(t, within(t), env, "failures", "drop"); r.code != 0 || r.stdout != "2 failures dropped.\n" {
		t.Errorf("exit %d, %s", r.code, r.stdout)
	}
	if r := run(t, within(t), env, "failures", "list"); r.stdout != "No failures.\n" {
		t.Errorf("%s", r.stdout)
	}
}

// Fault 116: a panic stays with its connection and has an id, and no value of the data.
func TestPanicIsContained(t *testing.T) {
	t.Parallel()
	var stdout, stderr safeBuffer
	a := &app{ctx: within(t), stdout: &output{w: &stdout}, stderr: &stderr, red: report.NewRedactor()}
	a.LogFormat = "text"
	a.console = report.NewConsole(a.consoleOptions("sync"))
	c := config.Connection{
		Ref: ads.Ref{ClientID: "acme", Connection: "adplatform"}, Platform: "adplatform", URL: "http://127.0.0.1:1", Password: secret.New(testPassword), PageSize: 10,
	}
	sum := a.runOne(nil, &connect.Maker{}, c, syncOptions{}) // no store
	code := a.end(a.ending([]engine.Summary{sum}))
	a.console.Close()
	if code != 70 || !regexp.MustCompile(`adsync: exit 70 \(internal\): client acme, .*internal error [0-9a-f]{8}.*report`).MatchString(stderr.String()) {
		t.Errorf("exit %d\n%s", code, stderr.String())
	}
}

// Every output of a run with faults for credentials is searched for them, in every form and at the most talkative level.
func TestNoSecretInAnyOutput(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"", "credentials-wrong", "token-dies:after=10", "token-crlf", "token-html"} {
		t.Run("fault "+fault, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p, url := startPlatform(t, func(c *simulator.Config) {
				if fault != "" {
					c.Faults = []string{fault}
				}
			})
			metrics := filepath.Join(dir, "m.prom")
			env := environ(t, url, "DATABASE_URL=sqlite:"+filepath.Join(dir, "x.db"), "AD_PLATFORM_MAX_ELAPSED=1s")
			out := ""
			for _, args := range [][]string{
				{"check", "--log-level", "debug"},
				{"check", "--json"},
				{"sync", "--log-level", "debug", "--metrics-file", metrics},
				{"sync", "--log-format", "json", "--log-level", "debug", "--json"},
				{"status", "--json"},
				{"failures", "list", "--json"},
				{"platforms"},
			} {
				r := run(t, within(t), env, args...)
				out += r.stdout + r.stderr
			}
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				out += string(b)
			}
			secrets := []secret.Text{secret.New(testPassword), secret.New(testEmail + ":" + testPassword)}
			for _, token := range p.IssuedTokens() {
				secrets = append(secrets, secret.New(token))
			}
			if fault == "" && len(secrets) < 3 {
				t.Errorf("no token was issued:\n%s", out)
			}
			clean := report.NewRedactor(secrets...)
			if got := clean.String(out); got != out {
				i := 0
				for out[i] == got[i] {
					i++
				}
				t.Errorf("a secret is in the output, near %q", out[max(0, i-100):i])
			}
		})
	}
}
