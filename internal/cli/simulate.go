package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/alecthomas/kong"

	"adsync/internal/report"
	"adsync/internal/simulator"
)

type simulateCmd struct {
	Platform string `name:"platform" default:"adplatform" enum:"adplatform,meta,google_ads" help:"What to simulate: adplatform, meta or google_ads."`
	simulator.Flags
	worldFlags
	metaFlags   `group:"Meta:"`
	googleFlags `group:"Google Ads:"`
}

const tryHelp = "Try `adsync simulate --help`."

func (c *simulateCmd) Run(a *app, k *kong.Context) error {
	set := map[string]bool{}
	for _, p := range k.Path {
		if p.Flag != nil {
			set[p.Flag.Name] = true
		}
	}
	if err := c.onlyTheirs(set); err != nil {
		return err
	}
	if c.TLSCA != "" && !c.TLS {
		return usagef(tryHelp, "--tls-ca needs --tls")
	}
	switch c.Platform {
	case "meta":
		return c.runMeta(a, set)
	case "google_ads":
		return c.runGoogle(a, set)
	}
	if c.ListFaults {
		if a.JSON {
			return a.writeJSON(struct {
				Faults []simulator.Fault `json:"faults"`
			}{simulator.Catalogue()})
		}
		return simulator.WriteCatalogue(a.stdout)
	}
	cfg, err := c.Flags.Config()
	if err != nil {
		return usagef(tryHelp, "%s", err)
	}
	sim, err := simulator.New(cfg)
	if err != nil {
		return usagef(tryHelp, "%s", err)
	}
	return c.listen(a, sim, cfg.Addr, func(base string) error {
		if a.JSON {
			return a.writeJSON(struct {
				URL   string `json:"url"`
				Email string `json:"email"`
			}{base, c.Email})
		}
		if !a.Quiet {
			a.stdout.printf("The ad platform simulator listens on %s (%d campaigns a client, quota %s).\nHow its clients behave: %s/__stats. Ctrl-C ends it.\n", base, cfg.Campaigns, cfg.Quota, base)
		}
		return nil
	})
}

// simulated is a platform's stand-in.
type simulated interface {
	Serve(ctx context.Context, ln net.Listener) error
	CAPEM() []byte
	Close() error
}

// listen puts a simulator on an address, says where it is, and runs it until the command is stopped.
func (c *simulateCmd) listen(a *app, sim simulated, addr string, tell func(base string) error) error {
	defer sim.Close()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return usagef("Name another address with --listen, such as localhost:3009.", "cannot listen on %s: %s", addr, err)
	}
	scheme := "http"
	if c.TLS {
		scheme = "https"
		if c.TLSCA != "" {
			if err := os.WriteFile(c.TLSCA, sim.CAPEM(), 0o644); err != nil {
				_ = ln.Close()
				return usagef("Name another file with --tls-ca.", "%s", err)
			}
		}
	}
	if err := tell(scheme + "://" + ln.Addr().String()); err != nil {
		_ = ln.Close()
		return err
	}
	err = sim.Serve(a.ctx, ln)
	if a.ctx.Err() != nil {
		why := context.Cause(a.ctx)
		return &failure{kind: report.KindOf(why), why: "the simulator was " + why.Error()}
	}
	if err == nil {
		err = errors.New("it ended")
	}
	return fmt.Errorf("the simulator: %w", err)
}
