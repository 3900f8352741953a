package metrics

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/report"
	"adsync/internal/store"
)

var update = flag.Bool("update", false, "write the generated page anew")

const pageFile = "../../docs/metrics.md"

// everything is metrics to which everything that there is a metric for has happened.
func everything(t testing.TB) *bench {
	b := newBench(t, Options{Version: "1.2"})
	b.Configure([]Connection{{Ref: acme, Platform: "adplatform", Interval: time.Hour}, {Ref: ads.Ref{ClientID: "globex", Connection: "adplatform"}, Platform: "adplatform"}})
	b.on(observe.RunStarted{})
	b.on(observe.Attempt{Endpoint: "list campaigns", Status: 200})
	b.on(observe.RequestEnded{Endpoint: "list campaigns"})
	b.on(observe.Retry{Class: ads.ClassTransient})
	b.on(observe.TokenRenewed{Reason: "first"})
	b.on(observe.TokenEnds{At: b.now().Add(time.Hour)})
	b.on(observe.WaitStarted{Reason: observe.WaitQuota})
	b.on(observe.QuotaState{Bucket: "acme", Used: 1, Limit: 10, Window: time.Minute})
	b.on(observe.RecordFailed{Class: ads.ClassBadRecord})
	b.on(observe.Note{Level: observe.Warn, Code: "list_moved"})
	b.on(observe.Circuit{Open: true, Host: "ads.example.com"})
	b.on(observe.RunFinished{Outcome: ads.Complete})
	b.of(ads.Ref{ClientID: "globex", Connection: "adplatform"}, observe.Parked{Kind: observe.ParkAuth, Until: b.now().Add(time.Hour)})
	b.ObserveDB("commit", time.Millisecond, store.ErrFenced)
	failing := false
	b.Source(Sources{
		Standings: func(context.Context) ([]Standing, error) {
			if failing {
				return nil, store.ErrFenced
			}
			failing = true
			return []Standing{{Ref: acme, TokenEnd: b.now().Add(time.Hour)}}, nil
		},
		Jobs:    func(context.Context) (map[string]int64, error) { return map[string]int64{"queued": 1}, nil },
		Workers: func() int { return 1 }, Runs: func() int { return 0 },
	})
	b.series()
	b.after(time.Minute)
	b.series()
	return b
}

// TestPage: the page says what a scrape shows: every family by name, type, labels and help.
func TestPage(t *testing.T) {
	b := everything(t)
	all, err := b.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]*family{}
	for _, section := range families {
		for _, f := range section.all {
			told[f.name] = f
			if f.help == "" || f.use == "" || f.unit == "" {
				t.Errorf("%s: help, use or unit is missing", f.name)
			}
		}
	}
	for _, g := range all {
		name := g.GetName()
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		f := told[name]
		if f == nil {
			t.Errorf("%s is not on the page", name)
			continue
		}
		delete(told, name)
		var labels []string
		for _, l := range g.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		want := slices.Sorted(slices.Values(f.allLabels()))
		if types := map[dto.MetricType]kind{dto.MetricType_COUNTER: counter, dto.MetricType_GAUGE: gauge, dto.MetricType_HISTOGRAM: histogram}; types[g.GetType()] != f.kind ||
			g.GetHelp() != f.help || !slices.Equal(labels, want) {
			t.Errorf("%s is a %s with %q (%s), the page has a %s with %q (%s)", name, g.GetType(), labels, g.GetHelp(), f.kind, want, f.help)
		}
	}
	for name := range told {
		t.Errorf("%s is on the page, but no scrape shows it", name)
	}

	page := []byte(pageText())
	if *update {
		if err := os.WriteFile(pageFile, page, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatalf("%v; go test ./internal/metrics -update writes it", err)
	}
	if diff := cmp.Diff(string(have), string(page)); diff != "" {
		t.Errorf("docs/metrics.md is stale; go test ./internal/metrics -update renews it (-file +now):\n%s", diff)
	}
}

