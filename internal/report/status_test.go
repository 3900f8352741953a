package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

func TestStatus(t *testing.T) {
	ref := func(c string) ads.Ref { return ads.Ref{ClientID: c, Connection: "adplatform"} }
	run := func(o ads.Outcome, msg string) *store.RunRecord {
		return &store.RunRecord{ID: "r", StartedAt: noon.Add(-time.Hour), FinishedAt: noon.Add(-50 * time.Minute), Outcome: o, Error: msg, Figures: ads.Figures{Listed: 10, Synced: 4}}
	}
	known := []store.ConnectionStatus{
		{Ref: ref("a-fresh"), Last: run(ads.Complete, ""), LastComplete: noon.Add(-50 * time.Minute), Campaigns: 1234},
		{Ref: ref("b-running"), Last: run("", ""), Running: true, Holder: "pid 7 on host", Since: noon.Add(-time.Minute)},
		{Ref: ref("b-waiting"), Last: run("", ""), Running: true, Holder: "pid 1", Since: noon.Add(-time.Minute), Wait: store.Wait{Reason: "quota of acme", Until: noon.Add(50 * time.Second)}},
		{Ref: ref("b-held-long"), Last: run("", ""), Running: true, Holder: "pid 1", Since: noon.Add(-time.Minute), Wait: store.Wait{Reason: "quota of acme", Until: noon.Add(5 * time.Minute)}},
		{Ref: ref("c-parked"), Last: run(ads.Interrupted, ""), Wait: store.Wait{Reason: "daily quota", Until: noon.Add(2 * time.Hour)}},
		{Ref: ref("d-failed"), Last: run(ads.Failed, "credentials refused\nsee"), OpenFailures: 3},
		{Ref: ref("e-dead"), Last: run("", "")},
		{Ref: ref("f-waited"), Last: run(ads.Interrupted, ""), Wait: store.Wait{Reason: "over", Until: noon.Add(-time.Hour)}},
		{
			Ref: ref("f-waits"), Last: run("", ""), Running: true, Holder: "pid 8 on host", Since: noon.Add(-time.Minute),
			Wait: store.Wait{Reason: "10 requests a minute", Until: noon.Add(40 * time.Second)},
		},
		{Ref: ref("g-partial"), Last: run(ads.Partial, "1 of 10 failed")},
	}
	doc := NewStatus("sqlite:x.db", known, []ads.Ref{ref("a-fresh"), ref("z-new")}, noon)
	want := map[string]State{
		"b-waiting": StateRunning, "b-held-long": StateRunning, "f-waits": StateRunning, "a-fresh": StateFresh, "b-running": StateRunning, "c-parked": StateParked, "d-failed": StateFailed, "e-dead": StateStopped, "f-waited": StateStopped,
		"g-partial": StatePartial, "z-new": StateNever,
	}
	if len(doc.Connections) != len(want) {
		t.Fatalf("%d connections", len(doc.Connections))
	}
	for _, c := range doc.Connections {
		if c.State != want[c.Client] {
			t.Errorf("%s is %s, want %s", c.Client, c.State, want[c.Client])
		}
	}
	var b bytes.Buffer
	if err := doc.Write(&b, noon); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"50 min ago", "1,234", "by pid 7 on host, since", "by pid 8 on host, since", "(40 s more): 10 requests a minute", "(2 h more): daily quota", "never synced", "credentials refused\\nsee",
		"4 of 10 synced, the next sync resumes it; not in the configuration",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if n := strings.Count(b.String(), "\n"); n != 2+len(want) {
		t.Errorf("%d lines in\n%s", n, b.String())
	}
	b.Reset()
	if err := WriteJSON(&b, doc); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"last_complete_at": "2026-03-04T11:10:00Z"`, `"parked_until": "2026-03-04T14:00:00Z"`, `"waits_until": "2026-03-04T12:00:40Z"`, `"waits_for": "10 requests a minute"`, `"last_complete_at": null`, `"last_run": null`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := NewStatus("x", nil, nil, noon).Write(&b, noon); err != nil || !strings.Contains(b.String(), "No connection") {
		t.Errorf("%v %s", err, b.String())
	}
}

func written(t *testing.T, doc Failures) string {
	t.Helper()
	var b strings.Builder
	if err := doc.Write(&b, noon); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFailures(t *testing.T) {
	doc := NewFailures([]store.Failure{{
		ID: 7, Ref: acme, Stream: "campaigns", EntityID: "campaign_7\x1b[2J", Class: ads.ClassPermanent, Message: strings.Repeat("long ", 100), Attempts: 5,
		FirstFailedAt: noon.Add(-time.Hour), LastFailedAt: noon.Add(-10 * time.Minute),
	}})
	var b bytes.Buffer
	if err := doc.Write(&b, noon); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, `campaign campaign_7\x1b[2J`) || strings.Contains(got, "\x1b") || !strings.Contains(got, "10 min ago") {
		t.Errorf("%s", got)
	}
	b.Reset()
	if err := WriteJSON(&b, doc); err != nil {
		t.Fatal(err)
	}
	var back map[string][]map[string]any
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if f := back["failures"][0]; f["entity_id"] != "campaign_7\x1b[2J" || f["hint"] != nil || f["last_failed_at"] != "2026-03-04T11:50:00Z" {
		t.Errorf("%v", f)
	}
	if f := back["failures"][0]; f["next_retry_at"] != nil {
		t.Errorf("%v", f)
	}
	if got := written(t, doc); !strings.Contains(got, "not by itself") || !strings.HasSuffix(got, "1 of them is no longer tried by itself; `adsync failures retry` tries it.\n") {
		t.Errorf("%s", got)
	}
	for _, tt := range []struct {
		f    store.Failure
		want string
	}{
		{store.Failure{Class: ads.ClassTransient, NextRetryAt: noon.Add(90 * time.Minute)}, "in 90 min"},
		{store.Failure{Class: ads.ClassTransient, NextRetryAt: noon}, "due"},
		{store.Failure{Class: ads.ClassBadRecord}, "when listed"},
		{store.Failure{Class: ads.ClassPermanent, ResolvedAt: noon}, "resolved"},
	} {
		if got := written(t, NewFailures([]store.Failure{tt.f})); !strings.Contains(got, tt.want) || strings.Contains(got, "of them") {
			t.Errorf("want %s: %s", tt.want, got)
		}
	}
	gone := store.Failure{Class: ads.ClassPermanent}
	if got := written(t, NewFailures([]store.Failure{gone, gone})); !strings.HasSuffix(got, "2 of them are no longer tried by themselves; `adsync failures retry` tries them.\n") {
		t.Errorf("%s", got)
	}
	b.Reset()
	if err := NewFailures(nil).Write(&b, noon); err != nil || b.String() != "No failures.\n" {
		t.Errorf("%v %s", err, b.String())
	}
	b.Reset()
	if err := WriteJSON(&b, NewFailures(nil)); err != nil || !strings.Contains(b.String(), `"failures": []`) {
		t.Errorf("%v %s", err, b.String())
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 ms", 350 * time.Millisecond: "350 ms", 999 * time.Millisecond: "1 s", 2400 * time.Millisecond: "2.4 s", 41 * time.Second: "41 s",
		59900 * time.Millisecond: "1 min", 665 * time.Second: "11 min 5 s", 3600 * time.Second: "1 h", 200 * time.Minute: "3 h 20 min",
		72 * time.Hour: "3 days", 31 * 365 * 24 * time.Hour: "31 years",
	} {
		if got := span(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
	if got := wait(100 * time.Millisecond); got != "1 s" {
		t.Errorf("%q", got)
	}
	if got := wait(40001 * time.Millisecond); got != "41 s" {
		t.Errorf("%q", got)
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

func TestStatusOfTheService(t *testing.T) {
	ref := ads.Ref{ClientID: "acme", Connection: "adplatform"}
	workers := []store.Worker{
		{Name: "host1 pid 7", Version: "v1", Alive: true, Runs: 1, BeatAt: noon},
		{Name: "host2 pid 9", Version: "v1", BeatAt: noon.Add(-time.Hour)},
	}
	schedule := func(r ads.Ref) (string, time.Time) {
		if r != ref {
			return "", time.Time{}
		}
		return "every 15m", noon.Add(10 * time.Minute)
	}
	doc := NewStatus("db", []store.ConnectionStatus{{Ref: ads.Ref{ClientID: "old", Connection: "adplatform"}}}, []ads.Ref{ref}, noon).Serving(workers, schedule)
	var b strings.Builder
	if err := doc.Write(&b, noon); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"worker host1 pid 7: alive, 1 run here\n", "worker host2 pid 9: not heard of since", "next", clock(noon.Add(10*time.Minute), noon), "–"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if c := doc.Connections[0]; *c.Schedule != "every 15m" || c.Next == nil || doc.Connections[1].Schedule != nil {
		t.Errorf("%+v", doc.Connections)
	}
	// Without a service at work nothing is announced.
	doc = NewStatus("db", nil, []ads.Ref{ref}, noon).Serving(workers[1:], schedule)
	b.Reset()
	if err := doc.Write(&b, noon); err != nil || doc.Connections[0].Next != nil || strings.Contains(b.String(), "next") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// Who has paused a connection and since when comes before what it waits for; a run that is still going comes before both.
func TestStatusPaused(t *testing.T) {
	ref := func(c string) ads.Ref { return ads.Ref{ClientID: c, Connection: "adplatform"} }
	pause := store.Pause{At: noon.Add(-90 * time.Minute), By: "login\x1b 1234"}
	doc := NewStatus("sqlite:x", []store.ConnectionStatus{
		{Ref: ref("going"), Running: true, Holder: "pid 1", Since: noon, Pause: pause},
		{Ref: ref("held"), Pause: pause, Wait: store.Wait{Reason: "daily quota", Until: noon.Add(time.Hour)}},
	}, []ads.Ref{ref("going"), ref("held")}, noon)
	doc = doc.Serving([]store.Worker{{Name: "w", Alive: true}}, func(ads.Ref) (string, time.Time) { return "every 15m", noon.Add(time.Minute) })
	if a, b := doc.Connections[0], doc.Connections[1]; a.State != StateRunning || a.PausedAt == nil || b.State != StatePaused || b.Next != nil || *b.PausedAt != "2026-03-04T10:30:00Z" || *b.PausedBy != pause.By {
		t.Errorf("%+v", doc.Connections)
	}
	var b strings.Builder
	if err := doc.Write(&b, noon); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); !strings.Contains(s, "paused") || !strings.Contains(s, "1234, since 10:30:00 (90 min ago)") || strings.Contains(s, "\x1b") {
		t.Errorf("%q", s)
	}
}
