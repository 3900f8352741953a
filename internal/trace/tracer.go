package trace

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// Bounds of what is kept until it can be told. What is beyond is left out of the trace, never waited for.
const (
	maxConns    = 100_000
	maxRequests = 4096 // of a connection that are going on
	maxParts    = 64   // attempts and pauses of one request
	maxPages    = 64   // open at once
	maxDetailed = 2000 // requests of a run with spans of their own; of the rest only those that failed or were repeated. Nobody reads a trace of a million spans
	maxText     = 200
)

// tracer makes spans of events. What happened within a request is known before the request's own span can begin, since that is told at its end; so it is kept
// until then, and spans are given their true times.
type tracer struct {
	tr trace.Tracer

	mu    sync.Mutex
	conns map[ads.Ref]*conn
}

// conn is a connection with something going on.
type conn struct {
	mu       sync.Mutex
	ctx      context.Context // of the run's span; nil between runs
	span     trace.Span
	muted    bool  // the run is not sampled
	detailed int   // requests with spans
	leftOut  int64 // requests without
	pages    []page
	waits    map[observe.WaitReason]trace.Span
	requests map[int64][]part
}

// page is a page that is being read.
type page struct {
	number int
	ctx    context.Context
	span   trace.Span
}

// part is an attempt or a pause of a request.
type part struct {
	end     time.Time
	attempt *observe.Attempt
	retry   *observe.Retry
}

func newTracer(tr trace.Tracer) *tracer { return &tracer{tr: tr, conns: map[ads.Ref]*conn{}} }

// Observe implements observe.Observer.
func (t *tracer) Observe(e observe.Event) {
	switch e.Data.(type) {
	case observe.Progress, observe.QuotaState, observe.Parked:
		return
	}
	c := t.conn(e.Ref)
	if c == nil {
		return
	}
	c.mu.Lock()
	t.on(c, &e)
	idle := c.span == nil && len(c.requests) == 0
	c.mu.Unlock()
	if idle {
		t.forget(e.Ref)
	}
}

func (t *tracer) conn(ref ads.Ref) *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.conns[ref]
	if c == nil && len(t.conns) < maxConns {
		c = &conn{}
		t.conns[ref] = c
	}
	return c
}

// forget drops a connection with nothing going on.
func (t *tracer) forget(ref ads.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.conns[ref]
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.span == nil && len(c.requests) == 0 {
		delete(t.conns, ref)
	}
}

// on takes in an event. c.mu is held.
func (t *tracer) on(c *conn, e *observe.Event) {
	switch d := e.Data.(type) {
	case observe.RunStarted:
		t.begin(c, e, d)
		return
	case observe.RequestEnded:
		t.request(c, e, d)
		return
	case observe.Attempt:
		c.keep(d.Request, part{end: e.At, attempt: &d})
		return
	case observe.Retry:
		if d.Delay > 0 {
			c.keep(d.Request, part{end: e.At.Add(d.Delay), retry: &d})
		}
		return
	}
	if c.span == nil || c.muted {
		if _, end := e.Data.(observe.RunFinished); end {
			c.reset()
		}
		return
	}
	switch d := e.Data.(type) {
	case observe.PageListed:
		c.listed(e, d)
	case observe.WaitStarted:
		t.wait(c, e, d)
	case observe.WaitEnded:
		if s := c.waits[d.Reason]; s != nil {
			s.End(trace.WithTimestamp(e.At))
			delete(c.waits, d.Reason)
		}
	case observe.TokenRenewed:
		c.event(e, "token renewed", attribute.String("adsync.reason", text(d.Reason)))
	case observe.Circuit:
		name := "host answers again"
		if d.Open {
			name = "host does not answer"
		}
		c.event(e, name, attribute.String("server.address", text(d.Host)))
	case observe.RecordFailed:
		c.event(e, "record failed", attribute.String("adsync.stream", text(d.Stream)), attribute.String("adsync.record", text(d.EntityID)),
			attribute.String("error.type", string(d.Class)), attribute.String("adsync.code", text(d.Code)), attribute.String("adsync.platform_request_id", text(d.RequestID)))
	case observe.Note:
		if d.Level == observe.Warn {
			c.event(e, "finding", attribute.String("adsync.code", text(d.Code)))
		}
	case observe.RunFinished:
		c.finish(e, d)
	}
}

