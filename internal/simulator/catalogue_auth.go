package simulator

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

func authFaults() []Fault {
	const section = "auth"
	tokenOnce := "endpoint=token,on=1,times=1"
	return []Fault{
		{
			Name: "token-dies", Numbers: []int{1}, Section: section, Help: "a token dies earlier than its answer said", Default: "endpoint=token",
			Params: []Param{{Name: "after", Default: "3s", Help: "its true life: a length of time, or so many requests", kind: length}},
			hooks: hooks{token: func(_ *call, f *activeFault, t *tokenAnswer) {
				if n := f.num("after"); n > 0 {
					t.uses = int(n)
				} else {
					t.expiresIn = min(t.expiresIn, f.dur("after"))
				}
			}},
		},
		{
			Name: "token-short", Numbers: []int{2}, Section: section, Help: "a token lives shortly, and its answer says so", Default: "endpoint=token",
			Params: []Param{{Name: "life", Default: "3s", Help: "how long", kind: duration}},
			hooks: hooks{token: func(_ *call, f *activeFault, t *tokenAnswer) {
				t.expiresIn = f.dur("life")
				t.set("expires_in", wholeSeconds(t.expiresIn))
			}},
		},
		{
			Name: "credentials-wrong", Numbers: []int{3}, Section: section, Help: "the credentials are refused from the start", Default: "endpoint=token",
			hooks: hooks{instead: func(*call, *activeFault) *reply {
				return failure(http.StatusUnauthorized, "Invalid credentials", "Email or password is wrong")
			}},
		},
		{
			Name: "revoked", Numbers: []int{4}, Section: section, Help: "after some requests the account's tokens die and its credentials are refused", Default: "endpoint=api,after=20",
			hooks: hooks{arrive: func(c *call, _ *activeFault) *reply {
				c.s.mu.Lock()
				defer c.s.mu.Unlock()
				if c.email != "" && !c.s.revoked[c.email] {
					c.s.revoke(c.email)
				}
				return nil
			}},
		},
		{
			Name: "fresh-refused", Numbers: []int{5}, Section: section, Help: "every token is refused as expired, however fresh", Default: "endpoint=api",
			hooks: hooks{arrive: func(c *call, _ *activeFault) *reply { return expired(c.wall()) }},
		},
		{
			Name: "token-slow", Numbers: []int{6}, Section: section, Help: "the token endpoint takes its time", Default: "endpoint=token",
			Params: []Param{by("how long", "3s")},
			hooks: hooks{instead: func(c *call, f *activeFault) *reply {
				if !c.wait(f.dur("by")) {
					return gone
				}
				return nil
			}},
		},
		{
			Name: "token-503", Numbers: []int{7}, Section: section, Help: "the token endpoint is unavailable, then well", Default: "endpoint=token,times=3",
			hooks: hooks{instead: func(*call, *activeFault) *reply { return unavailable() }},
		},
		{
			Name: "token-hang", Numbers: []int{8}, Section: section, Help: "the token endpoint stays silent", Default: tokenOnce,
			hooks: hooks{instead: func(c *call, _ *activeFault) *reply { return c.silence() }},
		},
		{
			Name: "token-429", Numbers: []int{9}, Section: section, Help: "the token endpoint refuses for quota, with Retry-After", Default: tokenOnce,
			Params: []Param{refusedFor("3s")},
			hooks: hooks{instead: func(c *call, f *activeFault) *reply {
				wait := ceilSeconds(f.dur("wait"))
				if c.cl != nil {
					c.cl.mu.Lock()
					c.cl.track.s.Throttled++
					c.cl.mu.Unlock()
				}
				c.tell("token", time.Duration(wait)*time.Second)
				return failure(http.StatusTooManyRequests, "Rate limit exceeded", "Too many tokens").with("Retry-After", strconv.FormatInt(wait, 10))
			}},
		},
		{
			Name: "token-rotates", Numbers: []int{10}, Section: section, Help: "a new token ends the earlier ones of the account", Default: "endpoint=token",
			hooks: hooks{token: func(_ *call, _ *activeFault, t *tokenAnswer) { t.rotate = true }},
		},
		{
			Name: "token-no-expiry", Numbers: []int{12}, Section: section, Help: "expires_in says nothing of use", Default: "endpoint=token",
			Params: []Param{{Name: "value", Default: "missing", Help: "what it is", Values: []string{"missing", "0", "-1", "null"}}},
			hooks: hooks{token: func(_ *call, f *activeFault, t *tokenAnswer) {
				if v := f.str("value"); v != "missing" {
					t.set("expires_in", v)
				} else {
					t.drop("expires_in")
				}
			}},
		},
		{
			Name: "token-expiry-string", Numbers: []int{13}, Section: section, Help: "expires_in is a string", Default: "endpoint=token",
			hooks: hooks{token: func(_ *call, _ *activeFault, t *tokenAnswer) { t.set("expires_in", quote(wholeSeconds(t.expiresIn))) }},
		},
		{
			Name: "token-expiry-huge", Numbers: []int{14}, Section: section, Help: "expires_in is 10^18", Default: "endpoint=token",
			hooks: hooks{token: func(_ *call, _ *activeFault, t *tokenAnswer) { t.set("expires_in", "1000000000000000000") }},
		},
		{
			Name: "clock-off", Numbers: []int{15}, Section: section, Help: "the platform's clock is off, in every time that it tells", Default: "endpoint=any",
			Params: []Param{by("how much; below 0 it is slow", "6h")},
			hooks: hooks{arrive: func(c *call, f *activeFault) *reply {
				c.skew += f.dur("by")
				return nil
			}},
		},
		{
			Name: "token-html", Numbers: []int{16}, Section: section, Help: "a login page with status 200 instead of a token", Default: "endpoint=token",
			hooks: hooks{instead: func(*call, *activeFault) *reply { return htmlPage(http.StatusOK) }},
		},
		{
			Name: "token-empty", Numbers: []int{17}, Section: section, Help: "the token is an empty string", Default: "endpoint=token",
			hooks: hooks{token: func(_ *call, _ *activeFault, t *tokenAnswer) { t.rename("") }},
		},
		{
			Name: "token-crlf", Numbers: []int{17}, Section: section, Help: "the token has a line break and a header in it", Default: "endpoint=token",
			hooks: hooks{token: func(_ *call, _ *activeFault, t *tokenAnswer) { t.rename(t.text + "\r\nX-Injected: 1") }},
		},
		{
			Name: "token-type-lower", Numbers: []int{18}, Section: section, Help: "token_type is bearer in small letters, and only Bearer is accepted", Default: "endpoint=token",
			hooks: hooks{token: func(_ *call, _ *activeFault, t *tokenAnswer) { t.set("token_type", `"bearer"`) }},
		},
		{
			Name: "token-redirect", Numbers: []int{19}, Section: section, Help: "the token endpoint sends elsewhere", Default: "endpoint=token",
			Params: []Param{redirectTo(), {Name: "code", Default: "307", Help: "status", Values: []string{"301", "302", "303", "307", "308"}, kind: number}},
			hooks:  hooks{instead: func(c *call, f *activeFault) *reply { return redirect(int(f.num("code")), c.abroad(f)) }},
		},
	}
}

// rename changes the token, for the client and for the server.
func (t *tokenAnswer) rename(to string) {
	t.text = to
	t.set("access_token", quote(to))
}

func redirectTo() Param {
	return Param{Name: "to", Help: "where to; empty: an origin of the simulator's own, which counts who comes", kind: link}
}

// abroad is the address that a fault leads to: the same path somewhere else.
func (c *call) abroad(f *activeFault) string {
	base := f.str("to")
	if base == "" {
		base = c.s.elsewhere()
	}
	return strings.TrimSuffix(base, "/") + c.r.URL.RequestURI()
}

func redirect(code int, to string) *reply {
	return (&reply{status: code}).with("Location", to)
}

func unavailable() *reply {
	return failure(http.StatusServiceUnavailable, "Service temporarily unavailable", "Please try again")
}

// htmlPage is what a proxy or a login wall puts in the way.
func htmlPage(status int) *reply {
	return &reply{status: status, ctype: "text/html; charset=utf-8", body: []byte("<!doctype html>\n<html><head><title>Sign in</title></head><body><h1>" +
		http.StatusText(status) + "</h1><form action=\"/login\"><input name=\"user\"><input name=\"pass\" type=\"password\"></form></body></html>\n")}
}
