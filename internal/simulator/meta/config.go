package meta

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// The credentials that a simulator accepts unless told otherwise. They are published and protect nothing.
const (
	DefaultAppID     = "123456789012345"
	DefaultAppSecret = "simulated-app-secret-change-me"
	DefaultToken     = "EAAsimulatedSystemUserToken"
)

// Config is how the simulated API behaves. Start from Default and change what matters: a zero value means what it says, except where a
// field's comment says otherwise.
type Config struct {
	Addr      string // host:port that adsync simulate listens on; empty: localhost:3002
	AppID     string // empty: DefaultAppID
	AppSecret string // empty: DefaultAppSecret

	// Tokens are those of system users, as TOKEN or TOKEN=ACCOUNTS where it sees only some ("1-10|12"); none: DefaultToken, which sees all.
	Tokens       []string
	TokenLife    time.Duration // of the tokens above; 0: they never expire
	UserLife     time.Duration // of a short user token; 0: 1h
	LongLife     time.Duration // of an exchanged one; 0: 60 days
	Scopes       []string      // that tokens have; none: ads_read and business_management
	RequireProof bool          // calls without appsecret_proof are refused

	Versions []string // that work; none: v25.0 and v26.0. Older ones are switched off
	Upgrade  bool     // a call to a version that is switched off is answered by the oldest that works, instead of refused

	Businesses, Accounts, Campaigns, AdSets, Ads int // campaigns per account, ad sets per campaign, ads per ad set
	Denied                                       int // so many accounts, the last ones, are listed but give no permission

	Tier            string        // limited, full or none (no limits)
	ScoreLimit      int64         // points an account may spend in five minutes; 0: the tier's
	InsightsLimit   int64         // insights calls per account and hour; 0: the tier's, by active ads
	ManagementLimit int64         // other calls per account and hour; 0: the tier's, by active ads
	AppLimit        int64         // calls of the app per hour; 0: none
	MaxJobs         int           // report jobs that may run at once in an account; 0: any number
	ThrottleStatus  int           // HTTP status of refusals for quota; 0: 400
	HeadersFrom     int           // usage headers appear from so many per cent; 0: 1
	PageRows        int           // a page of more rows is refused: reduce the amount of data; 0: 1000
	SyncRows        int           // insights of more rows are refused, but for jobs; 0: 50,000
	JobRows         int           // and even for jobs; 0: 1,000,000
	JobTime         time.Duration // how long a report job runs
	JobLife         time.Duration // how long its results are there; 0: 30 days
	HideDeleted     bool          // deleted things are on no edge, whatever is asked for; they stay readable by id
	OmitDeletedRows bool          // insights leave out archived and deleted things unless filtering names their effective_status
	Days            int           // how long ago the oldest campaigns began; 0: three years

	SettleTraffic     int // days until impressions, clicks and spend no longer move; 0: 3
	SettleConversions int // days until conversions no longer move; 0: 28

	Date    time.Time        // what the platform's clock shows at the start; zero: the truth
	Clock   func() time.Time // what time passes by, for tests; nil: time.Now
	Seed    uint64
	Speed   float64 // divides lengths of time, for demos; 0: 1
	Latency time.Duration
	TLS     bool
	Faults  []string // NAME[:key=value,…], see Catalogue
}

// Default is an agency's business with three accounts and 90 days of figures, on the full tier.
func Default() Config {
	return Config{
		Addr: "localhost:3002", Businesses: 1, Accounts: 3, Campaigns: 20, AdSets: 2, Ads: 2, Days: 90,
		Tier: "full", JobTime: 2 * time.Second, Seed: 1, Speed: 1,
	}
}

// maxRows bounds the pages and reports that are served.
const maxRows = 100_000_000

