package config

import (
	"strings"
	"testing"
)

func TestNotify(t *testing.T) {
	const rest = "clients:\n  - id: acme\n    connections:\n      - platform: adplatform\n        url: https://ads.example.com\n        credentials: {email: a@example.com, password: '${PW}'}\n"
	const hook = "https://hooks.example.com/services/T0/B0/verysecretpart"
	for _, tt := range []struct{ name, notify, hook, want, warns string }{
		{"none", "", "", "", ""},
		{"empty", "notify:\n", "", "", ""},
		{"a webhook", "notify:\n  webhook: ${HOOK}\n", hook, "", ""},
		{"a reference", "notify:\n  webhook: env:HOOK\n", hook, "", ""},
		{"with a query", "notify:\n  webhook: ${HOOK}\n", hook + "?key=verysecretpart", "", ""},
		{"on this machine", "notify:\n  webhook: ${HOOK}\n", "http://127.0.0.1:9000/verysecretpart", "", ""},
		{"in clear over the network", "notify:\n  webhook: ${HOOK}\n", "http://hooks.example.com/verysecretpart", "", "plain http"},
		{"written in the file", "notify:\n  webhook: " + hook + "\n", "", "", "a secret stands here in clear"},
		{"no URL", "notify:\n  webhook: ${HOOK}\n", "https://bad host/verysecretpart", "is not a URL", ""},
		{"another scheme", "notify:\n  webhook: ${HOOK}\n", "ftp://verysecretpart", "does not begin with https://", ""},
		{"no host", "notify:\n  webhook: ${HOOK}\n", "https:///verysecretpart", "names no host", ""},
		{"a password", "notify:\n  webhook: ${HOOK}\n", "https://a:verysecretpart@hooks.example.com/", "holds a name or a password", ""},
		{"unknown", "notify:\n  webhok: ${HOOK}\n", hook, "did you mean webhook?", ""},
		{"no mapping", "notify: " + hook + "\n", "", "not a mapping", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := loadYAML(t, tt.notify+rest, "PW=hunter2", "HOOK="+tt.hook)
			if err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)) || err == nil && tt.want != "" {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if err != nil {
				if strings.Contains(err.Error(), "verysecretpart") {
					t.Errorf("the error repeats the secret: %v", err)
				}
				return
			}
			if want := tt.hook; want != "" && cfg.Notify.Webhook.Reveal() != want {
				t.Errorf("%q", cfg.Notify.Webhook.Reveal())
			}
			var warnings []string
			for _, w := range cfg.Warnings {
				warnings = append(warnings, w.String())
			}
			if s := strings.Join(warnings, "\n"); strings.Contains(s, tt.warns) == false || tt.warns == "" && s != "" || strings.Contains(s, "verysecretpart") {
				t.Errorf("%q", s)
			}
		})
	}
}

// A webhook that a store or a file keeps is judged when it is read, as strictly as one that stands in the environment, and said once.
func TestNotifyResolvedLate(t *testing.T) {
	const rest = "clients:\n  - id: acme\n    connections:\n      - platform: adplatform\n        url: https://ads.example.com\n        credentials: {email: a@example.com, password: '${PW}'}\n"
	const plain, sealed = "http://hooks.example.com/verysecretpart", "https://hooks.example.com/verysecretpart"
	for _, ref := range []string{"vault:hook", "file:hook"} {
		for _, hook := range []string{plain, sealed} {
			for _, strict := range []bool{false, true} {
				dir := dirWith(t, map[string]string{DefaultFile: "notify: {webhook: \"" + ref + "\"}\n" + rest, "hook": hook + "\n"})
				s := &shelf{kept: map[string]string{"hook": hook}}
				c, err := Load(Options{
					Dir: dir, Environ: []string{"PW=hunter2"}, Strict: strict, Stores: func(Secrets) map[string]Resolver { return map[string]Resolver{"vault": s} },
				})
				if err == nil {
					err = c.Resolve(t.Context())
				}
				if refused := hook == plain && strict; (err != nil) != refused || refused && !strings.Contains(err.Error(), "notify.webhook: is plain http to another machine") {
					t.Errorf("%s %s, strict %v: %v", ref, hook, strict, err)
				}
				if err != nil {
					if strings.Contains(err.Error(), "verysecretpart") {
						t.Errorf("the error repeats the secret: %v", err)
					}
					continue
				}
				want := 0
				if hook == plain {
					want = 1
				}
				if c.Notify.Webhook.Reveal() != hook || len(c.Warnings) != want {
					t.Errorf("%s %s: %q", ref, hook, c.Warnings)
				}
			}
		}
	}
}
