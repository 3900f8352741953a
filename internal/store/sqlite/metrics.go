package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// metricColumns are what a row of daily figures brings, in the order in which they are bound.
var metricColumns = []string{
	"entity_id", "date", "impressions", "clicks", "spend_micros", "conversions", "conversion_value_micros", "currency", "final", "raw",
}

var metricsSQL = map[int]string{1: buildMetrics(1), chunk: buildMetrics(chunk)}

// buildMetrics makes the statement that writes n rows; see buildUpsert for why its parameters have no numbers.
func buildMetrics(n int) string {
	var b, set strings.Builder
	b.WriteString("WITH k(client, connection, account, level, platform, stamp) AS (VALUES (?,?,?,?,?,?)) INSERT INTO daily_metrics (client_id, connection, account_id, level, platform, synced_at, " +
		strings.Join(metricColumns, ", ") + ") SELECT k.client, k.connection, k.account, k.level, k.platform, k.stamp, v.* FROM k, (VALUES ")
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", len(metricColumns)), ",") + ")"
	b.WriteString(strings.TrimSuffix(strings.Repeat(row+",", n), ","))
	for _, c := range append([]string{"platform", "synced_at"}, metricColumns[2:]...) {
		set.WriteString(", " + c + " = excluded." + c)
	}
	b.WriteString(") AS v WHERE true ON CONFLICT (client_id, connection, account_id, level, entity_id, date) DO UPDATE SET " + set.String()[2:])
	return b.String()
}

// metrics writes rows of daily figures, and what is now known of their days.
func (t *commit) metrics(m *store.Metrics) error {
	for lo := 0; lo < len(m.Rows); {
		n := chunk
		if len(m.Rows)-lo < chunk {
			n = 1
		}
		t.args = t.args[:0]
		for _, v := range []string{t.ref.ClientID, t.ref.Connection, t.c.Account, m.Level, common.Platform(t.ref, t.c), t.stamp} {
			t.bind(v)
		}
		for i := lo; i < lo+n; i++ {
			r := &m.Rows[i]
			t.bind(r.EntityID)
			t.bind(r.Date.String())
			t.bindOpt(r.Impressions.Value, r.Impressions.Set)
			t.bindOpt(r.Clicks.Value, r.Clicks.Set)
			t.bindOpt(int64(r.Spend.Value), r.Spend.Set)
			t.bind(decimal(r.Conversions))
			t.bindOpt(int64(r.ConversionValue.Value), r.ConversionValue.Set)
			t.bind(orNull(r.Currency))
			final := int64(0)
			if r.Date.Before(m.FinalBefore) {
				final = 1
			}
			t.bind(final)
			t.bind(rawText(r.Raw))
		}
		if _, err := t.execBound(metricsSQL[n]); err != nil {
			return err
		}
		lo += n
	}
	if m.End != nil {
		return t.endSlice(m)
	}
	return nil
}

func (t *commit) bindOpt(v int64, set bool) {
	if set {
		t.bind(v)
	} else {
		t.bind(nil)
	}
}

func (t *commit) endSlice(m *store.Metrics) error {
	e := m.End
	key := []any{t.ref.ClientID, t.ref.Connection, t.c.Account, m.Level, e.From.String(), e.To.String()}
	const where = " FROM daily_metrics WHERE client_id = ?1 AND connection = ?2 AND account_id = ?3 AND level = ?4 AND date BETWEEN ?5 AND ?6"
	if e.Failed == "" {
		n, err := t.exec("DELETE"+where+" AND synced_at < ?7", append(key, stamp(e.Since))...)
		if err != nil {
			return err
		}
		t.res.Deleted += n
	}
	rows := map[string]int64{}
	err := t.query("SELECT date, count(*)"+where+" GROUP BY date", func(v []driver.Value) error {
		rows[asString(v[0])] = asInt(v[1])
		return nil
	}, key...)
	if err != nil {
		return err
	}
	for d := e.From; !e.To.Before(d); d = d.Add(1) {
		day := common.DayOf(m, d, rows[d.String()])
		verified := any(t.stamp)
		if e.Failed != "" {
			verified = nil
		}
		_, err := t.exec(`INSERT INTO coverage (client_id, connection, account_id, stream, date, state, rows, verified_at, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
			ON CONFLICT (client_id, connection, account_id, stream, date) DO UPDATE SET state = excluded.state, rows = excluded.rows,
				verified_at = coalesce(excluded.verified_at, coverage.verified_at), note = excluded.note`,
			t.ref.ClientID, t.ref.Connection, t.c.Account, ads.StreamDaily(m.Level), d.String(), day.State, day.Rows, verified, textOrNull(day.Note))
		if err != nil {
			return err
		}
	}
	return nil
}

// parents notes which campaign and ad group records belong to, where their table has that.
func (t *commit) parents(l *store.Listed) error {
	if t.c.Stream != ads.StreamAdGroups && t.c.Stream != ads.StreamAds {
		return nil
	}
	for i := range l.Records {
		r := &l.Records[i]
		args := []any{t.ref.ClientID, t.ref.Connection, t.c.Account, r.ID, textOrNull(r.CampaignID), t.stamp}
		set, other := "campaign_id = ?5", "campaign_id IS NOT ?5"
		if t.c.Stream == ads.StreamAds {
			set, other = set+", ad_group_id = ?7", "("+other+" OR ad_group_id IS NOT ?7)"
			args = append(args, textOrNull(r.AdGroupID))
		}
		_, err := t.exec("UPDATE "+t.table+" SET "+set+", changed_at = ?6 WHERE client_id = ?1 AND connection = ?2 AND account_id = ?3 AND id = ?4 AND "+other, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// Coverage implements store.Store.
func (s *Store) Coverage(ctx context.Context, ref ads.Ref, account, stream string, from, to ads.Date) (out []store.Day, err error) {
	err = s.each(ctx, "read coverage", `SELECT date, state, rows, verified_at, note FROM coverage
		WHERE client_id = ? AND connection = ? AND account_id = ? AND stream = ? AND date BETWEEN ? AND ? ORDER BY date`,
		[]any{ref.ClientID, ref.Connection, account, stream, from.String(), to.String()}, func(rows *sql.Rows) error {
			var d store.Day
			var date string
			var verified nullStamp
			var note nullText
			err := rows.Scan(&date, &d.State, &d.Rows, &verified, &note)
			if err == nil {
				d.Date, err = ads.ParseDate(date)
			}
			d.VerifiedAt, d.Note = time.Time(verified), string(note)
			out = append(out, d)
			return err
		})
	return out, err
}

// DailyTotals implements store.Store.
func (s *Store) DailyTotals(ctx context.Context, ref ads.Ref, account, level string, from, to ads.Date, since time.Time) (out []store.DayTotal, err error) {
	err = s.each(ctx, "sum daily figures", `SELECT date, count(*), coalesce(sum(impressions), 0), coalesce(sum(clicks), 0), coalesce(sum(spend_micros), 0) FROM daily_metrics
		WHERE client_id = ? AND connection = ? AND account_id = ? AND level = ? AND date BETWEEN ? AND ? AND synced_at >= ? GROUP BY date ORDER BY date`,
		[]any{ref.ClientID, ref.Connection, account, level, from.String(), to.String(), stamp(since)}, func(rows *sql.Rows) error {
			var d store.DayTotal
			var date string
			err := rows.Scan(&date, &d.Rows, &d.Impressions, &d.Clicks, (*int64)(&d.Spend))
			if err == nil {
				d.Date, err = ads.ParseDate(date)
			}
			out = append(out, d)
			return err
		})
	return out, err
}
