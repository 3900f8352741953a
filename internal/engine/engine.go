// Package engine brings one connection up to date: it owns the page loop and its guard, the follow-up calls, the commits and the end of a
// run. It knows platforms and databases by their contracts only.
//
// It imports ads, observe, platform and store, and must not import a connector, a database, the client, a queue or anything that prints.
package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/store"
)

// API is how the engine reaches a platform: the client that sends, and what it has counted so far.
type API interface {
	platform.Caller
	// Stats gives requests, throttled, retries, waited and told since this run began; the other figures are zero.
	Stats() ads.Figures
	// SetRun names the run in the client's events.
	SetRun(runID string)
	// Watch makes the client tell o of its events too; nil ends that.
	Watch(o observe.Observer)
}

// Options say what to bring up to date and how.
type Options struct {
	Ref      ads.Ref
	Platform platform.Platform
	API      API
	Store    store.Store
	Observer observe.Observer

	// Trigger is one of the store's, "" for manual. A scheduled run leaves out records whose last failure is not due for another try; all others
	// try all.
	Trigger       string
	PlanKey       string   // what the place reached depends on besides the connector: base URL and client header
	Fresh         bool     // start anew although a run could be resumed
	Wait          bool     // queue up behind another process instead of failing with *store.BusyError
	AllowRemovals bool     // agree to marking more than MaxRemovedShare as removed
	Since         ads.Date // the first day of daily figures that is wanted; zero: Days back
	Days          int      // how many days of figures are wanted, today included; 0: DefaultDays
	MaxAccounts   int      // accounts read side by side; 0: 8
	MaxInFlight   int      // follow-up calls at once; 0: 64. The client's quota and limiter bound it further
	FirstInFlight int      // follow-up calls at once to begin with, while more would only wait for a quota; 0: MaxInFlight
	Slack         int      // pages past what was promised before a listing is ended; 0: 20

	// Retry, where not empty, retries these failures alone instead of listing. Those that are open no longer when the run begins are left out.
	Retry []store.Failure
}

// Limits of a run.
const (
	MaxRemovedShare = 0.20           // of the rows that may be marked as removed at once
	ResumeAge       = 24 * time.Hour // an older run is not resumed
	maxPasses       = 3              // readings of a listing that moves while it is read
	maxEchoes       = 3              // times a page is asked for whose answer names another page

	DefaultDays = 30 // of daily figures, where nobody says more

	defaultAccounts = 8
	defaultInFlight = 64
	defaultSlack    = 20

	commitDelay   = 50 * time.Millisecond // results wait at most this long for company; the contract allows 100 ms
	commitRows    = 5000                  // listed rows in one commit
	commitResults = 256                   // follow-up results in one commit
	closeTimeout  = 8 * time.Second       // for the last commits of a run that was stopped
)

// Summary is how this life of a run ended.
type Summary struct {
	Ref      ads.Ref
	Platform string
	RunID    string
	Outcome  ads.Outcome // empty when no run could be opened
	Figures  ads.Figures // over all lives
	Duration time.Duration
	Phase    string // where it ended: "listing page 4"
	Err      error  // nil when complete
}

// PartialError is the error of a run that ended partial.
type PartialError struct{ Reasons []string }

func (e *PartialError) Error() string { return strings.Join(e.Reasons, "; ") }

// RemovalError refuses to take most of a client's records for removed.
type RemovalError struct{ Gone, Present int64 }

func (e *RemovalError) Error() string {
	return fmt.Sprintf("the platform no longer lists %d of %d records (%.0f %%): refusing to mark that many as removed at once",
		e.Gone, e.Present, 100*float64(e.Gone)/float64(max(e.Present, 1)))
}

// InternalError is a bug that was caught. ID finds its trace in the log; no value of the data is in it.
type InternalError struct {
	ID    string
	Trace []string // function and line, innermost first
}

func (e *InternalError) Error() string { return "internal error " + e.ID }

// Run brings the connection up to date once. It returns when all goroutines of the run have ended. When ctx is cancelled it takes in no new work,
// commits what arrives within the client's grace, and returns with the context's cause.
func Run(ctx context.Context, o Options) Summary {
	begin := time.Now()
	if o.Observer == nil {
		o.Observer = observe.Discard
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = defaultInFlight
	}
	if o.MaxAccounts <= 0 {
		o.MaxAccounts = defaultAccounts
	}
	if o.Slack <= 0 {
		o.Slack = defaultSlack
	}
	r := &run{o: o, spec: o.Platform.Spec(), begin: begin}
	r.writing.waited = func() time.Duration { return o.API.Stats().Waited }
	sum := Summary{Ref: o.Ref, Platform: r.spec.Name}
	if v := r.spec.Version; v.Name != "" {
		ends := observe.VersionEnds{Version: v.Name}
		if !v.Sunset.IsZero() {
			ends.At = v.Sunset.Time()
		}
		r.emit(ends)
		if why := v.Ending(begin); why != "" {
			r.note(observe.Note{Level: observe.Warn, Code: "version_ends", Message: why, Hint: "set api_version to one that lasts: adsync platforms lists them"})
		}
	}
	r.setPhase("opening the run")
	err := guard(r.note, func() error { return r.whole(ctx) })
	if r.id == "" { // no run was opened
		sum.Err, sum.Duration, sum.Phase = err, time.Since(begin), r.getPhase()
		return sum
	}
	sum.RunID, sum.Outcome, sum.Figures = r.id, r.outcome, r.figuresNow()
	sum.Duration, sum.Phase, sum.Err = r.active(), r.getPhase(), err
	r.emit(observe.RunFinished{Outcome: sum.Outcome, Figures: sum.Figures, Duration: sum.Duration, Err: err})
	return sum
}

// guard turns a panic of fn into an *InternalError.
func guard(note func(observe.Note), fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			ie := &InternalError{ID: uuid.NewString()[:8], Trace: trace()}
			note(observe.Note{Level: observe.Warn, Code: "internal", Message: ie.Error() + ": " + strings.Join(ie.Trace, " < ")})
			err = ie
		}
	}()
	return fn()
}

// trace names the functions on the stack, without arguments: those could hold data.
func trace() []string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var out []string
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			file := f.File[strings.LastIndexByte(f.File, '/')+1:]
			out = append(out, fmt.Sprintf("%s (%s:%d)", f.Function, file, f.Line))
		}
		if !more || len(out) == 12 {
			return out
		}
	}
}

// stopsRun says whether an error of one follow-up call ends the whole run: it would meet every other record too.
func stopsRun(err error) bool {
	if ads.ClassOf(err) == ads.ClassInternal {
		var ie *InternalError
		return !errors.As(err, &ie)
	}
	switch ads.ClassOf(err) {
	case ads.ClassAuth, ads.ClassTokenDead, ads.ClassDeferred, ads.ClassUnreachable, ads.ClassThrottled:
		return true
	}
	e, _ := errors.AsType[*ads.Error](err)
	return e != nil && e.Code == CodeOutage
}

// CodeOutage is the code of the client's error when the host was down for longer than a request may be retried.
const CodeOutage = "outage"
