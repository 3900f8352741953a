package server

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"adsync/internal/ads"
	"adsync/internal/report"
	"adsync/internal/store"
)

const failuresPerPage = 100

// failureRow is a failure in the table.
type failureRow struct {
	store.Failure
	Next string // when it is tried again, in words
	URL  string // of its connection
}

func newFailureRow(f store.Failure, now time.Time) failureRow {
	r := failureRow{Failure: f, URL: connectionURL(f.Ref)}
	r.Raw = nil
	switch {
	case !f.NextRetryAt.IsZero() && f.NextRetryAt.After(now):
		r.Next = relative(f.NextRetryAt, now)
	case !f.NextRetryAt.IsZero():
		r.Next = "due"
	case f.Class == ads.ClassBadRecord:
		r.Next = "when listed again"
	default:
		r.Next = "not by itself"
	}
	return r
}

// failuresView is the page of failures.
type failuresView struct {
	Client, Connection, Class string
	Clients                   []string
	Classes                   []string
	Rows                      []failureRow
	First, Next               string
	Back                      string
	Here                      string // this page of them
	Filters                   bool
}

var failureClasses = []string{
	string(ads.ClassBadRecord), string(ads.ClassBadReply), string(ads.ClassDenied), string(ads.ClassPermanent), string(ads.ClassThrottled), string(ads.ClassTransient), string(ads.ClassUnreachable),
}

func (s *Server) failures(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	v := failuresView{Client: query(q.Get("client")), Connection: query(q.Get("connection")), Class: query(q.Get("class")), Classes: failureClasses}
	all, err := s.all(r.Context())
	if err != nil {
		s.broken(w, r, err)
		return
	}
	for _, k := range all {
		if k.OpenFailures > 0 {
			v.Clients = append(v.Clients, k.Ref.ClientID)
		}
	}
	if v.Client != "" {
		v.Clients = append(v.Clients, v.Client)
	}
	slices.Sort(v.Clients)
	v.Clients = slices.Compact(v.Clients)
	if v.Class != "" && !slices.Contains(v.Classes, v.Class) {
		v.Classes = append(slices.Clone(v.Classes), v.Class)
	}
	after, _ := strconv.ParseInt(q.Get("after"), 10, 64)
	at := url.Values{}
	set(at, "client", v.Client)
	set(at, "connection", v.Connection)
	set(at, "class", v.Class)
	v.Filters, v.Back = len(at) > 0, address("/failures", at)
	v.Here = v.Back
	if after > 0 {
		v.First = v.Back
		set(at, "after", strconv.FormatInt(after, 10))
		v.Here = address("/failures", at)
	}
	now := time.Now()
	f := store.FailureFilter{ClientID: v.Client, Connection: v.Connection, Class: v.Class, After: max(after, 0), Limit: failuresPerPage + 1}
	for x, err := range s.o.Store.Failures(r.Context(), f) {
		if err != nil {
			s.broken(w, r, err)
			return
		}
		if len(v.Rows) == failuresPerPage {
			at.Set("after", strconv.FormatInt(v.Rows[failuresPerPage-1].ID, 10))
			v.Next = address("/failures", at)
			break
		}
		v.Rows = append(v.Rows, newFailureRow(x, now))
	}
	s.show(w, r, http.StatusOK, "failures", page{Title: "Failures", Nav: "failures", Now: now, Note: noteOf(q), Body: v})
}

// notes are what an action can have come to. A page shows these words, never what its address says.
var notes = map[string]string{
	"asked":       "The run is asked for; it begins in a moment.",
	"going":       "A run of it is going or asked for already; this joins it.",
	"parked":      "It stays parked: its quota, or the platform, asks for it. It comes back by itself.",
	"paused":      "It is paused: nothing is synced until it is resumed. A run that is going stops in good order.",
	"resumed":     "It goes on: a run is asked for and begins in a moment.",
	"held":        "It is paused, so nothing is asked for: resume it first.",
	"waits":       "It is no longer paused, and waits on for what it waited for before: its quota, the platform, or other credentials.",
	"retry":       "Another try of the failures is asked for; it begins in a moment.",
	"retry-one":   "Another try of this record is asked for; it begins in a moment.",
	"dropped-one": "The failure is forgotten. If the record still fails, it comes back with the next run.",
	"dropped":     "The failures are forgotten. What still fails comes back with the next run.",
	"nothing":     "Nothing fitted: there was nothing to do.",
}

func noteOf(q url.Values) string { return notes[q.Get("done")] }

// failed answers an action that could not be done.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	if s.o.Log != nil {
		s.o.Log.Warn("an action of the dashboard failed: " + report.OneLine(err.Error()))
	}
	var e *store.Error
	if errors.As(err, &e) {
		s.broken(w, r, err)
		return
	}
	s.show(w, r, http.StatusServiceUnavailable, "trouble", page{Title: "Not done", Body: trouble{"This could not be done.", shown(err.Error()), "Try it again in a moment."}})
}
