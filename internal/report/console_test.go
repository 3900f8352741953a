package report

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// syncBuffer is a writer that tests may read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// stuck is a reader of stderr that does not read until it is let go.
type stuck struct {
	syncBuffer
	free chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.free
	return s.syncBuffer.Write(p)
}

var acme = ads.Ref{ClientID: "acme", Connection: "adplatform"}

func event(d observe.Data) observe.Event {
	return observe.Event{At: time.Now(), Ref: acme, Platform: "adplatform", RunID: "run-1", Data: d}
}

func TestMilestonesInAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		c := NewConsole(ConsoleOptions{Out: &out, Format: FormatText, Level: slog.LevelInfo, Red: NewRedactor(secret.New(canary))})
		c.Begin([]ads.Ref{acme})
		c.Observe(event(observe.RunStarted{Trigger: "manual"}))
		c.Observe(event(observe.Attempt{Endpoint: "list campaigns", Try: 1, Status: 200}))
		c.Observe(event(observe.PageListed{Stream: "campaigns", Page: 3, Rows: 10, New: 10, Listed: 30, Total: ads.Some(int64(100)), More: true, Pass: 1}))
		c.Observe(event(observe.Progress{Figures: ads.Figures{Listed: 30, Synced: 12}, Pending: 18, Total: ads.Some(int64(100))}))
		c.Observe(event(observe.WaitStarted{
			Reason: observe.WaitQuota, Bucket: "acme", Used: 10, Limit: 10, Window: time.Minute, Until: time.Now().Add(41 * time.Second),
		}))
		c.Observe(event(observe.Retry{Endpoint: "list campaigns", Try: 1, Code: "http_503", Message: "Service " + canary, Delay: 1200 * time.Millisecond}))
		c.Observe(event(observe.RecordFailed{Stream: "campaigns", EntityID: "campaign_7\nforged", Class: ads.ClassPermanent, Message: "gone", Hint: "look"}))
		c.Observe(event(observe.RunFinished{Outcome: ads.Partial, Figures: ads.Figures{Listed: 100, Synced: 99, Failed: 1}, Duration: 665 * time.Second}))
		c.End()
		c.Close()
		got := out.String()
		for _, want := range []string{
			"sync started", "page 3: 30 of 100 listed", "waiting 41 s for the quota of acme, 10 of 10 used, next slot ", "(12 of 100 through)",
			"list campaigns: Service *** (try 1), again in 1.2 s", "campaign campaign_7 forged failed: gone", "hint=look",
			"sync partial in 11 min 5 s: 100 listed, 99 synced (0 unchanged), 1 failed", "client=acme connection=adplatform run_id=run-1",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		if strings.Contains(got, "200 in") {
			t.Error("each request is a debug line")
		}
		if n := strings.Count(got, "\n"); n != 6 {
			t.Errorf("%d lines in\n%s", n, got)
		}
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		c := NewConsole(ConsoleOptions{Out: &out, Format: FormatText, Level: slog.LevelInfo, Red: NewRedactor()})
		c.Begin([]ads.Ref{acme})
		c.Observe(event(observe.RunStarted{}))
		c.Observe(event(observe.Progress{Figures: ads.Figures{Listed: 100, Synced: 40}, Total: ads.Some(int64(100))}))
		c.Observe(event(observe.WaitStarted{Reason: observe.WaitServer, Bucket: "acme", Until: time.Now().Add(10 * time.Minute), Told: 10 * time.Minute}))
		begin := time.Now()
		last := begin
		for time.Since(begin) < 5*time.Minute {
			before := out.String()
			time.Sleep(time.Second)
			synctest.Wait()
			if out.String() != before {
				last = time.Now()
			}
			if quiet := time.Since(last); quiet > 30*time.Second {
				t.Fatalf("no line for %s", quiet)
			}
		}
		got := out.String()
		if !strings.Contains(got, "still syncing: 40 of 100 campaigns, waiting 9 min 35 s more, as the server asked of acme (it said 10 min)") {
			t.Errorf("heartbeat says\n%s", got)
		}
		c.Observe(event(observe.RunFinished{Outcome: ads.Complete}))
		c.End()
		n := len(out.String())
		time.Sleep(5 * time.Minute)
		if len(out.String()) != n {
			t.Error("a heartbeat after the end")
		}
		c.Close()
	})
}

// With many connections a heartbeat is one line about all.
func TestHeartbeatOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		c := NewConsole(ConsoleOptions{Out: &out, Format: FormatText, Level: slog.LevelInfo, Red: NewRedactor()})
		var refs []ads.Ref
		for i := range 120 {
			refs = append(refs, ads.Ref{ClientID: fmt.Sprintf("client%03d", i), Connection: "adplatform"})
		}
		c.Begin(refs)
		for i, r := range refs {
			c.tracker.apply(observe.Event{Ref: r, Data: observe.RunStarted{}})
			if i < 20 {
				c.tracker.apply(observe.Event{Ref: r, Data: observe.RunFinished{Outcome: ads.Failed, Figures: ads.Figures{Listed: 10, Synced: 10}}})
			}
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := out.String(); !strings.Contains(got, "still syncing: 20 of 120 connections done (20 not complete), 200 of 200 records") || strings.Count(got, "\n") != 1 {
			t.Errorf("%s", got)
		}
		c.End()
		c.Close()
	})
}

