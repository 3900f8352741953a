package notify

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/store"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	acme = ads.Ref{ClientID: "acme", Connection: "adplatform"}
)

func wait(kind observe.ParkKind) store.Wait {
	return store.Wait{Reason: "because of " + string(kind), Until: noon.Add(time.Hour), Mark: string(kind)}
}

func ended(o ads.Outcome) *store.RunRecord {
	return &store.RunRecord{ID: "r", StartedAt: noon.Add(-time.Minute), FinishedAt: noon, Outcome: o, Error: "error of the run"}
}

// What a status says about each trouble: "+" it is there, "-" it is over; what is not named is unknown.
func TestFindings(t *testing.T) {
	auth := wait(observe.ParkAuth)
	auth.Mark += ":00ff:1234"
	early := map[string]store.Notice{Disagreement: {Since: noon.Add(-time.Hour)}}
	for _, c := range []struct {
		name  string
		k     store.ConnectionStatus
		known map[string]store.Notice
		want  string
	}{
		{"never ran", store.ConnectionStatus{}, nil, ""},
		{"complete", store.ConnectionStatus{Last: ended(ads.Complete), LastComplete: noon}, nil, "-failing -partial -refused -stale"},
		{"failed", store.ConnectionStatus{Last: ended(ads.Failed)}, nil, "+failing"},
		{"failed, before its next try", store.ConnectionStatus{Last: ended(ads.Interrupted), Wait: wait(observe.ParkFailed)}, nil, "+failing"},
		{"the platform is down", store.ConnectionStatus{Last: ended(ads.Interrupted), Wait: wait(observe.ParkOutage)}, nil, "+failing"},
		{"waits for a quota", store.ConnectionStatus{Last: ended(ads.Interrupted), Wait: wait(observe.ParkQuota)}, nil, ""},
		{"refused", store.ConnectionStatus{Last: ended(ads.Failed), Wait: auth}, nil, "-failing +refused"},
		{"a wait that has passed", store.ConnectionStatus{Last: ended(ads.Interrupted), Wait: store.Wait{Until: noon, Mark: string(observe.ParkFailed)}}, nil, ""},
		{"runs again after a failure", store.ConnectionStatus{Running: true, Last: ended(ads.Failed), Wait: wait(observe.ParkFailed)}, nil, ""},
		{"partial", store.ConnectionStatus{Last: ended(ads.Partial)}, nil, "-failing +partial -refused"},
		{"partial for what does not add up", store.ConnectionStatus{Last: ended(ads.Partial)}, early, "-failing -partial -refused"},
		{"partial, told, and now it does not add up", store.ConnectionStatus{Last: ended(ads.Partial)}, map[string]store.Notice{Disagreement: {Since: noon}, Partial: {ToldAt: noon}}, "-failing +partial -refused"},
		{"adds up again", store.ConnectionStatus{Last: ended(ads.Complete), LastComplete: noon}, early, "-disagreement -failing -partial -refused -stale"},
		{"the complete run was before", store.ConnectionStatus{Last: ended(ads.Complete), LastComplete: noon.Add(-2 * time.Hour)}, early, "-failing -partial -refused +stale"},
		{"just not stale", store.ConnectionStatus{LastComplete: noon.Add(-30 * time.Minute)}, nil, "-stale"},
		{"just stale, while it runs", store.ConnectionStatus{Running: true, LastComplete: noon.Add(-30*time.Minute - 1)}, nil, "+stale"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for trouble, f := range findings(c.k, Connection{Ref: acme, Interval: 15 * time.Minute}, c.known, noon) {
				switch {
				case f.verdict == there && f.reason == "":
					t.Errorf("%s without a reason", trouble)
				case f.verdict != unknown:
					got = append(got, map[verdict]string{there: "+", over: "-"}[f.verdict]+trouble)
				}
			}
			slices.SortFunc(got, func(a, b string) int { return strings.Compare(a[1:], b[1:]) })
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s, want %s", s, c.want)
			}
		})
	}
	if f := findings(store.ConnectionStatus{LastComplete: noon.Add(-1000 * time.Hour)}, Connection{}, nil, noon); f[Stale].verdict != over {
		t.Error("stale without a schedule")
	}
}

