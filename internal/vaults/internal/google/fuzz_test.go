package google

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"adsync/internal/config"
	"adsync/internal/vaults/fakegoogle"
	"adsync/internal/vaults/internal/sourcetest"
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
	route := func(answer http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, ":access") {
				answer(w, r)
			} else {
				m.ServeHTTP(w, r)
			}
		}
	}
	sourcetest.FuzzAnswers(f, "", "application/json", route, func(url string) func(*testing.T) (string, error) {
		key := filepath.Join(f.TempDir(), "key.json")
		if err := os.WriteFile(key, m.KeyFile(url), 0o600); err != nil {
			f.Fatal(err)
		}
		return func(t *testing.T) (string, error) {
			return get(t.Context(), open(t, config.Google{Endpoint: url, Credentials: key}, nil), project+"/secrets/acme#password")
		}
	})
}
