package quota

import (
	"fmt"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
)

// waitFor sets what the waiters wait for, and tells them where that is news. b.mu is held.
func (b *Bucket) waitFor(w wait) {
	const news = 500 * time.Millisecond
	if d := w.until.Sub(b.wait.until); b.wait.number > 0 && d < news && d > -news && w.room.server == b.wait.room.server {
		w.number = b.wait.number
		b.wait = w
		return
	}
	b.waits++
	w.number = b.waits
	b.wait = w
	b.tell()
}

// tell sends away who will not wait, and tells the others what they wait for, if they do not know. b.mu is held.
func (b *Bucket) tell() {
	v := b.wait
	wait := time.Until(v.free)
	spare := len(b.leases) // so many are served before; who they are is open until they are
	b.spared = false
	b.queue.answer(func(w *waiter) error {
		if w.told == v.number {
			return nil
		}
		// Who stands further back waits for further slots, but that is the queue's doing, not the quota's.
		if wait > w.MaxWait {
			if spare--; spare < 0 {
				return b.deferred(v.free, v.told, v.room)
			}
			b.spared = true
			return nil
		}
		w.told = v.number
		if w.OnWait == nil {
			return nil
		}
		ws := observe.WaitStarted{
			Reason: observe.WaitQuota, Bucket: b.label, Used: v.room.used, Limit: v.room.n, Window: v.room.limit.Window, Until: v.until,
		}
		if v.room.server {
			ws.Reason, ws.Told = observe.WaitServer, v.told
			if v.told == 0 {
				ws.Note = "no time given, backing off"
			} else if v.told > MaxBlock {
				ws.Note = "asked again after 24 hours"
			}
		}
		w.OnWait(ws)
		return nil
	})
}

// slowPause is how long work is put off when the ledger did not answer in time.
const slowPause = 10 * time.Second

// late is the error of a ledger that did not answer in time: no fault of who waits for a slot, whose work goes on from its place in a moment.
func (b *Bucket) late() error {
	until := time.Now().Add(slowPause).UTC()
	return &ads.Error{
		Class: ads.ClassDeferred, Code: "ledger", Until: until, Bucket: b.label,
		Message: fmt.Sprintf("deferred until %s: the database did not say within %s whether the quota of %s has room", until.Format("2006-01-02 15:04:05 UTC"), shortDuration(ledgerTimeout), b.label),
		Hint:    "the database is down or overloaded; adsync goes on by itself",
	}
}

// fail gives the ledger's error to all who wait. A ledger that did not answer in time is left alone for a moment: who asks then need not wait as long
// to hear the same. b.mu is held.
func (b *Bucket) fail(err error, took time.Duration) {
	if took > time.Second {
		b.failed, b.err = time.Now().Add(min(took/2, 5*time.Second)), err
	}
	b.queue.answer(func(*waiter) error { return err })
	b.wait.number, b.look, b.granted = 0, time.Time{}, time.Time{} // nothing is fetched ahead until something is given again
}

func (b *Bucket) deferred(until time.Time, told time.Duration, r room) error {
	e := &ads.Error{Class: ads.ClassDeferred, Code: "quota", Until: until.UTC(), Told: told, Bucket: b.label}
	at := until.UTC().Format("2006-01-02 15:04:05 UTC")
	switch {
	case !r.server:
		e.Message = fmt.Sprintf("deferred until %s: the quota of %s is used up (%d of %d in %s)", at, b.label, r.used, r.n, shortDuration(r.limit.Window))
	case told > MaxBlock:
		e.Code, e.Message = "told", fmt.Sprintf("deferred until %s: the platform asked %s to wait, told %s, capped at 24 hours", at, b.label, longTime(told))
	case told > 0:
		e.Code, e.Message = "told", fmt.Sprintf("deferred until %s: the platform asked %s to wait, told %s", at, b.label, shortDuration(told.Round(time.Second)))
	default:
		e.Code, e.Message = "told", fmt.Sprintf("deferred until %s: the platform refuses %s", at, b.label)
	}
	e.Hint = "run again then: it goes on where it stopped"
	return e
}

func longTime(d time.Duration) string {
	switch days := d.Hours() / 24; {
	case days >= 730:
		return fmt.Sprintf("%.0f years", days/365)
	case days >= 2:
		return fmt.Sprintf("%.0f days", days)
	}
	return shortDuration(d.Round(time.Second))
}
