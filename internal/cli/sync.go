package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/engine"
	"adsync/internal/quota"
	"adsync/internal/report"
	"adsync/internal/secret"
	"adsync/internal/store"
)

type syncCmd struct {
	selection
	Fresh         bool          `name:"fresh" help:"Start anew although an interrupted run could be resumed."`
	Wait          bool          `name:"wait" help:"Queue up behind a process that syncs the same connection."`
	MaxWait       time.Duration `name:"max-wait" default:"15m" placeholder:"DURATION" help:"Longest wait for a quota or on a server's order; a longer one ends with exit code 5, its place kept (default ${default})."`
	MetricsFile   string        `name:"metrics-file" placeholder:"FILE" help:"Write the figures there as Prometheus text."`
	AllowRemovals bool          `name:"allow-removals" help:"Agree to marking more than 20 % of a client's campaigns as removed."`
	Migrate       bool          `name:"migrate" help:"Bring a PostgreSQL database's schema up to date first."`
	Ask           bool          `name:"ask" help:"Ask the service (adsync serve) for these runs, and end; a run that is going is joined."`
}

func (c *syncCmd) Run(a *app) error {
	if c.MaxWait < 0 {
		return usagef("Give a duration such as 15m.", "--max-wait %s is negative", c.MaxWait)
	}
	cfg, err := a.load(false)
	if err != nil {
		return a.nothing(err)
	}
	conns, err := c.of(cfg)
	if err != nil {
		return a.nothing(err)
	}
	if c.Ask {
		if c.Fresh || c.Wait || c.MetricsFile != "" || c.AllowRemovals {
			return usagef("Leave the other flags out.", "--ask goes with --client and --connection alone")
		}
		return a.ask(cfg.Database, conns, c.Migrate)
	}
	return a.syncAll(cfg.Database, conns, syncOptions{
		migrate: c.Migrate, maxWait: max(c.MaxWait, time.Millisecond), metricsFile: c.MetricsFile, secrets: &liveSecrets{a: a, cfg: cfg}, tokenKeys: cfg.TokenKeys,
		engine: engine.Options{Trigger: "manual", Fresh: c.Fresh, Wait: c.Wait, AllowRemovals: c.AllowRemovals},
	})
}

// nothing is the end of a sync that could not name its connections: with --json there is a document all the same.
func (a *app) nothing(err error) error {
	if a.JSON {
		return errors.Join(err, a.writeJSON(report.NewSummary(nil, time.Since(a.began), time.Now(), a.red)))
	}
	return err
}

// syncOptions are what all connections of one command have in common.
type syncOptions struct {
	migrate     bool
	maxWait     time.Duration
	metricsFile string
	engine      engine.Options
	retry       map[ads.Ref][]store.Failure // retry these alone
	shared      *apiclient.Shared           // nil: the system's network
	secrets     *liveSecrets                // nil: they are not read again
	tokenKeys   []secret.Text               // none: tokens are kept in memory
	inspect     func(store.Store) error     // called after the runs, while the database is open
}

// openWithin bounds the way to a database that can be written. The contract allows 15 seconds for one that cannot be reached.
const openWithin = 60 * time.Second

// syncAll brings connections up to date side by side and reports how that ended.
func (a *app) syncAll(db config.Database, conns []config.Connection, o syncOptions) error {
	stop := context.AfterFunc(a.ctx, func() {
		a.log().Warn(fmt.Sprintf("%s: no new requests; what is in flight is committed, then it ends", context.Cause(a.ctx)))
	})
	defer stop()
	a.console.Begin(connect.Refs(conns))
	sums, last, err := a.runAll(db, conns, o)
	a.console.End()

	now := time.Now()
	sum := report.NewSummary(sums, time.Since(a.began), now, a.red)
	switch {
	case a.JSON:
		_ = a.writeJSON(sum)
	case !a.Quiet:
		_ = sum.Write(a.stdout)
	}
	if o.metricsFile != "" {
		for _, s := range sums {
			if s.Outcome == ads.Complete {
				last[s.Ref] = now
			}
		}
		if err := report.WriteFile(o.metricsFile, sum.Metrics(last), 0o644); err != nil {
			a.log().Warn("the metrics file could not be written: " + err.Error())
		}
	}
	if end := a.ending(sums); end != nil {
		return end
	}
	return err
}

