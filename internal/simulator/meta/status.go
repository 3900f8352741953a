package meta

import "adsync/internal/simulator/internal/world"

// ownStatus is what the owner chose.
func ownStatus(t *world.Thing) string {
	return [...]string{"ACTIVE", "PAUSED", "ARCHIVED", "DELETED"}[t.State]
}

// effective is what comes of a thing's own status, those of its parents, and of its review.
func effective(c, g, a *world.Thing, l world.Level) string {
	all := [...]*world.Thing{c, g, a}
	chain := all[:l]
	for _, gone := range []world.State{world.Removed, world.Archived} {
		for _, t := range chain {
			if t.State == gone {
				return ownStatus(t)
			}
		}
	}
	own := chain[len(chain)-1]
	switch {
	case own.State == world.Paused:
		return "PAUSED"
	case c.State == world.Paused:
		return "CAMPAIGN_PAUSED"
	case l == world.OfAd && g.State == world.Paused:
		return "ADSET_PAUSED"
	}
	switch review := own.Hash >> 20 % 40; {
	case l == world.OfAd && review == 0:
		return "DISAPPROVED"
	case l == world.OfAd && review == 1:
		return "PENDING_REVIEW"
	case review == 2:
		return "WITH_ISSUES"
	case review == 3 && l < world.OfAd:
		return "IN_PROCESS"
	}
	return "ACTIVE"
}

// effectiveValues are those that each level's edge takes and shows.
var effectiveValues = [...][]string{
	world.OfCampaign: {"ACTIVE", "PAUSED", "DELETED", "ARCHIVED", "IN_PROCESS", "WITH_ISSUES"},
	world.OfGroup:    {"ACTIVE", "PAUSED", "DELETED", "CAMPAIGN_PAUSED", "ARCHIVED", "IN_PROCESS", "WITH_ISSUES"},
	world.OfAd: {
		"ACTIVE", "PAUSED", "DELETED", "PENDING_REVIEW", "DISAPPROVED", "PREAPPROVED", "PENDING_BILLING_INFO", "CAMPAIGN_PAUSED", "ARCHIVED", "ADSET_PAUSED",
		"IN_PROCESS", "WITH_ISSUES",
	},
}

func hidden(status string) bool { return status == "ARCHIVED" || status == "DELETED" }
