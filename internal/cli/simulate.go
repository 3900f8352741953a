package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"adsync/internal/report"
	"adsync/internal/simulator"
)

type simulateCmd struct{ simulator.Flags }

func (c *simulateCmd) Run(a *app) error {
	if c.ListFaults {
		if a.JSON {
			return a.writeJSON(struct {
				Faults []simulator.Fault `json:"faults"`
			}{simulator.Catalogue()})
		}
		return simulator.WriteCatalogue(a.stdout)
	}
	cfg, err := c.Config()
	if err != nil {
		return usagef("Try `adsync simulate --help`.", "%s", err)
	}
	sim, err := simulator.New(cfg)
	if err != nil {
		return usagef("Try `adsync simulate --help`.", "%s", err)
	}
	defer sim.Close()
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return usagef("Name another address with --listen, such as localhost:3002.", "cannot listen on %s: %s", cfg.Addr, err)
	}
	scheme := "http"
	if cfg.TLS {
		scheme = "https"
		if c.TLSCA != "" {
			if err := os.WriteFile(c.TLSCA, sim.CAPEM(), 0o644); err != nil {
				_ = ln.Close()
				return usagef("Name another file with --tls-ca.", "%s", err)
			}
		}
	}
	base := scheme + "://" + ln.Addr().String()
	if a.JSON {
		_ = a.writeJSON(struct {
			URL   string `json:"url"`
			Email string `json:"email"`
		}{base, c.Email})
	} else if !a.Quiet {
		a.stdout.printf("The ad platform simulator listens on %s (%d campaigns a client, quota %s).\nHow its clients behave: %s/__stats. Ctrl-C ends it.\n", base, cfg.Campaigns, cfg.Quota, base)
	}
	return a.serveSimulator(sim, ln)
}

// serveSimulator runs it until the command is stopped.
func (a *app) serveSimulator(sim *simulator.Server, ln net.Listener) error {
	err := sim.Serve(a.ctx, ln)
	if a.ctx.Err() != nil {
		why := context.Cause(a.ctx)
		return &failure{kind: report.KindOf(why), why: "the simulator was " + why.Error()}
	}
	if err == nil {
		err = errors.New("it ended")
	}
	return fmt.Errorf("the simulator: %w", err)
}
