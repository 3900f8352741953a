package googleads

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// figureRow is a row of any level: {"campaign": {"id"}, "metrics": {…}, "segments": {"date"}}. Most of what a platform sends is such rows, so they are
// read without a tree of values being made.
type figureRow struct {
	customer, entity, date                        found
	impressions, clicks, cost, conversions, value found
	metrics                                       bool
}

// owners are where the id of a level stands.
var owners = map[string]string{ads.LevelCampaign: `"campaign"`, ads.LevelAdGroup: `"adGroup"`, ads.LevelAd: `"adGroupAd"`}

func readFigures(raw []byte, level string) (x figureRow, err error) {
	if len(raw) == 0 || raw[0] != '{' {
		return x, errors.New("it is no object")
	}
	owner := owners[level]
	var customer, thing, metrics, segments found
	for s := scanObject(raw); err == nil; {
		m, ok := s.next()
		if !ok {
			break
		}
		switch string(m.key) {
		case `"customer"`:
			err = customer.take(m.value)
		case `"metrics"`:
			err = metrics.take(m.value)
		case `"segments"`:
			err = segments.take(m.value)
		case owner:
			err = thing.take(m.value)
		}
	}
	if err == nil {
		err = x.customer.from(customer, `"id"`)
	}
	if err == nil && level == ads.LevelAd {
		ad := thing
		thing = nil
		err = thing.from(ad, `"ad"`)
	}
	if err == nil {
		err = x.entity.from(thing, `"id"`)
	}
	if err == nil {
		err = x.date.from(segments, `"date"`)
	}
	if level == ads.LevelAccount {
		x.entity = x.customer
	}
	x.metrics = len(metrics) > 0 && metrics[0] == '{'
	for s := scanObject(metrics); err == nil; {
		m, ok := s.next()
		if !ok {
			break
		}
		switch string(m.key) {
		case `"impressions"`:
			err = x.impressions.take(m.value)
		case `"clicks"`:
			err = x.clicks.take(m.value)
		case `"costMicros"`:
			err = x.cost.take(m.value)
		case `"conversions"`:
			err = x.conversions.take(m.value)
		case `"conversionsValue"`:
			err = x.value.take(m.value)
		}
	}
	return x, err
}

// from takes the member of that name out of an object.
func (f *found) from(object found, key string) (err error) {
	for s := scanObject(object); err == nil; {
		m, ok := s.next()
		if !ok {
			break
		}
		if string(m.key) == key {
			err = f.take(m.value)
		}
	}
	return err
}

// days are those that have been read already: a slice has few.
type days map[string]ads.Date

func (k days) read(f found) (ads.Date, error) {
	if d, ok := k[string(f)]; ok {
		return d, nil
	}
	s := f.scalar()
	d, err := ads.ParseDate(s.text)
	if err != nil {
		return d, fmt.Errorf("segments.date %q: %w", ads.Printable(s.text, 40), err)
	}
	if len(k) < 1000 {
		k[string(f)] = d
	}
	return d, nil
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
	days := days{}
	for i, raw := range got.rows {
		m := ads.DailyMetrics{Raw: raw}
		x, err := readFigures(raw, s.Level)
		if err == nil {
			err = x.figure(s, days, &m)
		}
		if err != nil {
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

func (x *figureRow) figure(s platform.Slice, days days, m *ads.DailyMetrics) (err error) {
	var ok bool
	if m.EntityID, ok = x.entity.scalar().id(); !ok {
		return fmt.Errorf("it does not say which %s it is about", strings.ReplaceAll(s.Level, "_", " "))
	}
	if c := x.customer; len(c) > 0 && c[0] != 'n' && string(x.customer.inner()) != s.Account.ID {
		return fmt.Errorf("it is about another account, %q", ads.Printable(x.customer.scalar().text, 40))
	}
	if m.Date, err = days.read(x.date); err != nil {
		return err
	}
	if !x.metrics {
		return errors.New("it has no metrics")
	}
	m.Currency = s.Account.Currency
	var cost ads.Opt[int64]
	for _, f := range []struct {
		name string
		from found
		to   *ads.Opt[int64]
	}{{"impressions", x.impressions, &m.Impressions}, {"clicks", x.clicks, &m.Clicks}, {"cost_micros", x.cost, &cost}} {
		if n, ok := f.from.small(); ok {
			*f.to = ads.Some(n)
			continue
		}
		if *f.to, err = asked(f.from, ads.ParseInt); err != nil {
			return badMetric(f.name, f.from, err)
		}
	}
	m.Spend = ads.Some(ads.Micros(cost.Value))
	if m.Conversions, err = asked(x.conversions, double); err != nil {
		return badMetric("conversions", x.conversions, err)
	}
	if m.ConversionValue, err = asked(x.value, units); err != nil {
		return badMetric("conversions_value", x.value, err)
	}
	return nil
}

func badMetric(name string, f found, err error) error {
	return fmt.Errorf("metrics.%s %q: %w", name, ads.Printable(f.scalar().text, 40), err)
}

// asked reads a figure that was asked for. In a row that has figures, one that is left out is zero: that is how the platform writes JSON.
func asked[T any](f found, read func(string) (T, error)) (ads.Opt[T], error) {
	o, err := number(f.scalar(), read)
	if err == nil {
		o.Set = true
	}
	return o, err
}
