//go:build unix

package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"adsync/internal/report"
)

// What draws a warning is refused where all is strict, by flag or by the file, and nothing that is kept is repeated. A superuser is TestSuperuser's.
func TestStrict(t *testing.T) {
	t.Parallel()
	const value, where = "c4n4ry-in-clear", "https://ads.example.com"
	file := func(more, url, password string) string {
		return fmt.Sprintf("%sclients:\n  - id: acme\n    connections: [{platform: adplatform, url: %q, credentials: {email: a@example.com, password: %q}}]\n", more, url, password)
	}
	env := []string{"PASSWORD=" + value, "HOOK=http://hooks.example.com/" + value}
	for name, c := range map[string]struct {
		config string
		files  map[string]os.FileMode // beside it, each with the secret in it
		mode   os.FileMode            // of the configuration
		says   string                 // empty: all is well
	}{
		"nothing wrong":             {config: file("", where, "env:PASSWORD")},
		"a secret in clear":         {config: file("", where, value), says: "a secret stands here in clear"},
		"in the database's address": {config: file("database: postgres://u:"+value+"@db.example.com/ads\n", where, "env:PASSWORD"), says: "database: a secret stands here in clear"},
		"the dashboard's password":  {config: file("web: {password: "+value+"}\n", where, "env:PASSWORD"), says: "web.password: a secret stands here in clear"},
		"plain http":                {config: file("", "http://ads.example.com", "env:PASSWORD"), says: "sends the password and all data in clear"},
		"plain http to a webhook":   {config: file("notify: {webhook: \"env:HOOK\"}\n", where, "env:PASSWORD"), says: "is plain http to another machine"},
		"plain http to Vault":       {config: file("secrets: {vault: {address: \"http://vault.example.com\"}}\n", where, "vault:secret/data/acme#password"), says: "sends secrets in clear"},
		"a private file":            {config: file("", where, "file:pw"), files: map[string]os.FileMode{"pw": 0o600}},
		"a file of the group":       {config: file("", where, "file:pw"), files: map[string]os.FileMode{"pw": 0o640}},
		"a file for all to read":    {config: file("", where, "file:pw"), files: map[string]os.FileMode{"pw": 0o604}, says: "everybody on this machine can read or change the file"},
		"a file for all to write":   {config: file("", where, "file:pw"), files: map[string]os.FileMode{"pw": 0o602}, says: "everybody on this machine can read or change the file"},
		"the key of the tokens":     {config: file("token_key: \"file:key\"\n", where, "env:PASSWORD"), files: map[string]os.FileMode{"key": 0o644}, says: "everybody on this machine can read or change the file"},
		"a .env for all":            {config: file("", where, "env:FROM_FILE"), files: map[string]os.FileMode{".env": 0o644}, says: "holds a secret, and everybody on this machine can read or change the file"},
		"the configuration for all": {config: file("", where, value), mode: 0o644, says: "holds a secret, and everybody on this machine can read or change the file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for f, mode := range c.files {
				content := value + "\n"
				switch f {
				case ".env":
					content = "FROM_FILE=" + content
				case "key":
					content = "JuczBoa5+vO71Jkq67F9x4kQDrf4YWtTI+9iV1kMtRI=\n"
				}
				writeAs(t, filepath.Join(dir, f), content, mode)
			}
			mode := c.mode
			if mode == 0 {
				mode = 0o600
			}
			plain, production := filepath.Join(dir, "plain.yaml"), filepath.Join(dir, "production.yaml")
			writeAs(t, plain, c.config, mode)
			writeAs(t, production, "environment: production\n"+c.config, mode)
			for _, cmd := range []struct {
				file   string
				flag   []string
				strict bool
			}{{plain, nil, false}, {plain, []string{"--strict"}, true}, {production, nil, true}} {
				args := append([]string{"check", "--offline", "--config", cmd.file, "--env-file", filepath.Join(dir, ".env")}, cmd.flag...)
				if c.files[".env"] == 0 {
					args = append(args[:4], cmd.flag...)
				}
				r := run(t, within(t), env, args...)
				want := 0
				if cmd.strict && c.says != "" {
					want = 2
				}
				if all := r.stdout + r.stderr; r.code != want || !strings.Contains(all, c.says) || strings.Contains(all, value) {
					t.Errorf("%v: exit %d, want %d and %q\n%s", args, r.code, want, c.says, all)
				} else if warned := strings.Contains(r.stderr, "level=WARN"); warned != (c.says != "" && !cmd.strict) {
					t.Errorf("%v: a warning: %v\n%s", args, warned, all)
				}
			}
		})
	}
}

func writeAs(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	write(t, path, content)
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// What shows only when the service starts: a dashboard without a login, and traces that go out in clear.
func TestStrictService(t *testing.T) {
	t.Parallel()
	_, api := startPlatform(t, nil)
	const collector, key = "http://collector.invalid:4318", "c4n4ry-of-the-collector"
	for name, c := range map[string]struct {
		env  []string
		args []string
		says string // empty: all is well
	}{
		"no dashboard":     {args: []string{"--no-web"}},
		"no login":         {args: []string{"--listen", "127.0.0.1:0"}, says: "the dashboard has no login"},
		"traces in clear":  {env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector}, args: []string{"--no-web"}, says: "OTEL_EXPORTER_OTLP_ENDPOINT"},
		"their own":        {env: []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + collector + "/v1/traces"}, args: []string{"--no-web"}, says: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"},
		"traces from here": {env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, args: []string{"--no-web"}},
		"switched off":     {env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector, "OTEL_TRACES_EXPORTER=none"}, args: []string{"--no-web"}},
	} {
		for _, strict := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s strict=%v", name, strict), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancelCause(within(t))
				defer cancel(nil)
				var stdout, stderr safeBuffer
				stderr.on = func(all string) {
					if strings.Contains(all, "serving 1 connection") {
						cancel(&report.Stopped{Signal: "SIGTERM", Code: 143})
					}
				}
				args := append([]string{"serve"}, c.args...)
				if strict {
					args = append(args, "--strict")
				}
				env := append(environ(t, api, c.env...), "OTEL_EXPORTER_OTLP_HEADERS=api-key="+key, "OTEL_TRACES_SAMPLER=always_off") // nothing is sent
				code := Main(ctx, args, env, strings.NewReader(""), &stdout, &stderr)
				all := stdout.String() + stderr.String()
				want := 143
				if strict && c.says != "" {
					want = 2
				}
				if code != want || !strings.Contains(all, c.says) || strings.Contains(all, key) {
					t.Errorf("exit %d, want %d and %q\n%s", code, want, c.says, all)
				}
				if c.says == "" && (strings.Contains(all, "no login") || strings.Contains(all, "in clear")) {
					t.Errorf("warned\n%s", all)
				}
			})
		}
	}
}
