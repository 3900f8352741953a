package googleads

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"adsync/internal/simulator/internal/dice"
	"adsync/internal/simulator/internal/stage"
)

const scope = "https://www.googleapis.com/auth/adwords"

// maxTokens bounds what can be issued; the oldest access tokens give way.
const maxTokens = 100_000

type access struct {
	expires time.Duration
	revoked bool
}

type refresh struct {
	expires time.Duration // 0: never
	revoked bool
}

// code is what a person's agreement gives.
type code struct {
	expires             time.Duration
	redirect, challenge string
}

// credentials are what the token endpoint knows. The server's mutex guards them.
type credentials struct {
	access  map[string]*access
	order   []string
	refresh map[string]*refresh
	codes   map[string]*code
}

func (s *Server) initTokens() {
	s.creds = credentials{access: map[string]*access{}, refresh: map[string]*refresh{}, codes: map[string]*code{}}
	for _, t := range s.cfg.RefreshTokens {
		s.creds.refresh[t] = &refresh{expires: s.host.Scaled(s.cfg.RefreshLife)}
	}
}

func (s *Server) fresh(prefix string) string {
	n := uint64(s.serial.Add(1))
	return fmt.Sprintf("%s%016x%016x", prefix, dice.Mix(s.cfg.Seed^uint64(s.born)), dice.Mix(n^s.cfg.Seed<<1))
}

// issue makes an access token. The caller holds s.mu.
func (s *Server) issue(now time.Duration) (string, time.Duration) {
	life := s.host.Scaled(s.cfg.TokenLife)
	t := s.fresh("ya29.")
	s.creds.access[t] = &access{expires: now + life}
	s.creds.order = append(s.creds.order, t)
	if len(s.creds.order) > maxTokens {
		delete(s.creds.access, s.creds.order[0])
		s.creds.order = s.creds.order[1:]
	}
	return t, life
}

func oauthError(status int, name, why string) *stage.Reply {
	b := append([]byte(`{"error":`), stage.Quote(nil, name)...)
	b = append(append(b, `,"error_description":`...), stage.Quote(nil, why)...)
	return &stage.Reply{Status: status, Type: stage.JSON, Body: append(b, '}'), Outcome: stage.Unauthorized}
}

// serveToken answers the token endpoint.
func (s *Server) serveToken(c *stage.Call) *stage.Reply {
	if c.R.Method != http.MethodPost {
		return oauthError(http.StatusMethodNotAllowed, "invalid_request", "Send a POST.")
	}
	if c.R.URL.RawQuery != "" {
		c.Misplace("token request with parameters in the address")
	}
	p, err := url.ParseQuery(string(c.Body))
	if err != nil || !strings.HasPrefix(c.R.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return oauthError(http.StatusBadRequest, "invalid_request", "Send a form.")
	}
	if rp := c.Instead(); rp != nil {
		return rp
	}
	if c.Play("refresh-revoked") != nil {
		s.Revoke()
	}
	grant := p.Get("grant_type")
	if grant == "refresh_token" || grant == "authorization_code" {
		if p.Get("client_id") != s.cfg.ClientID || subtle.ConstantTimeCompare([]byte(p.Get("client_secret")), []byte(s.cfg.ClientSecret)) != 1 {
			return oauthError(http.StatusUnauthorized, "invalid_client", "The OAuth client was not found.")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	added := ""
	switch grant {
	case "refresh_token":
		r := s.creds.refresh[p.Get("refresh_token")]
		if r == nil || r.revoked || r.expires > 0 && c.Now >= r.expires {
			return oauthError(http.StatusBadRequest, "invalid_grant", "Token has been expired or revoked.")
		}
	case "authorization_code":
		k := s.creds.codes[p.Get("code")]
		delete(s.creds.codes, p.Get("code"))
		switch {
		case k == nil || c.Now >= k.expires:
			return oauthError(http.StatusBadRequest, "invalid_grant", "Malformed auth code.")
		case k.redirect != p.Get("redirect_uri"):
			return oauthError(http.StatusBadRequest, "redirect_uri_mismatch", "Bad Request")
		case k.challenge != "" && k.challenge != challenge(p.Get("code_verifier")):
			return oauthError(http.StatusBadRequest, "invalid_grant", "Invalid code verifier.")
		}
		if len(s.creds.refresh) >= maxTokens {
			return oauthError(http.StatusServiceUnavailable, "temporarily_unavailable", "Too many tokens.")
		}
		t := s.fresh("1//")
		s.creds.refresh[t] = &refresh{}
		added = `,"refresh_token":"` + t + `"`
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if why := s.checkJWT(p.Get("assertion"), c.R.Host); why != "" {
			return oauthError(http.StatusBadRequest, "invalid_grant", why)
		}
	default:
		return oauthError(http.StatusBadRequest, "unsupported_grant_type", "Invalid grant_type.")
	}
	t, life := s.issue(c.Now)
	b := fmt.Appendf(nil, `{"access_token":%q,"expires_in":%d,"scope":%q,"token_type":"Bearer"%s}`, t, max(1, int64(life/time.Second)-1), scope, added)
	return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: b}
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// serveDialog stands in for the person who agrees: it sends them back at once with a code.
func (s *Server) serveDialog(c *stage.Call) *stage.Reply {
	q := c.R.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if q.Get("client_id") != s.cfg.ClientID || err != nil || back.Host == "" || q.Get("response_type") != "code" || !slices.Contains(strings.Fields(q.Get("scope")), scope) ||
		q.Get("code_challenge") != "" && q.Get("code_challenge_method") != "S256" {
		return &stage.Reply{Status: http.StatusBadRequest, Type: "text/html; charset=utf-8", Body: []byte("<html><body>Error 400: invalid_request</body></html>")}
	}
	have := back.Query()
	if state := q.Get("state"); state != "" {
		have.Set("state", state)
	}
	if c.Play("login-denied") != nil {
		have.Set("error", "access_denied")
	} else {
		s.mu.Lock()
		if len(s.creds.codes) >= maxTokens {
			clear(s.creds.codes)
		}
		k := s.fresh("4/")
		s.creds.codes[k] = &code{expires: c.Now + 10*time.Minute, redirect: q.Get("redirect_uri"), challenge: q.Get("code_challenge")}
		s.mu.Unlock()
		have.Set("code", k)
		have.Set("scope", scope)
	}
	back.RawQuery = have.Encode()
	return stage.Redirect(http.StatusFound, back.String())
}

// key is the service account's, made when it is first needed.
func (s *Server) key() *rsa.PrivateKey {
	s.keyOnce.Do(func() {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(fmt.Sprintf("simulator: a key of 2048 bits: %s", err)) // the system has no randomness
		}
		s.rsa = k
	})
	return s.rsa
}

// ServiceAccount is the key file of a service account that may read every account, for a simulator at an address.
func (s *Server) ServiceAccount(base string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(s.key())
	if err != nil {
		return nil, fmt.Errorf("simulator: service account: %w", err)
	}
	return json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": "simulated", "private_key_id": "simulated-1",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": ServiceAccountEmail, "client_id": "100000000000000000001", "token_uri": base + "/token",
	}, "", "  ")
}

