package metrics_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/metrics"
	"adsync/internal/observe"
	"adsync/internal/queue"
	"adsync/internal/quota"
	"adsync/internal/store"
)

// prometheus is a real one, in a directory of its own, that scrapes one target.
type prometheus struct {
	t    *testing.T
	addr string
	log  bytes.Buffer
}

const prometheusConfig = `
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}
rule_files: [%q]
scrape_configs:
  - job_name: adsync
    static_configs: [{targets: [%q]}]
`

func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	binary := tool(t, "prometheus")
	dir := t.TempDir()
	rulesPath, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, prometheusConfig, rulesPath, target), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &prometheus{t: t, addr: l.Addr().String()}
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "--config.file="+conf, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.addr, "--log.level=warn")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &p.log, &p.log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus: %s", p.log.Bytes())
		}
	})
	p.until("prometheus is ready", func() error {
		resp, err := http.Get("http://" + p.addr + "/-/ready")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
	return p
}

// until asks again and again, until it is so or the test has lasted too long.
func (p *prometheus) until(what string, is func() error) {
	p.t.Helper()
	limit := time.NewTimer(90 * time.Second)
	defer limit.Stop()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		err := is()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-limit.C:
			p.t.Fatalf("not so after 90 seconds: %s: %v", what, err)
		}
	}
}

func (p *prometheus) get(path string, into any) error {
	resp, err := http.Get("http://" + p.addr + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var out struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return err
	}
	if out.Status != "success" {
		return fmt.Errorf("%s", out.Error)
	}
	return json.Unmarshal(out.Data, into)
}

// query gives the values of an instant query. A series without a number is left out.
func (p *prometheus) query(q string) ([]float64, error) {
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := p.get("/api/v1/query?query="+url.QueryEscape(q), &data); err != nil {
		return nil, err
	}
	var out []float64
	for _, r := range data.Result {
		if v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64); err == nil && !math.IsNaN(v) {
			out = append(out, v)
		}
	}
	return out, nil
}

// sees waits until a query has a value of at least that much.
func (p *prometheus) sees(q string, least float64) {
	p.t.Helper()
	p.until(fmt.Sprintf("%s is at least %v", q, least), func() error {
		vs, err := p.query(q)
		if err == nil && (len(vs) == 0 || slices.Max(vs) < least) {
			err = fmt.Errorf("it is %v", vs)
		}
		return err
	})
}

// queries are all queries of the dashboard by panel, with its variables filled in, and all selectors of the rules.
func queries(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	type panel struct {
		Title   string
		Panels  []json.RawMessage
		Targets []struct{ RefID, Expr string }
	}
	var dash struct {
		Panels     []panel
		Templating struct {
			List []struct{ Name, Query any }
		}
	}
	if err := json.Unmarshal(b, &dash); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", "1m", "$client", ".*", "$platform", ".*")
	out := map[string]string{}
	for _, p := range dash.Panels {
		if len(p.Panels) > 0 {
			t.Errorf("panels inside of %q are not looked at", p.Title)
		}
		for _, q := range p.Targets {
			out["panel "+p.Title+" "+q.RefID] = fill.Replace(q.Expr)
		}
	}
	if len(out) < 30 {
		t.Fatalf("the dashboard has only %d queries", len(out))
	}
	selector := regexp.MustCompile(`\b(adsync_\w+|up)(\{[^}]*\})?`)
	for _, r := range rules(t) {
		for _, s := range selector.FindAllString(r.Expr, -1) {
			if strings.HasPrefix(s, "adsync_store_errors_total") {
				s = "adsync_store_errors_total" // a healthy database has errors of the harmless kinds only
			}
			out["alert "+r.Alert+" "+s] = s
		}
	}
	return out
}

