// Package server is what the service shows and takes over HTTP: health, status, asking for runs.
//
// It imports what it shows, and must not import the engine, a connector or a database.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"adsync/internal/config"
	"adsync/internal/live"
	"adsync/internal/report"
	"adsync/internal/service"
	"adsync/internal/store"
)

// Options of a server.
type Options struct {
	Service *service.Service
	Store   store.Store
	Metrics http.Handler // nil: none
	Live    *live.Board  // nil: the runs of this process are not followed
	Log     *slog.Logger
	Web     config.Web // who may look
}

// Server answers requests. Make one with New.
type Server struct {
	o       Options
	access  *access
	board   board
	viewers viewers
	guesses guesses
	ending  chan struct{} // closed when Serve ends: streams would keep it open
}

const (
	readTimeout  = 10 * time.Second
	idleTimeout  = 2 * time.Minute
	stopWithin   = 3 * time.Second
	queryTimeout = 10 * time.Second
	maxBody      = 64 << 10
	maxHeader    = 16 << 10
)

// New is a server of a service.
func New(o Options) *Server {
	s := &Server{o: o, access: newAccess(o.Web), ending: make(chan struct{})}
	s.access.guessed = s.guessed
	return s
}

// Handler has all pages.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	if s.o.Metrics != nil {
		mux.Handle("GET /metrics", s.o.Metrics)
	}
	mux.HandleFunc("GET /api/v1/status", s.status)
	mux.HandleFunc("POST /api/v1/sync", s.sync)
	mux.HandleFunc("POST /api/v1/pause", s.pause)
	mux.HandleFunc("POST /api/v1/resume", s.resume)
	s.pages(mux)
	s.loginPages(mux)
	return s.guarded(limitBody(http.NewCrossOriginProtection().Handler(s.access.guard(mux))))
}

// Serve answers on l until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	stop := context.AfterFunc(ctx, func() {
		close(s.ending)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		if srv.Shutdown(end) != nil {
			_ = srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func limitBody(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		h.ServeHTTP(w, r)
	})
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n"))
}

func (s *Server) json(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// problem is the body of an error.
type problem struct {
	Error string `json:"error"`
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.o.Service.Ready(); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	plain(w, http.StatusOK, "ready")
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	known, err := s.o.Store.Status(ctx)
	if err != nil {
		s.json(w, codeOf(err), problem{err.Error()})
		return
	}
	s.json(w, http.StatusOK, report.NewStatus(s.o.Store.Describe(), known, s.o.Service.Refs(), time.Now()))
}

// asked is the body of a request for a run.
type asked struct {
	Client     string `json:"client"`
	Connection string `json:"connection"`
	Retry      bool   `json:"retry"` // the failures alone
}
