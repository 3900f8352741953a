//go:build !novault && !noaws && !nogcp

package vaults

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/config"
	"adsync/internal/vaults/fakeaws"
	"adsync/internal/vaults/fakegoogle"
	"adsync/internal/vaults/fakevault"
)

const file = `
secrets:
  vault:
    role_id: role-1
    secret_id: file:secret-id
  gcp:
    endpoint: ${GOOGLE_URL}
    credentials: ${GOOGLE_KEY}
clients:
  - id: one
    connections:
      - platform: adplatform
        url: https://ads.example.com
        credentials: {email: "vault:secret/data/acme#email", password: "vault:secret/data/acme#password"}
  - id: two
    connections:
      - platform: adplatform
        url: https://ads.example.com
        credentials: {email: "aws:prod/acme#email", password: "aws:prod/acme#password"}
  - id: three
    connections:
      - platform: adplatform
        url: https://ads.example.com
        credentials: {email: "gcp:acme#email", password: "gcp:projects/fake-project/secrets/acme/versions/latest#password"}
`

// world is a configuration with a connection for each store, and the fakes behind it.
type world struct {
	vault  *fakevault.Vault
	role   *fakevault.Role
	aws    *fakeaws.Manager
	google *fakegoogle.Manager
	cfg    *config.Config
}

