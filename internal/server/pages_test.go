package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
)

func TestOverviewPage(t *testing.T) {
	b := newBed(t, "acme", "globex", "initech")
	now := time.Now().UTC()
	b.sync("acme", ads.Complete, now.Add(-2*time.Minute), []ads.Entity{campaign("1", "Spring")})
	b.sync("globex", ads.Failed, now.Add(-2*time.Minute), nil)
	body := b.page("/", "acme", "globex", "initech", "the platform answered 500 globex", `data-th="State"`, "not synced yet")
	if f, g := strings.Index(body, ">globex<"), strings.Index(body, ">acme<"); f < 0 || g < 0 || f > g {
		t.Error("trouble does not come first")
	}
	if body := b.page("/?q=GLOB", ">globex<"); strings.Contains(body, ">acme<") {
		t.Error("the search shows what does not match")
	}
	if body := b.page("/?state=fresh", ">acme<"); strings.Contains(body, ">globex<") {
		t.Error("the filter shows another state")
	}
	b.page("/?q=nothing-like-it", "Nothing matches.")
	if body := b.page("/rows?q=acme", ">acme<"); strings.Contains(body, "<html") {
		t.Error("the fragment is a whole page")
	}
	if code, _, _ := b.get("/nowhere"); code != http.StatusNotFound {
		t.Errorf("/nowhere: %d", code)
	}
}

func TestEmptyOverview(t *testing.T) {
	newBed(t).page("/", "No connection yet.")
}

func TestAssets(t *testing.T) {
	b := newBed(t)
	for name, kind := range map[string]string{"style.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		code, _, h := b.get("/assets/" + buildMark + "/" + name)
		if code != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), kind) || !strings.Contains(h.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", name, code, h)
		}
	}
	if code, _, _ := b.get("/assets/x/..%2f..%2fserver.go"); code != http.StatusNotFound {
		t.Errorf("outside of the assets: %d", code)
	}
}

func TestConnectionPage(t *testing.T) {
	b := newBed(t, "acme", "globex")
	now := time.Now().UTC()
	b.sync("acme", ads.Partial, now.Add(-2*time.Minute), []ads.Entity{campaign("1", "Spring")}, ads.Problem{EntityID: "7", Code: "bad_value", Message: "budget is a word", Hint: "ask the platform"})
	b.page("/c/acme/adplatform", "budget is a word", "ask the platform", "What to do", "34 % at work, 66 % waiting", `action="/actions/sync"`, `action="/actions/retry"`, "bad_record")
	b.page("/c/acme/adplatform?part=1", "budget is a word")
	b.page("/c/globex/adplatform", "No run yet.")
	if code, body, _ := b.get("/c/%3Cscript%3E/x"); code != http.StatusNotFound || strings.Contains(body, "<script>/") {
		t.Errorf("an unknown connection: %d %s", code, body)
	}
}
