package world

import "adsync/internal/simulator/internal/dice"

// Figures are what something did in a time. All of them add up over levels and days.
type Figures struct {
	Impressions int64
	Clicks      int64
	LinkClicks  int64
	Spend       int64 // minor units
	Conversions int64 // hundredths
	Value       int64 // of the conversions, minor units
	Views       int64 // conversions after a mere view, whole
	Video       int64 // views of a video
}

// Zero says whether nothing happened at all.
func (f *Figures) Zero() bool { return *f == Figures{} }

// Add adds the other's figures.
func (f *Figures) Add(o *Figures) {
	f.Impressions += o.Impressions
	f.Clicks += o.Clicks
	f.LinkClicks += o.LinkClicks
	f.Spend += o.Spend
	f.Conversions += o.Conversions
	f.Value += o.Value
	f.Views += o.Views
	f.Video += o.Video
}

// Scale makes so many thousandths of them.
func (f *Figures) Scale(perMille int64) {
	for _, v := range []*int64{&f.Impressions, &f.Clicks, &f.LinkClicks, &f.Spend, &f.Value, &f.Views, &f.Video} {
		*v = *v * perMille / 1000
	}
	f.Conversions = f.Conversions / 100 * perMille / 1000 * 100
}

// Part is the share of [from, to) in a whole, so that parts side by side add up to it exactly.
func (f *Figures) Part(from, to, whole int64) Figures {
	p := func(x int64) int64 { return x*to/whole - x*from/whole }
	g := Figures{Impressions: p(f.Impressions)}
	// What follows is shared out by what comes before it, so that nobody has clicks without impressions or sales without clicks.
	at := f.Impressions * from / whole
	next := at + g.Impressions
	q := func(x, base, a, b int64) int64 {
		if base == 0 {
			return 0
		}
		return x*b/base - x*a/base
	}
	g.Clicks = q(f.Clicks, f.Impressions, at, next)
	g.LinkClicks = q(f.LinkClicks, f.Impressions, at, next)
	g.Spend = q(f.Spend, f.Impressions, at, next)
	g.Views = q(f.Views, f.Impressions, at, next)
	g.Video = q(f.Video, f.Impressions, at, next)
	unit := int64(1)
	if f.Conversions%100 == 0 {
		unit = 100
	}
	g.Conversions = q(f.Conversions/unit, f.Impressions, at, next) * unit
	if f.Conversions > 0 {
		a := f.Conversions / unit * at / max(f.Impressions, 1) * unit
		g.Value = q(f.Value, f.Conversions, a, a+g.Conversions)
	}
	return g
}

// weekdays is how a week runs, in thousandths, for those who sell to people and those who sell to offices.
var weekdays = [2][7]int64{{920, 900, 930, 980, 1080, 1150, 1040}, {1150, 1180, 1160, 1140, 1020, 640, 610}}

// traffic is how much of a day's impressions and spend is in by so many hours after it began, in millionths.
func (w *World) traffic(hours int) int64 {
	return settled(hours, w.o.SettleTraffic, 970_000)
}

// conversions is the same of conversions, most of which come late.
func (w *World) conversions(hours int) int64 {
	if w.o.SettleConversions == 0 {
		return settled(hours, 0, 970_000)
	}
	return settled(hours, w.o.SettleConversions, 450_000)
}

func settled(hours, days int, first int64) int64 {
	switch {
	case hours <= 0:
		return 0
	case hours < 24:
		return first * int64(hours) / 24
	case days == 0:
		return 1_000_000
	}
	all := int64(days) * 24
	left := all - min(int64(hours-24), all)
	return 1_000_000 - (1_000_000-first)*left/all*left/all
}

// campaignDay is what a campaign did on a day, as far as it is known by now.
func (w *World) campaignDay(t *Thing, d Day, m Moment, restated int64) (f Figures) {
	hours := m.age(d)
	if hours <= 0 || !t.alive(d) {
		return f
	}
	h := dice.Mix(t.Hash ^ uint64(d)*0x9e3779b97f4a7c15)
	if h%20 == 0 {
		return f // a day without delivery
	}
	base := int64(240) << (t.Hash >> 12 % 8) * int64(3+t.Hash>>48%3) / 4
	n := base * weekdays[t.Hash>>52&1][d.Weekday()] / 1000 * int64(700+h>>8%600) / 1000
	n = n * restated / 1000
	seen := w.traffic(hours)
	f.Impressions = n * seen / 1_000_000
	if f.Impressions == 0 {
		return Figures{}
	}
	clicks := n * int64(5+t.Hash>>56%35) / 1000
	f.Clicks = clicks * seen / 1_000_000
	f.LinkClicks = f.Clicks * 72 / 100
	f.Spend = f.Clicks*int64(20+t.Hash>>36%230) + f.Impressions*int64(t.Hash>>30%20)/100
	// Sales hang on all clicks that there will be, so that they only ever grow.
	sales := clicks * int64(10+t.Hash>>44%70) * 100 / 1000
	f.Conversions = sales * w.conversions(hours) / 1_000_000
	if w.o.Whole {
		f.Conversions -= f.Conversions % 100
	}
	f.Value = f.Conversions * int64(2000+t.Hash>>40%13000) / 100
	f.Views = f.Conversions / 500
	if t.Hash>>60%3 == 0 {
		f.Video = f.Impressions * 31 / 100
	}
	return f
}