const awsKey = "fake/secret+access/key/0123456789"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{vault: fakevault.New(), aws: fakeaws.New("eu-central-1", "AKIAFAKE00000000", fakeaws.Key{Secret: awsKey}), google: fakegoogle.New(t)}
	w.vault.Policy("ads", "secret/data/*")
	w.role = w.vault.AddRole("", "approle", "role-1", fakevault.Role{Secret: "secret-id-1", Token: fakevault.Token{Policies: []string{"ads"}, TTL: time.Hour}})
	google := w.google.Serve(t).URL
	dir := t.TempDir()
	for name, content := range map[string]string{config.DefaultFile: file, "secret-id": "secret-id-1\n", "key.json": string(w.google.KeyFile(google))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(config.Options{Dir: dir, Strict: true, Stores: Open, Environ: []string{
		"VAULT_ADDR=" + w.vault.Serve(t).URL, "GOOGLE_URL=" + google, "GOOGLE_KEY=" + filepath.Join(dir, "key.json"),
		"AWS_ENDPOINT_URL=" + w.aws.Serve(t).URL, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIAFAKE00000000", "AWS_SECRET_ACCESS_KEY=" + awsKey,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cfg.Close)
	w.cfg = cfg
	return w
}

// store puts the same credentials into all stores.
func (w *world) store(email, password string) {
	data := map[string]any{"email": email, "password": password}
	w.vault.Put("", "secret/acme", data)
	w.aws.Put("prod/acme", fmt.Sprintf(`{"email": %q, "password": %q}`, email, password))
	w.google.Put("projects/fake-project", "acme", fmt.Appendf(nil, `{"email": %q, "password": %q}`, email, password))
}

// All stores through a configuration: read once, renewed when asked, never by other ways.
func TestThroughConfig(t *testing.T) {
	w := newWorld(t)
	w.store("a@example.com", "c4n4ry-1")
	if len(w.vault.Requests())+len(w.aws.Requests())+len(w.google.Requests()) != 0 {
		t.Error("a store was asked before anybody wanted a secret")
	}
	if err := w.cfg.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.cfg.Connections {
		if c.Email.Reveal() != "a@example.com" || c.Password.Reveal() != "c4n4ry-1" {
			t.Errorf("%s: %q, %q", c.Ref, c.Email.Reveal(), c.Password.Reveal())
		}
	}
	if a, b, c := w.vault.Count("secret/"), len(w.aws.Requests()), w.google.Count(":access"); a != 1 || b != 1 || c != 2 {
		t.Errorf("%d, %d and %d requests; e-mail and password stand in one secret, which gcp: names in two ways", a, b, c)
	}
	w.store("a@example.com", "c4n4ry-2")
	for _, c := range w.cfg.Connections {
		old, err := w.cfg.ResolveConnection(t.Context(), c.Ref)
		if err != nil || old.Password.Reveal() != "c4n4ry-1" {
			t.Errorf("%s: %q, %v: it should be remembered", c.Ref, old.Password.Reveal(), err)
		}
		renewed, changed, err := w.cfg.Renew(t.Context(), c)
		if err != nil || !changed || renewed.Password.Reveal() != "c4n4ry-2" || renewed.URL != c.URL {
			t.Errorf("%s: %q, %t, %v", c.Ref, renewed.Password.Reveal(), changed, err)
		}
		if _, changed, err := w.cfg.Renew(t.Context(), renewed); err != nil || changed {
			t.Errorf("%s: changed again: %t, %v", c.Ref, changed, err)
		}
		if now, err := w.cfg.ResolveConnection(t.Context(), c.Ref); err != nil || now.Password.Reveal() != "c4n4ry-2" {
			t.Errorf("%s: %q, %v", c.Ref, now.Password.Reveal(), err)
		}
		if !w.cfg.Renewable(c.Ref) {
			t.Errorf("%s is not renewable", c.Ref)
		}
	}
	if !slices.Equal(Built(), []string{"vault", "aws", "gcp"}) {
		t.Errorf("built: %v", Built())
	}
}

// Whatever goes wrong, and whatever the secrets are, none is in an error or a log line: not what is kept, not what the stores are asked with.
func TestNoSecretIsSaid(t *testing.T) {
	w := newWorld(t)
	var logs strings.Builder
	slog.SetDefault(slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer slog.SetDefault(slog.New(slog.DiscardHandler))
	type failure struct {
		name string
		do   func(secretText string) (undo func())
	}
	none := func() {}
	all := func(status int, body string) {
		for range 8 { // as many tries as there may be
			w.vault.Next(fakevault.Answer(status, body))
			w.aws.Next(fakeaws.Answer(status, body))
			w.google.Next(fakegoogle.Answer(status, body))
		}
	}
	echo := func(status int, envelope string) func() {
		say := func(rw http.ResponseWriter, r *http.Request) bool {
			var said []string
			for _, h := range []string{"X-Vault-Token", "Authorization", "X-Amz-Security-Token"} {
				said = append(said, strings.TrimPrefix(r.Header.Get(h), "Bearer "))
			}
			rw.WriteHeader(status)
			_, _ = fmt.Fprintf(rw, envelope, strings.Join(said, " "))
			return true
		}
		for range 8 {
			w.vault.Next(say)
			w.aws.Next(say)
			w.google.Next(say)
		}
		return none
	}
	failures := []failure{
		{"key is another", func(s string) func() {
			w.vault.Put("", "secret/acme", map[string]any{"user": s})
			w.aws.Put("prod/acme", fmt.Sprintf(`{"user": %q}`, s))
			w.google.Put("projects/fake-project", "acme", fmt.Appendf(nil, `{"user": %q}`, s))
			return none
		}},
		{"no text", func(s string) func() {
			w.vault.Put("", "secret/acme", map[string]any{"email": []string{s}, "password": map[string]any{"x": s}})
			w.aws.Put("prod/acme", fmt.Sprintf(`{"email": [%q], "password": {"x": %q}}`, s, s))
			w.google.Put("projects/fake-project", "acme", fmt.Appendf(nil, `{"email": [%q], "password": {"x": %q}}`, s, s))
			return none
		}},
		{"no JSON", func(s string) func() {
			w.aws.Put("prod/acme", s)
			w.google.Put("projects/fake-project", "acme", []byte(s))
			return none
		}},
		{"cannot be used", func(s string) func() { w.store(s+"\n"+s, s+"\n"+s); return none }},
		{"too long", func(s string) func() { w.store(strings.Repeat(s, 5000/len(s)+1), s); return none }},
		{"broken answer", func(s string) func() { all(200, `{"data":{"data":{"password":"`+s); return none }},
		{"page", func(s string) func() { all(404, "<html>"+s+"</html>"); return none }},
		{"refusal in the form of Vault", func(string) func() { return echo(400, `{"errors":["%s"]}`) }},
		{"refusal in the form of AWS", func(string) func() { return echo(400, `{"__type":"Odd","message":"%s"}`) }},
		{"refusal in the form of Google", func(string) func() { return echo(400, `{"error":{"code":400,"message":"%s"}}`) }},
		{"login refused", func(string) func() {
			w.vault.Look(func() { w.role.Secret = "another-secret-id" })
			w.vault.Revoke(lastToken(w.vault))
			w.google.RefuseTokens(true)
			w.aws.Key("AKIAFAKE00000000", fakeaws.Key{Secret: "another"})
			return func() {
				w.google.RefuseTokens(false)
				w.vault.Look(func() { w.role.Secret = "secret-id-1" })
				w.aws.Key("AKIAFAKE00000000", fakeaws.Key{Secret: awsKey})
			}
		}},
	}
	rapid.Check(t, func(r *rapid.T) {
		s := rapid.StringMatching(`[A-Za-z0-9"\\<&%+/ \pL]{8,40}`).Draw(r, "secret")
		f := rapid.SampledFrom(failures).Draw(r, "failure")
		s = "c4n4ry" + s
		undo := f.do(s)
		defer undo()
		known := []string{s, "c4n4ry", awsKey, "secret-id-1", "hvs.fake", "ya29.fake", fmt.Sprintf("%q", s)}
		for _, c := range w.cfg.Connections {
			_, _, err := w.cfg.Renew(r.Context(), c)
			said := fmt.Sprintf("%v %+v %#v", err, err, err)
			for _, k := range known {
				if strings.Contains(said, k) || strings.Contains(logs.String(), k) {
					r.Fatalf("%s: %q is said: %s\n%s", f.name, k, said, logs.String())
				}
			}
		}
		// What was scripted and not used up is not for the next failure.
		w.vault.Forget()
		w.aws.Forget()
		w.google.Forget()
	})
}

func lastToken(v *fakevault.Vault) string {
	token := ""
	for _, r := range v.Requests() {
		if r.Token != "" {
			token = r.Token
		}
	}
	return token
}

// Nothing of a store is set up before a reference names it.
func TestOpenCostsNothing(t *testing.T) {
	n := testing.AllocsPerRun(10, func() {
		for _, r := range Open(config.Secrets{Cache: time.Minute, Getenv: func(string) string { t.Error("a variable is read"); return "" }}) {
			r.(interface{ Close() }).Close()
		}
	})
	if n > 100 {
		t.Errorf("%v allocations", n)
	}
}
