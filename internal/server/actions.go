package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"adsync/internal/ads"
	"adsync/internal/queue"
	"adsync/internal/service"
	"adsync/internal/store"
)

const (
	dropBatch  = 1000
	dropRounds = 1000 // of one action: a million failures
)

// actions adds what people ask for by a form.
func (s *Server) actions(mux *http.ServeMux) {
	mux.HandleFunc("POST /actions/sync", s.action(s.actSync))
	mux.HandleFunc("POST /actions/retry", s.action(s.actRetry))
	mux.HandleFunc("POST /actions/drop", s.action(s.actDrop))
	mux.HandleFunc("POST /actions/pause", s.action(s.actPause))
	mux.HandleFunc("POST /actions/resume", s.action(s.actResume))
}

// action does what a form asks for and leads back to the page that it came from. do gives the key of a note.
func (s *Server) action(do func(context.Context, url.Values) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			plain(w, http.StatusBadRequest, "the form cannot be read")
			return
		}
		if !s.access.checkCSRF(r) {
			s.show(w, r, http.StatusForbidden, "trouble", page{Title: "Not done", Body: trouble{"This form is too old.", "", "Load the page again and repeat it."}})
			return
		}
		ctx, cancel := context.WithTimeout(s.as(r), queryTimeout)
		defer cancel()
		done, err := do(ctx, r.PostForm)
		s.record(r, store.AuditEntry{
			Who: whoOf(ctx), Action: strings.TrimPrefix(r.URL.Path, "/actions/"), Ref: cmp.Or(actorOf(ctx).about, ads.Ref{ClientID: r.PostForm.Get("client"), Connection: r.PostForm.Get("connection")}),
			Detail: detailOf(r.PostForm, actorOf(ctx).detail), Result: outcome(done, err),
		})
		if e, ok := errors.AsType[*service.UnknownError](err); ok {
			s.missing(w, r, shown(e.Error())+".")
			return
		}
		if err != nil {
			s.failed(w, r, err)
			return
		}
		s.board.stale()
		to := back(r.PostForm.Get("back"))
		to.RawQuery = with(to.Query(), "done", done).Encode()
		http.Redirect(w, r, to.String(), http.StatusSeeOther)
	}
}

// back is a page of this server, and of no other, wherever a form says that it came from.
func back(to string) *url.URL {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") || strings.ContainsAny(to, "\\\r\n") {
		return &url.URL{Path: "/"}
	}
	return &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
}

func with(v url.Values, key, val string) url.Values {
	v.Set(key, val)
	return v
}

func (s *Server) actSync(ctx context.Context, v url.Values) (string, error) {
	got, err := s.o.Service.SyncNow(ctx, []ads.Ref{{ClientID: v.Get("client"), Connection: v.Get("connection")}}, false)
	if err != nil {
		return "", err
	}
	switch {
	case got[0].State == service.Paused:
		return "held", nil
	case got[0].State == queue.Parked:
		return "parked", nil
	case got[0].Joined:
		return "going", nil
	}
	return "asked", nil
}

// single is the one open failure that a form names by its id; ok is false where it names none, or one that is no more.
func (s *Server) single(ctx context.Context, v url.Values) (f store.Failure, named, ok bool, err error) {
	if !v.Has("id") {
		return f, false, false, nil
	}
	id, err := strconv.ParseInt(v.Get("id"), 10, 64)
	if err != nil {
		return f, true, false, nil
	}
	for f, err = range s.o.Store.Failures(ctx, store.FailureFilter{IDs: []int64{id}, Limit: 1}) {
		if err == nil {
			a := actorOf(ctx)
			a.about, a.detail = f.Ref, f.Stream+" "+f.EntityID
		}
		return f, true, err == nil, err
	}
	return f, true, false, nil
}

// actRetry tries again what failed: one record, all of one connection, or of all that have failures of a kind.
func (s *Server) actRetry(ctx context.Context, v url.Values) (string, error) {
	if f, named, ok, err := s.single(ctx, v); named {
		if err != nil || !ok {
			return "nothing", err
		}
		got, err := s.o.Service.RetryNow(ctx, f.Ref, []int64{f.ID})
		if err == nil && got.State == service.Paused {
			return "held", nil
		}
		return "retry-one", err
	}
	refs, err := s.failing(ctx, filterOf(v))
	if err != nil || len(refs) == 0 {
		return "nothing", err
	}
	got, err := s.o.Service.SyncNow(ctx, refs, true)
	if err == nil && !slices.ContainsFunc(got, func(a service.Answer) bool { return a.State != service.Paused }) {
		return "held", nil
	}
	return "retry", err
}

func filterOf(v url.Values) store.FailureFilter {
	return store.FailureFilter{ClientID: query(v.Get("client")), Connection: query(v.Get("connection")), Class: query(v.Get("class"))}
}

// failing are the configured connections that have failures which f selects.
func (s *Server) failing(ctx context.Context, f store.FailureFilter) (refs []ads.Ref, err error) {
	status, err := s.o.Store.Status(ctx)
	if err != nil {
		return nil, err
	}
	configured := s.o.Service.Refs()
	for _, k := range status {
		if k.OpenFailures == 0 || (f.ClientID != "" && k.Ref.ClientID != f.ClientID) || (f.Connection != "" && k.Ref.Connection != f.Connection) || !slices.Contains(configured, k.Ref) {
			continue
		}
		if f.Class != "" {
			has, err := s.has(ctx, store.FailureFilter{ClientID: k.Ref.ClientID, Connection: k.Ref.Connection, Class: f.Class, Limit: 1})
			if err != nil {
				return nil, err
			}
			if !has {
				continue
			}
		}
		refs = append(refs, k.Ref)
	}
	return refs, nil
}

func (s *Server) has(ctx context.Context, f store.FailureFilter) (bool, error) {
	for _, err := range s.o.Store.Failures(ctx, f) {
		return err == nil, err
	}
	return false, nil
}

// actDrop forgets one failure, or all of a kind in small steps.
func (s *Server) actDrop(ctx context.Context, v url.Values) (string, error) {
	if f, named, ok, err := s.single(ctx, v); named {
		if err != nil || !ok {
			return "nothing", err
		}
		n, err := s.o.Store.DropFailures(ctx, []int64{f.ID})
		if err != nil || n == 0 {
			return "nothing", err
		}
		return "dropped-one", nil
	}
	f, done := filterOf(v), "nothing"
	f.Limit = dropBatch
	total := int64(0)
	for range dropRounds {
		var ids []int64
		for x, err := range s.o.Store.Failures(ctx, f) {
			if err != nil {
				return "", err
			}
			ids = append(ids, x.ID)
		}
		if len(ids) == 0 {
			break
		}
		n, err := s.o.Store.DropFailures(ctx, ids)
		total += n
		actorOf(ctx).detail = number(total) + " dropped"
		if err != nil {
			return "", err
		}
		done, f.After = "dropped", ids[len(ids)-1]
	}
	return done, nil
}
