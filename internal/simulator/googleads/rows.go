package googleads

import (
	"slices"
	"strconv"
	"strings"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// object is a part of a row: fields, and objects inside.
type object struct {
	key    string
	fields []*field
	inside []*object
}

func (o *object) at(path string) *object {
	for part := range strings.SplitSeq(path, ".") {
		i := slices.IndexFunc(o.inside, func(x *object) bool { return x.key == part })
		if i < 0 {
			o.inside = append(o.inside, &object{key: part})
			i = len(o.inside) - 1
		}
		o = o.inside[i]
	}
	return o
}

// plan lays out a row: the resource itself, then what else is shown, each with its name unless that is not wanted.
func plan(q *query) *object {
	root := &object{}
	name := func(resource string) {
		f := fields[resource+".resource_name"]
		if f == nil || q.omit && !slices.Contains(q.cols, f) {
			return
		}
		if o := root.at(f.path); !slices.Contains(o.fields, f) {
			o.fields = append(o.fields, f)
		}
	}
	name(q.from)
	for _, f := range q.cols {
		if !f.metric && !f.segment() {
			name(f.resource())
			if strings.HasPrefix(f.name, "ad_group_ad.ad.") {
				name("ad_group_ad.ad")
			}
		}
		if o := root.at(f.path); !slices.Contains(o.fields, f) {
			o.fields = append(o.fields, f)
		}
	}
	return root
}

func (o *object) write(b []byte, r *row) []byte {
	b = append(b, '{')
	comma := func() {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
	}
	for _, f := range o.fields {
		v := f.get(r)
		if !v.has || r.s.cfg.OmitZeros && (f.kind == anInt || f.kind == aBool) && v.n == 0 || r.s.cfg.OmitZeros && f.kind == aDouble && v.d == 0 {
			continue
		}
		comma()
		b = append(append(append(b, '"'), f.json...), `":`...)
		b = v.append(b, f.kind)
	}
	for _, x := range o.inside {
		at := len(b)
		comma()
		b = append(append(append(b, '"'), x.key...), `":`...)
		begin := len(b)
		if b = x.write(b, r); len(b) == begin+2 {
			b = b[:at] // nothing in it
		}
	}
	return append(b, '}')
}

func (v *value) append(b []byte, k kind) []byte {
	switch k {
	case anInt:
		return append(strconv.AppendInt(append(b, '"'), v.n, 10), '"')
	case aDouble:
		return strconv.AppendFloat(b, v.d, 'f', -1, 64)
	case aBool:
		return strconv.AppendBool(b, v.n == 1)
	case someTexts:
		b = append(b, '[')
		for i, s := range v.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = stage.Quote(b, s)
		}
		return append(b, ']')
	case aText, anEnum, aDate:
	}
	return stage.Quote(b, v.s)
}

// client is a customer in the tree below another.
type client struct {
	node
	level int
}

// walk goes through a query's rows, each with a position that grows, from one position on, until take says false.
type walk struct {
	s    *Server
	q    *query
	c    *stage.Call
	m    world.Moment
	row  row
	take func(pos int, r *row) bool
	from int
}

func (s *Server) walk(c *stage.Call, q *query, customer node, m world.Moment, from int, take func(pos int, r *row) bool) {
	w := &walk{s: s, q: q, c: c, m: m, take: take, from: from, row: row{s: s, customer: customer, account: s.accountOf(customer)}}
	switch {
	case q.from == "customer_client":
		w.clients()
	case q.level == world.OfAccount:
		w.customer()
	case customer.account > 0:
		w.things()
	}
}

// put hands on a row that meets the conditions.
func (w *walk) put(pos int) bool {
	for i := range w.q.conds {
		if !w.q.conds[i].holds(&w.row) {
			return true
		}
	}
	return w.take(pos, &w.row)
}

func (w *walk) clients() {
	top := w.row.customer
	show := func(pos int, n node, level int) bool {
		if pos < w.from {
			return true
		}
		w.row.client = &client{n, level}
		return w.put(pos)
	}
	if !show(0, top, 0) || top.account > 0 {
		return
	}
	below := 1
	if !top.branch {
		if !show(1, node{manager: top.manager, branch: true}, 1) {
			return
		}
	}
	for a := max(1, w.from-1); a <= w.s.cfg.Accounts; a++ {
		n := node{account: a, manager: w.s.rootOf(a)}
		level := below
		if !top.branch && branched(a) {
			level++
		}
		if under(n, top) && !show(1+a, n, level) {
			return
		}
	}
}

