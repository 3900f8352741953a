package server

import (
	"net/http"
	"net/url"
	"slices"
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
	f := store.CampaignFilter{
		Ref: ref, Search: v.Q, Limit: campaignsPerPage + 1, AfterAccount: ads.Text(q.Get("account")), AfterID: ads.Text(q.Get("after")),
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
	if f.AfterID != "" || f.AfterAccount != "" {
		v.First = address(v.Path+"/campaigns", at)
	}
	if len(v.Rows) > campaignsPerPage {
		v.Rows = v.Rows[:campaignsPerPage]
		last := v.Rows[campaignsPerPage-1]
		set(at, "account", last.Account)
		set(at, "after", last.ID)
		v.Next = address(v.Path+"/campaigns", at)
	}
	for i := range v.Rows {
		v.Many = v.Many || v.Rows[i].Account != v.Rows[0].Account
	}
	s.show(w, r, http.StatusOK, "campaigns", page{Title: "Campaigns of " + shown(ref.String()), Now: time.Now(), Body: v})
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
