package quota

import (
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/platform"
)

// A state that the version before has stored is read as it was meant, and goes on as one of this version.
func TestOldStateIsRead(t *testing.T) {
	old, err := hex.DecodeString("02d0bcd48683898506d08ff2818389850680ade204020000000000000002d08ff2818389850602040680e0ba84bf030480f2a3e58289850604a0d0ec1c02904e8080c58bc6d1010280dcd4e58289850604")
	if err != nil {
		t.Fatal(err)
	}
	s, err := decode(old)
	if err != nil {
		t.Fatal(err)
	}
	now := int64(1_700_000_000_000_000)
	a, b := s.log(Limit{3, time.Minute}), s.log(Limit{5000, time.Hour})
	if a.total != 3 || !slices.Equal(a.entries, []entry{{now - 30_000_000, 2}, {now + 250_000, 1}}) || b.total != 2 || len(b.entries) != 1 {
		t.Errorf("%+v, %+v", a, b)
	}
	if s.until != now+5_001_000 || s.told != 5_000_000 || s.refused != 1 || s.widen != 1 || !s.pending {
		t.Errorf("%+v", s)
	}
	back, err := decode(s.encode())
	if err != nil || fmt.Sprint(back) != fmt.Sprint(s) {
		t.Errorf("%v, %+v became %+v", err, s, back)
	}
	if _, err := decode(append([]byte{stateVersion + 1}, old[1:]...)); err == nil {
		t.Error("a version that nobody knows is read")
	}
}

// Whatever happens to a state, it survives being stored, and stays small.
func TestStateSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := []Limit{{rapid.SampledFrom([]int{3, 100, 1000, 1001, 60_000}).Draw(t, "n"), time.Minute}}
		if rapid.Bool().Draw(t, "two") {
			limits = append(limits, Limit{1_000_000, 24 * time.Hour})
		}
		s, now := &state{}, int64(1_700_000_000_000_000)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.Int64Range(0, 10_000_000).Draw(t, "pass")
			c := claim{
				id: rapid.Uint64Range(0, 200).Draw(t, "id"), owners: rapid.IntRange(1, 50).Draw(t, "owners"), wants: rapid.IntRange(0, 300).Draw(t, "wants"),
				extra: rapid.IntRange(0, 20).Draw(t, "extra"), most: 300, late: limits[0].late(), lag: 2000,
			}
			g, _ := s.grant(now, limits, c)
			for i, at := range g.logs {
				if rapid.IntRange(0, 3).Draw(t, "sent") > 0 {
					s.move(now, at, g.at[i])
				} else if rapid.IntRange(0, 9).Draw(t, "back") == 0 {
					s.giveBack(at)
				}
			}
			if rapid.IntRange(0, 20).Draw(t, "refused") == 0 {
				s.refuse(now, now, 1_000_000, 0, rapid.Bool().Draw(t, "counted"), limits)
			}
			for _, lg := range s.logs {
				total := 0
				for _, e := range lg.entries {
					total += e.n
				}
				if total != lg.total || !slices.IsSortedFunc(lg.entries, func(a, b entry) int { return int(a.at - b.at) }) {
					t.Fatalf("%d requests in a log that says %d: %v", total, lg.total, lg.entries)
				}
			}
			if len(s.parties) > maxParties {
				t.Fatalf("%d parties", len(s.parties))
			}
			b := s.encode()
			back, err := decode(b)
			if err != nil || fmt.Sprint(back) != fmt.Sprint(s) {
				t.Fatalf("%v: %+v became %+v", err, s, back)
			}
			s = back
		}
	})
}

// The stored state of large quotas in full use stays small.
func TestSizeOfState(t *testing.T) {
	for _, tt := range []struct {
		limit Limit
		most  int
	}{{Limit{10, time.Minute}, 256}, {Limit{1000, time.Second}, 4096}, {Limit{1000, time.Minute}, 5120}, {Limit{60_000, time.Minute}, 8192}, {Limit{1_000_000, 24 * time.Hour}, 8192}} {
		s, now := &state{}, int64(1_700_000_000_000_000)
		step := tt.limit.Window.Microseconds() / int64(tt.limit.N)
		perStep := 1
		if tt.limit.N > 10_000 {
			perStep = 100
		}
		for i := range 5 * tt.limit.N / 2 / perStep {
			now += step*int64(perStep) + int64(i%7) // unevenly: one by one is the worst case
			for id := range uint64(2) {
				g, _ := s.grant(now, []Limit{tt.limit}, claim{id: id, owners: 1, wants: perStep, most: perStep, late: tt.limit.late()})
				for j, at := range g.logs {
					s.move(now, at, g.at[j]+int64(j))
				}
			}
		}
		for id := range uint64(100) {
			s.grant(now, []Limit{tt.limit}, claim{id: id, owners: 3, wants: 64, most: 64, late: tt.limit.late()})
		}
		b := s.encode()
		t.Logf("%s: %d bytes, %d entries, %d parties", tt.limit, len(b), len(s.logs[0].entries), len(s.parties))
		if len(b) > tt.most+maxParties*24 {
			t.Errorf("the state of %s has %d bytes", tt.limit, len(b))
		}
	}
}

