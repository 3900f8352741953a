package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/engine"
	"adsync/internal/secret"
	"adsync/internal/store"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func complete(client string) engine.Summary {
	return engine.Summary{
		Ref: ads.Ref{ClientID: client, Connection: "adplatform"}, Platform: "adplatform", RunID: "0190-" + client, Outcome: ads.Complete,
		Figures:  ads.Figures{Listed: 100, Synced: 100, Unchanged: 0, Pages: 10, Requests: 112, Retries: 2, Waited: 659800 * time.Millisecond},
		Duration: 665300 * time.Millisecond, Phase: "closing the run",
	}
}

func failedWith(client string, err error) engine.Summary {
	s := complete(client)
	s.Outcome, s.Err, s.Phase = ads.Failed, err, "listing page 4"
	return s
}

// The document is the contract's, key by key.
func TestSummaryJSON(t *testing.T) {
	var b bytes.Buffer
	doc := NewSummary([]engine.Summary{complete("default")}, 665300*time.Millisecond, noon, NewRedactor())
	if err := WriteJSON(&b, doc); err != nil {
		t.Fatal(err)
	}
	want := `{
  "outcome": "complete",
  "duration_seconds": 665.3,
  "connections": [
    {
      "client": "default",
      "connection": "adplatform",
      "platform": "adplatform",
      "outcome": "complete",
      "run_id": "0190-default",
      "listed": 100,
      "synced": 100,
      "unchanged": 0,
      "failed": 0,
      "removed": 0,
      "pages": 10,
      "requests": 112,
      "throttled": 0,
      "retries": 2,
      "waited_seconds": 659.8,
      "duration_seconds": 665.3,
      "error": null
    }
  ]
}
`
	if b.String() != want {
		t.Errorf("got %s", b.String())
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0.0", time.Second: "1.0", 1500 * time.Millisecond: "1.5", 1234567 * time.Microsecond: "1.235", 1e6 * time.Second: "1000000.0"} {
		got, err := json.Marshal(Seconds(d))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s %v, want %s", d, got, err, want)
		}
	}
}

func TestOutcomeOfTheWhole(t *testing.T) {
	refused := &ads.Error{Class: ads.ClassAuth, Message: "credentials refused"}
	stopped := failedWith("c", &Stopped{Signal: "SIGTERM", Code: 143})
	stopped.Outcome = ads.Interrupted
	unopened := engine.Summary{Ref: acme, Err: &store.BusyError{Ref: acme, Holder: "pid 1", Since: noon}}
	for name, c := range map[string]struct {
		in   []engine.Summary
		want ads.Outcome
	}{
		"none":                {nil, ads.Failed},
		"all complete":        {[]engine.Summary{complete("a"), complete("b")}, ads.Complete},
		"one of two":          {[]engine.Summary{complete("a"), failedWith("b", refused)}, ads.Partial},
		"all failed":          {[]engine.Summary{failedWith("a", refused), failedWith("b", refused)}, ads.Failed},
		"stopped":             {[]engine.Summary{complete("a"), stopped}, ads.Interrupted},
		"no run could open":   {[]engine.Summary{unopened}, ads.Failed},
		"stopped before open": {[]engine.Summary{{Ref: acme, Err: &Stopped{Signal: "SIGINT", Code: 130}}}, ads.Interrupted},
	} {
		doc := NewSummary(c.in, time.Second, noon, NewRedactor())
		if doc.Outcome != c.want {
			t.Errorf("%s: %s, want %s", name, doc.Outcome, c.want)
		}
		for _, x := range doc.Connections {
			if x.Outcome == "" || (x.Outcome == ads.Complete) != (x.Error == nil) {
				t.Errorf("%s: outcome %q with error %v", name, x.Outcome, x.Error)
			}
		}
	}
}

func TestKindOf(t *testing.T) {
	api := func(c ads.Class) error { return fmt.Errorf("wrapped: %w", &ads.Error{Class: c, Message: "m"}) }
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{&engine.PartialError{Reasons: []string{"1 of 2 failed"}}, 3},
		{&engine.RemovalError{Gone: 9, Present: 10}, 5},
		{&engine.InternalError{ID: "x"}, 70},
		{api(ads.ClassAuth), 4},
		{api(ads.ClassTokenDead), 4},
		{api(ads.ClassDenied), 4},
		{api(ads.ClassDeferred), 5},
		{api(ads.ClassUnreachable), 5},
		{api(ads.ClassTransient), 5},
		{api(ads.ClassBadReply), 5},
		{api(ads.ClassPermanent), 5},
		{api(ads.ClassThrottled), 5},
		{api(ads.ClassInternal), 70},
		{&store.Error{Kind: store.KindFull}, 6},
		{fmt.Errorf("x: %w", &store.BusyError{}), 7},
		{store.ErrFenced, 7},
		{&Stopped{Signal: "SIGINT", Code: 130}, 130},
		{&Stopped{Signal: "SIGTERM", Code: 143}, 143},
		{context.DeadlineExceeded, 5},
		{context.Canceled, 130},
		{errors.New("what is this"), 70},
	} {
		if got := KindOf(c.err); got.Code != c.code {
			t.Errorf("%v: %d, want %d", c.err, got.Code, c.code)
		}
		x := ExplainError(c.err, noon)
		if c.err != nil && (x.Why == "" || (x.Next == "" && c.code != 3)) {
			t.Errorf("%v: explained as %+v", c.err, x)
		}
	}
}

