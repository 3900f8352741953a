package ads

import (
	"errors"
	"time"
)

// Date is a day of a calendar, without a time zone: the day that an account's own clock showed. The zero Date is no day.
type Date struct{ days int32 } // since 1970-01-01, plus one

// ErrNotDate is the error of reading a day.
var ErrNotDate = errors.New("not a date of the form 2006-01-02")

// ParseDate reads "2026-11-23".
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Date{}, ErrNotDate
	}
	return DateOf(t), nil
}

// DateOf is the day that t's own clock shows.
func DateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix()/86400) + 1}
}

// IsZero says that d is no day.
func (d Date) IsZero() bool { return d.days == 0 }

// Time is midnight of the day in UTC.
func (d Date) Time() time.Time { return time.Unix(int64(d.days-1)*86400, 0).UTC() }

// Add is the day n days later.
func (d Date) Add(n int) Date { return Date{d.days + int32(n)} }

// Sub is how many days d is later than e.
func (d Date) Sub(e Date) int { return int(d.days - e.days) }

// Before says whether d is earlier than e.
func (d Date) Before(e Date) bool { return d.days < e.days }

// Equal says that both are the same day.
func (d Date) Equal(e Date) bool { return d == e }

func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return d.Time().Format(time.DateOnly)
}

// MarshalText writes "2026-11-23", nothing for no day.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads it back.
func (d *Date) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*d = Date{}
		return nil
	}
	*d, err = ParseDate(string(b))
	return err
}
