package notify

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/observe"
	"adsync/internal/store"
)

// The troubles.
const (
	Failing      = "failing"      // runs fail, or the platform does not answer
	Refused      = "refused"      // the credentials were refused
	Partial      = "partial"      // a run ended partial
	Disagreement = "disagreement" // what the platform says of its own list or figures does not add up
	Stale        = "stale"        // the last complete run is older than two intervals of the schedule
)

// staleIntervals is how many intervals old the last complete run of a connection may be.
const staleIntervals = 2

// verdict is what a connection's status says about one trouble.
type verdict int

const (
	unknown verdict = iota // a run that is going may show it; what was the case stands
	there
	over
)

type finding struct {
	verdict verdict
	reason  string
}

// findings judges a connection. What it says nothing about is unknown. known are the notices that there are about it.
func findings(k store.ConnectionStatus, c Connection, known map[string]store.Notice, now time.Time) map[string]finding {
	out := map[string]finding{}
	mark, _, _ := strings.Cut(k.Wait.Mark, ":")
	parked := k.Wait.Until.After(now) && !k.Running
	outcome, failure := ads.Outcome(""), ""
	if k.Last != nil && !k.Running {
		outcome, failure = k.Last.Outcome, k.Last.Error
	}
	ended := outcome == ads.Complete || outcome == ads.Partial

	switch kind := observe.ParkKind(mark); {
	case parked && (kind == observe.ParkFailed || kind == observe.ParkOutage):
		out[Failing] = finding{there, k.Wait.Reason}
	case parked && kind == observe.ParkAuth: // a trouble of its own
		out[Failing] = finding{over, ""}
	case outcome == ads.Failed:
		out[Failing] = finding{there, failure}
	case ended:
		out[Failing] = finding{over, ""}
	}
	switch {
	case parked && observe.ParkKind(mark) == observe.ParkAuth:
		out[Refused] = finding{there, k.Wait.Reason}
	case ended:
		out[Refused] = finding{over, ""}
	}
	_, disagrees := known[Disagreement]
	switch {
	case outcome == ads.Partial && disagrees && known[Partial].ToldAt.IsZero(): // that says more than that the run is partial
		out[Partial] = finding{over, ""}
	case outcome == ads.Partial:
		out[Partial] = finding{there, failure}
	case outcome == ads.Complete:
		out[Partial] = finding{over, ""}
	}
	if n, ok := known[Disagreement]; ok && outcome == ads.Complete && k.LastComplete.After(n.Since) {
		out[Disagreement] = finding{over, ""}
	}
	switch limit := staleIntervals * c.Interval; {
	case k.LastComplete.IsZero():
	case c.Interval > 0 && now.Sub(k.LastComplete) > limit:
		out[Stale] = finding{there, "the last complete run ended " + clock(k.LastComplete) + "; there should be one every " + span(c.Interval)}
	default:
		out[Stale] = finding{over, ""}
	}
	return out
}

// plan is what a look comes to: what to write, and what to tell then.
type plan struct {
	put  []store.Notice
	drop []store.NoticeKey
	due  []store.Notice // claimed; all of them are in put too
}

