// Package meta is the connector for Meta's Marketing API (Facebook and Instagram ads): listings by cursor, figures at once or by report jobs
// that outlive a process, and quotas that tell of themselves in headers and in the body of a 200.
//
// It describes requests and reads answers. Loops, waits, tokens and tries belong to the engine and the client.
package meta

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// Name is the platform's name in configurations and tables.
const Name = "meta"

// The credentials of a connection besides platform.CredentialAccessToken.
const CredentialAppSecret = "app_secret"

// Labels of requests in logs and metrics.
const (
	endpointAccounts = "list accounts"
	endpointAccount  = "read account"
	endpointBusiness = "list businesses"
	endpointList     = "list "
	endpointInsights = "insights"
	endpointAsk      = "ask for report"
	endpointJob      = "report status"
	endpointRows     = "report rows"
	endpointToken    = "token"
)

// Options are the settings of one connection.
type Options struct {
	Version    string   // of the API: "v26.0"; empty: DefaultVersion
	AppID      string   // needed to exchange a token before it ends
	AppSecret  bool     // there is one among the credentials
	Renew      bool     // exchange the token before it ends
	Businesses []string // business portfolios whose accounts are read; AllBusinesses: all that the token sees; none: the accounts that the token has a role in
	Include    []string // patterns of accounts, by id or name; none: all
	Exclude    []string // patterns of accounts that are left out
	Levels     []string // of daily figures; none: all
	Purchases  []string // action types that are counted as conversions: the first of them that a row has; none: DefaultPurchases
	PageRows   int      // of a listing; 0: 200
	ReportRows int      // of a page of figures; 0: 500
	Restated   int      // days for which figures move; 0: 28
}

// AllBusinesses stands for every business portfolio that the token sees.
const AllBusinesses = "all"

// DefaultPurchases are the names of one and the same purchase, the widest first. They must never be added up.
var DefaultPurchases = []string{"omni_purchase", "purchase", "offsite_conversion.fb_pixel_purchase"}

// History is how many days back figures are served: 37 months, less what their lengths may differ by.
const History = 1122

// Platform implements platform.Reporter and platform.Refresher.
type Platform struct {
	o      Options
	spec   platform.Spec
	filter accountFilter
}

var (
	_ platform.Reporter  = (*Platform)(nil)
	_ platform.Refresher = (*Platform)(nil)
)

// New makes the connector of one connection. The error names the setting that is wrong.
func New(o Options) (*Platform, error) {
	o.Version = cmp.Or(o.Version, DefaultVersion)
	o.PageRows = cmp.Or(o.PageRows, 200)
	o.ReportRows = cmp.Or(o.ReportRows, 500)
	o.Restated = cmp.Or(o.Restated, 28)
	if len(o.Purchases) == 0 {
		o.Purchases = DefaultPurchases
	}
	p := &Platform{o: o}
	var err error
	if p.filter, err = newAccountFilter(o.Include, o.Exclude); err != nil {
		return nil, err
	}
	p.spec = platform.Spec{
		Name: Name, Accounts: true, Version: platform.VersionNamed(Versions(), o.Version),
		Streams: []platform.Stream{
			{Name: ads.StreamCampaigns, PageRows: o.PageRows, RecordName: "campaign"},
			{Name: ads.StreamAdGroups, PageRows: o.PageRows, RecordName: "ad set"},
			{Name: ads.StreamAds, PageRows: o.PageRows, RecordName: "ad"},
		},
		Reports: platform.Reports{
			History: History, Restated: o.Restated, Tolerance: 0.005,
			Reread: []platform.Reread{{Age: 3}, {Age: 8, Every: 20 * time.Hour}, {Age: o.Restated, Every: 7*day - 4*time.Hour}},
		},
	}
	for _, l := range levels {
		if len(o.Levels) == 0 || slices.Contains(o.Levels, l.Name) {
			p.spec.Reports.Levels = append(p.spec.Reports.Levels, l)
		}
	}
	for _, name := range o.Levels {
		if !slices.ContainsFunc(levels, func(l platform.Level) bool { return l.Name == name }) {
			return nil, fmt.Errorf("there is no level %q", name)
		}
	}
	return p, nil
}

// Spec implements platform.Platform.
func (p *Platform) Spec() platform.Spec { return p.spec }

// path is below the version, which every call names.
func (p *Platform) path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/" + p.o.Version)
	for _, s := range parts {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// get is a request that reads.
func (p *Platform) get(endpoint, path string, q url.Values) platform.Request {
	return platform.Request{
		Endpoint: endpoint, Method: http.MethodGet, Path: path, Query: q.Encode(), Header: http.Header{"Accept": {"application/json"}},
		Repeatable: true, Critical: true, Seal: p.seal(),
	}
}

// seal adds the token and, where there is an app's secret, the proof that the app itself sends it.
func (p *Platform) seal() func(platform.Secrets, *platform.Request) {
	return func(s platform.Secrets, r *platform.Request) {
		token := s.Token()
		r.Header.Set("Authorization", "Bearer "+token)
		secret := s.Credential(CredentialAppSecret)
		if secret == "" || token == "" {
			return
		}
		m := hmac.New(sha256.New, []byte(secret))
		m.Write([]byte(token))
		if r.Query != "" {
			r.Query += "&"
		}
		r.Query += "appsecret_proof=" + hex.EncodeToString(m.Sum(nil))
	}
}

// scope is what a throttle of one account's requests is about.
func scope(acc ads.Account) string { return "account " + acc.ID }

func act(acc ads.Account) string { return "act_" + acc.ID }
