package cli

import (
	"strings"

	"adsync/internal/config"
)

type platformsCmd struct{}

type platformDoc struct {
	Name       string       `json:"name"`
	Title      string       `json:"title"`
	APIVersion *string      `json:"api_version"` // null: the platform has no versions
	Settings   []settingDoc `json:"settings"`
}

type settingDoc struct {
	Name     string `json:"name"`
	Env      string `json:"env,omitempty"`
	Type     string `json:"type"`
	Allowed  string `json:"allowed"`
	Default  string `json:"default,omitempty"`
	Required bool   `json:"required"`
	Secret   bool   `json:"secret"`
	Help     string `json:"help"`
}

func (c *platformsCmd) Run(a *app) error {
	doc := struct {
		Platforms []platformDoc `json:"platforms"`
	}{[]platformDoc{}}
	for _, p := range config.Platforms() {
		d := platformDoc{Name: p.Name, Title: p.Title}
		for _, f := range p.Fields {
			d.Settings = append(d.Settings, settingDoc{f.Name, f.Env, f.Type, f.Allowed, f.Default, f.Required, f.Secret, f.Help})
		}
		doc.Platforms = append(doc.Platforms, d)
	}
	if a.JSON {
		return a.writeJSON(doc)
	}
	for _, p := range doc.Platforms {
		a.stdout.printf("%s: %s\n", p.Name, p.Title)
		for _, s := range p.Settings {
			var facts []string
			if s.Required {
				facts = append(facts, "required")
			}
			if s.Secret {
				facts = append(facts, "secret")
			}
			if s.Default != "" {
				facts = append(facts, "default "+s.Default)
			}
			if s.Env != "" {
				facts = append(facts, s.Env)
			}
			a.stdout.printf("  %-22s %s (%s)\n", s.Name, s.Help, strings.Join(append([]string{s.Allowed}, facts...), "; "))
		}
	}
	return nil
}
