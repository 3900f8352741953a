package googleads

import (
	"slices"
	"strconv"
	"strings"

	"adsync/internal/simulator/internal/world"
)

// row is one line of an answer about to be written.
type row struct {
	s        *Server
	customer node // that is asked
	account  world.Account
	client   *client // of customer_client
	c, g, a  *world.Thing
	f        world.Figures
	p        period
	segment  [len(splits)]int // the value of each segment that is selected
}

type period struct{ from, to world.Day }

type kind int

const (
	aText kind = iota
	anEnum
	anInt
	aDouble
	aBool
	aDate
	someTexts
)

// value is a field of one row. Its zero value is absent.
type value struct {
	s    string
	n    int64
	d    float64
	list []string
	has  bool
}

func word1(s string) value    { return value{s: s, has: true} }
func whole(n int64) value     { return value{n: n, has: true} }
func double(d float64) value  { return value{d: d, has: true} }
func texts(l ...string) value { return value{list: l, has: true} }
func yes(b bool) value {
	n := int64(0)
	if b {
		n = 1
	}
	return value{n: n, has: true}
}

// field is what a query can name.
type field struct {
	name   string // such as campaign.id
	json   string // such as id, without the resource
	path   string // where in the row it stands, such as adGroupAd.ad
	kind   kind
	enum   []string
	get    func(r *row) value
	metric bool
	split  int // of a segment: its place in splits; below 0: a date
}

func (f *field) segment() bool { return strings.HasPrefix(f.name, "segments.") }

func (f *field) resource() string {
	r, _, _ := strings.Cut(f.name, ".")
	return r
}

var (
	entityStatus = []string{"ENABLED", "PAUSED", "REMOVED"}
	primary      = []string{"ELIGIBLE", "LIMITED", "LEARNING", "PAUSED", "REMOVED", "ENDED", "PENDING", "MISCONFIGURED", "NOT_ELIGIBLE"}
	channels     = []string{"SEARCH", "DISPLAY", "SHOPPING", "VIDEO", "PERFORMANCE_MAX", "DEMAND_GEN", "MULTI_CHANNEL", "HOTEL", "LOCAL", "SMART", "LOCAL_SERVICES", "TRAVEL"}
	bidding      = []string{"MAXIMIZE_CONVERSIONS", "TARGET_SPEND", "TARGET_ROAS", "MANUAL_CPC", "TARGET_CPM", "TARGET_CPV", "MAXIMIZE_CONVERSION_VALUE", "TARGET_CPA", "MANUAL_CPM", "MANUAL_CPV", "TARGET_IMPRESSION_SHARE", "PERCENT_CPC"}
	customerLife = []string{"ENABLED", "CANCELED", "SUSPENDED", "CLOSED"}
)

func status(t *world.Thing) string {
	return [...]string{"ENABLED", "PAUSED", "PAUSED", "REMOVED"}[t.State]
}

// standing is a thing's primary status: its own, then its parents', then what hangs on chance.
func standing(chain ...*world.Thing) (primary string, reasons []string) {
	own := chain[len(chain)-1]
	switch own.State {
	case world.Removed:
		return "REMOVED", nil
	case world.Paused, world.Archived:
		return "PAUSED", nil
	case world.Active:
	}
	for _, t := range chain {
		if t.State != world.Active {
			why := map[world.Level]string{world.OfCampaign: "CAMPAIGN_", world.OfGroup: "AD_GROUP_"}[t.Level] + status(t)
			return "NOT_ELIGIBLE", []string{why}
		}
	}
	switch own.Hash >> 20 % 12 {
	case 0:
		return "LIMITED", []string{"BUDGET_CONSTRAINED"}
	case 1:
		return "LEARNING", []string{"BIDDING_STRATEGY_LEARNING"}
	}
	return "ELIGIBLE", nil
}

func (s *Server) channel(c *world.Thing) string {
	if s.cfg.PerformanceMax && c.Campaign%10 == 4 {
		return "PERFORMANCE_MAX"
	}
	return [...]string{"SEARCH", "SEARCH", "DISPLAY", "VIDEO", "SHOPPING", "DEMAND_GEN", "SEARCH", "MULTI_CHANNEL"}[c.Hash>>22%8]
}

// adless says whether a campaign has neither ad groups nor ads.
func (s *Server) adless(c *world.Thing) bool { return s.channel(c) == "PERFORMANCE_MAX" }

