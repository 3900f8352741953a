package server

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	pages "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// watched is what a browser has done that nobody should see it do.
type watched struct {
	mu    sync.Mutex
	asked map[string]int // hosts
	boxes []string       // of alert, confirm and the like
}

// watch follows all that a browser sends, and makes each page keep what its policy has refused.
func watch(t *testing.T, ctx context.Context) *watched {
	t.Helper()
	w := &watched{asked: map[string]int{}}
	do(t, ctx, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, tab, pages.AddScriptToEvaluateOnNewDocument, pages.AddScriptToEvaluateOnNewDocumentParams{
			Source: `window.refused = []; document.addEventListener("securitypolicyviolation", (e) => window.refused.push(e.effectiveDirective + " " + e.blockedURI + " " + e.sample));`,
		})
		return err
	}))
	must(t, chromedp.Listen(ctx, func(ev any) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch ev := ev.(type) {
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(ev.Request.URL); err == nil && u.Scheme != "data" && u.Scheme != "blob" {
				w.asked[u.Host]++
			}
		case *pages.EventJavascriptDialogOpening:
			w.boxes = append(w.boxes, ev.Message)
		}
	}))
	return w
}

func (w *watched) clean(t *testing.T, base string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	own, err := url.Parse(base)
	must(t, err)
	for host, n := range w.asked {
		if host != own.Host {
			t.Errorf("%d requests to %q", n, host)
		}
	}
	if w.asked[own.Host] == 0 {
		t.Error("not even the page itself was seen to be asked for")
	}
	if len(w.boxes) > 0 {
		t.Errorf("boxes opened: %q", w.boxes)
	}
}

// worst gives texts whose contrast with what lies behind them is below AA, and how many were looked at. Large is 24 pixels, or 18.66 in bold.
const worst = `(() => {
	const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const rgba = (c) => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = c; paint.fillRect(0, 0, 1, 1); const d = paint.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
	const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
	const light = (c) => { const [r, g, b] = c.map((x) => { x /= 255; return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const behind = (e) => { const up = []; for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); up.push(c); if (c[3] === 1) break; }
		return up.reverse().reduce((b, c) => over(c, b), matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1]); };
	const bad = new Set(); let n = 0;
	const look = (e, color, text) => {
		const s = getComputedStyle(e), bg = behind(e), fg = over(rgba(color), bg), a = light(fg), b = light(bg);
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(s.fontSize);
		const need = size >= 24 || size >= 18.66 && s.fontWeight >= 700 ? 3 : 4.5;
		n++;
		if (ratio < need - 0.005) bad.add(ratio.toFixed(2) + " " + e.tagName + "." + e.className + " " + JSON.stringify(text.slice(0, 30)));
	};
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement, text = walk.currentNode.nodeValue.trim();
		if (text && e.tagName !== "SCRIPT" && e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && e.getClientRects().length) look(e, getComputedStyle(e).color, text);
	}
	for (const e of document.querySelectorAll("input[placeholder]")) look(e, getComputedStyle(e, "::placeholder").color, e.placeholder);
	// A dot or a bar says nothing by its colour alone, but must be seen.
	for (const e of document.querySelectorAll(".dot, .part i, .legend i")) {
		const own = rgba(getComputedStyle(e).backgroundColor), bg = behind(e.parentElement), a = light(own), b = light(bg);
		if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 3) bad.add("mark " + e.className);
		if (!e.parentElement.innerText.trim()) bad.add("a mark without words: " + e.parentElement.outerHTML);
	}
	return [String(n), ...bad];
})()`

