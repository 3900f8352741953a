package server

import (
	"net/http"
	"slices"
	"time"

	"adsync/internal/ads"
	"adsync/internal/live"
	"adsync/internal/store"
)

const (
	runsShown    = 50
	failuresRead = 2000 // of a connection, to count them by class
)

// runRow is a run in the history.
type runRow struct {
	store.RunRecord
	State string
	Parts []part // of its time
	Said  string // the same in words
}

func newRunRow(r store.RunRecord, running bool) runRow {
	x := runRow{RunRecord: r, State: string(r.Outcome), Parts: partsOf(r)}
	x.Said = sayParts(x.Parts)
	if x.State == "" {
		if x.State = "stopped"; running {
			x.State = "running"
		}
	}
	return x
}

// classCount is how many failures have a class.
type classCount struct {
	Class ads.Class
	N     int
	Last  string // what one of them says
	Hint  string
}

func countClasses(fs []store.Failure) (out []classCount) {
	for _, f := range fs {
		i := slices.IndexFunc(out, func(c classCount) bool { return c.Class == f.Class })
		if i < 0 {
			i, out = len(out), append(out, classCount{Class: f.Class})
		}
		out[i].N++
		out[i].Last, out[i].Hint = f.Message, f.Hint
	}
	slices.SortStableFunc(out, func(a, b classCount) int { return b.N - a.N })
	return out
}

// advice is an error for whoever runs the service: what happened, whose business it is, and what to do.
type advice struct{ What, Whose, Next string }

// advise speaks of the state that a row is in; the zero advice is for rows that are well.
func advise(r row) advice {
	switch r.State {
	case isRefused:
		return advice{
			r.Reason, "Yours, or the client's: the platform does not accept these credentials.",
			"Correct the password where the configuration says that it is kept. It is looked at every few minutes and tried by itself once it has changed; Sync now tries at once.",
		}
	case isFailed:
		return advice{r.Reason, whose(r.Wait.Reason), "It is tried again by itself, later and later. What was written stays, and the next run goes on from there; Sync now tries at once."}
	case isPartial:
		return advice{r.Reason, "Single records, or what the platform says of its list; the others are in the database.", "Look at the open failures below. Those that may pass are tried again by themselves."}
	case isStale:
		return advice{r.Reason, "A schedule that asks for more than the quota allows, or runs that end badly: the history below says which.", "Give it a longer interval or a larger quota if its runs mostly wait; otherwise see what they say."}
	case isPaused:
		return advice{"Paused " + r.Reason + ".", "Whoever paused it.", "Nothing is synced until Resume, which asks for a run at once and goes on where the last one stopped."}
	case isStopped:
		return advice{"The last run was interrupted.", "Nobody's: the process was stopped.", "Nothing is lost: the next run goes on from the last commit."}
	}
	return advice{}
}

func whose(reason string) string {
	if reason == "" {
		return "The message names it."
	}
	return "The message names it: what the platform answers, its network, or this machine's database."
}

// connectionView is the page of one connection.
type connectionView struct {
	row
	Path      string
	Runs      []runRow
	Wrong     bool // some run has something to say
	Classes   []classCount
	More      bool // failures beyond those counted
	Advice    advice
	Campaigns string
	Series    *series
}

func (s *Server) connection(w http.ResponseWriter, r *http.Request) {
	ref := ads.Ref{ClientID: r.PathValue("client"), Connection: r.PathValue("connection")}
	k, ok, err := s.one(r.Context(), ref)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	if !ok {
		s.missing(w, r, "There is no connection "+shown(ref.String())+".")
		return
	}
	runs, err := s.o.Store.Runs(r.Context(), ref, runsShown)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	now := time.Now()
	v := connectionView{row: newRow(k, now), Path: connectionURL(ref)}
	v.Advice, v.Campaigns = advise(v.row), v.Path+"/campaigns"
	var recent []live.Moment
	if s.o.Live != nil {
		recent = s.o.Live.Recent(ref, now)
	}
	v.Series = newSeries(recent, runs, now)
	for i, run := range runs {
		v.Wrong = v.Wrong || run.Error != ""
		v.Runs = append(v.Runs, newRunRow(run, i == 0 && v.State == isRunning))
	}
	if k.OpenFailures > 0 {
		var fs []store.Failure
		for f, err := range s.o.Store.Failures(r.Context(), store.FailureFilter{ClientID: ref.ClientID, Connection: ref.Connection, Limit: failuresRead}) {
			if err != nil {
				s.broken(w, r, err)
				return
			}
			f.Raw = nil
			fs = append(fs, f)
		}
		v.Classes, v.More = countClasses(fs), len(fs) == failuresRead
	}
	name := "connection"
	if r.URL.Query().Has("part") {
		name = "connection-live"
	}
	s.show(w, r, http.StatusOK, name, page{Title: shown(ref.String()), Now: now, Charts: true, Note: noteOf(r.URL.Query()), Body: v})
}
