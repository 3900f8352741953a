package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/engine"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/queue"
	"adsync/internal/store"
)

// conn is one connection of the configuration. An idle one is little more than its settings.
type conn struct {
	c        config.Connection
	platform platform.Platform
	api      *apiclient.Client // kept between runs for its token; nil before the first
	cancel   context.CancelCauseFunc
	fails    int  // runs in a row that failed
	renewed  bool // the credentials were read anew since a run went well
}

// Pauses before work that was put off comes back.
var (
	pauseBusy    = Paced(15 * time.Second) // somebody else syncs the connection
	pauseStore   = Paced(10 * time.Second) // the database failed
	pauseUnknown = Paced(15 * time.Second) // this process does not know the connection; another may
	pauseFailed  = Paced(time.Minute)      // after a first failure; doubled for each one more
)

const (
	pauseMost   = time.Hour
	pauseAuth   = 24 * time.Hour // credentials that were refused; a change of them ends it
	pauseBug    = 10 * time.Minute
	resumeAge   = engine.ResumeAge
	retryAtOnce = 1000 // failures in one retry
)

// work does a job: it is the queue's handler.
func (s *Service) work(ctx context.Context, t queue.Task) (out queue.Outcome) {
	out = queue.Park(pauseBug)
	s.guarded(func() { out = s.workOn(ctx, t) })
	return out
}

func (s *Service) workOn(ctx context.Context, t queue.Task) queue.Outcome {
	runCtx, cancel := context.WithCancelCause(s.root)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	s.mu.Lock()
	c := s.conns[t.Ref]
	switch {
	case s.stopping:
		s.mu.Unlock()
		return queue.Park(0)
	case c == nil:
		s.mu.Unlock()
		if time.Since(t.Queued) > strangerFor { // no longer configured
			return queue.Done
		}
		return queue.Park(pauseUnknown)
	case c.cancel != nil: // its other job
		s.mu.Unlock()
		return queue.Park(pauseBusy)
	}
	c.cancel = cancel
	s.running++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		c.cancel = nil
		s.running--
		s.mu.Unlock()
	}()

	cfg := s.fresh(runCtx, c)
	todo, err := s.needed(runCtx, t, cfg)
	if err != nil {
		return s.storeFailed(runCtx, t.Ref, err)
	}
	if !todo.run {
		return todo.out
	}
	sum := s.run(runCtx, c, cfg, t, todo)
	s.mu.Lock()
	stopping := s.stopping
	s.mu.Unlock()
	end := conclude(sum, context.Cause(runCtx), stopping, c.fails, cfg.Schedule.Every, time.Now())
	c.fails = end.fails
	if end.out == queue.Done {
		c.renewed = false
	}
	if end.wait.Until.IsZero() {
		return end.out
	}
	if end.kind == observe.ParkAuth {
		if s.renew(runCtx, c, cfg) {
			return queue.Park(0) // once, at once
		}
		end.wait.Mark = markOf(cfg)
	}
	if err := s.o.Store.Park(runCtx, t.Ref, end.wait); err != nil && runCtx.Err() == nil {
		s.o.Log.Warn(fmt.Sprintf("that %s is parked could not be recorded: %s", t.Ref, err))
	}
	s.tell(cfg, sum.RunID, observe.Parked{Kind: end.kind, Reason: end.wait.Reason, Until: end.wait.Until})
	return end.out
}

func (s *Service) tell(c config.Connection, runID string, d observe.Data) {
	s.o.Maker.Observer.Observe(observe.Event{At: time.Now(), Ref: c.Ref, Platform: c.Platform, RunID: runID, Data: d})
}

// need is what a job still has to do.
type need struct {
	run      bool
	out      queue.Outcome   // where there is nothing to run
	failures []store.Failure // to be tried again, instead of a sync
	asked    bool            // a person wants refused credentials to be tried
}

