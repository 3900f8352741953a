package config

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestScheduleNext(t *testing.T) {
	at := time.Date(2026, 3, 28, 23, 59, 59, 5, time.FixedZone("somewhere", 3600))
	for text, want := range map[string]string{
		"every 15m":     "2026-03-28T23:00:00Z",
		"every 90s":     "2026-03-28T23:00:00Z",
		"every 1d":      "2026-03-29T00:00:00Z",
		"every 36h":     "2026-03-29T00:00:00Z",
		"*/15 * * * *":  "2026-03-28T23:00:00Z",
		"30 2 * * *":    "2026-03-29T02:30:00Z", // an hour that daylight saving takes away elsewhere
		"0 6 29 2 *":    "2028-02-29T06:00:00Z",
		"0 0 1 jan MON": "2027-01-01T00:00:00Z",
	} {
		s, f := parseSchedule(text)
		if f != nil {
			t.Errorf("%s: %v", text, f)
			continue
		}
		if got := s.Next(at).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if !(Schedule{}).Next(at).IsZero() {
		t.Error("no schedule has a next time")
	}
}

// The next time is later, within the interval, and the same for everybody who asks in between.
func TestScheduleEvery(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Schedule{Every: time.Duration(rapid.Int64Range(int64(minEvery), int64(maxEvery)).Draw(t, "every"))}
		now := time.Unix(rapid.Int64Range(0, 1<<33-1).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "nano"))
		next := s.Next(now)
		if d := next.Sub(now); d <= 0 || d > s.Every {
			t.Fatalf("%s after now, every %s", d, s.Every)
		}
		if between := now.Add(next.Sub(now) / 2); !s.Next(between).Equal(next) {
			t.Fatal("it moves while one waits")
		}
		if after := s.Next(next); after.Sub(next) != s.Every {
			t.Fatalf("then %s later, every %s", after.Sub(next), s.Every)
		}
	})
}

func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"every 15m", "*/15 * * * *", "0 6 1,15 jan-mar mon", "every 1d", "TZ= * * * *", "@daily", "? ? ? ? ?", "1-2/3 * * * 0"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s, flt := parseSchedule(text)
		if flt != nil {
			return
		}
		if next := s.Next(now); !next.After(now) {
			t.Fatalf("%q: next %s", text, next)
		}
		if again, flt := parseSchedule(s.Text); flt != nil || !again.Next(now).Equal(s.Next(now)) {
			t.Fatalf("%q reads as %q, which is another schedule", text, s.Text)
		}
	})
}
