package ads

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseMicros(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Micros
		err  error
	}{
		{"1100", 1_100_000_000, nil},
		{"0.1", 100_000, nil},
		{"0.10", 100_000, nil},
		{"12.345678", 12_345_678, nil},
		{"12.3456780", 12_345_678, nil},
		{"12.0", 12_000_000, nil},
		{"-5", -5_000_000, nil},
		{"1e3", 1_000_000_000, nil},
		{"1.5e-3", 1_500, nil},
		{"0", 0, nil},
		{"-0.0", 0, nil},
		{"9223372036854.775807", 9223372036854775807, nil},
		{"9223372036854.775808", 0, ErrOutOfRange},
		{"9223372036855", 0, ErrOutOfRange},
		{"0.0000001", 0, ErrInexact},
		{"1e400", 0, ErrOutOfRange},
		{"1e-400", 0, ErrInexact},
		{"1e99999999999", 0, ErrOutOfRange},
		{"", 0, ErrNotNumber},
		{"-", 0, ErrNotNumber},
		{"1.", 0, ErrNotNumber},
		{".5", 0, ErrNotNumber},
		{"+5", 0, ErrNotNumber},
		{"01", 0, ErrNotNumber},
		{"1e", 0, ErrNotNumber},
		{"0x10", 0, ErrNotNumber},
		{"NaN", 0, ErrNotNumber},
		{"1,100", 0, ErrNotNumber},
	} {
		got, err := ParseMicros(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ParseMicros(%q) = %d, %v; want %d, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestParseInt(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int64
		err  error
	}{
		{"9007199254740993", 9007199254740993, nil}, // 2^53+1
		{"9223372036854775807", 9223372036854775807, nil},
		{"9223372036854775808", 0, ErrOutOfRange},
		{"12.0", 12, nil},
		{"1e3", 1000, nil},
		{"1.5", 0, ErrNotInteger},
		{"1e400", 0, ErrOutOfRange},
		{"-3", -3, nil},
		{"+3", 0, ErrNotNumber},
		{"", 0, ErrNotNumber},
	} {
		got, err := ParseInt(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ParseInt(%q) = %d, %v; want %d, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

// A number is read exactly as arbitrary precision reads it, or refused.
func TestParseDecimalExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
		want, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("big.Rat refuses %q", s)
		}
		d, err := ParseDecimal(s)
		if err != nil {
			scaled := new(big.Rat).Mul(want, new(big.Rat).SetInt64(1e9))
			if scaled.IsInt() && scaled.Num().IsInt64() {
				t.Fatalf("ParseDecimal(%q): %v, though it fits", s, err)
			}
			return
		}
		got, ok := new(big.Rat).SetString(d.String())
		if !ok || got.Cmp(want) != 0 {
			t.Fatalf("ParseDecimal(%q).String() = %q", s, d.String())
		}
	})
}

func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"1", "-0.5", "1e3", "1e-9", "99999999999999999999", "1E+5", "--1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDecimal(s)
		if err != nil {
			return
		}
		if d.Scale > MaxScale {
			t.Fatalf("%q: scale %d", s, d.Scale)
		}
		again, err := ParseDecimal(d.String())
		if err != nil || again.String() != d.String() {
			t.Fatalf("%q became %q, which reads as %v, %v", s, d, again, err)
		}
	})
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\x00b": "a\uFFFDb", "bad \xff byte": "bad \uFFFD byte", "émoji 🎯 עברית": "émoji 🎯 עברית",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	got := Printable("a\x1b[31mred\nnext\u202egnp\x00"+strings.Repeat("é", 50), 40)
	if strings.ContainsAny(got, "\x1b\n\x00") || strings.Contains(got, "\u202e") || len(got) > 44 {
		t.Errorf("Printable left %q", got)
	}
}

func TestErrorText(t *testing.T) {
	err := fmt.Errorf("outer: %w", &Error{Class: ClassTransient, Endpoint: "list campaigns", Message: "503 Service Unavailable", Attempts: 5, RequestID: "r-1"})
	if got, want := err.Error(), "outer: list campaigns: 503 Service Unavailable (after 5 tries) [request id r-1]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if ClassOf(err) != ClassTransient || ClassOf(nil) != ClassOK || ClassOf(errors.New("x")) != ClassInternal {
		t.Error("ClassOf")
	}
}
