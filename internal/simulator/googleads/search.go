package googleads

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"adsync/internal/simulator/internal/dice"
	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// tokenLife is how long a page token is good for.
const tokenLife = 2 * time.Hour

// each goes through a query's rows in the order that it asks for.
func (s *Server) each(c *stage.Call, rq *request, q *query, m world.Moment, from int, take func(pos int, b []byte) bool) *apiError {
	if len(q.order) > 0 {
		return s.sorted(c, rq, q, m, from, take)
	}
	buf := stage.Buffer()
	b := *buf
	s.walk(c, q, rq.customer, m, from, func(pos int, r *row) bool {
		b = q.tree.write(b[:0], r)
		return take(pos, b)
	})
	stage.Release(buf, b)
	return nil
}

// maxSorted bounds the rows that ORDER BY is done for.
const maxSorted = 200_000

func (s *Server) sorted(c *stage.Call, rq *request, q *query, m world.Moment, from int, take func(pos int, b []byte) bool) *apiError {
	type line struct {
		keys []value
		b    []byte
	}
	var lines []line
	s.walk(c, q, rq.customer, m, 0, func(_ int, r *row) bool {
		l := line{b: q.tree.write(nil, r)}
		for _, o := range q.order {
			l.keys = append(l.keys, fields[o.field].get(r))
		}
		lines = append(lines, l)
		return len(lines) <= maxSorted
	})
	if len(lines) > maxSorted {
		return refusal(http.StatusBadRequest, "sizeLimitError", "RESPONSE_SIZE_LIMIT_EXCEEDED", "More than %d rows cannot be put in order here: ask for fewer.", maxSorted)
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		for i, o := range q.order {
			x, y := a.keys[i], b.keys[i]
			n := cmp.Or(strings.Compare(x.s, y.s), cmp.Compare(x.n, y.n), cmp.Compare(x.d, y.d))
			if o.desc {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
	for i := from; i < len(lines); i++ {
		if !take(i, lines[i].b) {
			break
		}
	}
	return nil
}

// page is where an answer begins.
type page struct{ from, before int } // position, and rows that came before it

func (s *Server) pageKind(rq *request, q *query) string {
	return fmt.Sprintf("page %s %x", rq.name, dice.Text(1, q.text))
}

func (s *Server) page(c *stage.Call, rq *request, q *query, token string) (page, *apiError) {
	if token == "" {
		return page{}, nil
	}
	vals, ok := stage.Open(s.cfg.Seed, s.pageKind(rq, q), token, 4)
	switch {
	case !ok:
		return page{}, refusal(http.StatusBadRequest, "requestError", "INVALID_PAGE_TOKEN", "Page token is invalid.")
	case c.Now-time.Duration(vals[2]) >= s.host.Scaled(tokenLife):
		return page{}, refusal(http.StatusBadRequest, "requestError", "EXPIRED_PAGE_TOKEN", "Page token has expired.")
	}
	c.Page = int(vals[3]) + 1
	if c.Play("token-expired-page") != nil {
		return page{}, refusal(http.StatusBadRequest, "requestError", "EXPIRED_PAGE_TOKEN", "Page token has expired.")
	}
	return page{int(vals[0]), int(vals[1])}, nil
}

// consumption is what a query is said to have cost.
func consumption(rows int) int64 { return 200 + int64(rows)*7 }

func (s *Server) serveQuery(c *stage.Call, rq *request, q *query, in body) (*stage.Reply, *apiError) {
	m := s.w.Moment(max(1, rq.customer.account), s.host.Now())
	s.restate(c, rq, m.Today)
	if f := c.Play("too-expensive"); f != nil && q.figures {
		return nil, exhausted("EXCESSIVE_SHORT_TERM_QUERY_RESOURCE_CONSUMPTION", "ACCOUNT", "Query resource consumption", "The query used too many resources. Retry later or ask for less.", f.Dur("wait"))
	}
	if c.Endpoint == "stream" {
		return s.serveStream(c, rq, q, m), nil
	}
	p, e := s.page(c, rq, q, in.PageToken)
	if e != nil {
		return nil, e
	}
	if in.ValidateOnly {
		return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Body: []byte(`{}`)}, nil
	}
	if f := c.Play("duplicate"); f != nil {
		p.from = max(0, p.from-int(f.Num("rows")))
	}
	limit := q.limit
	if limit == 0 {
		limit = maxRows
	}
	buf := stage.Buffer()
	b := append(*buf, `{"results":[`...)
	rows, next, more := 0, p.from, false
	omit := in.SearchSettings != nil && in.SearchSettings.OmitResults
	e = s.each(c, rq, q, m, p.from, func(pos int, row []byte) bool {
		if p.before+rows >= limit || omit {
			return false
		}
		if rows >= s.cfg.PageRows {
			more = true
			return false
		}
		if rows > 0 {
			b = append(b, ',')
		}
		b = append(b, row...)
		rows++
		next = pos + 1
		return true
	})
	if e != nil {
		stage.Release(buf, b)
		return nil, e
	}
	if rows == 0 {
		b = append(b[:0], '{')
	} else {
		b = append(b, `],`...)
	}
	if more {
		b = append(b, `"nextPageToken":"`+stage.Seal(s.cfg.Seed, s.pageKind(rq, q), int64(next), int64(p.before+rows), int64(c.Now), int64(c.Page))+`",`...)
	}
	if in.SearchSettings != nil && in.SearchSettings.ReturnTotalResultsCount {
		all := 0
		if e := s.each(c, rq, q, m, 0, func(int, []byte) bool { all++; return true }); e != nil {
			stage.Release(buf, b)
			return nil, e
		}
		b = fmt.Appendf(b, `"totalResultsCount":"%d",`, all)
	}
	b = append(b, `"fieldMask":"`+q.mask+`","queryResourceConsumption":"`...)
	b = append(strconv.AppendInt(b, consumption(rows), 10), `"}`...)
	rp := &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Rows: int64(rows)}
	return rp.Keep(buf, b), nil
}

// errCut ends a stream in the middle.
var errCut = refusal(http.StatusInternalServerError, "internalError", "INTERNAL_ERROR", "An internal error has occurred.")

// serveStream sends a list of chunks as they are made.
func (s *Server) serveStream(c *stage.Call, rq *request, q *query, m world.Moment) *stage.Reply {
	id := s.requestID(c)
	cutAt, failAt := -1, -1
	if f := c.Play("stream-cut"); f != nil {
		cutAt = int(f.Num("chunks"))
	}
	if f := c.Play("stream-error"); f != nil {
		failAt = int(f.Num("chunks"))
	}
	return &stage.Reply{Status: http.StatusOK, Type: stage.JSON, Stream: func(out io.Writer) error {
		buf := stage.Buffer()
		b := append(*buf, '[')
		defer func() { stage.Release(buf, b) }()
		chunks, rows, all := 0, 0, 0
		var err error
		end := func(last bool) {
			if rows > 0 {
				b = append(b, `],`...)
			} else {
				b = append(b, '{')
			}
			b = append(b, `"fieldMask":"`+q.mask+`","requestId":"`+id+`"`...)
			if last {
				b = fmt.Appendf(b, `,"queryResourceConsumption":"%d"`, consumption(all))
			}
			b = append(b, '}')
			chunks++
			rows = 0
		}
		e := s.each(c, rq, q, m, 0, func(_ int, row []byte) bool {
			if q.limit > 0 && all >= q.limit || chunks == cutAt || chunks == failAt {
				return false
			}
			if rows == s.cfg.StreamRows {
				end(false)
				b = append(b, ',')
				if _, err = out.Write(b); err != nil {
					return false
				}
				b = b[:0]
				if chunks == cutAt || chunks == failAt {
					return false
				}
			}
			if rows > 0 {
				b = append(b, ',')
			} else {
				b = append(b, `{"results":[`...)
			}
			b = append(b, row...)
			rows++
			all++
			return true
		})
		switch {
		case err != nil:
			return err
		case chunks == cutAt:
			_, err = out.Write(b)
			return err
		case chunks == failAt || e != nil:
			if e == nil {
				e = errCut
			}
			b = append(e.append(b, rq.versionOr(), id), ']')
		case cutAt >= 0: // there were fewer chunks: the end is cut off
			end(true)
		default:
			end(true)
			if failAt >= 0 {
				b = errCut.append(append(b, ','), rq.versionOr(), id)
			}
			b = append(b, ']')
		}
		_, err = out.Write(b)
		return err
	}}
}

// restate changes figures of long ago where a fault asks for it.
func (s *Server) restate(c *stage.Call, rq *request, today world.Day) {
	f := c.Play("restated")
	if f == nil {
		return
	}
	from := today - world.Day(f.Num("back"))
	// Beyond the bound of edits the figures stay: the fault has then been seen often enough.
	_ = s.w.Restate(world.Restatement{Account: rq.customer.account, From: from, To: from + world.Day(f.Num("days")) - 1, PerMille: f.Num("per-mille")})
}
