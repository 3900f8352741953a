package common

import (
	"strings"

	"adsync/internal/store"
)

// CampaignLimit is how many campaigns f asks for.
func CampaignLimit(f store.CampaignFilter) int {
	if f.Limit <= 0 {
		return store.MaxCampaigns
	}
	return min(f.Limit, store.MaxCampaigns)
}

// CampaignOrder is the ORDER BY of f. lower is an expression of the name in lower case, whose order is that of its bytes.
func CampaignOrder(f store.CampaignFilter, lower string) string {
	columns := map[store.CampaignSort]string{
		store.ByName: lower, store.ByStatus: "status", store.ByBudget: "budget_micros", store.ByImpressions: "impressions", store.ByClicks: "clicks",
		store.BySynced: "synced_at", store.ByChanged: "coalesce(removed_at, changed_at)",
	}
	column, ok := columns[f.Sort]
	if !ok {
		return "account_id, id"
	}
	if f.Descending {
		column += " DESC"
	}
	return column + " NULLS LAST, account_id, id"
}

// CampaignSkip is how many rows f leaves out before the first.
func CampaignSkip(f store.CampaignFilter) int { return min(max(f.Skip, 0), store.MaxSkip) }

// Containing is the pattern of LIKE … ESCAPE '!' for texts that contain s, with ASCII letters in lower case.
func Containing(s string) string {
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)) + "%"
}
