package server

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"adsync/internal/config"
	"adsync/internal/secret"
)

const (
	webPassword = "correct horse battery"
	webToken    = "token-of-programs"
)

func guarded(b *bed) {
	b.srv.access.web = config.Web{Listen: "0.0.0.0:8080", Password: secret.New(webPassword), Token: secret.New(webToken)}
}

// visitor is a browser with its cookies.
type visitor struct {
	b *bed
	c *http.Client
}

func newVisitor(b *bed) visitor {
	jar, err := cookiejar.New(nil)
	must(b.t, err)
	return visitor{b, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (v visitor) do(method, path, bearer string, form url.Values) (int, string, http.Header) {
	v.b.t.Helper()
	req, err := http.NewRequestWithContext(v.b.t.Context(), method, v.b.url+path, strings.NewReader(form.Encode()))
	must(v.b.t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := v.c.Do(req)
	must(v.b.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(v.b.t, err)
	return res.StatusCode, string(body), res.Header
}

func TestLogin(t *testing.T) {
	b := newBed(t, "acme")
	guarded(b)
	v := newVisitor(b)
	for path, want := range map[string]int{
		"/": 303, "/c/acme/adplatform": 303, "/failures": 303, "/rows": 401, "/events": 401, "/api/v1/status": 401, "/healthz": 200, "/readyz": 503, "/login": 200,
	} {
		if code, _, _ := v.do("GET", path, "", nil); code != want {
			t.Errorf("%s without a login: %d, want %d", path, code, want)
		}
	}
	if code, _, _ := v.do("POST", "/actions/sync", "", url.Values{"client": {"acme"}, "connection": {"adplatform"}}); code != 303 {
		t.Errorf("an action without a login: %d", code)
	}
	if code, body, _ := v.do("POST", "/login", "", url.Values{"password": {"guess"}}); code != 401 || !strings.Contains(body, "This is not the password") {
		t.Errorf("a wrong password: %d", code)
	}
	code, _, h := v.do("POST", "/login", "", url.Values{"password": {webPassword}})
	cookie := h.Get("Set-Cookie")
	if code != 303 || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Strict") {
		t.Fatalf("login: %d %s", code, cookie)
	}
	code, page, _ := v.do("GET", "/c/acme/adplatform", "", nil)
	form := regexp.MustCompile(`name="csrf" value="([^"]{40,})"`).FindStringSubmatch(page)
	if code != 200 || form == nil {
		t.Fatalf("after the login: %d\n%s", code, page)
	}
	ask := url.Values{"client": {"acme"}, "connection": {"adplatform"}, "csrf": {"guess"}}
	if code, _, _ := v.do("POST", "/actions/sync", "", ask); code != 403 {
		t.Errorf("a form without the session's mark: %d", code)
	}
	ask.Set("csrf", form[1])
	if code, _, h := v.do("POST", "/actions/sync", "", ask); code != 303 || !strings.Contains(h.Get("Location"), "done=asked") {
		t.Errorf("a form: %d %s", code, h.Get("Location"))
	}
	if code, _, _ := newVisitor(b).do("POST", "/actions/sync", "", ask); code != 303 {
		t.Errorf("the mark without the session: %d", code)
	}
	if code, _, _ := v.do("POST", "/logout", "", url.Values{"csrf": {form[1]}}); code != 303 {
		t.Errorf("logout: %d", code)
	}
	if code, _, _ := v.do("GET", "/failures", "", nil); code != 303 {
		t.Errorf("after the logout: %d", code)
	}
	for token, want := range map[string]int{webToken: 200, webPassword: 200, "guess": 401} {
		if code, _, _ := newVisitor(b).do("GET", "/api/v1/status", token, nil); code != want {
			t.Errorf("a program: %d, want %d", code, want)
		}
	}
}

// A page of another site that has its name point here reads nothing.
func TestForeignName(t *testing.T) {
	b := newBed(t, "acme")
	for host, want := range map[string]int{"localhost:8080": 200, "127.0.0.1": 200, "[::1]:8080": 200, "evil.example": 403, "127.0.0.1.evil.example": 403, "": 403} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		r.Host = host
		b.srv.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", host, w.Code, want)
		}
	}
}

func TestLoginAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccess(config.Web{Password: secret.New(webPassword)})
		try := func(from, password string) (bool, time.Duration) {
			r := httptest.NewRequest("POST", "/login", nil)
			r.RemoteAddr = from + ":1000"
			who, wait := a.login(httptest.NewRecorder(), r, password)
			return who != "", wait
		}
		guesses, begin := 0, time.Now()
		for time.Since(begin) < 24*time.Hour {
			if _, wait := try("10.0.0.1", "guess"); wait > 0 {
				time.Sleep(wait)
			} else {
				guesses++
			}
		}
		if guesses > 120 {
			t.Errorf("%d guesses of one address in a day", guesses)
		}
		if ok, _ := try("10.0.0.2", webPassword); !ok {
			t.Error("another address had to wait")
		}
		for i := range 200 {
			try("10.1.0."+string(rune('0'+i%10))+string(rune('0'+i/10%10)), "guess")
		}
		if _, wait := try("10.2.0.1", webPassword); wait <= 0 || wait > time.Minute {
			t.Errorf("after many failures of all: %s", wait)
		}
		time.Sleep(time.Minute)
		if ok, _ := try("10.2.0.1", webPassword); !ok {
			t.Error("a minute later nobody gets in")
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccess(config.Web{Password: secret.New(webPassword)})
		w := httptest.NewRecorder()
		if who, _ := a.login(w, httptest.NewRequest("POST", "/login", nil), webPassword); who == "" {
			t.Fatal("no login")
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(w.Result().Cookies()[0])
		for range 27 { // in use all the time
			time.Sleep(6 * time.Hour)
			if a.session(r) == nil {
				t.Fatal("the session ended while it was in use")
			}
		}
		time.Sleep(7 * time.Hour)
		if a.session(r) != nil {
			t.Error("the session holds for ever")
		}
		w = httptest.NewRecorder()
		a.login(w, httptest.NewRequest("POST", "/login", nil), webPassword)
		r = httptest.NewRequest("GET", "/", nil)
		r.AddCookie(w.Result().Cookies()[0])
		time.Sleep(sessionIdle + time.Second)
		if a.session(r) != nil || len(a.sessions) > 1 {
			t.Error("an idle session holds")
		}
	})
}

// Pages, documents, assets and refusals: no answer is without these headers.
func TestHeaders(t *testing.T) {
	b := newBed(t, "acme")
	ask := func(want int) {
		t.Helper()
		for _, path := range []string{"/", "/audit", "/api/v1/status", "/healthz", "/readyz", "/assets/x/style.css", "/no/such/page", "/c/nobody/x", "/login"} {
			code, _, h := newVisitor(b).do("GET", path, "", nil)
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := h.Get(name); got != want {
					t.Errorf("%s (%d): %s is %q", path, code, name, got)
				}
			}
			if got := h.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") || !strings.Contains(got, "frame-ancestors 'none'") || strings.Contains(got, "unsafe") {
				t.Errorf("%s (%d): %q", path, code, got)
			}
			if path == "/" && code != want {
				t.Errorf("%s: %d, want %d", path, code, want)
			}
		}
	}
	ask(200)
	guarded(b)
	ask(303)
}
