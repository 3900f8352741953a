package simulator

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// token is one that was issued.
type token struct {
	email, clientID string
	expires         time.Duration // since the server's start
	usesLeft        int           // how many more requests it is good for; below 0: any number
	dead            bool
	diedAt          time.Duration
}

// maxTokens bounds the tokens remembered; beyond it the oldest are forgotten, and no longer accepted.
const maxTokens = 100_000

type tokens struct {
	byText map[string]*token
	order  []string
	serial uint64
}

func newTokens() tokens { return tokens{byText: map[string]*token{}} }

func (t *tokens) put(text string, v *token) {
	if _, known := t.byText[text]; !known {
		t.order = append(t.order, text)
	}
	t.byText[text] = v
	for len(t.byText) > maxTokens {
		delete(t.byText, t.order[0])
		t.order = t.order[1:]
	}
}

// IssuedTokens are the tokens issued so far, the newest 100,000: whoever checks that none leaks needs to know them.
func (s *Server) IssuedTokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tokens.order)
}

// RevokeTokens ends every token that was issued so far, as if it had expired.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens.byText {
		t.kill(s.since())
	}
}

func (t *token) kill(now time.Duration) {
	if !t.dead {
		t.dead, t.diedAt = true, now
	}
}

// tokenAnswer is a token on its way out.
type tokenAnswer struct {
	record                  // the answer's members
	text      string        // what the server will know it by
	expiresIn time.Duration // how long it is really good for
	uses      int           // how many requests it is really good for; 0: any number
	rotate    bool          // it ends all earlier ones of its account and client
}

// identify finds out whose credentials or token the request carries, without judging them.
func (c *call) identify() {
	auth := c.r.Header.Get("Authorization")
	if c.endpoint == "token" {
		c.email, _, _ = parseBasic(auth)
		return
	}
	if rest, ok := strings.CutPrefix(auth, "Bearer "); ok {
		c.token = rest
		c.s.mu.Lock()
		if t := c.s.tokens.byText[c.token]; t != nil {
			c.email = t.email
		}
		c.s.mu.Unlock()
	}
}

func parseBasic(header string) (email, password string, ok bool) {
	if len(header) < 6 || !strings.EqualFold(header[:6], "Basic ") {
		return "", "", false
	}
	plain, err := base64.StdEncoding.DecodeString(header[6:])
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(plain), ":")
}

func (s *Server) credentials(email, password string) bool {
	good := subtle.ConstantTimeCompare([]byte(email), []byte(s.cfg.Email))&subtle.ConstantTimeCompare([]byte(password), []byte(s.cfg.Password)) == 1
	for _, a := range s.cfg.Accounts {
		good = good || (email == a.Email && password == a.Password)
	}
	return good
}

func (c *call) serveToken() *reply {
	s := c.s
	if c.cl != nil {
		c.cl.mu.Lock()
		c.cl.track.arrive(s.since(), "token")
		c.cl.mu.Unlock()
	}
	if rp := c.instead(); rp != nil {
		return rp
	}
	header := c.r.Header.Get("Authorization")
	if header == "" {
		return failure(http.StatusUnauthorized, "Missing credentials", "Send Authorization: Basic with email and password")
	}
	email, password, ok := parseBasic(header)
	if !ok {
		return failure(http.StatusUnauthorized, "Malformed credentials", "Send Authorization: Basic with email and password")
	}
	s.mu.Lock()
	revoked := s.revoked[email]
	s.mu.Unlock()
	if revoked || !s.credentials(email, password) {
		return failure(http.StatusUnauthorized, "Invalid credentials", "Email or password is wrong")
	}
	s.mu.Lock()
	s.tokens.serial++
	serial := s.tokens.serial
	s.mu.Unlock()
	// The serial of the server keeps a token of a former life from being taken for one of this life.
	text := fmt.Sprintf("sim_%016x%016x", hashText(s.cfg.Seed^mix(s.serial+uint64(s.start.UnixNano())), "token", email), mix(serial+s.cfg.Seed))
	ans := &tokenAnswer{text: text, expiresIn: s.cfg.TokenLife}
	ans.fields = []field{
		{"access_token", quote(text)},
		{"token_type", `"Bearer"`},
		{"expires_in", wholeSeconds(ans.expiresIn)},
		{"issued_at", strconv.FormatInt(c.wall().Unix(), 10)},
	}
	for _, f := range c.faults {
		if f.def.token != nil && f.hit(c) {
			f.def.token(c, f, ans)
		}
	}
	t := &token{email: email, clientID: c.clientID, expires: s.since() + ans.expiresIn, usesLeft: -1}
	if ans.uses > 0 {
		t.usesLeft = ans.uses
	}
	s.mu.Lock()
	if ans.rotate {
		for _, old := range s.tokens.byText {
			if old.email == email && old.clientID == c.clientID {
				old.kill(s.since())
			}
		}
	}
	s.tokens.put(ans.text, t)
	s.global.tokens++
	s.mu.Unlock()
	if c.cl != nil {
		c.cl.mu.Lock()
		c.cl.track.s.TokensIssued++
		c.cl.mu.Unlock()
	}
	return jsonReply(http.StatusOK, ans.bytes())
}

// wholeSeconds is a life as the platform tells it. One that is shorter than a second, as scaled demos have, is told as a fraction.
func wholeSeconds(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	}
	return strconv.FormatInt(int64(d/time.Second), 10)
}

// authorise checks the token; nil lets the request pass.
func (c *call) authorise() *reply {
	if c.token == "" {
		return failure(http.StatusUnauthorized, "Missing token", "Send Authorization: Bearer with a token from /auth/token")
	}
	s := c.s
	now := s.since()
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens.byText[c.token]
	if t == nil {
		return failure(http.StatusUnauthorized, "Invalid token", "The token is not known")
	}
	if now >= t.expires && !t.dead {
		t.dead, t.diedAt = true, t.expires
	}
	if t.usesLeft == 0 {
		t.kill(now)
	}
	if t.dead {
		return expired(c.wall().Add(t.diedAt - now))
	}
	if t.usesLeft > 0 {
		t.usesLeft--
	}
	return nil
}

func expired(at time.Time) *reply {
	return failure(http.StatusUnauthorized, "Token expired", "Get a new token from /auth/token", field{"expired_at", quote(at.UTC().Format("2006-01-02T15:04:05.000Z"))})
}
