// Command accounts measures what many ad accounts cost: whole runs of `adsync sync` against the simulators of Meta and Google Ads, without quotas, each
// held against the time that a plain loop takes to download the same answers with as many requests at once.
//
//	go run ./bench/accounts -accounts 10,50,200 -platform meta,google_ads -db sqlite,postgres
//
// A first run goes through a recorder, which notes each request; the loop sends these again, reads the answers to their end and does nothing with them.
// The limit is the loop's time, the median of its rounds, taken in turns with the runs; the same simulator serves both. Peak memory is that of the largest run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"adsync/internal/pgtest"
)

type options struct {
	accounts            []int
	platforms, dbs      []string
	campaigns, adGroups int
	ads, days           int
	atOnce, rounds      int
	keep, resync        bool
}

func main() {
	var o options
	accounts := flag.String("accounts", "10,50,200", "numbers of accounts, comma-separated")
	platforms := flag.String("platform", "meta,google_ads", "platforms, comma-separated")
	dbs := flag.String("db", "sqlite,postgres", "databases, comma-separated")
	flag.IntVar(&o.campaigns, "campaigns", 20, "campaigns of an account")
	flag.IntVar(&o.adGroups, "ad-groups", 2, "ad groups of a campaign")
	flag.IntVar(&o.ads, "ads", 2, "ads of an ad group")
	flag.IntVar(&o.days, "days", 30, "days of figures")
	flag.IntVar(&o.atOnce, "at-once", 8, "requests of the plain loop at once")
	flag.IntVar(&o.rounds, "rounds", 3, "runs, each into an empty database, and rounds of the loop")
	flag.BoolVar(&o.keep, "keep", false, "keep the working directory")
	flag.BoolVar(&o.resync, "resync", false, "measure a second run into the same database too")
	flag.Parse()
	o.platforms, o.dbs = strings.Split(*platforms, ","), strings.Split(*dbs, ",")
	for n := range strings.SplitSeq(*accounts, ",") {
		v, err := strconv.Atoi(n)
		if err != nil || v < 1 {
			fmt.Fprintf(os.Stderr, "accounts: -accounts %q: want numbers such as 10,50,200\n", *accounts)
			os.Exit(2)
		}
		o.accounts = append(o.accounts, v)
	}
	o.rounds, o.atOnce = max(o.rounds, 1), max(o.atOnce, 1)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "accounts:", err)
		os.Exit(1)
	}
}

type bench struct {
	o       options
	dir     string
	program string
	pg      *pgtest.Server
	made    int // databases
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "adsync-bench-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("working in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	b := &bench{o: o, dir: dir, program: filepath.Join(dir, "adsync")}
	build := exec.CommandContext(ctx, "go", "build", "-o", b.program, "adsync/cmd/adsync")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	for _, db := range o.dbs {
		switch db {
		case "sqlite":
		case "postgres":
			if b.pg == nil {
				if b.pg, err = pgtest.Start(ctx, pgtest.Options{}); err != nil {
					return err
				}
				defer b.pg.Stop()
			}
		default:
			return fmt.Errorf("-db %s: want sqlite or postgres", db)
		}
	}
	fmt.Printf("%-10s %8s %-8s %9s %7s %8s %8s %6s %9s %7s\n", "platform", "accounts", "database", "requests", "MB", "limit s", "adsync s", "ratio", "peak MiB", "cpu s")
	for _, name := range o.platforms {
		for _, n := range o.accounts {
			if err := b.measure(ctx, name, n); err != nil {
				return fmt.Errorf("%s, %d accounts: %w", name, n, err)
			}
		}
	}
	return nil
}

// measure compares runs and the loop on one platform with so many accounts.
func (b *bench) measure(ctx context.Context, name string, accounts int) error {
	sim, err := b.simulate(ctx, name, accounts)
	if err != nil {
		return err
	}
	defer sim.stop()
	rec, err := newRecorder(sim.url)
	if err != nil {
		return err
	}
	_, err = b.sync(ctx, sim.at(rec.url), "sqlite", b.fresh())
	rec.close()
	if err != nil {
		return fmt.Errorf("the recorded run: %w", err)
	}
	if len(rec.requests) == 0 {
		return errors.New("the recorder saw no request")
	}
	loop := newLoop(sim.url, rec.requests, b.o.atOnce)
	for _, db := range b.o.dbs {
		var limits, first, second []time.Duration
		var peak, peakAgain int64
		var cpu, cpuAgain time.Duration
		for range b.o.rounds {
			took, err := loop.run(ctx)
			if err != nil {
				return fmt.Errorf("the plain loop: %w", err)
			}
			limits = append(limits, took)
			dsn, drop, err := b.database(ctx, db)
			if err != nil {
				return err
			}
			m, err := b.sync(ctx, sim, db, dsn)
			if err == nil {
				first, peak, cpu = append(first, m.took), max(peak, m.peakKiB), max(cpu, m.cpu)
				if b.o.resync {
					if m, err = b.sync(ctx, sim, db, dsn); err == nil {
						second, peakAgain, cpuAgain = append(second, m.took), max(peakAgain, m.peakKiB), max(cpuAgain, m.cpu)
					}
				}
			}
			drop()
			if err != nil {
				return fmt.Errorf("%s: %w", db, err)
			}
		}
		line := func(what string, took []time.Duration, peak int64, cpu time.Duration) {
			l, t := median(limits), median(took)
			fmt.Printf("%-10s %8d %-8s %9d %7.1f %8.2f %8.2f %6.2f %9.1f %7.2f %s\n", name, accounts, db, len(rec.requests), float64(loop.bytes)/(1<<20),
				l.Seconds(), t.Seconds(), t.Seconds()/l.Seconds(), float64(peak)/1024, cpu.Seconds(), what)
		}
		line("", first, peak, cpu)
		if b.o.resync {
			line("re-sync, of the same limit", second, peakAgain, cpuAgain)
		}
	}
	return nil
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}
