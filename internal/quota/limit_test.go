package quota

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseLimit(t *testing.T) {
	for in, want := range map[string]Limit{
		"10/1m":      {10, time.Minute},
		"10/m":       {10, time.Minute},
		" 10 / 60s ": {10, time.Minute},
		"1/1s":       {1, time.Second},
		"10/4s":      {10, 4 * time.Second},
		"10000/24h":  {10000, 24 * time.Hour},
		"10000/1d":   {10000, 24 * time.Hour},
		"10000/d":    {10000, 24 * time.Hour},
		"5/1m30s":    {5, 90 * time.Second},
		"5/250ms":    {5, 250 * time.Millisecond},
	} {
		got, err := ParseLimit(in)
		if err != nil || got != want {
			t.Errorf("ParseLimit(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "none", "10", "/", "10/", "/1m", "0/1m", "-1/1m", "+1/1m", "1.5/1m", "10/0s", "10/-1m", "10/1", "10/5 mins", "10/1m/2", "ten/1m",
		"10/1ms", "10/1000d", "10/99999999999999999999d", "99999999999999999999/1m", "1000000001/1m", "10/+1m", "10/.5m", "10/1e3s", strings.Repeat("9", 1000),
	} {
		got, err := ParseLimit(in)
		if err == nil {
			t.Errorf("ParseLimit(%q) = %v", in, got)
			continue
		}
		if !strings.Contains(err.Error(), "10/1m") || len(err.Error()) > 300 {
			t.Errorf("ParseLimit(%q): the error should show the form: %v", in, err)
		}
	}
}

func TestLimitText(t *testing.T) {
	for want, l := range map[string]Limit{
		"10/1m": {10, time.Minute}, "1/1h": {1, time.Hour}, "3/24h": {3, 24 * time.Hour}, "3/2d": {3, 48 * time.Hour},
		"5/1m30s": {5, 90 * time.Second}, "5/1h0m30s": {5, time.Hour + 30*time.Second}, "2/1h30m": {2, 90 * time.Minute}, "2/10s": {2, 10 * time.Second},
	} {
		if got := l.String(); got != want {
			t.Errorf("%v: got %s, want %s", l.Window, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		l := Limit{rapid.IntRange(1, MaxN).Draw(t, "n"), time.Duration(rapid.Int64Range(int64(MinWindow), int64(MaxWindow)).Draw(t, "w"))}
		b, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var back Limit
		if err := json.Unmarshal(b, &back); err != nil || back != l {
			t.Fatalf("%s became %v, %v", b, back, err)
		}
	})
}

func FuzzParseLimit(f *testing.F) {
	for _, s := range []string{"10/1m", "10/m", "1/1d", "a/b", "10/-1s", "9/9h9m9s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLimit(s)
		if err != nil {
			return
		}
		if err := l.check(); err != nil {
			t.Fatalf("%q gave %v: %v", s, l, err)
		}
		if back, err := ParseLimit(l.String()); err != nil || back != l {
			t.Fatalf("%q gave %v, which reads as %v, %v", s, l, back, err)
		}
	})
}
