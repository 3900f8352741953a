package cli

import (
	"reflect"
	"slices"
	"time"

	"adsync/internal/simulator"
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

type metaFlags struct{ meta.Flags }

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
	own := map[string][]string{"adplatform": flagNames(simulator.Flags{}), "meta": slices.Concat(flagNames(worldFlags{}), flagNames(meta.Flags{}))}
	for name := range set {
		if slices.Contains(everyones, name) || slices.Contains(own[c.Platform], name) {
			continue
		}
		for other, names := range own {
			if slices.Contains(names, name) {
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
	return c.listen(a, sim, cfg.Addr, func(base string) {
		if a.JSON {
			_ = a.writeJSON(struct {
				URL     string `json:"url"`
				Version string `json:"api_version"`
				AppID   string `json:"app_id"`
			}{base, cfg.Versions[len(cfg.Versions)-1], cfg.AppID})
			return
		}
		if a.Quiet {
			return
		}
		a.stdout.printf("The simulator of Meta's Marketing API listens on %s (%d accounts, %d campaigns each, tier %s).\n", base, cfg.Accounts, cfg.Campaigns, cfg.Tier)
		if set["meta-token"] {
			a.stdout.printf("It accepts the tokens of --meta-token; the app's id is %s.\n", cfg.AppID)
		} else {
			// They are published with the simulator and open nothing else.
			a.stdout.printf("It accepts the token %s; the app's id is %s, its secret %s.\n", meta.DefaultToken, cfg.AppID, meta.DefaultAppSecret)
		}
		a.stdout.printf("How its clients behave: %s/__stats. What there is: %[1]s/__truth. Ctrl-C ends it.\n", base)
	})
}
