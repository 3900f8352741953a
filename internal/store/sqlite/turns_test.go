package sqlite

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// One at a time, in the order of coming, the urgent first, and whoever gives up is skipped.
func TestTurns(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type writer struct {
			urgent bool
			gives  time.Duration // up after so long; 0: never
		}
		var writers []writer
		for range rapid.IntRange(0, 12).Draw(rt, "writers") {
			writers = append(writers, writer{rapid.Bool().Draw(rt, "urgent"), time.Duration(rapid.SampledFrom([]int{0, 0, 1}).Draw(rt, "gives up")) * time.Second})
		}
		limited := rapid.Bool().Draw(rt, "by the limit")
		synctest.Test(t, func(t *testing.T) {
			var tu turns
			if !tu.take(t.Context(), false, time.Hour) {
				t.Fatal("the first had to wait")
			}
			var all sync.WaitGroup
			var mu sync.Mutex
			var got []string
			inside := false
			for i, w := range writers {
				all.Go(func() {
					ctx, limit := t.Context(), time.Hour
					switch {
					case w.gives == 0:
					case limited:
						limit = w.gives
					default:
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, w.gives)
						defer cancel()
					}
					if !tu.take(ctx, w.urgent, limit) {
						return
					}
					mu.Lock()
					if inside {
						t.Error("two at once")
					}
					inside = true
					got = append(got, fmt.Sprint(i))
					mu.Unlock()
					time.Sleep(time.Minute)
					mu.Lock()
					inside = false
					mu.Unlock()
					tu.give()
				})
				synctest.Wait()
			}
			time.Sleep(2 * time.Second)
			tu.give()
			all.Wait()
			var want []string
			for _, urgent := range []bool{true, false} {
				for i, w := range writers {
					if w.urgent == urgent && w.gives == 0 {
						want = append(want, fmt.Sprint(i))
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("turns of %v, want %v", got, want)
			}
			if !tu.take(t.Context(), false, time.Hour) || len(tu.urgent)+len(tu.others) > 0 {
				t.Error("a turn was lost")
			}
		})
	})
}

// A turn that comes in the moment in which it is given up goes to the next one.
func TestTurnsAtTheSameMoment(t *testing.T) {
	for range 200 {
		var tu turns
		tu.take(t.Context(), false, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if tu.take(ctx, false, time.Hour) {
					tu.give()
				}
			})
		}
		all.Go(cancel)
		all.Go(tu.give)
		all.Wait()
		if tu.taken || len(tu.others) > 0 {
			t.Fatalf("%+v", &tu)
		}
	}
}
