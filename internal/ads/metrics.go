package ads

// Levels at which daily figures are kept.
const (
	LevelAccount  = "account"
	LevelCampaign = "campaign"
	LevelAdGroup  = "ad_group"
	LevelAd       = "ad"
)

// Streams of the contract besides campaigns.
const (
	StreamAccounts = "accounts"
	StreamAdGroups = "ad_groups"
	StreamAds      = "ads"
)

// StreamDaily is the name of the stream of daily figures at a level: "daily_metrics_campaign".
func StreamDaily(level string) string { return "daily_metrics_" + level }

// DailyMetrics is what one entity did on one day of its account's calendar. A platform gives no row for a day without activity: absent is not zero.
type DailyMetrics struct {
	EntityID        string // of the level; the account's own id at LevelAccount
	Date            Date
	Impressions     Opt[int64]
	Clicks          Opt[int64]
	Spend           Opt[Micros] // in the account's currency
	Conversions     Opt[Decimal]
	ConversionValue Opt[Micros]
	Currency        string
	Raw             []byte // the platform's row as received (JSON)
}
