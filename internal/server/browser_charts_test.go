package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// The page of a connection draws its charts from what was sent, and they go on while more is.
func TestBrowserCharts(t *testing.T) {
	ctx := browser(t)
	b := fleet(t)
	cyberdyne := ads.Ref{ClientID: "cyberdyne", Connection: "adplatform"}
	send := func(at time.Time, used int, refused bool) {
		b.live.Observe(observe.Event{At: at, Ref: cyberdyne, Data: observe.QuotaState{Bucket: "cyberdyne", Used: used, Limit: 10, Window: time.Minute}})
		b.live.Observe(observe.Event{At: at, Ref: cyberdyne, Data: observe.Attempt{Sent: true, Refused: refused}})
	}
	now := time.Now()
	for i := range 14 {
		b.more = func(u *store.RunUpdate) {
			n := time.Duration(1 + i*7%5)
			u.Active, u.Figures.Waited, u.Figures.Told, u.Figures.Writing = n*time.Minute, (n-1)*40*time.Second, n/3*25*time.Second, (n+1)*time.Second
			u.Figures.Requests, u.Figures.Throttled = int64(40+i*13%60), int64(i*5%4)
		}
		b.sync("cyberdyne", ads.Complete, now.UTC().Add(time.Duration(i-15)*15*time.Minute), []ads.Entity{campaign("1", "Spring"), campaign("2", "Summer")})
	}
	b.more = nil
	for i := range 50 {
		send(now.Add(time.Duration(i*11-545)*time.Second), 3+i*i%8, i%17 == 3)
	}
	do(t, ctx, look(1280, 860, "light"), chromedp.Navigate(b.url+"/c/cyberdyne/adplatform"), chromedp.WaitVisible("#chart-quota canvas"))
	// What lies on a canvas: the colours of its lines, wherever they are.
	const inked = `(sel) => { const c = document.querySelector(sel + " canvas"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data; const seen = new Set(); for (let i = 0; i < d.length; i += 4) if (d[i+3] === 255) seen.add(d[i] + "," + d[i+1] + "," + d[i+2]); return seen; }`
	for _, chart := range []struct{ sel, color string }{{"#chart-quota", "29,95,191"}, {"#chart-recent", "29,95,191"}, {"#chart-recent", "180,35,24"}, {"#chart-runs", "29,95,191"}} {
		if !ask[bool](t, ctx, fmt.Sprintf(`(%s)(%q).has(%q)`, inked, chart.sel, chart.color)) {
			t.Errorf("%s has nothing in %s", chart.sel, chart.color)
		}
	}
	if got := ask[string](t, ctx, `document.querySelector("#chart-recent").getAttribute("aria-label")`); got != "50 requests, 3 refused" {
		t.Errorf("the chart says %q", got)
	}
	picture(t, ctx, "charts")
	ask[bool](t, ctx, `window.canvas = document.querySelector("#chart-recent canvas"); true`)
	send(time.Now(), 4, true)
	until(t, ctx, `document.querySelector("#chart-recent").getAttribute("aria-label") === "51 requests, 4 refused"`)
	if !ask[bool](t, ctx, `window.canvas.isConnected`) {
		t.Error("the chart was made anew instead of following")
	}
	// A connection that has sent nothing shows no empty chart.
	do(t, ctx, chromedp.Navigate(b.url+"/c/client-001/adplatform"), chromedp.WaitVisible(".empty"))
	if ask[bool](t, ctx, `!!document.querySelector("#charts:not([hidden])")`) {
		t.Error("charts of nothing")
	}
}
