package trace

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/engine"
	"adsync/internal/observe"
	"adsync/internal/quota"
	"adsync/internal/secret"
	"adsync/internal/simulator"
	"adsync/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	password = "c4n4ry-change-me-please"
	apiKey   = "c4n4ry-of-the-collector"
)

// receiver is an OTLP collector: what it was sent, and under which headers.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	spans    map[string]*otlp.Span // by span id
	resource map[string]string
	headers  []http.Header
	paths    []string
	raw      []byte
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{spans: map[string]*otlp.Span{}, resource: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body := req.Body
		if req.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(req.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		b, err := io.ReadAll(body)
		var msg collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(b, &msg)
		}
		if err != nil {
			t.Error(err)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.headers, r.paths, r.raw = append(r.headers, req.Header), append(r.paths, req.URL.Path), append(r.raw, b...)
		for _, rs := range msg.GetResourceSpans() {
			for _, kv := range rs.GetResource().GetAttributes() {
				r.resource[kv.GetKey()] = kv.GetValue().GetStringValue()
			}
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					r.spans[hex.EncodeToString(s.GetSpanId())] = s
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

// parent is the span above s; nil for a root.
func (r *receiver) parent(s *otlp.Span) *otlp.Span {
	return r.spans[hex.EncodeToString(s.GetParentSpanId())]
}

func (r *receiver) named(name string) (out []*otlp.Span) {
	for _, s := range r.spans {
		if s.GetName() == name {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *otlp.Span) int {
		return int(int64(a.GetStartTimeUnixNano()) - int64(b.GetStartTimeUnixNano()))
	})
	return out
}

func attr(s *otlp.Span, key string) string {
	for _, kv := range s.GetAttributes() {
		if kv.GetKey() != key {
			continue
		}
		switch v := kv.GetValue(); {
		case v.GetStringValue() != "":
			return v.GetStringValue()
		default:
			return strings.TrimSpace(v.String()[strings.Index(v.String(), ":")+1:])
		}
	}
	return ""
}

// sync is a run of one client on a real client, engine and database.
func syncOnce(t *testing.T, obs observe.Observer, limits []quota.Limit, faults ...string) engine.Summary {
	t.Helper()
	sc := simulator.Default()
	sc.Password, sc.Campaigns, sc.SyncLatency, sc.ListFailRate503, sc.ListSilenceRate, sc.Quota, sc.Faults = password, 15, 0, 0, 0, simulator.Quota{}, faults
	sim, err := simulator.New(sc)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	defer srv.Close()
	defer sim.Close()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "adsync.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	shared := apiclient.NewShared(apiclient.SharedConfig{})
	defer shared.CloseIdle()
	maker := &connect.Maker{Quota: quota.NewManager(st), Shared: shared, Observer: obs, MaxWait: time.Minute}
	conn := config.Connection{
		Ref: ads.Ref{ClientID: "acme", Connection: adplatform.Name}, Platform: adplatform.Name, URL: srv.URL, Email: secret.New(simulator.DefaultEmail),
		Password: secret.New(password), XClientID: "acme", SendXClientID: true, Quota: limits, PageSize: 5, PerCampaignSync: true, Timeout: 10 * time.Second, MaxElapsed: time.Minute,
	}
	p, err := connect.Platform(conn)
	if err != nil {
		t.Fatal(err)
	}
	api, err := maker.Client(p, conn)
	if err != nil {
		t.Fatal(err)
	}
	o := maker.Options(engine.Options{Trigger: "manual"}, conn)
	o.Platform, o.API, o.Store = p, api, st
	return engine.Run(t.Context(), o)
}

func stop(t *testing.T, shutdown func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// TestRun: a real run, as a real collector is told of it.
func TestRun(t *testing.T) {
	r := newReceiver(t)
	obs, shutdown, err := FromEnv([]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL + "/base", "OTEL_EXPORTER_OTLP_HEADERS=api-key=" + apiKey, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
		"OTEL_SERVICE_NAME=adsync-test", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=caf%C3%A9,service.name=other",
	}, Version("1.2"), OnError(func(err error) { t.Error(err) }))
	if err != nil {
		t.Fatal(err)
	}
	sum := syncOnce(t, obs, []quota.Limit{{N: 12, Window: 5 * time.Second}}, "status:endpoint=list,on=2,times=1,code=503", "status:endpoint=sync,on=1,times=1,code=422")
	if sum.Outcome != ads.Partial {
		t.Fatal(sum.Outcome, sum.Err)
	}
	stop(t, shutdown)

	runs := r.named("run")
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	run := runs[0]
	for key, want := range map[string]string{
		"adsync.client": "acme", "adsync.run_id": sum.RunID, "adsync.outcome": "partial", "adsync.trigger": "manual", "adsync.listed": `"15"`, "adsync.failed": `"1"`,
	} {
		if got := attr(run, key); strings.Trim(got, `"`) != strings.Trim(want, `"`) {
			t.Errorf("the run's %s is %s, want %s", key, got, want)
		}
	}
	count := map[string]int{}
	for _, s := range r.spans {
		count[s.GetName()]++
		if string(s.GetTraceId()) != string(run.GetTraceId()) && s.GetName() != "token" && s.GetName() != "attempt" {
			t.Errorf("%s is in another trace", s.GetName())
		}
		if s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
			t.Errorf("%s ends before it begins", s.GetName())
		}
		up := r.parent(s)
		if up == nil {
			if s != run && s.GetName() != "token" {
				t.Errorf("%s has no parent", s.GetName())
			}
			continue
		}
		// The clock of the wall may be set in between; what is told of one moment is off by no more.
		if slack := uint64(5 * time.Millisecond); s.GetStartTimeUnixNano()+slack < up.GetStartTimeUnixNano() || s.GetEndTimeUnixNano() > up.GetEndTimeUnixNano()+slack {
			t.Errorf("%s (%d–%d) is not within its %s (%d–%d)", s.GetName(), s.GetStartTimeUnixNano(), s.GetEndTimeUnixNano(), up.GetName(), up.GetStartTimeUnixNano(), up.GetEndTimeUnixNano())
		}
		want := map[string][]string{
			"page": {"run"}, "list campaigns": {"page"}, "sync campaign": {"run"}, "wait: quota": {"run"}, "token": {"run"},
			"attempt": {"list campaigns", "sync campaign", "token"}, "back-off": {"list campaigns"},
		}[s.GetName()]
		if !slices.Contains(want, up.GetName()) {
			t.Errorf("%s is below %s", s.GetName(), up.GetName())
		}
	}
	if f := sum.Figures; count["page"] != int(f.Pages) || count["list campaigns"] != int(f.Pages) || count["sync campaign"] != 15 || count["attempt"] != int(f.Requests)+count["token"] ||
		count["back-off"] != 1 || count["wait: quota"] < 1 {
		t.Errorf("there are %v of a run with %+v", count, f)
	}
	for _, s := range r.named("attempt") {
		if code := attr(s, "http.response.status_code"); strings.Contains(code, "503") != (attr(s, "error.type") == string(ads.ClassTransient)) {
			t.Errorf("an attempt with status %s has %s", code, attr(s, "error.type"))
		}
		if s.GetKind() != otlp.Span_SPAN_KIND_CLIENT {
			t.Errorf("an attempt is of kind %s", s.GetKind())
		}
	}
	var failed []string
	for _, e := range run.GetEvents() {
		if e.GetName() == "record failed" {
			failed = append(failed, e.GetAttributes()[1].GetValue().GetStringValue())
		}
	}
	if len(failed) != 1 || !strings.HasPrefix(failed[0], "campaign_") {
		t.Errorf("records that failed: %q", failed)
	}
	if r.resource["service.name"] != "adsync-test" || r.resource["deployment.environment"] != "café" || r.resource["service.version"] != "1.2" {
		t.Errorf("the resource is %v", r.resource)
	}
	for i, h := range r.headers {
		if h.Get("api-key") != apiKey || r.paths[i] != "/base/v1/traces" || h.Get("Content-Encoding") != "gzip" {
			t.Errorf("sent to %s with %q", r.paths[i], h)
		}
	}
	for what, bad := range map[string]string{
		"the password": password[:12], "the user": "user@example", "a URL": "https?://", "a query": `\?page=|limit=`, "the host": `127\.0\.0\.1`, "a header": "(?i)bearer",
	} {
		if m := regexp.MustCompile(bad).Find(r.raw); m != nil {
			t.Errorf("%s is in a span: %q", what, m)
		}
	}
}

// TestOff: nothing is traced unless it is asked for.
func TestOff(t *testing.T) {
	for _, env := range [][]string{
		nil,
		{"PATH=/bin", "OTEL_SERVICE_NAME=x"},
		{"OTEL_TRACES_EXPORTER=none", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT="},
		{"OTEL_SDK_DISABLED=TRUE", "OTEL_TRACES_EXPORTER=otlp"},
	} {
		o, shutdown, err := FromEnv(env)
		if err != nil {
			t.Errorf("%q: %v", env, err)
		}
		if _, on := o.(*tracer); on {
			t.Errorf("%q turns it on", env)
		}
		o.Observe(observe.Event{Data: observe.RunStarted{}})
		stop(t, shutdown)
	}
	for _, env := range [][]string{{"OTEL_TRACES_EXPORTER=otlp"}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:1/x"}} {
		o, shutdown, err := FromEnv(env)
		if _, on := o.(*tracer); !on || err != nil {
			t.Errorf("%q does not turn it on: %v", env, err)
		}
		stop(t, shutdown)
	}
}

// TestVariables: what cannot be followed is said by name and with a cure, and no secret is repeated.
func TestVariables(t *testing.T) {
	for _, tt := range []struct{ env, says string }{
		{"OTEL_TRACES_EXPORTER=zipkin", "OTEL_TRACES_EXPORTER names an exporter"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "http/protobuf"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", "is no URL"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=ftp://collector", "is no URL"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://u:" + apiKey + "@collector", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector/?key=" + apiKey, "OTEL_EXPORTER_OTLP_HEADERS"},
		{"OTEL_EXPORTER_OTLP_HEADERS=" + apiKey, "key=value"},
		{"OTEL_EXPORTER_OTLP_HEADERS=a=%zz" + apiKey, "key=value"},
		{"OTEL_EXPORTER_OTLP_HEADERS=a=x%0d%0aHost: " + apiKey, "key=value"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT=10s", "OTEL_EXPORTER_OTLP_TIMEOUT is no positive whole number"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION=zstd", "gzip or none"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE=/does/not/exist", "cannot be read"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE=env.go", "without a certificate"},
		{"OTEL_EXPORTER_OTLP_CLIENT_KEY=/x", "belong together"},
		{"OTEL_BSP_MAX_QUEUE_SIZE=-1", "OTEL_BSP_MAX_QUEUE_SIZE"},
		{"OTEL_BSP_MAX_QUEUE_SIZE=99999999", "too large"},
		{"OTEL_BSP_SCHEDULE_DELAY=0", "OTEL_BSP_SCHEDULE_DELAY"},
		{"OTEL_TRACES_SAMPLER=jaeger_remote", "OTEL_TRACES_SAMPLER names a sampler"},
		{"OTEL_RESOURCE_ATTRIBUTES=nothing", "OTEL_RESOURCE_ATTRIBUTES"},
	} {
		o, shutdown, err := FromEnv([]string{"OTEL_TRACES_EXPORTER=otlp", tt.env})
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), apiKey) {
			t.Errorf("%s: %v", tt.env, err)
		}
		o.Observe(observe.Event{Data: observe.RunStarted{}})
		stop(t, shutdown)
	}
	_, _, err := FromEnv([]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=NaN"})
	if err == nil || !strings.Contains(err.Error(), "OTEL_TRACES_SAMPLER_ARG") {
		t.Error(err)
	}
}

// FuzzVariables: no text in the variables is too odd to be read or refused.
func FuzzVariables(f *testing.F) {
	f.Add("http://h:1/x", "a=b,c=%41", "10", "0.5", "k=v")
	f.Add("://", "=", "-", "1e309", ",,=")
	f.Fuzz(func(t *testing.T, endpoint, headers, timeout, arg, resource string) {
		s := &settings{}
		on, err := s.read(vars([]string{
			"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_EXPORTER_OTLP_HEADERS=" + headers, "OTEL_EXPORTER_OTLP_TIMEOUT=" + timeout,
			"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=" + arg, "OTEL_RESOURCE_ATTRIBUTES=" + resource,
		}))
		if err == nil && (!on || s.endpoint.Host == "" || s.endpoint.User != nil || s.timeout <= 0 || s.sampler == nil) {
			t.Errorf("%q %q %q %q gave %+v", endpoint, headers, timeout, arg, s)
		}
	})
}

// TestSampler: whole runs are left out, and cost no memory.
func TestSampler(t *testing.T) {
	r := newReceiver(t)
	obs, shutdown, err := FromEnv([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL, "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.2"})
	if err != nil {
		t.Fatal(err)
	}
	const runs = 400
	ref := ads.Ref{ClientID: "acme", Connection: "x"}
	on := func(d observe.Data) { obs.Observe(observe.Event{At: time.Now(), Ref: ref, Data: d}) }
	for i := range int64(runs) {
		on(observe.RunStarted{})
		on(observe.WaitStarted{Reason: observe.WaitQuota})
		on(observe.Attempt{Request: i, Status: 200})
		on(observe.RequestEnded{Request: i, Endpoint: "list", Page: 1})
		on(observe.PageListed{Page: 1})
		on(observe.RunFinished{Outcome: ads.Complete})
	}
	stop(t, shutdown)
	n := len(r.named("run"))
	if n < runs/20 || n > runs/2 {
		t.Errorf("%d of %d runs are traced, at a fifth", n, runs)
	}
	if len(r.named("list")) != n || len(r.named("attempt")) != n || len(r.named("page")) != n || len(r.named("wait: quota")) != n {
		t.Errorf("of %d runs there are %d spans", n, len(r.spans))
	}
	if left := len(obs.(*tracer).conns); left != 0 {
		t.Errorf("%d connections are kept", left)
	}
}

// TestUndelivered: a collector that refuses is told of without what it was sent, and nobody waits for it.
func TestUndelivered(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("followed to another host, with %q", r.Header) }))
	defer elsewhere.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"refused": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "no such key: %s\n\x1b[31m", r.Header.Get("api-key"))
		},
		"redirected": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(answer)
			defer srv.Close()
			var mu sync.Mutex
			var told []string
			obs, shutdown, err := FromEnv([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + srv.URL, "OTEL_EXPORTER_OTLP_HEADERS=api-key=" + apiKey}, OnError(func(err error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, err.Error())
			}))
			if err != nil {
				t.Fatal(err)
			}
			obs.Observe(observe.Event{At: time.Now(), Data: observe.RunStarted{}})
			obs.Observe(observe.Event{At: time.Now(), Data: observe.RunFinished{}})
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := shutdown(ctx); err == nil {
				t.Error("the end says that all was delivered")
			}
			mu.Lock()
			defer mu.Unlock()
			if len(told) == 0 {
				t.Fatal("nobody was told")
			}
			for _, s := range told {
				if strings.Contains(s, apiKey) || strings.ContainsAny(s, "\x1b\n") || !strings.Contains(s, "1 spans could not be delivered") {
					t.Errorf("told: %q", s)
				}
			}
		})
	}
}

