package ads

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Micros is an amount of money in millionths of the currency unit.
type Micros int64

// Decimal is an exact number: Coef × 10^-Scale. The zero value is 0.
type Decimal struct {
	Coef  int64
	Scale uint8 // digits behind the point, at most MaxScale
}

// MaxScale is the largest number of digits behind the point that a Decimal keeps.
const MaxScale = 9

// Errors of parsing numbers. None is ever rounded away: a value that does not fit is refused.
var (
	ErrNotNumber  = errors.New("not a number")
	ErrOutOfRange = errors.New("does not fit in 64 bits")
	ErrInexact    = errors.New("has more decimals than can be kept")
	ErrNotInteger = errors.New("not a whole number")
)

// ParseDecimal reads a JSON number ("12", "-0.50", "1e3") exactly, without passing through a float.
func ParseDecimal(s string) (Decimal, error) { return parseScaled(s, MaxScale) }

// ParseMicros reads an amount in whole currency units ("1100", "12.34") into millionths, exactly.
func ParseMicros(s string) (Micros, error) {
	d, err := parseScaled(s, 6)
	if err != nil {
		return 0, err
	}
	v := d.Coef
	for range 6 - d.Scale {
		if v > math.MaxInt64/10 || v < math.MinInt64/10 {
			return 0, ErrOutOfRange
		}
		v *= 10
	}
	return Micros(v), nil
}

// ParseInt reads a whole number; "12.0" and "1e3" are whole, "1.5" is not.
func ParseInt(s string) (int64, error) {
	if v, err := strconv.ParseInt(s, 10, 64); err == nil && s[0] != '+' {
		return v, nil
	}
	d, err := parseScaled(s, 0)
	if errors.Is(err, ErrInexact) {
		return 0, ErrNotInteger
	}
	return d.Coef, err
}

// parseScaled reads a JSON number that needs at most maxScale digits behind the point once trailing zeros are gone.
func parseScaled(s string, maxScale int) (Decimal, error) {
	rest := s
	neg := strings.HasPrefix(rest, "-")
	if neg {
		rest = rest[1:]
	}
	exp := 0
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		e := rest[i+1:]
		v, err := strconv.Atoi(e)
		if err != nil || len(e) > 6 {
			if isExponent(e) {
				return Decimal{}, ErrOutOfRange
			}
			return Decimal{}, ErrNotNumber
		}
		exp, rest = v, rest[:i]
	}
	whole, frac, dotted := strings.Cut(rest, ".")
	if whole == "" || (dotted && frac == "") || !digits(whole) || !digits(frac) || (len(whole) > 1 && whole[0] == '0') {
		return Decimal{}, ErrNotNumber
	}
	all := strings.TrimLeft(whole+frac, "0")
	scale := len(frac) - exp
	for len(all) > 0 && scale > 0 && all[len(all)-1] == '0' {
		all, scale = all[:len(all)-1], scale-1
	}
	if all == "" {
		return Decimal{}, nil
	}
	if scale > maxScale {
		return Decimal{}, ErrInexact
	}
	if len(all)-min(scale, 0) > 19 {
		return Decimal{}, ErrOutOfRange
	}
	for ; scale < 0; scale++ {
		all += "0"
	}
	if neg {
		all = "-" + all
	}
	v, err := strconv.ParseInt(all, 10, 64)
	if err != nil {
		return Decimal{}, ErrOutOfRange
	}
	return Decimal{Coef: v, Scale: uint8(scale)}, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func isExponent(e string) bool {
	e = strings.TrimLeft(e, "+-")
	return e != "" && digits(e)
}

// String is the number in plain decimal notation.
func (d Decimal) String() string { return string(d.Append(nil)) }

// Append appends the number in plain decimal notation.
func (d Decimal) Append(b []byte) []byte {
	if d.Scale == 0 {
		return strconv.AppendInt(b, d.Coef, 10)
	}
	u := uint64(d.Coef)
	if d.Coef < 0 {
		b = append(b, '-')
		u = -u
	}
	s := strconv.FormatUint(u, 10)
	for len(s) <= int(d.Scale) {
		s = "0" + s
	}
	cut := len(s) - int(d.Scale)
	b = append(b, s[:cut]...)
	b = append(b, '.')
	return append(b, s[cut:]...)
}

// Text makes s storable on every database: NUL and invalid UTF-8 become U+FFFD.
func Text(s string) string {
	if !strings.ContainsRune(s, 0) && utf8.ValidString(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Printable makes outside text safe for a terminal or a log line: control characters become spaces, and it is cut to at most n bytes.
func Printable(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) || r == 0x2028 || r == 0x2029 || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= n {
		return s
	}
	cut := n
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