// runAll gives a summary for every connection, whatever happens, and when each was last complete before.
func (a *app) runAll(db config.Database, conns []config.Connection, o syncOptions) ([]engine.Summary, report.LastSuccess, error) {
	last := report.LastSuccess{}
	none := func(err error) ([]engine.Summary, report.LastSuccess, error) {
		sums := make([]engine.Summary, len(conns))
		for i, c := range conns {
			sums[i] = engine.Summary{Ref: c.Ref, Platform: c.Platform, Phase: "opening the database", Err: err}
		}
		return sums, last, nil
	}
	st, err := a.ready(db, o.migrate)
	if err != nil {
		return none(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			a.log().Warn("the database could not be closed cleanly: " + err.Error())
		}
	}()
	if o.metricsFile != "" {
		if known, err := st.Status(a.ctx); err == nil {
			for _, k := range known {
				last[k.Ref] = k.LastComplete
			}
		}
	}
	kept, err := a.openTokens(o.tokenKeys, st)
	if err != nil {
		return none(err)
	}
	defer a.settle(kept)
	if kept == nil {
		a.log().Debug(inMemory)
	}
	if o.shared == nil {
		o.shared = apiclient.NewShared(apiclient.SharedConfig{Tokens: kept})
	}
	defer o.shared.CloseIdle()
	manager := quota.NewManager(st)
	maker := &connect.Maker{Quota: manager, Shared: o.shared, Observer: a.console, MaxWait: o.maxWait}
	for _, c := range conns {
		maker.Declare(c)
	}
	sums := make([]engine.Summary, len(conns))
	var atOnce int
	atOnce, maker.InFlight = bounds(len(conns))
	free := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			sums[i] = a.runOne(st, maker, c, o)
			a.console.Ended(c.Ref, sums[i].Outcome)
			if sums[i].RunID == "" && sums[i].Err != nil {
				a.log().Error("sync could not begin: "+sums[i].Err.Error(), "client", c.Ref.ClientID, "connection", c.Ref.Connection)
			}
		})
	}
	wg.Wait()
	if o.inspect != nil {
		err = o.inspect(st)
	}
	return sums, last, err
}

// ready opens a database and proves that it can be written, before anything is asked of a platform.
func (a *app) ready(db config.Database, migrate bool) (store.Store, error) {
	ctx, cancel := context.WithTimeoutCause(a.ctx, openWithin, &store.Error{
		Kind: store.KindUnreachable, Op: "open", Message: fmt.Sprintf("%s was not ready within %s", db.Display, openWithin),
	})
	defer cancel()
	st, err := a.openStore(ctx, db, migrate)
	if err == nil {
		if err = st.CheckWritable(ctx); err == nil {
			return st, nil
		}
		err = errors.Join(err, st.Close())
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, err
}

// runOne builds one connection's client and runs it. Whatever goes wrong stays with this connection.
func (a *app) runOne(st store.Store, maker *connect.Maker, c config.Connection, o syncOptions) (sum engine.Summary) {
	defer func() {
		if v := recover(); v != nil {
			sum = engine.Summary{Ref: c.Ref, Platform: c.Platform, Outcome: ads.Failed, Phase: "starting", Err: report.Caught(a.log(), "syncing "+c.Ref.String())}
		}
	}()
	if a.ctx.Err() != nil {
		return engine.Summary{Ref: c.Ref, Platform: c.Platform, Phase: "starting", Err: context.Cause(a.ctx)}
	}
	p, err := connect.Platform(c)
	if err == nil {
		var api *apiclient.Client
		if api, err = maker.Client(p, c); err == nil {
			eo := maker.Options(o.engine, c)
			eo.Platform, eo.API, eo.Store, eo.Retry = p, api, st, o.retry[c.Ref]
			sum = engine.Run(a.ctx, eo)
			if renewed, ok := a.renewed(c, sum, o); ok { // what was reached so far is kept, and the run goes on
				if api, err := maker.Client(p, renewed); err == nil {
					eo.API, eo.Fresh = api, false
					sum = engine.Run(a.ctx, eo)
				}
			}
			if a.ctx.Err() != nil && errors.Is(sum.Err, context.Canceled) {
				sum.Err = context.Cause(a.ctx)
			}
			return sum
		}
	}
	return engine.Summary{Ref: c.Ref, Platform: c.Platform, Phase: "starting", Err: a.unknownPlatform(err)}
}

// renewed reads the credentials of a connection anew when they were refused, and reports whether they are others.
func (a *app) renewed(c config.Connection, sum engine.Summary, o syncOptions) (config.Connection, bool) {
	if ads.ClassOf(sum.Err) != ads.ClassAuth || o.secrets == nil || !o.secrets.Renewable(c.Ref) || a.ctx.Err() != nil {
		return c, false
	}
	ctx, cancel := context.WithTimeout(a.ctx, resolveWithin)
	defer cancel()
	now, changed, err := o.secrets.Renew(ctx, c)
	switch {
	case err != nil:
		a.log().Warn("the refused credentials could not be read again: "+err.Error(), "client", c.Ref.ClientID, "connection", c.Ref.Connection)
	case changed:
		a.log().Info("the credentials were changed where they are kept: the new ones are tried once", "client", c.Ref.ClientID, "connection", c.Ref.Connection)
	}
	return now, err == nil && changed
}

// unknownPlatform tells where to look, when the platform is not in this build.
func (a *app) unknownPlatform(err error) error {
	if _, ok := errors.AsType[*connect.UnknownPlatformError](err); ok {
		return usagef("`adsync platforms` lists them.", "%s", err)
	}
	return err
}
