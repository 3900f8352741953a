package googleads

import (
	"fmt"
	"strings"
	"testing"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

var shop = ads.Account{ID: "4445556666", Currency: "EUR", Raw: []byte(`{"customerClient":{"resourceName":"customers/111/customerClients/4445556666","id":"4445556666"}}`)}

func task(stream, cursor string) platform.Task {
	return platform.Task{Account: shop, Stream: stream, Cursor: cursor}
}

// Rows as they come, the broken ones too: what can be kept is, what cannot is a problem that names the field.
func TestReadEntity(t *testing.T) {
	for _, x := range []struct{ name, stream, row, want string }{
		{
			"campaign", ads.StreamCampaigns,
			`{"campaign":{"resourceName":"customers/4/campaigns/20111","id":"20111","name":"Brand \u00e9\u0000","status":"ENABLED","primaryStatus":"LIMITED","primaryStatusReasons":["BUDGET_CONSTRAINED"],"advertisingChannelType":"SEARCH","biddingStrategyType":"TARGET_SPEND"},"campaignBudget":{"id":"901","amountMicros":"25000000","period":"DAILY","explicitlyShared":false}}`,
			"20111|||Brand é\uFFFD|active|ENABLED|traffic|25000000 daily|EUR",
		},
		{"numbers as numbers", ads.StreamCampaigns, `{"campaign":{"id":20111,"status":"PAUSED"},"campaignBudget":{"amountMicros":1e6,"period":"DAILY"}}`, "20111||||paused|PAUSED|unknown|1000000 daily|EUR"},
		{"all its life", ads.StreamCampaigns, `{"campaign":{"id":"1","status":"ENABLED","primaryStatus":"ENDED"},"campaignBudget":{"amountMicros":"5","totalAmountMicros":"7000000","period":"CUSTOM_PERIOD"}}`, "1||||ended|ENABLED|unknown|7000000 lifetime|EUR"},
		{"no budget", ads.StreamCampaigns, `{"campaign":{"id":"1","status":"REMOVED","advertisingChannelType":"PERFORMANCE_MAX"}}`, "1||||removed|REMOVED|sales|none|EUR"},
		{"a period of tomorrow", ads.StreamCampaigns, `{"campaign":{"id":"1","status":"ENABLED"},"campaignBudget":{"amountMicros":"5","period":"FIXED_7"}}`, "1||||active|ENABLED|unknown|5 |EUR"},
		{"words of tomorrow", ads.StreamCampaigns, `{"campaign":{"id":"1","status":"ARCHIVED","new":{"a":[1]}},"other":null}`, "1||||unknown|ARCHIVED|unknown|none|EUR"},
		{"ad group", ads.StreamAdGroups, `{"adGroup":{"id":"33","name":"G","status":"ENABLED","primaryStatus":"NOT_ELIGIBLE","primaryStatusReasons":["CAMPAIGN_PAUSED"],"cpcBidMicros":"20"},"campaign":{"id":"20111"}}`, "33|20111||G|paused|ENABLED||none|EUR"},
		{"ad without a name", ads.StreamAds, `{"adGroupAd":{"ad":{"id":"77","type":"RESPONSIVE_SEARCH_AD"},"status":"ENABLED","primaryStatus":"ELIGIBLE"},"adGroup":{"id":"33"},"campaign":{"id":"20111"}}`, "77|20111|33|RESPONSIVE_SEARCH_AD 77|active|ENABLED||none|EUR"},
		{"ad turned down", ads.StreamAds, `{"adGroupAd":{"ad":{"id":"77","name":"N"},"status":"ENABLED","primaryStatus":"NOT_ELIGIBLE","policySummary":{"approvalStatus":"DISAPPROVED"}},"adGroup":{"id":"33"},"campaign":{"id":"20111"}}`, "77|20111|33|N|paused|ENABLED||none|EUR"},
		{"ad in review", ads.StreamAds, `{"adGroupAd":{"ad":{"id":"77"},"status":"ENABLED","primaryStatus":"PENDING","policySummary":{"reviewStatus":"REVIEW_IN_PROGRESS"}},"adGroup":{"id":"33"},"campaign":{"id":"20111"}}`, "77|20111|33|77|draft|ENABLED||none|EUR"},

		{"no id", ads.StreamCampaigns, `{"campaign":{"name":"x"}}`, "!no_id page 3, position 5"},
		{"nothing", ads.StreamCampaigns, `{}`, "!no_id page 3, position 5"},
		{"id null", ads.StreamCampaigns, `{"campaign":{"id":null}}`, "!no_id page 3, position 5"},
		{"id zero", ads.StreamCampaigns, `{"campaign":{"id":"0"}}`, "!no_id page 3, position 5"},
		{"id with a point", ads.StreamCampaigns, `{"campaign":{"id":1.5}}`, "!no_id page 3, position 5"},
		{"id is true", ads.StreamCampaigns, `{"campaign":{"id":true}}`, "!no_id page 3, position 5"},
		{"a list", ads.StreamCampaigns, `[1]`, "!not_object page 3, position 5"},
		{"a key twice", ads.StreamCampaigns, `{"campaign":{"id":"1","id":"2"}}`, "!duplicate_key page 3, position 5"},
		{"a text for an object", ads.StreamCampaigns, `{"campaign":"x"}`, "!bad_record page 3, position 5"},
		{"budget too large", ads.StreamCampaigns, `{"campaign":{"id":"1"},"campaignBudget":{"amountMicros":"9223372036854775808"}}`, "!bad_value 1"},
		{"budget in parts", ads.StreamCampaigns, `{"campaign":{"id":"1"},"campaignBudget":{"amountMicros":"1.5"}}`, "!bad_value 1"},
		{"budget is an object", ads.StreamCampaigns, `{"campaign":{"id":"1"},"campaignBudget":{"amountMicros":{"micros":1}}}`, "!bad_value 1"},
		{"ad group without campaign", ads.StreamAdGroups, `{"adGroup":{"id":"33"}}`, "!no_parent 33"},
		{"ad without ad group", ads.StreamAds, `{"adGroupAd":{"ad":{"id":"77"}},"campaign":{"id":"1"}}`, "!no_parent 77"},
	} {
		r := readEntity(task(x.stream, ""), []byte(x.row), 3, 5)
		got := ""
		if p := r.Problem; p != nil {
			got = "!" + p.Code + " " + p.EntityID
			if string(p.Raw) != x.row || p.Message == "" || p.Hint == "" {
				t.Errorf("%s: %+v", x.name, p)
			}
		} else {
			budget := "none"
			if r.Budget.Set {
				budget = fmt.Sprint(int64(r.Budget.Value), " ", r.BudgetPeriod)
			}
			got = strings.Join([]string{r.ID, r.CampaignID, r.AdGroupID, r.Name, string(r.Status), r.PlatformStatus, r.Objective, budget, r.Currency}, "|")
			if string(r.Raw) != x.row {
				t.Errorf("%s: raw %s", x.name, r.Raw)
			}
		}
		if got != x.want {
			t.Errorf("%s: %s\nwant %s", x.name, got, x.want)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, x := range []struct {
		s    standing
		want ads.Status
	}{
		{standing{status: "ENABLED", primary: "ELIGIBLE"}, ads.StatusActive},
		{standing{status: "ENABLED", primary: "LEARNING"}, ads.StatusActive},
		{standing{status: "ENABLED", primary: "LIMITED"}, ads.StatusActive},
		{standing{status: "ENABLED"}, ads.StatusActive},
		{standing{status: "ENABLED", primary: "PENDING"}, ads.StatusDraft},
		{standing{status: "ENABLED", primary: "ENDED"}, ads.StatusEnded},
		{standing{status: "ENABLED", primary: "MISCONFIGURED"}, ads.StatusActive},
		{standing{status: "ENABLED", primary: "NOT_ELIGIBLE"}, ads.StatusActive},
		{standing{status: "ENABLED", primary: "NOT_ELIGIBLE", reasons: []string{"OTHER", "AD_GROUP_PAUSED"}}, ads.StatusPaused},
		{standing{status: "ENABLED", primary: "NOT_ELIGIBLE", reasons: []string{"AD_GROUP_PAUSED", "CAMPAIGN_REMOVED"}}, ads.StatusEnded},
		{standing{status: "ENABLED", primary: "NOT_ELIGIBLE", reasons: []string{"CAMPAIGN_ENDED"}}, ads.StatusEnded},
		{standing{status: "ENABLED", primary: "ELIGIBLE", approval: "DISAPPROVED"}, ads.StatusPaused},
		{standing{status: "ENABLED", primary: "UNKNOWN"}, ads.StatusUnknown},
		{standing{status: "ENABLED", primary: "UNSPECIFIED"}, ads.StatusUnknown},
		{standing{status: "PAUSED", primary: "ELIGIBLE"}, ads.StatusPaused},
		{standing{status: "REMOVED", primary: "REMOVED", approval: "DISAPPROVED"}, ads.StatusRemoved},
		{standing{status: "UNKNOWN", primary: "ELIGIBLE"}, ads.StatusUnknown},
		{standing{}, ads.StatusUnknown},
	} {
		if got := x.s.normal(); got != x.want {
			t.Errorf("%+v: %s, want %s", x.s, got, x.want)
		}
	}
	for s, want := range map[string]ads.Status{"ENABLED": ads.StatusActive, "SUSPENDED": ads.StatusPaused, "CANCELED": ads.StatusEnded, "CLOSED": ads.StatusEnded, "UNKNOWN": ads.StatusUnknown, "": ads.StatusUnknown} {
		if got := accountStatus(s); got != want {
			t.Errorf("account %q: %s, want %s", s, got, want)
		}
	}
}

func TestObjective(t *testing.T) {
	for _, x := range [][4]string{
		{"SEARCH", "", "TARGET_ROAS", "sales"},
		{"SEARCH", "", "MAXIMIZE_CONVERSION_VALUE", "sales"},
		{"SEARCH", "", "MAXIMIZE_CONVERSIONS", "sales"},
		{"SEARCH", "", "TARGET_CPA", "sales"},
		{"LOCAL_SERVICES", "", "TARGET_CPA", "leads"},
		{"LOCAL_SERVICES", "", "", "leads"},
		{"SHOPPING", "", "MANUAL_CPC", "traffic"}, // the bidding comes before the kind
		{"SHOPPING", "", "", "sales"},
		{"HOTEL", "", "COMMISSION", "sales"},
		{"PERFORMANCE_MAX", "", "", "sales"},
		{"MULTI_CHANNEL", "APP_CAMPAIGN_FOR_ENGAGEMENT", "TARGET_CPA", "app_promotion"},
		{"MULTI_CHANNEL", "", "", "app_promotion"},
		{"SEARCH", "", "PERCENT_CPC", "traffic"},
		{"DISPLAY", "", "ENHANCED_CPC", "traffic"},
		{"VIDEO", "", "TARGET_CPV", "video_views"},
		{"DEMAND_GEN", "", "MANUAL_CPV", "video_views"},
		{"SEARCH", "", "MANUAL_CPV", "unknown"},
		{"VIDEO", "", "TARGET_CPM", "awareness"},
		{"SEARCH", "", "TARGET_IMPRESSION_SHARE", "awareness"},
		{"SEARCH", "", "", "unknown"},
		{"", "", "TOMORROW", "unknown"},
	} {
		if got := objective(x[0], x[1], x[2]); got != x[3] {
			t.Errorf("%v: %s", x, got)
		}
	}
}

// A listing goes from page to page, under the root that the account was listed by, and never names a size.
func TestStep(t *testing.T) {
	p := made(t, Options{})
	c := &caller{p: p, answer: func(a asking) platform.Reply {
		switch a.pageToken {
		case "":
			return text(200, `{"results":[{"campaign":{"id":"1","status":"ENABLED"}},{"campaign":{}}],"nextPageToken":"t/2","totalResultsCount":"3","fieldMask":"x"}`)
		case "t/2":
			return text(200, `{"fieldMask":"x","totalResultsCount":3,"results":[{"campaign":{"id":"3","status":"PAUSED"}}]}`)
		case "old":
			return refusal(400, "requestError", "EXPIRED_PAGE_TOKEN")
		}
		return refusal(400, "queryError", "UNRECOGNIZED_FIELD")
	}}
	var got []string
	emit := func(r ads.Record) error {
		if r.Problem != nil {
			got = append(got, r.Problem.EntityID)
			return nil
		}
		got = append(got, r.ID)
		return nil
	}
	next, err := p.Step(t.Context(), c, task(ads.StreamCampaigns, ""), emit)
	if err != nil || next.More != ads.Some(true) || next.Total != ads.Some(int64(3)) || next.Cursor == "" {
		t.Fatalf("%+v, %v", next, err)
	}
	// Another process goes on from the place that was kept.
	p = made(t, Options{})
	c.p = p
	for range 2 { // a step done twice emits the same
		end, err := p.Step(t.Context(), c, task(ads.StreamCampaigns, next.Cursor), emit)
		if err != nil || end.More != ads.Some(false) || end.Cursor != "" {
			t.Errorf("%+v, %v", end, err)
		}
	}
	if s := strings.Join(got, ", "); s != "1, page 1, position 2, 3, 3" {
		t.Errorf("%s", s)
	}
	for _, a := range c.asked {
		if a.root != "111" || a.customer != shop.ID || a.query != queries[ads.StreamCampaigns] || strings.Contains(string(a.Body), "pageSize") || a.Scope != "account "+shop.ID {
			t.Errorf("%+v %s", a, a.Body)
		}
	}
	for cursor, want := range map[string]ads.Class{
		place{"old", 2}.cursor(): ads.ClassStaleCursor, `{"page":7}`: ads.ClassStaleCursor, `page 7`: ads.ClassStaleCursor, place{"bad", 2}.cursor(): ads.ClassPermanent,
	} {
		_, err := p.Step(t.Context(), c, task(ads.StreamCampaigns, cursor), emit)
		if ads.ClassOf(err) != want {
			t.Errorf("%s: %v", cursor, err)
		}
		if want == ads.ClassPermanent && !strings.Contains(err.Error(), "SELECT campaign.id") {
			t.Errorf("the query is not named: %v", err)
		}
	}
	if _, err := p.Step(t.Context(), c, task("keywords", ""), emit); ads.ClassOf(err) != ads.ClassInternal {
		t.Errorf("a stream that there is not: %v", err)
	}
	stop := fmt.Errorf("enough")
	if _, err := p.Step(t.Context(), c, task(ads.StreamCampaigns, ""), func(ads.Record) error { return stop }); err != stop {
		t.Errorf("%v", err)
	}
}
