package engine

import (
	"fmt"
	"time"

	"adsync/internal/ads"
)

// listing is the guard of a listing: what has come, what was promised, and what to do next. It is pure, and stored with each commit.
//
// A platform's total, has_more and rows can contradict each other. Reading goes on while either has_more is true or fewer records than the
// newest total have come, and ends clean when both say so. Whatever goes beyond that is bounded by slack. A listing that moved
// while it was read (its total fell, or rows are missing at the end) is read again, at most maxPasses times: a record that slipped to
// a page already read is found by the next pass, and one that came twice is stored once.
type listing struct {
	Pass      int       `json:"pass"` // from 1
	PassStart time.Time `json:"pass_start"`
	Cursor    string    `json:"cursor,omitempty"` // next page; "" at the beginning
	Done      bool      `json:"done,omitempty"`   // this listing has been read to its end

	Pages    int            `json:"pages,omitempty"`    // read in this pass
	Distinct int64          `json:"distinct,omitempty"` // usable records of this pass
	Problems int64          `json:"problems,omitempty"` // unusable records of this pass
	Rows     int            `json:"rows,omitempty"`     // of the last page
	MaxRows  int            `json:"max_rows,omitempty"` // of the largest page of this pass
	More     ads.Opt[bool]  `json:"more,omitzero"`
	Total    ads.Opt[int64] `json:"total,omitzero"`
	End      bool           `json:"end,omitempty"` // the platform names no further page

	Fell   bool `json:"fell,omitempty"`   // total became smaller during the pass
	Grew   bool `json:"grew,omitempty"`   // total became larger
	Hole   bool `json:"hole,omitempty"`   // a page was empty, short, or nothing but repeats though more was promised …
	Gap    bool `json:"gap,omitempty"`    // … and new records came after it
	Repeat bool `json:"repeat,omitempty"` // the last page had rows, none of them new
	Slack  int  `json:"slack,omitempty"`  // pages in a row without anything new, or past what was promised
	Again  int  `json:"again,omitempty"`  // times this listing was begun again because it had moved
	Stale  int  `json:"stale,omitempty"`  // … and because the platform had dropped the cursor

	TrustEcho int `json:"trust_echo,omitempty"` // answers about another page than asked, accepted after asking again
}

// pageRead is what one committed page (or several merged into one commit) brought.
type pageRead struct {
	Pages    int
	Rows     int // of the last page
	MaxRows  int
	Records  int64 // usable records, repeats included
	New      int64 // of them not seen before in this pass
	Problems int64
	Cursor   string
	More     ads.Opt[bool]
	Total    ads.Opt[int64]
}

// firstPass begins a listing.
func firstPass(start time.Time) listing { return listing{Pass: 1, PassStart: start} }

// restart begins the listing again. start is later than anything that the last pass wrote.
func (l *listing) restart(start time.Time) listing {
	return listing{Pass: l.Pass + 1, PassStart: start, Again: l.Again, Stale: l.Stale, TrustEcho: l.TrustEcho}
}

// shrunk is what the run still has to know of a listing once it has come to its end and there is nothing to say about it: what proves what is gone. All
// listings are stored with each commit, so an account that is done may cost next to nothing. One that is done is never changed, so that the states share it.
func (l *listing) shrunk() *listing {
	if !l.clean() || len(l.findings()) > 0 {
		return l
	}
	return &listing{Pass: l.Pass, PassStart: l.PassStart, Done: true}
}

func (l *listing) have() int64 { return l.Distinct + l.Problems }

// short says that the newest total has not been reached.
func (l *listing) short() bool { return l.Total.Set && l.have() < l.Total.Value }

// expectsMore is the platform's word that pages follow: has_more, or the total where has_more is missing.
func (l *listing) expectsMore() bool {
	if l.More.Set {
		return l.More.Value
	}
	return l.short()
}

// apply takes a page in.
func (l *listing) apply(p pageRead) {
	// Past what was promised: the page was read although the total had come, or although has_more was false.
	beyond := l.Pages > 0 && ((l.Total.Set && l.have() >= l.Total.Value) || !l.expectsMore())
	l.Pages += p.Pages
	l.Distinct += p.New
	l.Problems += p.Problems
	l.Rows, l.Cursor, l.More = p.Rows, p.Cursor, p.More
	l.End = p.Cursor == ""
	if p.Total.Set {
		if l.Total.Set {
			l.Fell = l.Fell || p.Total.Value < l.Total.Value
			l.Grew = l.Grew || p.Total.Value > l.Total.Value
		}
		l.Total = p.Total
	}
	switch {
	case p.New == 0:
		l.Slack += p.Pages
	case beyond:
		l.Slack++
	default:
		l.Slack = 0
	}
	l.Gap = l.Gap || (l.Hole && p.New > 0)
	l.Gap = l.Gap || (p.Pages > 1 && p.New < p.Records) // a repeat somewhere in the middle of merged pages
	l.Hole = l.Hole || (l.expectsMore() && (p.New < p.Records || p.New == 0 || p.Rows < l.MaxRows))
	l.Repeat = p.Rows > 0 && p.New == 0
	l.MaxRows = max(l.MaxRows, p.MaxRows)
}

// step is what to do next.
type step int

const (
	readOn    step = iota // the next page
	readAgain             // the listing moved: from its beginning
	ended
)

// next decides. slack is the bound on pages past what was promised.
func (l *listing) next(slack int) step {
	switch {
	case l.Done:
		return ended
	case l.Pages == 0:
		return readOn
	case l.End, l.Slack >= slack:
		return l.over()
	case l.expectsMore():
		return readOn
	case l.short():
		if (l.moved() || l.Repeat) && l.Again+1 < maxPasses {
			return readAgain // the missing ones are on pages already read, not past the end
		}
		return readOn
	}
	return l.over()
}

// over is the end of a pass.
func (l *listing) over() step {
	if l.Again+1 < maxPasses && (l.Fell || (l.short() && l.moved())) {
		return readAgain
	}
	return ended
}

// moved says that something in this pass hints at records having changed places.
func (l *listing) moved() bool { return l.Fell || l.Grew || l.Gap }

// finding is something that did not add up. Partial ones keep the run from being complete.
type finding struct {
	Code    string
	Message string
	Partial bool
}

// findings judges a listing that has ended.
func (l *listing) findings() []finding {
	var out []finding
	add := func(partial bool, code, format string, args ...any) {
		out = append(out, finding{Code: code, Message: fmt.Sprintf(format, args...), Partial: partial})
	}
	switch {
	case l.short():
		add(true, "total_disagrees", "the platform says that there are %d records, but %d came", l.Total.Value, l.have())
	case l.Total.Set && l.have() > l.Total.Value:
		add(true, "total_disagrees", "the platform says that there are %d records, but %d came; all are kept", l.Total.Value, l.have())
	}
	if l.Fell {
		add(true, "list_moved", "the list moved while it was read, %d times over: records may have been skipped", l.Again+1)
	}
	if l.expectsMore() && l.Slack > 0 && !l.short() {
		code, what := "never_ends", "the platform said that more would follow, but %d pages in a row brought nothing beyond its own total"
		add(!l.Total.Set, code, what, l.Slack)
	}
	return out
}

// clean says that the listing proves what is there and, by that, what is not.
func (l *listing) clean() bool {
	if !l.Done || l.Problems > 0 {
		return false
	}
	for _, f := range l.findings() {
		if f.Partial {
			return false
		}
	}
	return true
}
