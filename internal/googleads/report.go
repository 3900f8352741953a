package googleads

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/go-json-experiment/json"

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

// figureRow is a row of any level.
type figureRow struct {
	Customer struct {
		ID scalar `json:"id"`
	} `json:"customer"`
	Campaign struct {
		ID scalar `json:"id"`
	} `json:"campaign"`
	AdGroup struct {
		ID scalar `json:"id"`
	} `json:"adGroup"`
	AdGroupAd struct {
		Ad struct {
			ID scalar `json:"id"`
		} `json:"ad"`
	} `json:"adGroupAd"`
	Segments struct {
		Date scalar `json:"date"`
	} `json:"segments"`
	Metrics *struct {
		Impressions scalar `json:"impressions"`
		Clicks      scalar `json:"clicks"`
		Cost        scalar `json:"costMicros"`
		Conversions scalar `json:"conversions"`
		Value       scalar `json:"conversionsValue"`
	} `json:"metrics"`
}

// figures reads the rows of an answer. One that cannot be read spoils the answer: a day must not look complete with a row left out. An ad may stand in
// several ad groups, each with a row of its own; its figures are their sum, with the first row as received, and shared says how many were added.
func figures(s platform.Slice, got page) (out []ads.DailyMetrics, shared int, err error) {
	out = make([]ads.DailyMetrics, 0, len(got.rows))
	type key struct {
		id   string
		date ads.Date
	}
	var at map[key]int
	if s.Level == ads.LevelAd {
		at = make(map[key]int, len(got.rows))
	}
	var x figureRow
	for i, raw := range got.rows {
		x = figureRow{}
		if err := json.Unmarshal(raw, &x, strict); err != nil {
			return nil, 0, badReply(endpointReport, "bad_row", "row %d cannot be read: %s", i+1, reason(err))
		}
		m := ads.DailyMetrics{Raw: raw}
		if err := x.figure(s, &m); err != nil {
			return nil, 0, badReply(endpointReport, "bad_row", "row %d: %s", i+1, err)
		}
		if at != nil {
			k := key{m.EntityID, m.Date}
			if first, ok := at[k]; ok {
				if !add(&out[first], &m) {
					return nil, 0, badReply(endpointReport, "bad_row", "row %d: the sum of an ad's rows does not fit in 64 bits", i+1)
				}
				shared++
				continue
			}
			at[k] = len(out)
		}
		out = append(out, m)
	}
	return out, shared, nil
}

// add adds what an ad did in another ad group. All figures are set: they were asked for.
func add(to, m *ads.DailyMetrics) bool {
	fits := true
	sum := func(a, b int64) int64 {
		c := a + b
		fits = fits && (c > a) == (b > 0)
		return c
	}
	to.Impressions.Value = sum(to.Impressions.Value, m.Impressions.Value)
	to.Clicks.Value = sum(to.Clicks.Value, m.Clicks.Value)
	to.Spend.Value = ads.Micros(sum(int64(to.Spend.Value), int64(m.Spend.Value)))
	to.ConversionValue.Value = ads.Micros(sum(int64(to.ConversionValue.Value), int64(m.ConversionValue.Value)))
	a, b := to.Conversions.Value, m.Conversions.Value
	for a.Scale < b.Scale {
		a.Coef, a.Scale = tenfold(a.Coef, &fits), a.Scale+1
	}
	for b.Scale < a.Scale {
		b.Coef, b.Scale = tenfold(b.Coef, &fits), b.Scale+1
	}
	to.Conversions.Value = ads.Decimal{Coef: sum(a.Coef, b.Coef), Scale: a.Scale}
	return fits
}

func tenfold(n int64, fits *bool) int64 {
	*fits = *fits && n <= math.MaxInt64/10 && n >= math.MinInt64/10
	return n * 10
}

func (x *figureRow) entity(level string) scalar {
	switch level {
	case ads.LevelCampaign:
		return x.Campaign.ID
	case ads.LevelAdGroup:
		return x.AdGroup.ID
	case ads.LevelAd:
		return x.AdGroupAd.Ad.ID
	}
	return x.Customer.ID
}

func (x *figureRow) figure(s platform.Slice, m *ads.DailyMetrics) (err error) {
	var ok bool
	if m.EntityID, ok = x.entity(s.Level).id(); !ok {
		return fmt.Errorf("it does not say which %s it is about", strings.ReplaceAll(s.Level, "_", " "))
	}
	if of := x.Customer.ID.text; of != "" && of != s.Account.ID {
		return fmt.Errorf("it is about another account, %q", ads.Printable(of, 40))
	}
	if m.Date, err = ads.ParseDate(x.Segments.Date.text); err != nil {
		return fmt.Errorf("segments.date %q: %w", ads.Printable(x.Segments.Date.text, 40), err)
	}
	if x.Metrics == nil {
		return errors.New("it has no metrics")
	}
	m.Currency = s.Account.Currency
	bad := func(field string, v scalar, err error) error {
		return fmt.Errorf("metrics.%s %q: %w", field, ads.Printable(v.text, 40), err)
	}
	if m.Impressions, err = asked(x.Metrics.Impressions, ads.ParseInt); err != nil {
		return bad("impressions", x.Metrics.Impressions, err)
	}
	if m.Clicks, err = asked(x.Metrics.Clicks, ads.ParseInt); err != nil {
		return bad("clicks", x.Metrics.Clicks, err)
	}
	if m.Spend, err = asked(x.Metrics.Cost, micros); err != nil {
		return bad("cost_micros", x.Metrics.Cost, err)
	}
	if m.Conversions, err = asked(x.Metrics.Conversions, double); err != nil {
		return bad("conversions", x.Metrics.Conversions, err)
	}
	if m.ConversionValue, err = asked(x.Metrics.Value, units); err != nil {
		return bad("conversions_value", x.Metrics.Value, err)
	}
	return nil
}

// asked reads a figure that was asked for. In a row that has figures, one that is left out is zero: that is how the platform writes JSON.
func asked[T any](v scalar, read func(string) (T, error)) (ads.Opt[T], error) {
	o, err := number(v, read)
	if err == nil {
		o.Set = true
	}
	return o, err
}
