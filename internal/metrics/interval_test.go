package metrics_test

import (
	"testing"
	"time"

	"adsync/internal/config"
	"adsync/internal/metrics"
)

func TestIntervalOf(t *testing.T) {
	now := time.Date(2026, 3, 3, 12, 7, 0, 0, time.UTC) // a Tuesday
	for schedule, want := range map[string]time.Duration{
		"every 15m": 15 * time.Minute, "every 90s": 90 * time.Second, "*/15 * * * *": 15 * time.Minute, "0 6 * * *": 24 * time.Hour,
		"*/15 8-18 * * 1-5": 2*24*time.Hour + 13*time.Hour + 15*time.Minute, "0 9 * * 1": 7 * 24 * time.Hour,
	} {
		s, err := config.ParseSchedule(schedule)
		if err != nil {
			t.Fatal(err)
		}
		if got := metrics.IntervalOf(s.Next, now); got != want {
			t.Errorf("%s: %s, want %s", schedule, got, want)
		}
	}
	if got := metrics.IntervalOf(config.Schedule{}.Next, now); got != 0 {
		t.Errorf("no schedule: %s", got)
	}
	if got := metrics.IntervalOf(func(t time.Time) time.Time { return now }, now); got != 0 {
		t.Errorf("one that stands still: %s", got)
	}
}
