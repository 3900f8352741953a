package meta

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// action is an entry of actions or action_values. The value is that of the account's own attribution window.
type action struct {
	Type  scalar `json:"action_type"`
	Value scalar `json:"value"`
}

type row struct {
	Account     scalar   `json:"account_id"`
	Campaign    scalar   `json:"campaign_id"`
	AdSet       scalar   `json:"adset_id"`
	Ad          scalar   `json:"ad_id"`
	Currency    scalar   `json:"account_currency"`
	From        scalar   `json:"date_start"`
	To          scalar   `json:"date_stop"`
	Impressions scalar   `json:"impressions"`
	Clicks      scalar   `json:"clicks"`
	Spend       scalar   `json:"spend"`
	Actions     []action `json:"actions"`
	Values      []action `json:"action_values"`
}

func (r *row) entity(level string) string {
	switch level {
	case ads.LevelCampaign:
		return string(r.Campaign)
	case ads.LevelAdGroup:
		return string(r.AdSet)
	case ads.LevelAd:
		return string(r.Ad)
	}
	return string(r.Account)
}

// figures reads the rows of a page. One that cannot be read spoils the page: a day must not look complete with a row left out.
func (p *Platform) figures(endpoint string, s platform.Slice, rows []jsontext.Value) ([]ads.DailyMetrics, error) {
	out := make([]ads.DailyMetrics, len(rows))
	for i, raw := range rows {
		m, err := p.figure(s, raw)
		if err != nil {
			return nil, badReply(endpoint, "bad_row", "row %d: %s", i+1, err)
		}
		out[i] = m
	}
	return out, nil
}

func (p *Platform) figure(s platform.Slice, raw []byte) (m ads.DailyMetrics, err error) {
	var r row
	if err := json.Unmarshal(raw, &r, decoding); err != nil {
		return m, fmt.Errorf("it cannot be read: %s", ads.Printable(err.Error(), 200))
	}
	m = ads.DailyMetrics{EntityID: ads.Text(r.entity(s.Level)), Currency: currency(r.Currency), Raw: raw}
	if m.Currency == "" {
		m.Currency = s.Account.Currency
	}
	if m.EntityID == "" || len(m.EntityID) > 100 {
		return m, fmt.Errorf("it does not say which %s it is about", s.Level)
	}
	if r.From != r.To && r.To != "" {
		return m, fmt.Errorf("it is about several days, %q to %q", ads.Printable(string(r.From), 40), ads.Printable(string(r.To), 40))
	}
	if m.Date, err = ads.ParseDate(string(r.From)); err != nil {
		return m, fmt.Errorf("date_start %q: %w", ads.Printable(string(r.From), 40), err)
	}
	for _, f := range []struct {
		name string
		text scalar
		read func(string) error
	}{
		{"impressions", r.Impressions, whole(&m.Impressions)},
		{"clicks", r.Clicks, whole(&m.Clicks)},
		{"spend", r.Spend, money(&m.Spend)},
		{"actions", p.purchases(r.Actions), decimal(&m.Conversions)},
		{"action_values", p.purchases(r.Values), money(&m.ConversionValue)},
	} {
		if f.text == "" {
			continue
		}
		if err := f.read(string(f.text)); err != nil {
			return m, fmt.Errorf("%s %q: %w", f.name, ads.Printable(string(f.text), 40), err)
		}
	}
	return m, nil
}

// purchases is the value of the first of the wanted action types that is there. They overlap, so they are never added up. A row without any had none: the
// platform leaves out what is zero.
func (p *Platform) purchases(list []action) scalar {
	for _, want := range p.o.Purchases {
		for _, a := range list {
			if string(a.Type) == want && a.Value != "" {
				return a.Value
			}
		}
	}
	return "0"
}

func whole(to *ads.Opt[int64]) func(string) error {
	return func(s string) error {
		n, err := ads.ParseInt(s)
		*to = ads.Some(n)
		return err
	}
}

func decimal(to *ads.Opt[ads.Decimal]) func(string) error {
	return func(s string) error {
		n, err := ads.ParseDecimal(s)
		*to = ads.Some(n)
		return err
	}
}

func money(to *ads.Opt[ads.Micros]) func(string) error {
	return func(s string) error {
		n, err := ads.ParseMicros(s)
		*to = ads.Some(n)
		return err
	}
}