func pageText() string {
	var b strings.Builder
	b.WriteString(`# Metrics

This page is written by ` + "`go test ./internal/metrics -update`" + ` from the tables that the program itself works by.

` + "`adsync serve`" + ` answers Prometheus at ` + "`/metrics`" + `. Rules for alerts are in ` + "`deploy/prometheus/adsync.rules.yaml`" + `, a Grafana dashboard in ` + "`deploy/grafana/adsync.json`" + `.
` + "`adsync sync --metrics-file`" + ` writes gauges about the last run instead, under the same names without ` + "`_total`" + `.

Labels come from closed sets and from the configuration: client, connection, platform, endpoint label, class, outcome, reason. There is never an id of a campaign, a URL or the text of
an error in one. Beyond ` + fmt.Sprint(DefaultMaxConnections) + ` connections they have no series of their own any more: what is told per connection is summed up by platform (gauges of age by the worst), and
` + "`adsync_connection_detail`" + ` is 0. Series of a connection that is removed from the configuration go with it.

A counter of a connection appears when a process works on it for the first time. The Go runtime's ` + "`go_*`" + ` and the process's ` + "`process_*`" + ` are there too.

What it costs: ` + "`go run ./bench/throughput -observed`" + ` loads campaigns without a quota into SQLite, in interleaved pairs of runs with nothing that watches and with everything (log, metrics
scraped every second, live state, tracer off, database timed). On 2 processors, 41 pairs, the median of observed to bare: listing 200,000 campaigns 1.014 in time and 1.025 in processor time; with a
call for each of 20,000 campaigns 1.009 and 1.008. With 95 % certainty the true medians lie between 0.974 and 1.026 (processor 0.980 to 1.044) and between 0.976 and 1.072 (processor 0.985 to 1.044).
`)
	for _, section := range families {
		fmt.Fprintf(&b, "\n## %s\n\n", section.title)
		if section.text != "" {
			b.WriteString(section.text + "\n\n")
		}
		b.WriteString("| metric | type | labels | unit | meaning | good for |\n|---|---|---|---|---|---|\n")
		for _, f := range section.all {
			labels := "–"
			if ls := f.allLabels(); len(ls) > 0 {
				labels = "`" + strings.Join(ls, "`, `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", f.name, f.kind, labels, f.unit, cell(f.help), cell(f.use))
		}
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// TestConventions holds names to Prometheus' own.
func TestConventions(t *testing.T) {
	name := regexp.MustCompile(`^adsync_[a-z]+(_[a-z]+)*$`)
	for _, section := range families {
		for _, f := range section.all {
			total, seconds := strings.HasSuffix(f.name, "_total"), strings.HasSuffix(strings.TrimSuffix(f.name, "_total"), "_seconds")
			switch {
			case !name.MatchString(f.name):
				t.Errorf("%s is no name", f.name)
			case total != (f.kind == counter):
				t.Errorf("%s is a %s", f.name, f.kind)
			case seconds != strings.HasPrefix(f.unit, "seconds"):
				t.Errorf("%s is in %s", f.name, f.unit)
			case (f.kind == histogram) != (len(f.bounds) > 0):
				t.Errorf("%s has %d buckets", f.name, len(f.bounds))
			case !strings.HasSuffix(f.help, "."):
				t.Errorf("%s: the help is no sentence: %s", f.name, f.help)
			}
		}
	}
}

// TestFileOfSync: `sync --metrics-file` has the same names, without _total where it tells of the last run.
func TestFileOfSync(t *testing.T) {
	sum := report.Summary{Connections: []report.ConnectionSummary{{Client: "acme", Connection: "adplatform", Platform: "adplatform", Outcome: ads.Complete}}}
	file := string(sum.Metrics(report.LastSuccess{acme: newClock().now()}))
	found := 0
	for line := range strings.Lines(file) {
		_, rest, ok := strings.Cut(line, "# TYPE ")
		if !ok {
			continue
		}
		found++
		name, _, _ := strings.Cut(rest, " ")
		if name == "adsync_duration_seconds" {
			name = "adsync_run_duration_seconds" // a histogram here
		}
		if kindOf(name) == "" && kindOf(name+"_total") == "" {
			t.Errorf("the file has %s, a scrape nothing of the kind", name)
		}
	}
	if found < 10 {
		t.Errorf("only %d families in:\n%s", found, file)
	}
}