func TestTogether(t *testing.T) {
	term := Kind{143, "stopped"}
	for _, c := range []struct {
		in   []Kind
		want int
	}{
		{nil, 0},
		{[]Kind{OK, OK}, 0},
		{[]Kind{Auth, Auth}, 4},
		{[]Kind{OK, Auth}, 3},
		{[]Kind{Upstream, Auth}, 3},
		{[]Kind{Partial, Partial}, 3},
		{[]Kind{Busy}, 7},
		{[]Kind{OK, Store, Auth}, 6},
		{[]Kind{Store, Internal, OK}, 70},
		{[]Kind{OK, term, Auth}, 143},
		{[]Kind{term, Store}, 6},
	} {
		if got := Together(c.in); got.Code != c.want {
			t.Errorf("%v: %d, want %d", c.in, got.Code, c.want)
		}
	}
}

// The totals are the sums of the rows, however many there are, and each connection that is not complete has its sentence.
func TestSummaryAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 900))
		var sums []engine.Summary
		var listed, synced, failed int64
		sentences := 0
		for i := range rapid.IntRange(2, 130).Draw(t, "connections") {
			s := complete(fmt.Sprintf("c%02d", i))
			s.Figures = ads.Figures{Synced: n.Draw(t, "synced"), Failed: n.Draw(t, "failed")}
			s.Figures.Listed = s.Figures.Synced + s.Figures.Failed
			if s.Figures.Failed > 0 {
				s.Outcome, s.Err = ads.Partial, &engine.PartialError{Reasons: []string{"some failed"}}
				sentences++
			}
			listed, synced, failed = listed+s.Figures.Listed, synced+s.Figures.Synced, failed+s.Figures.Failed
			sums = append(sums, s)
		}
		var b bytes.Buffer
		if err := NewSummary(sums, time.Second, noon, NewRedactor()).Write(&b); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		table, _, _ := strings.Cut(got, "\n\n")
		lines := strings.Split(strings.TrimSpace(table), "\n")
		cells := strings.Fields(lines[len(lines)-1])
		if want := []string{"total", count(listed), count(synced)}; cells[0] != want[0] || cells[2] != want[1] || cells[3] != want[2] || cells[5] != count(failed) {
			t.Fatalf("total %q, want listed %d, synced %d, failed %d in\n%s", cells, listed, synced, failed, got)
		}
		if n := strings.Count(got, "adsync failures list"); n != min(sentences, badShown) {
			t.Fatalf("%d sentences for %d", n, sentences)
		}
		if len(sums) > rowsShown && len(lines) > 4+min(sentences, badShown) {
			t.Fatalf("%d lines for %d connections", len(lines), len(sums))
		}
	})
}

func TestSummaryForPeople(t *testing.T) {
	var b bytes.Buffer
	deferred := failedWith("globex", &ads.Error{Class: ads.ClassDeferred, Message: "the quota is used up " + canary, Until: noon.Add(time.Hour)})
	if err := NewSummary([]engine.Summary{complete("acme"), deferred}, 665*time.Second, noon, NewRedactor(secret.New(canary))).Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `client  outcome   listed  synced  (unchanged)  failed  removed  pages  requests  throttled  retries  waited        took
acme    complete     100     100          (0)       0        0     10       112          0        2  11 min  11 min 5 s
globex  failed       100     100          (0)       0        0     10       112          0        2  11 min  11 min 5 s
total   partial      200     200          (0)       0        0     20       224          0        4  22 min  11 min 5 s

globex: upstream: The quota is used up ***. Its place is kept: run the same command again at or after ` + clock(noon.Add(time.Hour), noon) + `, or allow a longer wait with --max-wait.
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestMetrics(t *testing.T) {
	odd := complete("a\"b\\c\nd")
	odd.Outcome, odd.Err = ads.Failed, errors.New("campaign_7 said no")
	m := string(NewSummary([]engine.Summary{complete("acme"), odd}, time.Second, noon, NewRedactor()).Metrics(LastSuccess{acme: noon}))
	for _, want := range []string{
		`adsync_runs{client="acme",connection="adplatform",platform="adplatform",outcome="complete"} 1`,
		`adsync_runs{client="acme",connection="adplatform",platform="adplatform",outcome="failed"} 0`,
		`adsync_listed{client="acme",connection="adplatform",platform="adplatform"} 100`,
		`adsync_waited_seconds{client="acme",connection="adplatform",platform="adplatform"} 659.8`,
		`adsync_last_success_timestamp_seconds{client="acme",connection="adplatform",platform="adplatform"} 1772625600.000`,
		`client="a\"b\\c\nd"`,
		"# TYPE adsync_synced gauge",
	} {
		if !strings.Contains(m, want) {
			t.Errorf("no %s in\n%s", want, m)
		}
	}
	if strings.Contains(m, "campaign_7") {
		t.Error("an error's text is in the metrics")
	}
	if n := strings.Count(m, "adsync_last_success_timestamp_seconds{"); n != 1 {
		t.Errorf("%d last successes, one is known", n)
	}
	for _, line := range strings.Split(strings.TrimSpace(m), "\n") {
		if !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "adsync_") {
			t.Errorf("bad line %q", line)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "adsync.prom")
	for _, content := range []string{"first\n", "second\n"} {
		if err := WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Fatalf("%q %v", got, err)
		}
	}
	if err := WriteFile(filepath.Join(dir, "none", "x"), nil, 0o644); err == nil {
		t.Error("a missing directory is an error")
	}
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "taken"), []byte("x"), 0o644); err == nil {
		t.Error("a directory in the way is an error")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
