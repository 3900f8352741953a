package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/secret"
)

// Whatever happens and however it is called, no line is wider than the terminal, none has control characters, and all fit on the screen.
func TestFrameFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.StringN(0, 60, -1), rapid.SampledFrom([]string{"acme", "日本語クライアント", "🎉👩‍👩‍👧", "\x1b[31m", "a\nb", canary}))
		text := rapid.OneOf(rapid.String(), rapid.Just("quota "+canary))
		var refs []ads.Ref
		for range rapid.IntRange(0, 40).Draw(t, "connections") {
			refs = append(refs, ads.Ref{ClientID: name.Draw(t, "client"), Connection: name.Draw(t, "connection")})
		}
		tr := newTracker(refs)
		now := time.Unix(1_800_000_000, 0)
		data := rapid.Custom(func(t *rapid.T) observe.Data {
			n := rapid.Int64Range(0, 1<<40)
			f := ads.Figures{Listed: n.Draw(t, "listed"), Synced: n.Draw(t, "synced"), Failed: rapid.Int64Range(0, 9).Draw(t, "failed")}
			switch rapid.IntRange(0, 6).Draw(t, "kind") {
			case 0:
				return observe.RunStarted{Before: f}
			case 1:
				return observe.PageListed{Stream: text.Draw(t, "stream"), Page: rapid.IntRange(0, 1e6).Draw(t, "page"), Listed: f.Listed, More: rapid.Bool().Draw(t, "more")}
			case 2:
				return observe.Progress{Figures: f, Pending: n.Draw(t, "pending"), Total: ads.Some(n.Draw(t, "total"))}
			case 3:
				return observe.WaitStarted{
					Reason: rapid.SampledFrom([]observe.WaitReason{"quota", "server", "circuit", "backoff", "busy", "?"}).Draw(t, "reason"),
					Bucket: text.Draw(t, "bucket"), Until: now.Add(time.Duration(n.Draw(t, "until"))), Note: text.Draw(t, "note"),
				}
			case 4:
				return observe.QuotaState{Used: 3, Limit: 10}
			case 5:
				return observe.Circuit{Open: rapid.Bool().Draw(t, "open")}
			}
			return observe.RunFinished{Outcome: ads.Outcome(text.Draw(t, "outcome")), Figures: f}
		})
		if len(refs) > 0 {
			for range rapid.IntRange(0, 60).Draw(t, "events") {
				tr.apply(observe.Event{At: now, Ref: rapid.SampledFrom(refs).Draw(t, "ref"), Data: data.Draw(t, "data")})
			}
		}
		width, height := rapid.IntRange(-1, 200).Draw(t, "width"), rapid.IntRange(-1, 60).Draw(t, "height")
		lines := tr.frame(now, width, height, false, NewRedactor(secret.New(canary)))
		if len(lines) > max(0, min(framesRows, height-1)) {
			t.Fatalf("%d lines on a screen of %d", len(lines), height)
		}
		for _, l := range lines {
			if w := runewidth.StringWidth(l); w >= width {
				t.Fatalf("%d cells in a terminal of %d: %q", w, width, l)
			}
			if OneLine(l) != l {
				t.Fatalf("control characters in %q", l)
			}
			if strings.Contains(l, canary) {
				t.Fatalf("a secret in %q", l)
			}
		}
	})
}

// Many connections: a line about all, then the busiest.
func TestFrameOfMany(t *testing.T) {
	var refs []ads.Ref
	for i := range 100 {
		refs = append(refs, ads.Ref{ClientID: fmt.Sprintf("client%02d", i), Connection: "adplatform"})
	}
	tr := newTracker(refs)
	now := time.Unix(1_800_000_000, 0)
	for i, r := range refs {
		at := now.Add(time.Duration(i) * time.Second)
		tr.apply(observe.Event{At: at, Ref: r, Data: observe.RunStarted{}})
		tr.apply(observe.Event{At: at, Ref: r, Data: observe.Progress{Figures: ads.Figures{Listed: 100, Synced: 50}}})
		switch {
		case i%2 == 0:
			tr.apply(observe.Event{At: at, Ref: r, Data: observe.WaitStarted{Reason: observe.WaitQuota, Bucket: r.ClientID, Until: now}})
		case i > 90:
			tr.apply(observe.Event{At: at, Ref: r, Data: observe.RunFinished{Outcome: ads.Complete, Figures: ads.Figures{Listed: 100, Synced: 100}}})
		}
	}
	lines := tr.frame(now, 100, 24, false, NewRedactor())
	if len(lines) != framesRows {
		t.Fatalf("%d lines", len(lines))
	}
	if want := "5 of 100 connections done, 5,250 of 10,000 records, 50 waiting"; lines[0] != want {
		t.Errorf("%q, want %q", lines[0], want)
	}
	if !strings.HasPrefix(lines[1], "client89 ") || strings.Contains(strings.Join(lines, "\n"), "waiting 1 s") {
		t.Errorf("the busiest are not first:\n%s", strings.Join(lines, "\n"))
	}
}

// A client with two connections is named with both.
func TestShortNames(t *testing.T) {
	got := shortNames([]ads.Ref{{ClientID: "acme", Connection: "a"}, {ClientID: "acme", Connection: "b"}, {ClientID: "globex", Connection: "a"}})
	if want := []string{"acme/a", "acme/b", "globex"}; !equal(got, want) {
		t.Errorf("%q", got)
	}
}
