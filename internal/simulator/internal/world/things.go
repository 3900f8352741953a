package world

import (
	"strconv"
	"time"

	"adsync/internal/simulator/internal/dice"
)

// Thing is a campaign, a group or an ad. Its index counts from 0 within its parent.
type Thing struct {
	Level    Level
	Account  int
	Campaign int
	Group    int // of a group or an ad
	Ad       int // of an ad
	Name     string
	State    State
	From, To Day // on which it may have delivered, both ends included
	Gap      [2]Day
	Budget   int64 // in the account's minor units; of a campaign or a group
	Lifetime bool  // the budget is for its whole life
	Own      bool  // a campaign whose budget is its own; otherwise each of its groups has one
	Created  time.Time
	Updated  time.Time
	Hash     uint64 // for whatever else a platform needs to choose
}

// Serial is the thing's number within its account and level, from 0.
func (t *Thing) Serial(w *World) int {
	switch t.Level {
	case OfGroup:
		return t.Campaign*w.o.Groups + t.Group
	case OfAd:
		return (t.Campaign*w.o.Groups+t.Group)*w.o.Ads + t.Ad
	}
	return t.Campaign
}

// Campaigns is how many campaigns an account has.
func (w *World) Campaigns(account int) int {
	return w.o.Campaigns + len(w.edits.Load().added[account])
}

// Count is how many things of a level an account has.
func (w *World) Count(account int, l Level) int {
	switch n := w.Campaigns(account); l {
	case OfCampaign:
		return n
	case OfGroup:
		return n * w.o.Groups
	case OfAd:
		return n * w.o.Groups * w.o.Ads
	}
	return 1
}

// At is the thing with a serial number; false when there is none.
func (w *World) At(account int, l Level, serial int) (Thing, bool) {
	if account < 1 || account > w.o.Accounts || serial < 0 || serial >= w.Count(account, l) {
		return Thing{}, false
	}
	switch l {
	case OfCampaign:
		return w.Campaign(account, serial), true
	case OfGroup:
		c := w.Campaign(account, serial/w.o.Groups)
		return w.Group(&c, serial%w.o.Groups), true
	case OfAd:
		group := serial / w.o.Ads
		c := w.Campaign(account, group/w.o.Groups)
		g := w.Group(&c, group%w.o.Groups)
		return w.Ad(&g, serial%w.o.Ads), true
	}
	return Thing{}, false
}

// campaignStates gives every account of ten campaigns or more one of each kind.
var campaignStates = [10]State{Active, Active, Active, Paused, Active, Active, Archived, Active, Active, Removed}

func (w *World) state(table State) State {
	if table == Archived && !w.o.ArchivedState {
		return Paused
	}
	return table
}

// Campaign is an account's campaign number i, from 0.
func (w *World) Campaign(account, i int) Thing {
	h := dice.Numbers(w.o.Seed, 2, account, i)
	t := Thing{
		Level: OfCampaign, Account: account, Campaign: i, Hash: h, To: Far,
		Name:   seasons[h%10] + " " + strconv.Itoa(i+1),
		Budget: (10 + int64(h>>8%190)) * 100,
		Own:    h>>16%3 != 0, Lifetime: h>>20%4 == 0,
	}
	if h>>24%8 == 0 {
		t.Budget += int64(h >> 28 % 99)
	}
	e := w.edits.Load()
	young := min(45, w.o.Days/2) // nothing began later than so long ago
	t.From = w.o.Anchor - Day(young) - Day(h>>32%uint64(max(1, w.o.Days-young)))
	t.State = w.state(campaignStates[i%10])
	if at := i - w.o.Campaigns; at >= 0 && at < len(e.added[account]) {
		a := e.added[account][at]
		t.State, t.From, t.Created, t.Updated = Active, a.day, a.at, a.at
		if a.name != "" {
			t.Name = a.name
		}
	} else {
		w.end(&t, h)
		w.times(&t, h)
	}
	e.apply(&t, w)
	return t
}

// end lays out how the life of what is not active any more ended.
func (w *World) end(t *Thing, h uint64) {
	switch t.State {
	case Active:
	case Paused:
		t.To = w.o.Anchor - Day(h>>40%40)
	case Archived:
		t.To = w.o.Anchor - 30 - Day(h>>40%uint64(max(1, min(300, w.o.Days-30))))
	case Removed:
		t.To = w.o.Anchor - Day(h>>40%21)
	}
	t.From = min(t.From, t.To-10)
}

// times says when it was made and last changed.
func (w *World) times(t *Thing, h uint64) {
	t.Created = time.Unix(int64(t.From-1)*secondsOfDay+int64(h>>4%80_000), 0).UTC()
	last := t.To
	if t.State == Active {
		last = w.o.Anchor - Day(h>>44%60)
	}
	t.Updated = time.Unix(int64(max(last, t.From))*secondsOfDay+int64(h>>6%40_000), 0).UTC()
}

var (
	groupStates = [8]State{Active, Active, Active, Paused, Active, Removed, Active, Archived}
	adStates    = [9]State{Active, Active, Paused, Active, Active, Removed, Active, Archived, Active}
)

// Group is a campaign's group number i, from 0. The first lives as long as its campaign does.
func (w *World) Group(c *Thing, i int) Thing {
	h := dice.Mix(c.Hash + uint64(i+1)*0x9e3779b97f4a7c15)
	t := Thing{
		Level: OfGroup, Account: c.Account, Campaign: c.Campaign, Group: i, Hash: h, To: Far,
		Name:   crowds[h%8] + " " + strconv.Itoa(i+1),
		Budget: (5 + int64(h>>8%95)) * 100, Lifetime: c.Lifetime,
	}
	if i > 0 {
		t.State = w.state(groupStates[(uint64(i)+c.Hash)%8])
	}
	w.within(&t, c, h, i)
	return t
}

// Ad is a group's ad number i, from 0. The first lives as long as its group does.
func (w *World) Ad(g *Thing, i int) Thing {
	h := dice.Mix(g.Hash + uint64(i+1)*0xd1342543de82ef95)
	t := Thing{
		Level: OfAd, Account: g.Account, Campaign: g.Campaign, Group: g.Group, Ad: i, Hash: h, To: Far,
		Name: formats[h%6] + " " + strconv.Itoa(i+1),
	}
	if i > 0 {
		t.State = w.state(adStates[(uint64(i)+g.Hash)%9])
	}
	w.within(&t, g, h, i)
	return t
}

func (w *World) within(t, parent *Thing, h uint64, i int) {
	t.From = parent.From
	if i > 0 {
		t.From += Day(h >> 32 % 40)
		w.end(t, h)
		t.From = max(t.From, parent.From)
	}
	t.To, t.Gap = min(t.To, parent.To), parent.Gap
	w.times(t, h)
	if e := w.edits.Load(); len(e.by) > 0 {
		own := *t
		own.To = Far
		if t.State != Active {
			own.To = t.To
		}
		e.apply(&own, w)
		gap := t.Gap
		t.Name, t.State, t.Budget, t.Updated, t.To = own.Name, own.State, own.Budget, own.Updated, min(own.To, parent.To)
		if own.Gap != [2]Day{} && own.Gap != gap {
			t.Gap = own.Gap
		}
	}
}

// alive says whether a thing may deliver on a day.
func (t *Thing) alive(d Day) bool {
	return t.From <= d && d <= t.To && (t.Gap[1] == 0 || d < t.Gap[0] || d > t.Gap[1])
}