// text makes a text of outside fit for an attribute.
func text(s string) string { return ads.Printable(s, maxText) }

func (t *tracer) begin(c *conn, e *observe.Event, d observe.RunStarted) {
	if c.span != nil { // its end was never told
		c.close(e.At)
		c.span.End(trace.WithTimestamp(e.At))
	}
	c.reset()
	c.ctx, c.span = t.tr.Start(context.Background(), "run", trace.WithTimestamp(e.At), trace.WithAttributes(names(e)...), trace.WithAttributes(
		attribute.String("adsync.run_id", e.RunID), attribute.String("adsync.trigger", text(d.Trigger)), attribute.Bool("adsync.resumed", d.Resumed),
	))
	c.muted = !c.span.IsRecording()
}

// names say whose it is, at the root of a trace.
func names(e *observe.Event) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("adsync.client", text(e.Ref.ClientID)), attribute.String("adsync.connection", text(e.Ref.Connection)), attribute.String("adsync.platform", text(e.Platform)),
	}
}

func (c *conn) reset() {
	c.ctx, c.span, c.muted, c.detailed, c.leftOut, c.pages, c.waits, c.requests = nil, nil, false, 0, 0, nil, nil, nil
}

// keep remembers a part of a request.
func (c *conn) keep(request int64, p part) {
	if c.muted || len(c.requests[request]) >= maxParts || (len(c.requests) >= maxRequests && c.requests[request] == nil) {
		return
	}
	if c.requests == nil {
		c.requests = map[int64][]part{}
	}
	c.requests[request] = append(c.requests[request], p)
}

// request makes the spans of a request that has ended.
func (t *tracer) request(c *conn, e *observe.Event, d observe.RequestEnded) {
	parts := c.requests[d.Request]
	delete(c.requests, d.Request)
	if c.muted {
		return
	}
	if c.detailed >= maxDetailed && d.Class == ads.ClassOK && d.Attempts <= 1 {
		c.leftOut++
		return
	}
	c.detailed++
	begin := e.At.Add(-d.Duration)
	parent, attrs := c.ctx, []attribute.KeyValue{attribute.Int64("adsync.request", d.Request), attribute.Int("adsync.attempts", d.Attempts)}
	switch {
	case parent == nil: // a login, before or between runs
		parent = context.Background()
		attrs = append(attrs, names(e)...)
	case d.Page > 0:
		parent = t.page(c, d.Page, begin)
	}
	ctx, span := t.tr.Start(parent, d.Endpoint, trace.WithTimestamp(begin), trace.WithAttributes(attrs...))
	if span.IsRecording() {
		for _, p := range parts {
			if p.attempt != nil {
				t.attempt(ctx, p.end, p.attempt)
			} else {
				t.pause(ctx, p.end, e.At, p.retry)
			}
		}
	}
	fail(span, d.Class, d.Code)
	span.End(trace.WithTimestamp(e.At))
}