// TestStopIsBounded: a collector that never answers does not hold up the end.
func TestStopIsBounded(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	obs, shutdown, err := FromEnv([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	obs.Observe(observe.Event{At: time.Now(), Data: observe.RunStarted{}})
	obs.Observe(observe.Event{At: time.Now(), Data: observe.RunFinished{}})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := shutdown(ctx); err == nil {
		t.Error("the end says that all was delivered")
	}
}

// ends counts spans that begin and end.
type ends struct {
	mu             sync.Mutex
	started, ended int
	backwards      []string
}

func (p *ends) OnStart(context.Context, trace.ReadWriteSpan) { p.mu.Lock(); p.started++; p.mu.Unlock() }

func (p *ends) OnEnd(s trace.ReadOnlySpan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended++
	if s.EndTime().Before(s.StartTime()) {
		p.backwards = append(p.backwards, s.Name())
	}
}
func (p *ends) Shutdown(context.Context) error   { return nil }
func (p *ends) ForceFlush(context.Context) error { return nil }

// TestAnyEvents: whatever comes in whatever order, every span that begins ends with its run, and nothing is kept.
func TestAnyEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := &ends{}
		tr := newTracer(trace.NewTracerProvider(trace.WithSpanProcessor(p)).Tracer("test"))
		ref := ads.Ref{ClientID: "acme", Connection: "x"}
		at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		on := func(d observe.Data) {
			at = at.Add(time.Duration(rapid.IntRange(0, 1000).Draw(rt, "later")) * time.Millisecond)
			tr.Observe(observe.Event{At: at, Ref: ref, Data: d})
		}
		number := rapid.Int64Range(0, 5)
		took := func() time.Duration {
			return time.Duration(rapid.IntRange(0, 5000).Draw(rt, "took")) * time.Millisecond
		}
		for range rapid.IntRange(0, 60).Draw(rt, "events") {
			on(rapid.SampledFrom([]observe.Data{
				observe.RunStarted{},
				observe.RunFinished{},
				observe.PageListed{Page: 1},
				observe.Progress{},
				observe.Parked{},
				observe.WaitStarted{Reason: observe.WaitReason(rapid.StringN(0, 2, 8).Draw(rt, "reason"))},
				observe.WaitEnded{Reason: "a"},
				observe.Attempt{Request: number.Draw(rt, "request"), Duration: took()},
				observe.Retry{Request: number.Draw(rt, "request"), Delay: took()},
				observe.RequestEnded{Request: number.Draw(rt, "request"), Page: int(number.Draw(rt, "page")), Duration: took(), Class: ads.ClassDenied, Code: "\xff"},
				observe.TokenRenewed{},
				observe.Circuit{},
				observe.RecordFailed{},
				observe.Note{Level: observe.Warn},
			}).Draw(rt, "event"))
		}
		on(observe.RunFinished{})
		if p.started != p.ended || len(p.backwards) > 0 {
			rt.Errorf("%d spans began, %d ended; backwards: %q", p.started, p.ended, p.backwards)
		}
		if len(tr.conns) > 0 {
			rt.Errorf("%d connections are kept", len(tr.conns))
		}
	})
}