// Whatever comes and goes in whatever order: each trouble is told before its end is, none twice without a day between, and what is over in the end is forgotten.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := New(Options{ID: "me", Log: slog.New(slog.DiscardHandler)})
		conns := []Connection{{Ref: acme, Interval: time.Hour}, {Ref: ads.Ref{ClientID: "globex", Connection: "x"}}}
		rows := map[store.NoticeKey]store.Notice{}
		toldAt := map[store.NoticeKey]time.Time{} // of what somebody believes to be the case
		now := noon
		all := func() (out []store.Notice) {
			for _, x := range rows {
				out = append(out, x)
			}
			slices.SortFunc(out, func(a, b store.Notice) int { return strings.Compare(fmt.Sprint(a.NoticeKey), fmt.Sprint(b.NoticeKey)) })
			return out
		}
		look := func(outcome ads.Outcome, works bool) {
			var status []store.ConnectionStatus
			for _, c := range conns {
				status = append(status, store.ConnectionStatus{Ref: c.Ref, Last: &store.RunRecord{Outcome: outcome, Error: "e"}, LastComplete: now})
			}
			p := n.plan(status, conns, all(), now)
			for _, k := range p.drop {
				if rows[k].ToldAt.IsZero() == false {
					t.Fatalf("%+v is forgotten without a word about its end", k)
				}
				delete(rows, k)
			}
			seen := map[store.NoticeKey]bool{}
			for _, x := range p.put {
				if seen[x.NoticeKey] {
					t.Fatalf("%+v is written twice", x.NoticeKey)
				}
				seen[x.NoticeKey] = true
				rows[x.NoticeKey] = x
			}
			if len(n.plan(status, conns, all(), now).due) > 0 {
				t.Fatal("what is claimed is due")
			}
			for _, c := range p.due {
				x := rows[c.NoticeKey]
				if !works {
					x.ClaimedBy, x.ClaimedUntil, x.Tries = "", now.Add(5*time.Minute), x.Tries+1
					rows[c.NoticeKey] = x
					continue
				}
				last, believed := toldAt[c.NoticeKey]
				switch eventOf(c) {
				case began:
					if believed {
						t.Fatal("told twice")
					}
				case reminder:
					if !believed || now.Sub(last) < remindEvery {
						t.Fatalf("reminded after %s", now.Sub(last))
					}
				case recovered:
					if !believed {
						t.Fatal("an end of what nobody was told of")
					}
					delete(toldAt, c.NoticeKey)
					delete(rows, c.NoticeKey)
					continue
				}
				toldAt[c.NoticeKey] = now
				x.ClaimedBy, x.ClaimedUntil, x.Tries, x.ToldAt = "", time.Time{}, 0, now
				rows[c.NoticeKey] = x
			}
		}
		outcome := rapid.SampledFrom([]ads.Outcome{ads.Complete, ads.Partial, ads.Failed, ads.Interrupted, ""})
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			look(outcome.Draw(t, "outcome"), rapid.Bool().Draw(t, "works"))
			now = now.Add(time.Duration(rapid.IntRange(1, 100_000).Draw(t, "seconds")) * time.Second)
		}
		for range 4 { // all is well, and stays so
			look(ads.Complete, true)
			now = now.Add(10 * time.Minute)
		}
		if len(rows) > 0 || len(toldAt) > 0 {
			t.Fatalf("left: %+v, believed: %+v", rows, toldAt)
		}
	})
}

// Many at once are told in turns, the oldest first, and each once.
func TestMany(t *testing.T) {
	n := New(Options{ID: "me", Log: slog.New(slog.DiscardHandler)})
	var conns []Connection
	var all []store.Notice
	var status []store.ConnectionStatus
	for i := range 3*mostClaims + 7 {
		ref := ads.Ref{ClientID: fmt.Sprintf("c%04d", i), Connection: "x"}
		conns = append(conns, Connection{Ref: ref})
		status = append(status, store.ConnectionStatus{Ref: ref, Last: ended(ads.Failed)})
		all = append(all, store.Notice{NoticeKey: store.NoticeKey{Ref: ref, Trouble: Failing}, Since: noon.Add(-time.Hour - time.Duration(i)*time.Second), Reason: "error of the run"})
	}
	last := time.Time{}
	for range 4 {
		p := n.plan(status, conns, all, noon)
		if len(p.due) > mostClaims || len(p.due) == 0 || len(p.put) != len(p.due) {
			t.Fatalf("%d due, %d written", len(p.due), len(p.put))
		}
		for _, x := range p.due {
			if x.Since.Before(last) {
				t.Fatal("not the oldest first")
			}
			last = x.Since
			i := slices.IndexFunc(all, func(y store.Notice) bool { return y.NoticeKey == x.NoticeKey })
			x.ToldAt = noon
			all[i] = x
		}
	}
	if p := n.plan(status, conns, all, noon); len(p.due)+len(p.put)+len(p.drop) != 0 {
		t.Errorf("%d due after all were told", len(p.due))
	}
	// What is no longer configured is forgotten, what is paused is left alone.
	for i := range status {
		status[i].Pause.At = noon
		status[i].Last = ended(ads.Complete)
	}
	if p := n.plan(status, conns[1:], all, noon.Add(48*time.Hour)); len(p.due)+len(p.put) != 0 || len(p.drop) != 1 || p.drop[0].Ref != conns[0].Ref {
		t.Errorf("%+v", p)
	}
}
