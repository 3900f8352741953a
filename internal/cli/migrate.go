package cli

import (
	"fmt"

	"adsync/internal/config"
	"adsync/internal/queue"
	"adsync/internal/report"
	"adsync/internal/store"
)

type migrateCmd struct {
	Status bool `name:"status" help:"Only say which version the schema has."`
}

func (c *migrateCmd) Run(a *app) error {
	cfg, err := a.load(false)
	if err != nil {
		return err
	}
	var have store.Schema
	name := cfg.Database.Display
	if !c.Status || hasDatabase(cfg.Database) {
		st, err := openDatabase(a.ctx, cfg.Database)
		if err != nil {
			return err
		}
		defer st.Close()
		name = st.Describe()
		if c.Status {
			have, err = st.Schema(a.ctx)
		} else {
			have, err = st.Migrate(a.ctx)
			if err == nil {
				var jobs []string
				jobs, err = a.migrateQueue(cfg.Database)
				have.Applied = append(have.Applied, jobs...)
			}
		}
		if err != nil {
			return err
		}
	}
	if a.JSON {
		err = a.writeJSON(struct {
			Database string   `json:"database"`
			Current  int64    `json:"current"`
			Known    int64    `json:"known"`
			Applied  []string `json:"applied"`
		}{name, have.Current, have.Known, append([]string{}, have.Applied...)})
	} else {
		switch {
		case have.Current == 0:
			a.stdout.printf("%s has no tables of adsync yet.\n", name)
		case have.Current < have.Known:
			a.stdout.printf("%s is at version %d; this binary needs %d: run `adsync migrate`.\n", name, have.Current, have.Known)
		default:
			a.stdout.printf("%s is at version %d.\n", name, have.Current)
		}
		for _, m := range have.Applied {
			a.stdout.printf("  applied %s\n", m)
		}
	}
	if err == nil && c.Status && have.Current > have.Known {
		return &failure{kind: report.Store, why: fmt.Sprintf("the schema is at version %d, this binary knows %d", have.Current, have.Known), next: "Use a newer binary."}
	}
	return err
}

// migrateQueue makes the tables of the queue too, which only the service needs.
func (a *app) migrateQueue(db config.Database) (applied []string, err error) {
	q, err := dialQueue(a.ctx, db, queue.Options{ID: "migrate", Log: a.log()})
	if err == nil {
		defer q.Close()
		applied, err = q.Migrate(a.ctx)
	}
	if err != nil {
		err = queueError(err)
	}
	return applied, err
}
