package sqlite

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// Campaigns implements store.Store.
func (s *Store) Campaigns(ctx context.Context, f store.CampaignFilter) (out []store.CampaignRow, err error) {
	where, args := []string{"client_id = ?", "connection = ?"}, []any{f.Ref.ClientID, f.Ref.Connection}
	add := func(cond string, v ...any) { where, args = append(where, cond), append(args, v...) }
	if f.Search != "" {
		add("(lower(name) LIKE ? ESCAPE '!' OR id = ?)", common.Containing(f.Search), f.Search)
	}
	if f.Status != "" {
		add("status = ?", string(f.Status))
	}
	if f.AfterAccount != "" || f.AfterID != "" {
		add("(account_id, id) > (?, ?)", f.AfterAccount, f.AfterID)
	}
	removed := "removed_at IS NULL"
	if f.Removed {
		removed = "removed_at IS NOT NULL"
	}
	add(removed)
	query := `SELECT account_id, id, name, status, platform_status, objective, budget_micros, budget_period, currency, impressions, clicks, first_seen_at, changed_at, synced_at, removed_at
		FROM campaigns WHERE ` + strings.Join(where, " AND ") + " ORDER BY " + common.CampaignOrder(f, "lower(name)") + " LIMIT ? OFFSET ?"
	err = s.each(ctx, "read campaigns", query, append(args, common.CampaignLimit(f), common.CampaignSkip(f)), func(rows *sql.Rows) error {
		var x store.CampaignRow
		var platform, objective, period, currency nullText
		var budget, impressions, clicks sql.NullInt64
		var first, changed, synced, gone nullStamp
		if err := rows.Scan(&x.Account, &x.ID, &x.Name, &x.Status, &platform, &objective, &budget, &period, &currency, &impressions, &clicks, &first, &changed, &synced, &gone); err != nil {
			return err
		}
		x.PlatformStatus, x.Objective, x.BudgetPeriod, x.Currency = string(platform), string(objective), string(period), string(currency)
		x.Budget = ads.Opt[ads.Micros]{Value: ads.Micros(budget.Int64), Set: budget.Valid}
		x.Impressions = ads.Opt[int64]{Value: impressions.Int64, Set: impressions.Valid}
		x.Clicks = ads.Opt[int64]{Value: clicks.Int64, Set: clicks.Valid}
		x.FirstSeenAt, x.ChangedAt, x.SyncedAt, x.RemovedAt = time.Time(first), time.Time(changed), time.Time(synced), time.Time(gone)
		out = append(out, x)
		return nil
	})
	return out, err
}