// TestBounded: a request, a run and a process can have any number of parts.
func TestBounded(t *testing.T) {
	tr := newTracer(trace.NewTracerProvider().Tracer("test"))
	ref := ads.Ref{ClientID: "acme"}
	tr.Observe(observe.Event{Ref: ref, Data: observe.RunStarted{}})
	for i := range int64(2 * maxRequests) {
		tr.Observe(observe.Event{Ref: ref, Data: observe.Attempt{Request: i}})
	}
	for range 2 * maxParts {
		tr.Observe(observe.Event{Ref: ref, Data: observe.Attempt{Request: 1}})
	}
	for i := range 2 * maxPages {
		tr.Observe(observe.Event{Ref: ref, Data: observe.RequestEnded{Request: int64(-i - 1), Page: i + 1}})
	}
	c := tr.conns[ref]
	if len(c.requests) > maxRequests || len(c.requests[1]) > maxParts || len(c.pages) > maxPages {
		t.Errorf("%d requests, %d parts of one, %d pages", len(c.requests), len(c.requests[1]), len(c.pages))
	}
}

// TestLongRun: of a run with very many requests those that went well are left out after a while, those that did not never.
func TestLongRun(t *testing.T) {
	r := newReceiver(t)
	obs, shutdown, err := FromEnv([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL, "OTEL_BSP_MAX_QUEUE_SIZE=100000"})
	if err != nil {
		t.Fatal(err)
	}
	ref := ads.Ref{ClientID: "acme", Connection: "x"}
	on := func(d observe.Data) { obs.Observe(observe.Event{At: time.Now(), Ref: ref, Data: d}) }
	on(observe.RunStarted{})
	const n = 10 * maxDetailed
	for i := range int64(n) {
		on(observe.Attempt{Request: i})
		end := observe.RequestEnded{Request: i, Endpoint: "sync", Attempts: 1}
		switch i {
		case n - 1:
			end.Endpoint, end.Class = "failed", ads.ClassDenied
		case n - 2:
			end.Endpoint, end.Attempts = "repeated", 2
		}
		on(end)
	}
	on(observe.RunFinished{Outcome: ads.Complete})
	stop(t, shutdown)
	if len(r.named("sync")) != maxDetailed || len(r.named("failed")) != 1 || len(r.named("repeated")) != 1 {
		t.Errorf("%d went well, %d failed, %d were repeated", len(r.named("sync")), len(r.named("failed")), len(r.named("repeated")))
	}
	if got := attr(r.named("run")[0], "adsync.requests_left_out"); !strings.Contains(got, fmt.Sprint(n-maxDetailed-2)) {
		t.Errorf("%s are left out", got)
	}
}