// plan is pure. all are the notices that there are; due ones are claimed for this process.
func (n *Notifier) plan(status []store.ConnectionStatus, conns []Connection, all []store.Notice, now time.Time) (p plan) {
	byRef := make(map[ads.Ref]map[string]store.Notice, len(all))
	for _, x := range all {
		if byRef[x.Ref] == nil {
			byRef[x.Ref] = map[string]store.Notice{}
		}
		byRef[x.Ref][x.Trouble] = x
	}
	statusOf := make(map[ads.Ref]store.ConnectionStatus, len(status))
	for _, k := range status {
		statusOf[k.Ref] = k
	}
	configured := make(map[ads.Ref]bool, len(conns))
	var due []store.Notice
	changed := map[store.NoticeKey]bool{}
	for _, c := range conns {
		configured[c.Ref] = true
		k, ran := statusOf[c.Ref]
		if !ran || !k.Pause.At.IsZero() { // whoever paused it knows
			continue
		}
		known := byRef[c.Ref]
		found := findings(k, c, known, now)
		for _, trouble := range []string{Failing, Refused, Partial, Disagreement, Stale} {
			x, has := known[trouble]
			was := x
			switch f := found[trouble]; {
			case f.verdict == there && !has:
				x = store.Notice{NoticeKey: store.NoticeKey{Ref: c.Ref, Trouble: trouble}, Since: now, Reason: f.reason}
				has = true
			case f.verdict == there:
				x.EndedAt = time.Time{}
				if x.ToldAt.IsZero() || now.Sub(x.ToldAt) >= n.o.Pace(remindEvery) { // words that nobody reads need no writing
					x.Reason = f.reason
				}
			case f.verdict == over && has && x.ToldAt.IsZero() && (x.ClaimedBy == "" || !claimed(x, now)):
				p.drop = append(p.drop, x.NoticeKey) // nobody was told
				continue
			case f.verdict == over && has && x.EndedAt.IsZero():
				x.EndedAt = now
			}
			if !has {
				continue
			}
			x.Reason = ads.Printable(x.Reason, maxReason)
			if x != was {
				p.put, changed[x.NoticeKey] = append(p.put, x), true
			}
			if n.due(x, now) {
				due = append(due, x)
			}
		}
	}
	for _, x := range all {
		if !configured[x.Ref] {
			p.drop = append(p.drop, x.NoticeKey)
		}
	}
	// The oldest first, so that none waits for ever behind others.
	slices.SortStableFunc(due, func(a, b store.Notice) int { return cmp.Or(oldest(a).Compare(oldest(b)), a.Since.Compare(b.Since)) })
	for _, x := range due[:min(len(due), mostClaims)] {
		x.ClaimedBy, x.ClaimedUntil = n.o.ID, now.Add(n.o.Pace(claimFor))
		if changed[x.NoticeKey] {
			p.put = slices.DeleteFunc(p.put, func(y store.Notice) bool { return y.NoticeKey == x.NoticeKey })
		}
		p.put, p.due = append(p.put, x), append(p.due, x)
	}
	return p
}

// oldest is the time from which on a notice has something to tell.
func oldest(x store.Notice) time.Time {
	switch {
	case !x.EndedAt.IsZero():
		return x.EndedAt
	case x.ToldAt.IsZero():
		return x.Since
	}
	return x.ToldAt.Add(remindEvery)
}

// claimed says that somebody tells of it now, or that it was put off after a try that failed.
func claimed(x store.Notice, now time.Time) bool { return x.ClaimedUntil.After(now) }

// due says that somebody is to be told now.
func (n *Notifier) due(x store.Notice, now time.Time) bool {
	switch {
	case claimed(x, now):
		return false
	case !x.EndedAt.IsZero():
		return now.Sub(x.EndedAt) >= n.o.Pace(settle)
	case x.ToldAt.IsZero():
		return now.Sub(x.Since) >= n.o.Pace(settle)
	}
	return now.Sub(x.ToldAt) >= n.o.Pace(remindEvery)
}

// disagreed are the notices that hints make, or make go on.
func disagreed(all []store.Notice, hints []hint, now time.Time) (put []store.Notice) {
	for _, h := range hints {
		key := store.NoticeKey{Ref: h.ref, Trouble: Disagreement}
		x := store.Notice{NoticeKey: key, Since: now}
		if i := slices.IndexFunc(all, func(y store.Notice) bool { return y.NoticeKey == key }); i >= 0 {
			x = all[i]
		}
		x.Reason, x.EndedAt = ads.Printable(h.reason, maxReason), time.Time{}
		if i := slices.IndexFunc(put, func(y store.Notice) bool { return y.NoticeKey == key }); i >= 0 {
			put[i] = x
			continue
		}
		put = append(put, x)
	}
	return put
}
