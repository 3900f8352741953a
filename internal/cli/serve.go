package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/live"
	"adsync/internal/metrics"
	"adsync/internal/notify"
	"adsync/internal/observe"
	"adsync/internal/queue"
	"adsync/internal/quota"
	"adsync/internal/report"
	"adsync/internal/secret"
	"adsync/internal/server"
	"adsync/internal/service"
	"adsync/internal/store"
	"adsync/internal/trace"
)

type serveCmd struct {
	Workers int    `name:"workers" default:"512" placeholder:"N" help:"Requests that this process has in flight at once, at most; what waits for a quota takes none (default ${default})."`
	Listen  string `name:"listen" placeholder:"ADDR" help:"Where the dashboard, the health pages and the API are served (default: web.listen of the configuration, else 127.0.0.1:8080)."`
	NoWeb   bool   `name:"no-web" help:"Serve nothing over HTTP."`
	Migrate bool   `name:"migrate" help:"Bring a PostgreSQL database's schema up to date first."`
}

// garbage is how much may lie about, in percent of what is in use, where GOGC does not say: half of what is usual. Most of what is in use are stacks
// of calls that wait for a quota, which make no garbage; it costs 3 % of the processor time and saves a sixth of the memory.
const garbage = 50

// Waits of a service.
var (
	parkAfter  = service.Paced(2 * time.Minute) // a longer one gives the worker back
	serveGrace = service.Paced(4 * time.Second) // of ten that a stop may take
)

const (
	aliveEvery  = 30 * time.Second
	manyConns   = 20 // beyond, pages and short waits are for the dashboard and the debug log
	queueWithin = 60 * time.Second
	flushWithin = time.Second // for the last traces
)

func (c *serveCmd) Run(a *app) error {
	if c.Workers < 1 {
		return usagef("Give a number such as 512.", "--workers %d is less than one", c.Workers)
	}
	cfg, err := a.load(false)
	if err != nil {
		return err
	}
	var listener net.Listener
	if !c.NoWeb {
		if c.Listen != "" {
			cfg.Web.Listen = c.Listen
		}
		if listener, err = a.listen(cfg.Web); err != nil {
			return err
		}
		defer listener.Close()
	}
	return c.serve(a, cfg, listener)
}

