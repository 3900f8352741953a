package server

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// browser is a real one, or the test is skipped. ADSYNC_SCREENSHOTS names a directory to leave pictures in.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium in PATH: install Debian's package chromium to run this test")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-gpu", true), chromedp.WSURLReadTimeout(time.Minute), chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-background-networking", true))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("ADSYNC_SCREENSHOTS")
	b, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	must(t, err)
	if _, err := png.Decode(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if dir != "" {
		must(t, os.WriteFile(filepath.Join(dir, name+".png"), b, 0o644))
	}
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	must(t, chromedp.Do(ctx, steps...))
}

func ask[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	must(t, err)
	return v
}

// until waits for an expression to be true, of this page or of the one that comes after it.
func until(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	var err error
	for range 20 {
		if _, err = chromedp.Run(ctx, chromedp.Poll[bool](expression)); err == nil {
			return
		}
		if !strings.Contains(err.Error(), "context with specified id") && !strings.Contains(err.Error(), "context was destroyed") {
			break
		}
	}
	t.Fatalf("waiting for %s: %v", expression, err)
}

func look(width, height int64, scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600})
		if err == nil {
			_, err = cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		}
		return err
	})
}

// fleet is a service with some of everything.
func fleet(t *testing.T) *bed {
	names := []string{"acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "tyrell", "cyberdyne", "soylent"}
	for i := range 290 {
		names = append(names, fmt.Sprintf("client-%03d", i))
	}
	b := newBed(t, names...)
	now := time.Now().UTC()
	ref := func(c string) ads.Ref { return ads.Ref{ClientID: c, Connection: "adplatform"} }
	var cs []ads.Entity
	for i := range 30 {
		c := campaign(fmt.Sprintf("cmp-%04d", i), []string{"Spring sale", "Brand search", "Retargeting EU", "Summer video", "Newsletter"}[i%5]+fmt.Sprint(" ", i))
		c.Status = []ads.Status{ads.StatusActive, ads.StatusActive, ads.StatusPaused, ads.StatusEnded}[i%4]
		c.Clicks, c.Impressions = ads.Some(int64(i*i*37+12)), ads.Some(int64(i*i*3700+1200))
		cs = append(cs, c)
	}
	b.sync("globex", ads.Partial, now.Add(-4*time.Minute), cs, ads.Problem{EntityID: "cmp-0099", Code: "bad_value", Message: "budget is \"lots\" instead of an amount", Hint: "tell the platform's support; the record is read again whenever it is listed"})
	for i, n := range []string{"acme", "hooli", "stark", "wayne", "soylent"} {
		b.sync(n, ads.Complete, now.Add(-time.Duration(i+1)*90*time.Second), cs[:20+i])
	}
	b.sync("tyrell", ads.Complete, now.Add(-3*time.Hour), cs[:4])
	b.sync("umbrella", ads.Failed, now.Add(-9*time.Minute), nil)
	ctx := t.Context()
	must(t, b.st.Park(ctx, ref("umbrella"), store.Wait{Reason: "the platform answered 503 ten times over two minutes", Until: now.Add(4 * time.Minute), Mark: string(observe.ParkFailed)}))
	must(t, b.st.Park(ctx, ref("initech"), store.Wait{Reason: "the platform refused the password of initech (401)", Until: now.Add(23 * time.Hour), Mark: string(observe.ParkAuth)}))
	must(t, b.st.Park(ctx, ref("wayne"), store.Wait{Reason: "the quota of wayne is used up: 10 of 10 in any 1m", Until: now.Add(7 * time.Minute), Mark: string(observe.ParkQuota)}))
	for _, e := range []observe.Data{
		observe.RunStarted{},
		observe.PageListed{Page: 4, Listed: 40, Total: ads.Some(int64(100))},
		observe.Progress{Figures: ads.Figures{Listed: 40, Synced: 31}, Total: ads.Some(int64(100))},
		observe.QuotaState{Bucket: "stark", Used: 8, Limit: 10, Window: time.Minute},
	} {
		b.live.Observe(observe.Event{At: now, Ref: ref("stark"), Data: e})
		b.live.Observe(observe.Event{At: now, Ref: ref("cyberdyne"), Data: e})
	}
	for i, n := range []string{"acme", "globex", "hooli", "soylent"} {
		b.live.Observe(observe.Event{At: now, Ref: ref(n), Data: observe.QuotaState{Bucket: n, Used: 1 + i*3%10, Limit: 10, Window: time.Minute}})
	}
	b.live.Observe(observe.Event{At: now, Ref: ref("cyberdyne"), Data: observe.WaitStarted{Reason: observe.WaitQuota, Until: now.Add(38 * time.Second)}})
	b.srv.board.stale()
	return b
}

func TestBrowser(t *testing.T) {
	ctx := browser(t)
	b := fleet(t)
	const rows = `document.querySelectorAll("tbody tr").length`
	do(t, ctx, look(1280, 860, "light"), chromedp.Navigate(b.url), chromedp.WaitVisible("tbody tr"))
	if got := ask[int](t, ctx, rows); got != rowsPerPage {
		t.Errorf("%d rows on the overview", got)
	}
	picture(t, ctx, "overview")

	// The page follows the service without being loaded again.
	ask[bool](t, ctx, `window.here = true; document.querySelector("#live tbody tr").id = "old"; true`)
	b.live.Observe(observe.Event{At: time.Now(), Ref: ads.Ref{ClientID: "stark", Connection: "adplatform"}, Data: observe.PageListed{Page: 77, Listed: 41}})
	do(t, ctx, chromedp.WaitNotPresent("#old"))
	if !ask[bool](t, ctx, `window.here === true`) {
		t.Error("the page was loaded anew instead of following")
	}

	// Keys, and the search.
	do(t, ctx, chromedp.KeyEvent("j"), chromedp.WaitVisible("tr.at"), chromedp.KeyEvent("/"))
	if focus := ask[string](t, ctx, "document.activeElement.id"); focus != "q" {
		t.Errorf("/ went to %q", focus)
	}
	ask[bool](t, ctx, `document.querySelector("#q").value = ""; true`) // the driver types its / also where a page has taken the key
	do(t, ctx, chromedp.SendKeys("#q", "globex\r"), chromedp.WaitNotPresent(`a[href="/c/acme/adplatform"]`), chromedp.WaitVisible("tbody tr"))
	if got := ask[int](t, ctx, rows); got != 1 {
		t.Errorf("the search shows %d rows", got)
	}
	do(t, ctx, chromedp.KeyEvent("j"), chromedp.WaitVisible("tr.at"), chromedp.KeyEvent("\r"), chromedp.WaitVisible(".facts"))
	picture(t, ctx, "connection")
	do(t, ctx, look(1280, 860, "dark"), chromedp.Navigate(b.url), chromedp.WaitVisible("tbody tr"))
	picture(t, ctx, "dark")
	do(t, ctx, look(1280, 700, "light"), chromedp.Navigate(b.url+"/c/globex/adplatform/campaigns"), chromedp.WaitVisible("tbody tr"))
	picture(t, ctx, "campaigns")
	do(t, ctx, chromedp.Navigate(b.url+"/failures"), chromedp.WaitVisible(".one button"))
	picture(t, ctx, "failures")

	// On a phone nothing hangs over the edge.
	for _, path := range []string{"/", "/c/globex/adplatform", "/c/globex/adplatform/campaigns", "/failures"} {
		do(t, ctx, look(390, 844, "light"), chromedp.Navigate(b.url+path), chromedp.WaitVisible("tbody tr"))
		if over := ask[int](t, ctx, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
			t.Errorf("%s is %d pixels wider than a phone", path, over)
		}
		if path == "/" {
			picture(t, ctx, "phone")
		}
	}
}
