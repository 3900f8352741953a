package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

var acme = ads.Ref{ClientID: "acme", Connection: "adplatform"}

// clock is a settable one.
type clock struct{ t time.Time }

func newClock() *clock                 { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time        { return c.t }
func (c *clock) after(d time.Duration) { c.t = c.t.Add(d) }

// bench is metrics with a clock.
type bench struct {
	*Metrics
	*clock
	t testing.TB
}

func newBench(t testing.TB, o Options) *bench {
	b := &bench{clock: newClock(), t: t}
	o.Now = b.now
	b.Metrics = New(o)
	return b
}

// on tells the metrics of something about acme.
func (b *bench) on(d observe.Data) { b.of(acme, d) }

func (b *bench) of(ref ads.Ref, d observe.Data) {
	b.Observe(observe.Event{At: b.now(), Ref: ref, Platform: "adplatform", RunID: "r-1", Data: d})
}

// series are all samples of a scrape of our own families, written as Prometheus would: name{label="value",…}.
func (b *bench) series() map[string]float64 {
	b.t.Helper()
	b.refresh(context.Background())
	return samples(b.t, b.Metrics)
}

func samples(t testing.TB, m *Metrics) map[string]float64 {
	t.Helper()
	all, err := m.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range all {
		if !strings.HasPrefix(f.GetName(), "adsync_") {
			continue
		}
		for _, s := range f.GetMetric() {
			v := s.GetGauge().GetValue() + s.GetCounter().GetValue()
			if h := s.GetHistogram(); h != nil {
				v = float64(h.GetSampleCount())
			}
			out[f.GetName()+labelText(s.GetLabel())] = v
		}
	}
	return out
}

func labelText(ls []*dto.LabelPair) string {
	var parts []string
	for _, l := range ls {
		if l.GetValue() != "" {
			parts = append(parts, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// per is the name of a series of acme's.
func per(name string, label ...string) string { return perOf(acme, name, label...) }

func perOf(ref ads.Ref, name string, label ...string) string {
	ls := map[string]string{"client": ref.ClientID, "connection": ref.Connection, "platform": "adplatform"}
	for i := 0; i+1 < len(label); i += 2 {
		ls[label[i]] = label[i+1]
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(ls)) {
		parts = append(parts, fmt.Sprintf("%s=%q", k, ls[k]))
	}
	return name + "{" + strings.Join(parts, ",") + "}"
}

// want holds series to values; -1 wants no such series.
func (b *bench) want(want map[string]float64) {
	b.t.Helper()
	got := b.series()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		v, ok := got[name]
		switch w := want[name]; {
		case w == -1 && ok:
			b.t.Errorf("%s is %v, but should not be there", name, v)
		case w == -1:
		case !ok:
			b.t.Errorf("%s is missing; there are %q", name, slices.Sorted(maps.Keys(got)))
		case v != w:
			b.t.Errorf("%s is %v, want %v", name, v, w)
		}
	}
}

func TestRun(t *testing.T) {
	b := newBench(t, Options{Version: "1.2"})
	b.Configure([]Connection{{Ref: acme, Platform: "adplatform", Interval: 15 * time.Minute}})
	b.want(map[string]float64{
		per("adsync_schedule_interval_seconds"): 900, per("adsync_running"): 0, per("adsync_freshness_seconds"): -1, per("adsync_listed_total"): -1,
		`adsync_connections{platform="adplatform",state="idle"}`: 1,
	})
	b.on(observe.RunStarted{Trigger: "schedule"})
	b.on(observe.Progress{Figures: ads.Figures{Listed: 10, Pages: 1, Requests: 1}, Pending: 10})
	b.after(time.Minute)
	b.on(observe.Progress{Figures: ads.Figures{Listed: 10, Synced: 4, Unchanged: 1, Pages: 1, Requests: 5, Throttled: 1}, Pending: 6})
	b.after(30 * time.Second)
	b.want(map[string]float64{
		per("adsync_running"): 1, per("adsync_listed_total"): 10, per("adsync_synced_total"): 4, per("adsync_pending"): 6, per("adsync_data_age_seconds"): 30,
		per("adsync_throttled_total"): 1, per("adsync_runs_total", "outcome", "complete"): 0,
	})
	// The listing starts again: figures that fall count for nothing until they are above what they were.
	b.on(observe.Progress{Figures: ads.Figures{Listed: 2, Synced: 4, Pages: 2, Requests: 6}})
	b.on(observe.Progress{Figures: ads.Figures{Listed: 12, Synced: 11, Failed: 1, Removed: 2, Pages: 2, Requests: 16}})
	b.on(observe.RunFinished{Outcome: ads.Partial, Figures: ads.Figures{Listed: 12, Synced: 11, Failed: 1, Removed: 2, Pages: 2, Requests: 16}, Duration: 90 * time.Second})
	b.want(map[string]float64{
		per("adsync_running"): 0, per("adsync_listed_total"): 12, per("adsync_synced_total"): 11, per("adsync_failed_total"): 1, per("adsync_removed_total"): 2,
		per("adsync_requests_total"): 16, per("adsync_pages_total"): 2, per("adsync_pending"): 0, per("adsync_freshness_seconds"): -1,
		per("adsync_runs_total", "outcome", "partial"): 1, `adsync_run_duration_seconds{outcome="partial",platform="adplatform"}`: 1,
	})
	// Another run, the second life of one that listed 100 elsewhere.
	b.on(observe.RunStarted{Trigger: "schedule", Resumed: true, Before: ads.Figures{Listed: 100, Synced: 50, Requests: 60}})
	b.on(observe.RunFinished{Outcome: ads.Complete, Figures: ads.Figures{Listed: 100, Synced: 100, Requests: 111}})
	b.after(time.Hour)
	b.want(map[string]float64{
		per("adsync_listed_total"): 12, per("adsync_synced_total"): 61, per("adsync_requests_total"): 67,
		per("adsync_freshness_seconds"): 3600, per("adsync_data_age_seconds"): 3600,
		per("adsync_last_success_timestamp_seconds"): float64(b.now().Add(-time.Hour).Unix()), per("adsync_runs_total", "outcome", "complete"): 1,
		`adsync_stale_connections{platform="adplatform"}`: 1,
	})
}

func TestWaits(t *testing.T) {
	b := newBench(t, Options{})
	b.on(observe.RunStarted{})
	b.on(observe.WaitStarted{Reason: observe.WaitQuota})
	b.after(10 * time.Second)
	b.on(observe.WaitStarted{Reason: observe.WaitQuota}) // the same one, until later
	b.on(observe.WaitStarted{Reason: observe.WaitServer})
	b.after(5 * time.Second)
	b.want(map[string]float64{
		per("adsync_waited_seconds_total", "reason", "quota"): 15, per("adsync_waiting", "reason", "quota"): 1,
		per("adsync_waited_seconds_total", "reason", "server"): 5,
	})
	b.on(observe.WaitEnded{Reason: observe.WaitQuota})
	b.after(5 * time.Second)
	b.on(observe.RunFinished{Outcome: ads.Failed}) // ends all
	b.after(time.Hour)
	b.on(observe.WaitEnded{Reason: observe.WaitServer}) // late
	b.want(map[string]float64{
		per("adsync_waited_seconds_total", "reason", "quota"): 15, per("adsync_waiting", "reason", "quota"): 0,
		per("adsync_waited_seconds_total", "reason", "server"): 10, per("adsync_waiting", "reason", "server"): 0,
	})
}

func TestParked(t *testing.T) {
	b := newBench(t, Options{})
	b.Configure([]Connection{{Ref: acme, Platform: "adplatform"}})
	until := b.now().Add(11 * time.Hour)
	b.on(observe.Parked{Kind: observe.ParkAuth, Reason: "credentials refused", Until: until})
	b.want(map[string]float64{
		per("adsync_parked_until_timestamp_seconds", "reason", "auth"):        float64(until.Unix()),
		`adsync_connections{platform="adplatform",state="parked"}`:            1,
		`adsync_parked_connections{platform="adplatform",reason="auth"}`:      1,
		`adsync_parked_connections{platform="adplatform",reason="quota"}`:     0,
		per("adsync_parked_until_timestamp_seconds", "reason", "quota"):       -1,
		per("adsync_parked_until_timestamp_seconds", "reason", "something"):   -1,
		per("adsync_schedule_interval_seconds"):                               -1,
		`adsync_stale_connections{platform="adplatform"}`:                     0,
		`adsync_token_renewals_total{platform="adplatform",reason="refused"}`: 0,
	})
	b.on(observe.Parked{Kind: "something new", Until: until})
	b.want(map[string]float64{`adsync_parked_connections{platform="adplatform",reason="other"}`: 1})
	b.on(observe.RunStarted{})
	b.want(map[string]float64{
		per("adsync_parked_until_timestamp_seconds", "reason", "other"): -1, `adsync_connections{platform="adplatform",state="running"}`: 1,
	})
}

// TestStandings: what the database says holds where it is newer than what this process saw.
func TestStandings(t *testing.T) {
	b := newBench(t, Options{})
	b.Configure([]Connection{{Ref: acme, Platform: "adplatform", Interval: time.Hour}})
	var stands []Standing
	var reads int
	var failing error
	b.Source(Sources{
		Standings: func(context.Context) ([]Standing, error) { reads++; return stands, failing },
		Jobs:      ByState(func(context.Context) (map[ads.Class]int, error) { return map[ads.Class]int{"queued": 3}, nil }),
		Workers:   func() int { return 2 },
		Runs:      func() int { return 1 },
	})
	long := b.now().Add(-2 * time.Hour)
	stands = []Standing{
		{Ref: acme, LastComplete: long, LastData: long.Add(time.Hour), Running: true, OpenFailures: 7, Campaigns: 40},
		{Ref: ads.Ref{ClientID: "gone"}, Running: true}, // not in the configuration
	}
	b.want(map[string]float64{
		per("adsync_freshness_seconds"): 7200, per("adsync_data_age_seconds"): 3600, per("adsync_running"): 1, per("adsync_open_failures"): 7, per("adsync_campaigns"): 40,
		`adsync_queue_jobs{state="queued"}`: 3, "adsync_workers": 2, "adsync_worker_runs": 1, `adsync_source_age_seconds{source="connections"}`: 0,
	})
	// Read at most every 15 seconds.
	stands = []Standing{{Ref: acme, LastComplete: long, Parked: observe.ParkQuota, ParkedUntil: b.now().Add(time.Hour)}}
	b.after(14 * time.Second)
	b.want(map[string]float64{per("adsync_running"): 1})
	b.after(time.Second)
	b.want(map[string]float64{
		per("adsync_running"): 0, per("adsync_parked_until_timestamp_seconds", "reason", "quota"): float64(b.now().Add(time.Hour - 15*time.Second).Unix()),
	})
	if reads != 2 {
		t.Errorf("the database was read %d times", reads)
	}
	// What happens here is known at once, and the database's older word does not undo it.
	b.after(time.Second)
	b.on(observe.RunStarted{})
	b.want(map[string]float64{per("adsync_running"): 1, per("adsync_parked_until_timestamp_seconds", "reason", "quota"): -1})
	b.on(observe.RunFinished{Outcome: ads.Complete})
	b.want(map[string]float64{per("adsync_running"): 0, per("adsync_freshness_seconds"): 0, per("adsync_parked_until_timestamp_seconds", "reason", "quota"): -1})
	// A failure leaves what was known.
	failing = errors.New("the database is down")
	b.after(time.Minute)
	b.want(map[string]float64{
		per("adsync_freshness_seconds"): 60, `adsync_source_errors_total{source="connections"}`: 1, `adsync_source_age_seconds{source="connections"}`: 61,
	})
}

// TestSlowSource: a database that is slow to tell is asked less often.
func TestSlowSource(t *testing.T) {
	b := newBench(t, Options{})
	reads := 0
	b.Source(Sources{Standings: func(context.Context) ([]Standing, error) { reads++; b.after(2 * time.Second); return nil, nil }})
	for range 10 {
		b.series()
		b.after(15 * time.Second)
	}
	if reads != 2 {
		t.Errorf("read %d times in 150 seconds, at 2 seconds each", reads)
	}
}

// TestScrapeDoesNotWait: a scrape while another one reads goes on without.
func TestScrapeDoesNotWait(t *testing.T) {
	m := New(Options{})
	entered, leave := make(chan struct{}), make(chan struct{})
	m.Source(Sources{Standings: func(context.Context) ([]Standing, error) { close(entered); <-leave; return nil, nil }})
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
	}()
	<-entered
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "adsync_build_info") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	close(leave)
	<-done
}

// TestNeverComplete: a connection that was never complete is stale once it has been known for long enough, by an earlier process too.
func TestNeverComplete(t *testing.T) {
	b := newBench(t, Options{})
	b.Configure([]Connection{{Ref: acme, Platform: "adplatform", Interval: time.Minute}})
	stale := `adsync_stale_connections{platform="adplatform"}`
	b.after(10 * time.Minute)
	b.want(map[string]float64{stale: 0, per("adsync_connection_seen_timestamp_seconds"): float64(b.now().Add(-10 * time.Minute).Unix())})
	b.after(time.Second)
	b.want(map[string]float64{stale: 1})

	b = newBench(t, Options{})
	b.Configure([]Connection{{Ref: acme, Platform: "adplatform", Interval: time.Minute}})
	b.Source(Sources{Standings: func(context.Context) ([]Standing, error) {
		return []Standing{{Ref: acme, Since: b.now().Add(-time.Hour)}}, nil
	}})
	b.want(map[string]float64{stale: 1})
}

func TestForget(t *testing.T) {
	b := newBench(t, Options{})
	globex := ads.Ref{ClientID: "globex", Connection: "adplatform"}
	conf := []Connection{{Ref: acme, Platform: "adplatform"}, {Ref: globex, Platform: "adplatform"}}
	b.Configure(conf)
	for _, ref := range []ads.Ref{acme, globex} {
		b.of(ref, observe.RunStarted{})
		b.of(ref, observe.QuotaState{Bucket: ref.ClientID, Used: 1, Limit: 10, Window: time.Minute})
	}
	b.Forget(acme)
	b.on(observe.Progress{Figures: ads.Figures{Listed: 1}}) // its run still ends
	b.on(observe.RunFinished{Outcome: ads.Interrupted})
	for name := range b.series() {
		if strings.Contains(name, "acme") {
			t.Errorf("still there: %s", name)
		}
	}
	b.want(map[string]float64{perOf(globex, "adsync_running"): 1, `adsync_run_duration_seconds{outcome="interrupted",platform="adplatform"}`: 1})
	b.Configure(conf[:1]) // acme is back, globex is gone
	b.want(map[string]float64{per("adsync_running"): 0, perOf(globex, "adsync_running"): -1, per("adsync_listed_total"): -1})
}

// TestManyConnections: beyond the limit there are sums by platform, which go on when a connection is removed.
func TestManyConnections(t *testing.T) {
	b := newBench(t, Options{MaxConnections: 3})
	var conf []Connection
	for i := range 4 {
		conf = append(conf, Connection{Ref: ads.Ref{ClientID: fmt.Sprint("c", i), Connection: "adplatform"}, Platform: "adplatform", Interval: time.Duration(i+1) * time.Hour})
	}
	b.Configure(conf)
	for i, c := range conf {
		b.of(c.Ref, observe.RunStarted{})
		b.of(c.Ref, observe.QuotaState{Bucket: c.Ref.ClientID, Used: 1, Limit: 10, Window: time.Minute})
		b.of(c.Ref, observe.RunFinished{Outcome: ads.Complete, Figures: ads.Figures{Listed: 10, Synced: 10}})
		if i == 1 {
			b.of(c.Ref, observe.WaitStarted{Reason: observe.WaitQuota})
		}
		b.after(time.Minute)
	}
	label := `{platform="adplatform"}`
	want := map[string]float64{
		"adsync_connection_detail": 0, "adsync_listed_total" + label: 40, "adsync_freshness_seconds" + label: 240,
		"adsync_schedule_interval_seconds" + label: 3600, `adsync_runs_total{outcome="complete",platform="adplatform"}`: 4,
		`adsync_waited_seconds_total{platform="adplatform",reason="quota"}`: 180,
	}
	b.want(want)
	for name := range b.series() {
		if strings.Contains(name, "client=") || strings.Contains(name, "adsync_quota") {
			t.Errorf("a connection of its own: %s", name)
		}
	}
	b.Configure(append(conf[1:], Connection{Ref: acme, Platform: "adplatform", Interval: time.Hour}))
	b.want(map[string]float64{"adsync_listed_total" + label: 40, "adsync_freshness_seconds" + label: 180})
	b.Configure(conf[1:])
	b.want(map[string]float64{"adsync_connection_detail": 1, perOf(conf[1].Ref, "adsync_listed_total"): 10, "adsync_listed_total" + label: -1})
}

func TestQuota(t *testing.T) {
	b := newBench(t, Options{})
	b.on(observe.QuotaState{Bucket: "acme", Used: 10, Limit: 10, Window: time.Minute, NextFree: b.now().Add(20 * time.Second)})
	b.after(5 * time.Second)
	b.want(map[string]float64{per("adsync_quota_used"): -1, per("adsync_quota_used", "bucket", "acme"): -1}) // nothing was worked on yet
	b.on(observe.RunStarted{})
	b.want(map[string]float64{
		per("adsync_quota_used", "bucket", "acme"): 10, per("adsync_quota_limit", "bucket", "acme"): 10, per("adsync_quota_next_free_seconds", "bucket", "acme"): 15,
		per("adsync_quota_window_seconds", "bucket", "acme"): 60,
	})
	b.after(55 * time.Second) // and nothing was sent
	b.want(map[string]float64{per("adsync_quota_used", "bucket", "acme"): 0, per("adsync_quota_next_free_seconds", "bucket", "acme"): 0})
}

func TestPlatformSeries(t *testing.T) {
	b := newBench(t, Options{})
	b.on(observe.Attempt{Endpoint: "list campaigns", Status: 200, Duration: time.Second})
	b.on(observe.Attempt{Endpoint: "list campaigns", Status: 503, Class: ads.ClassTransient})
	b.on(observe.Attempt{Endpoint: "list campaigns", Class: ads.ClassUnreachable})
	b.on(observe.Attempt{Endpoint: "list campaigns", Status: 999, Class: "made up"})
	b.on(observe.Retry{Endpoint: "list campaigns", Class: ads.ClassTransient})
	b.on(observe.RequestEnded{Endpoint: "list campaigns"})
	b.on(observe.RequestEnded{Endpoint: "list campaigns", Class: ads.ClassDenied})
	b.on(observe.RequestEnded{Endpoint: "list campaigns", Code: "stopped"})
	b.on(observe.TokenRenewed{Reason: "refused"})
	b.on(observe.RecordFailed{Class: ads.ClassBadRecord})
	b.on(observe.Note{Level: observe.Warn, Code: "total_disagrees"})
	b.on(observe.Note{Level: observe.Info, Code: "slowing_down"})
	b.on(observe.Circuit{Open: true, Host: "ads.example.com"})
	b.want(map[string]float64{
		`adsync_attempts_total{class="ok",endpoint="list campaigns",platform="adplatform"}`:                  1,
		`adsync_attempts_total{class="transient",endpoint="list campaigns",platform="adplatform"}`:           1,
		`adsync_attempts_total{class="other",endpoint="list campaigns",platform="adplatform"}`:               1,
		`adsync_attempt_duration_seconds{endpoint="list campaigns",platform="adplatform",status="2xx"}`:      1,
		`adsync_attempt_duration_seconds{endpoint="list campaigns",platform="adplatform",status="none"}`:     1,
		`adsync_attempt_duration_seconds{endpoint="list campaigns",platform="adplatform",status="other"}`:    1,
		`adsync_request_duration_seconds{endpoint="list campaigns",outcome="ok",platform="adplatform"}`:      1,
		`adsync_request_duration_seconds{endpoint="list campaigns",outcome="failed",platform="adplatform"}`:  1,
		`adsync_request_duration_seconds{endpoint="list campaigns",outcome="stopped",platform="adplatform"}`: 1,
		`adsync_token_renewals_total{platform="adplatform",reason="refused"}`:                                1,
		`adsync_record_failures_total{class="bad_record",platform="adplatform"}`:                             1,
		`adsync_circuit_open{host="ads.example.com"}`:                                                        1,
		per("adsync_findings_total", "code", "total_disagrees"):                                              1,
		per("adsync_findings_total", "code", "slowing_down"):                                                 -1,
		per("adsync_retries_total", "class", "transient"):                                                    1,
	})
	b.on(observe.Circuit{Host: "ads.example.com"})
	b.want(map[string]float64{`adsync_circuit_open{host="ads.example.com"}`: 0, `adsync_circuit_opened_total{host="ads.example.com"}`: 1})
}

// anyEvent is whatever could be told, also by code that does not keep to its sets.
func anyEvent(t *rapid.T) observe.Data {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "list campaigns", "quota", "auth", "throttled", "total_disagrees"}))
	n := rapid.Int64Range(0, 1000)
	figures := func() ads.Figures {
		return ads.Figures{Listed: n.Draw(t, "listed"), Synced: n.Draw(t, "synced"), Failed: n.Draw(t, "failed"), Requests: n.Draw(t, "requests"), Pages: n.Draw(t, "pages")}
	}
	class := ads.Class(text.Draw(t, "class"))
	at := newClock().now().Add(time.Duration(n.Draw(t, "at")) * time.Second)
	return rapid.SampledFrom([]observe.Data{
		observe.RunStarted{Before: figures()},
		observe.Progress{Figures: figures(), Pending: n.Draw(t, "pending")},
		observe.RunFinished{Outcome: rapid.SampledFrom(outcomes[:]).Draw(t, "outcome"), Figures: figures(), Duration: time.Duration(n.Draw(t, "took"))},
		observe.WaitStarted{Reason: observe.WaitReason(text.Draw(t, "reason"))},
		observe.WaitEnded{Reason: observe.WaitReason(text.Draw(t, "reason"))},
		observe.Attempt{Endpoint: text.Draw(t, "endpoint"), Status: int(n.Draw(t, "status")), Class: class},
		observe.Retry{Class: class},
		observe.RequestEnded{Endpoint: text.Draw(t, "endpoint"), Class: class},
		observe.TokenRenewed{Reason: text.Draw(t, "reason")},
		observe.Circuit{Host: text.Draw(t, "host"), Open: rapid.Bool().Draw(t, "open")},
		observe.QuotaState{Bucket: text.Draw(t, "bucket"), Used: 1, Limit: 2, Window: time.Minute, NextFree: at},
		observe.RecordFailed{Class: class, EntityID: "c-1"},
		observe.Note{Level: observe.Warn, Code: text.Draw(t, "code")},
		observe.Parked{Kind: observe.ParkKind(text.Draw(t, "kind")), Until: at},
		observe.PageListed{Page: 1},
	}).Draw(t, "event")
}