// serve works until it is told to stop, which is its error then. listener may be nil.
func (c *serveCmd) serve(a *app, cfg *config.Config, listener net.Listener) error {
	if a.env("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(garbage))
	}
	st, err := a.ready(cfg.Database, c.Migrate)
	if err != nil {
		return err
	}
	defer func() {
		if err := st.Close(); err != nil {
			a.log().Warn("the database could not be closed cleanly: " + err.Error())
		}
	}()
	meter := metrics.New(metrics.Options{Version: buildVersion(), Caught: func(doing string) error { return report.Caught(a.log(), doing) }})
	st = meter.Store(st)
	id := uuid.NewString()
	jobs, err := a.openQueue(cfg.Database, id, c.Migrate)
	if err != nil {
		return err
	}
	defer jobs.Close()

	spans, flush, err := trace.FromEnv(a.environ, trace.Version(buildVersion()), trace.OnError(func(err error) {
		a.log().Warn("traces could not be sent: " + err.Error())
	}), trace.OnPlain(a.plainTraces))
	if err != nil {
		return usagef("", "%s", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), flushWithin)
		defer cancel()
		_ = flush(ctx) // what is lost has been told of
	}()
	alive := newPulse(a.console)
	var progress live.Board
	var svc *service.Service
	notices := notify.New(notify.Options{ID: id, Ledger: st, First: func() bool { return svc.First() }, Log: a.log(), Pace: service.Paced})
	notices.Configure(cfg.Notify.Webhook, watched(cfg.Connections))
	events := observe.NewFan(alive, meter, spans, &progress, notices)
	kept, err := a.openTokens(cfg.TokenKeys, st)
	if err != nil {
		return err
	}
	defer a.settle(kept)
	if kept == nil {
		a.log().Info(inMemory)
	}
	shared := apiclient.NewShared(apiclient.SharedConfig{MaxInFlight: requestsAtOnce(c.Workers, openFiles()), Tokens: kept})
	defer shared.CloseIdle()
	svc = service.New(service.Options{
		ID: id, Name: processName(), Version: buildVersion(), Store: st, Queue: jobs, Log: a.log(), Secrets: &liveSecrets{a: a, cfg: cfg},
		Maker: &connect.Maker{
			Quota: quota.NewManager(st), Shared: shared, Observer: events, MaxWait: parkAfter, ParkAfter: parkAfter, Grace: serveGrace,
		},
	}, cfg.Connections)
	alive.many(len(cfg.Connections) > manyConns)
	meter.Configure(measured(cfg.Connections))
	meter.Source(metrics.Sources{
		Standings: metrics.Stored(st), Jobs: metrics.ByState(jobs.Depth), Runs: svc.Running,
		Workers: func() (n int) {
			for _, w := range svc.Workers() {
				if w.Alive {
					n++
				}
			}
			return n
		},
	})

	ctx, cancel := context.WithCancelCause(a.ctx)
	defer cancel(nil)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel(nil)
	if listener != nil {
		web := server.New(server.Options{Service: svc, Store: st, Metrics: meter.Handler(), Live: &progress, Log: a.log(), Web: cfg.Web})
		loops.Go(func() {
			if err := web.Serve(ctx, listener); err != nil {
				cancel(fmt.Errorf("the web server ended: %w", err))
			}
		})
		a.log().Info("listening on http://" + listener.Addr().String())
	}
	loops.Go(func() { a.reloads(ctx, svc, cfg, alive, meter, &progress, notices) })
	loops.Go(func() { notices.Run(ctx) })
	loops.Go(func() { alive.beat(ctx, a.log(), svc) })
	if kept != nil {
		loops.Go(func() { a.watchTokens(ctx, kept, svc.Configured, events) })
	}
	a.log().Info(fmt.Sprintf("serving %s from %s", plural(int64(len(cfg.Connections)), "connection"), st.Describe()), "worker", id)
	stop := context.AfterFunc(a.ctx, func() {
		a.log().Warn(fmt.Sprintf("%s: no new work; what is in flight is committed or given back, then it ends", context.Cause(a.ctx)))
	})
	defer stop()
	if err := svc.Run(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// serveFiles are open besides the sockets of requests: the database's, the queue's, those of whoever looks at the web pages.
const serveFiles = 150

// requestsAtOnce is what was asked for, within the process's limit on open files.
func requestsAtOnce(asked int, files uint64) int {
	if files <= serveFiles+8 {
		return min(asked, 8)
	}
	return int(min(uint64(asked), files-serveFiles))
}

// openQueue opens the job queue in the same database and makes sure of its tables.
func (a *app) openQueue(db config.Database, id string, migrate bool) (*queue.Queue, error) {
	ctx, cancel := context.WithTimeout(a.ctx, queueWithin)
	defer cancel()
	q, err := dialQueue(ctx, db, queue.Options{ID: id, Log: a.log()})
	if err == nil {
		if err = prepareQueue(ctx, q, migrate || db.Engine == config.SQLite); err != nil {
			q.Close()
		}
	}
	if err != nil {
		return nil, queueError(err)
	}
	return q, nil
}

func dialQueue(ctx context.Context, db config.Database, o queue.Options) (*queue.Queue, error) {
	if db.Engine == config.SQLite {
		return queue.OpenSQLite(db.Path, o)
	}
	return queue.OpenPostgres(ctx, db.DSN, o)
}

var errNoQueue = errors.New("the database has no tables of the queue yet, or older ones")

func prepareQueue(ctx context.Context, q *queue.Queue, migrate bool) error {
	if migrate {
		_, err := q.Migrate(ctx)
		return err
	}
	missing, err := q.Missing(ctx)
	if err == nil && missing {
		err = errNoQueue
	}
	return err
}

// queueError puts what went wrong with the queue into the terms of the database.
func queueError(err error) error {
	e := &store.Error{Kind: store.KindOther, Op: "open the queue", Message: err.Error(), Err: err}
	if errors.Is(err, errNoQueue) {
		e.Kind, e.Hint = store.KindSchema, "run `adsync migrate` once, or give --migrate"
	}
	if _, ok := errors.AsType[*queue.ForeignError](err); ok {
		e.Kind, e.Hint = store.KindForeignTable, "give adsync a schema of its own: ?search_path=adsync in the database's address"
	}
	return e
}

// plainTraces warns of a collector that is reached in clear over a network, or names that as a problem where all is strict.
func (a *app) plainTraces(name, endpoint string) (problem, cure string) {
	if !config.PlainBeyondLoopback(endpoint) {
		return "", ""
	}
	problem, cure = "sends traces, and what the collector is to be shown (OTEL_EXPORTER_OTLP_HEADERS), in clear: http, to another machine", "write https://"
	if a.strict {
		return problem, cure
	}
	a.problem(slog.LevelWarn, config.Problem{Path: name, Message: problem, Cure: cure, Warning: true})
	return "", ""
}

// listen listens where the configuration says: beyond this machine only with a login, and where all is strict never without one.
func (a *app) listen(w config.Web) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(w.Listen); err != nil {
		return nil, usagef("Write 127.0.0.1:8080.", "--listen %s is no address", ads.Printable(w.Listen, 100))
	}
	if err := w.Guarded(); err != nil {
		return nil, usagef("Give the configuration a web: with a password: (and a token: for programs), or listen on 127.0.0.1:8080.", "--listen %s", err)
	}
	if w.Password.Empty() && w.Token.Empty() {
		const cure = "Give the configuration a web: with a password:, or start with --no-web."
		if a.strict {
			return nil, usagef(cure, "the dashboard has no login, which --strict and production refuse")
		}
		a.problem(slog.LevelWarn, config.Problem{
			Path: "web", Message: "the dashboard has no login: everybody on this machine can see the figures and ask for runs", Cure: cure, Warning: true,
		})
	}
	l, err := (&net.ListenConfig{}).Listen(a.ctx, "tcp", w.Listen)
	if err != nil {
		return nil, usagef("Name another address with --listen, or give --no-web.", "cannot listen on %s: %s", ads.Printable(w.Listen, 100), err)
	}
	return l, nil
}

