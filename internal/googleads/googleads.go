// Package googleads is the connector for the Google Ads API over REST: accounts below managers, queries in GAQL that are answered in pages or as
// a stream, quotas of operations per day and of queries per second that tell of themselves in refusals only.
//
// It describes requests and reads answers. Loops, waits, tokens and tries belong to the engine and the client. It imports ads and platform and
// nothing else of adsync.
package googleads

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// Name is the platform's name in configurations and tables.
const Name = "google_ads"

// The credentials of a connection by name: either a client with a refresh token, or a service account. The developer token is needed only where the
// platform still asks for it.
const (
	CredentialClientID       = "client_id"
	CredentialClientSecret   = "client_secret"
	CredentialRefreshToken   = platform.CredentialRefreshToken
	CredentialServiceAccount = "service_account" // the JSON key, whole
	CredentialDeveloperToken = "developer_token"
)

// BaseURL is where the API is, and OAuthURL where tokens come from.
const (
	BaseURL  = "https://googleads.googleapis.com"
	OAuthURL = "https://oauth2.googleapis.com"
)

// Labels of requests in logs and metrics.
const (
	endpointToken    = "token"
	endpointRoots    = "list accessible customers"
	endpointAccounts = "list accounts"
	endpointList     = "list "
	endpointReport   = "report"
)

const day = 24 * time.Hour

// History is how many days back daily figures are served: 37 months, less what their lengths may differ by.
const History = 1122

// MaxDays is the widest range that every resource accepts in one query.
const MaxDays = 30

// Options are the settings of one connection.
type Options struct {
	Version         string   // of the API: "v26"; empty: DefaultVersion
	LoginCustomerID string   // the manager by which access is granted; empty: every customer that the user reaches is looked at
	Include         []string // patterns of accounts, by id or name; none: all
	Exclude         []string // patterns of accounts that are left out
	Inactive        bool     // read accounts that are not enabled too: test accounts are closed ones
	Levels          []string // of daily figures; none: all
	OAuthURL        string   // origin of the token endpoint; empty: OAuthURL
	Restated        int      // days for which figures move; 0: 30
	Days            int      // that one query for figures spans at most; 0: MaxDays
	Stream          bool     // read figures by searchStream: a slice in one answer, without page tokens, instead of pages
}

// Platform implements platform.Reporter and platform.Authenticator.
type Platform struct {
	o      Options
	spec   platform.Spec
	filter accountFilter

	// The customers by which accounts were reached after the hierarchy had changed under a run. It is a memory of what discovery found, and changes no
	// answer; turn is held while somebody looks.
	turn  chan struct{}
	mu    sync.Mutex
	roots map[string]string
	looks int
}

var (
	_ platform.Reporter      = (*Platform)(nil)
	_ platform.Authenticator = (*Platform)(nil)
)

