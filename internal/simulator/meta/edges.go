package meta

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// always are the parameters that every call takes.
var always = []string{"access_token", "appsecret_proof", "appsecret_time", "locale", "pretty", "format", "method"}

// only refuses parameters that the call does not take: one that is silently ignored is a mistake that nobody notices.
func (rq *request) only(names ...string) *graphError {
	for k, v := range rq.p {
		if !slices.Contains(names, k) && !slices.Contains(always, k) {
			return invalid("Unknown parameter %.60q", k)
		}
		if len(v) > 1 {
			return invalid("param %.60s is given %d times", k, len(v))
		}
	}
	return nil
}

func (rq *request) fields() ([]wanted, *graphError) {
	v := rq.p.Get("fields")
	if v == "" {
		return nil, nil
	}
	return parseFields(v)
}

// page is the part of a listing that is asked for.
type page struct {
	limit int
	from  int // position to begin at
}

const defaultLimit = 25

func (s *Server) page(c *stage.Call, rq *request, kind string) (page, *graphError) {
	limit, e := integer("limit", rq.p.Get("limit"), defaultLimit)
	if e != nil {
		return page{}, e
	}
	if limit == 0 {
		return page{}, invalid("param limit must be positive")
	}
	p := page{limit: limit}
	if after := rq.p.Get("after"); after != "" {
		vals, ok := stage.Open(s.cfg.Seed, kind, after, 2)
		if ok {
			c.Page = int(vals[1]) + 1
		}
		if !ok || vals[0] < 0 || c.Play("cursor-expired") != nil {
			return page{}, invalid("Invalid cursor: it was made for another request or has expired")
		}
		p.from = int(vals[0])
		if f := c.Play("duplicate"); f != nil {
			p.from = max(0, p.from-int(f.Num("rows")))
		}
	}
	return p, nil
}

// kindOf ties a cursor to the listing that it was made for.
func (rq *request) kindOf() string {
	var b strings.Builder
	b.WriteString(strings.Join(rq.segs, "/"))
	for _, k := range slices.Sorted(maps.Keys(rq.p)) {
		switch k {
		case "after", "limit", "fields", "access_token", "appsecret_proof", "appsecret_time", "pretty", "locale":
		default:
			b.WriteString("&" + k + "=" + rq.p.Get(k))
		}
	}
	return b.String()
}

// listing writes a page of anything that has positions.
type listing struct {
	s    *Server
	c    *stage.Call
	rq   *request
	kind string
	p    page
	buf  *[]byte
	b    []byte
	rows int
	last int // position after the last row
	more bool
}

func (s *Server) list(c *stage.Call, rq *request) (*listing, *graphError) {
	l := &listing{s: s, c: c, rq: rq, kind: rq.kindOf()}
	var e *graphError
	if l.p, e = s.page(c, rq, l.kind); e != nil {
		return nil, e
	}
	l.buf = stage.Buffer()
	l.b = append(*l.buf, `{"data":[`...)
	l.last = l.p.from
	return l, nil
}

// begin prepares for a row at a position; false when the page is full.
func (l *listing) begin(at int) bool {
	if l.rows >= l.p.limit {
		l.more = true
		return false
	}
	if l.rows > 0 {
		l.b = append(l.b, ',')
	}
	l.rows++
	l.last = at + 1
	return true
}

// end closes the page. A page that is too heavy is refused.
func (l *listing) end() (*stage.Reply, *graphError) {
	if l.rows > l.s.cfg.PageRows {
		stage.Release(l.buf, l.b)
		return nil, errReduce
	}
	if f := l.c.Play("empty-page"); f != nil && l.rows > 0 {
		l.b, l.rows, l.more, l.last = l.b[:len(`{"data":[`)], 0, true, l.p.from
	}
	l.b = append(l.b, ']')
	if l.rows > 0 || l.more {
		before := stage.Seal(l.s.cfg.Seed, l.kind+" before", int64(l.p.from), int64(l.c.Page))
		after := stage.Seal(l.s.cfg.Seed, l.kind, int64(l.last), int64(l.c.Page))
		l.b = append(l.b, `,"paging":{"cursors":{"before":"`+before+`","after":"`+after+`"}`...)
		if l.more {
			l.b = append(l.b, `,"next":`...)
			l.b = stage.Quote(l.b, l.next(after))
		}
		l.b = append(l.b, '}')
	}
	l.b = append(l.b, '}')
	rp := &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Rows: int64(l.rows)}
	return rp.Keep(l.buf, l.b), nil
}

