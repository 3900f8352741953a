package world

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // the accounts' time zones are known on every machine

	"adsync/internal/simulator/internal/dice"
)

// Bounds of a world.
const (
	MaxAccounts  = 20_000
	MaxCampaigns = 100_000 // of an account
	MaxChildren  = 1_000   // groups of a campaign, ads of a group
	MaxDays      = 2_000   // since the oldest campaigns began
	maxPerParent = 100_000 // ads of a campaign
	maxEdits     = 100_000
)

// Level is a kind of thing that has figures.
type Level uint8

// The levels, from the widest.
const (
	OfAccount Level = iota
	OfCampaign
	OfGroup
	OfAd
)

func (l Level) String() string { return [...]string{"account", "campaign", "group", "ad"}[l] }

// State is what the owner wants a thing to be.
type State uint8

// The states.
const (
	Active State = iota
	Paused
	Archived
	Removed
)

// Options say how large a world is and how its figures move.
type Options struct {
	Seed                             uint64
	Accounts, Campaigns, Groups, Ads int  // groups per campaign, ads per group
	Anchor                           Day  // lives and edits of long ago are laid out around this day
	Days                             int  // how long before it the oldest campaigns began; 0: three years
	Whole                            bool // conversions are whole numbers, not hundredths
	SettleTraffic, SettleConversions int  // days after which impressions and spend, and conversions, no longer move
	ArchivedState                    bool // there are archived things; otherwise they are paused
}

// World is safe for concurrent use.
type World struct {
	o     Options
	mu    sync.Mutex // of whoever changes it
	edits atomic.Pointer[edits]
	zones []*time.Location
}

// New checks the options and makes a world.
func New(o Options) (*World, error) {
	var errs []error
	for _, b := range []struct {
		name    string
		n, most int
	}{{"accounts", o.Accounts, MaxAccounts}, {"campaigns", o.Campaigns, MaxCampaigns}, {"groups", o.Groups, MaxChildren}, {"ads", o.Ads, MaxChildren}} {
		if b.n < 0 || b.n > b.most {
			errs = append(errs, fmt.Errorf("%s %d: want 0 to %d", b.name, b.n, b.most))
		}
	}
	if o.Groups*o.Ads > maxPerParent {
		errs = append(errs, fmt.Errorf("%d groups of %d ads: a campaign has at most %d ads", o.Groups, o.Ads, maxPerParent))
	}
	if o.SettleTraffic < 0 || o.SettleConversions < 0 || o.SettleTraffic > 1000 || o.SettleConversions > 1000 {
		errs = append(errs, errors.New("figures settle after 0 to 1000 days"))
	}
	if o.Days < 0 || o.Days > MaxDays {
		errs = append(errs, fmt.Errorf("%d days: want 0 (three years) to %d", o.Days, MaxDays))
	}
	if o.Days == 0 {
		o.Days = 45 + 1100
	}
	w := &World{o: o}
	for _, p := range places {
		z, err := time.LoadLocation(p.zone)
		if err != nil {
			return nil, fmt.Errorf("time zone %s: %w", p.zone, err)
		}
		w.zones = append(w.zones, z)
	}
	w.edits.Store(&edits{})
	return w, errors.Join(errs...)
}

// Options are those it was made with.
func (w *World) Options() Options { return w.o }

// Account is an advertiser's account. Its number counts from 1.
type Account struct {
	Number   int
	Name     string
	Currency string
	Minor    int64 // how many of its smallest units make one: 100, or 1 where the currency has none
	ZoneName string
	Zone     *time.Location
}

var places = []struct {
	currency, zone string
	minor          int64
}{
	{"USD", "America/Los_Angeles", 100},
	{"EUR", "Europe/Berlin", 100},
	{"JPY", "Asia/Tokyo", 1},
	{"GBP", "Europe/London", 100},
	{"INR", "Asia/Kolkata", 100},
	{"TWD", "Asia/Taipei", 1},
	{"BRL", "America/Sao_Paulo", 100},
	{"AUD", "Australia/Sydney", 100},
	{"USD", "America/New_York", 100},
	{"BHD", "Asia/Bahrain", 100},
}

var (
	trades  = []string{"Bakery", "Outdoor", "Optics", "Müller & Söhne", "Travel", "Books", "Garden", "株式会社サンプル", "Fitness", "Coffee ☕"}
	seasons = []string{"Spring", "Summer", "Autumn", "Winter", "Brand", "Retargeting", "Launch", "Clearance", "Café", "Evergreen"}
	crowds  = []string{"Prospects", "Lookalikes", "Visitors", "Customers", "Broad", "Commuters", "Families", "Students"}
	formats = []string{"Video", "Carousel", "Photo", "Story", "Text", "Collection"}
)

// Account is account number n.
func (w *World) Account(n int) Account {
	p := (n - 1) % len(places)
	h := dice.Numbers(w.o.Seed, 1, n)
	return Account{
		Number: n, Name: fmt.Sprintf("%s %d", trades[h%uint64(len(trades))], n),
		Currency: places[p].currency, Minor: places[p].minor, ZoneName: places[p].zone, Zone: w.zones[p],
	}
}

// Moment is a point in time as an account's calendar has it.
type Moment struct {
	Today Day
	Hour  int
}

// Moment is when it is in an account's time zone.
func (w *World) Moment(account int, now time.Time) Moment {
	local := now.In(w.zones[(account-1)%len(places)])
	return Moment{Today: DayOf(local), Hour: local.Hour()}
}

// age is how many hours ago a day began.
func (m Moment) age(d Day) int { return int(m.Today-d)*24 + m.Hour }
