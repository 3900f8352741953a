package metrics

import "time"

// slotsSeen is how many slots of a schedule are looked at: those of every quarter of an hour of a working week, and some.
const slotsSeen = 300

// IntervalOf is the longest time between two neighbouring slots of a schedule, among the next 300 or so; 0 where it has none. next gives the first slot after a
// time, zero where there is none. Connections with the same schedule have the same interval: ask once.
func IntervalOf(next func(time.Time) time.Time, now time.Time) (longest time.Duration) {
	at := next(now)
	for range slotsSeen {
		if at.IsZero() {
			return longest
		}
		after := next(at)
		if !after.After(at) {
			return longest
		}
		longest = max(longest, after.Sub(at))
		at = after
	}
	return longest
}
