package amazon

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

// Whatever answers in AWS's place: there is a value, or an error of ours with a cure, without the key and without anything that a terminal obeys.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"ARN":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:acme","Name":"acme","SecretString":"{\"password\":\"x\"}","VersionId":"v1"}`)
	f.Add(200, `{"SecretBinary":"eHl6"}`)
	f.Add(200, `{"SecretString":null}`)
	f.Add(400, `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`)
	f.Add(400, `{"__type":"com.amazon.coral#AccessDeniedException","message":"\u001b[31mno"}`)
	f.Add(500, `{}`)
	f.Add(200, `<html>`)
	var mu sync.Mutex
	status, body := 200, ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
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
		v, err := get(t.Context(), open(t, config.AWS{}, static(srv.URL)), "acme#password")
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
		if strings.Contains(err.Error(), secretKey) || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", err.Error())
		}
	})
}
