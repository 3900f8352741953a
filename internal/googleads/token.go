package googleads

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	jsonx "github.com/go-json-experiment/json"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// Scope is what a token must be good for. There is none for reading only: rights are given in Google Ads.
const Scope = "https://www.googleapis.com/auth/adwords"

// TokenRequest implements platform.Authenticator: an access token is had with the refresh token, which stays as it is, or with an assertion that is signed
// with the service account's key, where there is one. Nothing of the credentials goes to another host than the token endpoint, whatever a key names.
func (p *Platform) TokenRequest() platform.Request {
	endpoint := p.o.OAuthURL + "/token"
	return platform.Request{
		Endpoint: endpointToken, Method: http.MethodPost, Origin: p.o.OAuthURL, Path: "/token",
		Header: http.Header{"Accept": {"application/json"}, "Content-Type": {"application/x-www-form-urlencoded"}},
		NoAuth: true, Uncounted: true, Repeatable: true, Critical: true,
		Seal: func(s platform.Secrets, r *platform.Request) {
			form := url.Values{}
			if key := s.Credential(CredentialServiceAccount); key != "" {
				form.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
				if signed, err := assertion(key, endpoint, time.Now()); err == nil {
					form.Set("assertion", signed)
				} // else the platform misses it and says so: CheckServiceAccount tells before
			} else {
				form.Set("grant_type", "refresh_token")
				form.Set("client_id", s.Credential(CredentialClientID))
				form.Set("client_secret", s.Credential(CredentialClientSecret))
				form.Set("refresh_token", s.Credential(CredentialRefreshToken))
			}
			r.Body = []byte(form.Encode())
		},
	}
}

// ParseToken implements platform.Authenticator.
func (p *Platform) ParseToken(r platform.Reply) (platform.Token, error) { return ParseToken(r) }

// ParseToken reads {"access_token", "expires_in", "token_type", "scope"}, and a refresh token where one is given.
func ParseToken(r platform.Reply) (platform.Token, error) {
	var t struct {
		Value   scalar `json:"access_token"`
		Life    scalar `json:"expires_in"`
		Type    scalar `json:"token_type"`
		Scope   scalar `json:"scope"`
		Refresh scalar `json:"refresh_token"`
	}
	if err := jsonx.Unmarshal(r.Body, &t, loose); err != nil || t.Value.kind != '"' || t.Value.text == "" {
		return platform.Token{}, badReply(endpointToken, "no_token", "the token answer holds no access_token (%s)", bodyKind(r))
	}
	if t.Type.text != "" && !strings.EqualFold(t.Type.text, "bearer") {
		return platform.Token{}, badReply(endpointToken, "token_type", "the token is of a type other than bearer")
	}
	var life time.Duration
	if n, err := ads.ParseInt(t.Life.text); err == nil && n > 0 {
		const most = 100 * 365 * 24 * 3600
		life = time.Duration(min(n, most)) * time.Second
	}
	return platform.Token{Value: t.Value.text, Life: life, Refresh: t.Refresh.text, Scope: ads.Printable(t.Scope.text, 400)}, nil
}

// CheckServiceAccount says what is wrong with the JSON key of a service account. The error holds nothing of the key.
func CheckServiceAccount(key string) error {
	_, _, err := readKey(key)
	return err
}

type serviceAccount struct {
	Type  string `json:"type"`
	Email string `json:"client_email"`
	KeyID string `json:"private_key_id"`
	Key   string `json:"private_key"`
}

func readKey(text string) (serviceAccount, *rsa.PrivateKey, error) {
	var a serviceAccount
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return a, nil, errors.New("service_account is not the JSON of a key: it must be the whole file as the Google Cloud console gives it")
	}
	if a.Type != "" && a.Type != "service_account" {
		return a, nil, errors.New("service_account is the key of something else than a service account")
	}
	block, _ := pem.Decode([]byte(a.Key))
	if a.Email == "" || block == nil {
		return a, nil, errors.New("service_account has no client_email, or no private_key that can be read")
	}
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if r, ok := k.(*rsa.PrivateKey); ok {
			return a, r, nil
		}
		return a, nil, errors.New("the private_key of service_account is not an RSA key")
	}
	r, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return a, nil, errors.New("the private_key of service_account cannot be read")
	}
	return a, r, nil
}

// assertion is a signed word of the service account that it is itself. It is good for an hour, less what the clocks may differ by.
func assertion(key, audience string, now time.Time) (string, error) {
	a, k, err := readKey(key)
	if err != nil {
		return "", err
	}
	const skew = 30 * time.Second
	head, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": a.KeyID})
	if err != nil {
		return "", err
	}
	begin := now.Add(-skew)
	claims, err := json.Marshal(map[string]any{"iss": a.Email, "scope": Scope, "aud": audience, "iat": begin.Unix(), "exp": begin.Add(time.Hour).Unix()})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}