func (t *tracer) attempt(ctx context.Context, end time.Time, a *observe.Attempt) {
	attrs := []attribute.KeyValue{attribute.Int("adsync.try", a.Try), attribute.Bool("adsync.sent", a.Sent)}
	if a.Status > 0 {
		attrs = append(attrs, attribute.Int("http.response.status_code", a.Status))
	}
	if a.RequestID != "" {
		attrs = append(attrs, attribute.String("adsync.platform_request_id", text(a.RequestID)))
	}
	_, span := t.tr.Start(ctx, "attempt", trace.WithTimestamp(end.Add(-a.Duration)), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	fail(span, a.Class, a.Code)
	span.End(trace.WithTimestamp(end))
}

// pause is the time before another attempt, which ends with its request at the latest.
func (t *tracer) pause(ctx context.Context, until, end time.Time, r *observe.Retry) {
	begin := until.Add(-r.Delay)
	if until.After(end) {
		until = end
	}
	_, span := t.tr.Start(ctx, "back-off", trace.WithTimestamp(begin), trace.WithAttributes(
		attribute.String("error.type", string(r.Class)), attribute.String("adsync.code", text(r.Code)), attribute.Int("adsync.try", r.Try),
	))
	span.End(trace.WithTimestamp(until))
}

// fail says in a span what went wrong, by class and code: messages are for the log.
func fail(span trace.Span, class ads.Class, code string) {
	if code != "" {
		span.SetAttributes(attribute.String("adsync.code", text(code)))
	}
	if class != ads.ClassOK {
		span.SetAttributes(attribute.String("error.type", string(class)))
		span.SetStatus(codes.Error, string(class))
	}
}

// page is the context of a page's span, which begins with its first request.
func (t *tracer) page(c *conn, number int, begin time.Time) context.Context {
	for _, p := range c.pages {
		if p.number == number {
			return p.ctx
		}
	}
	if len(c.pages) >= maxPages {
		return c.ctx
	}
	ctx, span := t.tr.Start(c.ctx, "page", trace.WithTimestamp(begin), trace.WithAttributes(attribute.Int("adsync.page", number)))
	c.pages = append(c.pages, page{number, ctx, span})
	return ctx
}

// listed ends the page that was committed. Where the platform counts its pages otherwise, it is the oldest: they are committed in their order.
func (c *conn) listed(e *observe.Event, d observe.PageListed) {
	at := slices.IndexFunc(c.pages, func(p page) bool { return p.number == d.Page })
	if at < 0 && c.leftOut == 0 && len(c.pages) > 0 {
		at = 0
	}
	if at < 0 {
		return
	}
	p := c.pages[at]
	c.pages = slices.Delete(c.pages, at, at+1)
	p.span.SetAttributes(
		attribute.String("adsync.account", text(d.Account)), attribute.String("adsync.stream", text(d.Stream)), attribute.Int("adsync.rows", d.Rows),
		attribute.Int("adsync.rows_new", d.New), attribute.Int("adsync.pass", d.Pass),
	)
	p.span.End(trace.WithTimestamp(e.At))
}

func (t *tracer) wait(c *conn, e *observe.Event, d observe.WaitStarted) {
	if c.waits[d.Reason] != nil || len(c.waits) >= 16 {
		return // the same one, until another time
	}
	attrs := []attribute.KeyValue{attribute.String("adsync.reason", text(string(d.Reason)))}
	if d.Limit > 0 {
		attrs = append(attrs, attribute.Int("adsync.quota_used", d.Used), attribute.Int("adsync.quota_limit", d.Limit), attribute.Float64("adsync.quota_window_seconds", d.Window.Seconds()))
	}
	if d.Told > 0 {
		attrs = append(attrs, attribute.Float64("adsync.told_seconds", d.Told.Seconds()))
	}
	_, span := t.tr.Start(c.ctx, "wait: "+text(string(d.Reason)), trace.WithTimestamp(e.At), trace.WithAttributes(attrs...))
	if c.waits == nil {
		c.waits = map[observe.WaitReason]trace.Span{}
	}
	c.waits[d.Reason] = span
}

func (c *conn) event(e *observe.Event, name string, attrs ...attribute.KeyValue) {
	c.span.AddEvent(name, trace.WithTimestamp(e.At), trace.WithAttributes(attrs...))
}

// close ends what is open within the run.
func (c *conn) close(at time.Time) {
	for _, p := range c.pages {
		p.span.SetStatus(codes.Error, "not committed")
		p.span.End(trace.WithTimestamp(at))
	}
	for _, s := range c.waits {
		s.End(trace.WithTimestamp(at))
	}
}

func (c *conn) finish(e *observe.Event, d observe.RunFinished) {
	c.close(e.At)
	f := d.Figures
	c.span.SetAttributes(
		attribute.String("adsync.outcome", string(d.Outcome)), attribute.Int64("adsync.listed", f.Listed), attribute.Int64("adsync.synced", f.Synced),
		attribute.Int64("adsync.unchanged", f.Unchanged), attribute.Int64("adsync.failed", f.Failed), attribute.Int64("adsync.removed", f.Removed),
		attribute.Int64("adsync.pages", f.Pages), attribute.Int64("adsync.requests", f.Requests), attribute.Int64("adsync.throttled", f.Throttled),
		attribute.Int64("adsync.retries", f.Retries), attribute.Float64("adsync.waited_seconds", f.Waited.Seconds()),
	)
	if c.leftOut > 0 {
		c.span.SetAttributes(attribute.Int64("adsync.requests_left_out", c.leftOut))
	}
	if class := ads.ClassOf(d.Err); d.Outcome == ads.Failed {
		fail(c.span, class, "")
	}
	c.span.End(trace.WithTimestamp(e.At))
	c.reset()
}