// everything is a service with some of everything on every page, and the pages.
func everything(t *testing.T) (*bed, []string) {
	b := fleet(t)
	now := time.Now().UTC()
	must(t, b.st.SetPaused(t.Context(), ads.Ref{ClientID: "client-001", Connection: "adplatform"}, "login 3f2a9c1b", true))
	must(t, b.st.Audit(t.Context(), store.AuditEntry{Who: "login 3f2a9c1b", Remote: "192.0.2.7", Action: "sync", Ref: ads.Ref{ClientID: "acme", Connection: "adplatform"}, Result: "asked"}))
	for i := range 30 {
		b.live.Observe(observe.Event{At: now.Add(-time.Duration(i) * 10 * time.Second), Ref: ads.Ref{ClientID: "globex", Connection: "adplatform"}, Data: observe.Attempt{Sent: true, Refused: i%5 == 0}})
		b.live.Observe(observe.Event{At: now.Add(-time.Duration(i) * 10 * time.Second), Ref: ads.Ref{ClientID: "globex", Connection: "adplatform"}, Data: observe.QuotaState{Bucket: "globex", Used: i % 11, Limit: 10, Window: time.Minute}})
	}
	b.srv.board.stale()
	all := []string{
		"/", "/?state=never", "/?q=nothing-like-it", "/?sort=quota&platform=adplatform", "/failures", "/failures?class=transient", "/failures?done=retry-one", "/audit", "/nowhere/at/all",
		"/c/globex/adplatform", "/c/umbrella/adplatform", "/c/initech/adplatform", "/c/cyberdyne/adplatform", "/c/client-001/adplatform", "/c/client-002/adplatform", "/c/nobody/x",
		"/c/globex/adplatform/campaigns", "/c/globex/adplatform/campaigns?sort=clicks&dir=desc", "/c/globex/adplatform/campaigns?status=removed", "/c/client-002/adplatform/campaigns",
	}
	for _, s := range standings {
		all = append(all, "/?state="+string(s))
	}
	return b, all
}

// Every page, in light and in dark: texts can be read, nothing comes from another host, and the policy has nothing to refuse. On a phone nothing hangs over the edge.
func TestBrowserEveryPage(t *testing.T) {
	ctx := browser(t)
	b, all := everything(t)
	w := watch(t, ctx)
	contrast := func(path, scheme string) {
		t.Helper()
		got := ask[[]string](t, ctx, worst)
		if got[0] == "0" || len(got) > 1 {
			t.Errorf("%s in %s: %s texts, too faint: %q", path, scheme, got[0], got[1:])
		}
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, path := range all {
			do(t, ctx, look(1280, 860, scheme), chromedp.Navigate(b.url+path), chromedp.WaitReady("body"))
			contrast(path, scheme)
			if got := ask[[]string](t, ctx, "window.refused"); len(got) > 0 {
				t.Errorf("%s: the policy refused %q", path, got)
			}
			do(t, ctx, look(390, 844, scheme))
			if over := ask[int](t, ctx, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
				t.Errorf("%s is %d pixels wider than a phone", path, over)
			}
			contrast(path+" on a phone", scheme)
		}
		// What shows only while somebody works: a marked row, a row under the pointer, the help.
		do(t, ctx, look(1280, 860, scheme), chromedp.Navigate(b.url), chromedp.WaitVisible("tbody tr"), chromedp.KeyEvent("j"), chromedp.WaitVisible("tr.at"))
		contrast("a marked row", scheme)
		do(t, ctx, chromedp.KeyEvent("?"), chromedp.WaitVisible("#help[open]"))
		contrast("the help", scheme)
	}
	w.clean(t, b.url)
	// What was watched for would have been seen.
	ask[bool](t, ctx, `const i = new Image(); i.src = "http://elsewhere.invalid/x"; document.body.append(i); const p = document.createElement("p"); p.textContent = "faint"; p.setAttribute("class", "faint"); p.style.color = "#888"; p.style.background = "#999"; document.body.append(p); true`)
	until(t, ctx, `window.refused.some(x => x.includes("img-src"))`)
	if got := ask[[]string](t, ctx, worst); !strings.Contains(strings.Join(got, "\n"), "faint") {
		t.Errorf("a faint text is not found: %q", got)
	}
}

// The page of the login has its colours too, and lets nobody see more than itself.
func TestBrowserLoginPage(t *testing.T) {
	ctx := browser(t)
	b := newBed(t, "acme")
	guarded(b)
	w := watch(t, ctx)
	for _, scheme := range []string{"light", "dark"} {
		do(t, ctx, look(390, 844, scheme), chromedp.Navigate(b.url+"/c/acme/adplatform"), chromedp.WaitVisible("input[type=password]"))
		do(t, ctx, chromedp.SendKeys("input[type=password]", "wrong\r"), chromedp.WaitVisible(".alert"))
		if got := ask[[]string](t, ctx, worst); got[0] == "0" || len(got) > 1 {
			t.Errorf("in %s: %q", scheme, got)
		}
		if ask[int](t, ctx, "document.documentElement.scrollWidth - document.documentElement.clientWidth") > 0 || len(ask[[]string](t, ctx, "window.refused")) > 0 {
			t.Error("too wide, or the policy refused something")
		}
	}
	w.clean(t, b.url)
}

