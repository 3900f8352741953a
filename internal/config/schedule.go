package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule says when `adsync serve` syncs a connection. The zero value never does.
type Schedule struct {
	Text  string        // as written: "every 15m" or "*/15 * * * *"
	Every time.Duration // 0 for a cron schedule
	cron  cron.Schedule
}

// Bounds of "every".
const (
	minEvery = time.Second
	maxEvery = 31 * 24 * time.Hour
)

// Next is the first time after t, in UTC; zero where there is none. For "every", multiples of the interval since the start of 1970 count,
// so that all processes agree without asking each other.
func (s Schedule) Next(t time.Time) time.Time {
	t = t.UTC()
	switch {
	case s.cron != nil:
		return s.cron.Next(t)
	case s.Every > 0:
		step, n := s.Every.Nanoseconds(), t.UnixNano()
		return time.Unix(0, n-n%step+step).UTC()
	}
	return time.Time{}
}

var schedules = &kind{
	name: "schedule", allowed: `every 15m (also 90s, 6h, 1d), or cron with five fields in UTC, such as "*/15 * * * *"`,
	schema: map[string]any{"type": "string", "pattern": `^\s*(every\s+[0-9smhd.]+|\S+(\s+\S+){4})\s*$`},
	parse: func(s string) (any, *fault) {
		v, f := parseSchedule(s)
		if f != nil {
			return nil, f
		}
		return v, nil
	},
}

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

func parseSchedule(s string) (Schedule, *fault) {
	const cure = `write every 15m (also 90s, 6h, 1d), or cron with five fields in UTC (minute, hour, day of month, month, day of week), such as "*/15 * * * *"`
	fields := strings.Fields(s)
	if len(fields) > 0 && strings.EqualFold(fields[0], "every") {
		if len(fields) != 2 {
			return Schedule{}, faultf(cure, `needs one length of time behind "every"`)
		}
		every, f := parseInterval(fields[1], cure)
		switch {
		case f != nil:
			return Schedule{}, f
		case every < minEvery || every > maxEvery:
			return Schedule{}, faultf(cure, "is not between every 1s and every 31d")
		}
		return Schedule{Text: "every " + fields[1], Every: every}, nil
	}
	if len(fields) != 5 {
		return Schedule{}, faultf(cure, "is not a schedule")
	}
	for i, f := range fields {
		if len(f) > 200 || strings.Trim(f, "0123456789*/,-?abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return Schedule{}, faultf(cure, "is not cron: its field %d (%s) holds a character that cron does not know", i+1, cronFields[i])
		}
	}
	norm := strings.Join(fields, " ")
	c, err := cronParser.Parse(norm)
	if err != nil {
		return Schedule{}, faultf(cure, "is not cron: %s", blameCron(fields))
	}
	if c.Next(time.Unix(0, 0).UTC()).IsZero() {
		return Schedule{}, faultf(cure, "is a date that never comes")
	}
	return Schedule{Text: norm, cron: c}, nil
}

var cronFields = [...]string{"minute", "hour", "day of month", "month", "day of week"}

// blameCron finds the field that the parser refuses, by trying each beside stars.
func blameCron(fields []string) string {
	for i, f := range fields {
		try := []string{"*", "*", "*", "*", "*"}
		try[i] = f
		if _, err := cronParser.Parse(strings.Join(try, " ")); err != nil {
			return "its field for the " + cronFields[i] + " is out of range or malformed"
		}
	}
	return "it is malformed"
}

// ParseSchedule reads a schedule as the configuration writes it.
func ParseSchedule(s string) (Schedule, error) {
	v, f := parseSchedule(s)
	if f != nil {
		return Schedule{}, fmt.Errorf("%q %s: %s", s, f.message, f.cure)
	}
	return v, nil
}

// parseInterval is a duration that may also be in whole days.
func parseInterval(s, cure string) (time.Duration, *fault) {
	if days, ok := strings.CutSuffix(s, "d"); ok && digitsOnly(days) && len(days) < 5 {
		n := time.Duration(0)
		for _, c := range days {
			n = n*10 + time.Duration(c-'0')
		}
		return n * 24 * time.Hour, nil
	}
	return parseDuration(s, cure)
}