func micros(n, minor int64) int64 { return n * (1_000_000 / minor) }

// sharing is the campaign whose budget a campaign draws on: its own, or that of the one before.
func (r *row) sharing() *world.Thing {
	if r.c.Campaign%7 == 6 {
		t := r.s.w.Campaign(r.account.Number, r.c.Campaign-1)
		return &t
	}
	return r.c
}

func shared(c *world.Thing) bool { return c.Campaign%7 >= 5 }

func budgetID(c *world.Thing) int64 {
	return budgetBase + int64(c.Account)*perAccount + int64(c.Campaign)
}

func campaignID(t *world.Thing) int64 {
	return campaignBase + int64(t.Account)*perAccount + int64(t.Campaign)
}

func (r *row) groupID() int64 {
	return groupBase + int64(r.g.Account)*perAccount2 + int64(r.g.Serial(r.s.w))
}

func (r *row) adID() int64 {
	return adBase + int64(r.a.Account)*perAccount2 + int64(r.a.Serial(r.s.w))
}

func (r *row) name(kind string, ids ...int64) string {
	b := append([]byte("customers/"), r.customer.text()...)
	b = append(append(append(b, '/'), kind...), '/')
	for i, id := range ids {
		if i > 0 {
			b = append(b, '~')
		}
		b = strconv.AppendInt(b, id, 10)
	}
	return string(b)
}

func stamp(d world.Day) value { return word1(d.String() + " 00:00:00") }

func (r *row) money(n int64) float64 { return float64(n) / float64(r.account.Minor) }

// fields are all that a query can name, by name.
var fields = map[string]*field{}

func add(name string, k kind, enum []string, get func(r *row) value) {
	parts := strings.Split(name, ".")
	f := &field{name: name, kind: k, enum: enum, get: get, json: camel(parts[len(parts)-1]), metric: parts[0] == "metrics", split: -1}
	for i, p := range parts[:len(parts)-1] {
		if i > 0 {
			f.path += "."
		}
		f.path += camel(p)
	}
	fields[name] = f
}

// camel makes lowerCamelCase of snake_case.
func camel(s string) string {
	var b strings.Builder
	up := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_':
			up = true
		case up && c >= 'a' && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
			up = false
		default:
			b.WriteByte(c)
			up = false
		}
	}
	return b.String()
}

// camelPath does it for a whole name.
func camelPath(s string) string {
	parts := strings.Split(s, ".")
	for i := range parts {
		parts[i] = camel(parts[i])
	}
	return strings.Join(parts, ".")
}

func init() {
	customerFields()
	campaignFields()
	groupFields()
	metricFields()
	segmentFields()
}

func customerFields() {
	add("customer.resource_name", aText, nil, func(r *row) value { return word1("customers/" + r.customer.text()) })
	add("customer.id", anInt, nil, func(r *row) value { return whole(r.customer.id()) })
	add("customer.descriptive_name", aText, nil, func(r *row) value { return word1(r.s.customerName(r.customer)) })
	add("customer.currency_code", aText, nil, func(r *row) value { return word1(r.account.Currency) })
	add("customer.time_zone", aText, nil, func(r *row) value { return word1(r.account.ZoneName) })
	add("customer.status", anEnum, customerLife, func(r *row) value { return word1(r.s.life(r.customer)) })
	add("customer.manager", aBool, nil, func(r *row) value { return yes(r.customer.account == 0) })
	add("customer.test_account", aBool, nil, func(*row) value { return yes(false) })
	add("customer.auto_tagging_enabled", aBool, nil, func(*row) value { return yes(true) })

	add("customer_client.resource_name", aText, nil, func(r *row) value { return word1(r.name("customerClients", r.client.id())) })
	add("customer_client.id", anInt, nil, func(r *row) value { return whole(r.client.id()) })
	add("customer_client.client_customer", aText, nil, func(r *row) value { return word1("customers/" + r.client.text()) })
	add("customer_client.level", anInt, nil, func(r *row) value { return whole(int64(r.client.level)) })
	add("customer_client.manager", aBool, nil, func(r *row) value { return yes(r.client.account == 0) })
	add("customer_client.status", anEnum, customerLife, func(r *row) value { return word1(r.s.life(r.client.node)) })
	add("customer_client.descriptive_name", aText, nil, func(r *row) value { return word1(r.s.customerName(r.client.node)) })
	add("customer_client.currency_code", aText, nil, func(r *row) value { return word1(r.s.accountOf(r.client.node).Currency) })
	add("customer_client.time_zone", aText, nil, func(r *row) value { return word1(r.s.accountOf(r.client.node).ZoneName) })
	add("customer_client.test_account", aBool, nil, func(*row) value { return yes(false) })
	add("customer_client.hidden", aBool, nil, func(*row) value { return yes(false) })
}

