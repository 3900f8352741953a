package simulator

import (
	"net/http"
	"strconv"
)

const (
	defaultLimit = 10
	maxPage      = 1_000_000_000
)

// readPaging reads page and limit; a reply says what is wrong with them.
func (c *call) readPaging() *reply {
	q := c.r.URL.Query()
	read := func(name string, otherwise int) (int, bool) {
		v := q.Get(name)
		if v == "" {
			return otherwise, true
		}
		n, err := strconv.Atoi(v)
		return n, err == nil && n >= 1 && n <= maxPage
	}
	var ok bool
	if c.page, ok = read("page", 1); !ok {
		return failure(http.StatusBadRequest, "Invalid parameter", "page must be a whole number from 1")
	}
	if c.limit, ok = read("limit", defaultLimit); !ok {
		return failure(http.StatusBadRequest, "Invalid parameter", "limit must be a whole number from 1")
	}
	return nil
}

// listing is one page being made.
type listing struct {
	page, limit, total int // as the pagination block will say
	hasMore            bool
	first, count       int // the positions that the page shows, from 0
	beyond             bool

	rows       []*record
	pagination []field // empty: no pagination block
	data       string  // when set: sent as data
	more       []field // members beside data and pagination
	whole      string  // when set: the whole body
}

func (l *listing) setPagination(key, raw string) {
	r := record{fields: l.pagination}
	r.set(key, raw)
	l.pagination = r.fields
}

func (l *listing) dropPagination(key string) {
	r := record{fields: l.pagination}
	r.drop(key)
	l.pagination = r.fields
}

func (s *Server) pageSize(limit int) int {
	size := min(limit, maxPageSize)
	if s.cfg.MaxPageSize > 0 {
		size = min(size, s.cfg.MaxPageSize)
	}
	return size
}

func (c *call) serveList() *reply {
	s, cl := c.s, c.cl
	cl.mu.Lock()
	nth := cl.nth("list")
	cl.mu.Unlock()
	chance := share(hashText(s.cfg.Seed+uint64(nth), "list", cl.id))
	switch {
	case chance < s.cfg.ListFailRate503:
		return failure(http.StatusServiceUnavailable, "Service temporarily unavailable", "Please try again")
	case chance < s.cfg.ListFailRate503+s.cfg.ListSilenceRate:
		return c.silence()
	}
	if !c.wait(s.cfg.ListLatency) {
		return gone
	}
	var shaped bool
	for _, f := range c.faults {
		shaped = shaped || f.def.plan != nil || f.def.page != nil || f.def.row != nil
	}
	cl.mu.Lock()
	cl.tick++
	tick := s.tickOf(cl)
	l := &listing{page: c.page, limit: s.pageSize(c.limit), total: cl.set.total()}
	l.first = (l.page - 1) * l.limit
	l.count = min(l.limit, max(0, l.total-l.first))
	l.hasMore = l.first+l.count < l.total
	if !shaped && cl.set.order == nil && cl.set.over == nil {
		cl.mu.Unlock()
		return c.fastPage(l, tick)
	}
	defer cl.mu.Unlock()
	return c.shapedPage(l, tick)
}

// fastPage writes the rows straight into the answer, outside any lock.
func (c *call) fastPage(l *listing, tick int64) *reply {
	buf := buffers.Get().(*[]byte)
	b := append((*buf)[:0], `{"data":[`...)
	for i := range l.count {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendGenerated(b, c.cl.base, l.first+i+1, c.cl.nameTail, tick)
	}
	b = append(b, `],"pagination":{"page":`...)
	b = strconv.AppendInt(b, int64(l.page), 10)
	b = append(b, `,"limit":`...)
	b = strconv.AppendInt(b, int64(l.limit), 10)
	b = append(b, `,"total":`...)
	b = strconv.AppendInt(b, int64(l.total), 10)
	b = append(b, `,"has_more":`...)
	b = strconv.AppendBool(b, l.hasMore)
	b = append(b, `}}`...)
	return &reply{status: http.StatusOK, ctype: jsonType, body: b, buffer: buf}
}

// shapedPage makes the page record by record, so that faults can change all of it. The caller holds the client's lock.
func (c *call) shapedPage(l *listing, tick int64) *reply {
	cl := c.cl
	for _, f := range c.faults {
		if f.def.plan != nil && f.hit(c) {
			f.def.plan(c, f, l)
		}
	}
	l.count = min(l.count, maxPageSize)
	for i := range l.count {
		pos := l.first + i
		var n int
		switch {
		case pos >= 0 && pos < cl.set.total():
			n = cl.set.at(pos)
		case l.beyond:
			n = pos + 1
		default:
			continue
		}
		l.rows = append(l.rows, recordOf(n, cl.campaign(n, tick)))
	}
	for _, f := range rowFaults(c.faults) {
		for _, r := range l.rows {
			if f.hitsRow(c, r) {
				f.def.row(f, r)
				cl.learnAlias(r)
			}
		}
	}
	l.pagination = []field{
		{"page", strconv.Itoa(l.page)},
		{"limit", strconv.Itoa(l.limit)},
		{"total", strconv.Itoa(l.total)},
		{"has_more", strconv.FormatBool(l.hasMore)},
	}
	for _, f := range c.faults {
		if f.def.page != nil && f.hit(c) {
			f.def.page(c, f, l)
		}
	}
	return jsonReply(http.StatusOK, l.bytes())
}

func (l *listing) bytes() []byte {
	if l.whole != "" {
		return []byte(l.whole)
	}
	b := []byte(`{"data":`)
	if l.data != "" {
		b = append(b, l.data...)
	} else {
		b = append(b, '[')
		for i, r := range l.rows {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, r.bytes()...)
		}
		b = append(b, ']')
	}
	if len(l.pagination) > 0 {
		b = append(b, `,"pagination":`...)
		b = append(b, (&record{fields: l.pagination}).bytes()...)
	}
	for _, f := range l.more {
		b = append(b, ',')
		b = append(b, quote(f.key)...)
		b = append(b, ':')
		b = append(b, f.raw...)
	}
	return append(b, '}')
}