// share is the weight that a thing has among its siblings on a day; the first has some on every day of its life.
func (t *Thing) share(d Day, first bool) int64 {
	if !t.alive(d) {
		return 0
	}
	h := dice.Mix(t.Hash + uint64(d))
	if !first && h%10 == 0 {
		return 0
	}
	return 20 + int64(t.Hash>>16%80) + int64(h>>8%20)
}

// Walker adds up the figures of one campaign after the other. It is not safe for concurrent use.
type Walker struct {
	w       *World
	e       *edits
	account int
	m       Moment
	groups  []Thing
	ads     []Thing
	loaded  Level
	c       Thing
	have    bool
}

// Walk makes a walker through an account's figures as they stand at a moment.
func (w *World) Walk(account int, m Moment) *Walker {
	return &Walker{w: w, e: w.edits.Load(), account: account, m: m}
}

// Campaign is the campaign that the walker stands at; its groups and ads are there after a Fill of their level.
func (k *Walker) Campaign() *Thing { return &k.c }

// Groups are the campaign's groups, after a Fill of their level or below.
func (k *Walker) Groups() []Thing { return k.groups }

// Ads are the campaign's ads, those of its first group first, after a Fill of their level.
func (k *Walker) Ads() []Thing { return k.ads }

// Load goes to a campaign and makes its things down to a level.
func (k *Walker) Load(campaign int, l Level) {
	if !k.have || k.c.Campaign != campaign {
		k.c, k.have, k.loaded = k.w.Campaign(k.account, campaign), true, OfCampaign
		k.groups, k.ads = k.groups[:0], k.ads[:0]
	}
	if l >= OfGroup && k.loaded < OfGroup {
		for i := range k.w.o.Groups {
			k.groups = append(k.groups, k.w.Group(&k.c, i))
		}
		k.loaded = OfGroup
	}
	if l == OfAd && k.loaded < OfAd {
		for g := range k.groups {
			for i := range k.w.o.Ads {
				k.ads = append(k.ads, k.w.Ad(&k.groups[g], i))
			}
		}
		k.loaded = OfAd
	}
}

// Size is how many places Fill needs for a level.
func (k *Walker) Size(l Level) int {
	switch l {
	case OfGroup:
		return k.w.o.Groups
	case OfAd:
		return k.w.o.Groups * k.w.o.Ads
	}
	return 1
}

// Fill adds to acc what the things of a campaign did from one day to another, both included: one place for the campaign (or the account),
// or one for each of its groups, or of its ads.
func (k *Walker) Fill(campaign int, l Level, from, to Day, acc []Figures) {
	deep := l
	if l < OfAd && k.e.touched[[2]int{k.account, campaign}] {
		deep = OfAd // who no longer delivers is known only below
	}
	k.Load(campaign, deep)
	from, to = max(from, k.c.From), min(to, k.c.To, k.m.Today)
	for d := from; d <= to; d++ {
		f := k.w.campaignDay(&k.c, d, k.m, k.e.perMille(k.account, d))
		if f.Impressions == 0 {
			continue
		}
		if deep <= OfCampaign {
			acc[0].Add(&f)
			continue
		}
		k.split(&f, d, l, deep, acc)
	}
}

func (k *Walker) split(f *Figures, d Day, l, deep Level, acc []Figures) {
	var whole int64
	perGroup := k.w.o.Ads
	var weights [64]int64
	ws := weights[:0]
	for g := range k.groups {
		s := k.groups[g].share(d, g == 0)
		if s > 0 && deep == OfAd && l != OfAd && k.weight(g, d) == 0 {
			s = 0
		}
		if s > 0 && l == OfAd && k.weight(g, d) == 0 {
			s = 0
		}
		ws = append(ws, s)
		whole += s
	}
	if whole == 0 {
		return
	}
	var at int64
	for g := range k.groups {
		if ws[g] == 0 {
			continue
		}
		part := f.Part(at, at+ws[g], whole)
		at += ws[g]
		switch l {
		case OfAccount, OfCampaign:
			acc[0].Add(&part)
		case OfGroup:
			acc[g].Add(&part)
		case OfAd:
			all := k.weight(g, d)
			var a int64
			for i := range perGroup {
				s := k.ads[g*perGroup+i].share(d, i == 0)
				if s == 0 {
					continue
				}
				one := part.Part(a, a+s, all)
				a += s
				acc[g*perGroup+i].Add(&one)
			}
		}
	}
}

// weight is what the ads of a group weigh together on a day.
func (k *Walker) weight(g int, d Day) (all int64) {
	n := k.w.o.Ads
	for i := range n {
		all += k.ads[g*n+i].share(d, i == 0)
	}
	return all
}

// Totals are what the whole account did in each of some periods, first and last day included.
func (k *Walker) Totals(periods [][2]Day) []Figures {
	out := make([]Figures, len(periods))
	for campaign := range k.w.Campaigns(k.account) {
		for i, p := range periods {
			k.Fill(campaign, OfAccount, p[0], p[1], out[i:i+1])
		}
	}
	return out
}