// checkJWT says what is wrong with a service account's assertion; empty: nothing.
func (s *Server) checkJWT(text, host string) string {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || len(text) > 8192 {
		return "Invalid JWT: not three parts."
	}
	var head struct{ Alg string }
	var claims struct {
		Iss, Scope, Aud, Sub string
		Iat, Exp             int64
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || decodePart(parts[0], &head) != nil || decodePart(parts[1], &claims) != nil {
		return "Invalid JWT: it cannot be read."
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	now := s.host.Now().Unix()
	switch {
	case head.Alg != "RS256" || claims.Iss != ServiceAccountEmail || rsa.VerifyPKCS1v15(&s.key().PublicKey, crypto.SHA256, sum[:], sig) != nil:
		return "Invalid JWT Signature."
	case claims.Aud != "https://oauth2.googleapis.com/token" && claims.Aud != "http://"+host+"/token" && claims.Aud != "https://"+host+"/token":
		return "Invalid JWT: the audience is not the token endpoint."
	case !slices.Contains(strings.Fields(claims.Scope), scope):
		return "Invalid JWT: the scope of Google Ads is missing."
	case claims.Exp <= now || claims.Iat > now+60 || claims.Exp > claims.Iat+3600:
		return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values."
	case claims.Sub != "":
		return "Invalid JWT: the service account may not act for another user."
	}
	return ""
}

func decodePart(part string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// authorise checks the access token and what goes with it.
func (s *Server) authorise(c *stage.Call) *apiError {
	q := c.R.URL.Query()
	if q.Has("access_token") || q.Has("key") {
		c.Misplace("access token in the address")
		return &apiError{status: http.StatusUnauthorized}
	}
	header := c.R.Header.Get("Authorization")
	if header == "" {
		return &apiError{
			status: http.StatusUnauthorized, reason: "CREDENTIALS_MISSING",
			message: "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
		}
	}
	scheme, text, _ := strings.Cut(header, " ")
	if scheme != "Bearer" {
		return refusal(http.StatusUnauthorized, "authenticationError", "OAUTH_TOKEN_HEADER_INVALID", "OAuth token header is not valid.")
	}
	if strings.HasPrefix(text, "1//") || text == s.cfg.ClientSecret {
		c.Misplace("refresh token or client secret as access token")
	}
	s.mu.Lock()
	t := s.creds.access[text]
	known := t != nil
	var expired, revoked bool
	if known {
		expired, revoked = c.Now >= t.expires, t.revoked
	}
	s.mu.Unlock()
	switch {
	case !known:
		return refusal(http.StatusUnauthorized, "authenticationError", "OAUTH_TOKEN_INVALID", "OAuth token in the header is not valid.")
	case revoked:
		return refusal(http.StatusUnauthorized, "authenticationError", "OAUTH_TOKEN_REVOKED", "OAuth token has been revoked.")
	case expired || c.Play("token-expired") != nil:
		return refusal(http.StatusUnauthorized, "authenticationError", "OAUTH_TOKEN_EXPIRED", "OAuth token in the header has expired.")
	}
	c.Who = "simulated"
	if want := s.cfg.DeveloperToken; want != "" {
		switch have := c.R.Header.Get("Developer-Token"); {
		case have == "":
			return refusal(http.StatusBadRequest, "requestError", "DEVELOPER_TOKEN_PARAMETER_MISSING", "The developer-token parameter is required for all requests.")
		case have != want:
			return refusal(http.StatusUnauthorized, "authenticationError", "DEVELOPER_TOKEN_INVALID", "The developer token is not valid.")
		}
	}
	return nil
}

// Revoke ends every refresh token and every access token.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.creds.refresh {
		r.revoked = true
	}
	for _, a := range s.creds.access {
		a.revoked = true
	}
}
