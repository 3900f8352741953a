package server

import (
	"errors"
	"net/http"
	"strings"

	"adsync/internal/report"
)

// guarded answers a panic of a handler with 500 and an id that stands in the log. What is half written is broken off, so that nobody takes it
// for whole.
func (s *Server) guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := &begun{ResponseWriter: w}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			_, route, _ := strings.Cut(r.Pattern, " ")
			if route == "" {
				route = "a page"
			}
			err := report.Caught(s.o.Log, "answering "+route)
			if begun.yes {
				panic(http.ErrAbortHandler)
			}
			for name := range w.Header() {
				w.Header().Del(name)
			}
			if strings.HasPrefix(r.URL.Path, "/api/") {
				s.json(w, http.StatusInternalServerError, problem{err.Error()})
				return
			}
			plain(w, http.StatusInternalServerError, err.Error()+"; the log says where")
		}()
		h.ServeHTTP(begun, r)
	})
}

// begun knows whether an answer has begun to go out.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) WriteHeader(code int) {
	b.yes = true
	b.ResponseWriter.WriteHeader(code)
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// codeOf is the answer's code where the database gave none, or a bug was caught.
func codeOf(err error) int {
	if _, ok := errors.AsType[*report.InternalError](err); ok {
		return http.StatusInternalServerError
	}
	return http.StatusServiceUnavailable
}
