package cli

import (
	"cmp"
	"errors"

	"adsync/internal/config"
	"adsync/internal/report"
)

type initCmd struct {
	Schema bool `name:"schema" help:"Print the JSON Schema of the configuration file for editors instead."`
}

func (c *initCmd) Run(a *app) error {
	if c.Schema {
		_, err := a.stdout.Write(config.Schema())
		return err
	}
	path := cmp.Or(a.Config, config.DefaultFile)
	switch err := config.WriteNew(path, config.Template()); {
	case errors.Is(err, config.ErrExists):
		return &failure{kind: report.Config, why: path + " exists, and is never overwritten", next: "Edit it, or name another file with --config."}
	case err != nil:
		return &failure{kind: report.Config, why: err.Error(), next: "Name another file with --config."}
	}
	if a.JSON {
		return a.writeJSON(struct {
			File string `json:"file"`
		}{path})
	}
	a.stdout.printf("%s is written. Fill in your clients and their credentials, then:\n\n  adsync check   # says whether all is well, and whose fault it is if not\n  adsync sync    # brings the database in step\n", path)
	return nil
}
