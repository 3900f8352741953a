package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"adsync/internal/ads"
	"adsync/internal/queue"
	"adsync/internal/report"
	"adsync/internal/service"
	"adsync/internal/store"
)

func (s *Server) actPause(ctx context.Context, v url.Values) (string, error) {
	err := s.o.Service.Pause(ctx, ads.Ref{ClientID: v.Get("client"), Connection: v.Get("connection")}, whoOf(ctx))
	return "paused", err
}

func (s *Server) actResume(ctx context.Context, v url.Values) (string, error) {
	a, err := s.o.Service.Resume(ctx, ads.Ref{ClientID: v.Get("client"), Connection: v.Get("connection")})
	if a.State == queue.Parked {
		return "waits", err
	}
	return "resumed", err
}

// pause and resume are the same for programs. Both may be repeated.
func (s *Server) pause(w http.ResponseWriter, r *http.Request) {
	s.program(w, r, func(ctx context.Context, a asked) (service.Answer, error) {
		ref := ads.Ref{ClientID: a.Client, Connection: a.Connection}
		return service.Answer{Ref: ref, State: service.Paused, Reason: "paused by " + whoOf(ctx)}, s.o.Service.Pause(ctx, ref, whoOf(ctx))
	})
}

func (s *Server) resume(w http.ResponseWriter, r *http.Request) {
	s.program(w, r, func(ctx context.Context, a asked) (service.Answer, error) {
		return s.o.Service.Resume(ctx, ads.Ref{ClientID: a.Client, Connection: a.Connection})
	})
}

func (s *Server) sync(w http.ResponseWriter, r *http.Request) {
	s.program(w, r, func(ctx context.Context, a asked) (service.Answer, error) {
		got, err := s.o.Service.SyncNow(ctx, []ads.Ref{{ClientID: a.Client, Connection: a.Connection}}, a.Retry)
		if err != nil {
			return service.Answer{}, err
		}
		return got[0], nil
	})
}

// program does what a program asks for about one connection.
func (s *Server) program(w http.ResponseWriter, r *http.Request, do func(context.Context, asked) (service.Answer, error)) {
	var a asked
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		s.json(w, http.StatusBadRequest, problem{`the body must be {"client": "…", "connection": "…"}`})
		return
	}
	ctx, cancel := context.WithTimeout(s.as(r), queryTimeout)
	defer cancel()
	got, err := do(ctx, a)
	e := store.AuditEntry{
		Who: whoOf(ctx), Action: strings.TrimPrefix(r.URL.Path, "/api/v1/"), Ref: ads.Ref{ClientID: a.Client, Connection: a.Connection}, Result: outcome(string(got.State), err),
	}
	if a.Retry {
		e.Detail = "the failures alone"
	}
	s.record(r, e)
	if _, ok := errors.AsType[*service.UnknownError](err); ok {
		s.json(w, http.StatusNotFound, problem{err.Error()})
		return
	}
	if err != nil {
		s.json(w, codeOf(err), problem{err.Error()})
		return
	}
	s.board.stale()
	s.json(w, http.StatusAccepted, report.NewAnswer(got.Ref, got.Joined, string(got.State), got.Until, got.Reason))
}
