package googleads

import (
	"slices"
	"strings"

	"adsync/internal/ads"
)

// accountStatuses are those of a customer. One that is canceled can come back, one that is closed cannot; neither runs.
var accountStatuses = map[string]ads.Status{
	"ENABLED": ads.StatusActive, "SUSPENDED": ads.StatusPaused, "CANCELED": ads.StatusEnded, "CLOSED": ads.StatusEnded,
}

func accountStatus(s string) ads.Status {
	if st, ok := accountStatuses[s]; ok {
		return st
	}
	return ads.StatusUnknown
}

// primaries say what becomes of a thing that is enabled. An empty one is not known to the version that is asked.
var primaries = map[string]ads.Status{
	"": ads.StatusActive, "ELIGIBLE": ads.StatusActive, "LEARNING": ads.StatusActive, "LIMITED": ads.StatusActive, "MISCONFIGURED": ads.StatusActive, "NOT_ELIGIBLE": ads.StatusActive,
	"PENDING": ads.StatusDraft, "ENDED": ads.StatusEnded, "PAUSED": ads.StatusPaused, "REMOVED": ads.StatusRemoved,
}

// standing is what the platform says of a thing's state.
type standing struct {
	status   string
	primary  string
	reasons  []string
	approval string // of an ad
	review   string // of an ad
}

// status is a thing's state in our words. A parent that rests shows in the reasons only, an ad that was turned down in its approval.
func (s standing) normal() ads.Status {
	switch s.status {
	case "PAUSED":
		return ads.StatusPaused
	case "REMOVED":
		return ads.StatusRemoved
	case "ENABLED":
	default:
		return ads.StatusUnknown
	}
	out, ok := primaries[s.primary]
	switch {
	case !ok:
		return ads.StatusUnknown
	case s.approval == "DISAPPROVED":
		return ads.StatusPaused
	case s.primary == "PENDING" && s.review == "REVIEW_IN_PROGRESS":
		return ads.StatusDraft
	case s.primary == "NOT_ELIGIBLE":
		for _, end := range []struct {
			reason string
			status ads.Status
		}{{"_REMOVED", ads.StatusEnded}, {"_ENDED", ads.StatusEnded}, {"_PAUSED", ads.StatusPaused}, {"_PENDING", ads.StatusDraft}} {
			if slices.ContainsFunc(s.reasons, func(r string) bool { return strings.HasSuffix(r, end.reason) }) {
				return end.status
			}
		}
	}
	return out
}

// Objectives in our words. The platform has no such field: it follows from the kind of campaign and how it bids.
const (
	objectiveSales     = "sales"
	objectiveLeads     = "leads"
	objectiveApp       = "app_promotion"
	objectiveTraffic   = "traffic"
	objectiveVideo     = "video_views"
	objectiveAwareness = "awareness"
	objectiveUnknown   = "unknown"
)

// byBidding and byChannel: an app is told by the channel, then the bidding counts, then the channel.
var (
	byBidding = map[string]string{
		"MAXIMIZE_CONVERSION_VALUE": objectiveSales, "TARGET_ROAS": objectiveSales, "MAXIMIZE_CONVERSIONS": objectiveSales, "TARGET_CPA": objectiveSales,
		"TARGET_SPEND": objectiveTraffic, "MANUAL_CPC": objectiveTraffic, "PERCENT_CPC": objectiveTraffic, "ENHANCED_CPC": objectiveTraffic,
		"TARGET_CPM": objectiveAwareness, "MANUAL_CPM": objectiveAwareness, "FIXED_CPM": objectiveAwareness, "TARGET_IMPRESSION_SHARE": objectiveAwareness,
	}
	byChannel = map[string]string{
		"SHOPPING": objectiveSales, "HOTEL": objectiveSales, "TRAVEL": objectiveSales, "PERFORMANCE_MAX": objectiveSales, "SMART": objectiveSales, "LOCAL_SERVICES": objectiveLeads,
	}
)

func objective(channel, sub, bidding string) string {
	switch {
	case channel == "MULTI_CHANNEL" || strings.HasPrefix(sub, "APP_CAMPAIGN"):
		return objectiveApp
	case (channel == "VIDEO" || channel == "DEMAND_GEN") && (bidding == "MANUAL_CPV" || bidding == "TARGET_CPV"):
		return objectiveVideo
	case channel == "LOCAL_SERVICES" && (bidding == "MAXIMIZE_CONVERSIONS" || bidding == "TARGET_CPA"):
		return objectiveLeads
	}
	if o, ok := byBidding[bidding]; ok {
		return o
	}
	if o, ok := byChannel[channel]; ok {
		return o
	}
	return objectiveUnknown
}