// TestAnyEvents: whatever comes, a scrape succeeds, counters never fall, and labels of closed sets stay within them.
func TestAnyEvents(t *testing.T) {
	inClosed := map[string]map[string]bool{
		"class": keys(classes, "ok", other), "status": closed("2xx", "3xx", "4xx", "5xx", "none", other), "outcome": closed("complete", "partial", "failed", "interrupted", "ok", "stopped"),
		"state": closed("running", "parked", "idle"),
	}
	byFamily := map[string]map[string]bool{
		"adsync_waiting": keys(reasons, other), "adsync_waited_seconds_total": keys(reasons, other), "adsync_parked_until_timestamp_seconds": keys(parkKinds, other),
		"adsync_parked_connections": keys(parkKinds, other), "adsync_token_renewals_total": keys(renewals, other),
	}
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, Options{MaxConnections: rapid.SampledFrom([]int{1, 10}).Draw(rt, "max")})
		refs := []ads.Ref{acme, {ClientID: "b\xff", Connection: "x"}}
		before := map[string]float64{}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			b.of(rapid.SampledFrom(refs).Draw(rt, "ref"), anyEvent(rt))
			b.after(time.Second)
			if !rapid.Bool().Draw(rt, "scrape") {
				continue
			}
			all, err := b.reg.Gather()
			if err != nil {
				rt.Fatal(err)
			}
			for _, f := range all {
				for _, s := range f.GetMetric() {
					for _, l := range s.GetLabel() {
						set := cmpMap(byFamily[f.GetName()], inClosed[l.GetName()])
						if l.GetName() == "reason" || inClosed[l.GetName()] != nil {
							if set != nil && !set[l.GetValue()] {
								rt.Errorf("%s has %s=%q", f.GetName(), l.GetName(), l.GetValue())
							}
						}
					}
				}
			}
			now := samples(t, b.Metrics)
			for name, v := range before {
				if kindOf(name) != gauge && len(b.conns) == 1 && now[name] < v {
					rt.Errorf("%s fell from %v to %v", name, v, now[name])
				}
			}
			before = now
		}
	})
}

