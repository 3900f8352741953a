package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/report"
	"adsync/internal/store"
)

// call asks for something as a program does.
func (b *bed) call(path, body string, into any) int {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, strings.NewReader(body))
	must(b.t, err)
	if !b.srv.access.open() {
		req.Header.Set("Authorization", "Bearer "+webToken)
	}
	res, err := http.DefaultClient.Do(req)
	must(b.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(b.t, err)
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			b.t.Fatalf("%s: %v in %s", path, err, text)
		}
	}
	return res.StatusCode
}

func (b *bed) pausedBy(client string) string {
	b.t.Helper()
	p, err := b.st.ReadPause(b.t.Context(), ads.Ref{ClientID: client, Connection: "adplatform"})
	must(b.t, err)
	return p.By
}

func TestPausePages(t *testing.T) {
	b := newBed(t, "acme", "globex")
	b.sync("acme", ads.Complete, time.Now().UTC(), []ads.Entity{campaign("1", "One")})
	acme := func() url.Values {
		return url.Values{"client": {"acme"}, "connection": {"adplatform"}, "back": {"/c/acme/adplatform"}}
	}
	if body := b.page("/c/acme/adplatform", `action="/actions/pause"`, "Sync now"); strings.Contains(body, `action="/actions/resume"`) {
		t.Error("what is not paused can be resumed")
	}
	if code, _ := b.post("/actions/pause", acme(), "https://elsewhere.example"); code != http.StatusForbidden || b.pausedBy("acme") != "" {
		t.Errorf("another site's form: %d", code)
	}
	if code, to := b.post("/actions/pause", acme(), ""); code != http.StatusSeeOther || to != "/c/acme/adplatform?done=paused" || b.pausedBy("acme") != "this machine" {
		t.Errorf("%d %s, by %q", code, to, b.pausedBy("acme"))
	}
	if body := b.page("/c/acme/adplatform?done=paused", notes["paused"], `action="/actions/resume"`, "by this machine"); strings.Contains(body, "Sync now</button>") || strings.Contains(body, `action="/actions/pause"`) {
		t.Error("what is paused can be synced, or paused again")
	}
	b.page("/?state=paused", "by this machine")
	if code, to := b.post("/actions/sync", acme(), ""); code != http.StatusSeeOther || !strings.HasSuffix(to, "done=held") {
		t.Errorf("%d %s", code, to)
	}
	if code, to := b.post("/actions/resume", acme(), ""); code != http.StatusSeeOther || !strings.HasSuffix(to, "done=resumed") || b.pausedBy("acme") != "" {
		t.Errorf("%d %s", code, to)
	}
	b.page("/c/acme/adplatform?done=resumed", notes["resumed"], `action="/actions/pause"`)
	if code, _ := b.post("/actions/pause", url.Values{"client": {"nobody"}, "connection": {"x"}}, ""); code != http.StatusNotFound {
		t.Errorf("what is not there: %d", code)
	}
}

func TestPauseOfPrograms(t *testing.T) {
	b := newBed(t, "acme")
	guarded(b)
	ask := `{"client": "acme", "connection": "adplatform"}`
	var a report.Answer
	if code := b.call("/api/v1/pause", ask, &a); code != http.StatusAccepted || a.State != "paused" || b.pausedBy("acme") != "token" {
		t.Errorf("%d %+v, by %q", code, a, b.pausedBy("acme"))
	}
	if code := b.call("/api/v1/sync", ask, &a); code != http.StatusAccepted || a.State != "paused" || a.Reason == nil || !strings.HasPrefix(*a.Reason, "paused by token since ") {
		t.Errorf("%d %+v", code, a)
	}
	if code := b.call("/api/v1/resume", ask, &a); code != http.StatusAccepted || a.State != "queued" || b.pausedBy("acme") != "" {
		t.Errorf("%d %+v", code, a)
	}
	for body, want := range map[string]int{`{"client": "nobody", "connection": "x"}`: 404, `{`: 400, `{"who": "me"}`: 400} {
		for _, path := range []string{"/api/v1/pause", "/api/v1/resume"} {
			if code := b.call(path, body, nil); code != want {
				t.Errorf("%s %s: %d, want %d", path, body, code, want)
			}
		}
	}
	b.srv.access.web.Token = b.srv.access.web.Password // the old one is no longer right
	if code := b.call("/api/v1/pause", ask, nil); code != http.StatusUnauthorized || b.pausedBy("acme") != "" {
		t.Errorf("without a login: %d", code)
	}
}

// The mark of refused credentials has more in it than its kind.
func TestStandings(t *testing.T) {
	now := time.Now()
	soon := now.Add(time.Hour)
	pause := store.Pause{At: now.Add(-time.Minute), By: "anna"}
	for _, c := range []struct {
		name string
		k    store.ConnectionStatus
		want standing
	}{
		{"refused", store.ConnectionStatus{Wait: store.Wait{Until: soon, Mark: string(observe.ParkAuth) + ":00:ff"}}, isRefused},
		{"failed", store.ConnectionStatus{Wait: store.Wait{Until: soon, Mark: string(observe.ParkFailed)}}, isFailed},
		{"parked", store.ConnectionStatus{Wait: store.Wait{Until: soon, Mark: string(observe.ParkQuota)}}, isParked},
		{"paused", store.ConnectionStatus{Wait: store.Wait{Until: soon, Mark: string(observe.ParkQuota)}, Pause: pause}, isPaused},
		{"paused and still stopping", store.ConnectionStatus{Running: true, Pause: pause}, isRunning},
		{"paused before its first run", store.ConnectionStatus{Pause: pause}, isPaused},
	} {
		if got, _ := (&known{ConnectionStatus: c.k}).standing(now); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