// New makes the connector of one connection. The error names the setting that is wrong.
func New(o Options) (*Platform, error) {
	o.Version = cmp.Or(o.Version, DefaultVersion)
	o.OAuthURL = strings.TrimRight(cmp.Or(o.OAuthURL, OAuthURL), "/")
	o.Restated = cmp.Or(o.Restated, 30)
	o.Days = cmp.Or(o.Days, MaxDays)
	o.LoginCustomerID = bare(o.LoginCustomerID)
	switch u, err := url.Parse(o.OAuthURL); {
	case !isVersion(o.Version):
		return nil, fmt.Errorf("%q is no version of the API: want one such as %s", o.Version, DefaultVersion)
	case o.LoginCustomerID != "" && !isID(o.LoginCustomerID):
		return nil, fmt.Errorf("login_customer_id %q: want the ten digits of a manager account, such as 123-456-7890", o.LoginCustomerID)
	case err != nil || u.Host == "" || u.Path != "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%q is no origin of a token endpoint: want one such as %s", o.OAuthURL, OAuthURL)
	case o.Restated < 0 || o.Restated > History:
		return nil, fmt.Errorf("%d days for which figures move: want 1 to %d", o.Restated, History)
	case o.Days < 1 || o.Days > MaxDays:
		return nil, fmt.Errorf("%d days in one query: want 1 to %d", o.Days, MaxDays)
	}
	p := &Platform{o: o, turn: make(chan struct{}, 1), roots: map[string]string{}}
	var err error
	if p.filter, err = newAccountFilter(o.Include, o.Exclude); err != nil {
		return nil, err
	}
	p.spec = platform.Spec{
		Name: Name, Accounts: true, Version: platform.VersionNamed(Versions(), o.Version), Origins: []string{o.OAuthURL},
		// Pages have 10,000 rows, whatever is asked for: PageRows stays 0.
		Streams: []platform.Stream{
			{Name: ads.StreamCampaigns, RecordName: "campaign"},
			{Name: ads.StreamAdGroups, RecordName: "ad group"},
			{Name: ads.StreamAds, RecordName: "ad"},
		},
		Reports: platform.Reports{History: History, Restated: o.Restated, Tolerance: 0.005, Reread: cadence(o.Restated)},
	}
	for _, name := range o.Levels {
		if !slices.Contains(levels, name) {
			return nil, fmt.Errorf("there is no level %q: want %s", name, strings.Join(levels, ", "))
		}
	}
	for _, name := range levels {
		if len(o.Levels) == 0 || slices.Contains(o.Levels, name) {
			p.spec.Reports.Levels = append(p.spec.Reports.Levels, platform.Level{Name: name, Days: o.Days})
		}
	}
	return p, nil
}

var levels = []string{ads.LevelAccount, ads.LevelCampaign, ads.LevelAdGroup, ads.LevelAd}

// cadence is how often days are read again: the last ones in each run, those within the usual window of conversions daily, older ones weekly. The
// lengths are a little below, so that a schedule of once a day meets them each time.
func cadence(restated int) []platform.Reread {
	const usual = 30
	out := []platform.Reread{{Age: min(2, restated)}, {Age: min(usual, restated), Every: day - 4*time.Hour}}
	if restated > usual {
		out = append(out, platform.Reread{Age: restated, Every: 7*day - 4*time.Hour})
	}
	return out
}

// Spec implements platform.Platform.
func (p *Platform) Spec() platform.Spec { return p.spec }

// header is what every call carries besides its secrets. Without a root the user's own access is meant.
func header(root string) http.Header {
	h := http.Header{"Accept": {"application/json"}}
	if root != "" {
		h.Set("Login-Customer-Id", root)
	}
	return h
}

// seal adds the token, and the developer token where there is one. Since September 2026 the platform asks for none: one that is missing is no mistake.
func seal(s platform.Secrets, r *platform.Request) {
	r.Header.Set("Authorization", "Bearer "+s.Token())
	if t := s.Credential(CredentialDeveloperToken); t != "" {
		r.Header.Set("Developer-Token", t)
	}
}

// ask is a query to a customer. pageToken continues one.
func (p *Platform) ask(endpoint, method, customer, root, query, pageToken string, total bool) platform.Request {
	in := map[string]any{"query": query}
	if pageToken != "" {
		in["pageToken"] = pageToken
	}
	if total {
		in["searchSettings"] = map[string]bool{"returnTotalResultsCount": true}
	}
	body, _ := json.Marshal(in)
	h := header(root)
	h.Set("Content-Type", "application/json")
	return platform.Request{
		Endpoint: endpoint, Method: http.MethodPost, Path: "/" + p.o.Version + "/customers/" + url.PathEscape(customer) + "/googleAds:" + method,
		Header: h, Body: body, Repeatable: true, Critical: true, Scope: scope(customer), Seal: seal,
	}
}

// scope is what a throttle of one customer's requests is about.
func scope(customer string) string { return "account " + customer }