func cmpMap(a, b map[string]bool) map[string]bool {
	if a != nil {
		return a
	}
	return b
}

func keys[K ~string](set map[K]bool, more ...string) map[string]bool {
	out := closed(more...)
	for k := range set {
		out[string(k)] = true
	}
	return out
}

// kindOf is the type of a series.
func kindOf(series string) kind {
	name, _, _ := strings.Cut(series, "{")
	for _, section := range families {
		for _, f := range section.all {
			if f.name == name {
				return f.kind
			}
		}
	}
	return ""
}

// TestBounded: labels that are not written down have a bound, and what comes after it is counted as other.
func TestBounded(t *testing.T) {
	b := newBench(t, Options{})
	for i := range 2000 {
		b.on(observe.Attempt{Endpoint: fmt.Sprint("endpoint ", i), Status: 200})
		b.on(observe.Circuit{Host: fmt.Sprint("host", i), Open: true})
		b.on(observe.Note{Level: observe.Warn, Code: fmt.Sprint("code", i)})
		b.Observe(observe.Event{Platform: fmt.Sprint("platform", i), Data: observe.TokenRenewed{Reason: "first"}})
	}
	counts := map[string]int{}
	for name := range b.series() {
		name, _, _ = strings.Cut(name, "{")
		counts[name]++
	}
	for name, most := range map[string]int{
		"adsync_attempts_total": maxEndpoints + 1, "adsync_circuit_open": maxHosts + 1, "adsync_findings_total": maxCodes + 1 + len(disagreements),
		"adsync_token_renewals_total": maxPlatforms + 1, "adsync_attempt_duration_seconds": maxEndpoints + 1,
	} {
		if got := counts[name]; got > most || got < 2 {
			t.Errorf("%s has %d series, want at most %d", name, got, most)
		}
	}
	b.want(map[string]float64{
		`adsync_attempts_total{class="ok",endpoint="other",platform="adplatform"}`: 2000 - maxEndpoints,
		`adsync_labels_overflowed_total{label="endpoint"}`:                         2000 - maxEndpoints,
		per("adsync_findings_total", "code", "other"):                              2000 - maxCodes,
	})
}

