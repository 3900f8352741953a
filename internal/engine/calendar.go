package engine

import (
	"slices"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
	"adsync/internal/store"
)

// span is a range of days, both ends included.
type span struct {
	From ads.Date `json:"from"`
	To   ads.Date `json:"to"`
}

func (s span) days() int { return s.To.Sub(s.From) + 1 }

// calendar is what decides which days of an account's level are read. It is pure.
type calendar struct {
	today ads.Date  // by the account's own clock
	now   time.Time // of the run
	since ads.Date  // the first day that is wanted
	spec  platform.Reports
	zone  *time.Location
	run   time.Time // when the run began: what was verified since is not read twice
}

// first is the oldest day that is wanted and that the platform still serves. What is older is never asked for, so what was read of it while it was served stands.
func (c *calendar) first() ads.Date {
	first := c.since
	if c.spec.History > 0 && first.Before(c.today.Add(1-c.spec.History)) {
		first = c.today.Add(1 - c.spec.History)
	}
	if c.today.Before(first) {
		return c.today
	}
	return first
}

// finalBefore is the first day whose figures still move.
func (c *calendar) finalBefore() ads.Date { return c.today.Add(-c.spec.Restated) }

// due says whether a day is to be read in this run.
func (c *calendar) due(d ads.Date, known store.Day, found bool) bool {
	if !found || known.VerifiedAt.IsZero() {
		return true
	}
	if !known.VerifiedAt.Before(c.run) {
		return false
	}
	if known.State == store.DayPartial {
		return true
	}
	read := ads.DateOf(known.VerifiedAt.In(c.zone))
	if read.Sub(d) > c.spec.Restated {
		return false // read after it had been restated for the last time
	}
	age := c.today.Sub(d)
	if age > c.spec.Restated {
		return true // once more, and it is final
	}
	for _, r := range c.spec.Reread {
		if age <= r.Age {
			return c.now.Sub(known.VerifiedAt) >= r.Every
		}
	}
	return false
}

// slices are the ranges of days to read, newest first, none of more than most days. recent tells those that the platform may still restate from older ones,
// which are the backfill. The
// last of the recent ones takes in older days as far as they fit, so that they cost no request of their own.
func (c *calendar) slices(known []store.Day, most int, recent bool) []span {
	by := make(map[ads.Date]store.Day, len(known))
	for _, d := range known {
		by[d.Date] = d
	}
	from, to := c.first(), c.today
	edge := c.today.Add(-c.spec.Restated)
	if recent && from.Before(edge) {
		from = edge
	}
	if !recent {
		to = edge.Add(-1)
	}
	var out []span
	for d := to; !d.Before(c.first()); d = d.Add(-1) {
		day, found := by[d]
		older, n := d.Before(from), len(out)
		if older && (n == 0 || out[n-1].From != d.Add(1) || out[n-1].days() >= most || !c.due(d, day, found)) {
			break
		}
		if !c.due(d, day, found) {
			continue
		}
		if n > 0 && out[n-1].From == d.Add(1) && out[n-1].days() < most {
			out[n-1].From = d
			continue
		}
		out = append(out, span{d, d})
	}
	return out
}

// disagreement says of each day by how much the sum of one level differs from the account's own figures, where that is more than the tolerance. Days that
// the account gives no figures for have none to differ from, unless the level has some.
func disagreement(account, level []store.DayTotal, tolerance float64) map[ads.Date][2]store.DayTotal {
	out := map[ads.Date][2]store.DayTotal{}
	at := func(ts []store.DayTotal, d ads.Date) store.DayTotal {
		i, ok := slices.BinarySearchFunc(ts, d, func(t store.DayTotal, d ads.Date) int { return t.Date.Sub(d) })
		if !ok {
			return store.DayTotal{Date: d}
		}
		return ts[i]
	}
	differs := func(a, b, least int64) bool {
		diff := a - b
		if diff < 0 {
			diff = -diff
		}
		return diff > least && float64(diff) > tolerance*float64(max(a, b))
	}
	for _, ts := range [][]store.DayTotal{account, level} {
		for _, t := range ts {
			a, l := at(account, t.Date), at(level, t.Date)
			if differs(a.Impressions, l.Impressions, 1) || differs(a.Clicks, l.Clicks, 1) || differs(int64(a.Spend), int64(l.Spend), 20_000) {
				out[t.Date] = [2]store.DayTotal{a, l}
			}
		}
	}
	return out
}
