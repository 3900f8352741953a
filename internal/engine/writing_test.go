package engine

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Each moment counts once: writes side by side are one, and what is waited meanwhile is no writing.
func TestWritingIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waited atomic.Int64
		w := &writing{waited: func() time.Duration { return time.Duration(waited.Load()) }}
		failed := errors.New("failed")
		write := func(d time.Duration) func() {
			return func() {
				if err := w.during(func() error { time.Sleep(d); return failed }); err != failed {
					t.Error(err)
				}
			}
		}
		expect := func(want time.Duration) {
			t.Helper()
			if got := w.total(); got != want {
				t.Errorf("%v written, want %v", got, want)
			}
		}
		write(time.Second)()
		time.Sleep(time.Minute)
		expect(time.Second)
		go write(10 * time.Second)()
		time.Sleep(4 * time.Second)
		go write(3 * time.Second)()
		synctest.Wait()
		expect(5 * time.Second) // under way
		waited.Add(int64(2 * time.Second))
		time.Sleep(time.Minute)
		expect(9 * time.Second)
		go write(time.Second)()
		synctest.Wait()
		waited.Add(int64(time.Hour)) // a clock that jumps takes nothing away
		time.Sleep(time.Minute)
		expect(9 * time.Second)
	})
}
