package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// State is a connection's condition in one word.
type State string

// The states.
const (
	StateNever   State = "never"   // not synced yet
	StateRunning State = "running" // a living process holds it, be it to wait for a moment
	StateParked  State = "parked"  // waits until a stated time, and no process holds it
	StatePaused  State = "paused"  // somebody has paused it
	StateFresh   State = "fresh"   // the last run was complete
	StatePartial State = "partial"
	StateFailed  State = "failed"
	StateStopped State = "stopped" // interrupted: the next run resumes
)

// Status is the document of `status --json`.
type Status struct {
	Database    string             `json:"database"`
	Workers     []Worker           `json:"workers"` // processes of the service
	Connections []ConnectionStatus `json:"connections"`
}

// Worker is a process of the service.
type Worker struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Alive   bool    `json:"alive"`
	Since   *string `json:"started_at"`
	Seen    *string `json:"last_seen_at"`
	Runs    int     `json:"runs"`

	seen time.Time
}

// ConnectionStatus is one connection's part of it.
type ConnectionStatus struct {
	Client       string  `json:"client"`
	Connection   string  `json:"connection"`
	State        State   `json:"state"`
	LastComplete *string `json:"last_complete_at"`
	Holder       *string `json:"holder"`
	Since        *string `json:"running_since"`
	ParkedUntil  *string `json:"parked_until"`
	ParkedReason *string `json:"parked_reason"`
	PausedAt     *string `json:"paused_at"`
	PausedBy     *string `json:"paused_by"`
	WaitsUntil   *string `json:"waits_until"` // of a run that is going: it holds its worker and goes on by itself
	WaitsFor     *string `json:"waits_for"`
	Campaigns    int64   `json:"campaigns"`
	OpenFailures int64   `json:"open_failures"`
	LastRun      *Run    `json:"last_run"`
	Configured   bool    `json:"configured"`
	Schedule     *string `json:"schedule"`
	Next         *string `json:"next_run_at"`   // by the schedule, where a service is at work
	TokenEnds    *string `json:"token_ends_at"` // when it can no longer get a token by itself
	TokenWhy     *string `json:"token_ends_why"`

	lastComplete, since, until, paused, finished, next, tokenEnds time.Time
}

// Run is a row of runs.
type Run struct {
	ID         string      `json:"id"`
	Trigger    string      `json:"trigger"`
	StartedAt  *string     `json:"started_at"`
	FinishedAt *string     `json:"finished_at"`
	Outcome    ads.Outcome `json:"outcome"`
	Listed     int64       `json:"listed"`
	Synced     int64       `json:"synced"`
	Unchanged  int64       `json:"unchanged"`
	Failed     int64       `json:"failed"`
	Removed    int64       `json:"removed"`
	Requests   int64       `json:"requests"`
	Throttled  int64       `json:"throttled"`
	Retries    int64       `json:"retries"`
	Waited     Seconds     `json:"waited_seconds"`
	Error      *string     `json:"error"`
}

// NewStatus joins what the database knows with the connections of the configuration: one that never ran is shown too, and so is one that is no
// longer configured.
func NewStatus(database string, known []store.ConnectionStatus, configured []ads.Ref, now time.Time) Status {
	doc := Status{Database: database, Workers: []Worker{}, Connections: []ConnectionStatus{}}
	for _, ref := range configured {
		if !slices.ContainsFunc(known, func(k store.ConnectionStatus) bool { return k.Ref == ref }) {
			known = append(known, store.ConnectionStatus{Ref: ref})
		}
	}
	for _, k := range known {
		c := ConnectionStatus{
			Client: k.Ref.ClientID, Connection: k.Ref.Connection, State: stateOf(k, now), LastComplete: stamp(k.LastComplete),
			Campaigns: k.Campaigns, OpenFailures: k.OpenFailures, Configured: slices.Contains(configured, k.Ref), lastComplete: k.LastComplete,
		}
		if k.Running {
			c.Holder, c.Since, c.since = text(k.Holder), stamp(k.Since), k.Since
		}
		if k.Wait.Until.After(now) {
			c.until = k.Wait.Until
			if k.Running {
				c.WaitsUntil, c.WaitsFor = stamp(k.Wait.Until), text(k.Wait.Reason)
			} else {
				c.ParkedUntil, c.ParkedReason = stamp(k.Wait.Until), text(k.Wait.Reason)
			}
		}
		if p := k.Pause; !p.At.IsZero() {
			c.PausedAt, c.PausedBy, c.paused = stamp(p.At), text(p.By), p.At
		}
		if !k.TokenEnd.IsZero() {
			c.TokenEnds, c.TokenWhy, c.tokenEnds = stamp(k.TokenEnd), text(k.TokenWhy), k.TokenEnd
		}
		if r := k.Last; r != nil {
			c.finished = r.FinishedAt
			c.LastRun = &Run{
				ID: r.ID, Trigger: r.Trigger, StartedAt: stamp(r.StartedAt), FinishedAt: stamp(r.FinishedAt), Outcome: r.Outcome,
				Listed: r.Figures.Listed, Synced: r.Figures.Synced, Unchanged: r.Figures.Unchanged, Failed: r.Figures.Failed, Removed: r.Figures.Removed,
				Requests: r.Figures.Requests, Throttled: r.Figures.Throttled, Retries: r.Figures.Retries, Waited: Seconds(r.Figures.Waited), Error: text(r.Error),
			}
		}
		doc.Connections = append(doc.Connections, c)
	}
	slices.SortFunc(doc.Connections, func(a, b ConnectionStatus) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Connection, b.Connection))
	})
	return doc
}

