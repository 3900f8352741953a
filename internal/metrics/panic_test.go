package metrics

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"
)

// A source whose code panics leaves what was said before, is counted as a failure, and does not end the scrape. It is not asked at each scrape.
func TestPanicOfASourceIsAFailure(t *testing.T) {
	caught, asked, bad := 0, 0, false
	b := newBench(t, Options{Caught: func(string) error { caught++; return errors.New("internal error") }})
	b.Source(Sources{Jobs: func(context.Context) (map[string]int64, error) {
		asked++
		if bad {
			panic("hunter2")
		}
		return map[string]int64{"queued": 7}, nil
	}})
	b.series()
	bad = true
	for range 3 {
		b.after(readEvery + time.Second)
		for range 2 {
			w := httptest.NewRecorder()
			b.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if w.Code != 200 {
				t.Fatalf("%d", w.Code)
			}
		}
	}
	got := b.series()
	if got[`adsync_queue_jobs{state="queued"}`] != 7 {
		t.Errorf("what was said before is gone: %v", got)
	}
	if asked != 4 || caught != 3 {
		t.Errorf("asked %d times, caught %d", asked, caught)
	}
}
