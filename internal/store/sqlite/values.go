package sqlite

import (
	"database/sql/driver"
	"fmt"
	"time"
	"unsafe"

	"adsync/internal/ads"
	"adsync/internal/store/internal/common"
)

// timeLayout has a fixed width, so that the order of texts is the order of times.
const timeLayout = "2006-01-02T15:04:05.000000Z"

func stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

func optStamp(t ads.Opt[time.Time]) any {
	if !t.Set || t.Value.IsZero() {
		return nil
	}
	return stamp(t.Value)
}

// textOrNull is orNull for text that nobody has made storable yet.
func textOrNull(s string) any { return orNull(ads.Text(s)) }

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t)
}

// rawText is JSON as TEXT, without a copy: it is read before the statement ends.
func rawText(b []byte) any {
	if b == nil {
		return nil
	}
	b = common.Raw(b)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// decimal is an integer where the number is whole, a float where that keeps every digit, and else the digits themselves.
func decimal(d ads.Opt[ads.Decimal]) any {
	if !d.Set {
		return nil
	}
	v := d.Value
	for v.Scale > 0 && v.Coef%10 == 0 {
		v.Coef, v.Scale = v.Coef/10, v.Scale-1
	}
	if v.Scale == 0 {
		return v.Coef
	}
	const bound = 1_000_000_000_000_000 // a float keeps every number of fifteen digits
	if v.Coef > -bound && v.Coef < bound {
		div := int64(1)
		for range v.Scale {
			div *= 10
		}
		return float64(v.Coef) / float64(div) // both are exact, so this is the nearest float
	}
	return v.String()
}

func parseStamp(s string) (time.Time, error) {
	t, err := time.Parse(timeLayout, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("a stored time is not one: %w", err)
	}
	return t, nil
}

// Readers of driver values. A NULL is the zero value.

func asInt(v driver.Value) int64 {
	n, _ := v.(int64)
	return n
}

func asString(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func asBytes(v driver.Value) []byte {
	switch v := v.(type) {
	case string:
		return []byte(v)
	case []byte:
		return append([]byte(nil), v...)
	}
	return nil
}

func asTime(v driver.Value) (time.Time, error) {
	if s := asString(v); s != "" {
		return parseStamp(s)
	}
	return time.Time{}, nil
}