// A level that hides heartbeats must not make the writer spin.
func TestHeartbeatHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		c := NewConsole(ConsoleOptions{Out: &out, Format: FormatText, Level: slog.LevelError, Red: NewRedactor()})
		c.Begin([]ads.Ref{acme})
		time.Sleep(10 * time.Minute) // would not return if the loop were never idle
		c.End()
		c.Close()
		if out.String() != "" {
			t.Error(out.String())
		}
	})
}

// Fault 120: nobody reads stderr. Events pass, memory is bounded, the end comes, and what was lost is counted once somebody reads.
func TestBlockedReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{free: make(chan struct{})}
		c := NewConsole(ConsoleOptions{Out: out, Format: FormatText, Level: slog.LevelInfo, Red: NewRedactor()})
		c.Begin([]ads.Ref{acme})
		c.Log().Info("first")
		synctest.Wait() // the writer is stuck with it
		begin := time.Now()
		const events = 10 * queueLines
		for range events {
			c.Observe(event(observe.PageListed{Page: 1}))
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("events were held up for %s", d)
		}
		if c.queued > queueLines || c.lines.Len() > queueBytes {
			t.Errorf("%d lines, %d bytes queued", c.queued, c.lines.Len())
		}
		c.End()
		c.Close()
		if d := time.Since(begin); d > 2*closeWithin {
			t.Errorf("the end took %s", d)
		}
		close(out.free)
		<-c.done
		got := out.String()
		kept := int64(strings.Count(got, "page 1"))
		if want := fmt.Sprintf("… %s log lines dropped", count(events-kept)); !strings.Contains(got, want) {
			t.Errorf("%d kept, but no %q in the last of %d bytes: %q", kept, want, len(got), got[max(0, len(got)-200):])
		}
	})
}

type broken struct{ n int }

func (b *broken) Write([]byte) (int, error) { b.n++; return 0, errors.New("closed") }

// Fault 120: stderr is closed.
func TestClosedReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &broken{}
		c := NewConsole(ConsoleOptions{Out: out, Format: FormatJSON, Level: slog.LevelInfo, Red: NewRedactor()})
		for range 5 {
			c.Log().Info("line")
			synctest.Wait()
		}
		c.Flush()
		c.Close()
		if out.n != 1 {
			t.Errorf("tried %d times", out.n)
		}
	})
}

func TestLiveDisplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		var width atomic.Int64
		width.Store(100)
		c := NewConsole(ConsoleOptions{
			Out: &out, Format: FormatText, Level: slog.LevelWarn, Red: NewRedactor(), Live: true,
			Size: func() (int, int) { return int(width.Load()), 24 },
		})
		c.Begin([]ads.Ref{acme})
		c.Observe(event(observe.RunStarted{}))
		c.Observe(event(observe.PageListed{Stream: "campaigns", Page: 4, Listed: 40, Total: ads.Some(int64(100)), More: true, Pass: 1}))
		c.Observe(event(observe.Progress{Figures: ads.Figures{Listed: 40, Synced: 25}, Pending: 15, Total: ads.Some(int64(100))}))
		time.Sleep(time.Second)
		synctest.Wait()
		screen := render(t, out.String())
		if want := []string{"acme ██████░░░░░░░░░░░░░░░░░░    25/100  listing page 5"}; !equal(screen, want) {
			t.Errorf("screen %q", screen)
		}
		c.Log().Warn("above the bars")
		c.Observe(event(observe.WaitStarted{Reason: observe.WaitQuota, Bucket: "acme", Used: 10, Limit: 10, Until: time.Now().Add(41 * time.Second)}))
		time.Sleep(time.Second)
		synctest.Wait()
		screen = render(t, out.String())
		if len(screen) != 2 || !strings.Contains(screen[0], "above the bars") || !strings.Contains(screen[1], "waiting 40 s for the quota of acme, 10 of 10 used") {
			t.Errorf("screen %q", screen)
		}
		width.Store(30)
		time.Sleep(time.Second)
		synctest.Wait()
		screen = render(t, out.String())
		if len(screen) != 2 || len([]rune(screen[1])) > 29 {
			t.Errorf("narrow screen %q", screen)
		}
		c.End()
		if screen = render(t, out.String()); len(screen) != 1 {
			t.Errorf("the display is left behind: %q", screen)
		}
		c.Close()
	})
}

// render plays what was written to a terminal and gives the lines that are then on the screen.
func render(t *testing.T, s string) []string {
	t.Helper()
	lines := []string{""}
	row := 0
	for s != "" {
		var n int
		switch {
		case s[0] == '\n':
			row++
			if row == len(lines) {
				lines = append(lines, "")
			}
			s = s[1:]
		case s[0] == '\r':
			s = s[1:]
		case strings.HasPrefix(s, "\x1b[J"):
			lines = append(lines[:row], "")
			s = s[3:]
		case s[0] == '\x1b':
			if _, err := fmt.Sscanf(s, "\x1b[%dA", &n); err != nil {
				t.Fatalf("unknown sequence %.10q", s)
			}
			if row -= n; row < 0 {
				t.Fatal("the cursor went above the screen")
			}
			s = s[strings.IndexByte(s, 'A')+1:]
		default:
			end := strings.IndexAny(s, "\n\r\x1b")
			if end < 0 {
				end = len(s)
			}
			lines[row] += s[:end]
			s = s[end:]
		}
	}
	return lines[:len(lines)-1]
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
