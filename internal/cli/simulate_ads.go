package cli

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	"adsync/internal/simulator"
	"adsync/internal/simulator/googleads"
	"adsync/internal/simulator/meta"
)

// worldFlags are those of the simulators that have accounts with ads in them.
type worldFlags struct {
	Accounts int           `name:"accounts" default:"3" group:"Meta and Google Ads:" help:"Accounts (with --campaigns each, 20 unless told otherwise)."`
	AdGroups int           `name:"ad-groups" default:"2" group:"Meta and Google Ads:" help:"Ad groups, or ad sets, of a campaign."`
	Ads      int           `name:"ads" default:"2" group:"Meta and Google Ads:" help:"Ads of an ad group."`
	Days     int           `name:"days" default:"90" group:"Meta and Google Ads:" help:"How long ago the oldest campaigns began."`
	Denied   int           `name:"denied" default:"0" group:"Meta and Google Ads:" help:"So many accounts, the last ones, give no permission."`
	Date     string        `name:"date" placeholder:"YYYY-MM-DD" group:"Meta and Google Ads:" help:"What the platform's calendar shows at the start. (today)"`
	Latency  time.Duration `name:"latency" default:"0s" group:"Meta and Google Ads:" help:"How long every request works."`
}

type (
	metaFlags   struct{ meta.Flags }
	googleFlags struct{ googleads.Flags }
)

// everyones are the flags that all simulators take.
var everyones = []string{"platform", "listen", "campaigns", "seed", "speed", "tls", "tls-ca", "fault", "list-faults"}

// flagNames are the names of the flags in a struct.
func flagNames(v any) []string {
	var out []string
	for f := range reflect.TypeOf(v).Fields() {
		out = append(out, f.Tag.Get("name"))
	}
	return out
}

// onlyTheirs refuses a flag that the platform does not have: one that does nothing is a mistake that nobody notices.
func (c *simulateCmd) onlyTheirs(set map[string]bool) error {
	platforms := []string{"adplatform", "meta", "google_ads"}
	own := map[string][]string{
		"adplatform": flagNames(simulator.Flags{}),
		"meta":       slices.Concat(flagNames(worldFlags{}), flagNames(meta.Flags{})),
		"google_ads": slices.Concat(flagNames(worldFlags{}), flagNames(googleads.Flags{})),
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if slices.Contains(everyones, name) || slices.Contains(own[c.Platform], name) {
			continue
		}
		for _, other := range platforms {
			if slices.Contains(own[other], name) {
				return usagef(tryHelp, "--%s is a flag for --platform %s, and --platform is %s", name, other, c.Platform)
			}
		}
	}
	return nil
}

// shape is what the flags say about the world and its host, with defaults that the other platform's flags do not have.
func (c *simulateCmd) shape(set map[string]bool, addr string) (listen string, campaigns int, date time.Time, err error) {
	listen, campaigns = addr, 20
	if set["listen"] {
		listen = c.Listen
	}
	if set["campaigns"] {
		campaigns = c.Campaigns
	}
	if c.Date != "" {
		if date, err = time.Parse(time.DateOnly, c.Date); err != nil {
			return "", 0, date, usagef("Write it as 2026-11-22.", "--date %q is not a date", c.Date)
		}
		date = date.Add(15 * time.Hour) // the same date in every account's time zone
	}
	return listen, campaigns, date, nil
}

