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

// Containing is the pattern of LIKE … ESCAPE '!' for texts that contain s, with ASCII letters in lower case.
func Containing(s string) string {
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)) + "%"
}
