package server

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/live"
	"adsync/internal/store"
)

// However the figures of a run disagree, its parts lie side by side, fill all of its time and no more.
func TestPartsFillTheTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(0, 100).Draw(t, name)) * time.Second
		}
		r := store.RunRecord{Active: d("active"), Figures: ads.Figures{Waited: d("waited"), Told: d("told"), Writing: d("writing")}, Split: rapid.Bool().Draw(t, "split")}
		var took time.Duration
		x := 0.0
		for _, p := range partsOf(r) {
			if p.Took <= 0 || math.Abs(p.X-x) > 1e-6 || p.W <= 0 {
				t.Fatalf("%+v at %v of %+v", p, x, r)
			}
			took += p.Took
			x = p.X + p.W
		}
		if took != r.Active || r.Active > 0 && math.Abs(x-100) > 1e-6 {
			t.Fatalf("%v of %v, to %v", took, r.Active, x)
		}
	})
}

func TestPartsOfARun(t *testing.T) {
	r := store.RunRecord{Active: 100 * time.Second, Figures: ads.Figures{Waited: 60 * time.Second, Told: 20 * time.Second, Writing: 5 * time.Second}}
	if got, want := sayParts(partsOf(r)), "at work 40 %, waiting 60 %"; got != want {
		t.Errorf("of an older version: %s, want %s", got, want)
	}
	r.Split = true
	if got, want := sayParts(partsOf(r)), "fetching 35 %, waiting for quota 40 %, waiting because the server said so 20 %, writing 5 %"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Between two moments the window stands as it was left, and is empty once all that was sent has left it.
func TestSeriesFollowTheWindow(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d).Truncate(live.Step) }
	s := newSeries([]live.Moment{
		{At: ago(5 * time.Minute), Requests: 4, Refused: 1, Used: 7, Limit: 10, Window: time.Minute},
		{At: ago(0), Requests: 2, Used: 2, Limit: 10, Window: time.Minute},
	}, nil, now)
	r := s.Recent
	if n := int(live.Span / live.Step); len(r.At) != n || len(r.Used) != n || len(r.Limit) != n || len(r.Requests) != n || len(r.Refused) != n {
		t.Fatalf("%d moments", len(r.At))
	}
	if r.At[len(r.At)-1] != now.Truncate(live.Step).Unix() {
		t.Errorf("ends at %d", r.At[len(r.At)-1])
	}
	requests := 0
	for i, at := range r.At {
		requests += r.Requests[i]
		want := -1
		switch d := now.Sub(time.Unix(at, 0)); {
		case d > 5*time.Minute+live.Step:
		case d > 4*time.Minute-live.Step && d <= 5*time.Minute:
			want = 7
		case d < live.Step:
			want = 2
		case d <= 4*time.Minute-2*live.Step:
			want = 0
		default:
			continue
		}
		if got := r.Used[i]; (got == nil) != (want < 0) || got != nil && *got != want {
			t.Errorf("at -%v: %v, want %d", now.Sub(time.Unix(at, 0)), got, want)
		}
	}
	if requests != 6 {
		t.Errorf("%d requests", requests)
	}
	// Runs that began in the same second stand behind each other, the oldest first.
	s = newSeries(nil, []store.RunRecord{{StartedAt: now, Figures: ads.Figures{Requests: 2}}, {StartedAt: now, Figures: ads.Figures{Requests: 1}}}, now)
	if len(s.Recent.At) != 0 || s.Runs.At[1] <= s.Runs.At[0] || s.Runs.Requests[0] != 1 {
		t.Errorf("%+v", s)
	}
}
