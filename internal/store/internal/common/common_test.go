package common

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"adsync/internal/ads"
)

var errData, errOther = errors.New("data"), errors.New("other")

// Bad rows are given to reject, all others are applied once, in as few steps as halving takes.
func TestBisect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 300).Draw(t, "rows")
		bad := map[int]bool{}
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, max(n-1, 0)), 0, 5).Draw(t, "bad") {
			bad[i] = i < n
		}
		applied, rejected := map[int]int{}, map[int]int{}
		steps := 0
		err := Bisect(0, n, func(lo, hi int) error {
			steps++
			for i := lo; i < hi; i++ {
				if bad[i] {
					return errData
				}
			}
			for i := lo; i < hi; i++ {
				applied[i]++
			}
			return nil
		}, func(err error) bool { return errors.Is(err, errData) }, func(i int, _ error) error {
			rejected[i]++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			want := [2]int{1, 0}
			if bad[i] {
				want = [2]int{0, 1}
			}
			if got := [2]int{applied[i], rejected[i]}; got != want {
				t.Fatalf("row %d: %v, want %v", i, got, want)
			}
		}
		if limit := 1 + 20*len(bad); steps > limit {
			t.Fatalf("%d steps for %d bad rows", steps, len(bad))
		}
	})
	isData := func(err error) bool { return errors.Is(err, errData) }
	none := func(int, error) error { return nil }
	if err := Bisect(0, 9, func(int, int) error { return errOther }, isData, none); !errors.Is(err, errOther) {
		t.Errorf("got %v", err)
	}
	if err := Bisect(0, 9, func(int, int) error { return errData }, isData, func(int, error) error { return errOther }); !errors.Is(err, errOther) {
		t.Errorf("got %v", err)
	}
}

// Fault 97: tried again a bounded number of times, with growing pauses, and not when it does not help.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		passes := func(err error) time.Duration {
			if errors.Is(err, errData) {
				return time.Second
			}
			return 0
		}
		var at []time.Duration
		begin := time.Now()
		err := Retry(t.Context(), passes, func() error {
			at = append(at, time.Since(begin))
			return errData
		})
		if !errors.Is(err, errData) || len(at) != Tries {
			t.Errorf("%v after %d tries", err, len(at))
		}
		for i, factor := 1, time.Second; i < len(at); i, factor = i+1, factor*3 {
			if pause := at[i] - at[i-1]; pause < factor/2 || pause >= factor*3/2 {
				t.Errorf("pause %d is %s", i, pause)
			}
		}
		n := 0
		if err := Retry(t.Context(), passes, func() error { n++; return errOther }); !errors.Is(err, errOther) || n != 1 {
			t.Errorf("%v after %d tries", err, n)
		}
		if err := Retry(t.Context(), passes, func() error {
			if n++; n < 4 {
				return errData
			}
			return nil
		}); err != nil || n != 4 {
			t.Errorf("%v after %d tries", err, n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begin = time.Now()
		if err := Retry(ctx, passes, func() error { return errData }); !errors.Is(err, errData) || time.Since(begin) != 100*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

func TestEntityID(t *testing.T) {
	if got := EntityID("campaign_1"); got != "campaign_1" {
		t.Error(got)
	}
	a, b := EntityID(strings.Repeat("é", 5000)+"a"), EntityID(strings.Repeat("é", 5000)+"b")
	if a == b || len(a) > 1100 || !utf8.ValidString(a) || EntityID(a) != a {
		t.Errorf("%d bytes", len(a))
	}
	if got := EntityID("a\x00\xff"); got != "a\uFFFD\uFFFD" {
		t.Errorf("%q", got)
	}
}

// Whatever came, what is kept is storable and bounded.
func FuzzCutRaw(f *testing.F) {
	f.Add([]byte("{}"), 1)
	f.Add([]byte("\xff\x00é"), 40_000)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if len(b) > 0 {
			b = slices.Repeat(b, min(max(n, 1), 1+100_000/len(b)))
		}
		got := CutRaw(b)
		if len(got) > ads.MaxRawKept || !utf8.Valid(got) || slices.Contains(got, 0) || (len(b) > 0) != (len(got) > 0) {
			t.Fatalf("%d bytes became %d", len(b), len(got))
		}
		if r := Raw(b); !utf8.Valid(r) || slices.Contains(r, 0) {
			t.Fatal("Raw leaves what cannot be stored")
		}
	})
}
