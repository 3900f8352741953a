package hashicorp

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode"

	"adsync/internal/config"
	"adsync/internal/vaults/internal/source"
)

// Whatever answers in Vault's place: there is a value, or an error of ours with a cure, without the token and without anything that a terminal obeys.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"data":{"data":{"password":"x"},"metadata":{"version":3}}}`)
	f.Add(200, `{"data":{"password":1.50,"list":[1],"none":null}}`)
	f.Add(200, `{"lease_id":"database/creds/x/1","lease_duration":3600,"renewable":true,"data":{"password":"x"}}`)
	f.Add(404, `{"data":{"data":null,"metadata":{"version":2,"deletion_time":"2024-01-01T00:00:00Z","destroyed":true}}}`)
	f.Add(404, `{"errors":[]}`)
	f.Add(404, `{"warnings":["Invalid path for a versioned K/V secrets engine"]}`)
	f.Add(403, `{"errors":["1 error occurred:\n\t* permission denied\n\n \u001b[31m"]}`)
	f.Add(503, `{"errors":["Vault is sealed"]}`)
	f.Add(307, ``)
	f.Add(200, `<html>`)
	const token = "hvs.c4n4ry-of-the-fuzz"
	var mu sync.Mutex
	status, body := 200, ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/secret/") {
			w.WriteHeader(http.StatusNoContent) // the ends of loans
			return
		}
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	f.Cleanup(srv.Close)
	f.Fuzz(func(t *testing.T, code int, text string) {
		if code < 200 || code > 599 {
			t.Skip()
		}
		mu.Lock()
		status, body = code, text
		mu.Unlock()
		s := open(t, config.Vault{Address: srv.URL}, map[string]string{"VAULT_TOKEN": token})
		v, err := get(t.Context(), s, "secret/data/acme#password")
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
		if strings.Contains(err.Error(), token) || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", err.Error())
		}
	})
}