func campaignFields() {
	add("campaign.resource_name", aText, nil, func(r *row) value { return word1(r.name("campaigns", campaignID(r.c))) })
	add("campaign.id", anInt, nil, func(r *row) value { return whole(campaignID(r.c)) })
	add("campaign.name", aText, nil, func(r *row) value { return word1(r.c.Name) })
	add("campaign.status", anEnum, entityStatus, func(r *row) value { return word1(status(r.c)) })
	add("campaign.primary_status", anEnum, primary, func(r *row) value {
		p, _ := standing(r.c)
		return word1(p)
	})
	add("campaign.primary_status_reasons", someTexts, nil, func(r *row) value {
		_, why := standing(r.c)
		return value{list: why, has: why != nil}
	})
	add("campaign.serving_status", anEnum, []string{"SERVING", "NONE", "ENDED", "PENDING", "SUSPENDED"}, func(r *row) value {
		if r.c.State == world.Active {
			return word1("SERVING")
		}
		return word1("NONE")
	})
	add("campaign.advertising_channel_type", anEnum, channels, func(r *row) value { return word1(r.s.channel(r.c)) })
	add("campaign.advertising_channel_sub_type", anEnum, []string{"APP_CAMPAIGN"}, func(r *row) value {
		return value{s: "APP_CAMPAIGN", has: r.s.channel(r.c) == "MULTI_CHANNEL"}
	})
	add("campaign.bidding_strategy_type", anEnum, bidding, func(r *row) value { return word1(bidding[r.c.Hash>>26%6]) })
	add("campaign.experiment_type", anEnum, []string{"BASE", "DRAFT", "EXPERIMENT"}, func(*row) value { return word1("BASE") })
	add("campaign.start_date_time", aText, nil, func(r *row) value { return stamp(r.c.From) })
	add("campaign.end_date_time", aText, nil, func(r *row) value {
		if !r.c.Lifetime {
			return value{}
		}
		return word1((r.s.w.Options().Anchor + 60).String() + " 23:59:59")
	})
	add("campaign.campaign_budget", aText, nil, func(r *row) value { return word1(r.name("campaignBudgets", budgetID(r.sharing()))) })

	add("campaign_budget.resource_name", aText, nil, func(r *row) value { return word1(r.name("campaignBudgets", budgetID(r.sharing()))) })
	add("campaign_budget.id", anInt, nil, func(r *row) value { return whole(budgetID(r.sharing())) })
	add("campaign_budget.name", aText, nil, func(r *row) value { return word1("Budget of " + r.sharing().Name) })
	add("campaign_budget.amount_micros", anInt, nil, func(r *row) value {
		t := r.sharing()
		return value{n: micros(t.Budget, r.account.Minor), has: !t.Lifetime}
	})
	add("campaign_budget.total_amount_micros", anInt, nil, func(r *row) value {
		t := r.sharing()
		return value{n: micros(t.Budget, r.account.Minor), has: t.Lifetime}
	})
	add("campaign_budget.period", anEnum, []string{"DAILY", "CUSTOM_PERIOD"}, func(r *row) value {
		if r.sharing().Lifetime {
			return word1("CUSTOM_PERIOD")
		}
		return word1("DAILY")
	})
	add("campaign_budget.explicitly_shared", aBool, nil, func(r *row) value { return yes(shared(r.c)) })
	add("campaign_budget.status", anEnum, entityStatus, func(*row) value { return word1("ENABLED") })
}

