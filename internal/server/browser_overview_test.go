package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// thousand is a service of 1,000 connections, of which some have trouble and most have used a part of their quota.
func thousand(t *testing.T) *bed {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("client-%04d", i)
	}
	b := newBed(t, names...)
	now := time.Now().UTC()
	for i, n := range names {
		ref := ads.Ref{ClientID: n, Connection: "adplatform"}
		b.live.Observe(observe.Event{At: now, Ref: ref, Data: observe.QuotaState{Bucket: n, Used: i % 11, Limit: 10, Window: time.Hour}})
		if i%100 == 7 {
			must(t, b.st.Park(t.Context(), ref, store.Wait{Reason: "the platform answered 503", Until: now.Add(time.Hour), Mark: string(observe.ParkFailed)}))
		}
	}
	b.sync("client-0042", ads.Complete, now.Add(-time.Minute), []ads.Entity{campaign("1", "Spring")})
	return b
}

// What is typed is what the table shows, among a thousand connections and without the page being loaded anew.
func TestBrowserSearchesAThousand(t *testing.T) {
	ctx := browser(t)
	b := thousand(t)
	do(t, ctx, look(1280, 860, "light"), chromedp.Navigate(b.url), chromedp.WaitVisible("tbody tr"))
	if got := ask[int](t, ctx, `document.querySelectorAll("tbody tr").length`); got != rowsPerPage {
		t.Errorf("%d rows on the first page", got)
	}
	// The names in the table once the count below it says how many were found.
	shows := func(found string) string {
		until(t, ctx, fmt.Sprintf(`(() => { const p = document.querySelector(".pager span"); return !!p && p.textContent.startsWith(%q); })()`, found))
		return ask[string](t, ctx, `[...document.querySelectorAll("tbody td.name a")].map(a => a.textContent).join()`)
	}
	ask[bool](t, ctx, `window.here = true; window.drawn = []; window.typed = 0;
		document.querySelector("#q").addEventListener("input", () => window.typed = performance.now());
		document.addEventListener("drawn", () => { if (window.typed) { const t = window.typed; window.typed = 0; requestAnimationFrame(() => window.drawn.push(performance.now() - t)); } }); true`)
	do(t, ctx, chromedp.SendKeys("#q", "client-004"))
	if got := shows("1–10 of 10 (of 1000"); got != "client-0042,client-0040,client-0041,client-0043,client-0044,client-0045,client-0046,client-0047,client-0048,client-0049" {
		t.Errorf("client-004 finds %s", got)
	}
	do(t, ctx, chromedp.SendKeys("#q", "2"))
	if got := shows("1–1 of 1 (of 1000"); got != "client-0042" {
		t.Errorf("client-0042 finds %s", got)
	}
	if got := ask[string](t, ctx, `document.querySelector("tbody tr").innerText`); !strings.Contains(got, "complete") || !strings.Contains(got, "9 of 10") {
		t.Errorf("the row has neither the last outcome nor the quota: %s", got)
	}
	if got := ask[string](t, ctx, "location.search"); got != "?q=client-0042" {
		t.Errorf("the address has %q", got)
	}
	// A state and a platform narrow it down further.
	ask[bool](t, ctx, `var q = document.querySelector("#q"); q.value = ""; q.dispatchEvent(new Event("input", {bubbles: true})); true`)
	shows("1–200 of 1000")
	choose := func(name, value string) {
		ask[bool](t, ctx, fmt.Sprintf(`var s = document.querySelector("select[name=%s]"); s.value = %q; s.dispatchEvent(new Event("input", {bubbles: true})); true`, name, value))
	}
	choose("state", "failed")
	if got := shows("1–10 of 10 (of 1000"); !strings.HasPrefix(got, "client-0007,client-0107") {
		t.Errorf("failed ones: %s", got)
	}
	choose("platform", "adplatform")
	until(t, ctx, `location.search.includes("platform=adplatform")`)
	if got := shows("1–10 of 10 (of 1000"); !strings.HasPrefix(got, "client-0007,client-0107") {
		t.Errorf("failed ones of the platform: %s", got)
	}
	if !ask[bool](t, ctx, "window.here === true") {
		t.Error("the page was loaded anew")
	}
	t.Logf("from a key to the table's next frame, in ms: %s", ask[string](t, ctx, `window.drawn.map(x => x.toFixed(0)).join(" ")`))
	// The address alone gives the same table.
	do(t, ctx, chromedp.Navigate(b.url+"/?platform=adplatform&state=failed"), chromedp.WaitVisible("tbody tr"))
	if got := shows("1–10 of 10 (of 1000"); !strings.HasPrefix(got, "client-0007,client-0107") {
		t.Errorf("by its address: %s", got)
	}
}
