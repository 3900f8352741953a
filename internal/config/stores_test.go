package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/secret"
)

// shelf is a store that keeps what it read, and says of references that begin with x that they are not well written.
type shelf struct {
	mu     sync.Mutex
	kept   map[string]string
	asked  map[string]int
	fresh  int
	closed int
}

type advised struct{ error }

func (advised) Advice() string { return "do this" }

func (s *shelf) Check(ref string) error {
	if strings.HasPrefix(ref, "x") {
		return advised{errors.New("begins with x")}
	}
	return nil
}

func (s *shelf) Resolve(_ context.Context, ref string) (secret.Text, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[ref]++
	v, ok := s.kept[ref]
	if !ok {
		return secret.Text{}, advised{errors.New("there is none")}
	}
	return secret.New(v), nil
}

func (s *shelf) Fresh(ctx context.Context, ref string, since time.Time) (secret.Text, error) {
	s.mu.Lock()
	if time.Since(since) < time.Minute {
		s.fresh++
	}
	s.mu.Unlock()
	return s.Resolve(ctx, ref)
}

func (s *shelf) Close() { s.closed++ }

const shelved = `
defaults:
  credentials:
    email: vault:shared#email
clients:
  - id: one
    connections:
      - platform: adplatform
        url: https://ads.example.com
        credentials: {password: "vault:shared#password"}
  - id: two
    connections:
      - platform: adplatform
        url: https://ads.example.com
        credentials: {password: "vault:${WHERE}#password"}
  - id: three
    connections:
      - platform: adplatform
        url: https://ads.example.com
        credentials: {email: c@example.com, password: "${PW}"}
`