// What outside people and programs write stays text, wherever it turns up.
func TestBrowserOutsideTextOnEveryPage(t *testing.T) {
	ctx := browser(t)
	hostile := []string{
		`<script>window.bad=1;alert(1)</script>`, `"><img src=x onerror=window.bad=1>`, `' onmouseover='window.bad=1' x='`, `<svg/onload=window.bad=1>`, `</title></textarea></script><script>window.bad=1</script>`,
		`javascript:window.bad=1`, `{{.Secret}}${window.bad=1}`, `<iframe srcdoc="<script>parent.bad=1</script>">`, `<base href=http://elsewhere.invalid/>`, `<form action=http://elsewhere.invalid/><button>`,
		`<meta http-equiv=refresh content="0;url=http://elsewhere.invalid/">`, "\u202egnp.exe", `"],"at":[1],"x":["</div><img src=x onerror=window.bad=1>`,
	}
	b := newBed(t, hostile...)
	now := time.Now().UTC()
	var cs []ads.Entity
	var ps []ads.Problem
	for i, h := range hostile {
		c := campaign(fmt.Sprint(i, h), h)
		c.PlatformStatus, c.Currency, c.BudgetPeriod = h, h, h
		cs = append(cs, c)
		ps = append(ps, ads.Problem{EntityID: fmt.Sprint("f", i, h), Code: h, Message: h, Hint: h})
	}
	for i, h := range hostile {
		ref := ads.Ref{ClientID: h, Connection: "adplatform"}
		b.sync(h, ads.Partial, now.Add(-time.Minute), cs, ps...)
		must(t, b.st.Audit(t.Context(), store.AuditEntry{Who: h, Remote: h, Action: h, Ref: ads.Ref{ClientID: h, Connection: h}, Detail: h, Result: h}))
		b.live.Observe(observe.Event{At: now, Ref: ref, Data: observe.RunStarted{}})
		b.live.Observe(observe.Event{At: now, Ref: ref, Data: observe.WaitStarted{Reason: observe.WaitQuota, Until: now.Add(time.Minute), Note: h}})
		b.live.Observe(observe.Event{At: now, Ref: ref, Data: observe.QuotaState{Bucket: h, Used: 1, Limit: 2, Window: time.Minute}})
		switch i % 3 {
		case 0:
			must(t, b.st.Park(t.Context(), ref, store.Wait{Reason: h, Until: now.Add(time.Hour), Mark: string(observe.ParkFailed)}))
		case 1:
			must(t, b.st.SetPaused(t.Context(), ref, h, true))
		}
	}
	b.srv.board.stale()
	w := watch(t, ctx)
	paths := []string{"/", "/failures", "/audit"}
	for i, h := range hostile {
		c, q := connectionURL(ads.Ref{ClientID: h, Connection: "adplatform"}), url.QueryEscape(h)
		paths = append(paths, c, "/?q="+q, "/failures?class="+q+"&connection="+q+"&done="+q, c+"/campaigns?q="+q+"&sort="+q+"&dir="+q)
		if i%4 == 0 {
			paths = append(paths, c+"/campaigns", "/?platform="+q+"&state="+q+"&sort="+q, "/failures?client="+q, "/c/"+url.PathEscape(h)+"/"+url.PathEscape(h))
		}
	}
	const strange = `(() => {
		const out = [...document.querySelectorAll("script:not([src]), script[src^=http], img, iframe, object, embed, base, meta[http-equiv], link[href^=http], [style*=url], form[action^=http], a[href^='javascript:' i], a[href^='http:'], a[href^='data:']")].map(e => e.outerHTML);
		for (const e of document.querySelectorAll("*")) for (const a of e.attributes) if (/^on/i.test(a.name)) out.push(e.outerHTML.slice(0, 200));
		if (window.bad) out.push("a script of theirs has run");
		return out.concat(window.refused);
	})()`
	for _, path := range paths {
		do(t, ctx, look(1280, 860, "light"), chromedp.Navigate(b.url+path), chromedp.WaitReady("body"))
		if got := ask[[]string](t, ctx, strange); len(got) > 0 {
			t.Errorf("%s: %q", path, got)
		}
	}
	// A page that follows draws the same again.
	for _, path := range []string{"/", connectionURL(ads.Ref{ClientID: hostile[1], Connection: "adplatform"})} {
		do(t, ctx, chromedp.Navigate(b.url+path), chromedp.WaitReady("body"))
		ask[bool](t, ctx, `window.drawn = 0; document.addEventListener("drawn", () => window.drawn++); true`)
		until(t, ctx, `window.drawn > 0`)
		if got := ask[[]string](t, ctx, strange); len(got) > 0 {
			t.Errorf("%s drawn anew: %q", path, got)
		}
	}
	w.clean(t, b.url)
	// A name is shown as it is, mark by mark, but for those that would turn the text around.
	do(t, ctx, chromedp.Navigate(b.url+connectionURL(ads.Ref{ClientID: hostile[0], Connection: "adplatform"})+"/campaigns"), chromedp.WaitVisible("tbody tr"))
	names := ask[[]string](t, ctx, `[...document.querySelectorAll("tbody .title")].map(e => e.textContent)`)
	for _, h := range hostile {
		found := false
		for _, n := range names {
			found = found || n == shown(h)
		}
		if !found {
			t.Errorf("no campaign is called %q among %q", h, names)
		}
	}
}

