package server

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

const (
	auditPerPage = 100
	auditWithin  = 5 * time.Second
	wrongEvery   = time.Minute // wrong passwords become one entry, so that guessing does not fill the database
)

// actor is whoever asks for something, and what there is to say about what was done.
type actor struct {
	who, detail string
	about       ads.Ref // where the request itself does not name it
}

type actorKey struct{}

// as is a request's context that says who asks.
func (s *Server) as(r *http.Request) context.Context {
	return context.WithValue(r.Context(), actorKey{}, &actor{who: s.access.who(r)})
}

// actorOf is who asks, as `as` has it.
func actorOf(ctx context.Context) *actor {
	if a, ok := ctx.Value(actorKey{}).(*actor); ok {
		return a
	}
	return &actor{}
}

func whoOf(ctx context.Context) string { return actorOf(ctx).who }

// record keeps what was asked for, in the database and in the log. What has been done stays done where the database does not take it: the log has it then.
func (s *Server) record(r *http.Request, e store.AuditEntry) {
	e.Remote = callerOf(r)
	attrs := []any{"action", e.Action, "result", shown(e.Result), "who", e.Who, "from", e.Remote}
	if e.Ref != (ads.Ref{}) {
		attrs = append(attrs, "client", shown(e.Ref.ClientID), "connection", shown(e.Ref.Connection))
	}
	if e.Detail != "" {
		attrs = append(attrs, "detail", shown(e.Detail))
	}
	s.o.Log.Info("asked for", attrs...)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), auditWithin)
	defer cancel()
	if err := s.o.Store.Audit(ctx, e); err != nil {
		s.o.Log.Error("this could not be written to the audit log: "+err.Error(), attrs...)
	}
}

// guesses gathers wrong passwords between two entries about them.
type guesses struct {
	mu    sync.Mutex
	at    time.Time // of the last entry
	since int       // wrong ones after it
}

// add counts one and gives how many an entry that is due has to tell of; 0: none is due.
func (g *guesses) add(now time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.since++
	if !g.at.IsZero() && now.Sub(g.at) < wrongEvery {
		return 0
	}
	n := g.since
	g.at, g.since = now, 0
	return n
}

// guessed keeps that somebody who has no business here tried to get in.
func (s *Server) guessed(r *http.Request, what string) {
	n := s.guesses.add(time.Now())
	if n == 0 {
		return
	}
	e := store.AuditEntry{Who: "nobody", Action: "login", Result: "refused: " + what}
	if n > 1 {
		e.Detail = number(int64(n)) + " in all since the last entry about them, from any address"
	}
	s.record(r, e)
}

// auditView is the page of the audit log.
type auditView struct {
	Rows        []store.AuditEntry
	First, Next string
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request) {
	before, _ := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	es, err := s.o.Store.AuditLog(ctx, auditPerPage+1, before)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	v := auditView{Rows: es}
	if before > 0 {
		v.First = "/audit"
	}
	if len(es) > auditPerPage {
		v.Rows = es[:auditPerPage]
		v.Next = address("/audit", url.Values{"before": {strconv.FormatInt(v.Rows[auditPerPage-1].ID, 10)}})
	}
	s.show(w, r, http.StatusOK, "audit", page{Title: "Audit", Nav: "audit", Body: v})
}

// outcome is an action's result for the audit log.
func outcome(done string, err error) string {
	if err != nil {
		return "failed: " + err.Error()
	}
	return done
}

// detailOf says what a form was about beyond its connection, and what there is to say of what was done.
func detailOf(v url.Values, done string) string {
	class := query(v.Get("class"))
	if class != "" {
		class = "class " + class
	}
	return strings.TrimPrefix(strings.TrimSuffix(class+", "+done, ", "), ", ")
}
