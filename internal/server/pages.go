package server

import (
	"net/http"
	"time"
)

// pages adds what people look at.
func (s *Server) pages(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.overview)
	mux.HandleFunc("GET /rows", s.rows)
	mux.HandleFunc("GET /assets/{mark}/{name}", s.asset)
	mux.HandleFunc("GET /c/{client}/{connection}", s.connection)
	mux.HandleFunc("GET /c/{client}/{connection}/campaigns", s.campaigns)
	mux.HandleFunc("GET /failures", s.failures)
	mux.HandleFunc("GET /audit", s.audit)
	s.actions(mux)
	mux.HandleFunc("GET /events", s.events)
}

func (s *Server) overview(w http.ResponseWriter, r *http.Request) { s.table(w, r, "overview") }

// rows is the overview's changing part alone.
func (s *Server) rows(w http.ResponseWriter, r *http.Request) { s.table(w, r, "rows") }

func (s *Server) table(w http.ResponseWriter, r *http.Request, name string) {
	all, err := s.all(r.Context())
	if err != nil {
		s.broken(w, r, err)
		return
	}
	now := time.Now()
	s.show(w, r, http.StatusOK, name, page{Title: "Overview", Nav: "overview", Now: now, Body: newOverview(all, askingOf(r.URL.Query()), now)})
}

// trouble is the page of an error.
type trouble struct{ What, Why, Next string }

// broken says that the database gave no answer.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody reads it
	}
	x := explain(err)
	s.show(w, r, codeOf(err), "trouble", page{Title: "No answer", Body: trouble{"The database gave no answer.", x.Why, x.Next}})
}

func (s *Server) missing(w http.ResponseWriter, r *http.Request, what string) {
	s.show(w, r, http.StatusNotFound, "trouble", page{Title: "Not found", Body: trouble{what, "", "Go back to the overview."}})
}
