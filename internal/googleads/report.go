package googleads

import (
	"context"
	"errors"
	"fmt"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// level is what is asked for at a level of figures.
type level struct{ fields, from string }

var reports = map[string]level{
	ads.LevelAccount:  {"customer.id", "customer"},
	ads.LevelCampaign: {"customer.id, campaign.id", "campaign"},
	ads.LevelAdGroup:  {"customer.id, campaign.id, ad_group.id", "ad_group"},
	ads.LevelAd:       {"customer.id, campaign.id, ad_group.id, ad_group_ad.ad.id", "ad_group_ad"},
}

const (
	figuresNeeded = "metrics.impressions, metrics.clicks, metrics.cost_micros, metrics.conversions, metrics.conversions_value"
	figuresMore   = ", metrics.all_conversions, metrics.all_conversions_value, metrics.view_through_conversions, metrics.interactions, metrics.video_trueview_views"
)

// query is the question for a slice. A slice of one day that is too much is asked for without what goes to the raw rows only; there is no other way to
// ask for less, since the size of a page is the platform's.
func (l level) query(s platform.Slice) string {
	more := figuresMore
	if s.Shrink > 0 {
		more = ""
	}
	return fmt.Sprintf("SELECT %s, segments.date, %s%s FROM %s WHERE segments.date BETWEEN '%s' AND '%s' PARAMETERS omit_unselected_resource_names=true",
		l.fields, figuresNeeded, more, l.from, s.From, s.To)
}

// Report implements platform.Reporter: a page of a slice, or all of it from a stream.
//
// Pages are the usual way: they are bounded in size, each is committed before the next, and further ones cost no operation. A stream spares the page
// tokens, which end after two hours, and is all or nothing: its body is read whole before a row of it counts.
func (p *Platform) Report(ctx context.Context, api platform.Caller, s platform.Slice, emit func(ads.DailyMetrics) error) (platform.Progress, error) {
	l, ok := reports[s.Level]
	if !ok {
		return platform.Progress{}, &ads.Error{Class: ads.ClassInternal, Code: "no_level", Message: "there is no level " + s.Level}
	}
	at, err := placeOf(endpointReport, s.Cursor)
	if err != nil {
		return platform.Progress{}, err
	}
	method, read := "search", parsePage
	if p.o.Stream && s.Cursor == "" {
		method, read = "searchStream", parseStream
	}
	query := l.query(s)
	var got page
	var rows []ads.DailyMetrics
	var shared int
	err = p.reach(ctx, api, s.Account, func(root string) error {
		r := p.ask(endpointReport, method, s.Account.ID, root, query, at.Token, false)
		r.Priority = platform.PriorityFollowUp
		if !s.Now.IsZero() && ads.DateOf(s.Now).Sub(s.To) > p.o.Restated {
			r.Priority = platform.PriorityBackfill
		}
		r.Parse = func(reply platform.Reply) (err error) {
			if got, err = read(reply); err != nil {
				return err
			}
			rows, shared, err = figures(s, got)
			return err
		}
		_, err := api.Do(ctx, r)
		if e, ok := errors.AsType[*ads.Error](err); ok && e.Code == codeBody {
			out := *e
			out.Class = ads.ClassTooLarge // the same question gets the same answer
			return &out
		}
		return explain(err, query)
	})
	if err != nil {
		return platform.Progress{}, err
	}
	for i := range rows {
		if err := emit(rows[i]); err != nil {
			return platform.Progress{}, err
		}
	}
	out := platform.Progress{Done: got.next == ""}
	if !out.Done {
		out.Cursor = place{got.next, at.Page + 1}.cursor()
	}
	if shared > 0 {
		out.Findings = append(out.Findings, ads.Problem{
			Code: "shared_ad", Message: fmt.Sprintf("%d rows are of ads that stand in several ad groups: their figures are added up", shared),
		})
	}
	return out, nil
}
