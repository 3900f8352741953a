package server

import (
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// post sends a form as a browser does, and gives the page that it leads to.
func (b *bed) post(path string, form url.Values, origin string) (int, string) {
	b.t.Helper()
	if form.Get("csrf") == "" {
		cookie := random()
		form.Set("csrf", formOf(cookie))
		return b.postWith(path, form, origin, &http.Cookie{Name: formCookie, Value: cookie})
	}
	return b.postWith(path, form, origin, nil)
}

func (b *bed) postWith(path string, form url.Values, origin string, cookie *http.Cookie) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, strings.NewReader(form.Encode()))
	must(b.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if cookie != nil {
		req.AddCookie(cookie)
	}
	if origin != "" {
		req.Header.Set("Origin", origin)
		req.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := c.Do(req)
	must(b.t, err)
	must(b.t, res.Body.Close())
	return res.StatusCode, res.Header.Get("Location")
}

func (b *bed) open() (n int) {
	for _, err := range b.st.Failures(b.t.Context(), store.FailureFilter{}) {
		must(b.t, err)
		n++
	}
	return n
}

func TestActions(t *testing.T) {
	b := newBed(t, "acme", "globex")
	now := time.Now().UTC()
	b.sync("acme", ads.Partial, now, nil, ads.Problem{EntityID: "1", Message: "m"}, ads.Problem{EntityID: "2", Message: "m"})
	b.sync("globex", ads.Partial, now, nil, ads.Problem{EntityID: "3", Message: "m"})
	acme := url.Values{"client": {"acme"}, "connection": {"adplatform"}, "back": {"/c/acme/adplatform"}}
	for _, want := range []string{"asked", "going"} {
		if code, to := b.post("/actions/sync", maps.Clone(acme), ""); code != http.StatusSeeOther || to != "/c/acme/adplatform?done="+want {
			t.Errorf("sync: %d %s, want %s", code, to, want)
		}
	}
	b.page("/c/acme/adplatform?done=asked", notes["asked"])
	if code, _ := b.post("/actions/sync", url.Values{"client": {"nobody"}, "connection": {"x"}}, ""); code != http.StatusNotFound {
		t.Errorf("sync of what is not there: %d", code)
	}
	if code, to := b.post("/actions/retry", url.Values{"client": {"acme"}, "back": {"/failures?client=acme"}}, ""); code != http.StatusSeeOther || to != "/failures?client=acme&done=retry" {
		t.Errorf("retry: %d %s", code, to)
	}
	if code, to := b.post("/actions/retry", url.Values{"class": {"transient"}}, ""); code != http.StatusSeeOther || to != "/?done=nothing" {
		t.Errorf("retry of nothing: %d %s", code, to)
	}
	if code, _ := b.post("/actions/drop", maps.Clone(acme), "https://elsewhere.example"); code != http.StatusForbidden || b.open() != 3 {
		t.Errorf("another site's form: %d, %d left", code, b.open())
	}
	if code, to := b.post("/actions/drop", maps.Clone(acme), ""); code != http.StatusSeeOther || !strings.HasSuffix(to, "done=dropped") || b.open() != 1 {
		t.Errorf("drop: %d %s, %d left", code, to, b.open())
	}
}

// One of three is tried again, one is dropped, and each is written down by its name.
func TestActionsOnOneFailure(t *testing.T) {
	b := newBed(t, "acme", "globex")
	now := time.Now().UTC()
	b.sync("acme", ads.Partial, now, nil, ads.Problem{EntityID: "one", Message: "m"}, ads.Problem{EntityID: "two", Message: "m"})
	b.sync("globex", ads.Partial, now, nil, ads.Problem{EntityID: "three", Message: "m"})
	read := func() map[string]store.Failure {
		out := map[string]store.Failure{}
		for f, err := range b.st.Failures(t.Context(), store.FailureFilter{}) {
			must(t, err)
			out[f.EntityID] = f
		}
		return out
	}
	id := func(name string) string { return strconv.FormatInt(read()[name].ID, 10) }
	two := id("two")
	if code, to := b.post("/actions/retry", url.Values{"id": {id("one")}, "back": {"/failures?after=3"}}, ""); code != http.StatusSeeOther || to != "/failures?after=3&done=retry-one" {
		t.Errorf("retry: %d %s", code, to)
	}
	if fs := read(); fs["one"].NextRetryAt.IsZero() || !fs["two"].NextRetryAt.IsZero() || !fs["three"].NextRetryAt.IsZero() {
		t.Errorf("due: %+v", fs)
	}
	if code, _ := b.post("/actions/drop", url.Values{"id": {two}}, "https://elsewhere.example"); code != http.StatusForbidden || b.open() != 3 {
		t.Errorf("another site's form: %d, %d left", code, b.open())
	}
	if code, to := b.post("/actions/drop", url.Values{"id": {two}}, ""); code != http.StatusSeeOther || to != "/?done=dropped-one" || b.open() != 2 {
		t.Errorf("drop: %d %s, %d left", code, to, b.open())
	}
	for _, none := range []string{two, "", "x", "-1", "1 OR 1=1"} {
		for _, what := range []string{"drop", "retry"} {
			if code, to := b.post("/actions/"+what, url.Values{"id": {none}, "client": {"acme"}}, ""); code != http.StatusSeeOther || to != "/?done=nothing" || b.open() != 2 {
				t.Errorf("%s of %q: %d %s, %d left", what, none, code, to, b.open())
			}
		}
	}
	b.page("/failures?done=dropped-one", notes["dropped-one"], `name="id" value="`+id("one")+`"`, `formaction="/actions/drop"`)
	b.page("/audit", "campaigns one", "campaigns two", ">acme<")
}

func TestBack(t *testing.T) {
	for in, want := range map[string]string{
		"/c/a/b?x=1": "/c/a/b?x=1", "": "/", "https://evil.example/": "/", "//evil.example/x": "/", `/\evil.example`: "/", "javascript:alert(1)": "/", "/a\r\nX: y": "/",
		"/c/a%2Fb/c": "/c/a%2Fb/c", "////evil.example": "/", "relative": "/",
	} {
		if got := back(in).String(); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