// needed finds out whether the job still has something to do.
func (s *Service) needed(ctx context.Context, t queue.Task, c config.Connection) (need, error) {
	w, err := s.o.Store.ReadWait(ctx, t.Ref)
	if err != nil {
		return need{}, err
	}
	switch p, err := s.o.Store.ReadPause(ctx, t.Ref); {
	case err != nil:
		return need{}, err
	case !p.At.IsZero():
		return need{out: s.parkPaused(t.Ref, w)}, nil
	}
	if !t.Slot.IsZero() && !t.Retry && w.Mark != markAsked {
		last, err := s.lastStart(ctx, t.Ref, time.Now())
		if err != nil {
			return need{}, err
		}
		if !last.Before(t.Slot) {
			if open, err := s.unfinished(ctx, t.Ref); err != nil || !open {
				return need{}, err
			}
		}
	}
	if refusedMark(w.Mark) && sameMark(w.Mark, c) {
		return need{out: queue.Park(max(time.Until(w.Until), pauseAuth))}, nil
	}
	n := need{run: true, asked: w.Mark == markAsked}
	if !t.Retry {
		return n, nil
	}
	if open, err := s.unfinished(ctx, t.Ref); err != nil || open { // its next life meets the failures too
		return need{}, err
	}
	f := store.FailureFilter{ClientID: t.Ref.ClientID, Connection: t.Ref.Connection, Limit: retryAtOnce}
	if t.Trigger == store.TriggerRetry {
		f.DueBefore = time.Now().UTC()
	}
	for x, err := range s.o.Store.Failures(ctx, f) {
		if err != nil {
			return need{}, err
		}
		n.failures = append(n.failures, x)
	}
	n.run = len(n.failures) > 0
	return n, nil
}

// lastStart is when the connection's newest run began. One that lies in the future is of a clock that was wrong, and so are those that followed it, since runs of
// a connection are kept in order: it says nothing, lest every slot until then be held up.
func (s *Service) lastStart(ctx context.Context, ref ads.Ref, now time.Time) (time.Time, error) {
	last, err := s.o.Store.LastStart(ctx, ref)
	if last.After(now.Add(clockError)) {
		return time.Time{}, err
	}
	return last, err
}

// unfinished says whether the connection's newest run is to be resumed.
func (s *Service) unfinished(ctx context.Context, ref ads.Ref) (bool, error) {
	runs, err := s.o.Store.Runs(ctx, ref, 1)
	if err != nil || len(runs) == 0 {
		return false, err
	}
	r := runs[0]
	return r.Outcome != ads.Complete && r.Outcome != ads.Partial && time.Since(r.StartedAt) < resumeAge, nil
}

// run is one life of a run.
func (s *Service) run(ctx context.Context, c *conn, cfg config.Connection, t queue.Task, todo need) engine.Summary {
	fail := func(err error) engine.Summary {
		return engine.Summary{Ref: cfg.Ref, Platform: cfg.Platform, Phase: "starting", Err: err}
	}
	s.mu.Lock()
	p, api := c.platform, c.api
	s.mu.Unlock()
	if api == nil {
		var err error
		if p, err = connect.Platform(cfg); err != nil {
			return fail(err)
		}
		if api, err = s.o.Maker.Client(p, cfg); err != nil {
			return fail(err)
		}
		s.mu.Lock()
		c.platform, c.api = p, api
		s.mu.Unlock()
	} else {
		api.Begin()
	}
	if todo.asked {
		api.Forgive()
	}
	trigger := t.Trigger
	if todo.asked { // somebody joined a job that the calendar had made
		trigger = store.TriggerManual
	}
	if t.Retry { // whoever asked: it is no sync
		trigger = store.TriggerRetry
	}
	o := s.o.Maker.Options(engine.Options{Trigger: trigger, Retry: todo.failures}, cfg)
	o.Platform, o.API, o.Store = p, api, s.o.Store
	return engine.Run(ctx, o)
}

func (s *Service) storeFailed(ctx context.Context, ref ads.Ref, err error) queue.Outcome {
	if ctx.Err() != nil {
		return queue.Park(0)
	}
	s.o.Log.Warn(fmt.Sprintf("%s waits for the database: %s", ref, err))
	return queue.Park(pauseStore)
}

// conclusion is what follows from the end of a run.
type conclusion struct {
	out   queue.Outcome
	kind  observe.ParkKind
	wait  store.Wait // zero: nothing to show
	fails int
}

