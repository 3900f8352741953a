package meta

import (
	"slices"
	"strings"
	"time"

	"adsync/internal/ads"
)

// statuses map what the platform makes of a thing's own state and those of its parents.
var statuses = map[string]ads.Status{
	"ACTIVE": ads.StatusActive, "WITH_ISSUES": ads.StatusActive,
	"PAUSED": ads.StatusPaused, "CAMPAIGN_PAUSED": ads.StatusPaused, "ADSET_PAUSED": ads.StatusPaused, "DISAPPROVED": ads.StatusPaused,
	"PENDING_BILLING_INFO": ads.StatusPaused, "CREDIT_CARD_NEEDED": ads.StatusPaused, "DISABLED": ads.StatusPaused,
	"IN_PROCESS": ads.StatusDraft, "PENDING_REVIEW": ads.StatusDraft, "PREAPPROVED": ads.StatusDraft, "PENDING_PROCESS": ads.StatusDraft,
	"ARCHIVED": ads.StatusEnded, "DELETED": ads.StatusRemoved,
}

// status is the state of a thing in our words. One that runs by its own word and is past its end has ended.
func status(effective string, end ads.Opt[time.Time], now time.Time) ads.Status {
	s, ok := statuses[strings.ToUpper(effective)]
	switch {
	case !ok:
		return ads.StatusUnknown
	case s == ads.StatusActive && end.Set && end.Value.Before(now):
		return ads.StatusEnded
	}
	return s
}

// accountStatuses by account_status.
var accountStatuses = map[string]ads.Status{
	"1": ads.StatusActive, "9": ads.StatusActive, "201": ads.StatusActive,
	"2": ads.StatusPaused, "3": ads.StatusPaused, "7": ads.StatusPaused, "8": ads.StatusPaused,
	"100": ads.StatusEnded, "101": ads.StatusEnded, "202": ads.StatusEnded,
}

func accountStatus(s string) ads.Status {
	if st, ok := accountStatuses[s]; ok {
		return st
	}
	return ads.StatusUnknown
}

// objectives map both generations of the platform's words.
var objectives = map[string]string{
	"OUTCOME_AWARENESS": "awareness", "BRAND_AWARENESS": "awareness", "REACH": "awareness", "LOCAL_AWARENESS": "awareness",
	"OUTCOME_TRAFFIC": "traffic", "LINK_CLICKS": "traffic",
	"OUTCOME_ENGAGEMENT": "engagement", "POST_ENGAGEMENT": "engagement", "PAGE_LIKES": "engagement", "EVENT_RESPONSES": "engagement", "MESSAGES": "engagement",
	"VIDEO_VIEWS":   "video_views",
	"OUTCOME_LEADS": "leads", "LEAD_GENERATION": "leads",
	"OUTCOME_APP_PROMOTION": "app_promotion", "APP_INSTALLS": "app_promotion",
	"OUTCOME_SALES": "sales", "CONVERSIONS": "sales", "PRODUCT_CATALOG_SALES": "sales", "OFFER_CLAIMS": "sales", "STORE_VISITS": "sales",
}

func objective(s string) string {
	if o, ok := objectives[s]; ok {
		return o
	}
	if s == "" {
		return ""
	}
	return "unknown"
}

// wholeUnits are the currencies whose amounts come in whole units. All others come in hundredths, also those that ISO 4217 gives another number of digits.
var wholeUnits = []string{"CLP", "COP", "CRC", "HUF", "IDR", "ISK", "JPY", "KRW", "PYG", "TWD", "VND"}

// amount reads an entity's money: a whole number of the currency's smallest unit. Nothing and 0 mean that there is none.
func amount(s, currency string) (ads.Opt[ads.Micros], error) {
	if s == "" {
		return ads.Opt[ads.Micros]{}, nil
	}
	n, err := ads.ParseInt(s)
	if err != nil || n == 0 {
		return ads.Opt[ads.Micros]{}, err
	}
	unit := int64(10_000)
	if slices.Contains(wholeUnits, currency) {
		unit = 1_000_000
	}
	if n > (1<<63-1)/unit || n < -(1<<63-1)/unit {
		return ads.Opt[ads.Micros]{}, ads.ErrOutOfRange
	}
	return ads.Some(ads.Micros(n * unit)), nil
}

// effective are the states that the listing of each stream knows. Those that are archived or deleted only come where they are asked for.
var effective = map[string][]string{
	ads.LevelCampaign: {"ACTIVE", "PAUSED", "DELETED", "ARCHIVED", "IN_PROCESS", "WITH_ISSUES"},
	ads.LevelAdGroup:  {"ACTIVE", "PAUSED", "DELETED", "CAMPAIGN_PAUSED", "ARCHIVED", "IN_PROCESS", "WITH_ISSUES"},
	ads.LevelAd: {
		"ACTIVE", "PAUSED", "DELETED", "PENDING_REVIEW", "DISAPPROVED", "PREAPPROVED", "PENDING_BILLING_INFO", "CAMPAIGN_PAUSED", "ARCHIVED", "ADSET_PAUSED",
		"IN_PROCESS", "WITH_ISSUES",
	},
}

// parseTime reads "2026-11-03T09:15:22-0800", whose offset has no colon. The beginning of 1970 stands for none.
func parseTime(s string) (ads.Opt[time.Time], error) {
	if s == "" {
		return ads.Opt[time.Time]{}, nil
	}
	t, err := time.Parse("2006-01-02T15:04:05-0700", s)
	if err != nil {
		if t, err = time.Parse(time.RFC3339, s); err != nil {
			return ads.Opt[time.Time]{}, err
		}
	}
	if t.Unix() <= int64(day/time.Second) || t.Year() > 9999 {
		return ads.Opt[time.Time]{}, nil
	}
	return ads.Some(t.UTC()), nil
}
