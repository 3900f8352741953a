package quota

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever the order of taking, giving back and moving: what counts in any window never exceeds the limit.
func TestNeverTooMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := []Limit{{N: rapid.IntRange(1, 12).Draw(t, "n"), Window: time.Minute}}
		if rapid.Bool().Draw(t, "second limit") {
			limits = append(limits, Limit{N: rapid.IntRange(5, 30).Draw(t, "n2"), Window: 10 * time.Minute})
		}
		s := &state{}
		now := int64(1) << 50
		var sent []int64
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now += rapid.Int64Range(0, 40_000_000).Draw(t, "pass")
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0:
				if len(sent) > 0 && now-sent[len(sent)-1] < 1_000_000 {
					s.giveBack(sent[len(sent)-1])
					sent = sent[:len(sent)-1]
				}
			case 1:
				b := s.encode()
				var err error
				if s, err = decode(b); err != nil {
					t.Fatal(err)
				}
			default:
				r := s.room(now, limits)
				if r.free == 0 && r.next <= now {
					t.Fatalf("no room, but the next slot is not in the future: %+v", r)
				}
				k := rapid.IntRange(0, max(r.free, 0)).Draw(t, "take")
				if k > 0 {
					s.take(now, slices.Repeat([]int64{now}, k), limits)
				}
				for range k {
					sent = append(sent, now)
				}
			}
			for _, l := range limits {
				n := 0
				for _, at := range sent {
					if at > now-l.Window.Microseconds() {
						n++
					}
				}
				if n > l.N {
					t.Fatalf("%d in a window of %s", n, l)
				}
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	s := &state{}
	s.take(1<<50, slices.Repeat([]int64{1 << 50}, 3), []Limit{{N: 10, Window: time.Minute}, {N: 5000, Window: time.Hour}})
	f.Add(s.encode())
	f.Add([]byte("junk"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decode(b)
		if err != nil {
			return
		}
		limits := []Limit{{N: 10, Window: time.Minute}}
		s.settle(1 << 50)
		s.adopt(1<<50, limits)
		r := s.room(1<<50, limits)
		if r.free == 0 && !r.server && r.next > 1<<50+s.hold(limits[0])+limits[0].late()+limits[0].lagMax().Microseconds()+limits[0].ahead()+1 {
			t.Fatalf("a wait longer than the window: %+v", r)
		}
		if r.server && r.next > 1<<50+MaxBlock.Microseconds() {
			t.Fatalf("a stay longer than a day: %+v", r)
		}
		s.take(1<<50, []int64{1 << 50}, limits)
		s.refuse(1<<50, 1<<50, 1000, 1000, false, limits)
		if _, err := decode(s.encode()); err != nil {
			t.Fatalf("%x does not survive: %v", b, err)
		}
	})
}