// next is the whole address of the next page, with the token when it came as a parameter.
func (l *listing) next(after string) string {
	q := url.Values{}
	for k, v := range l.rq.p {
		q[k] = v
	}
	q.Set("after", after)
	q.Set("limit", strconv.Itoa(l.p.limit))
	if l.rq.tokenInURL != "" {
		q.Set("access_token", l.rq.tokenInURL)
	}
	scheme := "http"
	if l.c.R.TLS != nil {
		scheme = "https"
	}
	base := scheme + "://" + l.c.R.Host
	if l.c.Play("foreign-next") != nil {
		base = l.c.Host.Elsewhere()
	}
	return base + "/" + l.rq.version + "/" + strings.Join(l.rq.segs, "/") + "?" + q.Encode()
}

// serveEdge lists what hangs on an object.
func (s *Server) serveEdge(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	switch c.Endpoint {
	case "adaccounts":
		return s.serveAccounts(c, rq)
	case "businesses":
		return s.serveBusinesses(c, rq)
	}
	return s.serveThings(c, rq)
}

func (s *Server) serveAccounts(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	if e := rq.only("fields", "limit", "after"); e != nil {
		return nil, e
	}
	cols, e := s.accountColumns(rq)
	if e != nil {
		return nil, e
	}
	l, e := s.list(c, rq)
	if e != nil {
		return nil, e
	}
	v := view{s: s}
	for n := l.p.from + 1; n <= s.cfg.Accounts; n++ {
		if !rq.token.sees(n) {
			continue
		}
		if rq.obj.kind == aBusiness && (s.businessOf(n) != rq.obj.serial || client(n) != (rq.edge == "client_ad_accounts")) {
			continue
		}
		if !l.begin(n - 1) {
			break
		}
		v.account = s.w.Account(n)
		l.b = v.write(l.b, cols)
	}
	return l.end()
}

func (s *Server) serveBusinesses(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	if e := rq.only("fields", "limit", "after"); e != nil {
		return nil, e
	}
	fields, e := rq.plain("Business")
	if e != nil {
		return nil, e
	}
	l, e := s.list(c, rq)
	if e != nil {
		return nil, e
	}
	for n := l.p.from + 1; n <= s.cfg.Businesses && l.begin(n-1); n++ {
		l.b = plain(l.b, fields, businessID(n), businessName(n))
	}
	return l.end()
}

// sift is which things of a listing are wanted.
type sift struct {
	status  []string // nil: all but archived and deleted ones
	since   int64
	filters []condition
}

