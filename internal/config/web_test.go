package config

import (
	"strings"
	"testing"
)

func TestWeb(t *testing.T) {
	const rest = "clients:\n  - id: acme\n    connections:\n      - platform: adplatform\n        url: https://ads.example.com\n        credentials: {email: a@example.com, password: '${PW}'}\n"
	for _, tt := range []struct{ name, web, want, listen string }{
		{"none", "", "", DefaultListen},
		{"loopback needs no login", "web:\n  listen: localhost:9000\n", "", "localhost:9000"},
		{"a password", "web:\n  listen: 0.0.0.0:80\n  password: ${WEB}\n", "", "0.0.0.0:80"},
		{"a token alone", "web:\n  listen: \":80\"\n  token: env:WEB\n", "", ":80"},
		{"nobody logs in", "web:\n  listen: 0.0.0.0:80\n", "there is no login", ""},
		{"too short", "web:\n  password: ${PW}\n", "shorter than 12 bytes", ""},
		{"no address", "web:\n  listen: nowhere\n", "is no address", ""},
		{"unknown", "web:\n  pasword: x\n", "did you mean password?", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := loadYAML(t, tt.web+rest, "PW=hunter2", "WEB=correct horse battery")
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("%v, want %q", err, tt.want)
			case tt.want == "" && (cfg.Web.Listen != tt.listen || cfg.Web.Guarded() != nil):
				t.Errorf("%+v", cfg.Web)
			}
		})
	}
}