// periods are the days of each row of a thing.
func (q *query) periods() []period {
	if q.unit == "" {
		return []period{q.span}
	}
	var out []period
	for d := q.span.from; d <= q.span.to; {
		last := d
		switch q.unit {
		case "segments.week":
			last = d.Monday() + 6
		case "segments.month":
			for (last + 1).Month() == d.Month() {
				last++
			}
		}
		out = append(out, period{d, min(last, q.span.to)})
		d = last + 1
	}
	return out
}

// shares hands on the rows that a thing has for one period: one, or one for each combination of its segments.
func (w *walk) shares(base int, f *world.Figures) bool {
	for combo := range w.q.combos {
		if base+combo < w.from {
			continue
		}
		w.row.f = *f
		i := combo
		for _, k := range w.q.splits {
			sp := &splits[k]
			n := i % len(sp.values)
			i /= len(sp.values)
			w.row.segment[k] = n
			var from, all int64
			for j, weight := range sp.weights {
				if j < n {
					from += weight
				}
				all += weight
			}
			w.row.f = w.row.f.Part(from, from+sp.weights[n], all)
		}
		if w.q.segments && w.nothing() {
			continue
		}
		if !w.put(base + combo) {
			return false
		}
	}
	return true
}

// nothing says whether all metrics that are selected are zero: with segments such rows do not exist.
func (w *walk) nothing() bool {
	if w.row.f.Zero() {
		return true
	}
	for _, m := range w.q.metrics {
		if v := m.get(&w.row); v.n != 0 || v.d != 0 {
			return false
		}
	}
	return len(w.q.metrics) > 0
}

// atOnce is how many periods a customer's totals are made of in one walk through its campaigns.
const atOnce = 64

func (w *walk) customer() {
	if !w.q.figures {
		if w.from == 0 {
			w.put(0)
		}
		return
	}
	k := w.s.w.Walk(w.row.account.Number, w.m)
	all := w.q.periods()
	for at := w.from / w.q.combos; at < len(all); at += atOnce {
		var some [][2]world.Day
		for _, p := range all[at:min(len(all), at+atOnce)] {
			some = append(some, [2]world.Day{p.from, p.to})
		}
		for i, f := range k.Totals(some) {
			w.row.p = all[at+i]
			w.disagree(&f)
			if !w.shares((at+i)*w.q.combos, &f) {
				return
			}
		}
		if w.c.R.Context().Err() != nil {
			return
		}
	}
}

// disagree lets a customer's totals differ from the sum of its parts, where a fault asks for it.
func (w *walk) disagree(f *world.Figures) {
	x := w.c.On("totals-disagree")
	if x == nil {
		return
	}
	if day := x.Str("day"); day == "" || day == w.row.p.from.String() {
		f.Scale(x.Num("per-mille"))
	}
}

func (s *Server) size(l world.Level) int {
	switch l {
	case world.OfGroup:
		return s.cfg.AdGroups
	case world.OfAd:
		return s.cfg.AdGroups * s.cfg.Ads
	}
	return 1
}

func (w *walk) things() {
	k := w.s.w.Walk(w.row.account.Number, w.m)
	size := w.s.size(w.q.level)
	periods := []period{{}}
	if w.q.figures {
		periods = w.q.periods()
	}
	per := len(periods) * size * w.q.combos
	if per == 0 {
		return
	}
	acc := make([]world.Figures, size)
	for campaign := w.from / per; campaign < w.s.w.Campaigns(w.row.account.Number); campaign++ {
		k.Load(campaign, w.q.level)
		w.row.c = k.Campaign()
		if w.q.level > world.OfCampaign && w.s.adless(w.row.c) || w.q.from == "campaign_budget" && campaign%7 == 6 {
			continue
		}
		for n, p := range periods {
			base := campaign*per + n*size*w.q.combos
			if base+size*w.q.combos <= w.from {
				continue
			}
			w.row.p = p
			if w.q.figures {
				clear(acc)
				k.Fill(campaign, w.q.level, p.from, p.to, acc)
			}
			for i := range acc {
				switch w.q.level {
				case world.OfGroup:
					w.row.g = &k.Groups()[i]
				case world.OfAd:
					w.row.g, w.row.a = &k.Groups()[i/w.s.cfg.Ads], &k.Ads()[i]
				case world.OfAccount, world.OfCampaign:
				}
				if !w.shares(base+i*w.q.combos, &acc[i]) {
					return
				}
			}
		}
		if w.c.R.Context().Err() != nil {
			return
		}
	}
}
