package cli

import (
	"strings"

	"adsync/internal/config"
	"adsync/internal/connect"
)

type platformsCmd struct{}

type platformDoc struct {
	Name       string       `json:"name"`
	Title      string       `json:"title"`
	APIVersion *string      `json:"api_version"` // the default; null: the platform has no versions
	Versions   []versionDoc `json:"versions,omitempty"`
	Settings   []settingDoc `json:"settings"`
}

type versionDoc struct {
	Name     string `json:"name"`
	Released string `json:"released,omitempty"`
	Sunset   string `json:"sunset,omitempty"` // the day from which it no longer works
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
		for _, v := range connect.Versions(p.Name) {
			d.Versions = append(d.Versions, versionDoc{v.Name, v.Released.String(), v.Sunset.String()})
		}
		for _, f := range p.Fields {
			if f.Name == "api_version" {
				d.APIVersion = &f.Default
			}
			d.Settings = append(d.Settings, settingDoc{f.Name, f.Env, f.Type, f.Allowed, f.Default, f.Required, f.Secret, f.Help})
		}
		doc.Platforms = append(doc.Platforms, d)
	}
	if a.JSON {
		return a.writeJSON(doc)
	}
	for _, p := range doc.Platforms {
		a.stdout.printf("%s: %s\n", p.Name, p.Title)
		for _, v := range p.Versions {
			facts := []string{}
			if v.Released != "" {
				facts = append(facts, "released "+v.Released)
			}
			if v.Sunset != "" {
				facts = append(facts, "switched off on "+v.Sunset)
			}
			if p.APIVersion != nil && *p.APIVersion == v.Name {
				facts = append(facts, "the default")
			}
			a.stdout.printf("  version %-14s %s\n", v.Name, strings.Join(facts, ", "))
		}
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