// conclude decides what becomes of a job when its run has ended. It is pure.
func conclude(sum engine.Summary, cause error, stopping bool, fails int, every time.Duration, now time.Time) conclusion {
	err := sum.Err
	_, partial := errors.AsType[*engine.PartialError](err)
	if err == nil || partial {
		return conclusion{out: queue.Done}
	}
	if stopping || errors.Is(cause, errChanged) || errors.Is(cause, errCutOff) || errors.Is(cause, errPaused) {
		return conclusion{out: queue.Park(0), fails: fails}
	}
	park := func(kind observe.ParkKind, until time.Time, reason string, fails int) conclusion {
		d := max(until.Sub(now), 0)
		return conclusion{
			out: queue.Park(d), kind: kind, fails: fails,
			wait: store.Wait{Reason: ads.Printable(reason, 500), Until: now.Add(d).UTC(), Mark: string(kind)},
		}
	}
	if busy, ok := errors.AsType[*store.BusyError](err); ok {
		return conclusion{out: queue.Park(pauseBusy), kind: observe.ParkBusy, wait: store.Wait{}, fails: fails}.because(busy)
	}
	if errors.Is(err, store.ErrFenced) { // somebody else has the connection now
		return conclusion{out: queue.Park(pauseBusy), fails: fails}
	}
	if _, ok := errors.AsType[*store.Error](err); ok {
		return conclusion{out: queue.Park(pauseStore), fails: fails}
	}
	if _, ok := errors.AsType[*engine.InternalError](err); ok {
		return park(observe.ParkFailed, now.Add(pauseBug), err.Error(), fails+1)
	}
	e, _ := errors.AsType[*ads.Error](err)
	switch ads.ClassOf(err) {
	case ads.ClassDeferred:
		kind := observe.ParkQuota
		if e.Code == apiclient.CodeOutage {
			kind = observe.ParkOutage
		}
		return park(kind, e.Until, afterColon(e.Message), 0)
	case ads.ClassAuth:
		return park(observe.ParkAuth, now.Add(pauseAuth), err.Error(), fails+1)
	}
	pause := pauseFailed << min(fails, 10)
	most := pauseMost
	if every > 0 {
		most = min(most, max(every, pauseFailed))
	}
	return park(observe.ParkFailed, now.Add(min(pause, most)), err.Error(), fails+1)
}

// because keeps the conclusion of a busy connection readable: who has it shows by itself in the status.
func (c conclusion) because(*store.BusyError) conclusion { return c }

// afterColon drops "deferred until 2026-03-01 12:00:00 UTC: " from a message: the time is shown apart.
func afterColon(s string) string {
	if strings.HasPrefix(s, "deferred until ") {
		if _, rest, ok := strings.Cut(s, " UTC: "); ok {
			return rest
		}
	}
	return s
}

// same says that nothing about a connection has changed.
func same(a, b config.Connection) bool { return reflect.DeepEqual(a, b) }

// sameLogin says that both log in at the same place with the same credentials.
func sameLogin(a, b config.Connection) bool {
	return a.URL == b.URL && a.SameLogin(b)
}

// markAsked says that a person wants a run of the connection: though its credentials were refused, and though the job that it joined is about a slot that has
// been served.
const markAsked = "asked"

// markPrefix begins the mark of a connection whose credentials were refused.
const markPrefix = "auth:"

// markOf tells these credentials from others, of which one in 65,536 looks alike. It is kept of credentials that were refused, so what 16 bits of a
// salted hash say about them opens nothing.
func markOf(c config.Connection) string {
	var salt [8]byte
	_, _ = rand.Read(salt[:])
	return markPrefix + hex.EncodeToString(salt[:]) + ":" + digest(salt[:], c)
}

func digest(salt []byte, c config.Connection) string {
	parts := [][]byte{salt, []byte(c.URL)}
	for _, s := range c.Logins() {
		parts = append(parts, []byte(s.Reveal()))
	}
	h := sha256.Sum256(bytes.Join(parts, []byte{0}))
	return hex.EncodeToString(h[:2])
}

func refusedMark(mark string) bool { return strings.HasPrefix(mark, markPrefix) }

// sameMark says whether a mark is of these credentials.
func sameMark(mark string, c config.Connection) bool {
	salt, d, _ := strings.Cut(strings.TrimPrefix(mark, markPrefix), ":")
	b, err := hex.DecodeString(salt)
	return err == nil && d == digest(b, c)
}

