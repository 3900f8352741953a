package hashicorp

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"adsync/internal/config"
	"adsync/internal/secret"
	"adsync/internal/vaults/fakevault"
	"adsync/internal/vaults/internal/source"
)

func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "VAULT_") {
			_ = os.Unsetenv(name)
		}
	}
	goleak.VerifyTestMain(m)
}

// open makes a Store on a set of variables, with the home folder empty unless they name one.
func open(t testing.TB, set config.Vault, env map[string]string) *Store {
	t.Helper()
	set.Auth = or(set.Auth, config.AuthToken)
	set.Mount = or(set.Mount, set.Auth)
	s := New(config.Secrets{Vault: set, Getenv: func(name string) string { return env[name] }})
	t.Cleanup(s.Close)
	return s
}

func kept(v string) config.Kept {
	return func() (secret.Text, error) { return secret.New(v), nil }
}

// get follows a reference.
func get(ctx context.Context, s *Store, ref string) (string, error) {
	r, err := s.Parse(ref)
	if err != nil {
		return "", err
	}
	d, err := s.Fetch(ctx, r.Doc)
	if err != nil {
		return "", err
	}
	v, err := d.Pick(r.Key)
	return v.Reveal(), err
}

// wants checks the kind of an error and that its words hold some.
func wants(t testing.TB, err error, kind source.Kind, words ...string) {
	t.Helper()
	e, ok := errors.AsType[*source.Error](err)
	if !ok || e.Kind != kind || e.Hint == "" {
		t.Errorf("got %#v, want an error of kind %q with a hint", err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(e.Message+" | "+e.Hint, w) {
			t.Errorf("%q (%s) does not hold %q", e.Message, e.Hint, w)
		}
	}
}

func TestParse(t *testing.T) {
	s := open(t, config.Vault{}, nil)
	for ref, want := range map[string]source.Reference{
		"secret/data/acme#password":           {Doc: "secret/data/acme", Key: "password"},
		"kv/acme/deep#a.b#c":                  {Doc: "kv/acme/deep", Key: "a.b#c"},
		"secret/data/acme?version=3#password": {Doc: "secret/data/acme?version=3", Key: "password"},
	} {
		if got, err := s.Parse(ref); err != nil || got != want {
			t.Errorf("%s: %v, %v", ref, got, err)
		}
	}
	for _, ref := range []string{
		"", "#", "a", "a#b", "secret/data/acme", "secret/data/acme#", "/secret/data/acme#p", "secret/data/acme/#p", "v1/secret/data/acme#p", "secret/../sys/seal#p", "secret//a#p",
		"secret/data/%2e%2e/x#p", "secret/a b#p", "secret/data/acme?version=0#p", "secret/data/acme?version=x#p", "secret/data/acme?list=true#p", "secret/\x1b[0m#p",
		"secret/" + strings.Repeat("a", 2000) + "#p", "secret/./a#p",
	} {
		_, err := s.Parse(ref)
		wants(t, err, source.BadReference)
	}
}

func TestReads(t *testing.T) {
	v := fakevault.New()
	v.Put("", "secret/acme", map[string]any{"password": "c4n4ry-one", "number": 12345678901234567, "yes": true, "none": nil, "list": []string{"c4n4ry"}, "map": map[string]any{"a": "c4n4ry"}, "empty": ""})
	v.Put("", "secret/acme", map[string]any{"password": "c4n4ry-two", "number": 12345678901234567, "yes": true, "none": nil, "list": []string{"c4n4ry"}, "map": map[string]any{"a": "c4n4ry"}, "empty": ""})
	v.Put("", "kv/acme", map[string]any{"password": "c4n4ry-v1"})
	v.Put("", "kv/looks-new", map[string]any{"data": map[string]any{"x": "y"}, "metadata": map[string]any{"version": "c4n4ry"}})
	v.Put("", "secret/gone", map[string]any{"password": "c4n4ry"})
	v.Delete("secret/gone", false)
	v.Put("", "secret/destroyed", map[string]any{"password": "c4n4ry"})
	v.Delete("secret/destroyed", true)
	s := open(t, config.Vault{}, map[string]string{"VAULT_ADDR": v.Serve(t).URL, "VAULT_TOKEN": fakevault.Root})
	for ref, want := range map[string]string{
		"secret/data/acme#password":           "c4n4ry-two",
		"secret/data/acme?version=1#password": "c4n4ry-one",
		"secret/data/acme#number":             "12345678901234567",
		"secret/data/acme#yes":                "true",
		"kv/acme#password":                    "c4n4ry-v1",
	} {
		if got, err := get(t.Context(), s, ref); err != nil || got != want {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
	}
	for ref, want := range map[string]struct {
		kind  source.Kind
		words string
	}{
		"secret/data/acme#nope":               {source.NoKey, "there are: empty, list, map, none, number, password, yes"},
		"secret/data/acme#list":               {source.NoKey, "a list"},
		"secret/data/acme#map":                {source.NoKey, "an object"},
		"secret/data/acme#none":               {source.NoKey, "null"},
		"secret/data/acme#empty":              {source.NoKey, "empty"},
		"secret/data/acme?version=9#password": {source.NoSecret, "no secret at this path"},
		"secret/data/nope#password":           {source.NoSecret, "no secret at this path"},
		"secret/acme#password":                {source.NoSecret, "write vault:secret/data/acme#"},
		"secret/data/gone#password":           {source.NoSecret, "version 1 of this secret, and it was deleted"},
		"secret/data/destroyed#password":      {source.NoSecret, "it was destroyed"},
		"nomount/x#password":                  {source.NoSecret, "check mount"},
		"kv/looks-new#data":                   {source.NoKey, "an object"},
	} {
		_, err := get(t.Context(), s, ref)
		wants(t, err, want.kind, want.words)
		if strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: a value is said: %v", ref, err)
		}
	}
}

// A token that may not do something, and one that has ended, are told apart; a token that was changed where it is kept is taken.
func TestTokens(t *testing.T) {
	v := fakevault.New()
	v.Put("", "secret/acme", map[string]any{"password": "c4n4ry"})
	v.Policy("ads", "secret/data/acme")
	srv := v.Serve(t)
	home := t.TempDir()
	file := filepath.Join(home, ".vault-token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"VAULT_ADDR": srv.URL, "HOME": home}

	_, err := get(t.Context(), open(t, config.Vault{}, env), "secret/data/acme#password")
	wants(t, err, source.LoginRefused, "VAULT_TOKEN", "vault login")

	v.AddToken("hvs.few-rights", fakevault.Token{Policies: []string{"default"}, TTL: time.Hour})
	write("hvs.few-rights")
	s := open(t, config.Vault{}, env)
	_, err = get(t.Context(), s, "secret/data/acme#password")
	wants(t, err, source.Denied, "permission denied", "default")

	// The operator logs in again; the old token ends.
	v.Revoke("hvs.few-rights")
	_, err = get(t.Context(), s, "secret/data/acme#password")
	wants(t, err, source.Expired, "does not know the token", "vault login")
	v.AddToken("hvs.right", fakevault.Token{Policies: []string{"ads"}, NoSelf: true})
	write("hvs.right")
	if got, err := get(t.Context(), s, "secret/data/acme#password"); err != nil || got != "c4n4ry" {
		t.Errorf("with the new token: %q, %v", got, err)
	}
	// Its policies do not let it look at itself: no more can be said than that one or the other is so.
	_, err = get(t.Context(), s, "secret/data/other#password")
	wants(t, err, source.Expired, "may do nothing at all")

	for _, bad := range []string{"hvs.with\x01control", "hvs.nöt"} {
		_, err = get(t.Context(), open(t, config.Vault{Token: kept(bad)}, env), "secret/data/acme#password")
		if err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAppRole(t *testing.T) {
	v := fakevault.New()
	v.Put("", "secret/acme", map[string]any{"password": "c4n4ry"})
	v.Policy("ads", "secret/data/*")
	role := v.AddRole("", "approle-prod", "role-1", fakevault.Role{Secret: "secret-id-1", Token: fakevault.Token{Policies: []string{"ads"}, TTL: time.Hour, Renewable: true}})
	srv := v.Serve(t)
	id := "wrong-secret-id"
	set := config.Vault{
		Address: srv.URL, Auth: config.AuthAppRole, Mount: "approle-prod", RoleID: kept("role-1"),
		SecretID: func() (secret.Text, error) { return secret.New(id), nil },
	}
	s := open(t, set, nil)
	for range 3 {
		_, err := get(t.Context(), s, "secret/data/acme#password")
		wants(t, err, source.LoginRefused, "invalid role or secret ID", "auth/approle-prod")
	}
	if _, refused := v.Logins(role); refused != 1 {
		t.Errorf("%d logins with credentials that were refused; Vault locks out who tries too often", refused)
	}
	id = "secret-id-1"
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := get(t.Context(), s, "secret/data/acme#password"); err != nil || got != "c4n4ry" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n, _ := v.Logins(role); n != 1 {
		t.Errorf("%d logins for 20 readers", n)
	}
	token := v.Requests()[len(v.Requests())-1].Token
	if !v.Known(token) {
		t.Fatalf("%s is not known", token)
	}
	s.Close()
	s.Close()
	if v.Known(token) {
		t.Error("the login lives on after Close")
	}
}

func TestKubernetes(t *testing.T) {
	v := fakevault.New()
	v.Mount("team/a", "secret", "kv2")
	v.Put("team/a", "secret/acme", map[string]any{"password": "c4n4ry"})
	v.Policy("ads", "secret/data/*")
	v.AddRole("team/a", "kubernetes", "adsync", fakevault.Role{Secret: "jwt-1", Token: fakevault.Token{Policies: []string{"ads"}, TTL: time.Hour}})
	srv := v.Serve(t)
	file := filepath.Join(t.TempDir(), "token")
	set := config.Vault{Address: srv.URL, Namespace: "team/a/", Auth: config.AuthKubernetes, Role: "adsync", JWTFile: file}
	s := open(t, set, map[string]string{"VAULT_NAMESPACE": "another"})
	_, err := get(t.Context(), s, "secret/data/acme#password")
	wants(t, err, source.Misconfigured, "service account token", "jwt_file")
	if err := os.WriteFile(file, []byte("jwt-stale"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = get(t.Context(), s, "secret/data/acme#password")
	wants(t, err, source.LoginRefused, "permission denied", "role:")
	if err := os.WriteFile(file, []byte("jwt-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := get(t.Context(), s, "secret/data/acme#password"); err != nil || got != "c4n4ry" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, r := range v.Requests() {
		if r.Namespace != "team/a" {
			t.Errorf("%+v is in another namespace", r)
		}
	}
	set.Role = "other"
	_, err = get(t.Context(), open(t, set, nil), "secret/data/acme#password")
	wants(t, err, source.LoginRefused, `invalid role name "other"`)
}

// What Vault, or something in its place, may answer.
func TestFailures(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect is followed") }))
	defer other.Close()
	v := fakevault.New()
	v.Put("", "secret/acme", map[string]any{"password": "c4n4ry"})
	s := open(t, config.Vault{}, map[string]string{"VAULT_ADDR": v.Serve(t).URL, "VAULT_TOKEN": fakevault.Root})
	if _, err := get(t.Context(), s, "secret/data/acme#password"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		kind   source.Kind
		wait   time.Duration
		words  string
	}{
		"rate limit":   {fakevault.Answer(429, `{"errors":["request path \"secret/data/acme\": rate limit quota exceeded"]}`, "Retry-After", "7"), source.Throttled, 7 * time.Second, "rate limit quota exceeded"},
		"sealed":       {fakevault.Answer(503, `{"errors":["Vault is sealed"]}`), source.Unavailable, 0, "unseal"},
		"internal":     {fakevault.Answer(500, `{"errors":["internal error"]}`, "Retry-After", "3"), source.Unavailable, 3 * time.Second, "internal error"},
		"proxy's page": {fakevault.Answer(502, `<html>c4n4ry</html>`), source.Unavailable, 0, "HTTP 502"},
		"redirect":     {fakevault.Answer(307, ``, "Location", other.URL+"/v1/secret?c4n4ry"), source.Misconfigured, 0, other.URL},
		"no JSON":      {fakevault.Answer(200, `c4n4ry`), source.BadAnswer, 0, "not Vault's"},
		"half":         {fakevault.Answer(200, `{"data":{"data":{"password":"c4n4ry`), source.Unreachable, 0, "no answer that can be read"},
		"nothing":      {fakevault.Answer(200, `{}`), source.NoSecret, 0, "keeps nothing"},
		"no body":      {fakevault.Answer(204, ``), source.NoSecret, 0, ""},
		"refused":      {fakevault.Answer(405, `{"errors":["unsupported operation"]}`), source.BadAnswer, 0, "unsupported operation"},
		"the token":    {fakevault.Answer(400, `{"errors":["bad token: `+fakevault.Root+`"]}`), source.BadAnswer, 0, "bad token: ***"},
		"huge":         {fakevault.Answer(200, `{"data":{"x":"`+strings.Repeat("c4n4ry", 1<<20)+`"}}`), source.BadAnswer, 0, ""},
		"huge refusal": {fakevault.Answer(500, strings.Repeat("c4n4ry", 1<<20)), source.BadAnswer, 0, "larger than 4 MiB"},
		"closed": {func(w http.ResponseWriter, _ *http.Request) bool {
			panic(http.ErrAbortHandler)
		}, source.Unreachable, 0, "check the address"},
	} {
		t.Run(name, func(t *testing.T) {
			v.Next(c.answer, c.answer) // net/http itself repeats what a closed connection swallowed
			defer v.Forget()
			_, err := get(t.Context(), s, "secret/data/acme#password")
			wants(t, err, c.kind, c.words)
			if e, ok := errors.AsType[*source.Error](err); ok && e.Wait != c.wait {
				t.Errorf("waits %s, want %s", e.Wait, c.wait)
			}
			if err != nil && (strings.Contains(err.Error(), "c4n4ry") || strings.Contains(err.Error(), fakevault.Root)) {
				t.Errorf("a secret is said: %v", err)
			}
		})
	}
	if got, err := get(t.Context(), s, "secret/data/acme#password"); err != nil || got != "c4n4ry" {
		t.Errorf("after all that: %q, %v", got, err)
	}
}

func TestTLS(t *testing.T) {
	v := fakevault.New()
	v.Put("", "secret/acme", map[string]any{"password": "c4n4ry"})
	srv := v.ServeTLS(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, certificate(srv.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	env := func(kv ...string) map[string]string {
		m := map[string]string{"VAULT_ADDR": srv.URL, "VAULT_TOKEN": fakevault.Root}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for _, c := range []struct {
		name string
		set  config.Vault
		env  map[string]string
		kind source.Kind // "": it works
		word string
	}{
		{"unknown authority", config.Vault{}, env(), source.Misconfigured, "an authority that is not known"},
		{"VAULT_CACERT", config.Vault{}, env("VAULT_CACERT", ca), "", ""},
		{"ca_cert", config.Vault{CACert: ca}, env("VAULT_CACERT", "/nowhere"), "", ""},
		{"VAULT_CACERT_BYTES", config.Vault{}, env("VAULT_CACERT_BYTES", string(certificate(srv.Certificate()))), "", ""},
		{"VAULT_CAPATH", config.Vault{}, env("VAULT_CAPATH", filepath.Dir(ca)), "", ""},
		{"another name", config.Vault{}, env("VAULT_CACERT", ca, "VAULT_TLS_SERVER_NAME", "vault.example.net"), source.Misconfigured, "another name"},
		{"the certificate's name", config.Vault{}, env("VAULT_CACERT", ca, "VAULT_TLS_SERVER_NAME", "example.com"), "", ""},
		{"no such authority", config.Vault{}, env("VAULT_CACERT", "/nowhere"), source.Misconfigured, "VAULT_CACERT"},
		{"no check", config.Vault{}, env("VAULT_SKIP_VERIFY", "1"), source.Misconfigured, "VAULT_SKIP_VERIFY"},
		{"plain to TLS", config.Vault{}, env("VAULT_ADDR", "http://"+plain.Host), source.BadAnswer, ""},
		{"no address", config.Vault{}, env("VAULT_ADDR", "https://\x01"), source.Misconfigured, "address"},
		{"proxy", config.Vault{}, env("VAULT_PROXY_ADDR", "::"), source.Misconfigured, "VAULT_PROXY_ADDR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := get(t.Context(), open(t, c.set, c.env), "secret/data/acme#password")
			if c.kind == "" {
				if err != nil || got != "c4n4ry" {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			wants(t, err, c.kind, c.word)
		})
	}
	// TLS to plain, and nobody there.
	open2 := fakevault.New().Serve(t)
	_, err = get(t.Context(), open(t, config.Vault{}, map[string]string{"VAULT_ADDR": strings.Replace(open2.URL, "http", "https", 1), "VAULT_TOKEN": "x"}), "a/b#c")
	wants(t, err, source.Misconfigured, "does not speak TLS")
	open2.Close()
	_, err = get(t.Context(), open(t, config.Vault{}, map[string]string{"VAULT_ADDR": open2.URL, "VAULT_TOKEN": "x"}), "a/b#c")
	wants(t, err, source.Unreachable, "connection refused", "VAULT_ADDR")
}

// An agent puts its own token in; it may listen on a socket.
func TestAgent(t *testing.T) {
	v := fakevault.New()
	v.Put("", "secret/acme", map[string]any{"password": "c4n4ry"})
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != "" {
			t.Error("a token is sent to the agent")
		}
		r.Header.Set("X-Vault-Token", fakevault.Root)
		v.ServeHTTP(w, r)
	})
	for _, network := range []string{"tcp", "unix"} {
		address := serve(t, network, agent)
		s := open(t, config.Vault{}, map[string]string{"VAULT_AGENT_ADDR": address, "VAULT_ADDR": "https://vault.example.com"})
		if got, err := get(t.Context(), s, "secret/data/acme#password"); err != nil || got != "c4n4ry" {
			t.Errorf("%s: %q, %v", network, got, err)
		}
	}
}
