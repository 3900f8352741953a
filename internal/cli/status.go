package cli

import (
	"time"

	"adsync/internal/ads"
	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/report"
	"adsync/internal/service"
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
	var workers []store.Worker
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
		if workers, err = st.Workers(a.ctx); err != nil {
			return err
		}
	}
	doc := report.NewStatus(name, known, connect.Refs(cfg.Connections), now)
	schedules := map[ads.Ref]config.Schedule{}
	for _, c := range cfg.Connections {
		schedules[c.Ref] = c.Schedule
	}
	doc = doc.Serving(workers, func(ref ads.Ref) (string, time.Time) {
		s, ok := schedules[ref]
		if !ok {
			return "", time.Time{}
		}
		return s.Text, service.NextSlot(ref, s, now)
	})
	if len(c.Client)+len(c.Connection) > 0 {
		doc = doc.Only(connect.Refs(conns))
	}
	if a.JSON {
		return a.writeJSON(doc)
	}
	return doc.Write(a.stdout, now)
}
