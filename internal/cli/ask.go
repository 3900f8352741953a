package cli

import (
	"fmt"
	"time"

	"adsync/internal/config"
	"adsync/internal/connect"
	"adsync/internal/report"
	"adsync/internal/service"
)

// ask leaves runs to the service, and tells what became of asking.
func (a *app) ask(db config.Database, conns []config.Connection, migrate bool) error {
	st, err := a.ready(db, migrate)
	if err != nil {
		return err
	}
	defer st.Close()
	jobs, err := a.openQueue(db, "ask", migrate)
	if err != nil {
		return err
	}
	defer jobs.Close()
	got, err := service.Ask(a.ctx, st, jobs, connect.Refs(conns), false)
	if err != nil {
		return queueError(err)
	}
	working := 0
	if ws, err := st.Workers(a.ctx); err == nil {
		for _, w := range ws {
			if w.Alive {
				working++
			}
		}
	}
	if working == 0 {
		a.log().Warn("no `adsync serve` is at work on this database: what is queued waits for one")
	}
	doc := struct {
		Asked   []report.Answer `json:"asked"`
		Workers int             `json:"workers"` // processes of the service that are at work
	}{[]report.Answer{}, working}
	for _, x := range got {
		doc.Asked = append(doc.Asked, report.NewAnswer(x.Ref, x.Joined, string(x.State), x.Until, x.Reason))
	}
	if a.JSON {
		return a.writeJSON(doc)
	}
	for _, x := range got {
		what := "queued"
		switch {
		case x.State == service.Paused:
			what = x.Reason + ": resume it first, on the dashboard or by POST /api/v1/resume"
		case x.State == "parked":
			what = fmt.Sprintf("stays parked until %s: %s", x.Until.Local().Format(time.DateTime), x.Reason)
		case x.State == "running":
			what = "is being synced already"
		case x.Joined:
			what = "was queued already"
		}
		a.stdout.printf("%s: %s\n", x.Ref, what)
	}
	return nil
}