func (s *Server) sift(rq *request, level world.Level) (sift, *graphError) {
	out := sift{}
	var e *graphError
	if v := rq.p.Get("effective_status"); v != "" {
		if out.status, e = texts("effective_status", v); e != nil {
			return out, e
		}
		if e := oneOf("effective_status", out.status, effectiveValues[level]); e != nil {
			return out, e
		}
	}
	if v := rq.p.Get("updated_since"); v != "" {
		n, e := integer("updated_since", v, 0)
		if e != nil {
			return out, e
		}
		out.since = int64(n)
	}
	if out.filters, e = parseFiltering(rq.p.Get("filtering")); e != nil {
		return out, e
	}
	prefix := levelNames[level] + "."
	for i := range out.filters {
		x := &out.filters[i]
		name, ok := strings.CutPrefix(x.field, prefix)
		if !ok && strings.Contains(x.field, ".") {
			return out, invalid("filtering[%d][field] must be one of %sid, %[2]sname, %[2]seffective_status, %[2]supdated_time", i, prefix)
		}
		x.field = name
		switch name {
		case "effective_status":
			if e := oneOf("filtering["+strconv.Itoa(i)+"][value]", x.values, effectiveValues[level]); e != nil {
				return out, e
			}
			if e := x.check(i, false); e != nil {
				return out, e
			}
			out.status = effectiveValues[level]
		case "id", "name":
			if e := x.check(i, false); e != nil {
				return out, e
			}
		case "updated_time", "created_time":
			if e := x.check(i, true); e != nil {
				return out, e
			}
		default:
			return out, invalid("filtering[%d][field] must be one of %sid, %[2]sname, %[2]seffective_status, %[2]supdated_time", i, prefix)
		}
	}
	return out, nil
}

func (f *sift) keeps(v *view) bool {
	if f.status == nil && hidden(v.status) || f.status != nil && !contains(f.status, v.status) {
		return false
	}
	if v.s.cfg.HideDeleted && v.status == "DELETED" {
		return false
	}
	t := v.thing()
	if f.since > 0 && t.Updated.Unix() < f.since {
		return false
	}
	for i := range f.filters {
		x := &f.filters[i]
		var ok bool
		switch x.field {
		case "effective_status":
			ok = x.holds(v.status)
		case "name":
			ok = x.holds(t.Name)
		case "id":
			ok = x.holds(string(appendThingID(nil, int(v.level), t.Account, t.Serial(v.s.w))))
		case "updated_time":
			ok = x.holdsNumber(float64(t.Updated.Unix()))
		case "created_time":
			ok = x.holdsNumber(float64(t.Created.Unix()))
		}
		if !ok {
			return false
		}
	}
	return true
}

var edgeLevels = map[string]world.Level{"campaigns": world.OfCampaign, "adsets": world.OfGroup, "ads": world.OfAd}

// within is the range of serial numbers that things of a level have below an object.
func (s *Server) within(o object, level world.Level) (from, to int) {
	if o.kind == anAccount {
		return 0, s.w.Count(o.account, level)
	}
	from, to = o.serial, o.serial+1
	for l := o.level; l < level; l++ {
		n := s.cfg.AdSets
		if l == world.OfGroup {
			n = s.cfg.Ads
		}
		from, to = from*n, to*n
	}
	return from, to
}

func (s *Server) serveThings(c *stage.Call, rq *request) (*stage.Reply, *graphError) {
	level := edgeLevels[c.Endpoint]
	takes := []string{"fields", "limit", "after", "effective_status", "filtering"}
	if level > world.OfCampaign {
		takes = append(takes, "updated_since")
	}
	if e := rq.only(takes...); e != nil {
		return nil, e
	}
	if rq.obj.kind == aThing {
		if _, ok := s.w.At(rq.obj.account, rq.obj.level, rq.obj.serial); !ok {
			return nil, notThere(c.R.Method, rq.segs[0])
		}
	}
	fields, e := rq.fields()
	if e != nil {
		return nil, e
	}
	cols, e := columns(fields, thingFields[level], nodeType(object{kind: aThing, level: level}))
	if e != nil {
		return nil, e
	}
	f, e := s.sift(rq, level)
	if e != nil {
		return nil, e
	}
	l, e := s.list(c, rq)
	if e != nil {
		return nil, e
	}
	v := view{s: s, account: s.w.Account(rq.obj.account), level: level}
	first, to := s.within(rq.obj, level)
	for at := max(first, l.p.from); at < to && v.goTo(at); at++ {
		if !f.keeps(&v) {
			continue
		}
		if !l.begin(at) {
			break
		}
		l.b = v.write(l.b, cols)
		if l.rows > s.cfg.PageRows {
			break
		}
	}
	return l.end()
}