func loadShelved(t *testing.T, s *shelf) *Config {
	t.Helper()
	c, err := Load(Options{
		Dir: dirWith(t, map[string]string{DefaultFile: shelved}), Environ: []string{"WHERE=c4n4ry-place", "PW=c4n4ry-pw"},
		Stores: func(Secrets) map[string]Resolver { return map[string]Resolver{"vault": s} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// One reference that many name is followed once; what is refused is named as it is written, with the store's own advice.
func TestResolveOnce(t *testing.T) {
	s := &shelf{kept: map[string]string{"shared#email": "a@example.com", "shared#password": "c4n4ry-1"}}
	c := loadShelved(t, s)
	err := c.Resolve(t.Context())
	ps := problems(t, err)
	wellFormed(t, ps)
	want := `clients[1].connections[0].credentials.password: "vault:${WHERE}#password" could not be read: there is none` + "\n  do this"
	if len(ps) != 1 || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v\nwant …%s", err, want)
	}
	if s.asked["shared#email"] != 1 || s.asked["shared#password"] != 1 {
		t.Errorf("asked %v", s.asked)
	}
	if c.Connections[0].Password.Reveal() != "c4n4ry-1" || c.Connections[1].Email.Reveal() != "a@example.com" || !c.Connections[1].Password.Empty() {
		t.Errorf("got %+v", c.Connections)
	}
	c.Close()
	c.Close()
	if s.closed != 2 {
		t.Errorf("closed %d times", s.closed)
	}
}

// A connection is renewed apart, as many at once as there are, and the configuration stays as it was.
func TestRenew(t *testing.T) {
	s := &shelf{kept: map[string]string{"shared#email": "a@example.com", "shared#password": "c4n4ry-1", "c4n4ry-place#password": "c4n4ry-2"}}
	c := loadShelved(t, s)
	if err := c.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := append([]Connection{}, c.Connections...)
	s.mu.Lock()
	s.kept["shared#password"], s.fresh = "c4n4ry-3", 0
	s.mu.Unlock()
	var wg sync.WaitGroup
	for range 8 {
		for i, want := range []struct {
			password string
			changed  bool
		}{{"c4n4ry-3", true}, {"c4n4ry-2", false}, {"c4n4ry-pw", false}} {
			wg.Go(func() {
				got, changed, err := c.Renew(t.Context(), before[i])
				if err != nil || changed != want.changed || got.Password.Reveal() != want.password || got.Ref != before[i].Ref {
					t.Errorf("%s: %q, %t, %v", before[i].Ref, got.Password.Reveal(), changed, err)
				}
				if got, err = c.ResolveConnection(t.Context(), before[i].Ref); err != nil || got.Password.Reveal() != want.password {
					t.Errorf("%s: %q, %v", before[i].Ref, got.Password.Reveal(), err)
				}
			})
		}
	}
	wg.Wait()
	if s.fresh != 8*4 {
		t.Errorf("%d of 32 references were followed anew", s.fresh)
	}
	for i := range before {
		if !c.Connections[i].Password.Equal(before[i].Password) {
			t.Errorf("the configuration's own %s was changed", before[i].Ref)
		}
		if got := c.Renewable(before[i].Ref); got != (i < 2) {
			t.Errorf("%s: renewable: %t", before[i].Ref, got)
		}
	}
	delete(s.kept, "shared#password")
	got, changed, err := c.Renew(t.Context(), before[0])
	ps := problems(t, err)
	wellFormed(t, ps)
	if changed || !got.Password.Equal(before[0].Password) || len(ps) != 1 {
		t.Errorf("got %q, %t, %v", got.Password.Reveal(), changed, err)
	}
	if _, err := c.ResolveConnection(t.Context(), ads.Ref{ClientID: "nobody"}); err == nil || c.Renewable(ads.Ref{ClientID: "nobody"}) {
		t.Error("a connection that is not configured is resolved")
	}
}

// A file: reference is renewable too, and is read each time.
func TestRenewFile(t *testing.T) {
	dir := dirWith(t, map[string]string{DefaultFile: strings.NewReplacer("${P}", "file:pw", "${E:-a@example.com}", "a@example.com").Replace(one("")), "pw": "c4n4ry-1"})
	c, err := Load(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	conn := c.Connections[0]
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte("c4n4ry-2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, changed, err := c.Renew(t.Context(), conn)
	if err != nil || !changed || got.Password.Reveal() != "c4n4ry-2" || !c.Renewable(conn.Ref) {
		t.Errorf("got %q, %t, %v", got.Password.Reveal(), changed, err)
	}
}

func TestSecretsBlock(t *testing.T) {
	dir := dirWith(t, map[string]string{"id": "c4n4ry-id\n"})
	var got Secrets
	load := func(block string, environ ...string) (*Config, error) {
		src := "secrets:\n" + block + strings.ReplaceAll(one(""), "${P}", "vault:a#b")
		if err := os.WriteFile(filepath.Join(dir, DefaultFile), []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		return Load(Options{Dir: dir, Environ: append(environ, "URL=https://vault.example.com:8200/"), Stores: func(s Secrets) map[string]Resolver {
			got = s
			return map[string]Resolver{"vault": &shelf{}}
		}})
	}
	reveal := func(k Kept) string {
		if k == nil {
			return ""
		}
		v, err := k()
		if err != nil {
			return err.Error()
		}
		return v.Reveal()
	}
	for _, c := range []struct {
		block string
		want  Secrets
		token string
		role  string
		id    string
	}{
		{"", Secrets{Cache: DefaultCache, Vault: Vault{Auth: AuthToken, Mount: AuthToken}}, "", "", ""},
		{"  cache: 30s\n", Secrets{Cache: 30 * time.Second, Vault: Vault{Auth: AuthToken, Mount: AuthToken}}, "", "", ""},
		{"  vault: {address: \"${URL}\", namespace: team/a, ca_cert: /ca.pem, token: \"${T}\"}\n", Secrets{Cache: DefaultCache, Vault: Vault{
			Address: "https://vault.example.com:8200", Namespace: "team/a", CACert: "/ca.pem", Auth: AuthToken, Mount: AuthToken,
		}}, "c4n4ry-token", "", ""},
		{"  vault: {role_id: role-1, secret_id: \"file:id\", mount: /prod/}\n", Secrets{Cache: DefaultCache, Vault: Vault{Auth: AuthAppRole, Mount: "prod"}}, "", "role-1", "c4n4ry-id"},
		{"  vault: {role: adsync, jwt_file: /jwt}\n", Secrets{Cache: DefaultCache, Vault: Vault{Auth: AuthKubernetes, Mount: AuthKubernetes, Role: "adsync", JWTFile: "/jwt"}}, "", "", ""},
		{"  aws: {region: eu-central-1, profile: p}\n  gcp: {project: x, credentials: /k.json, endpoint: https://sm.example.com}\n", Secrets{
			Cache: DefaultCache, Vault: Vault{Auth: AuthToken, Mount: AuthToken}, AWS: AWS{"eu-central-1", "p"}, Google: Google{"x", "/k.json", "https://sm.example.com"},
		}, "", "", ""},
	} {
		if _, err := load(c.block, "T=c4n4ry-token", "P=x"); err != nil {
			t.Errorf("%s: %v", c.block, err)
			continue
		}
		v := got.Vault
		if reveal(v.Token) != c.token || reveal(v.RoleID) != c.role || reveal(v.SecretID) != c.id {
			t.Errorf("%s: %q, %q, %q", c.block, reveal(v.Token), reveal(v.RoleID), reveal(v.SecretID))
		}
		if got.Getenv("T") != "c4n4ry-token" || got.Getenv("NOPE") != "" {
			t.Errorf("%s: variables do not come through", c.block)
		}
		v.Token, v.RoleID, v.SecretID = nil, nil, nil
		if fmt.Sprintf("%+v %+v %+v %s", v, got.AWS, got.Google, got.Cache) != fmt.Sprintf("%+v %+v %+v %s", c.want.Vault, c.want.AWS, c.want.Google, c.want.Cache) {
			t.Errorf("%s: got %+v", c.block, got)
		}
	}
	// A secret id in a file of its own is read at each login.
	if _, err := load("  vault: {role_id: r, secret_id: \"file:id\"}\n"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "id"), []byte("c4n4ry-id2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if reveal(got.Vault.SecretID) != "c4n4ry-id2" {
		t.Errorf("got %q", reveal(got.Vault.SecretID))
	}
	for block, want := range map[string]string{
		"  vault: {adress: https://x}\n":                     "did you mean address?",
		"  hashicorp: {}\n":                                  "there is no such key",
		"  vault: c4n4ry\n":                                  "not a mapping",
		"  cache: 0s\n":                                      "is not between 1s and 1h",
		"  cache: soon\n":                                    "not a length of time",
		"  vault: {auth: ldap}\n":                            "is not known",
		"  vault: {auth: approle}\n":                         "secrets.vault.role_id: is missing",
		"  vault: {auth: kubernetes}\n":                      "secrets.vault.role: is missing",
		"  vault: {auth: token, role: x}\n":                  "is for auth: kubernetes",
		"  vault: {role_id: a, role: b}\n":                   "is for auth: kubernetes",
		"  vault: {role_id: a, token: \"${T}\"}\n":           "is for auth: token",
		"  vault: {token: \"vault:secret/data/x#token\"}\n":  "is kept in a store itself",
		"  vault: {role_id: a, secret_id: \"aws:c4n4ry\"}\n": "is kept in a store itself",
		"  vault: {role_id: a, secret_id: \"file:nope\"}\n":  "there is no such file",
		"  vault: {token: \"env:NOPE\"}\n":                   "NOPE is not set",
		"  vault: {address: ftp://c4n4ry:x@y}\n":             "holds a name or a password",
		"  vault: {auth: [token]}\n":                         "not a single value",
		"  aws: {region: \"\"}\n":                            "is empty",
	} {
		_, err := load(block, "T=c4n4ry-token")
		if err == nil {
			t.Errorf("%s is taken", block)
			continue
		}
		wellFormed(t, problems(t, err))
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", block, err, want)
		}
	}
}

// A store that is reached without encryption draws a warning, once, and only where something is read from it.
func TestPlainStores(t *testing.T) {
	src := func(ref, block string) string { return block + strings.ReplaceAll(one(""), "${P}", ref) }
	for _, c := range []struct {
		src     string
		environ []string
		want    string // of the one warning; empty: none
	}{
		{src("vault:a#b", ""), []string{"VAULT_ADDR=http://vault.example.com:8200"}, `VAULT_ADDR: "http://vault.example.com:8200" sends secrets in clear`},
		{src("vault:a#b", ""), []string{"VAULT_ADDR=http://127.0.0.1:8200"}, ""},
		{src("vault:a#b", ""), []string{"VAULT_ADDR=https://vault.example.com"}, ""},
		{src("aws:a", ""), []string{"VAULT_ADDR=http://vault.example.com:8200"}, ""},
		{src("aws:a", ""), []string{"AWS_ENDPOINT_URL=http://aws.example.com"}, "AWS_ENDPOINT_URL: "},
		{src("env:X", ""), []string{"X=c4n4ry", "VAULT_ADDR=http://vault.example.com:8200"}, ""},
		{src("vault:a#b", "secrets: {vault: {address: http://vault.example.com}}\n"), nil, "secrets.vault.address"},
		{src("vault:a#b", "secrets: {gcp: {endpoint: http://sm.example.com}}\n"), nil, "secrets.gcp.endpoint"},
		{src("vault:a#b", "secrets: {vault: {token: c4n4ry-token}}\n"), nil, "a secret stands here in clear"},
	} {
		for _, strict := range []bool{false, true} {
			cfg, err := Load(Options{Dir: dirWith(t, map[string]string{DefaultFile: c.src}), Environ: c.environ, Strict: strict, Stores: func(Secrets) map[string]Resolver {
				return map[string]Resolver{"vault": &shelf{}, "aws": &shelf{}}
			}})
			var ps []Problem
			switch {
			case strict && c.want != "":
				ps = problems(t, err)
			case err != nil:
				t.Errorf("%s: %v", c.src, err)
				continue
			default:
				ps = cfg.Warnings
			}
			wellFormed(t, ps)
			if c.want == "" && len(ps) != 0 || c.want != "" && (len(ps) != 1 || !strings.Contains(ps[0].String(), c.want)) {
				t.Errorf("%s %v: got %v", c.src, c.environ, ps)
			}
		}
	}
}

// What a store knows to be no reference is not shown: it may be a secret.
func TestNotWellWritten(t *testing.T) {
	_, err := Load(Options{Dir: dirWith(t, map[string]string{DefaultFile: strings.ReplaceAll(one(""), "${P}", "vault:xc4n4ry")}), Stores: func(Secrets) map[string]Resolver {
		return map[string]Resolver{"vault": &shelf{}}
	}})
	ps := problems(t, err)
	wellFormed(t, ps)
	if len(ps) != 1 || ps[0].Message != "begins with x" || ps[0].Cure != "do this" || ps[0].Value != "vault:…" {
		t.Errorf("got %v", err)
	}
}