func (c *simulateCmd) runMeta(a *app, set map[string]bool) error {
	if c.ListFaults {
		if a.JSON {
			return a.writeJSON(struct {
				Faults any `json:"faults"`
			}{meta.Catalogue()})
		}
		return meta.Catalogue().Write(a.stdout)
	}
	cfg := c.metaFlags.Config(meta.Default())
	var err error
	if cfg.Addr, cfg.Campaigns, cfg.Date, err = c.shape(set, cfg.Addr); err != nil {
		return err
	}
	cfg.Accounts, cfg.AdSets, cfg.Ads, cfg.Days, cfg.Denied = c.Accounts, c.AdGroups, c.Ads, c.Days, c.Denied
	cfg.Seed, cfg.Speed, cfg.TLS, cfg.Faults, cfg.Latency = c.Seed, c.Speed, c.TLS, c.Fault, c.Latency
	sim, err := meta.New(cfg)
	if err != nil {
		return usagef(tryHelp, "%s", err)
	}
	cfg = sim.Config()
	return c.listen(a, sim, cfg.Addr, func(base string) error {
		if a.JSON {
			return a.writeJSON(struct {
				URL     string `json:"url"`
				Version string `json:"api_version"`
				AppID   string `json:"app_id"`
			}{base, cfg.Versions[len(cfg.Versions)-1], cfg.AppID})
		}
		if a.Quiet {
			return nil
		}
		a.stdout.printf("The simulator of Meta's Marketing API listens on %s (%d accounts, %d campaigns each, tier %s).\n", base, cfg.Accounts, cfg.Campaigns, cfg.Tier)
		if set["meta-token"] {
			a.stdout.printf("It accepts the tokens of --meta-token; the app's id is %s.\n", cfg.AppID)
		} else {
			// They are published with the simulator and open nothing else.
			a.stdout.printf("It accepts the token %s; the app's id is %s, its secret %s.\n", meta.DefaultToken, cfg.AppID, meta.DefaultAppSecret)
		}
		a.stdout.printf("How its clients behave: %s/__stats. What there is: %[1]s/__truth. Ctrl-C ends it.\n", base)
		return nil
	})
}

func (c *simulateCmd) runGoogle(a *app, set map[string]bool) error {
	if c.ListFaults {
		if a.JSON {
			return a.writeJSON(struct {
				Faults any `json:"faults"`
			}{googleads.Catalogue()})
		}
		return googleads.Catalogue().Write(a.stdout)
	}
	cfg := c.googleFlags.Config(googleads.Default())
	var err error
	if cfg.Addr, cfg.Campaigns, cfg.Date, err = c.shape(set, cfg.Addr); err != nil {
		return err
	}
	cfg.Accounts, cfg.AdGroups, cfg.Ads, cfg.Days, cfg.Denied = c.Accounts, c.AdGroups, c.Ads, c.Days, c.Denied
	cfg.Seed, cfg.Speed, cfg.TLS, cfg.Faults, cfg.Latency = c.Seed, c.Speed, c.TLS, c.Fault, c.Latency
	sim, err := googleads.New(cfg)
	if err != nil {
		return usagef(tryHelp, "%s", err)
	}
	cfg = sim.Config()
	return c.listen(a, sim, cfg.Addr, func(base string) error {
		if c.ServiceAccount != "" {
			key, err := sim.ServiceAccount(base)
			if err == nil {
				err = os.WriteFile(c.ServiceAccount, key, 0o600)
			}
			if err != nil {
				return usagef("Name another file with --service-account.", "%s", err)
			}
		}
		if a.JSON {
			return a.writeJSON(struct {
				URL      string `json:"url"`
				Version  string `json:"api_version"`
				ClientID string `json:"client_id"`
			}{base, fmt.Sprintf("v%d", slices.Max(cfg.Versions)), cfg.ClientID})
		}
		if a.Quiet {
			return nil
		}
		a.stdout.printf("The simulator of the Google Ads API listens on %s (%d accounts, %d campaigns each, access %s).\n", base, cfg.Accounts, cfg.Campaigns, cfg.Access)
		token := "those of --refresh-token"
		if !set["refresh-token"] {
			token = googleads.DefaultRefreshToken // published with the simulator, opens nothing else
		}
		a.stdout.printf("Tokens come from %s/token for the client %s with the secret %s; refresh token: %s.\n", base, cfg.ClientID, googleads.DefaultClientSecret, token)
		if c.ServiceAccount != "" {
			a.stdout.printf("The key of a service account is in %s.\n", c.ServiceAccount)
		}
		a.stdout.printf("How its clients behave: %s/__stats. What there is: %[1]s/__truth. Ctrl-C ends it.\n", base)
		return nil
	})
}
