package googleads

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// queries are what is asked for in each stream. Nothing is filtered: what was removed is listed too, since old figures need its name.
var queries = map[string]string{
	ads.StreamCampaigns: "SELECT campaign.id, campaign.name, campaign.status, campaign.primary_status, campaign.primary_status_reasons, campaign.serving_status, " +
		"campaign.advertising_channel_type, campaign.advertising_channel_sub_type, campaign.bidding_strategy_type, campaign.experiment_type, " +
		"campaign.start_date_time, campaign.end_date_time, campaign_budget.id, campaign_budget.amount_micros, campaign_budget.total_amount_micros, " +
		"campaign_budget.period, campaign_budget.explicitly_shared FROM campaign",
	ads.StreamAdGroups: "SELECT ad_group.id, ad_group.name, ad_group.status, ad_group.primary_status, ad_group.primary_status_reasons, ad_group.type, " +
		"ad_group.cpc_bid_micros, ad_group.target_cpa_micros, ad_group.target_roas, campaign.id FROM ad_group",
	ads.StreamAds: "SELECT ad_group_ad.ad.id, ad_group_ad.ad.name, ad_group_ad.ad.type, ad_group_ad.status, ad_group_ad.primary_status, ad_group_ad.primary_status_reasons, " +
		"ad_group_ad.policy_summary.approval_status, ad_group_ad.policy_summary.review_status, ad_group_ad.ad.final_urls, ad_group.id, campaign.id FROM ad_group_ad",
}

// place is where a listing or a slice is: the page that comes next. Its token is good for about two hours; one that has ended begins the listing anew.
type place struct {
	Token string `json:"token"`
	Page  int    `json:"page"` // counted from 1
}

func (p place) cursor() string {
	b, _ := json.Marshal(p)
	return string(b)
}

func placeOf(endpoint, cursor string) (place, error) {
	at := place{Page: 1}
	if cursor == "" {
		return at, nil
	}
	if err := json.Unmarshal([]byte(cursor), &at); err != nil || at.Token == "" || at.Page < 2 {
		return at, &ads.Error{Class: ads.ClassStaleCursor, Code: "cursor_unknown", Endpoint: endpoint, Message: "the place reached is not one of this version"}
	}
	return at, nil
}

// Step implements platform.Platform: one page of a stream.
func (p *Platform) Step(ctx context.Context, api platform.Caller, t platform.Task, emit func(ads.Record) error) (platform.Next, error) {
	query, ok := queries[t.Stream]
	if !ok {
		return platform.Next{}, &ads.Error{Class: ads.ClassInternal, Code: "no_stream", Message: "there is no stream " + t.Stream}
	}
	endpoint := endpointList + t.Stream
	at, err := placeOf(endpoint, t.Cursor)
	if err != nil {
		return platform.Next{}, err
	}
	var got page
	err = p.reach(ctx, api, t.Account, func(root string) error {
		r := p.ask(endpoint, "search", t.Account.ID, root, query, at.Token, true)
		r.Parse = func(reply platform.Reply) (err error) {
			got, err = parsePage(reply)
			return err
		}
		_, err := api.Do(ctx, r)
		return explain(err, query)
	})
	if err != nil {
		return platform.Next{}, err
	}
	for i, row := range got.rows {
		if err := emit(readEntity(t, row, at.Page, i+1)); err != nil {
			return platform.Next{}, err
		}
	}
	next := platform.Next{More: ads.Some(got.next != ""), Total: got.total}
	if got.next != "" {
		next.Cursor = place{got.next, at.Page + 1}.cursor()
	}
	return next, nil
}

// explain adds the query to an error that is about it: what the platform does not accept must be seen to be understood.
func explain(err error, query string) error {
	e, ok := errors.AsType[*ads.Error](err)
	if !ok || e.Class != ads.ClassPermanent || e.Status != 400 || e.Code == codeVersion {
		return err
	}
	out := *e
	out.Message += "; the query was: " + ads.Printable(query, 400)
	return &out
}

// entityRow is a row of any stream.
type entityRow struct {
	Campaign struct {
		ID      scalar   `json:"id"`
		Name    scalar   `json:"name"`
		Status  scalar   `json:"status"`
		Primary scalar   `json:"primaryStatus"`
		Reasons []scalar `json:"primaryStatusReasons"`
		Channel scalar   `json:"advertisingChannelType"`
		Sub     scalar   `json:"advertisingChannelSubType"`
		Bidding scalar   `json:"biddingStrategyType"`
	} `json:"campaign"`
	Budget struct {
		Amount scalar `json:"amountMicros"`
		Total  scalar `json:"totalAmountMicros"`
		Period scalar `json:"period"`
	} `json:"campaignBudget"`
	AdGroup struct {
		ID      scalar   `json:"id"`
		Name    scalar   `json:"name"`
		Status  scalar   `json:"status"`
		Primary scalar   `json:"primaryStatus"`
		Reasons []scalar `json:"primaryStatusReasons"`
	} `json:"adGroup"`
	AdGroupAd struct {
		Ad struct {
			ID   scalar `json:"id"`
			Name scalar `json:"name"`
			Type scalar `json:"type"`
		} `json:"ad"`
		Status  scalar   `json:"status"`
		Primary scalar   `json:"primaryStatus"`
		Reasons []scalar `json:"primaryStatusReasons"`
		Policy  struct {
			Approval scalar `json:"approvalStatus"`
			Review   scalar `json:"reviewStatus"`
		} `json:"policySummary"`
	} `json:"adGroupAd"`
}

