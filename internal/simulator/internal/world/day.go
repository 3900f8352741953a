package world

import (
	"fmt"
	"time"
)

// Day is a date without a time zone, counted from 1970-01-01.
type Day int32

// Far is beyond every day that matters.
const Far Day = 1 << 24

const secondsOfDay = 24 * 60 * 60

// DayOf is the date that a moment has where it is told.
func DayOf(t time.Time) Day {
	_, offset := t.Zone()
	s := t.Unix() + int64(offset)
	d := s / secondsOfDay
	if s%secondsOfDay < 0 {
		d--
	}
	return Day(d)
}

// ParseDay reads 2026-11-22 and nothing else.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || len(s) != len(time.DateOnly) {
		return 0, fmt.Errorf("%.20q is not a date such as 2026-11-22", s)
	}
	return DayOf(t), nil
}

// Time is the day's beginning in a zone.
func (d Day) Time(zone *time.Location) time.Time {
	y, m, day := time.Unix(int64(d)*secondsOfDay, 0).UTC().Date()
	return time.Date(y, m, day, 0, 0, 0, 0, zone)
}

func (d Day) String() string { return string(d.Append(nil)) }

// Append writes the date as 2026-11-22.
func (d Day) Append(b []byte) []byte {
	y, m, day := d.civil()
	return append(b, byte('0'+y/1000%10), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10), '-', byte('0'+m/10), byte('0'+m%10), '-', byte('0'+day/10), byte('0'+day%10))
}

// civil counts from 1 March of year 0, where leap days come last and months follow one rule.
func (d Day) civil() (year, month, day int) {
	z := int(d) + 719468
	era := z / 146097
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = doy - (153*mp+2)/5 + 1
	month = mp + 3
	if month > 12 {
		month -= 12
	}
	year = yoe + era*400
	if month <= 2 {
		year++
	}
	return year, month, day
}

// Month is the day's year and month as one number that counts on.
func (d Day) Month() int {
	y, m, _ := d.civil()
	return y*12 + m - 1
}

// Back is the day so many months earlier.
func (d Day) Back(months int) Day {
	return DayOf(d.Time(time.UTC).AddDate(0, -months, 0))
}

// Weekday is 0 on a Monday and 6 on a Sunday.
func (d Day) Weekday() int { return ((int(d)+3)%7 + 7) % 7 }

// Monday is the day's week's first day.
func (d Day) Monday() Day { return d - Day(d.Weekday()) }
