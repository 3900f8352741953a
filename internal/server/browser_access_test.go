package server

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// A person pauses a connection, sees that it is, resumes it and finds all of that in the audit log; what others wrote there stays text, and fits a phone.
func TestBrowserPause(t *testing.T) {
	ctx := browser(t)
	b := fleet(t)
	must(t, b.st.Audit(t.Context(), store.AuditEntry{
		Who: "login 3f2a9c1b", Remote: "192.0.2.7", Action: "drop", Ref: ads.Ref{ClientID: "<img src=x onerror=window.bad=1>", Connection: "adplatform"},
		Detail: "<script>window.bad=1</script>" + strings.Repeat("x", 300), Result: "dropped",
	}))
	do(t, ctx, look(1280, 860, "light"), chromedp.Navigate(b.url+"/c/acme/adplatform"), chromedp.WaitVisible(".facts"))
	do(t, ctx, chromedp.Click(`form[action="/actions/pause"] button`), chromedp.WaitVisible(`form[action="/actions/resume"] button`), chromedp.WaitVisible(".note"))
	if got := ask[string](t, ctx, `document.querySelector("main").innerText`); !strings.Contains(got, notes["paused"]) || !strings.Contains(got, "Paused by this machine") || b.pausedBy("acme") == "" {
		t.Errorf("after Pause: %s", got)
	}
	picture(t, ctx, "paused")
	do(t, ctx, chromedp.Click(`form[action="/actions/resume"] button`), chromedp.WaitVisible(`form[action="/actions/pause"] button`))
	if b.pausedBy("acme") != "" {
		t.Error("still paused after Resume")
	}
	do(t, ctx, chromedp.Click(`header a[href="/audit"]`), chromedp.WaitVisible("tbody tr"))
	if got := ask[string](t, ctx, `[...document.querySelectorAll("tbody tr")].map(r => r.cells[3].innerText).join()`); got != "resume,pause,drop" {
		t.Errorf("the audit log has %q", got)
	}
	if ask[bool](t, ctx, `window.bad === 1`) || ask[int](t, ctx, `document.querySelectorAll("main script, main img").length`) != 0 {
		t.Error("an entry is markup")
	}
	picture(t, ctx, "audit")
	do(t, ctx, look(390, 844, "light"), chromedp.Navigate(b.url+"/audit"), chromedp.WaitVisible("tbody tr"))
	if over := ask[int](t, ctx, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
		t.Errorf("%d pixels wider than a phone", over)
	}
	picture(t, ctx, "audit-phone")
}
