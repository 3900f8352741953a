package server

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

const campaignsPerPage = 100

// removedFilter stands among the states of campaigns for those that the platform no longer lists.
const removedFilter = string(ads.StatusRemoved)

var campaignStates = []string{string(ads.StatusActive), string(ads.StatusPaused), string(ads.StatusEnded), string(ads.StatusDraft), string(ads.StatusUnknown), removedFilter}

// campaignsView is the table of a connection's campaigns.
type campaignsView struct {
	Ref     ads.Ref
	Path    string
	Q       string
	Status  string
	States  []string
	Rows    []store.CampaignRow
	Many    bool // the records are of more than one account
	Heads   []head
	Sort    string // kept when somebody searches
	Dir     string
	First   string
	Next    string
	Filters bool
}

func (s *Server) campaigns(w http.ResponseWriter, r *http.Request) {
	ref := ads.Ref{ClientID: r.PathValue("client"), Connection: r.PathValue("connection")}
	_, ok, err := s.one(r.Context(), ref)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	if !ok {
		s.missing(w, r, "There is no connection "+shown(ref.String())+".")
		return
	}
	q := r.URL.Query()
	v := campaignsView{Ref: ref, Path: connectionURL(ref), Q: query(q.Get("q")), Status: q.Get("status"), States: campaignStates}
	if !slices.Contains(campaignStates, v.Status) {
		v.Status = ""
	}
	f := store.CampaignFilter{Ref: ref, Search: v.Q, Limit: campaignsPerPage + 1}
	f.Sort, f.Descending, f.Skip = orderOf(q)
	if f.Sort == "" {
		f.AfterAccount, f.AfterID = ads.Text(q.Get("account")), ads.Text(q.Get("after"))
	}
	if v.Status == removedFilter {
		f.Removed = true
	} else {
		f.Status = ads.Status(v.Status)
	}
	v.Filters = v.Q != "" || v.Status != ""
	if v.Rows, err = s.o.Store.Campaigns(r.Context(), f); err != nil {
		s.broken(w, r, err)
		return
	}
	at := url.Values{}
	set(at, "q", v.Q)
	set(at, "status", v.Status)
	v.Heads = campaignColumns(v.Path+"/campaigns", at, f)
	set(at, "sort", string(f.Sort))
	if v.Sort = string(f.Sort); f.Descending {
		v.Dir = "desc"
	}
	set(at, "dir", v.Dir)
	if f.AfterID != "" || f.AfterAccount != "" || f.Skip > 0 {
		v.First = address(v.Path+"/campaigns", at)
	}
	if len(v.Rows) > campaignsPerPage {
		v.Rows = v.Rows[:campaignsPerPage]
		last := v.Rows[campaignsPerPage-1]
		switch next := f.Skip + campaignsPerPage; {
		case f.Sort == "":
			set(at, "account", last.Account)
			set(at, "after", last.ID)
			v.Next = address(v.Path+"/campaigns", at)
		case next <= store.MaxSkip:
			set(at, "skip", strconv.Itoa(next))
			v.Next = address(v.Path+"/campaigns", at)
		}
	}
	for i := range v.Rows {
		v.Many = v.Many || v.Rows[i].Account != v.Rows[0].Account
	}
	s.show(w, r, http.StatusOK, "campaigns", page{Title: "Campaigns of " + shown(ref.String()), Now: time.Now(), Body: v})
}

// campaignHeads are the columns, with the direction that a first click gives.
var campaignHeads = []struct {
	text       string
	sort       store.CampaignSort
	descending bool
	number     bool
}{
	{"Campaign", store.ByName, false, false},
	{"Account", "", false, false},
	{"Status", store.ByStatus, false, false},
	{"Budget", store.ByBudget, true, true},
	{"Impressions", store.ByImpressions, true, true},
	{"Clicks", store.ByClicks, true, true},
	{"Last synced", store.BySynced, true, false},
	{"Last changed", store.ByChanged, true, false},
}

// campaignColumns link each head to the table in its order, and the head that it is in order of to the opposite. q is kept.
func campaignColumns(path string, q url.Values, f store.CampaignFilter) (out []head) {
	for _, c := range campaignHeads {
		h := head{Text: c.text, Number: c.number}
		if c.sort != "" {
			to, descending := maps.Clone(q), c.descending
			if f.Sort == c.sort {
				descending = !f.Descending
				h.Sort = map[bool]string{false: "ascending", true: "descending"}[f.Descending]
			}
			to.Set("sort", string(c.sort))
			if descending {
				to.Set("dir", "desc")
			}
			h.URL = address(path, to)
		}
		out = append(out, h)
	}
	return out
}

// orderOf is what an address asks for; an order that is not known is none.
func orderOf(q url.Values) (by store.CampaignSort, descending bool, skip int) {
	for _, c := range campaignHeads {
		if c.sort != "" && q.Get("sort") == string(c.sort) {
			skip, _ = strconv.Atoi(q.Get("skip"))
			return c.sort, q.Get("dir") == "desc", min(max(skip, 0), store.MaxSkip)
		}
	}
	return "", false, 0
}

// query is what somebody searches for, fit for a database.
func query(s string) string { return clip(ads.Text(strings.TrimSpace(s)), maxQuery) }

func set(v url.Values, key, val string) {
	if val != "" {
		v.Set(key, val)
	}
}

func address(path string, v url.Values) string {
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}
