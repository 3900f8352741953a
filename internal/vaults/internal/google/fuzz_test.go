package google

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode"

	"adsync/internal/config"
	"adsync/internal/vaults/fakegoogle"
	"adsync/internal/vaults/internal/source"
)

// Whatever answers in Google's place: there is a value, or an error of ours with a cure, without anything that a terminal obeys.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"name":"projects/1/secrets/s/versions/1","payload":{"data":"eyJwYXNzd29yZCI6IngifQ==","dataCrc32c":"1"}}`)
	f.Add(200, `{"payload":{"data":"!"}}`)
	f.Add(200, `{"payload":null}`)
	f.Add(403, `{"error":{"code":403,"message":"Permission 'x' denied \u001b[31m","status":"PERMISSION_DENIED"}}`)
	f.Add(404, `{"error":{"status":"NOT_FOUND"}}`)
	f.Add(500, `[]`)
	f.Add(200, `<html>`)
	m := fakegoogle.New(f)
	var mu sync.Mutex
	status, body := 200, ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, ":access") {
			m.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	f.Cleanup(srv.Close)
	key := filepath.Join(f.TempDir(), "key.json")
	if err := os.WriteFile(key, m.KeyFile(srv.URL), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, code int, text string) {
		if code < 200 || code > 599 {
			t.Skip()
		}
		mu.Lock()
		status, body = code, text
		mu.Unlock()
		s := open(t, config.Google{Endpoint: srv.URL, Credentials: key}, nil)
		v, err := get(t.Context(), s, project+"/secrets/acme#password")
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
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", err.Error())
		}
	})
}
