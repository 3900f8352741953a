package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"adsync/internal/ads"
	"adsync/internal/store"
	"adsync/internal/store/internal/common"
)

// Campaigns implements store.Store.
func (s *Store) Campaigns(ctx context.Context, f store.CampaignFilter) (out []store.CampaignRow, err error) {
	var where []string
	var args []any
	add := func(cond string, v ...any) {
		for _, v := range v {
			args = append(args, v)
			cond = strings.Replace(cond, "?", fmt.Sprint("$", len(args)), 1)
		}
		where = append(where, cond)
	}
	add("client_id = ?", f.Ref.ClientID)
	add("connection = ?", f.Ref.Connection)
	if f.Search != "" {
		add(`(lower(name COLLATE "C") LIKE ? ESCAPE '!' OR id = ?)`, common.Containing(f.Search), f.Search)
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
	args = append(args, common.CampaignLimit(f), common.CampaignSkip(f))
	query := `SELECT account_id, id, name, status, coalesce(platform_status, ''), coalesce(objective, ''), budget_micros, coalesce(budget_period, ''), coalesce(currency, ''), impressions, clicks,
		first_seen_at, changed_at, synced_at, removed_at FROM campaigns WHERE ` + strings.Join(where, " AND ") + fmt.Sprintf(" ORDER BY %s LIMIT $%d OFFSET $%d", common.CampaignOrder(f, `lower(name COLLATE "C")`), len(args)-1, len(args))
	err = s.read(ctx, "read campaigns", func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scanCampaign)
		return err
	})
	return out, err
}

func scanCampaign(row pgx.CollectableRow) (x store.CampaignRow, err error) {
	var budget, impressions, clicks *int64
	var gone *time.Time
	err = row.Scan(&x.Account, &x.ID, &x.Name, &x.Status, &x.PlatformStatus, &x.Objective, &budget, &x.BudgetPeriod, &x.Currency, &impressions, &clicks,
		&x.FirstSeenAt, &x.ChangedAt, &x.SyncedAt, &gone)
	if budget != nil {
		x.Budget = ads.Some(ads.Micros(*budget))
	}
	if impressions != nil {
		x.Impressions = ads.Some(*impressions)
	}
	if clicks != nil {
		x.Clicks = ads.Some(*clicks)
	}
	x.FirstSeenAt, x.ChangedAt, x.SyncedAt, x.RemovedAt = x.FirstSeenAt.UTC(), x.ChangedAt.UTC(), x.SyncedAt.UTC(), utc(gone)
	return x, err
}
