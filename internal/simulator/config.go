package simulator

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The credentials that a simulator accepts unless told otherwise. They are published (in .env.example) and protect nothing.
const (
	DefaultEmail    = "user@example.com"
	DefaultPassword = "change-me-please"
)

// Bounds of the settings.
const (
	maxCampaigns = 50_000_000
	maxPageSize  = 10_000 // the largest page ever served, whatever limit asks for
)

// Quota is how many requests a client may send in any window of that length. N = 0 is no quota.
type Quota struct {
	N      int
	Window time.Duration
}

func (q Quota) String() string {
	if q.N == 0 {
		return "none"
	}
	window := q.Window.String()
	if strings.HasSuffix(window, "m0s") {
		window = strings.TrimSuffix(window, "0s")
	}
	if strings.HasSuffix(window, "h0m") {
		window = strings.TrimSuffix(window, "0m")
	}
	return fmt.Sprintf("%d/%s", q.N, window)
}

// ParseQuota reads "10/1m" or "none".
func ParseQuota(s string) (Quota, error) {
	if s == "none" {
		return Quota{}, nil
	}
	bad := fmt.Errorf("quota %q: want N/WINDOW such as 10/1m, or none", s)
	count, window, ok := strings.Cut(s, "/")
	if !ok {
		return Quota{}, bad
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return Quota{}, bad
	}
	d, err := time.ParseDuration(window)
	if err != nil || d <= 0 {
		return Quota{}, bad
	}
	return Quota{N: n, Window: d}, nil
}

// Account is one more pair of credentials that the token endpoint accepts.
type Account struct {
	Email    string
	Password string
}

// Config is how a simulated platform behaves. Start from Default and change what matters: a zero value means what it says (no
// campaigns, no quota, no latency), except where a field's comment says otherwise.
type Config struct {
	Addr            string        // host:port that adsync simulate listens on; empty: localhost:3001
	Email           string        // empty: DefaultEmail
	Password        string        // empty: DefaultPassword
	Accounts        []Account     // more credentials, so that one can be revoked while others stay good
	Clients         []string      // the X-Client-IDs that exist; none: any id does, and so does none at all
	Campaigns       int           // per client, when a client is first seen
	Quota           Quota         // per X-Client-ID, in a sliding window
	TokenLife       time.Duration // 0: 1h
	SyncLatency     time.Duration // work of one per-campaign sync
	ListLatency     time.Duration
	IdleTimeout     time.Duration // an idle connection is closed after this; 0: 5s. Only Serve has a say in it
	MaxPageSize     int           // a larger limit is cut to it; 0: limit is honoured (up to 10,000)
	ListFailRate503 float64       // share of listing requests that draw a 503
	ListSilenceRate float64       // share of listing requests that are never answered
	Seed            uint64        // all data and all chance
	Static          bool          // lifetime figures stay the same from call to call
	TLS             bool          // Serve speaks TLS with a certificate of its own; see Server.CAPEM
	Faults          []string      // NAME[:key=value,…], see Catalogue
	Speed           float64       // divides the window, the latencies and the token's life, for demos; 0: 1. Durations in Faults stand as given
}

// Default is the published contract: 100 campaigns a client, 10 requests in any minute, 2 s for a sync, and the known failures.
func Default() Config {
	return Config{
		Addr: "localhost:3001", Email: DefaultEmail, Password: DefaultPassword,
		Campaigns: 100, Quota: Quota{N: 10, Window: time.Minute},
		TokenLife: time.Hour, SyncLatency: 2 * time.Second, IdleTimeout: 5 * time.Second,
		ListFailRate503: 0.2, ListSilenceRate: 0.1, Seed: 1, Speed: 1,
	}
}

// normalise fills the fields whose zero value stands for a default, scales by Speed, and reports every bad value at once.
func (c Config) normalise() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("simulator: "+format, args...)) }
	if c.Addr == "" {
		c.Addr = "localhost:3001"
	}
	if c.Email == "" {
		c.Email = DefaultEmail
	}
	if c.Password == "" {
		c.Password = DefaultPassword
	}
	if c.TokenLife == 0 {
		c.TokenLife = time.Hour
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 5 * time.Second
	}
	if c.Speed == 0 {
		c.Speed = 1
	}
	if c.Speed < 0 || c.Speed > 1e6 || c.Speed != c.Speed {
		bad("speed %v: want a factor above 0, such as 10 for ten times as fast", c.Speed)
		c.Speed = 1
	}
	if c.Campaigns < 0 || c.Campaigns > maxCampaigns {
		bad("campaigns %d: want 0 to %d", c.Campaigns, maxCampaigns)
	}
	if c.MaxPageSize < 0 || c.MaxPageSize > maxPageSize {
		bad("max-page-size %d: want 0 (limit is honoured) to %d", c.MaxPageSize, maxPageSize)
	}
	if c.Quota.N < 0 || (c.Quota.N > 0 && c.Quota.Window <= 0) {
		bad("quota %d in %s: want N above 0 and a window above 0, or none", c.Quota.N, c.Quota.Window)
	}
	for _, d := range []struct {
		name string
		d    *time.Duration
	}{
		{"token-life", &c.TokenLife},
		{"sync-latency", &c.SyncLatency},
		{"list-latency", &c.ListLatency},
		{"idle-timeout", &c.IdleTimeout},
		{"quota window", &c.Quota.Window},
	} {
		if *d.d < 0 {
			bad("%s %s: want 0 or more", d.name, *d.d)
		}
		*d.d = time.Duration(float64(*d.d) / c.Speed)
	}
	for _, p := range []struct {
		name string
		p    float64
	}{{"fail-rate", c.ListFailRate503}, {"silence-rate", c.ListSilenceRate}, {"fail-rate and silence-rate together", c.ListFailRate503 + c.ListSilenceRate}} {
		if !(p.p >= 0 && p.p <= 1) {
			bad("%s %v: want a share from 0 to 1", p.name, p.p)
		}
	}
	for _, id := range c.Clients {
		if len(id) > maxClientID {
			bad("client %.20q…: an id has at most %d bytes", id, maxClientID)
		}
	}
	return c, errors.Join(errs...)
}
