package meta

import (
	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// campaigns is the range of campaigns that a query goes through.
func (s *Server) campaigns(q *query) (from, to int) {
	switch q.obj.level {
	case world.OfAccount:
		return 0, s.w.Campaigns(q.account)
	case world.OfGroup:
		from = q.obj.serial / s.cfg.AdSets
	case world.OfAd:
		from = q.obj.serial / s.cfg.Ads / s.cfg.AdSets
	case world.OfCampaign:
		from = q.obj.serial
	}
	return from, from + 1
}

// size is how many things of a level a campaign has.
func (s *Server) size(l world.Level) int {
	switch l {
	case world.OfGroup:
		return s.cfg.AdSets
	case world.OfAd:
		return s.cfg.AdSets * s.cfg.Ads
	}
	return 1
}

// estimate is how many rows a query may have at most.
func (s *Server) estimate(q *query) int {
	from, to := s.campaigns(q)
	n := len(q.periods) * q.combos
	if q.level > world.OfAccount {
		n *= (to - from) * s.size(q.level)
	}
	return n
}

// mask says which of a campaign's things, at the query's deepest level, count.
func (s *Server) mask(q *query, k *world.Walker, campaign int, keep []bool) {
	k.Load(campaign, q.deep)
	c := k.Campaign()
	for i := range keep {
		g, a := s.children(k, q.deep, i)
		keep[i] = s.wanted(q, c, g, a)
	}
}

// children are the parts of place i at a level.
func (s *Server) children(k *world.Walker, l world.Level, i int) (g, a *world.Thing) {
	switch l {
	case world.OfGroup:
		return &k.Groups()[i], nil
	case world.OfAd:
		return &k.Groups()[i/s.cfg.Ads], &k.Ads()[i]
	}
	return nil, nil
}

func (s *Server) wanted(q *query, c, g, a *world.Thing) bool {
	chain := [...]*world.Thing{nil, c, g, a}
	if q.obj.level > world.OfCampaign {
		t := chain[q.obj.level]
		if t == nil || t.Serial(s.w) != q.obj.serial {
			return false
		}
	}
	if s.cfg.OmitDeletedRows && !q.statused && q.level > world.OfAccount && hidden(effective(c, g, a, q.level)) {
		return false
	}
	for i := range q.filters {
		x, l := &q.filters[i], q.on[i]
		var ok bool
		switch x.field {
		case "id":
			ok = x.holds(string(appendThingID(nil, int(l), c.Account, chain[l].Serial(s.w))))
		case "name":
			ok = x.holds(chain[l].Name)
		case "effective_status":
			ok = x.holds(effective(c, g, a, l))
		default:
			continue // of figures, which are looked at row by row
		}
		if !ok {
			return false
		}
	}
	return true
}

func (q *query) keepsFigures(f *world.Figures, minor int64) bool {
	for i := range q.filters {
		x := &q.filters[i]
		var v float64
		switch x.field {
		case "impressions":
			v = float64(f.Impressions)
		case "clicks":
			v = float64(f.Clicks)
		case "spend":
			v = float64(f.Spend) / float64(minor)
		default:
			continue
		}
		if !x.holdsNumber(v) {
			return false
		}
	}
	return true
}

// report goes through a query's rows from a position on, until take has had enough.
type report struct {
	s    *Server
	q    *query
	m    world.Moment
	c    *stage.Call
	row  row
	acc  []world.Figures // at the deepest level
	out  []world.Figures // at the query's level
	keep []bool
}

func (s *Server) report(c *stage.Call, q *query, m world.Moment) *report {
	deep := s.size(q.deep)
	return &report{
		s: s, q: q, m: m, c: c, acc: make([]world.Figures, deep), out: make([]world.Figures, s.size(q.level)), keep: make([]bool, deep),
		row: row{q: q, s: s, account: s.w.Account(q.account), at: make([]int, len(q.split))},
	}
}

// fill adds to out with a campaign's figures of a period.
func (r *report) fill(k *world.Walker, campaign int, p period) {
	clear(r.acc)
	k.Fill(campaign, r.q.deep, p.from, p.to, r.acc)
	per := len(r.acc) / len(r.out)
	for i := range r.acc {
		if r.keep[i] {
			r.out[i/per].Add(&r.acc[i])
		}
	}
}

// each calls take for every row from a position on, until it says false. It stops, too, when the client has left.
func (r *report) each(from int, take func(at int, row *row) bool) {
	if r.q.closed {
		return
	}
	k := r.s.w.Walk(r.q.account, r.m)
	first, last := r.s.campaigns(r.q)
	periods := len(r.q.periods)
	if r.q.level == world.OfAccount {
		r.totals(k, from, take)
		return
	}
	perCampaign := periods * len(r.out) * r.q.combos
	for campaign := first + from/perCampaign; campaign < last; campaign++ {
		r.s.mask(r.q, k, campaign, r.keep)
		base := (campaign - first) * periods
		for p := max(0, from/(len(r.out)*r.q.combos)-base); p < periods; p++ {
			clear(r.out)
			r.fill(k, campaign, r.q.periods[p])
			if !r.rows(k, base+p, from, take) {
				return
			}
		}
		if r.c.R.Context().Err() != nil {
			return
		}
	}
}

// atOnce is how many periods an account's totals are made of in one walk through its campaigns.
const atOnce = 64

// totals goes through the rows of the whole account.
func (r *report) totals(k *world.Walker, from int, take func(at int, row *row) bool) {
	first, last := r.s.campaigns(r.q)
	sums := make([]world.Figures, min(atOnce, len(r.q.periods)))
	for at := from / r.q.combos; at < len(r.q.periods); at += len(sums) {
		n := min(len(sums), len(r.q.periods)-at)
		clear(sums)
		for campaign := first; campaign < last; campaign++ {
			r.s.mask(r.q, k, campaign, r.keep)
			for i, p := range r.q.periods[at : at+n] {
				r.out[0] = world.Figures{}
				r.fill(k, campaign, p)
				sums[i].Add(&r.out[0])
			}
		}
		if r.c.R.Context().Err() != nil {
			return
		}
		for i := range n {
			r.out[0] = sums[i]
			if !r.rows(k, at+i, from, take) {
				return
			}
		}
	}
}

// rows hands on what one period of a campaign, or of the account, gives.
func (r *report) rows(k *world.Walker, at, from int, take func(at int, row *row) bool) bool {
	w := &r.row
	w.p = r.q.periods[at%len(r.q.periods)]
	w.old = len(r.q.split) > 0 && w.p.from < r.m.Today.Back(13)
	for i := range r.out {
		if r.out[i].Zero() {
			continue
		}
		if r.q.level > world.OfAccount {
			w.c = k.Campaign()
			w.g, w.a = r.s.children(k, r.q.level, i)
		}
		for combo := range r.q.combos {
			pos := (at*len(r.out)+i)*r.q.combos + combo
			if pos < from {
				continue
			}
			w.f = r.q.part(&r.out[i], combo, w.at)
			if r.q.level == world.OfAccount {
				r.s.disagree(r.c, w)
			}
			if w.f.Zero() || !r.q.keepsFigures(&w.f, w.account.Minor) {
				continue
			}
			if !take(pos, w) {
				return false
			}
		}
	}
	return true
}

// disagree lets an account's totals differ from the sum of its parts, where a fault asks for it.
func (s *Server) disagree(c *stage.Call, w *row) {
	f := c.On("totals-disagree")
	if f == nil {
		return
	}
	if day := f.Str("day"); day != "" && day != w.p.from.String() {
		return
	}
	w.f.Scale(f.Num("per-mille"))
}

// serveInsights answers at once.
func (s *Server) serveInsights(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	m := s.w.Moment(rq.obj.account, s.host.Now())
	q, e := s.query(rq, m.Today)
	if e != nil {
		return nil, e
	}
	s.restate(c, m.Today)
	if s.estimate(q) > s.cfg.SyncRows || c.Play("too-much") != nil {
		return nil, errTooMuch
	}
	if c.Play("sync-timeout") != nil {
		return nil, errSyncTimeout
	}
	return s.writeReport(c, rq, q, m)
}

func (s *Server) writeReport(c *stage.Call, rq *request, q *query, m world.Moment) (*stage.Reply, *graphError) {
	l, e := s.list(c, rq)
	if e != nil {
		return nil, e
	}
	s.report(c, q, m).each(l.p.from, func(at int, w *row) bool {
		if !l.begin(at) {
			return false
		}
		l.b = w.write(l.b)
		return l.rows <= s.cfg.PageRows
	})
	return l.end()
}
