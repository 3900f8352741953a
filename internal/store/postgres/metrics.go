package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

const metricsSQL = `INSERT INTO daily_metrics (client_id, connection, account_id, level, platform, synced_at, entity_id, date, impressions, clicks, spend_micros, conversions,
		conversion_value_micros, currency, final, raw)
	SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::timestamptz, a.id, a.date, a.impressions, a.clicks, a.spend, a.conversions::numeric, a.value, a.currency, a.date < $7::date, a.raw::json
	FROM unnest($8::text[], $9::date[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::bigint[], $15::text[], $16::text[])
		AS a (id, date, impressions, clicks, spend, conversions, value, currency, raw)
	ON CONFLICT (client_id, connection, account_id, level, entity_id, date) DO UPDATE SET platform = excluded.platform, synced_at = excluded.synced_at, impressions = excluded.impressions,
		clicks = excluded.clicks, spend_micros = excluded.spend_micros, conversions = excluded.conversions, conversion_value_micros = excluded.conversion_value_micros,
		currency = excluded.currency, final = excluded.final, raw = excluded.raw`

// metrics writes rows of daily figures, and what is now known of their days. Rows go in the order of their keys, so that no two writers wait for each
// other in a circle.
func (t *commit) metrics(ctx context.Context, m *store.Metrics) error {
	if n := len(m.Rows); n > 0 {
		rows := common.SortMetrics(m.Rows)
		ids, dates, currencies := make([]string, n), make([]time.Time, n), make([]*string, n)
		impressions, clicks, spend, values := make([]*int64, n), make([]*int64, n), make([]*int64, n), make([]*int64, n)
		conversions, raws := make([]*string, n), make([]*string, n)
		for i := range rows {
			r := &rows[i]
			ids[i], dates[i] = r.EntityID, r.Date.Time()
			if r.Currency != "" {
				currencies[i] = &r.Currency
			}
			if r.Impressions.Set {
				impressions[i] = &r.Impressions.Value
			}
			if r.Clicks.Set {
				clicks[i] = &r.Clicks.Value
			}
			if r.Spend.Set {
				spend[i] = (*int64)(&r.Spend.Value)
			}
			if r.Conversions.Set {
				conversions[i] = new(trimmed(r.Conversions.Value))
			}
			if r.ConversionValue.Set {
				values[i] = (*int64)(&r.ConversionValue.Value)
			}
			if r.Raw != nil {
				raws[i] = new(string(common.Raw(r.Raw)))
			}
		}
		_, err := t.conn.Exec(ctx, metricsSQL, t.ref.ClientID, t.ref.Connection, t.c.Account, m.Level, common.Platform(t.ref, t.c), t.stamp, date(m.FinalBefore),
			ids, dates, impressions, clicks, spend, conversions, values, currencies, raws)
		if err != nil {
			return err
		}
	}
	if m.End != nil {
		return t.endSlice(ctx, m)
	}
	return nil
}

