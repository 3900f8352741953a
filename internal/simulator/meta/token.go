package meta

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"adsync/internal/simulator/internal/dice"
	"adsync/internal/simulator/internal/stage"
)

// token is one that the platform knows.
type token struct {
	kind     string // SYSTEM_USER or USER
	accounts stage.Spans
	issued   time.Duration // on the platform's clock
	expires  time.Duration // 0: never
	dead     int           // the error's subcode when it was killed; 0: it lives
	code     bool          // it is a code to be exchanged, not a token
	redirect string        // of a code
}

// maxTokens bounds the tokens that can be issued; beyond it the simulator refuses to make more.
const maxTokens = 100_000

func (s *Server) newTokens() error {
	for _, t := range s.cfg.Tokens {
		text, which, some := strings.Cut(t, "=")
		tok := &token{kind: "SYSTEM_USER"}
		if text == "" {
			return fmt.Errorf("simulator: token %q: want TOKEN or TOKEN=ACCOUNTS such as T=1-10", "="+which)
		}
		if some {
			spans, err := stage.ParseSpans("token accounts", which)
			if err != nil {
				return fmt.Errorf("simulator: %w", err)
			}
			tok.accounts = spans
		}
		if s.cfg.TokenLife > 0 {
			tok.expires = s.host.Scaled(s.cfg.TokenLife)
		}
		s.tokens[text] = tok
	}
	return nil
}

func (t *token) sees(account int) bool { return t.accounts == nil || t.accounts.Has(account) }

// Proof is the appsecret_proof that goes with a token.
func Proof(secret, token string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(token))
	return hex.EncodeToString(m.Sum(nil))
}

func dead(sub int) *graphError {
	why := map[int]string{
		458: "Error validating access token: The user has not authorized application " + DefaultAppID,
		459: "Error validating access token: The session is invalid because the user is checkpointed",
		460: "Error validating access token: The session has been invalidated because the user changed their password",
		463: "Error validating access token: Session has expired",
		467: "Error validating access token: The session is invalid",
	}[sub]
	if why == "" {
		why = "Error validating access token"
	}
	return &graphError{status: http.StatusUnauthorized, code: 190, sub: sub, message: why, outcome: stage.Unauthorized}
}

// authorise finds the token and checks it, and the proof that goes with it.
func (s *Server) authorise(c *stage.Call, rq *request) *graphError {
	text := rq.p.Get("access_token")
	fromURL := c.R.URL.Query().Get("access_token") != ""
	if header := c.R.Header.Get("Authorization"); text == "" && header != "" {
		scheme, rest, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "OAuth") {
			return &graphError{status: http.StatusUnauthorized, code: 190, message: "Invalid OAuth access token - Cannot parse access token", outcome: stage.Unauthorized}
		}
		text = rest
	}
	if fromURL {
		s.inURL.Add(1)
		rq.tokenInURL = text
	}
	if rq.p.Get("client_secret") != "" || strings.Contains(c.R.URL.RawQuery, s.cfg.AppSecret) {
		c.Misplace("app secret in a call that does not ask for it")
	}
	if text == "" {
		return &graphError{status: http.StatusUnauthorized, code: 104, message: "An access token is required to request this resource.", outcome: stage.Unauthorized}
	}
	if id, secret, ok := strings.Cut(text, "|"); ok && id == s.cfg.AppID && secret == s.cfg.AppSecret {
		c.Misplace("app token in a call for ad data")
		return &graphError{code: 190, message: "(#190) This method must be called with a user or system user access token", outcome: stage.Unauthorized, status: http.StatusUnauthorized}
	}
	s.mu.Lock()
	t := s.tokens[text]
	var sub int
	known := t != nil && !t.code
	if known {
		sub = s.deadNow(t, c.Now)
	}
	s.mu.Unlock()
	switch {
	case !known:
		return &graphError{status: http.StatusUnauthorized, code: 190, message: "Invalid OAuth access token - Cannot parse access token", outcome: stage.Unauthorized}
	case sub != 0:
		return dead(sub)
	}
	rq.token, rq.tokenText = t, text
	c.Who = s.cfg.AppID
	if f := c.Play("token-revoked"); f != nil {
		s.mu.Lock()
		t.dead = int(f.Num("subcode"))
		s.mu.Unlock()
		return dead(int(f.Num("subcode")))
	}
	proof := rq.p.Get("appsecret_proof")
	switch {
	case proof == "" && s.cfg.RequireProof:
		return &graphError{code: 100, kind: "GraphMethodException", message: "API calls from the server require an appsecret_proof argument", outcome: stage.Bad}
	case proof != "" && subtle.ConstantTimeCompare([]byte(proof), []byte(Proof(s.cfg.AppSecret, text))) != 1:
		return &graphError{code: 104, message: "Incorrect signature", outcome: stage.Unauthorized}
	}
	return nil
}

