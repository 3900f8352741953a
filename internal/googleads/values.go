package googleads

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
)

// scalar is a JSON text, number or truth value. Numbers of 64 bits come as texts, and are taken as numbers too.
type scalar struct {
	text string
	kind jsontext.Kind // 0: it is not there
}

// UnmarshalJSONFrom reads any value; what is in an object or a list is passed over.
func (s *scalar) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	v, err := dec.ReadValue()
	if err != nil {
		return err
	}
	s.kind = v.Kind()
	switch s.kind {
	case '"':
		if bytes.IndexByte(v, '\\') < 0 {
			s.text = string(v[1 : len(v)-1])
			return nil
		}
		b, err := jsontext.AppendUnquote(nil, v)
		if err != nil && len(b) == 0 {
			return err
		}
		s.text = string(b) // invalid UTF-8 has been replaced
	case '0', 't', 'f':
		s.text = string(v)
	case 'n':
		s.kind = 0
	}
	return nil
}

// is says whether a truth value, or its name, is true.
func (s scalar) is() bool { return s.text == "true" }

// clean is the text as it can be stored.
func (s scalar) clean() string { return ads.Text(s.text) }

// id is a usable id: digits, which is all that the platform's ids are made of. Zero is none.
func (s scalar) id() (string, bool) {
	ok := (s.kind == '"' || s.kind == '0') && isID(s.text) && s.text[0] != '0'
	if !ok {
		return "", false
	}
	return s.text, true
}

var errKind = errors.New("is not a number")

// number reads a value that may be missing.
func number[T any](s scalar, read func(string) (T, error)) (o ads.Opt[T], err error) {
	switch s.kind {
	case 0:
		return o, nil
	case '"', '0':
		o.Value, err = read(s.text)
		o.Set = err == nil
		return o, err
	}
	return o, errKind
}

// micros reads a whole number of millionths.
func micros(s string) (ads.Micros, error) {
	n, err := ads.ParseInt(s)
	return ads.Micros(n), err
}

// double reads the digits of a floating-point number. The platform shares conversions out by models, so that there are as many digits as a float has;
// those beyond what can be kept are its own inexactness, and are rounded, half away from zero. Nothing else is ever rounded.
func double(s string) (ads.Decimal, error) { return rounded(s, ads.MaxScale) }

// units reads an amount of whole currency units that is a floating-point number, in the same way.
func units(s string) (ads.Micros, error) {
	d, err := rounded(s, 6)
	if err != nil {
		return 0, err
	}
	n := d.Coef
	for range 6 - d.Scale {
		if n > math.MaxInt64/10 || n < math.MinInt64/10 {
			return 0, ads.ErrOutOfRange
		}
		n *= 10
	}
	return ads.Micros(n), nil
}

func rounded(s string, places int) (ads.Decimal, error) {
	d, err := ads.ParseDecimal(s)
	switch {
	case err == nil && int(d.Scale) <= places:
		return d, nil
	case err != nil && !errors.Is(err, ads.ErrInexact) && !errors.Is(err, ads.ErrOutOfRange):
		return d, err
	}
	neg := strings.HasPrefix(s, "-")
	rest := strings.TrimPrefix(s, "-")
	exp := 0
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		if exp, err = strconv.Atoi(rest[i+1:]); err != nil || exp > 400 || exp < -400 {
			return ads.Decimal{}, ads.ErrOutOfRange // beyond what a float can be
		}
		rest = rest[:i]
	}
	whole, frac, _ := strings.Cut(rest, ".")
	digits := whole + frac
	cut := len(frac) - exp - places // digits to take off the end
	switch {
	case cut <= 0:
		return ads.Decimal{}, ads.ErrOutOfRange
	case cut > len(digits):
		return ads.Decimal{}, nil
	}
	kept, up := digits[:len(digits)-cut], digits[len(digits)-cut] >= '5'
	kept = strings.TrimLeft(kept, "0")
	n := int64(0)
	if kept != "" {
		if n, err = strconv.ParseInt(kept, 10, 64); err != nil {
			return ads.Decimal{}, ads.ErrOutOfRange
		}
	}
	if up && n == math.MaxInt64 {
		return ads.Decimal{}, ads.ErrOutOfRange
	}
	if up {
		n++
	}
	if neg {
		n = -n
	}
	scale := places
	for scale > 0 && n%10 == 0 {
		n, scale = n/10, scale-1
	}
	return ads.Decimal{Coef: n, Scale: uint8(scale)}, nil
}

// loose are the options under which answers are read: one odd record must not spoil a page.
var loose = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
