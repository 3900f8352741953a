package retry

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const none = -1
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, tt := range []struct {
		name  string
		h     map[string]string
		body  time.Duration
		want  time.Duration
		named bool
		said  bool
	}{
		{"nothing", nil, none, 0, false, false},
		{"fault 21: seconds", map[string]string{"Retry-After": "12"}, none, 12 * time.Second, true, true},
		{"fault 22: date", map[string]string{"Retry-After": date(30 * time.Second)}, none, 30 * time.Second, true, true},
		{"fault 23: date of a clock a day ahead", map[string]string{"Retry-After": date(24*time.Hour + 30*time.Second), "Date": date(24 * time.Hour)}, none, 30 * time.Second, true, true},
		{"fault 23: date of a clock a day behind", map[string]string{"Retry-After": date(-24*time.Hour + 30*time.Second), "Date": date(-24 * time.Hour)}, none, 30 * time.Second, true, true},
		{"date in the past", map[string]string{"Retry-After": date(-time.Hour)}, none, 0, false, true},
		{"fault 24: body", nil, 60 * time.Second, 60 * time.Second, true, true},
		{"body longer", map[string]string{"Retry-After": "5"}, 60 * time.Second, 60 * time.Second, true, true},
		{"header longer", map[string]string{"Retry-After": "90"}, 60 * time.Second, 90 * time.Second, true, true},
		{"fault 26: zero", map[string]string{"Retry-After": "0"}, none, 0, false, true},
		{"fault 26: negative", map[string]string{"Retry-After": "-5"}, none, 0, false, true},
		{"fault 26: garbage", map[string]string{"Retry-After": "soon"}, none, 0, false, true},
		{"fault 26: fraction", map[string]string{"Retry-After": "1.5"}, none, 2 * time.Second, true, true},
		{"fault 26: body zero", nil, 0, 0, false, true},
		{"fault 27: 10^9", map[string]string{"Retry-After": "1000000000"}, none, 1_000_000_000 * time.Second, true, true},
		{"fault 27: past int64", map[string]string{"Retry-After": "99999999999999999999999"}, none, Longest, true, true},
		{"fault 31: draft", map[string]string{"RateLimit": `"default";r=0;t=30`}, none, 30 * time.Second, true, true},
		{"fault 31: two policies", map[string]string{"RateLimit": `"burst";r=0;t=3, "day";r=0;t=90`}, none, 90 * time.Second, true, true},
		{"fault 31: some left", map[string]string{"RateLimit": `"default";r=50;t=30`}, none, 0, false, false},
		{"fault 31: malformed", map[string]string{"RateLimit": `;;;r=;t=x,,"`}, none, 0, false, false},
		{"fault 31: Retry-After wins", map[string]string{"RateLimit": `"default";r=0;t=300`, "Retry-After": "3"}, none, 3 * time.Second, true, true},
		{"older headers", map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "17"}, none, 17 * time.Second, true, true},
		{"older headers with a moment", map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": strconv.FormatInt(now.Add(25*time.Second).Unix(), 10)}, none, 25 * time.Second, true, true},
		{"older headers with a moment, a clock a day ahead", map[string]string{"RateLimit-Remaining": "0", "RateLimit-Reset": strconv.FormatInt(now.Add(24*time.Hour+25*time.Second).Unix(), 10), "Date": date(24 * time.Hour)}, none, 25 * time.Second, true, true},
		{"older headers with a moment in milliseconds", map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": strconv.FormatInt(now.Add(25*time.Second).UnixMilli(), 10)}, none, 0, false, false},
		{"older headers with a past moment", map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795000000"}, none, 0, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			for k, v := range tt.h {
				h.Set(k, v)
			}
			got := After(h, tt.body, now)
			if got.Wait != tt.want || got.Named != tt.named || got.Said != tt.said {
				t.Errorf("%+v, want %v named %v said %v", got, tt.want, tt.named, tt.said)
			}
		})
	}
}

func TestDelayProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 1000).Draw(t, "n")
		d := Default.Delay(n, rapid.Float64Range(0, 0.999999).Draw(t, "rnd"))
		top := Default.Cap
		if n < 7 {
			top = Default.Base << (n - 1)
		}
		if d < 0 || d > top {
			t.Fatalf("delay %v after %d failures", d, n)
		}
	})
}

func TestBudget(t *testing.T) {
	b := NewBudget()
	spent := 0
	for b.Spend() {
		spent++
	}
	if spent != BudgetBucket {
		t.Fatalf("%d retries without a request", spent)
	}
	for range 105 {
		b.Request()
	}
	for b.Spend() {
		spent++
	}
	if got := spent - BudgetBucket; got != 10 {
		t.Fatalf("%d retries for 105 requests", got)
	}
}

func FuzzAfter(f *testing.F) {
	f.Add("12", `"default";r=0;t=30`, "Mon, 23 Nov 2026 12:00:00 GMT", int64(5))
	f.Fuzz(func(t *testing.T, retryAfter, rateLimit, date string, body int64) {
		h := http.Header{"Retry-After": {retryAfter}, "Ratelimit": {rateLimit}, "Date": {date}}
		got := After(h, time.Duration(body), time.Unix(1_795_000_000, 0))
		if got.Named && (got.Wait < floor || got.Wait > Longest) || !got.Named && got.Wait != 0 {
			t.Fatalf("%+v", got)
		}
	})
}