func processName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown host"
	}
	return fmt.Sprintf("%s pid %d", ads.Printable(host, 100), os.Getpid())
}

// reloads reads the configuration again at each SIGHUP. A broken one changes nothing.
func (a *app) reloads(ctx context.Context, svc *service.Service, first *config.Config, alive *pulse, meter *metrics.Metrics, progress *live.Board, notices *notify.Notifier) {
	for range hangups(ctx) {
		a.log().Info("SIGHUP: reading the configuration again")
		cfg, err := a.load(false)
		if err != nil {
			f := a.failureOf(err) // names every mistake
			a.log().Error("the configuration stays as it was: " + f.why)
			continue
		}
		if cfg.Database.Display != first.Database.Display || !cfg.Database.DSN.Equal(first.Database.DSN) {
			a.log().Warn("the database cannot change while serving: start anew for that; the rest is taken on")
		}
		if !slices.EqualFunc(cfg.TokenKeys, first.TokenKeys, secret.Text.Equal) {
			a.log().Warn("token_key cannot change while serving: start anew for that; the rest is taken on")
		}
		alive.many(len(cfg.Connections) > manyConns)
		meter.Configure(measured(cfg.Connections))
		notices.Configure(cfg.Notify.Webhook, watched(cfg.Connections))
		ch := svc.Reload(cfg.Connections, &liveSecrets{a: a, cfg: cfg})
		alive.forget(ch.Removed)
		progress.Forget(ch.Removed)
		a.log().Info(fmt.Sprintf("the configuration is taken on: %d added, %d changed, %d removed", len(ch.Added), len(ch.Changed), len(ch.Removed)))
	}
}

// watched are connections as notifications know them.
func watched(conns []config.Connection) []notify.Connection {
	out := make([]notify.Connection, len(conns))
	for i, c := range measured(conns) {
		out[i] = notify.Connection{Ref: c.Ref, Platform: c.Platform, Interval: c.Interval}
	}
	return out
}

// measured are connections as the metrics know them.
func measured(conns []config.Connection) []metrics.Connection {
	now, intervals := time.Now(), map[string]time.Duration{}
	out := make([]metrics.Connection, len(conns))
	for i, c := range conns {
		every, ok := intervals[c.Schedule.Text]
		if !ok {
			every = metrics.IntervalOf(c.Schedule.Next, now)
			intervals[c.Schedule.Text] = every
		}
		out[i] = metrics.Connection{Ref: c.Ref, Platform: c.Platform, Interval: every}
	}
	return out
}

// pulse counts who waits, for the line that says that all is alive, and keeps from the log what thousands of connections would fill it with.
type pulse struct {
	next *report.Console

	mu    sync.Mutex
	quiet bool
	waits map[ads.Ref]map[observe.WaitReason]bool
}

func newPulse(next *report.Console) *pulse {
	return &pulse{next: next, waits: map[ads.Ref]map[observe.WaitReason]bool{}}
}

func (p *pulse) many(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quiet = yes
}

func (p *pulse) forget(refs []ads.Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range refs {
		delete(p.waits, r)
	}
}

// Observe implements observe.Observer.
func (p *pulse) Observe(e observe.Event) {
	detail := false
	p.mu.Lock()
	switch d := e.Data.(type) {
	case observe.WaitStarted:
		if p.waits[e.Ref] == nil {
			p.waits[e.Ref] = map[observe.WaitReason]bool{}
		}
		p.waits[e.Ref][d.Reason] = true
		detail = time.Until(d.Until) < parkAfter
	case observe.WaitEnded:
		if delete(p.waits[e.Ref], d.Reason); len(p.waits[e.Ref]) == 0 {
			delete(p.waits, e.Ref)
		}
	case observe.RunFinished:
		delete(p.waits, e.Ref)
	case observe.PageListed:
		detail = true
	}
	quiet := p.quiet
	p.mu.Unlock()
	if detail && quiet && !p.next.Log().Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	p.next.Observe(e)
}

// beat says every half minute what is going on, while anything is.
func (p *pulse) beat(ctx context.Context, log *slog.Logger, svc *service.Service) {
	t := time.NewTicker(aliveEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		running := svc.Running()
		if running == 0 {
			continue
		}
		p.mu.Lock()
		waiting := len(p.waits)
		p.mu.Unlock()
		log.Info(fmt.Sprintf("still serving: %d of %s being synced here, %d of them waiting", running, plural(int64(len(svc.Refs())), "connection"), min(waiting, running)))
	}
}
