package meta

import (
	"strconv"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// row is one line of a report about to be written.
type row struct {
	q       *query
	account world.Account
	c, g, a *world.Thing // nil above the level
	s       *Server
	f       world.Figures
	p       period
	old     bool // reach is no longer known for it
	at      []int
}

type rowWriter func(b []byte, r *row) ([]byte, bool)

type rowColumn struct {
	name  string // with the quotes and the colon
	write rowWriter
}

func metric(of func(f *world.Figures) int64) rowWriter {
	return func(b []byte, r *row) ([]byte, bool) {
		n := of(&r.f)
		return quoteInt(b, n), n != 0
	}
}

// money writes minor units as whole ones, without zeros at the end.
func money(b []byte, n, minor int64) []byte {
	b = strconv.AppendInt(b, n/minor, 10)
	if rest := n % minor; rest != 0 {
		b = append(b, '.', byte('0'+rest/10))
		if rest%10 != 0 {
			b = append(b, byte('0'+rest%10))
		}
	}
	return b
}

// ratio writes a quotient as text; nothing when there is nothing to divide by.
func ratio(of func(r *row) (above, below float64)) rowWriter {
	return func(b []byte, r *row) ([]byte, bool) {
		above, below := of(r)
		if below == 0 {
			return b, false
		}
		return append(strconv.AppendFloat(append(b, '"'), above/below, 'f', 6, 64), '"'), true
	}
}

// reach is how many people saw something: not a sum of anything.
func (r *row) reach() int64 {
	if r.old || r.f.Impressions == 0 {
		return 0
	}
	days := int64(min(r.p.to-r.p.from, 20))
	return max(1, r.f.Impressions*(874-20*days)/1000)
}

func (r *row) spend() float64 { return float64(r.f.Spend) / float64(r.account.Minor) }

func thingID(kind int, of func(r *row) *world.Thing) rowWriter {
	return func(b []byte, r *row) ([]byte, bool) {
		t := of(r)
		if t == nil {
			return b, false
		}
		return append(appendThingID(append(b, '"'), kind, t.Account, t.Serial(r.s.w)), '"'), true
	}
}

func thingName(of func(r *row) *world.Thing) rowWriter {
	return func(b []byte, r *row) ([]byte, bool) {
		t := of(r)
		if t == nil {
			return b, false
		}
		return stage.Quote(b, t.Name), true
	}
}

// action writes an entry of a list of actions: the default window's value, and those of the windows that were asked for.
func (r *row) action(b []byte, kind string, click, view, unit int64) []byte {
	if click+view == 0 {
		return b
	}
	if b[len(b)-1] != '[' {
		b = append(b, ',')
	}
	b = append(b, `{"action_type":"`...)
	b = append(b, kind...)
	b = append(b, `","value":"`...)
	b = append(money(b, click+view, unit), '"')
	for _, w := range r.q.windows {
		n := int64(0)
		switch w {
		case "1d_click":
			n = click * 4 / 5
			if unit == 1 && click > 0 {
				n = max(1, n)
			}
		case "7d_click", "28d_click":
			n = click
		case "1d_view":
			n = view
		}
		if n > 0 {
			b = append(append(append(b, `,"`...), w...), `":"`...)
			b = append(money(b, n, unit), '"')
		}
	}
	return append(b, '}')
}

// purchases are the names that the platform counts one and the same purchase under.
var purchases = []string{"purchase", "omni_purchase", "offsite_conversion.fb_pixel_purchase"}

// bought are the purchases after a click and after a mere view, and what they were worth.
func (r *row) bought() (click, view, clickValue, viewValue int64) {
	all := r.f.Conversions / 100
	view = min(r.f.Views, all)
	if all > 0 {
		viewValue = r.f.Value * view / all
	}
	return all - view, view, r.f.Value - viewValue, viewValue
}

func actions(b []byte, r *row) ([]byte, bool) {
	b = append(b, '[')
	b = r.action(b, "link_click", r.f.LinkClicks, 0, 1)
	b = r.action(b, "video_view", r.f.Video, 0, 1)
	click, view, _, _ := r.bought()
	for _, kind := range purchases {
		b = r.action(b, kind, click, view, 1)
	}
	return append(b, ']'), b[len(b)-1] != '['
}

func actionValues(b []byte, r *row) ([]byte, bool) {
	b = append(b, '[')
	_, _, click, view := r.bought()
	for _, kind := range purchases {
		b = r.action(b, kind, click, view, r.account.Minor)
	}
	return append(b, ']'), b[len(b)-1] != '['
}

func roas(b []byte, r *row) ([]byte, bool) {
	if r.f.Spend == 0 || r.f.Value == 0 {
		return b, false
	}
	b = append(b, `[{"action_type":"omni_purchase","value":"`...)
	b = strconv.AppendFloat(b, float64(r.f.Value)/float64(r.f.Spend), 'f', 6, 64)
	return append(b, `"}]`...), true
}

func plays(b []byte, r *row) ([]byte, bool) {
	b = r.action(append(b, '['), "video_view", r.f.Video, 0, 1)
	return append(b, ']'), b[len(b)-1] != '['
}

// never is a field that exists and has no value in this world.
func never(b []byte, _ *row) ([]byte, bool) { return b, false }

var (
	rowCampaign = func(r *row) *world.Thing { return r.c }
	rowGroup    = func(r *row) *world.Thing { return r.g }
	rowAd       = func(r *row) *world.Thing { return r.a }
)

var rowFields = map[string]rowWriter{
	"account_id":       func(b []byte, r *row) ([]byte, bool) { return stage.Quote(b, accountID(r.account.Number)), true },
	"account_name":     func(b []byte, r *row) ([]byte, bool) { return stage.Quote(b, r.account.Name), true },
	"account_currency": func(b []byte, r *row) ([]byte, bool) { return stage.Quote(b, r.account.Currency), true },
	"campaign_id":      thingID(1, rowCampaign),
	"adset_id":         thingID(2, rowGroup),
	"ad_id":            thingID(3, rowAd),
	"campaign_name":    thingName(rowCampaign),
	"adset_name":       thingName(rowGroup),
	"ad_name":          thingName(rowAd),
	"objective": func(b []byte, r *row) ([]byte, bool) {
		if r.c == nil {
			return b, false
		}
		return stage.Quote(b, objective(r.c)), true
	},
	"buying_type":        func(b []byte, r *row) ([]byte, bool) { return append(b, `"AUCTION"`...), r.c != nil },
	"date_start":         func(b []byte, r *row) ([]byte, bool) { return append(r.p.from.Append(append(b, '"')), '"'), true },
	"date_stop":          func(b []byte, r *row) ([]byte, bool) { return append(r.p.to.Append(append(b, '"')), '"'), true },
	"impressions":        metric(func(f *world.Figures) int64 { return f.Impressions }),
	"clicks":             metric(func(f *world.Figures) int64 { return f.Clicks }),
	"inline_link_clicks": metric(func(f *world.Figures) int64 { return f.LinkClicks }),
	"spend": func(b []byte, r *row) ([]byte, bool) {
		return append(money(append(b, '"'), r.f.Spend, r.account.Minor), '"'), true
	},
	"reach": func(b []byte, r *row) ([]byte, bool) {
		n := r.reach()
		return quoteInt(b, n), n != 0
	},
	"frequency":          ratio(func(r *row) (float64, float64) { return float64(r.f.Impressions), float64(r.reach()) }),
	"cpp":                ratio(func(r *row) (float64, float64) { return r.spend() * 1000, float64(r.reach()) }),
	"cpc":                ratio(func(r *row) (float64, float64) { return r.spend(), float64(r.f.Clicks) }),
	"cpm":                ratio(func(r *row) (float64, float64) { return r.spend() * 1000, float64(r.f.Impressions) }),
	"ctr":                ratio(func(r *row) (float64, float64) { return float64(r.f.Clicks) * 100, float64(r.f.Impressions) }),
	"actions":            actions,
	"action_values":      actionValues,
	"conversions":        never,
	"conversion_values":  never,
	"purchase_roas":      roas,
	"video_play_actions": plays,
}

// rowColumns are the fields asked for; the dates always come along.
func rowColumns(rq *request) ([]rowColumn, *graphError) {
	fields, e := rq.fields()
	if e != nil {
		return nil, e
	}
	if len(fields) == 0 {
		fields = []wanted{{name: "account_id"}, {name: "campaign_id"}, {name: "impressions"}, {name: "spend"}}
	}
	seen := map[string]bool{}
	var out []rowColumn
	for _, f := range append(fields, wanted{name: "date_start"}, wanted{name: "date_stop"}) {
		w, ok := rowFields[f.name]
		if !ok || f.sub != nil {
			return nil, invalid("%.60s is not valid for fields param. please check https://developers.facebook.com/docs/marketing-api/reference/ads-insights/ for all valid values", f.name)
		}
		if !seen[f.name] {
			seen[f.name] = true
			out = append(out, rowColumn{`"` + f.name + `":`, w})
		}
	}
	return out, nil
}

func (r *row) write(b []byte) []byte {
	b = append(b, '{')
	for i := range r.q.cols {
		at := len(b)
		if b[at-1] != '{' {
			b = append(b, ',')
		}
		next, ok := r.q.cols[i].write(append(b, r.q.cols[i].name...), r)
		if !ok {
			next = b[:at]
		}
		b = next
	}
	for k := range r.q.split {
		b = append(append(append(b, `,"`...), r.q.split[k].name...), `":`...)
		b = stage.Quote(b, r.q.split[k].values[r.at[k]])
	}
	return append(b, '}')
}