func groupFields() {
	add("ad_group.resource_name", aText, nil, func(r *row) value { return word1(r.name("adGroups", r.groupID())) })
	add("ad_group.id", anInt, nil, func(r *row) value { return whole(r.groupID()) })
	add("ad_group.name", aText, nil, func(r *row) value { return word1(r.g.Name) })
	add("ad_group.status", anEnum, entityStatus, func(r *row) value { return word1(status(r.g)) })
	add("ad_group.primary_status", anEnum, primary, func(r *row) value {
		p, _ := standing(r.c, r.g)
		return word1(p)
	})
	add("ad_group.primary_status_reasons", someTexts, nil, func(r *row) value {
		_, why := standing(r.c, r.g)
		return value{list: why, has: why != nil}
	})
	add("ad_group.type", anEnum, []string{"SEARCH_STANDARD", "DISPLAY_STANDARD", "VIDEO_RESPONSIVE", "SHOPPING_PRODUCT_ADS"}, func(r *row) value {
		switch r.s.channel(r.c) {
		case "SEARCH":
			return word1("SEARCH_STANDARD")
		case "VIDEO":
			return word1("VIDEO_RESPONSIVE")
		case "SHOPPING":
			return word1("SHOPPING_PRODUCT_ADS")
		}
		return word1("DISPLAY_STANDARD")
	})
	add("ad_group.campaign", aText, nil, func(r *row) value { return word1(r.name("campaigns", campaignID(r.c))) })
	add("ad_group.cpc_bid_micros", anInt, nil, func(r *row) value { return whole(micros(int64(20+r.g.Hash>>40%300), r.account.Minor)) })
	add("ad_group.target_cpa_micros", anInt, nil, func(r *row) value {
		return value{n: micros(int64(500+r.g.Hash>>41%3000), r.account.Minor), has: r.g.Hash>>9%4 == 0}
	})
	add("ad_group.target_roas", aDouble, nil, func(r *row) value { return value{d: 3.5, has: r.g.Hash>>9%4 == 1} })

	add("ad_group_ad.resource_name", aText, nil, func(r *row) value { return word1(r.name("adGroupAds", r.groupID(), r.adID())) })
	add("ad_group_ad.ad_group", aText, nil, func(r *row) value { return word1(r.name("adGroups", r.groupID())) })
	add("ad_group_ad.status", anEnum, entityStatus, func(r *row) value { return word1(status(r.a)) })
	add("ad_group_ad.primary_status", anEnum, primary, func(r *row) value {
		p, _ := standing(r.c, r.g, r.a)
		return word1(p)
	})
	add("ad_group_ad.primary_status_reasons", someTexts, nil, func(r *row) value {
		_, why := standing(r.c, r.g, r.a)
		return value{list: why, has: why != nil}
	})
	add("ad_group_ad.policy_summary.approval_status", anEnum, []string{"APPROVED", "APPROVED_LIMITED", "AREA_OF_INTEREST_ONLY", "DISAPPROVED"}, func(r *row) value {
		if r.a.Hash>>30%40 == 0 {
			return word1("DISAPPROVED")
		}
		return word1("APPROVED")
	})
	add("ad_group_ad.policy_summary.review_status", anEnum, []string{"REVIEWED", "REVIEW_IN_PROGRESS", "UNDER_APPEAL", "ELIGIBLE_MAY_SERVE"}, func(r *row) value {
		if r.a.Hash>>30%40 == 1 {
			return word1("REVIEW_IN_PROGRESS")
		}
		return word1("REVIEWED")
	})
	add("ad_group_ad.ad.resource_name", aText, nil, func(r *row) value { return word1(r.name("ads", r.adID())) })
	add("ad_group_ad.ad.id", anInt, nil, func(r *row) value { return whole(r.adID()) })
	add("ad_group_ad.ad.name", aText, nil, func(r *row) value { return value{s: r.a.Name, has: r.a.Hash>>7%2 == 0} })
	add("ad_group_ad.ad.type", anEnum, []string{"RESPONSIVE_SEARCH_AD", "RESPONSIVE_DISPLAY_AD", "VIDEO_RESPONSIVE_AD", "SHOPPING_PRODUCT_AD"}, func(r *row) value {
		switch r.s.channel(r.c) {
		case "SEARCH":
			return word1("RESPONSIVE_SEARCH_AD")
		case "VIDEO":
			return word1("VIDEO_RESPONSIVE_AD")
		case "SHOPPING":
			return word1("SHOPPING_PRODUCT_AD")
		}
		return word1("RESPONSIVE_DISPLAY_AD")
	})
	add("ad_group_ad.ad.final_urls", someTexts, nil, func(r *row) value {
		return texts("https://shop" + strconv.Itoa(r.account.Number) + ".example/" + strconv.FormatUint(r.a.Hash%100, 10))
	})
}

