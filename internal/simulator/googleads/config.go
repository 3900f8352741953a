package googleads

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// The credentials that a simulator accepts unless told otherwise. They are published and protect nothing.
const (
	DefaultClientID     = "123456789012-simulated.apps.googleusercontent.com"
	DefaultClientSecret = "GOCSPX-simulated-change-me"
	DefaultRefreshToken = "1//simulated-refresh-token"
	ServiceAccountEmail = "adsync@simulated.iam.gserviceaccount.com"
)

// Config is how the simulated API behaves. Start from Default and change what matters: a zero value means what it says, except where a
// field's comment says otherwise.
type Config struct {
	Addr           string        // host:port that adsync simulate listens on; empty: localhost:3003
	ClientID       string        // empty: DefaultClientID
	ClientSecret   string        // empty: DefaultClientSecret
	RefreshTokens  []string      // none: DefaultRefreshToken
	TokenLife      time.Duration // of access tokens; 0: 1h
	RefreshLife    time.Duration // of refresh tokens; 0: they never expire
	DeveloperToken string        // that every call must bring; empty: the header is ignored

	Versions []int // major ones that work; none: 23 to 26. Others are refused

	Managers                           int // root managers, each with a second one below it; 0: all accounts are reached directly
	Direct                             int // so many accounts, the first ones, are reached directly as well
	Accounts, Campaigns, AdGroups, Ads int // campaigns per account, ad groups per campaign, ads per ad group
	Days                               int // how long ago the oldest campaigns began; 0: three years
	Denied                             int // so many accounts, the last ones, are in the tree but give no permission
	Canceled                           int // so many accounts before those are canceled
	PerformanceMax                     bool
	SettleTraffic, SettleConversions   int     // days until figures no longer move; 0: 3 and 30
	Access                             string  // test, explorer, basic, standard (no limit) or none; empty: standard
	Operations                         int64   // in 24 hours; 0: the access level's
	QPS                                float64 // of one customer; 0: no limit
	PageRows, StreamRows               int     // rows of a page and of a stream's chunk; 0: 10,000 and 1,000
	MaxDays                            int     // a wider range of days is refused when days are selected; 0: none is
	OmitZeros                          bool    // zeros and false are left out of answers

	Date    time.Time        // what the platform's clock shows at the start; zero: the truth
	Clock   func() time.Time // what time passes by, for tests; nil: time.Now
	Seed    uint64
	Speed   float64 // divides lengths of time, for demos; 0: 1
	Latency time.Duration
	TLS     bool
	Faults  []string // NAME[:key=value,…], see Catalogue
}

// Default is one manager with three accounts and 90 days of figures, and standard access.
func Default() Config {
	return Config{Addr: "localhost:3003", Managers: 1, Accounts: 3, Campaigns: 20, AdGroups: 2, Ads: 2, Days: 90, Access: "standard", Seed: 1, Speed: 1}
}

// newestVersion is the latest major version that is known here.
const newestVersion = 26

const maxRows = 10_000_000

func (c Config) normalise() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("simulator: "+format, args...)) }
	for _, t := range []struct {
		v   *string
		def string
	}{{&c.Addr, "localhost:3003"}, {&c.ClientID, DefaultClientID}, {&c.ClientSecret, DefaultClientSecret}, {&c.Access, "standard"}} {
		if *t.v == "" {
			*t.v = t.def
		}
	}
	if c.RefreshTokens == nil {
		c.RefreshTokens = []string{DefaultRefreshToken}
	}
	if c.Versions == nil {
		c.Versions = []int{23, 24, 25, 26}
	}
	for _, n := range []struct {
		name           string
		v              *int
		def, low, most int
	}{
		{"settle", &c.SettleTraffic, 3, 0, 1000},
		{"settle-conversions", &c.SettleConversions, 30, 0, 1000},
		{"page-rows", &c.PageRows, 10_000, 1, maxRows},
		{"stream-rows", &c.StreamRows, 1_000, 1, maxRows},
		{"managers", &c.Managers, 0, 0, 100_000},
		{"direct", &c.Direct, 0, 0, c.Accounts},
		{"denied", &c.Denied, 0, 0, c.Accounts},
		{"canceled", &c.Canceled, 0, 0, max(0, c.Accounts-c.Denied)},
		{"max-days", &c.MaxDays, 0, 0, 100_000},
	} {
		if *n.v == 0 {
			*n.v = n.def
		}
		if *n.v < n.low || *n.v > n.most {
			bad("%s %d: want %d to %d", n.name, *n.v, n.low, n.most)
		}
	}
	if c.TokenLife == 0 {
		c.TokenLife = time.Hour
	}
	if c.TokenLife < 0 || c.RefreshLife < 0 || c.Operations < 0 || !(c.QPS >= 0) {
		bad("lengths of time and limits: want 0 or more")
	}
	if _, ok := daily[c.Access]; !ok {
		bad("access %q: want test, explorer, basic, standard or none", c.Access)
	}
	if len(c.Versions) == 0 {
		bad("versions: at least one must work")
	}
	for _, v := range c.Versions {
		if v < 1 || v > 999 {
			bad("version %d: want a major version such as 26", v)
		}
	}
	return c, errors.Join(errs...)
}

// parseVersion reads v26.
func parseVersion(s string) (int, bool) {
	digits, ok := strings.CutPrefix(s, "v")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && n < 1000 && strconv.Itoa(n) == digits
}

func (c Config) world(anchor world.Day) world.Options {
	return world.Options{
		Seed: c.Seed, Accounts: c.Accounts, Campaigns: c.Campaigns, Groups: c.AdGroups, Ads: c.Ads, Days: c.Days, Anchor: anchor,
		SettleTraffic: c.SettleTraffic, SettleConversions: c.SettleConversions,
	}
}

func (c Config) host() stage.Options {
	return stage.Options{Clock: c.Clock, Seed: c.Seed, Faults: c.Faults, Speed: c.Speed, Date: c.Date, Latency: c.Latency, TLS: c.TLS}
}
