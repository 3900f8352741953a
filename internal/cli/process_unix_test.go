//go:build unix

package cli

import (
	"bufio"
	"context"
	"database/sql"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"adsync/internal/simulator"
)

// spawn makes a real process of adsync, with a working directory of its own.
func spawn(t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t), exe, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), asCommand+"=1"), env...)
	return cmd
}

// follow reads a process's stderr to its end and calls when as soon as a line has text in it. all gives what was read, once done is closed.
func follow(t testing.TB, r io.Reader, text string, when func()) (done chan struct{}, all func() string) {
	t.Helper()
	done = make(chan struct{})
	var b strings.Builder
	go func() {
		defer close(done)
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, 1<<20)
		for seen := false; sc.Scan(); {
			b.WriteString(sc.Text() + "\n")
			if !seen && strings.Contains(sc.Text(), text) {
				seen = true
				when()
			}
		}
	}()
	return done, b.String
}

// Faults 110 and 111: the first signal ends in good order; a second one at once, without a last word.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*simulator.Config)
		first  os.Signal
		second bool
		at     string
		code   int
		line   string
	}{
		{name: "SIGTERM while waiting", first: syscall.SIGTERM, at: "next slot", code: 143, line: "adsync: exit 143 (stopped): client default, "},
		{name: "SIGINT while waiting", first: syscall.SIGINT, at: "next slot", code: 130, line: "adsync: exit 130 (stopped): client default, "},
		{
			name: "twice while a request hangs", first: syscall.SIGTERM, second: true, at: "page 1", code: 143,
			change: func(c *simulator.Config) { c.Faults = []string{"sync-hangs:id=campaign_1"} },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, url := startPlatform(t, func(s *simulator.Config) {
				s.Quota = simulator.Quota{N: 20, Window: time.Minute}
				if c.change != nil {
					c.change(s)
				}
			})
			cmd := spawn(t, environ(t, url, "AD_PLATFORM_QUOTA=20/1m"), "sync")
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r, w := io.Pipe()
			done, all := follow(t, io.TeeReader(stderr, w), c.at, func() { _ = cmd.Process.Signal(c.first) })
			done2, _ := follow(t, r, "no new requests", func() {
				if c.second {
					_ = cmd.Process.Signal(c.first)
				}
			})
			<-done
			w.Close()
			<-done2
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit %d\n%s", got, all())
			}
			if c.second == strings.Contains(all(), "adsync: exit") || !strings.Contains(all(), c.line) {
				t.Errorf("%s", all())
			}
		})
	}
}

// Fault 120: whoever reads stdout has gone. The sync is done all the same.
func TestStdoutClosed(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, nil)
	path := filepath.Join(t.TempDir(), "adsync.db")
	cmd := spawn(t, environ(t, url, "DATABASE_URL=sqlite:"+path), "sync")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd.Stdout = w
	err = cmd.Run()
	w.Close()
	if got := cmd.ProcessState.ExitCode(); got != outputLost {
		t.Errorf("exit %d, %v", got, err)
	}
	if n := campaigns(t, path); n != 25 {
		t.Errorf("%d campaigns are stored", n)
	}
}

// Fault 120: nobody reads stderr, and its pipe is full. The sync is done, and ends.
func TestStderrBlocked(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, func(c *simulator.Config) { c.Campaigns = 300 })
	path := filepath.Join(t.TempDir(), "adsync.db")
	cmd := spawn(t, environ(t, url, "DATABASE_URL=sqlite:"+path), "sync", "--log-level", "debug")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stderr = w
	err = cmd.Run()
	w.Close()
	if err != nil {
		t.Errorf("%v", err)
	}
	if n := campaigns(t, path); n != 300 {
		t.Errorf("%d campaigns are stored", n)
	}
	// The last line did not get through, which shows that the pipe was full.
	if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || strings.Contains(string(b), "sync complete") {
		t.Errorf("%d bytes were in the pipe: it was never full (%v)", len(b), err)
	}
}

func campaigns(t testing.TB, path string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(context.Background(), "SELECT count(*) FROM campaigns WHERE removed_at IS NULL").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The demo ends well by itself, twice in a row, and leaves a configuration that works.
func TestDemo(t *testing.T) {
	t.Parallel()
	first := careless(t, []string{"AD_PLATFORM_QUOTA=nonsense", "DATABASE_URL=nonsense"}, "demo")
	var out, log strings.Builder
	first.Stdout, first.Stderr = &out, &log
	if err := first.Run(); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	for _, want := range []string{
		"total    complete     300     300          (0)       0        0 ", "globex         100", "never more than 25 of 25 in any 3s for one client, ",
		"adsync status --config adsync-demo/adsync.yaml",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	for _, want := range []string{"again in", "for the quota of acme", "page 10: 100 of 100 listed"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("a person does not see %q in\n%s", want, log.String())
		}
	}
	if bad, n := open(t, first.Dir); len(bad) > 0 || n < 3 {
		t.Errorf("of %d files: %q", n, bad)
	}
	if n := campaigns(t, filepath.Join(first.Dir, "adsync-demo", "adsync.db")); n != 300 {
		t.Errorf("%d campaigns are stored", n)
	}
	status := spawn(t, nil, "status", "--config", "adsync-demo/adsync.yaml", "--strict")
	status.Dir = first.Dir
	if got, err := status.Output(); err != nil || strings.Count(string(got), "fresh") != 3 {
		t.Errorf("%v\n%s", err, got)
	}
	again := spawn(t, nil, "demo", "--json")
	again.Dir = first.Dir
	got, err := again.Output()
	if err != nil {
		t.Fatal(err)
	}
	if sum := summaryOf(t, result{stdout: string(got)}); len(sum.Connections) != 3 || sum.Connections[1].Unchanged != 100 {
		t.Errorf("the second time: %+v", sum)
	}
}