// deadNow is why a token is no good; 0 when it is. The caller holds s.mu.
func (s *Server) deadNow(t *token, now time.Duration) int {
	switch {
	case t.dead != 0:
		return t.dead
	case t.expires > 0 && now >= t.expires:
		return 463
	}
	return 0
}

// issue makes a token or a code. The caller holds s.mu.
func (s *Server) issue(t *token) (string, bool) {
	if len(s.tokens) >= maxTokens {
		return "", false
	}
	n := uint64(s.serial.Add(1))
	text := fmt.Sprintf("EAA%016x%016x", dice.Mix(s.cfg.Seed^uint64(s.born)), dice.Mix(n^s.cfg.Seed<<1))
	s.tokens[text] = t
	return text, true
}

// serveDialog stands in for the person who agrees: it sends them back at once with a code.
func (s *Server) serveDialog(c *stage.Call) *stage.Reply {
	q := c.R.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if q.Get("client_id") != s.cfg.AppID || err != nil || back.Scheme == "" || back.Host == "" {
		return &stage.Reply{Status: http.StatusBadRequest, Type: "text/html; charset=utf-8", Body: []byte("<html><body>Invalid App ID or redirect_uri</body></html>")}
	}
	add := url.Values{}
	if state := q.Get("state"); state != "" {
		add.Set("state", state)
	}
	if c.Play("login-denied") != nil {
		add.Set("error", "access_denied")
		add.Set("error_reason", "user_denied")
		add.Set("error_description", "Permissions error")
	} else {
		t := &token{kind: "USER", code: true, redirect: q.Get("redirect_uri"), issued: c.Now, expires: c.Now + 10*time.Minute}
		s.mu.Lock()
		code, ok := s.issue(t)
		s.mu.Unlock()
		if !ok {
			return stage.HTML(http.StatusServiceUnavailable)
		}
		add.Set("code", code)
	}
	have := back.Query()
	for k, v := range add {
		have[k] = v
	}
	back.RawQuery = have.Encode()
	return stage.Redirect(http.StatusFound, back.String())
}

// serveToken exchanges a code, or a token that lives for one that lives longer.
func (s *Server) serveToken(c *stage.Call, rq *request) *stage.Reply {
	if rp := c.Instead(); rp != nil {
		return rp
	}
	p := rq.p
	if p.Get("client_id") != s.cfg.AppID {
		return s.fail(c, graphError{code: 101, message: "Error validating application. Cannot get application info due to a system error.", outcome: stage.Unauthorized})
	}
	if subtle.ConstantTimeCompare([]byte(p.Get("client_secret")), []byte(s.cfg.AppSecret)) != 1 {
		return s.fail(c, graphError{code: 1, message: "Error validating client secret.", outcome: stage.Unauthorized})
	}
	c.Who = s.cfg.AppID
	s.mu.Lock()
	defer s.mu.Unlock()
	life := s.host.Scaled(s.cfg.UserLife)
	made := &token{kind: "USER", issued: c.Now}
	switch grant := p.Get("grant_type"); {
	case grant == "fb_exchange_token":
		old := s.tokens[p.Get("fb_exchange_token")]
		if old == nil || old.code {
			return s.fail(c, graphError{status: http.StatusUnauthorized, code: 190, message: "Invalid OAuth access token - Cannot parse access token"})
		}
		if sub := s.deadNow(old, c.Now); sub != 0 {
			return s.fail(c, *dead(sub))
		}
		made.kind, made.accounts = old.kind, old.accounts
		life = s.host.Scaled(s.cfg.LongLife)
	case grant == "" && p.Get("code") != "":
		code := s.tokens[p.Get("code")]
		switch {
		case code == nil || !code.code:
			return s.fail(c, graphError{code: 100, message: "Invalid verification code format.", outcome: stage.Bad})
		case code.dead != 0 || c.Now >= code.expires:
			return s.fail(c, graphError{code: 100, sub: 36007, message: "This authorization code has expired or has been used.", outcome: stage.Bad})
		case code.redirect != p.Get("redirect_uri"):
			return s.fail(c, graphError{
				code: 100, message: "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request", outcome: stage.Bad,
			})
		}
		code.dead = 1
	default:
		return s.fail(c, graphError{code: 1, message: "Missing or invalid grant_type or code.", outcome: stage.Bad})
	}
	made.expires = c.Now + life
	text, ok := s.issue(made)
	if !ok {
		return s.fail(c, graphError{status: http.StatusServiceUnavailable, code: 2, message: "Service temporarily unavailable", transient: true})
	}
	body := fmt.Sprintf(`{"access_token":%q,"token_type":"bearer","expires_in":%d}`, text, max(1, int64(life/time.Second)))
	return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: []byte(body)}
}

