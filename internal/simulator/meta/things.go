package meta

import (
	"strconv"
	"time"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// view is an account, campaign, ad set or ad about to be written, with its parents.
type view struct {
	s       *Server
	account world.Account
	level   world.Level
	c, g, a world.Thing
	status  string // effective
}

func (v *view) thing() *world.Thing {
	switch v.level {
	case world.OfGroup:
		return &v.g
	case world.OfAd:
		return &v.a
	}
	return &v.c
}

// goTo makes the thing with a serial, keeping parents that are still right; false when there is none.
func (v *view) goTo(serial int) bool {
	o := v.s.w.Options()
	if serial < 0 || serial >= v.s.w.Count(v.account.Number, v.level) {
		return false
	}
	group, campaign := 0, serial
	switch v.level {
	case world.OfGroup:
		group, campaign = serial, serial/o.Groups
	case world.OfAd:
		group = serial / o.Ads
		campaign = group / o.Groups
	}
	fresh := v.c.Account != v.account.Number || v.c.Campaign != campaign
	if fresh {
		v.c = v.s.w.Campaign(v.account.Number, campaign)
	}
	if v.level >= world.OfGroup && (fresh || v.g.Account == 0 || v.g.Group != group%o.Groups) {
		v.g = v.s.w.Group(&v.c, group%o.Groups)
	}
	if v.level == world.OfAd {
		v.a = v.s.w.Ad(&v.g, serial%o.Ads)
	}
	v.status = effective(&v.c, &v.g, &v.a, v.level)
	return true
}

// writer appends a field's value; false: the object has none, and the key stays away.
type writer func(b []byte, v *view) ([]byte, bool)

func text(f func(v *view) string) writer {
	return func(b []byte, v *view) ([]byte, bool) { return stage.Quote(b, f(v)), true }
}

func id(kind int, of func(v *view) *world.Thing) writer {
	return func(b []byte, v *view) ([]byte, bool) {
		t := of(v)
		return append(appendThingID(append(b, '"'), kind, t.Account, t.Serial(v.s.w)), '"'), true
	}
}

const timeLayout = "2006-01-02T15:04:05-0700"

func moment(f func(v *view) (time.Time, bool)) writer {
	return func(b []byte, v *view) ([]byte, bool) {
		t, ok := f(v)
		if !ok {
			return b, false
		}
		b = append(b, '"')
		b = t.In(v.account.Zone).AppendFormat(b, timeLayout)
		return append(b, '"'), true
	}
}

// budget writes the thing's budget as lifetime or daily; the other one, and one that the parent or children hold, is absent or "0".
func budget(lifetime bool, remaining bool) writer {
	return func(b []byte, v *view) ([]byte, bool) {
		t := v.thing()
		holds := v.c.Own == (v.level == world.OfCampaign)
		if holds && (remaining || t.Lifetime == lifetime) {
			n := t.Budget
			if remaining {
				n = n * 3 / 10
			}
			return quoteInt(b, n), true
		}
		if t.Hash>>13&1 == 0 {
			return b, false
		}
		return append(b, `"0"`...), true
	}
}

var objectives = [...]string{
	"OUTCOME_SALES", "OUTCOME_LEADS", "OUTCOME_TRAFFIC", "OUTCOME_AWARENESS", "OUTCOME_ENGAGEMENT", "OUTCOME_APP_PROMOTION", "OUTCOME_SALES", "CONVERSIONS",
}

func objective(c *world.Thing) string { return objectives[c.Hash>>22%8] }

func issues(b []byte, v *view) ([]byte, bool) {
	if v.status != "WITH_ISSUES" {
		return b, false
	}
	return append(b, `[{"level":"`+levelNames[v.level]+`","error_code":1815869,"error_summary":"Payment method needs attention","error_message":"Check the account's payment method","error_type":"HARD_ERROR"}]`...), true
}

// end is when a lifetime budget ends, and nothing for others.
func end(v *view) (time.Time, bool) {
	t := v.thing()
	switch {
	case !t.Lifetime:
		return time.Time{}, false
	case t.To < world.Far:
		return (t.To + 1).Time(v.account.Zone), true
	}
	return (v.s.w.Options().Anchor + 60).Time(v.account.Zone), true
}

func constant(json string) writer {
	return func(b []byte, _ *view) ([]byte, bool) { return append(b, json...), true }
}

var (
	theCampaign = func(v *view) *world.Thing { return &v.c }
	theGroup    = func(v *view) *world.Thing { return &v.g }
	theAd       = func(v *view) *world.Thing { return &v.a }
)

// common are the fields of all three levels.
var common = map[string]writer{
	"name":              text(func(v *view) string { return v.thing().Name }),
	"account_id":        text(func(v *view) string { return accountID(v.account.Number) }),
	"status":            text(func(v *view) string { return ownStatus(v.thing()) }),
	"configured_status": text(func(v *view) string { return ownStatus(v.thing()) }),
	"effective_status":  text(func(v *view) string { return v.status }),
	"created_time":      moment(func(v *view) (time.Time, bool) { return v.thing().Created, true }),
	"updated_time":      moment(func(v *view) (time.Time, bool) { return v.thing().Updated, true }),
	"issues_info":       issues,
	"bid_strategy":      constant(`"LOWEST_COST_WITHOUT_CAP"`),
	"daily_budget":      budget(false, false),
	"lifetime_budget":   budget(true, false),
	"budget_remaining":  budget(false, true),
	"start_time":        moment(func(v *view) (time.Time, bool) { return v.thing().From.Time(v.account.Zone), true }),
	"end_time":          moment(end),
	"stop_time":         moment(end),
	"campaign_id":       id(1, theCampaign),
	"adset_id":          id(2, theGroup),
	"objective":         text(func(v *view) string { return objective(&v.c) }),
	"buying_type":       constant(`"AUCTION"`),
	"spend_cap": func(b []byte, v *view) ([]byte, bool) {
		if v.c.Hash>>14%5 != 0 {
			return b, false
		}
		return quoteInt(b, v.c.Budget*100), true
	},
	"special_ad_categories": constant(`[]`),
	"bid_amount": func(b []byte, v *view) ([]byte, bool) {
		if v.g.Hash>>9%3 != 0 {
			return b, false
		}
		return strconv.AppendInt(b, int64(50+v.g.Hash>>40%500), 10), true
	},
	"billing_event":     constant(`"IMPRESSIONS"`),
	"optimization_goal": constant(`"OFFSITE_CONVERSIONS"`),
	"destination_type":  constant(`"UNDEFINED"`),
	"attribution_spec":  constant(`[{"event_type":"CLICK_THROUGH","window_days":7},{"event_type":"VIEW_THROUGH","window_days":1}]`),
	"creative": func(b []byte, v *view) ([]byte, bool) {
		return append(appendThingID(append(b, `{"id":"`...), 4, v.a.Account, v.a.Serial(v.s.w)), `"}`...), true
	},
}

var shared = []string{"id", "name", "account_id", "status", "configured_status", "effective_status", "created_time", "updated_time", "issues_info"}

// thingFields says which fields the objects of a level have; all others are refused.
var thingFields = [...]map[string]writer{
	world.OfCampaign: pick(id(1, theCampaign), "objective", "buying_type", "bid_strategy", "daily_budget", "lifetime_budget", "budget_remaining", "spend_cap",
		"special_ad_categories", "start_time", "stop_time"),
	world.OfGroup: pick(id(2, theGroup), "campaign_id", "daily_budget", "lifetime_budget", "budget_remaining", "bid_amount", "bid_strategy", "billing_event",
		"optimization_goal", "destination_type", "attribution_spec", "start_time", "end_time"),
	world.OfAd: pick(id(3, theAd), "campaign_id", "adset_id", "creative"),
}

func pick(own writer, names ...string) map[string]writer {
	m := map[string]writer{"id": own}
	for _, n := range append(names, shared[1:]...) {
		m[n] = common[n]
	}
	return m
}

// compound are fields that have fields of their own, and what those may be.
var compound = map[string][]string{"creative": {"id"}, "business": {"id", "name"}}

// column is a field that was asked for and how it is written.
type column struct {
	name  string // with the quotes and the colon
	write writer
}

// columns holds what is wanted against what there is. The id always comes along.
func columns(fields []wanted, have map[string]writer, node string) ([]column, *graphError) {
	out := make([]column, 0, len(fields)+1)
	seen := map[string]bool{}
	for _, f := range fields {
		w, ok := have[f.name]
		if !ok {
			return nil, invalid("Tried accessing nonexisting field (%.60s) on node type (%s)", f.name, node)
		}
		for _, sub := range f.sub {
			if !contains(compound[f.name], sub.name) || sub.sub != nil {
				return nil, invalid("Tried accessing nonexisting field (%.60s) on node type (%s)", sub.name, f.name)
			}
		}
		if !seen[f.name] {
			seen[f.name] = true
			out = append(out, column{`"` + f.name + `":`, w})
		}
	}
	if !seen["id"] {
		out = append(out, column{`"id":`, have["id"]})
	}
	return out, nil
}

func (v *view) write(b []byte, cols []column) []byte {
	b = append(b, '{')
	for i := range cols {
		at := len(b)
		if b[at-1] != '{' {
			b = append(b, ',')
		}
		b = append(b, cols[i].name...)
		next, ok := cols[i].write(b, v)
		if !ok {
			next = b[:at]
		}
		b = next
	}
	return append(b, '}')
}
