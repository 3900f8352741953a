package server

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
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
	b.page("/c/acme/adplatform", "budget is a word", "ask the platform", "What to do", "fetching 27 %, waiting for quota 50 %, waiting because the server said so 17 %, writing 7 %", `action="/actions/sync"`, `action="/actions/retry"`, "bad_record")
	b.page("/c/acme/adplatform?part=1", "budget is a word")
	b.page("/c/globex/adplatform", "No run yet.")
	if code, body, _ := b.get("/c/%3Cscript%3E/x"); code != http.StatusNotFound || strings.Contains(body, "<script>/") {
		t.Errorf("an unknown connection: %d %s", code, body)
	}
}

func TestCampaignsPage(t *testing.T) {
	b := newBed(t, "acme", "globex")
	var cs []ads.Entity
	for i := range 150 {
		cs = append(cs, campaign(fmt.Sprintf("c%03d", i), fmt.Sprintf("Spring %d", i)))
	}
	b.sync("acme", ads.Complete, time.Now().UTC().Add(-2*time.Minute), cs)
	const path = "/c/acme/adplatform/campaigns"
	body := b.page(path, "c000", "c099", "12.50 EUR daily", "1,234,567", "4,321")
	if strings.Contains(body, "c100") {
		t.Error("more than a page")
	}
	at := strings.Index(body, `rel="next" href="`)
	if at < 0 {
		t.Fatal("no next page")
	}
	next, _, _ := strings.Cut(body[at+len(`rel="next" href="`):], `"`)
	if body := b.page(html.UnescapeString(next), "c100", "c149", "first page"); strings.Contains(body, "c099") || strings.Contains(body, `rel="next"`) {
		t.Error("the second page is not the rest")
	}
	if body := b.page(path+"?q=spring+77", "c077"); strings.Contains(body, "c078") {
		t.Error("the search shows what does not match")
	}
	b.page(path+"?q=c005", "Spring 5<")
	b.page(path+"?status=removed", "Nothing matches.")
	b.page(path+"?q=%00%ff", "Nothing matches.")
	b.page("/c/globex/adplatform/campaigns", "No campaigns.")
}

// The heads of columns are links that sort without a script; what is searched for stays, and pages follow the order.
func TestCampaignsSorted(t *testing.T) {
	b := newBed(t, "acme")
	var cs []ads.Entity
	for i := range 130 {
		c := campaign(fmt.Sprintf("c%03d", i), fmt.Sprintf("Spring %03d", 129-i))
		c.Clicks = ads.Some(int64(i * 7 % 130))
		cs = append(cs, c)
	}
	b.sync("acme", ads.Complete, time.Now().UTC().Add(-2*time.Minute), cs)
	const path = "/c/acme/adplatform/campaigns"
	link := func(body, text string) string {
		t.Helper()
		m := regexp.MustCompile(`<a [^>]*href="([^"]*)"[^>]*>` + text).FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("no link %q in %s", text, body)
		}
		return html.UnescapeString(m[1])
	}
	ids := func(body string) (out []string) {
		for _, m := range regexp.MustCompile(`<small>(c\d+)</small>`).FindAllStringSubmatch(body, -1) {
			out = append(out, m[1])
		}
		return out
	}
	byClicks := b.page(link(b.page(path+"?q=spring"), "Clicks"), `aria-sort="descending"`)
	rest := b.page(link(byClicks, "next →"))
	got := append(ids(byClicks), ids(rest)...)
	if len(got) != len(cs) {
		t.Fatalf("%d rows on two pages", len(got))
	}
	for i, id := range got {
		var n int
		_, err := fmt.Sscanf(id, "c%d", &n)
		must(t, err)
		if n*7%130 != 129-i {
			t.Fatalf("row %d is %s", i, id)
		}
	}
	if got := ids(b.page(link(byClicks, "Clicks"), `aria-sort="ascending"`)); got[0] != "c000" {
		t.Errorf("the other way round begins with %s", got[0])
	}
	names := link(byClicks, "Campaign")
	if got := ids(b.page(names)); got[0] != "c129" || !strings.Contains(names, "q=spring") {
		t.Errorf("%s begins with %s", names, got[0])
	}
	b.page(path+"?sort=clicks&dir=desc&skip=9999999999999999999999&q=%27", "Nothing matches.")
	if got := ids(b.page(path + "?sort=%27;drop&skip=-4")); got[0] != "c000" {
		t.Errorf("an order that is none begins with %s", got[0])
	}
}

func TestFailuresPage(t *testing.T) {
	b := newBed(t, "acme", "globex")
	b.page("/failures", "No open failures.")
	var ps []ads.Problem
	for i := range 120 {
		ps = append(ps, ads.Problem{EntityID: fmt.Sprintf("p%03d", i), Code: "bad_value", Message: "budget is a word", Hint: "ask the platform"})
	}
	b.sync("acme", ads.Partial, time.Now().UTC().Add(-2*time.Minute), nil, ps...)
	body := b.page("/failures", "p000", "p099", "budget is a word", "ask the platform", "when listed again", `action="/actions/drop"`)
	if strings.Contains(body, "p100") || !strings.Contains(body, `rel="next"`) {
		t.Error("the first page is not a page")
	}
	b.page("/failures?client=globex", "No failure of this kind.")
	b.page("/failures?client=acme&class=bad_record", "p000")
	b.page("/failures?class=transient", "No failure of this kind.")
	if body := b.page("/failures?done=%3Cscript%3E"); strings.Contains(body, "<script>") {
		t.Error("an address puts its own words on the page")
	}
}

// TestOutsideTextStaysText: whatever a platform calls its campaigns.
func TestOutsideTextStaysText(t *testing.T) {
	b := newBed(t, "acme")
	var cs []ads.Entity
	for i, name := range hostileNames {
		cs = append(cs, campaign(fmt.Sprintf("h%d", i), name))
	}
	b.sync("acme", ads.Partial, time.Now().UTC().Add(-2*time.Minute), cs, ads.Problem{EntityID: hostileNames[0], Code: hostileNames[1], Message: hostileNames[0], Hint: hostileNames[1]})
	for _, path := range []string{"/", "/c/acme/adplatform", "/c/acme/adplatform/campaigns", "/failures", "/?q=" + url.QueryEscape(hostileNames[1]), "/c/acme/adplatform/campaigns?q=" + url.QueryEscape(hostileNames[0])} {
		body := b.page(path)
		for _, bad := range []string{"<script>alert", "<img", "javascript:alert(1)\"", "\u202e"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s: %q came through", path, bad)
			}
		}
		if len(body) > 60_000 {
			t.Errorf("%s has %d bytes: long texts are not cut", path, len(body))
		}
	}
}

var hostileNames = []string{
	`<script>alert(document.cookie)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `{{.Secret}}`, "javascript:alert(1)", "\u202egnp.exe",
	"اسم الحملة", strings.Repeat("long ", 1000), strings.Repeat("x", 5000), "a\u200bb\u2028c", "</title></textarea><!--", "",
}