// Without JavaScript all can be read, searched, sorted and asked for.
func TestBrowserWithoutScripts(t *testing.T) {
	ctx := browser(t)
	b, all := everything(t)
	do(t, ctx, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}))
	text := func() string { return ask[string](t, ctx, "document.body.innerText") }
	for _, path := range all {
		do(t, ctx, look(1280, 860, "light"), chromedp.Navigate(b.url+path), chromedp.WaitReady("main"))
		if ask[bool](t, ctx, `!!document.querySelector("#charts:not([hidden]), #keys:not([hidden]), dialog[open]")`) {
			t.Errorf("%s shows what only a script can fill", path)
		}
		if ask[bool](t, ctx, `"uPlot" in window || document.querySelector("#pulse").textContent !== ""`) {
			t.Fatalf("%s has run a script", path)
		}
		if got := strings.TrimSpace(ask[string](t, ctx, "document.querySelector('main').innerText")); len(got) < 20 {
			t.Errorf("%s says only %q", path, got)
		}
	}
	do(t, ctx, chromedp.Navigate(b.url), chromedp.SendKeys("#q", "globex"), chromedp.Click(".filter button"), chromedp.WaitNotPresent(`a[href="/c/acme/adplatform"]`), chromedp.WaitVisible("tbody tr"))
	if got := ask[int](t, ctx, `document.querySelectorAll("tbody tr").length`); got != 1 {
		t.Errorf("the search shows %d rows", got)
	}
	do(t, ctx, chromedp.Click("tbody .name a"), chromedp.WaitVisible(".facts"))
	if got := text(); !strings.Contains(got, "fetching 16 s") || !strings.Contains(got, "budget is \"lots\"") {
		t.Errorf("the connection's page: %s", got)
	}
	do(t, ctx, chromedp.Click(`a[href$="/campaigns"]`), chromedp.WaitVisible("th a"), chromedp.Click(`th a[href*="sort=clicks"]`), chromedp.WaitVisible("th[aria-sort=descending]"))
	if got := ask[string](t, ctx, `document.querySelector("tbody small").innerText`); got != "cmp-0029" {
		t.Errorf("most clicks: %s", got)
	}
	do(t, ctx, chromedp.Click(`header a[href="/failures"]`), chromedp.WaitVisible(".one button"), chromedp.Click(`.one button[formaction="/actions/drop"]`), chromedp.WaitVisible(".note"))
	if got := text(); !strings.Contains(got, notes["dropped-one"]) || b.open() != 0 {
		t.Errorf("after Drop: %d are left, and %s", b.open(), got)
	}
}