// secretsWithin bounds the reading of one connection's secrets.
const secretsWithin = 30 * time.Second

// fresh gives a connection's settings with its credentials as they are kept now. Where they cannot be read, those known so far have to do.
func (s *Service) fresh(ctx context.Context, c *conn) config.Connection {
	s.mu.Lock()
	cfg, secrets := c.c, s.o.Secrets
	s.mu.Unlock()
	if secrets == nil || !secrets.Renewable(cfg.Ref) {
		return cfg
	}
	limited, cancel := context.WithTimeout(ctx, secretsWithin)
	defer cancel()
	now, err := secrets.ResolveConnection(limited, cfg.Ref)
	if err != nil {
		if ctx.Err() == nil {
			s.tell(cfg, "", observe.Note{Level: observe.Warn, Code: "secrets", Message: "the credentials could not be read again, the last ones are used: " + err.Error()})
		}
		return cfg
	}
	return s.replace(c, cfg, now)
}

// replace takes on other credentials, with a client of their own.
func (s *Service) replace(c *conn, was, now config.Connection) config.Connection {
	if sameLogin(was, now) {
		return was
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was.Email, was.Password, was.Credentials = now.Email, now.Password, now.Credentials
	c.c, c.platform, c.api = was, nil, nil
	return was
}

// renew reads refused credentials anew and reports whether they are others, once until a run goes well.
func (s *Service) renew(ctx context.Context, c *conn, cfg config.Connection) bool {
	s.mu.Lock()
	secrets := s.o.Secrets
	s.refused[cfg.Ref] = true
	s.mu.Unlock()
	if secrets == nil || !secrets.Renewable(cfg.Ref) || c.renewed {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, secretsWithin)
	defer cancel()
	now, changed, err := secrets.Renew(limited, cfg)
	if err != nil {
		if ctx.Err() == nil {
			s.tell(cfg, "", observe.Note{Level: observe.Warn, Code: "secrets", Message: "the refused credentials could not be read again: " + err.Error()})
		}
		return false
	}
	if !changed {
		return false
	}
	s.replace(c, cfg, now)
	c.renewed = true
	s.tell(cfg, "", observe.Note{Level: observe.Info, Code: "rotated", Message: "the credentials were changed where they are kept: the new ones are tried at once"})
	return true
}

// lookAtRefused looks whether credentials that were refused have changed.
func (s *Service) lookAtRefused(ctx context.Context) {
	s.mu.Lock()
	refs := slices.Collect(maps.Keys(s.refused))
	s.mu.Unlock()
	for _, ref := range refs {
		w, err := s.o.Store.ReadWait(ctx, ref)
		if err != nil {
			return
		}
		if !refusedMark(w.Mark) {
			s.mu.Lock()
			delete(s.refused, ref)
			s.mu.Unlock()
			continue
		}
		got, err := s.o.Queue.Enqueue(ctx, []queue.Job{{Ref: ref, Trigger: store.TriggerManual}})
		if err == nil && got[0].State == queue.Parked {
			s.credentialsChanged(ctx, ref, got[0])
		}
	}
}

// credentialsChanged wakes a connection that is parked for refused credentials, when they are others now.
func (s *Service) credentialsChanged(ctx context.Context, ref ads.Ref, a queue.Asked) {
	c := s.conn(ref)
	if c == nil {
		return
	}
	w, err := s.o.Store.ReadWait(ctx, ref)
	if err != nil || !refusedMark(w.Mark) {
		return
	}
	s.mu.Lock()
	s.refused[ref] = true
	s.mu.Unlock()
	if sameMark(w.Mark, s.fresh(ctx, c)) {
		return
	}
	if err := s.o.Queue.Wake(ctx, a); err != nil && ctx.Err() == nil {
		s.o.Log.Warn(err.Error())
	}
}

// frames keeps the functions of a stack, without arguments: those could hold data.
func frames(stack []byte) string {
	var out []string
	for line := range strings.Lines(string(stack)) {
		name, _, ok := strings.Cut(line, "(")
		if ok && strings.HasPrefix(name, "adsync/") {
			out = append(out, strings.TrimPrefix(name, "adsync/internal/"))
		}
	}
	return strings.Join(out[:min(len(out), 10)], " < ")
}
