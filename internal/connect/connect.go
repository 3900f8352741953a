// Package connect makes of a configured connection what runs it: its connector, its client, its quota bucket and the engine's options. It is
// the one place that knows all connectors.
//
// It imports what it puts together, and must not import a database, a queue or anything that prints.
package connect

import (
	"fmt"
	"time"

	"adsync/internal/adplatform"
	"adsync/internal/ads"
	"adsync/internal/apiclient"
	"adsync/internal/config"
	"adsync/internal/engine"
	"adsync/internal/googleads"
	"adsync/internal/meta"
	"adsync/internal/observe"
	"adsync/internal/platform"
	"adsync/internal/quota"
)

// Maker has what the connections of one process share.
type Maker struct {
	Quota     *quota.Manager    // nil: no quota is kept, for a login alone
	Shared    *apiclient.Shared // sockets, and the knowledge whether a host answers
	Observer  observe.Observer
	MaxWait   time.Duration // a longer wait is given back as ads.ClassDeferred
	ParkAfter time.Duration // so long a host may be down before requests to it are given back; 0: the client's own
	Grace     time.Duration // for an attempt that is out when its run is stopped; 0: the client's own
	InFlight  int           // follow-up calls at once of one connection, at most; 0: the engine's own
}

// UnknownPlatformError names a platform that is not in this build.
type UnknownPlatformError struct{ Platform string }

func (e *UnknownPlatformError) Error() string {
	return fmt.Sprintf("the platform %s is not in this build", e.Platform)
}

// Platform is the connector of a connection.
func Platform(c config.Connection) (platform.Platform, error) {
	if c.Platform == adplatform.Name {
		return adplatform.New(adplatform.Options{
			Account: c.Ref.ClientID, XClientID: sentClientID(c), PageSize: c.PageSize, PerCampaignSync: c.PerCampaignSync,
		}), nil
	}
	n := c.Network
	switch c.Platform {
	case meta.Name:
		return meta.New(meta.Options{
			Version: n.APIVersion, AppID: n.QuotaOwner, AppSecret: !c.Credentials.Get(meta.CredentialAppSecret).Empty(), Renew: n.Renew, Businesses: n.Businesses,
			Include: n.Include, Exclude: n.Exclude, Levels: n.Levels, Purchases: n.Purchases, Restated: n.Lookback,
		})
	case googleads.Name:
		return googleads.New(googleads.Options{
			Version: n.APIVersion, LoginCustomerID: n.Manager, Include: n.Include, Exclude: n.Exclude, Inactive: n.Inactive, Levels: n.Levels,
			OAuthURL: n.OAuthURL, Restated: n.Lookback,
		})
	}
	return nil, &UnknownPlatformError{c.Platform}
}

// Versions are the versions of a platform's API, the newest first; none where it has none.
func Versions(name string) []platform.Version {
	switch name {
	case meta.Name:
		return meta.Versions()
	case googleads.Name:
		return googleads.Versions()
	}
	return nil
}

// Declare makes a connection's limits known, so that all that share a bucket keep to them before the first one sends. What the connection
// declared before, under other settings, is void.
func (m *Maker) Declare(c config.Connection) {
	if m.bucket(c) != nil {
		m.Quota.Retire(c.Ref.String(), BucketName(c))
	}
}

// Retire takes a connection's limits back.
func (m *Maker) Retire(c config.Connection) {
	if m.Quota != nil {
		m.Quota.Retire(c.Ref.String())
	}
}

func (m *Maker) bucket(c config.Connection) *quota.Bucket {
	if m.Quota == nil {
		return nil
	}
	return m.Quota.Declare(c.Ref.String(), BucketName(c), c.Ref.ClientID, c.Quota)
}

// Client is the connection's way to its platform.
func (m *Maker) Client(p platform.Platform, c config.Connection) (*apiclient.Client, error) {
	return apiclient.New(apiclient.Config{
		Platform: p, Ref: c.Ref, BaseURL: c.URL, CA: c.CA, Email: c.Email, Password: c.Password, Credentials: c.Credentials, CredentialSource: c.CredentialSource,
		Bucket: m.bucket(c), Timeout: c.Timeout, MaxElapsed: c.MaxElapsed, MaxWait: m.MaxWait, ParkAfter: m.ParkAfter, Grace: m.Grace, Shared: m.Shared, Observer: m.Observer,
	})
}

// Options fills in what the engine needs to know of the connection; the rest of o stays.
func (m *Maker) Options(o engine.Options, c config.Connection) engine.Options {
	o.Ref, o.PlanKey, o.Slack, o.Observer = c.Ref, BucketName(c), c.MaxListingSlack, m.Observer
	o.Since, o.Days = c.Network.Since.Date, c.Network.Since.Days
	o.MaxInFlight = usefulInFlight(c)
	o.FirstInFlight = quotaCalls(c)
	if m.InFlight > 0 {
		o.MaxInFlight = min(o.MaxInFlight, m.InFlight)
	}
	if c.Concurrency > 0 {
		o.MaxInFlight = min(o.MaxInFlight, c.Concurrency)
	}
	return o
}

// BucketName is what a platform counts by: the URL and the X-Client-ID, none being one too, or the app or project.
func BucketName(c config.Connection) string { return c.QuotaKey() }

func sentClientID(c config.Connection) string {
	if !c.SendXClientID {
		return ""
	}
	return c.XClientID
}

// usefulInFlight is how many calls can be out at once under a connection's quotas, however long each takes: more would only wait.
func usefulInFlight(c config.Connection) int {
	n := 64
	for _, q := range c.Quota {
		windows := 1 + int(min(c.Timeout/q.Window, 64))
		if q.N < n && q.N*(windows+1) < n {
			n = q.N * (windows + 1)
		}
	}
	return n
}

// quotaCalls is how many calls a connection's quotas let out in one go, and two that stand ready; 0 where there is no quota.
func quotaCalls(c config.Connection) (n int) {
	for _, q := range c.Quota {
		if n == 0 || q.N+2 < n {
			n = q.N + 2
		}
	}
	return n
}

// Refs are the names of connections.
func Refs(conns []config.Connection) []ads.Ref {
	out := make([]ads.Ref, len(conns))
	for i, c := range conns {
		out[i] = c.Ref
	}
	return out
}
