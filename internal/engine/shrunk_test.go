package engine

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
)

func anyListing(t *rapid.T) listing {
	yes := rapid.Bool()
	l := firstPass(time.Date(2026, 11, 23, 12, 0, 0, 123_000, time.UTC))
	l.Pass = rapid.IntRange(1, 3).Draw(t, "pass")
	l.Done, l.End = yes.Draw(t, "done"), yes.Draw(t, "end")
	l.Pages, l.Distinct, l.Problems = rapid.IntRange(0, 4).Draw(t, "pages"), rapid.Int64Range(0, 5).Draw(t, "distinct"), rapid.Int64Range(0, 1).Draw(t, "problems")
	l.Fell, l.Grew, l.Hole, l.Gap, l.Repeat = yes.Draw(t, "fell"), yes.Draw(t, "grew"), yes.Draw(t, "hole"), yes.Draw(t, "gap"), yes.Draw(t, "repeat")
	l.Slack, l.Again, l.Stale, l.TrustEcho = rapid.IntRange(0, 2).Draw(t, "slack"), rapid.IntRange(0, 2).Draw(t, "again"), rapid.IntRange(0, 2).Draw(t, "stale"), rapid.IntRange(0, 1).Draw(t, "echo")
	l.Cursor = rapid.SampledFrom([]string{"", "2"}).Draw(t, "cursor")
	if yes.Draw(t, "has more") {
		l.More = ads.Some(yes.Draw(t, "more"))
	}
	if yes.Draw(t, "has total") {
		l.Total = ads.Some(rapid.Int64Range(0, 6).Draw(t, "total"))
	}
	return l
}

// What is left out of a listing that is done changes nothing of how the run ends: what is proven, what is told, what counts.
func TestShrunkSaysTheSame(t *testing.T) {
	left := 0
	rapid.Check(t, func(t *rapid.T) {
		l := anyListing(t)
		s := l.shrunk()
		if s.clean() != l.clean() || s.Done != l.Done || s.Pass != l.Pass || !s.PassStart.Equal(l.PassStart) || s.Problems != l.Problems || !reflect.DeepEqual(s.findings(), l.findings()) {
			t.Fatalf("%+v became %+v", l, s)
		}
		if l.Done && s.next(defaultSlack) != ended {
			t.Fatalf("%+v goes on", s)
		}
		if *s != l {
			left++
		}
	})
	if left == 0 {
		t.Error("nothing was ever left out")
	}
}

// A listing comes back from the database as it was, however little of it is written.
func TestListingIsStoredWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := anyListing(t)
		b, err := json.Marshal(&l)
		if err != nil {
			t.Fatal(err)
		}
		var back listing
		if err := json.Unmarshal(b, &back); err != nil || back != l {
			t.Fatalf("%v: %+v became %s and %+v", err, l, b, back)
		}
	})
	done := listing{Pass: 1, PassStart: time.Date(2026, 11, 23, 12, 0, 0, 123_000, time.UTC), Done: true}
	if b, err := json.Marshal(&done); err != nil || len(b) > 80 || bytes.Contains(b, []byte("total")) {
		t.Errorf("a listing that is done is stored as %s, %v", b, err)
	}
}
