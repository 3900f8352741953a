package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/report"
	"adsync/internal/simulator"
)

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"2h":                   now.Add(-2 * time.Hour),
		"90m":                  now.Add(-90 * time.Minute),
		"7d":                   time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC),
		"0s":                   now,
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31T12:00:00Z": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
	} {
		if got, ok := parseSince(s, now); !ok || !got.Equal(want) {
			t.Errorf("%s: %s %v, want %s", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "d", "-2h", "-7d", "yesterday", "2026-13-01", "99999999999d", "1.5d"} {
		if got, ok := parseSince(s, now); ok {
			t.Errorf("%q is read as %s", s, got)
		}
	}
}

// Fault 121: however few files may be open, the sockets in use leave room for the rest, and something goes on.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, limit := rapid.IntRange(0, 5000).Draw(t, "connections"), rapid.Uint64Range(0, 1<<21).Draw(t, "limit")
		atOnce, inFlight := boundsFor(n, limit)
		if atOnce < 1 || inFlight < 1 || inFlight > 64 || atOnce > max(n, 1) {
			t.Fatalf("%d at once, %d in flight", atOnce, inFlight)
		}
		if limit > filesKept+4 && uint64(atOnce*inFlight) > limit-filesKept {
			t.Fatalf("%d sockets where %d files may be open", atOnce*inFlight, limit)
		}
		if limit >= 1<<20 && (atOnce != max(n, 1) || inFlight != 64) {
			t.Fatalf("%d at once, %d in flight without need", atOnce, inFlight)
		}
	})
}

func TestNearest(t *testing.T) {
	have := []string{"acme", "globex", "initech"}
	for name, want := range map[string]string{"acm": "acme", "Globex": "globex", "glbex": "globex", "zzz": "", "": "", "initechs": "initech"} {
		if got := nearest(name, have); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// A command that is not a sync ends with the signal's own code too.
func TestStoppedOutsideARun(t *testing.T) {
	t.Parallel()
	_, url := startPlatform(t, nil)
	env := environ(t, url)
	if r := run(t, within(t), env, "sync", "-q"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(&report.Stopped{Signal: "SIGTERM", Code: 143})
	for _, args := range [][]string{{"status"}, {"failures", "list"}, {"check"}, {"sync"}, {"migrate"}, {"simulate", "--listen", "127.0.0.1:0"}} {
		if r := run(t, ctx, env, args...); r.code != 143 || !strings.Contains(r.stderr, "adsync: exit 143 (stopped): ") {
			t.Errorf("%v: exit %d\n%s", args, r.code, r.stderr)
		}
	}
}

// Fault 115, in small: some of many clients hang; the others are done, and the command ends.
func TestManyClientsSomeHang(t *testing.T) {
	t.Parallel()
	const clients = 100
	hanging := []string{"c003", "c040", "c077"}
	_, url := startPlatform(t, func(c *simulator.Config) {
		c.Campaigns = 5
		c.Faults = []string{"hang:endpoint=list,times=0,on=1-,client=" + strings.Join(hanging, "|")}
	})
	var y strings.Builder
	fmt.Fprintf(&y, "database: sqlite:%s\ndefaults:\n  url: %s\n  quota: none\n  timeout: 1s\n  max_elapsed: 3s\n  credentials: {email: %s, password: \"${PW}\"}\nclients:\n",
		filepath.Join(t.TempDir(), "x.db"), url, testEmail)
	for i := range clients {
		fmt.Fprintf(&y, "  - {id: c%03d, connections: [{platform: adplatform}]}\n", i)
	}
	file := filepath.Join(t.TempDir(), "adsync.yaml")
	write(t, file, y.String())
	r := run(t, within(t), []string{"PW=" + testPassword}, "sync", "--config", file, "--json", "--log-level", "error")
	sum := summaryOf(t, r)
	if r.code != 3 || sum.Outcome != ads.Partial || len(sum.Connections) != clients {
		t.Errorf("exit %d, %s, %d connections\n%s", r.code, sum.Outcome, len(sum.Connections), r.stderr)
	}
	for _, c := range sum.Connections {
		hangs := strings.Contains(strings.Join(hanging, " "), c.Client)
		if (c.Outcome == ads.Failed) != hangs || (c.Outcome == ads.Complete) == hangs {
			t.Errorf("%s: %s", c.Client, c.Outcome)
		}
	}
}
