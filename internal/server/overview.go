package server

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"adsync/internal/ads"
)

// tile is a state's count above the table.
type tile struct {
	State standing
	N     int
	URL   string
	On    bool
}

// head is the head of a column; one without an address cannot be sorted by.
type head struct {
	Text, URL string
	Sort      string // "ascending" or "descending" where the table is sorted by it
	Number    bool
}

// overview is the first page.
type overview struct {
	asking
	Heads                     []head
	Rows                      []row
	Found, All                int
	From, To                  int
	Tiles                     []tile
	Prev, Next                string
	Live                      string // where a fresh table comes from
	Now                       time.Time
	States, Platforms, Orders []string
}

var overviewHeads = []struct {
	text, sort, direction string
	number                bool
}{
	{"Client", "name", "ascending", false},
	{"Platform", "platform", "ascending", false},
	{"State", "trouble", "ascending", false},
	{"Last complete", "age", "ascending", false},
	{"Last run", "outcome", "ascending", false},
	{"Next run", "", "", false},
	{"Quota in use", "quota", "descending", false},
	{"Campaigns", "campaigns", "descending", true},
	{"Failures", "failures", "descending", true},
	{"What", "", "", false},
}

func newOverview(all []known, a asking, now time.Time) overview {
	o := overview{asking: a, All: len(all), Now: now, Orders: sorts}
	counts, platforms := map[standing]int{}, map[string]bool{}
	var rows []row
	for _, k := range all {
		r := newRow(k, now)
		if platforms[r.Platform] = true; a.Platform != "" && r.Platform != a.Platform {
			continue
		}
		counts[r.State]++
		if (a.State == "" || r.State == a.State) && a.finds(r) {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, a.order)
	for _, s := range standings {
		if o.States = append(o.States, string(s)); counts[s] > 0 || a.State == s {
			b := a
			if b.State = s; a.State == s {
				b.State = ""
			}
			o.Tiles = append(o.Tiles, tile{s, counts[s], b.link("/", 1), a.State == s})
		}
	}
	platforms[a.Platform] = true
	delete(platforms, "")
	for p := range platforms {
		o.Platforms = append(o.Platforms, p)
	}
	slices.Sort(o.Platforms)
	for _, h := range overviewHeads {
		x := head{Text: h.text, Number: h.number}
		if b := a; h.sort != "" {
			b.Sort = h.sort
			x.URL = b.link("/", 1)
			if a.Sort == h.sort {
				x.Sort = h.direction
			}
		}
		o.Heads = append(o.Heads, x)
	}
	o.Found = len(rows)
	last := max((len(rows)+rowsPerPage-1)/rowsPerPage, 1)
	o.Page = min(a.Page, last)
	from := (o.Page - 1) * rowsPerPage
	o.Rows = rows[from:min(from+rowsPerPage, len(rows))]
	o.From, o.To = min(from+1, len(rows)), from+len(o.Rows)
	if o.Page > 1 {
		o.Prev = a.link("/", o.Page-1)
	}
	if o.Page < last {
		o.Next = a.link("/", o.Page+1)
	}
	o.Live = a.link("/rows", o.Page)
	return o
}

// finds says that a row has what is searched for in one of its names.
func (a asking) finds(r row) bool {
	return a.Q == "" || strings.Contains(strings.ToLower(r.Ref.ClientID+" "+r.Ref.Connection+" "+r.Platform), strings.ToLower(a.Q))
}

// outcomes are the order of last runs, trouble first.
var outcomes = []ads.Outcome{ads.Failed, ads.Partial, ads.Interrupted, ads.Complete}

func (r row) outcomeRank() int {
	if r.Last == nil {
		return len(outcomes) + 1
	}
	if i := slices.Index(outcomes, r.Last.Outcome); i >= 0 {
		return i
	}
	return len(outcomes)
}

func (a asking) order(x, y row) int {
	name := cmp.Or(cmp.Compare(x.Ref.ClientID, y.Ref.ClientID), cmp.Compare(x.Ref.Connection, y.Ref.Connection))
	switch a.Sort {
	case "name":
		return name
	case "platform":
		return cmp.Or(cmp.Compare(x.Platform, y.Platform), name)
	case "age":
		return cmp.Or(x.LastComplete.Compare(y.LastComplete), name)
	case "outcome":
		return cmp.Or(cmp.Compare(x.outcomeRank(), y.outcomeRank()), name)
	case "quota":
		return cmp.Or(cmp.Compare(y.QuotaShare, x.QuotaShare), cmp.Compare(y.Live.Quota.Limit, x.Live.Quota.Limit), name)
	case "campaigns":
		return cmp.Or(cmp.Compare(y.Campaigns, x.Campaigns), name)
	case "failures":
		return cmp.Or(cmp.Compare(y.OpenFailures, x.OpenFailures), name)
	}
	return cmp.Or(cmp.Compare(slices.Index(standings, x.State), slices.Index(standings, y.State)), name)
}

func (s *Server) overview(w http.ResponseWriter, r *http.Request) { s.table(w, r, "overview") }

// rows is the overview's changing part alone.
func (s *Server) rows(w http.ResponseWriter, r *http.Request) { s.table(w, r, "rows") }

func (s *Server) table(w http.ResponseWriter, r *http.Request, name string) {
	all, err := s.all(r.Context())
	if err != nil {
		s.broken(w, r, err)
		return
	}
	now := time.Now()
	s.show(w, r, http.StatusOK, name, page{Title: "Overview", Nav: "overview", Now: now, Body: newOverview(all, askingOf(r.URL.Query()), now)})
}
