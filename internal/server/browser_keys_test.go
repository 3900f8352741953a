package server

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// j, k and Enter go through every table, ? says so, and a row stays marked while its table is drawn anew.
func TestBrowserKeys(t *testing.T) {
	ctx := browser(t)
	b := fleet(t)
	must(t, b.st.Audit(t.Context(), store.AuditEntry{Who: "login 3f2a9c1b", Action: "sync", Ref: ads.Ref{ClientID: "acme", Connection: "adplatform"}, Result: "asked"}))
	must(t, b.st.Audit(t.Context(), store.AuditEntry{Who: "login 3f2a9c1b", Action: "login", Result: "let in"}))
	b.srv.board.stale()
	for _, tt := range []struct {
		path   string
		enters string // where Enter leads from the row that j, j, k marks; empty: nowhere
	}{
		{"/?sort=name", "/c/acme/adplatform"},
		{"/c/globex/adplatform", "/failures"},
		{"/c/globex/adplatform/campaigns", ""},
		{"/failures", "/c/globex/adplatform"},
		{"/audit?before=2", "/c/acme/adplatform"},
	} {
		do(t, ctx, look(1280, 860, "light"), chromedp.Navigate(b.url+tt.path), chromedp.WaitVisible("tbody tr"))
		if n := ask[int](t, ctx, `document.querySelectorAll("tbody tr:not([data-key]):not(.u-series)").length`); n != 0 {
			t.Errorf("%s: %d rows that no key reaches", tt.path, n)
		}
		do(t, ctx, chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("k"))
		if got := ask[int](t, ctx, `[...document.querySelectorAll("tbody tr[data-key]")].findIndex(r => r.classList.contains("at"))`); got != 0 {
			t.Errorf("%s: row %d is marked", tt.path, got)
		}
		if ask[int](t, ctx, `document.querySelectorAll("tr.at, tr[aria-current]").length`) != 1 {
			t.Errorf("%s: more than one row is marked", tt.path)
		}
		do(t, ctx, chromedp.KeyEvent("?"), chromedp.WaitVisible("#help[open]"), chromedp.KeyEvent("?"), chromedp.WaitNotPresent("#help[open]"))
		do(t, ctx, chromedp.Click("#keys"), chromedp.WaitVisible("#help[open]"), chromedp.Click("#help button"), chromedp.WaitNotPresent("#help[open]"))
		if tt.enters != "" {
			ask[bool](t, ctx, `document.activeElement.blur(); true`)
			do(t, ctx, chromedp.KeyEvent("\r"))
			until(t, ctx, `location.pathname === "`+tt.enters+`" && document.readyState === "complete"`)
		}
	}
	// g leads home from anywhere, and the mark is kept by what the row is, not by where it stands.
	do(t, ctx, chromedp.KeyEvent("g"), chromedp.WaitVisible(".tiles"), chromedp.KeyEvent("j"), chromedp.KeyEvent("j"))
	marked := ask[string](t, ctx, `document.querySelector("tr.at").dataset.key`)
	ask[bool](t, ctx, `window.drawn = 0; document.addEventListener("drawn", () => window.drawn++); true`)
	b.sync("client-200", ads.Failed, time.Now().UTC(), nil)
	until(t, ctx, `window.drawn > 0 && !!document.querySelector('tr[data-key="/c/client-200/adplatform"]') && [...document.querySelectorAll("tbody tr")].findIndex(r => r.dataset.key === "/c/client-200/adplatform") < 3`)
	if got := ask[string](t, ctx, `document.querySelector("tr.at").dataset.key`); got != marked {
		t.Errorf("%s was marked, and now %s", marked, got)
	}
}