// Serving adds what is known of the service: its processes, and each connection's schedule with its next slot.
func (s Status) Serving(workers []store.Worker, schedule func(ads.Ref) (text string, next time.Time)) Status {
	alive := false
	for _, w := range workers {
		s.Workers = append(s.Workers, Worker{Name: w.Name, Version: w.Version, Alive: w.Alive, Since: stamp(w.StartedAt), Seen: stamp(w.BeatAt), Runs: w.Runs, seen: w.BeatAt})
		alive = alive || w.Alive
	}
	for i := range s.Connections {
		c := &s.Connections[i]
		var words string
		if words, c.next = schedule(ads.Ref{ClientID: c.Client, Connection: c.Connection}); words != "" {
			c.Schedule = &words
		}
		if !alive || !c.paused.IsZero() {
			c.next = time.Time{}
		}
		c.Next = stamp(c.next)
	}
	return s
}

func stateOf(k store.ConnectionStatus, now time.Time) State {
	switch {
	case k.Running:
		return StateRunning
	case !k.Pause.At.IsZero():
		return StatePaused
	case k.Wait.Until.After(now):
		return StateParked
	case k.Last == nil:
		return StateNever
	}
	switch k.Last.Outcome {
	case ads.Complete:
		return StateFresh
	case ads.Partial:
		return StatePartial
	case ads.Failed:
		return StateFailed
	}
	return StateStopped // also a run whose process died: nobody wrote its end
}

// text is s for JSON: an empty one is null.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Write writes the status for people.
func (s Status) Write(w io.Writer, now time.Time) error {
	if _, err := fmt.Fprintf(w, "database: %s\n", OneLine(s.Database)); err != nil {
		return err
	}
	for _, x := range s.Workers {
		line := fmt.Sprintf("worker %s: alive, %s here", x.Name, some(int64(x.Runs), "run"))
		if !x.Alive {
			line = fmt.Sprintf("worker %s: not heard of since %s (%s)", x.Name, clock(x.seen, now), ago(x.seen, now))
		}
		if _, err := fmt.Fprintln(w, OneLine(line)); err != nil {
			return err
		}
	}
	if len(s.Connections) == 0 {
		_, err := io.WriteString(w, "No connection has been synced yet.\n")
		return err
	}
	serving := slices.ContainsFunc(s.Connections, func(c ConnectionStatus) bool { return c.Next != nil })
	t := table{head: []string{"client", "connection", "state", "last complete", ">campaigns", ">failures", "note"}}
	if serving {
		t.head = slices.Insert(t.head, 4, "next")
	}
	for _, c := range s.Connections {
		complete := "never"
		if !c.lastComplete.IsZero() {
			complete = clock(c.lastComplete, now) + " (" + ago(c.lastComplete, now) + ")"
		}
		cells := []string{c.Client, c.Connection, string(c.State), complete, count(c.Campaigns), count(c.OpenFailures), c.note(now)}
		if serving {
			next := "–"
			if !c.next.IsZero() {
				next = clock(c.next, now)
			}
			cells = slices.Insert(cells, 4, next)
		}
		t.add(cells...)
	}
	return t.write(w)
}

func (c ConnectionStatus) note(now time.Time) string {
	var s string
	switch c.State {
	case StateParked:
		s = fmt.Sprintf("until %s (%s more): %s", clock(c.until, now), wait(c.until.Sub(now)), *cmp.Or(c.ParkedReason, new(string)))
	case StatePaused:
		s = fmt.Sprintf("by %s, since %s (%s)", *cmp.Or(c.PausedBy, new(string)), clock(c.paused, now), ago(c.paused, now))
	case StateRunning:
		s = fmt.Sprintf("by %s, since %s (%s)", *cmp.Or(c.Holder, new(string)), clock(c.since, now), ago(c.since, now))
		if c.WaitsUntil != nil {
			s += fmt.Sprintf("; waits until %s (%s more): %s", clock(c.until, now), wait(c.until.Sub(now)), *cmp.Or(c.WaitsFor, new(string)))
		}
	case StateNever:
		s = "never synced"
	case StateStopped:
		s = "the next sync resumes it"
		if r := c.LastRun; r != nil {
			s = fmt.Sprintf("%d of %d synced, the next sync resumes it", r.Synced, r.Listed)
		}
	case StatePartial, StateFailed:
		if c.LastRun != nil && c.LastRun.Error != nil {
			s = *c.LastRun.Error
		}
	}
	add := func(more string) {
		if s != "" {
			s += "; "
		}
		s += more
	}
	if TokenNear(c.tokenEnds, now) {
		add(TokenEnds(c.tokenEnds, *cmp.Or(c.TokenWhy, new(string)), now))
	}
	if !c.Configured {
		add("not in the configuration")
	}
	return s
}

// tokenNear is how long before its end a token is worth a note.
const tokenNear = 7 * 24 * time.Hour

// TokenNear says that the end of a connection's token is near enough for somebody to do something, or past.
func TokenNear(end, now time.Time) bool { return !end.IsZero() && end.Sub(now) <= tokenNear }

// tokenCure is what helps against it.
const tokenCure = "authorise adsync on the platform again, and configure the new token"

// TokenEnds says when a connection's token ends, or has ended, and why.
func TokenEnds(end time.Time, why string, now time.Time) string {
	verb := "ends"
	if !end.After(now) {
		verb = "ended"
	}
	s := fmt.Sprintf("its token %s %s (%s)", verb, ago(end, now), end.UTC().Format("2006-01-02 15:04 UTC"))
	if why != "" {
		s += ": " + why
	}
	return s
}

// Only is the status of these connections.
func (s Status) Only(refs []ads.Ref) Status {
	s.Connections = slices.DeleteFunc(slices.Clone(s.Connections), func(c ConnectionStatus) bool {
		return !slices.Contains(refs, ads.Ref{ClientID: c.Client, Connection: c.Connection})
	})
	return s
}
