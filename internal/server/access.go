package server

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"adsync/internal/config"
	"adsync/internal/secret"
)

// How long a login holds, and how often one may be tried.
const (
	sessionIdle = 8 * time.Hour
	sessionLife = 7 * 24 * time.Hour
	maxSessions = 1000

	freeTries  = 5                // of one address, before it has to wait
	firstPause = 2 * time.Second  // doubled by each further try
	mostPause  = 15 * time.Minute // of one address
	allTries   = 60               // failures of all addresses in a minute
	maxCallers = 10_000           // addresses kept in mind
)

const (
	sessionCookie = "adsync_session"
	formCookie    = "adsync_form"
)

// access decides who may see and do what. Its zero value lets everybody in, which is for loopback alone.
type access struct {
	web     config.Web
	guessed func(r *http.Request, what string) // told of tokens that are wrong; may be nil

	mu       sync.Mutex
	sessions map[[sha256.Size]byte]*session
	callers  map[string]*caller
	minute   time.Time // of the failures counted in all
	failures int
}

type session struct {
	begun, used time.Time
	csrf        string
}

// caller is one address that has failed to log in.
type caller struct {
	failures int
	until    time.Time
}

func newAccess(w config.Web) *access {
	return &access{web: w, sessions: map[[sha256.Size]byte]*session{}, callers: map[string]*caller{}}
}

// open says that nobody has to log in.
func (a *access) open() bool { return a.web.Password.Empty() && a.web.Token.Empty() }

// headers are on every answer, whatever it is: no other site may frame it, read it, run in it, or learn where a reader came from.
var headers = [][2]string{
	{"Content-Security-Policy", policy},
	{"X-Content-Type-Options", "nosniff"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
}

// guard lets through who may pass: health pages always, programs by their token, people by their login, everybody on loopback where there is no login. Who comes
// under a foreign name to a machine without a login was led there by somebody else's page.
func (a *access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range headers {
			w.Header().Set(h[0], h[1])
		}
		switch path := r.URL.Path; {
		case path == "/healthz" || path == "/readyz":
		case a.open():
			if !localName(r.Host) {
				plain(w, http.StatusForbidden, "this address is not known here: use localhost or 127.0.0.1")
				return
			}
		case strings.HasPrefix(path, "/assets/") || path == "/login" || path == "/metrics" && a.web.MetricsOpen:
		case a.program(r) || a.session(r) != nil:
		case strings.HasPrefix(path, "/api/") || path == "/metrics" || path == "/events" || path == "/rows":
			w.Header().Set("WWW-Authenticate", "Bearer")
			plain(w, http.StatusUnauthorized, "log in first: Authorization: Bearer, or a session")
			return
		default:
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// localName says that a Host header names this machine by a name that no other page can have.
func localName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// program says that a request carries the token of programs. A wrong one counts as a failure to log in.
func (a *access) program(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || a.wait(r) > 0 {
		return false
	}
	for _, s := range []secret.Text{a.web.Token, a.web.Password} {
		if !s.Empty() && same(given, s) {
			a.succeeded(r)
			return true
		}
	}
	a.failed(r)
	if a.guessed != nil {
		a.guessed(r, "a wrong token")
	}
	return false
}

// same compares without telling by its time how much of it was right.
func same(given string, s secret.Text) bool {
	x, y := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(s.Reveal()))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// session is the login that a request belongs to; nil: none that still holds.
func (a *access) session(r *http.Request) *session {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	key := sha256.Sum256([]byte(c.Value))
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sessions[key]
	now := time.Now()
	if s == nil {
		return nil
	}
	if now.Sub(s.used) > sessionIdle || now.Sub(s.begun) > sessionLife {
		delete(a.sessions, key)
		return nil
	}
	s.used = now
	return s
}

// who names whoever asks, for the audit log: the mark of a login tells two of them apart and opens nothing.
func (a *access) who(r *http.Request) string {
	if a.open() {
		return "this machine"
	}
	if c, err := r.Cookie(sessionCookie); err == nil && a.session(r) != nil {
		return loginName(sha256.Sum256([]byte(c.Value)))
	}
	return "token"
}

func loginName(key [sha256.Size]byte) string { return "login " + hex.EncodeToString(key[:4]) }

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it cannot fail
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// login begins a session where the password is right, and names it; wait is how long this address, or everybody, has to wait before the next try.
func (a *access) login(w http.ResponseWriter, r *http.Request, password string) (who string, wait time.Duration) {
	if wait := a.wait(r); wait > 0 {
		return "", wait
	}
	want := a.web.Password
	if want.Empty() {
		want = a.web.Token
	}
	if !same(password, want) {
		a.failed(r)
		return "", 0
	}
	a.succeeded(r)
	value, now := random(), time.Now()
	a.mu.Lock()
	if len(a.sessions) >= maxSessions {
		a.dropOldest()
	}
	key := sha256.Sum256([]byte(value))
	a.sessions[key] = &session{begun: now, used: now, csrf: random()}
	a.mu.Unlock()
	http.SetCookie(w, cookie(r, sessionCookie, value, int(sessionLife.Seconds())))
	return loginName(key), 0
}

func (a *access) dropOldest() {
	var oldest [sha256.Size]byte
	var at time.Time
	for k, s := range a.sessions {
		if at.IsZero() || s.used.Before(at) {
			oldest, at = k, s.used
		}
	}
	delete(a.sessions, oldest)
}

func cookie(r *http.Request, name, value string, age int) *http.Cookie {
	secure := r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: secure}
}

// logout ends the session of a request.
func (a *access) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		a.mu.Lock()
		delete(a.sessions, sha256.Sum256([]byte(c.Value)))
		a.mu.Unlock()
	}
	http.SetCookie(w, cookie(r, sessionCookie, "", -1))
}

func callerOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// wait is how long whoever asks has to wait before the next try.
func (a *access) wait(r *http.Request) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.failures >= allTries && now.Sub(a.minute) < time.Minute {
		return a.minute.Add(time.Minute).Sub(now)
	}
	if c := a.callers[callerOf(r)]; c != nil {
		return max(0, c.until.Sub(now))
	}
	return 0
}

func (a *access) failed(r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if now.Sub(a.minute) >= time.Minute {
		a.minute, a.failures = now, 0
	}
	a.failures++
	if len(a.callers) >= maxCallers {
		for k, c := range a.callers {
			if now.After(c.until) {
				delete(a.callers, k)
			}
		}
	}
	c := a.callers[callerOf(r)]
	if c == nil {
		if len(a.callers) >= maxCallers {
			return // the bound on all of them holds
		}
		c = &caller{}
		a.callers[callerOf(r)] = c
	}
	if c.failures++; c.failures >= freeTries {
		c.until = now.Add(min(firstPause<<min(c.failures-freeTries, 20), mostPause))
	}
}

func (a *access) succeeded(r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.callers, callerOf(r))
}

// csrf is what a form has to carry: bound to the session, or where nobody logs in to a cookie that no other site can read or send.
func (a *access) csrf(w http.ResponseWriter, r *http.Request) string {
	if s := a.session(r); s != nil {
		return s.csrf
	}
	if !a.open() {
		return ""
	}
	if c, err := r.Cookie(formCookie); err == nil && len(c.Value) >= 43 {
		return formOf(c.Value)
	}
	value := random()
	http.SetCookie(w, cookie(r, formCookie, value, 0))
	return formOf(value)
}

func formOf(value string) string {
	h := sha256.Sum256([]byte("form " + value))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// checkCSRF says whether a form comes from a page of this server.
func (a *access) checkCSRF(r *http.Request) bool {
	given := r.PostForm.Get("csrf")
	if s := a.session(r); s != nil {
		return subtle.ConstantTimeCompare([]byte(given), []byte(s.csrf)) == 1
	}
	c, err := r.Cookie(formCookie)
	return a.open() && err == nil && len(c.Value) >= 43 && subtle.ConstantTimeCompare([]byte(given), []byte(formOf(c.Value))) == 1
}
