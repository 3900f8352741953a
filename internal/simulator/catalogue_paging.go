package simulator

import (
	"net/http"
	"strconv"
)

func pagingFaults() []Fault {
	const section = "pagination"
	by := func(help string) Param { return Param{Name: "by", Default: "20", Help: help, kind: number} }
	return []Fault{
		{
			Name: "more-for-ever", Numbers: []int{76}, Section: section, Help: "has_more stays true beyond the end", Default: always,
			Params: []Param{{Name: "kind", Default: "empty", Help: "what the pages beyond hold: nothing, or the last page again", Values: []string{"empty", "last"}}},
			hooks: hooks{plan: func(_ *call, f *activeFault, l *listing) {
				l.hasMore = true
				if l.first >= l.total && f.str("kind") == "last" && l.total > 0 {
					l.first = (l.total - 1) / l.limit * l.limit
					l.count = l.total - l.first
				}
			}},
		},
		{
			Name: "more-for-ever-new", Numbers: []int{77}, Section: section, Help: "pages without end, each with new campaigns, whatever total says", Default: always,
			hooks: hooks{beyond: true, plan: func(_ *call, _ *activeFault, l *listing) { l.hasMore, l.beyond, l.count = true, true, l.limit }},
		},
		{
			Name: "page-repeated", Numbers: []int{78}, Section: section, Help: "a page holds the rows of the one before", Default: "endpoint=list,page=3,times=1",
			hooks: hooks{plan: func(_ *call, _ *activeFault, l *listing) {
				l.first = max(0, l.first-l.limit)
				l.count = min(l.limit, max(0, l.total-l.first))
			}},
		},
		{
			Name: "page-wrong-number", Numbers: []int{78}, Section: section, Help: "a page is the next one, and says so", Default: "endpoint=list,page=3,times=1",
			hooks: hooks{plan: func(_ *call, _ *activeFault, l *listing) { l.turn(l.page + 1) }},
		},
		{
			Name: "page-empty", Numbers: []int{79}, Section: section, Help: "an empty page with has_more true; the rows come on the pages after it", Default: always,
			Params: []Param{{Name: "at", Default: "2", Help: "which page", kind: number}},
			hooks: hooks{plan: func(_ *call, f *activeFault, l *listing) {
				at := int(f.num("at"))
				page := l.page
				switch {
				case page == at:
					l.count, l.hasMore = 0, true
				case page > at:
					l.turn(page - 1)
					l.page = page
				case page == at-1:
					l.hasMore = true
				}
			}},
		},
		{
			Name: "total-high", Numbers: []int{80}, Section: section, Help: "total says more than there are", Default: always, Params: []Param{by("how many more")},
			hooks: hooks{page: func(_ *call, f *activeFault, l *listing) {
				l.setPagination("total", strconv.FormatInt(int64(l.total)+f.num("by"), 10))
			}},
		},
		{
			Name: "total-low", Numbers: []int{80}, Section: section, Help: "total says fewer than there are", Default: always, Params: []Param{by("how many fewer")},
			hooks: hooks{page: func(_ *call, f *activeFault, l *listing) {
				l.setPagination("total", strconv.FormatInt(max(0, int64(l.total)-f.num("by")), 10))
			}},
		},
		{
			Name: "total-moves", Numbers: []int{80}, Section: section, Help: "total is another one on every page", Default: always, Params: []Param{by("by how many at most")},
			hooks: hooks{page: func(_ *call, f *activeFault, l *listing) {
				n := max(1, f.num("by"))
				l.setPagination("total", strconv.FormatInt(max(0, int64(l.total)-n+int64(mix(f.seed+uint64(l.page))%uint64(2*n+1))), 10))
			}},
		},
		{
			Name: "has-more-missing", Numbers: []int{81}, Section: section, Help: "no has_more", Default: always,
			hooks: hooks{page: func(_ *call, _ *activeFault, l *listing) { l.dropPagination("has_more") }},
		},
		{
			Name: "has-more-string", Numbers: []int{81}, Section: section, Help: "has_more is a string", Default: always,
			hooks: hooks{page: func(_ *call, _ *activeFault, l *listing) {
				l.setPagination("has_more", quote(strconv.FormatBool(l.hasMore)))
			}},
		},
		{
			Name: "has-more-fixed-size", Numbers: []int{82}, Section: section,
			Help: "pages are counted as if each had 10 rows, whatever limit says: a limit of 100 gives ten times what total says", Default: always,
			hooks: hooks{beyond: true, plan: func(_ *call, _ *activeFault, l *listing) {
				pages := (l.total + defaultLimit - 1) / defaultLimit
				l.hasMore = l.page < pages
				l.beyond = true
				l.count = 0
				if l.page <= pages {
					l.count = l.limit
				}
				if l.limit == defaultLimit {
					l.beyond, l.count = false, min(l.limit, max(0, l.total-l.first))
				}
			}},
		},
		{
			Name: "cursor-expired", Numbers: []int{83}, Section: section, Help: "a page is gone: 410", Default: "endpoint=list,page=3,times=1",
			hooks: hooks{instead: func(*call, *activeFault) *reply {
				return failure(http.StatusGone, "Listing expired", "Start again from the first page")
			}},
		},
		{
			Name: "insert-while-listing", Numbers: []int{84}, Section: section, Help: "a campaign is added at the top after a page was read", Default: "endpoint=list,page=2,times=1",
			hooks: hooks{page: func(c *call, _ *activeFault, _ *listing) { c.cl.set.insert(0) }},
		},
		{
			Name: "delete-while-listing", Numbers: []int{85}, Section: section, Help: "the first campaign is deleted after a page was read, so that the next page skips one", Default: "endpoint=list,page=2,times=1",
			hooks: hooks{page: func(c *call, _ *activeFault, _ *listing) {
				if c.cl.set.total() > 0 {
					c.cl.set.remove(c.cl.set.at(0))
				}
			}},
		},
		{
			Name: "limit-ignored", Numbers: []int{86}, Section: section, Help: "pages have a size of the server's own, and say so", Default: always,
			Params: []Param{{Name: "size", Default: "7", Help: "which", kind: number}},
			hooks: hooks{plan: func(_ *call, f *activeFault, l *listing) {
				l.limit = int(min(max(f.num("size"), 1), maxPageSize))
				l.turn(l.page)
			}},
		},
		{
			Name: "limit-refused", Numbers: []int{86}, Section: section, Help: "a limit above a maximum is refused with 400", Default: always,
			Params: []Param{{Name: "max", Default: "5", Help: "the largest that is accepted", kind: number}},
			hooks: hooks{instead: func(c *call, f *activeFault) *reply {
				if int64(c.limit) <= f.num("max") {
					return nil
				}
				return failure(http.StatusBadRequest, "Invalid parameter", "limit must be at most "+strconv.FormatInt(f.num("max"), 10))
			}},
		},
		{
			Name: "next-foreign", Numbers: []int{87, 53}, Section: section, Help: "answers carry a next link to another origin", Default: always,
			Params: []Param{redirectTo()},
			hooks: hooks{page: func(c *call, f *activeFault, l *listing) {
				next := quote(c.abroad(f))
				l.setPagination("next", next)
				l.more = append(l.more, field{"next", next}, field{"links", `{"next":` + next + `}`})
			}},
		},
		{
			Name: "id-twice", Numbers: []int{88}, Section: section, Help: "the same campaign twice in one page, the second time with another budget", Default: "endpoint=list,page=2",
			hooks: hooks{page: func(_ *call, _ *activeFault, l *listing) {
				if len(l.rows) > 1 {
					again := *l.rows[0]
					again.fields = append([]field(nil), again.fields...)
					again.set("budget", "4321")
					l.rows = append(l.rows, &again)
				}
			}},
		},
		{
			Name: "list-empty", Numbers: []int{89}, Section: section, Help: "the whole listing is empty, and total is 0", Default: always,
			hooks: hooks{plan: func(_ *call, _ *activeFault, l *listing) { l.total, l.count, l.hasMore = 0, 0, false }},
		},
	}
}

// turn makes the listing show another page of the same size.
func (l *listing) turn(page int) {
	l.page = page
	l.first = (page - 1) * l.limit
	l.count = min(l.limit, max(0, l.total-l.first))
	l.hasMore = l.first+l.count < l.total
}
