package world

import (
	"errors"
	"maps"
	"slices"
	"time"
)

// Edit says what a thing is to become; nil leaves it.
type Edit struct {
	Name   *string
	State  *State
	Budget *int64 // minor units
}

type place struct {
	account, serial int
	level           Level
}

type edited struct {
	Edit
	at  time.Time
	to  Day    // since when it has not delivered; Far when it does
	gap [2]Day // when it did not, between two lives
}

type addition struct {
	name string
	day  Day
	at   time.Time
}

// Restatement changes the figures of days that were thought to be done with.
type Restatement struct {
	Account  int // 0: all
	From, To Day
	PerMille int64 // of what they were
}

// edits is never changed once it can be seen; who changes the world puts a new one in its place.
type edits struct {
	by       map[place]edited
	touched  map[[2]int]bool // account and campaign below which something was edited
	added    map[int][]addition
	restated []Restatement
}

var errTooMany = errors.New("too many edits: start the simulator anew")

func (w *World) swap(change func(e *edits) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.edits.Load()
	next := &edits{by: maps.Clone(old.by), touched: maps.Clone(old.touched), added: maps.Clone(old.added), restated: slices.Clone(old.restated)}
	if next.by == nil {
		next.by, next.touched, next.added = map[place]edited{}, map[[2]int]bool{}, map[int][]addition{}
	}
	if err := change(next); err != nil {
		return err
	}
	if len(next.by)+len(next.restated) > maxEdits {
		return errTooMany
	}
	w.edits.Store(next)
	return nil
}

// Edit changes a thing from this moment on; figures of the past stay.
func (w *World) Edit(account int, l Level, serial int, e Edit, now time.Time) error {
	t, ok := w.At(account, l, serial)
	if !ok {
		return errors.New("there is no such thing")
	}
	today := w.Moment(account, now).Today
	return w.swap(func(es *edits) error {
		at := place{account, serial, l}
		next := es.by[at]
		if next.at.IsZero() {
			next.to = t.To
			if t.State == Active {
				next.to = Far
			}
		}
		next.at = now
		if e.Name != nil {
			next.Name = e.Name
		}
		if e.Budget != nil {
			next.Budget = e.Budget
		}
		if e.State != nil {
			next.State = e.State
			switch {
			case *e.State != Active:
				next.to = min(next.to, today)
			case next.to < Far:
				next.gap, next.to = [2]Day{next.to + 1, today - 1}, Far
			}
		}
		es.by[at] = next
		es.touched[[2]int{account, t.Campaign}] = true
		return nil
	})
}

// Add gives an account one more campaign, which begins to deliver today.
func (w *World) Add(account int, name string, now time.Time) error {
	if account < 1 || account > w.o.Accounts {
		return errors.New("there is no such account")
	}
	return w.swap(func(es *edits) error {
		if w.o.Campaigns+len(es.added[account]) >= MaxCampaigns {
			return errTooMany
		}
		es.added[account] = append(slices.Clone(es.added[account]), addition{name, w.Moment(account, now).Today, now.UTC().Truncate(time.Second)})
		return nil
	})
}

// Restate changes figures of the past.
func (w *World) Restate(r Restatement) error {
	return w.swap(func(es *edits) error {
		es.restated = append(es.restated, r)
		return nil
	})
}

func (e *edits) apply(t *Thing, w *World) {
	if len(e.by) == 0 {
		return
	}
	x, ok := e.by[place{t.Account, t.Serial(w), t.Level}]
	if !ok {
		return
	}
	if x.Name != nil {
		t.Name = *x.Name
	}
	if x.Budget != nil {
		t.Budget = *x.Budget
	}
	if x.State != nil {
		t.State = *x.State
		t.To, t.Gap = x.to, x.gap
	}
	t.Updated = x.at
}

// perMille is what restatements make of a day, in thousandths.
func (e *edits) perMille(account int, d Day) int64 {
	f := int64(1000)
	for _, r := range e.restated {
		if (r.Account == 0 || r.Account == account) && r.From <= d && d <= r.To {
			f = f * r.PerMille / 1000
		}
	}
	return f
}
