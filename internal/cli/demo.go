package cli

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"adsync/internal/config"
	"adsync/internal/engine"
	"adsync/internal/report"
	"adsync/internal/simulator"
)

type demoCmd struct {
	Keep bool `name:"keep" help:"Leave the simulator and the dashboard running until Ctrl-C."`
}

// The demo's world: three clients with a quota scaled so that a minute takes three seconds. 110 requests at 25 in any three seconds need four
// windows and a fifth to begin, so the whole ends after about 13 seconds on any machine.
const (
	demoDir       = "adsync-demo"
	demoQuota     = 25
	demoWindow    = 3 * time.Second
	demoCampaigns = 100
	demoLatency   = 250 * time.Millisecond
	demoTimeout   = 1500 * time.Millisecond
)

var demoClients = []string{"acme", "globex", "initech"}

// demoFaults are few and end by themselves, so that every demo ends well: each client draws a 503 while listing, one meets a silent
// server, and some per-campaign calls fail at first.
var demoFaults = []string{
	"rule:endpoint=list,on=3,times=1,do=503",
	"rule:endpoint=list,client=globex,on=6,times=1,do=hang",
	"rule:endpoint=sync,client=initech,on=20|50,times=2,do=503",
}

func (c *demoCmd) Run(a *app) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("the demo needs a free port on loopback: %w", err)
	}
	sim, err := simulator.New(simulator.Config{
		Clients: demoClients, Campaigns: demoCampaigns, Quota: simulator.Quota{N: demoQuota, Window: demoWindow},
		SyncLatency: demoLatency, ListLatency: demoLatency / 5, Seed: 1, Faults: demoFaults,
	})
	if err != nil {
		_ = ln.Close()
		return err
	}
	defer sim.Close()
	served := make(chan error, 1)
	simCtx, stopSim := context.WithCancel(context.WithoutCancel(a.ctx))
	go func() { served <- sim.Serve(simCtx, ln) }()
	defer func() { stopSim(); <-served }()

	base := "http://" + ln.Addr().String()
	file, err := writeDemo(base)
	if err != nil {
		return &failure{kind: report.Config, why: err.Error(), next: "The demo writes into ./" + demoDir + "; run it where that is possible."}
	}
	a.Config = file
	cfg, err := config.Load(config.Options{ConfigFile: file, NoFiles: true})
	if err != nil {
		return err
	}
	a.protect(cfg)
	if !a.JSON && !a.Quiet {
		a.stdout.printf("A simulated ad platform listens on %s: %d clients, %d campaigns each, %d requests per client in any %s, and a few faults.\n\n",
			base, len(demoClients), demoCampaigns, demoQuota, demoWindow)
	}
	err = a.syncAll(cfg.Database, cfg.Connections, syncOptions{maxWait: time.Minute, engine: engine.Options{Trigger: "demo"}})
	if err != nil {
		return err
	}
	if !a.JSON && !a.Quiet {
		if err := a.demoFindings(cfg.Database.Path, sim.Stats()); err != nil {
			return err
		}
	}
	if !c.Keep {
		return nil
	}
	web, err := demoListener(a.ctx)
	if err != nil {
		return err
	}
	defer web.Close()
	if !a.JSON && !a.Quiet {
		a.stdout.printf("\nThe dashboard is on http://%s, the simulator stays on %s (%s/__stats): until Ctrl-C, all are synced once a minute.\n", web.Addr(), base, base)
	}
	return (&serveCmd{Workers: demoWorkers}).serve(a, cfg, web)
}

// demoWorkers are requests in flight at once.
const demoWorkers = 64

// demoListener listens where `adsync serve` does, or on another port where that one is taken.
func demoListener(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:8080")
	if err != nil {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("the dashboard needs a free port on loopback: %w", err)
	}
	return l, nil
}

// writeDemo writes a configuration and the password that it refers to, and gives the configuration's name.
func writeDemo(base string) (string, error) {
	if err := os.MkdirAll(demoDir, 0o700); err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join(demoDir, "adsync.db"))
	if err != nil {
		return "", err
	}
	quote := func(s string) string { // a JSON string is a YAML one; ${ would be a variable
		b, _ := json.Marshal(s)
		return strings.ReplaceAll(string(b), "${", "$${")
	}
	var y strings.Builder
	fmt.Fprintf(&y, "# Written by `adsync demo`, anew each time.\ndatabase: %s\n", quote("sqlite:"+path))
	fmt.Fprintf(&y, "defaults:\n  quota: %d/%s\n  timeout: %s\n  schedule: every 1m\nclients:\n", demoQuota, demoWindow, demoTimeout)
	for _, id := range demoClients {
		fmt.Fprintf(&y, "  - id: %s\n    connections:\n      - platform: adplatform\n        url: %s\n        credentials:\n          email: %s\n          password: file:password\n",
			id, base, simulator.DefaultEmail)
	}
	for name, content := range map[string]string{"password": simulator.DefaultPassword + "\n", "adsync.yaml": y.String()} {
		if err := report.WriteFile(filepath.Join(demoDir, name), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(demoDir, "adsync.yaml"), nil
}

// demoFindings prints what a person would look up in the new database, and how to.
func (a *app) demoFindings(path string, stats simulator.Stats) (err error) {
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(path))+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	a.stdout.printf("\nWhat is in the database now:\n\n")
	err = a.query(db, `SELECT client_id AS client, count(*) AS campaigns, sum(status = 'active') AS active, sum(budget_micros) / 1000000 AS budget,
		sum(impressions) AS impressions, sum(clicks) AS clicks, substr(max(synced_at), 1, 19) || 'Z' AS "last synced"
		FROM campaigns WHERE removed_at IS NULL GROUP BY client_id ORDER BY client_id`)
	if err != nil {
		return err
	}
	a.stdout.printf("\nThe most clicked campaigns:\n\n")
	err = a.query(db, `SELECT client_id AS client, id, name, status, clicks FROM campaigns WHERE removed_at IS NULL ORDER BY clicks DESC, client_id, id LIMIT 3`)
	if err != nil {
		return err
	}
	most, refused := 0, int64(0)
	for _, c := range stats.Clients {
		most, refused = max(most, c.MaxCountedInWindow), refused+c.Throttled
	}
	a.stdout.printf(`
The platform's side: %d requests, never more than %d of %d in any %s for one client, %d refused for quota.

Look around:
  sqlite3 %[6]s/adsync.db "SELECT name, status, clicks FROM campaigns WHERE client_id = 'acme' LIMIT 10"
  adsync status --config %[6]s/adsync.yaml
  adsync demo        # again: everything is there already, so all is unchanged
  adsync demo --keep # and look at the dashboard meanwhile
  adsync init        # your own configuration; README.md goes on from here
`, stats.Requests, most, demoQuota, demoWindow, refused, demoDir)
	return nil
}

// query prints the rows of a query as a table.
func (a *app) query(db *sql.DB, q string) error {
	rows, err := db.QueryContext(a.ctx, q)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	var cells [][]string
	for rows.Next() {
		values, row := make([]any, len(names)), make([]string, len(names))
		for i := range values {
			values[i] = &values[i]
		}
		if err := rows.Scan(values...); err != nil {
			return err
		}
		for i, v := range values {
			row[i] = report.Cell(v)
		}
		cells = append(cells, row)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return report.WriteTable(a.stdout, names, cells)
}