// TestTogether: events, scrapes and changes of the configuration from many goroutines.
func TestTogether(t *testing.T) {
	m := New(Options{})
	m.Source(Sources{Standings: func(context.Context) ([]Standing, error) { return []Standing{{Ref: acme, Running: true}}, nil }})
	done := make(chan struct{})
	for i := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := range 300 {
				ref := ads.Ref{ClientID: fmt.Sprint("c", n%7), Connection: "adplatform"}
				switch (n + i) % 6 {
				case 0:
					m.Observe(observe.Event{At: time.Now(), Ref: ref, Platform: "adplatform", Data: observe.RunStarted{}})
				case 1:
					m.Observe(observe.Event{At: time.Now(), Ref: ref, Platform: "adplatform", Data: observe.Attempt{Endpoint: "list", Status: 200}})
				case 2:
					m.Observe(observe.Event{At: time.Now(), Ref: ref, Platform: "adplatform", Data: observe.RunFinished{Outcome: ads.Complete}})
				case 3:
					m.ObserveDB("commit", time.Millisecond, nil)
				case 4:
					m.Configure([]Connection{{Ref: ref, Platform: "adplatform"}, {Ref: acme, Platform: "adplatform"}})
				default:
					if n%30 == 0 {
						w := httptest.NewRecorder()
						m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
						if _, err := io.Copy(io.Discard, w.Body); err != nil || w.Code != 200 && w.Code != 503 {
							t.Errorf("%d %v", w.Code, err)
						}
					}
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
}
