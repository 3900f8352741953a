package server

import (
	"net/http"
	"strconv"
	"time"

	"adsync/internal/store"
)

// loginView is the page that asks who is there.
type loginView struct{ Wrong string }

func (s *Server) loginPages(mux *http.ServeMux) {
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		if s.access.open() || s.access.session(r) != nil {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		s.show(w, r, http.StatusOK, "login", page{Title: "Log in", Body: loginView{}})
	})
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if r.ParseForm() != nil || !s.access.checkCSRF(r) {
			plain(w, http.StatusForbidden, "this form is too old")
			return
		}
		who := s.access.who(r)
		s.access.logout(w, r)
		s.record(r, store.AuditEntry{Who: who, Action: "logout", Result: "done"})
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		plain(w, http.StatusBadRequest, "the form cannot be read")
		return
	}
	who, wait := s.access.login(w, r, r.PostForm.Get("password"))
	switch {
	case who != "":
		s.record(r, store.AuditEntry{Who: who, Action: "login", Result: "done"})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case wait > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		s.show(w, r, http.StatusTooManyRequests, "login", page{Title: "Log in", Body: loginView{"Too many wrong passwords. Try again in " + span(wait) + "."}})
	default:
		s.o.Log.Warn("a wrong password for the dashboard", "from", callerOf(r))
		s.guessed(r, "a wrong password")
		s.show(w, r, http.StatusUnauthorized, "login", page{Title: "Log in", Body: loginView{"This is not the password."}})
	}
}
