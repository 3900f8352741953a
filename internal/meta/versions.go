package meta

import (
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

const day = 24 * time.Hour

// DefaultVersion is the one that is asked for where nobody names another.
const DefaultVersion = "v26.0"

// Versions are those of the Marketing API, which end long before the Graph API's of the same numbers. The newest is the first.
func Versions() []platform.Version {
	return []platform.Version{
		{Name: "v26.0", Released: date("2026-07-29")},
		{Name: "v25.0", Released: date("2026-02-18")},
		{Name: "v24.0", Released: date("2025-10-08"), Sunset: date("2026-10-06")},
		{Name: "v23.0", Released: date("2025-05-29"), Sunset: date("2026-06-09")},
		{Name: "v22.0", Released: date("2025-01-21"), Sunset: date("2026-02-19")},
	}
}

func date(s string) ads.Date {
	d, err := ads.ParseDate(s)
	if err != nil {
		panic(err) // a constant of this file
	}
	return d
}

// levels are what figures are read at, each with the days that one slice may span. Ad sets and ads are read by report jobs.
var levels = []platform.Level{
	{Name: ads.LevelAccount, Days: 90},
	{Name: ads.LevelCampaign, Days: 30},
	{Name: ads.LevelAdGroup, Days: 30},
	{Name: ads.LevelAd, Days: 30},
}