// date is a day for the server; no day is before all others.
func date(d ads.Date) time.Time {
	if d.IsZero() {
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return d.Time()
}

func (t *commit) endSlice(ctx context.Context, m *store.Metrics) error {
	e := m.End
	key := []any{t.ref.ClientID, t.ref.Connection, t.c.Account, m.Level, e.From.Time(), e.To.Time()}
	const where = " FROM daily_metrics WHERE client_id = $1 AND connection = $2 AND account_id = $3 AND level = $4 AND date BETWEEN $5 AND $6"
	if e.Failed == "" {
		tag, err := t.conn.Exec(ctx, "DELETE"+where+" AND synced_at < $7", append(key, common.Micro(e.Since))...)
		if err != nil {
			return err
		}
		t.res.Deleted += tag.RowsAffected()
	}
	rows := map[ads.Date]int64{}
	found, err := t.conn.Query(ctx, "SELECT date, count(*)"+where+" GROUP BY date", key...)
	if err != nil {
		return err
	}
	var day time.Time
	var n int64
	if _, err = pgx.ForEachRow(found, []any{&day, &n}, func() error { rows[ads.DateOf(day)] = n; return nil }); err != nil {
		return err
	}
	var verified *time.Time
	if e.Failed == "" {
		verified = &t.stamp
	}
	b := &pgx.Batch{}
	for d := e.From; !e.To.Before(d); d = d.Add(1) {
		day := common.DayOf(m, d, rows[d])
		b.Queue(`INSERT INTO coverage AS t (client_id, connection, account_id, stream, date, state, rows, verified_at, note) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (client_id, connection, account_id, stream, date) DO UPDATE SET state = excluded.state, rows = excluded.rows,
				verified_at = coalesce(excluded.verified_at, t.verified_at), note = excluded.note`,
			t.ref.ClientID, t.ref.Connection, t.c.Account, ads.StreamDaily(m.Level), d.Time(), day.State, day.Rows, verified, orNull(ads.Text(day.Note)))
	}
	return send(ctx, t.conn, b)
}

// parents notes which campaign and ad group records belong to, where their table has that.
func (t *commit) parents(ctx context.Context, l *store.Listed) error {
	if t.c.Stream != ads.StreamAdGroups && t.c.Stream != ads.StreamAds || len(l.Records) == 0 {
		return nil
	}
	n := len(l.Records)
	ids, campaigns, groups := make([]string, n), make([]*string, n), make([]*string, n)
	for i := range l.Records {
		r := &l.Records[i]
		ids[i] = r.ID
		if r.CampaignID != "" {
			campaigns[i] = &r.CampaignID
		}
		if r.AdGroupID != "" {
			groups[i] = &r.AdGroupID
		}
	}
	set, other := "campaign_id = a.campaign", "t.campaign_id IS DISTINCT FROM a.campaign"
	if t.c.Stream == ads.StreamAds {
		set, other = set+", ad_group_id = a.ad_group", "("+other+" OR t.ad_group_id IS DISTINCT FROM a.ad_group)"
	}
	_, err := t.conn.Exec(ctx, "UPDATE "+t.c.Stream+" AS t SET "+set+", changed_at = $4 FROM unnest($5::text[], $6::text[], $7::text[]) AS a (id, campaign, ad_group)"+
		" WHERE t.client_id = $1 AND t.connection = $2 AND t.account_id = $3 AND t.id = a.id AND "+other,
		t.ref.ClientID, t.ref.Connection, t.c.Account, t.stamp, ids, campaigns, groups)
	return err
}

// Coverage implements store.Store.
func (s *Store) Coverage(ctx context.Context, ref ads.Ref, account, stream string, from, to ads.Date) (out []store.Day, err error) {
	err = s.read(ctx, "read coverage", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT date, state, rows, verified_at, coalesce(note, '') FROM coverage
			WHERE client_id = $1 AND connection = $2 AND account_id = $3 AND stream = $4 AND date BETWEEN $5 AND $6 ORDER BY date`,
			ref.ClientID, ref.Connection, account, stream, from.Time(), to.Time())
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (d store.Day, err error) {
			var day time.Time
			var verified *time.Time
			err = row.Scan(&day, &d.State, &d.Rows, &verified, &d.Note)
			d.Date, d.VerifiedAt = ads.DateOf(day), utc(verified)
			return d, err
		})
		return err
	})
	return out, err
}

// DailyTotals implements store.Store.
func (s *Store) DailyTotals(ctx context.Context, ref ads.Ref, account, level string, from, to ads.Date, since time.Time) (out []store.DayTotal, err error) {
	err = s.read(ctx, "sum daily figures", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT date, count(*), coalesce(sum(impressions), 0)::bigint, coalesce(sum(clicks), 0)::bigint, coalesce(sum(spend_micros), 0)::bigint FROM daily_metrics
			WHERE client_id = $1 AND connection = $2 AND account_id = $3 AND level = $4 AND date BETWEEN $5 AND $6 AND synced_at >= $7 GROUP BY date ORDER BY date`,
			ref.ClientID, ref.Connection, account, level, from.Time(), to.Time(), common.Micro(since))
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (d store.DayTotal, err error) {
			var day time.Time
			err = row.Scan(&day, &d.Rows, &d.Impressions, &d.Clicks, (*int64)(&d.Spend))
			d.Date = ads.DateOf(day)
			return d, err
		})
		return err
	})
	return out, err
}
