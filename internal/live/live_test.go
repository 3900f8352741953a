package live

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

var (
	acme = ads.Ref{ClientID: "acme", Connection: "x"}
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func TestProgressOfARun(t *testing.T) {
	var b Board
	tell := func(second int, d observe.Data) {
		b.Observe(observe.Event{At: noon.Add(time.Duration(second) * time.Second), Ref: acme, Data: d})
	}
	if _, ok := b.Of(acme); ok {
		t.Error("known before anything happened")
	}
	tell(0, observe.RunStarted{})
	tell(1, observe.PageListed{Page: 2, Listed: 40, Total: ads.Some(int64(100))})
	tell(2, observe.Progress{Figures: ads.Figures{Listed: 40, Synced: 20, Failed: 5}})
	tell(3, observe.WaitStarted{Reason: observe.WaitQuota})
	tell(4, observe.WaitEnded{Reason: observe.WaitServer}) // another one
	p, _ := b.Of(acme)
	if share, ok := p.Share(); !ok || share != 0.25 || p.Wait.Reason != observe.WaitQuota || p.Page != 2 {
		t.Errorf("%+v", p)
	}
	before := b.Version()
	tell(5, observe.QuotaState{Used: 3, Limit: 10, Window: time.Minute})
	tell(6, observe.RunFinished{})
	if p, _ := b.Of(acme); p.Running || p.Quota.Used != 3 || p.Wait.Reason != "" || b.Version() == before {
		t.Errorf("at the end: %+v", p)
	}
	b.Forget([]ads.Ref{acme})
	if _, ok := b.Of(acme); ok || b.Recent(acme, noon) != nil {
		t.Error("not forgotten")
	}
}

// What was sent in the last Span is there, each try once and no older one, however the tries lie and whoever looks when.
func TestRecentCountsWhatWasSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Board
		type try struct {
			at      time.Time
			refused bool
		}
		var tries []try
		now := noon
		for range rapid.IntRange(0, 300).Draw(t, "tries") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "gap")))
			x := try{now, rapid.Bool().Draw(t, "refused")}
			tries = append(tries, x)
			b.Observe(observe.Event{At: now, Ref: acme, Data: observe.Attempt{Sent: true, Refused: x.refused}})
			b.Observe(observe.Event{At: now, Ref: acme, Data: observe.Attempt{Sent: true, Token: true}})
			b.Observe(observe.Event{At: now, Ref: acme, Data: observe.Attempt{}}) // never left
		}
		now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*Span)).Draw(t, "later")))
		first := now.Truncate(Step).Add(Step - Span)
		want, refused := 0, 0
		for _, x := range tries {
			if !x.at.Before(first) {
				want++
				if x.refused {
					refused++
				}
			}
		}
		var last time.Time
		for _, m := range b.Recent(acme, now) {
			if !m.At.After(last) || m.At.Before(first) || m.At.After(now) || m.Requests == 0 {
				t.Fatalf("%+v after %s, looked at %s", m, last, now)
			}
			last = m.At
			want -= m.Requests
			refused -= m.Refused
		}
		if want != 0 || refused != 0 {
			t.Fatalf("%d tries and %d refusals are missing", want, refused)
		}
	})
}

func TestRecentKeepsTheWindowsPeak(t *testing.T) {
	var b Board
	for i, used := range []int{3, 9, 4} {
		b.Observe(observe.Event{At: noon.Add(time.Duration(i) * time.Second), Ref: acme, Data: observe.QuotaState{Used: used, Limit: 10, Window: time.Minute}})
	}
	got := b.Recent(acme, noon.Add(time.Minute))
	if want := (Moment{At: noon, Used: 9, Limit: 10, Window: time.Minute}); len(got) != 1 || !got[0].At.Equal(want.At) || got[0].Used != want.Used || got[0].Limit != want.Limit || got[0].Window != want.Window {
		t.Errorf("%+v", got)
	}
}