// strict refuses keys that come twice; invalid UTF-8 is replaced where it is read.
var strict = jsontext.AllowInvalidUTF8(true)

// readEntity makes an entity of a row. What cannot be kept exactly makes it a problem that names the field.
func readEntity(t platform.Task, raw []byte, pageNumber, pos int) ads.Record {
	problem := func(id, code, message string) ads.Record {
		if id == "" {
			id = fmt.Sprintf("page %d, position %d", pageNumber, pos)
			message += " (" + id + ")"
		}
		return ads.Record{Problem: &ads.Problem{
			EntityID: id, Code: code, Message: message, Raw: raw[:min(len(raw), ads.MaxRawKept)],
			Hint: "the platform sent a record that cannot be stored as it is; its JSON is kept with the failure. It is tried again with the next listing",
		}}
	}
	if jsontext.Value(raw).Kind() != '{' {
		return problem("", "not_object", "the record is no object")
	}
	var x entityRow
	if err := jsonx.Unmarshal(raw, &x, strict); err != nil {
		code := "bad_record"
		if errors.Is(err, jsontext.ErrDuplicateName) {
			code = "duplicate_key"
		}
		return problem("", code, "the record cannot be read: "+reason(err))
	}
	var s standing
	var id scalar
	out := ads.Entity{Currency: t.Account.Currency, Raw: raw}
	switch t.Stream {
	case ads.StreamCampaigns:
		id, out.Name = x.Campaign.ID, x.Campaign.Name.clean()
		s = standing{status: x.Campaign.Status.clean(), primary: x.Campaign.Primary.text, reasons: texts(x.Campaign.Reasons)}
		out.Objective = objective(x.Campaign.Channel.text, x.Campaign.Sub.text, x.Campaign.Bidding.text)
	case ads.StreamAdGroups:
		id, out.Name = x.AdGroup.ID, x.AdGroup.Name.clean()
		s = standing{status: x.AdGroup.Status.clean(), primary: x.AdGroup.Primary.text, reasons: texts(x.AdGroup.Reasons)}
	case ads.StreamAds:
		id, out.Name = x.AdGroupAd.Ad.ID, x.AdGroupAd.Ad.Name.clean()
		s = standing{
			status: x.AdGroupAd.Status.clean(), primary: x.AdGroupAd.Primary.text, reasons: texts(x.AdGroupAd.Reasons),
			approval: x.AdGroupAd.Policy.Approval.text, review: x.AdGroupAd.Policy.Review.text,
		}
	}
	var ok bool
	if out.ID, ok = id.id(); !ok {
		return problem("", "no_id", "the record has no id that can be used")
	}
	if t.Stream == ads.StreamAds && out.Name == "" {
		out.Name = adName(x.AdGroupAd.Ad.Type.clean(), out.ID)
	}
	out.PlatformStatus, out.Status = s.status, s.normal()
	if t.Stream != ads.StreamCampaigns {
		if out.CampaignID, ok = x.Campaign.ID.id(); !ok {
			return problem(out.ID, "no_parent", "the record does not name its campaign")
		}
	}
	if t.Stream == ads.StreamAds {
		if out.AdGroupID, ok = x.AdGroup.ID.id(); !ok {
			return problem(out.ID, "no_parent", "the record does not name its ad group")
		}
	}
	if t.Stream == ads.StreamCampaigns {
		field, value, period := "campaign_budget.amount_micros", x.Budget.Amount, "daily"
		if x.Budget.Period.text == "CUSTOM_PERIOD" {
			field, value, period = "campaign_budget.total_amount_micros", x.Budget.Total, "lifetime"
		}
		var err error
		if out.Budget, err = number(value, micros); err != nil {
			return problem(out.ID, "bad_value", fmt.Sprintf("%s %q: %s", field, ads.Printable(value.text, 40), err))
		}
		if out.Budget.Set && (x.Budget.Period.text == "DAILY" || x.Budget.Period.text == "CUSTOM_PERIOD" || x.Budget.Period.kind == 0) {
			out.BudgetPeriod = period
		}
	}
	return ads.Record{Entity: out}
}

func texts(in []scalar) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = s.text
	}
	return out
}

// adName stands for the name that most ads do not have.
func adName(kind, id string) string {
	if kind == "" {
		return id
	}
	return kind + " " + id
}
