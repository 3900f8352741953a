package cli

import (
	"time"

	"adsync/internal/connect"
	"adsync/internal/report"
	"adsync/internal/store"
)

type statusCmd struct{ selection }

func (c *statusCmd) Run(a *app) error {
	cfg, err := a.load(false)
	if err != nil {
		return err
	}
	conns, err := c.of(cfg)
	if err != nil {
		return err
	}
	now := time.Now()
	var known []store.ConnectionStatus
	name := cfg.Database.Display
	if hasDatabase(cfg.Database) {
		st, err := a.openStore(a.ctx, cfg.Database, false)
		if err != nil {
			return err
		}
		defer st.Close()
		name = st.Describe()
		if known, err = st.Status(a.ctx); err != nil {
			return err
		}
	}
	doc := report.NewStatus(name, known, connect.Refs(cfg.Connections), now)
	if len(c.Client)+len(c.Connection) > 0 {
		doc = doc.Only(connect.Refs(conns))
	}
	if a.JSON {
		return a.writeJSON(doc)
	}
	return doc.Write(a.stdout, now)
}