func metricFields() {
	add("metrics.impressions", anInt, nil, func(r *row) value { return whole(r.f.Impressions) })
	add("metrics.clicks", anInt, nil, func(r *row) value { return whole(r.f.Clicks) })
	add("metrics.cost_micros", anInt, nil, func(r *row) value { return whole(micros(r.f.Spend, r.account.Minor)) })
	add("metrics.view_through_conversions", anInt, nil, func(r *row) value { return whole(r.f.Views) })
	add("metrics.interactions", anInt, nil, func(r *row) value { return whole(r.f.Clicks + r.f.Video) })
	add("metrics.video_trueview_views", anInt, nil, func(r *row) value { return whole(r.f.Video) })
	add("metrics.conversions", aDouble, nil, func(r *row) value { return double(float64(r.f.Conversions) / 100) })
	add("metrics.conversions_value", aDouble, nil, func(r *row) value { return double(r.money(r.f.Value)) })
	add("metrics.all_conversions", aDouble, nil, func(r *row) value { return double(float64(r.f.Conversions+100*r.f.Views) / 100) })
	add("metrics.all_conversions_value", aDouble, nil, func(r *row) value { return double(r.money(r.f.Value)) })
	add("metrics.ctr", aDouble, nil, func(r *row) value { return over(float64(r.f.Clicks), r.f.Impressions) })
	add("metrics.average_cpc", aDouble, nil, func(r *row) value { return over(float64(micros(r.f.Spend, r.account.Minor)), r.f.Clicks) })
	add("metrics.average_cpm", aDouble, nil, func(r *row) value {
		return over(1000*float64(micros(r.f.Spend, r.account.Minor)), r.f.Impressions)
	})
}

func over(above float64, below int64) value {
	if below == 0 {
		return value{}
	}
	return double(above / float64(below))
}

// split is a segment that shares out a period's figures.
type split struct {
	name    string
	values  []string
	weights []int64
}

var splits = [...]split{
	{"segments.device", []string{"MOBILE", "DESKTOP", "TABLET", "CONNECTED_TV"}, []int64{62, 30, 6, 2}},
	{"segments.ad_network_type", []string{"SEARCH", "CONTENT", "SEARCH_PARTNERS"}, []int64{70, 22, 8}},
	{"segments.conversion_action", []string{"1"}, []int64{1}},
}

// unsplit are the only metrics that go with segments.conversion_action.
var unsplit = []string{"metrics.conversions", "metrics.conversions_value", "metrics.all_conversions", "metrics.all_conversions_value", "metrics.view_through_conversions"}

func segmentFields() {
	add("segments.date", aDate, nil, func(r *row) value { return word1(r.p.from.String()) })
	add("segments.week", aDate, nil, func(r *row) value { return word1(r.p.from.Monday().String()) })
	add("segments.month", aDate, nil, func(r *row) value { return word1(r.p.from.String()[:8] + "01") })
	for i := range splits {
		name := splits[i].name
		k, enum := anEnum, splits[i].values
		get := func(r *row) value { return word1(splits[i].values[r.segment[i]]) }
		if name == "segments.conversion_action" {
			k, enum = aText, nil
			get = func(r *row) value { return word1(r.name("conversionActions", 1)) }
		}
		add(name, k, enum, get)
		fields[name].split = i
	}
}

// resources are what FROM takes, the level it walks through, and which other resources its rows can show.
var resources = map[string]struct {
	level   world.Level
	shows   []string
	figures bool
}{
	"customer":        {world.OfAccount, nil, true},
	"customer_client": {world.OfAccount, []string{"customer"}, false},
	"campaign":        {world.OfCampaign, []string{"customer", "campaign_budget"}, true},
	"campaign_budget": {world.OfCampaign, []string{"customer"}, false},
	"ad_group":        {world.OfGroup, []string{"customer", "campaign"}, true},
	"ad_group_ad":     {world.OfAd, []string{"customer", "campaign", "ad_group"}, true},
}

// resourceNames in a fixed order, for people.
func resourceNames() []string {
	var out []string
	for n := range resources {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}
