// Package sourcetest holds the stores of secrets to what they all promise about answers that make no sense.
//
// It imports source and the standard library, and only tests import it.
package sourcetest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode"

	"adsync/internal/vaults/internal/source"
)

// FuzzAnswers has a store read one secret from whatever answers in its place: there is a value, or an error of ours with a cure, without the login and without
// anything that a terminal obeys.
//
// route gives answer to requests for the secret, and answers all others as a store that is well. ready gives, for the address that this is served at, what
// reads the secret. login is in no error; empty: there is none that is short enough to be looked for.
func FuzzAnswers(f *testing.F, login, contentType string, route func(answer http.HandlerFunc) http.HandlerFunc, ready func(url string) (read func(t *testing.T) (string, error))) {
	var mu sync.Mutex
	status, body := http.StatusOK, ""
	srv := httptest.NewServer(route(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	f.Cleanup(srv.Close)
	read := ready(srv.URL)
	f.Fuzz(func(t *testing.T, code int, text string) {
		if code < 200 || code > 599 {
			return // net/http sends no such answer
		}
		mu.Lock()
		status, body = code, text
		mu.Unlock()
		v, err := read(t)
		if err == nil {
			if v == "" {
				t.Error("no value and no error")
			}
			return
		}
		e, ok := errors.AsType[*source.Error](err)
		if !ok || e.Message == "" || e.Hint == "" {
			t.Fatalf("%#v", err)
		}
		if login != "" && strings.Contains(err.Error(), login) || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", err.Error())
		}
	})
}