// serveDebug says what a token is. It is asked with the app's own token.
func (s *Server) serveDebug(c *stage.Call, rq *request) *stage.Reply {
	text := rq.p.Get("access_token")
	if header := c.R.Header.Get("Authorization"); text == "" && strings.HasPrefix(header, "Bearer ") {
		text = header[len("Bearer "):]
	}
	if text != s.cfg.AppID+"|"+s.cfg.AppSecret {
		return s.fail(c, graphError{code: 100, message: "(#100) You must provide an app access token, or a user access token that is an owner or developer of the app", outcome: stage.Unauthorized})
	}
	c.Who = s.cfg.AppID
	if rp := c.Instead(); rp != nil {
		return rp
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[rq.p.Get("input_token")]
	if t == nil || t.code {
		return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: []byte(
			`{"data":{"error":{"code":190,"message":"Invalid OAuth access token."},"is_valid":false,"scopes":[]}}`)}
	}
	begin := s.host.Now().Add(-c.Now)
	epoch := func(d time.Duration) int64 {
		if d == 0 {
			return 0
		}
		return begin.Add(d).Unix()
	}
	sub := s.deadNow(t, c.Now)
	b := fmt.Appendf(nil, `{"data":{"app_id":%q,"type":%q,"application":"Simulated","data_access_expires_at":%d,`, s.cfg.AppID, t.kind, begin.Add(t.issued+90*24*time.Hour).Unix())
	if sub != 0 {
		b = fmt.Appendf(b, `"error":{"code":190,"message":%q,"subcode":%d},`, dead(sub).message, sub)
	}
	b = fmt.Appendf(b, `"expires_at":%d,"is_valid":%t,"issued_at":%d,"scopes":[`, epoch(t.expires), sub == 0, begin.Add(t.issued).Unix())
	for i, scope := range s.cfg.Scopes {
		if i > 0 {
			b = append(b, ',')
		}
		b = stage.Quote(b, scope)
	}
	b = append(b, `],"granular_scopes":[`...)
	for i, scope := range s.cfg.Scopes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"scope":`...)
		b = append(stage.Quote(b, scope), '}')
	}
	b = append(b, `],"user_id":"`...)
	b = append(b, userID...)
	b = append(b, `"}}`...)
	return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: b}
}

func (s *Server) scoped(scope string) bool { return slices.Contains(s.cfg.Scopes, scope) }

// KillTokens ends every token with a subcode of error 190 (460: password changed, 463: expired, …).
func (s *Server) KillTokens(sub int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if !t.code {
			t.dead = sub
		}
	}
}

// Token issues a short user token, as a person's login gives it.
func (s *Server) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.host.Elapsed()
	text, _ := s.issue(&token{kind: "USER", issued: now, expires: now + s.host.Scaled(s.cfg.UserLife)})
	return text
}

func quoteInt(b []byte, n int64) []byte {
	b = append(b, '"')
	b = strconv.AppendInt(b, n, 10)
	return append(b, '"')
}