// TestPrometheus: a real Prometheus scrapes a real process while it syncs. Every query of the dashboard has an answer then, every selector of the rules
// finds series, every rule can be evaluated, and the alerts that should fire do.
func TestPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("takes several seconds of real time")
	}
	t.Parallel()
	f := newFleet(t)
	srv := httptest.NewServer(f.m.Handler())
	defer srv.Close()
	p := startPrometheus(t, strings.TrimPrefix(srv.URL, "http://"))

	f.add("acme", 10, []quota.Limit{{N: 8, Window: 1500 * time.Millisecond}}, "status:endpoint=list,on=1,times=1,code=503", "throttle:endpoint=sync,on=3,times=1")
	f.add("globex", 30, nil, "total-high", "status:endpoint=sync,id=campaign_7,code=422,times=1000", "status:endpoint=list,on=2,times=1,code=503")
	f.add("initech", 10, nil, "credentials-wrong")
	down := f.add("hooli", 10, nil)
	f.withQueue()

	var runs sync.WaitGroup
	defer runs.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if s := f.sync(ctx, "hooli"); s.Outcome != ads.Complete {
		t.Fatal(s.Outcome, s.Err)
	}
	down.CloseClientConnections()
	down.Close() // its host is known to be up, and does not answer any more
	runs.Go(func() { f.sync(ctx, "hooli") })
	for round := 1; round <= 2; round++ {
		var some sync.WaitGroup
		for _, client := range []string{"acme", "globex", "initech"} {
			some.Go(func() { f.sync(ctx, client) })
		}
		some.Wait()
		p.sees(`sum(adsync_runs_total{client="globex"})`, float64(round)) // between the rounds at least one scrape
	}
	p.sees("adsync_circuit_open", 1)

	// Somebody else asks for a connection that is being synced: an error of the harmless kind.
	l, err := f.store.Acquire(ctx, f.conns["acme"].Ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Acquire(ctx, f.conns["acme"].Ref); err == nil {
		t.Fatal("a lock was given twice")
	}
	if err := f.store.Release(ctx, l); err != nil {
		t.Fatal(err)
	}

	// This platform's tokens are had anew and its API has no versions: another would say this.
	for _, d := range []observe.Data{observe.TokenEnds{At: time.Now().Add(48 * time.Hour)}, observe.VersionEnds{Version: "v1", At: time.Now().Add(48 * time.Hour)}} {
		f.m.Observe(observe.Event{At: time.Now(), Ref: f.conns["acme"].Ref, Platform: "adplatform", Data: d})
	}

	open := queries(t)
	total := len(open)
	p.until("every query has an answer", func() error {
		for name, q := range maps.Clone(open) {
			vs, err := p.query(q)
			if err != nil {
				t.Fatalf("%s: %s: %v", name, q, err)
			}
			if len(vs) > 0 {
				delete(open, name)
			}
		}
		if len(open) > 0 {
			return fmt.Errorf("nothing comes of %d of %d: %v", len(open), total, open)
		}
		return nil
	})
	t.Logf("%d queries have an answer", total)

	firing := map[string]string{}
	p.until("what should fire does", func() error {
		var data struct {
			Groups []struct {
				Rules []struct {
					Name, Health, LastError, State string
					Alerts                         []struct {
						State               string
						Labels, Annotations map[string]string
					}
				}
			}
		}
		if err := p.get("/api/v1/rules", &data); err != nil {
			return err
		}
		n := 0
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if n++; r.Health != "ok" {
					return fmt.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
				}
				for _, a := range r.Alerts {
					for _, text := range a.Annotations {
						if strings.Contains(text, "<error") || strings.Contains(text, "no value") {
							t.Fatalf("%s says %q", r.Name, text)
						}
					}
					if a.State == "firing" {
						firing[r.Name] = a.Labels["client"]
					}
				}
			}
		}
		if want := map[string]string{"AdsyncCredentialsRefused": "initech", "AdsyncTotalsDisagree": "globex"}; n != len(rules(t)) || !maps.Equal(firing, want) {
			return fmt.Errorf("%d rules, firing %v, want %v", n, firing, want)
		}
		return nil
	})
}

// withQueue gives the fleet a queue with a job in it, and a worker.
func (f *fleet) withQueue() {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "queue.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		f.t.Fatal(err)
	}
	q, err := queue.OpenSQLite(path, queue.Options{ID: "a"})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(q.Close)
	if _, err := q.Migrate(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	if _, err := q.Enqueue(f.t.Context(), []queue.Job{{Ref: f.conns["acme"].Ref, Trigger: "schedule"}}); err != nil {
		f.t.Fatal(err)
	}
	ws, err := f.store.Beat(f.t.Context(), store.Beat{ID: "a", Name: "here", Lease: time.Hour})
	if err != nil {
		f.t.Fatal(err)
	}
	f.m.Source(metrics.Sources{
		Standings: metrics.Stored(f.store), Jobs: metrics.ByState(q.Depth), Workers: func() int { return len(ws) }, Runs: func() int { return 1 },
	})
}
