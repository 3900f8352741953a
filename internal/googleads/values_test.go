package googleads

import (
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"adsync/internal/ads"
)

func TestUnits(t *testing.T) {
	for _, x := range []struct {
		in   string
		want ads.Micros
		err  error
	}{
		{"0", 0, nil},
		{"412.5", 412_500_000, nil},
		{"1.2345675", 1_234_568, nil}, // half up
		{"1.23456749999999", 1_234_567, nil},
		{"-1.2345675", -1_234_568, nil}, // away from zero
		{"0.30000000000000004", 300_000, nil},
		{"1e-7", 0, nil},
		{"5e-7", 1, nil},
		{"1e-300", 0, nil},
		{"1.5e2", 150_000_000, nil},
		{"0.9999999", 1_000_000, nil},
		{"9223372036854.775807", 9223372036854775807, nil},
		{"9223372036854.7758075", 0, ads.ErrOutOfRange},
		{"9223372036854.77580749", 9223372036854775807, nil},
		{"1e30", 0, ads.ErrOutOfRange},
		{"1e-4000", 0, ads.ErrOutOfRange},
		{"NaN", 0, ads.ErrNotNumber},
		{"Infinity", 0, ads.ErrNotNumber},
		{"", 0, ads.ErrNotNumber},
		{"1,5", 0, ads.ErrNotNumber},
	} {
		got, err := units(x.in)
		if got != x.want || !errors.Is(err, x.err) {
			t.Errorf("%q: %d, %v; want %d, %v", x.in, got, err, x.want, x.err)
		}
	}
}

// A number is rounded as arbitrary precision rounds it, half away from zero, and kept as it is where it fits.
func TestRounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`-?(0|[1-9][0-9]{0,12})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
		places := rapid.SampledFrom([]int{6, 9}).Draw(t, "places")
		exact, _ := new(big.Rat).SetString(s)
		unit := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(places)), nil))
		steps := new(big.Rat).Quo(new(big.Rat).Abs(exact), unit)
		n := new(big.Int).Quo(new(big.Int).Add(new(big.Int).Mul(steps.Num(), big.NewInt(2)), steps.Denom()), new(big.Int).Mul(steps.Denom(), big.NewInt(2)))
		want := new(big.Rat).Mul(new(big.Rat).SetInt(n), unit)
		if exact.Sign() < 0 {
			want.Neg(want)
		}
		d, err := rounded(s, places)
		if err != nil {
			if fits := want.Num().IsInt64() && n.IsInt64(); fits {
				t.Fatalf("%q: %v, though it fits", s, err)
			}
			return
		}
		if got, _ := new(big.Rat).SetString(d.String()); got.Cmp(want) != 0 || int(d.Scale) > places {
			t.Fatalf("%q to %d places: %s, want %s", s, places, d, want.FloatString(places))
		}
	})
}
