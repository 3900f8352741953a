package server

import "net/http"

// pages adds what people look at.
func (s *Server) pages(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.overview)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) { s.missing(w, r, "There is no such page.") })
	mux.HandleFunc("GET /rows", s.rows)
	mux.HandleFunc("GET /assets/{mark}/{name}", s.asset)
	mux.HandleFunc("GET /c/{client}/{connection}", s.connection)
	mux.HandleFunc("GET /c/{client}/{connection}/campaigns", s.campaigns)
	mux.HandleFunc("GET /failures", s.failures)
	mux.HandleFunc("GET /audit", s.audit)
	s.actions(mux)
	mux.HandleFunc("GET /events", s.events)
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