// requestEvents are what one request of a run makes.
var requestEvents = []observe.Data{
	observe.QuotaState{Bucket: "acme", Used: 3, Limit: 10, Window: time.Minute},
	observe.Attempt{Endpoint: "sync campaign", Try: 1, Status: 200, Duration: 2 * time.Second, RequestID: "r-1", Sent: true},
	observe.RequestEnded{Endpoint: "sync campaign", Attempts: 1, Duration: 2 * time.Second},
	observe.Progress{Figures: ads.Figures{Listed: 100, Synced: 50}, Pending: 50},
}

func BenchmarkRequest(b *testing.B) {
	run := func(o observe.Observer) func(*testing.B) {
		return func(b *testing.B) {
			ref := ads.Ref{ClientID: "acme", Connection: "adplatform"}
			o.Observe(observe.Event{At: time.Now(), Ref: ref, Data: observe.RunStarted{}})
			events := make([]observe.Event, len(requestEvents))
			for i, d := range requestEvents {
				events[i] = observe.Event{At: time.Now(), Ref: ref, Platform: "adplatform", RunID: "r-1", Data: d}
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, e := range events {
					o.Observe(e)
				}
			}
			o.Observe(observe.Event{At: time.Now(), Ref: ref, Data: observe.RunFinished{}})
		}
	}
	off, _, err := FromEnv(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("off", run(off))
	b.Run("not sampled", run(newTracer(trace.NewTracerProvider(trace.WithSampler(trace.NeverSample())).Tracer("test"))))
	b.Run("sampled", run(newTracer(trace.NewTracerProvider(trace.WithSpanProcessor(&ends{})).Tracer("test"))))
}
