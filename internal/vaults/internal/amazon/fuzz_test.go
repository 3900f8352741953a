package amazon

import (
	"net/http"
	"testing"

	"adsync/internal/config"
	"adsync/internal/vaults/internal/sourcetest"
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
	everything := func(answer http.HandlerFunc) http.HandlerFunc { return answer }
	sourcetest.FuzzAnswers(f, secretKey, "application/x-amz-json-1.1", everything, func(url string) func(*testing.T) (string, error) {
		return func(t *testing.T) (string, error) {
			return get(t.Context(), open(t, config.AWS{}, static(url)), "acme#password")
		}
	})
}
