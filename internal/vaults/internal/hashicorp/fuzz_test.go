package hashicorp

import (
	"net/http"
	"strings"
	"testing"

	"adsync/internal/config"
	"adsync/internal/vaults/internal/sourcetest"
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
	route := func(answer http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v1/secret/") {
				answer(w, r)
			} else {
				w.WriteHeader(http.StatusNoContent) // the ends of loans
			}
		}
	}
	sourcetest.FuzzAnswers(f, token, "application/json", route, func(url string) func(*testing.T) (string, error) {
		return func(t *testing.T) (string, error) {
			return get(t.Context(), open(t, config.Vault{Address: url}, map[string]string{"VAULT_TOKEN": token}), "secret/data/acme#password")
		}
	})
}
