package meta

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	jsonx "github.com/go-json-experiment/json"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// edge is where a stream is listed, and what is asked of its records.
type edge struct{ name, level, fields string }

var edges = map[string]edge{
	ads.StreamCampaigns: {"campaigns", ads.LevelCampaign, "id,name,account_id,objective,status,configured_status,effective_status,buying_type,bid_strategy,daily_budget,lifetime_budget,budget_remaining,spend_cap,special_ad_categories,start_time,stop_time,created_time,updated_time,issues_info"},
	ads.StreamAdGroups:  {"adsets", ads.LevelAdGroup, "id,name,account_id,campaign_id,status,configured_status,effective_status,daily_budget,lifetime_budget,budget_remaining,bid_amount,bid_strategy,billing_event,optimization_goal,destination_type,attribution_spec,start_time,end_time,created_time,updated_time"},
	ads.StreamAds:       {"ads", ads.LevelAd, "id,name,account_id,campaign_id,adset_id,status,configured_status,effective_status,creative{id},created_time,updated_time,issues_info"},
}

// place is where a listing is. The size of its pages stays small once the platform has refused larger ones.
type place struct {
	After string `json:"after,omitempty"`
	Limit int    `json:"limit"`
}

// Step implements platform.Platform: one page of an edge of the account. A page that is too much for the platform is asked for again at half the size.
func (p *Platform) Step(ctx context.Context, api platform.Caller, t platform.Task, emit func(ads.Record) error) (platform.Next, error) {
	e, ok := edges[t.Stream]
	if !ok {
		return platform.Next{}, &ads.Error{Class: ads.ClassInternal, Code: "no_stream", Message: "there is no stream " + t.Stream}
	}
	at := place{Limit: p.o.PageRows}
	if t.Cursor != "" {
		if err := json.Unmarshal([]byte(t.Cursor), &at); err != nil || at.Limit < 1 {
			return platform.Next{}, &ads.Error{Class: ads.ClassStaleCursor, Code: "cursor_unknown", Endpoint: endpointList + e.name, Message: "the place reached is not one of this version"}
		}
	}
	status, _ := json.Marshal(effective[e.level])
	q := url.Values{"fields": {e.fields}, "effective_status": {string(status)}}
	if at.After != "" {
		q.Set("after", at.After)
	}
	var l list
	var reply platform.Reply
	for {
		q.Set("limit", strconv.Itoa(at.Limit))
		r := p.get(endpointList+e.name, p.path(act(t.Account), e.name), q)
		r.Scope = scope(t.Account)
		r.Parse = func(reply platform.Reply) (err error) {
			l, err = parseList(reply)
			return err
		}
		var err error
		if reply, err = api.Do(ctx, r); err == nil {
			break
		}
		if ads.ClassOf(err) == ads.ClassTooLarge && at.Limit > 1 {
			at.Limit = max(1, at.Limit/2)
			continue
		}
		if at.After != "" && staleCursor(err) {
			return platform.Next{}, &ads.Error{Class: ads.ClassStaleCursor, Code: "cursor_expired", Endpoint: endpointList + e.name, Message: "the platform no longer knows the place reached in the listing", Err: err}
		}
		return platform.Next{}, err
	}
	now := time.Now()
	for i, row := range l.rows {
		if err := emit(readEntity(t, e, row, i, now)); err != nil {
			return platform.Next{}, err
		}
	}
	next := platform.Next{More: ads.Some(l.more), Findings: p.answeredBy(reply.Header)}
	if l.more {
		at.After = l.after
		b, _ := json.Marshal(at)
		next.Cursor = string(b)
	}
	return next, nil
}

// readEntity makes an entity of a row. What cannot be used is a problem that names the field; a value that is only beside the point is left out.
func readEntity(t platform.Task, e edge, row []byte, pos int, now time.Time) ads.Record {
	var x struct {
		ID         scalar `json:"id"`
		Name       scalar `json:"name"`
		CampaignID scalar `json:"campaign_id"`
		AdSetID    scalar `json:"adset_id"`
		Objective  scalar `json:"objective"`
		Status     scalar `json:"status"`
		Effective  scalar `json:"effective_status"`
		Daily      scalar `json:"daily_budget"`
		Lifetime   scalar `json:"lifetime_budget"`
		Stop       scalar `json:"stop_time"`
		End        scalar `json:"end_time"`
		Created    scalar `json:"created_time"`
		Updated    scalar `json:"updated_time"`
	}
	problem := func(id, code, message string) ads.Record {
		return ads.Record{Problem: &ads.Problem{EntityID: id, Code: code, Message: message, Raw: row[:min(len(row), ads.MaxRawKept)]}}
	}
	nowhere := fmt.Sprintf("%s, position %d", e.name, pos+1)
	if err := jsonx.Unmarshal(row, &x, decoding); err != nil {
		return problem(nowhere, "bad_record", "the record cannot be read: "+ads.Printable(err.Error(), 200))
	}
	id := string(x.ID)
	if id == "" || len(id) > 100 || ads.Text(id) != id {
		return problem(nowhere, "no_id", "the record has no usable id")
	}
	out := ads.Entity{
		ID: id, Name: ads.Text(string(x.Name)), PlatformStatus: ads.Text(string(x.Effective)), Objective: objective(string(x.Objective)),
		CampaignID: ads.Text(string(x.CampaignID)), AdGroupID: ads.Text(string(x.AdSetID)), Currency: t.Account.Currency, Raw: row,
	}
	if out.PlatformStatus == "" {
		out.PlatformStatus = ads.Text(string(x.Status))
	}
	for _, b := range []struct {
		field  string
		value  scalar
		period string
	}{{"daily_budget", x.Daily, "daily"}, {"lifetime_budget", x.Lifetime, "lifetime"}} {
		m, err := amount(string(b.value), t.Account.Currency)
		if err != nil {
			return problem(id, "bad_value", fmt.Sprintf("%s %q: %s", b.field, ads.Printable(string(b.value), 40), err))
		}
		if m.Set {
			out.Budget, out.BudgetPeriod = m, b.period
		}
	}
	end := x.Stop
	if end == "" {
		end = x.End
	}
	ends, _ := parseTime(string(end))
	out.CreatedAt, _ = parseTime(string(x.Created))
	out.PlatformUpdatedAt, _ = parseTime(string(x.Updated))
	out.Status = status(out.PlatformStatus, ends, now)
	if e.level != ads.LevelCampaign && strings.TrimSpace(out.CampaignID) == "" {
		return problem(id, "no_parent", "the record names no campaign_id")
	}
	return ads.Record{Entity: out}
}
