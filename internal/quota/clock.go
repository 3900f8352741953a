package quota

import "time"

// clocks knows how far the ledger's clock is ahead of this process's monotonic one (µs). Each look at the ledger proves bounds for it: the ledger's reading
// was made after the question and before the answer. Under load the two may be far apart, and where within that time the reading was made cannot be
// known; but the bounds of all looks hold together, so that the quickest of the recent ones count.
//
// Whatever is told to the ledger is converted by the upper bound, whatever it tells by the lower one: then every error makes a slot late.
type clocks struct {
	lo, hi int64
	last   int64 // when the bounds were proven
	known  bool
}

// drift is how fast two clocks part at most: one part in so many.
const drift = 2000

// sample takes in that the ledger's clock was read as now between before and after.
func (c *clocks) sample(before, after, now int64) {
	lo, hi := now-after-1, now-before+1
	if c.known {
		apart := max(after-c.last, 0)/drift + 1
		if l, h := c.lo-apart, c.hi+apart; lo <= h && hi >= l { // else one of the clocks was set
			lo, hi = max(lo, l), min(hi, h)
		}
	}
	c.lo, c.hi, c.last, c.known = lo, hi, after, true
}

// ledger is the latest that the ledger's clock may say at a time of ours.
func (c *clocks) ledger(mono int64) int64 { return mono + c.hi }

// own is the latest that ours may say at a time of the ledger's.
func (c *clocks) own(ledger int64) int64 { return ledger - c.lo }

// mono is a time on the local log's clock.
func (b *Bucket) mono(t time.Time) int64 { return t.Sub(b.begin).Microseconds() + 1<<40 }

// clock is the time of a reading of the local log's clock.
func (b *Bucket) clock(mono int64) time.Time {
	return b.begin.Add(time.Duration(mono-1<<40) * time.Microsecond)
}