func (c Config) normalise() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("simulator: "+format, args...)) }
	text := func(v *string, def string) {
		if *v == "" {
			*v = def
		}
	}
	text(&c.Addr, "localhost:3002")
	text(&c.AppID, DefaultAppID)
	text(&c.AppSecret, DefaultAppSecret)
	if c.Tokens == nil {
		c.Tokens = []string{DefaultToken}
	}
	if c.Scopes == nil {
		c.Scopes = []string{"ads_read", "business_management"}
	}
	if c.Versions == nil {
		c.Versions = []string{"v25.0", "v26.0"}
	}
	text(&c.Tier, "full")
	for _, n := range []struct {
		name string
		v    *int
		def  int
		most int
	}{
		{"throttle-status", &c.ThrottleStatus, 400, 599},
		{"headers-from", &c.HeadersFrom, 1, 100},
		{"page-rows", &c.PageRows, 1000, maxRows},
		{"sync-rows", &c.SyncRows, 50_000, maxRows},
		{"job-rows", &c.JobRows, 1_000_000, maxRows},
		{"settle", &c.SettleTraffic, 3, 1000},
		{"settle-conversions", &c.SettleConversions, 28, 1000},
		{"max-jobs", &c.MaxJobs, 0, maxRows},
		{"days", &c.Days, 0, world.MaxDays},
		{"businesses", &c.Businesses, 0, 1000},
	} {
		if *n.v == 0 {
			*n.v = n.def
		}
		if *n.v < 0 || *n.v > n.most {
			bad("%s %d: want 0 to %d", n.name, *n.v, n.most)
		}
	}
	for _, d := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{
		{"token-life", &c.TokenLife, 0},
		{"user-life", &c.UserLife, time.Hour},
		{"long-life", &c.LongLife, 60 * 24 * time.Hour},
		{"job-time", &c.JobTime, 0},
		{"job-life", &c.JobLife, 30 * 24 * time.Hour},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
		if *d.v < 0 {
			bad("%s %s: want 0 or more", d.name, *d.v)
		}
	}
	if !slices.Contains([]string{"limited", "full", "none"}, c.Tier) {
		bad("tier %q: want limited, full or none", c.Tier)
	}
	if c.ScoreLimit < 0 || c.InsightsLimit < 0 || c.ManagementLimit < 0 || c.AppLimit < 0 {
		bad("limits: want 0 (the tier's) or more")
	}
	if c.Denied < 0 || c.Denied > c.Accounts {
		bad("denied %d: want 0 to the %d accounts there are", c.Denied, c.Accounts)
	}
	for _, v := range c.Versions {
		if _, ok := parseVersion(v); !ok {
			bad("version %q: want one such as v26.0", v)
		}
	}
	if len(c.Versions) == 0 {
		bad("versions: at least one must work")
	}
	return c, errors.Join(errs...)
}

// parseVersion reads v26.0.
func parseVersion(s string) (int, bool) {
	digits, ok := strings.CutPrefix(s, "v")
	if !ok {
		return 0, false
	}
	major, minor, ok := strings.Cut(digits, ".")
	n, err := strconv.Atoi(major)
	m, err2 := strconv.Atoi(minor)
	if !ok || err != nil || err2 != nil || n < 1 || n > 999 || m < 0 || m > 9 || major[0] == '0' || major[0] == '+' || len(minor) != 1 {
		return 0, false
	}
	return n*10 + m, true
}

func (c Config) world(anchor world.Day) world.Options {
	return world.Options{
		Seed: c.Seed, Accounts: c.Accounts, Campaigns: c.Campaigns, Groups: c.AdSets, Ads: c.Ads,
		Days: c.Days, Anchor: anchor, Whole: true, ArchivedState: true, SettleTraffic: c.SettleTraffic, SettleConversions: c.SettleConversions,
	}
}

func (c Config) host() stage.Options {
	return stage.Options{Clock: c.Clock, Seed: c.Seed, Faults: c.Faults, Speed: c.Speed, Date: c.Date, Latency: c.Latency, TLS: c.TLS}
}