// In one process: among owners that always wait, nobody is passed over for more than two turns of everybody, whatever the priorities and however much the
// others ask for.
func TestQueueIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		owners := rapid.IntRange(1, 20).Draw(t, "owners")
		var q queue
		seq := int64(0)
		push := func(o int) {
			seq++
			w := &waiter{Ask: Ask{Owner: fmt.Sprint(o)}, seq: seq, got: make(chan granted, 1)}
			w.Priority = platform.Priority(rapid.IntRange(0, 2).Draw(t, "priority"))
			q.push(w)
		}
		for o := range owners {
			for range rapid.IntRange(1, 6).Draw(t, "at once") {
				push(o)
			}
		}
		last := make([]int, owners)
		for i := range 300 {
			w := q.pop()
			var o int
			if _, err := fmt.Sscan(w.Owner, &o); err != nil {
				t.Fatal(err)
			}
			last[o] = i
			push(o)
			for o, at := range last {
				if i-at > 2*owners {
					t.Fatalf("owner %d was passed over %d times by %d owners", o, i-at, owners)
				}
			}
		}
	})
}

// Priority decides within an owner, and between owners that have had as many slots.
func TestPriorityAmongOwners(t *testing.T) {
	var q queue
	for i, a := range []Ask{
		{Owner: "a", Priority: platform.PriorityBackfill},
		{Owner: "a", Priority: platform.PriorityBackfill},
		{Owner: "b", Priority: platform.PriorityFollowUp},
		{Owner: "b", Priority: platform.PriorityListing},
		{Owner: "b", Priority: platform.PriorityFollowUp},
		{Owner: "b", Priority: platform.PriorityFollowUp},
	} {
		q.push(&waiter{Ask: a, seq: int64(i)})
	}
	var got []int64
	for q.n > 0 {
		got = append(got, q.pop().seq)
	}
	if want := []int64{3, 0, 2, 1, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
}

// Owners that come once and go do not pile up, whether anybody waits all the time or not.
func TestQueueForgets(t *testing.T) {
	var q queue
	q.push(&waiter{Ask: Ask{Owner: "always", Priority: platform.PriorityBackfill}})
	for i := range 20_000 {
		q.push(&waiter{Ask: Ask{Owner: fmt.Sprint(i)}, seq: int64(i + 1)})
		if q.n > 3 {
			if w := q.pop(); w.Owner == "always" {
				q.push(w)
			}
		}
	}
	if len(q.owners) > ownersKept+len(q.waiting)+1 {
		t.Errorf("%d owners are remembered, %d wait", len(q.owners), len(q.waiting))
	}
	for q.n > 0 {
		q.pop()
	}
	if len(q.owners) > 0 {
		t.Errorf("%d owners are remembered when nobody waits", len(q.owners))
	}
}

// The bounds of the ledger's clock hold, however long its answers take and though the clocks drift; they come close when any answer is quick, and a clock
// that is set is noticed.
func TestClocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c clocks
		offset, mono := rapid.Float64Range(-1e9, 1e9).Draw(t, "offset"), int64(1)<<40
		ppm := rapid.Float64Range(-200, 200).Draw(t, "drift")
		true_ := func(mono int64) float64 { return offset + float64(mono-1<<40)*ppm/1e6 }
		for range 50 {
			mono += rapid.Int64Range(0, 5_000_000).Draw(t, "pass")
			before := mono
			mono += rapid.Int64Range(0, 200_000).Draw(t, "question")
			now := int64(float64(mono) + true_(mono))
			mono += rapid.Int64Range(0, 200_000).Draw(t, "answer")
			c.sample(before, mono, now)
			if o := true_(mono); float64(c.lo) > o+2 || float64(c.hi) < o-2-200 {
				t.Fatalf("%d to %d does not hold %f", c.lo, c.hi, o)
			}
		}
		offset += 3e9
		now := int64(float64(mono) + true_(mono))
		c.sample(mono, mono+1000, now)
		if o := true_(mono); float64(c.lo) > o+2 || float64(c.hi) < o-2 {
			t.Fatalf("%d to %d does not hold %f after the clock was set", c.lo, c.hi, o)
		}
	})
}
