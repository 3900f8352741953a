package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"adsync/internal/leaktest"
	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

func tokenKey(t *testing.T) string {
	t.Helper()
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// keyed is a bed with a configuration file, and the token's key or keys as `token_key:` has them.
func keyed(t *testing.T, p *platform, database, keys string, env ...string) *bed {
	t.Helper()
	b := newBed(t, p, env...)
	b.keys(database, keys)
	return b
}

func (b *bed) keys(database, keys string) {
	b.t.Helper()
	file := "database: " + database + "\n"
	if keys != "" {
		file += "token_key: " + keys + "\n"
	}
	file += `clients:
  - id: acme
    connections:
      - platform: adplatform
        url: ${AD_PLATFORM_API_URL}
        quota: none
        credentials: {email: "${AD_PLATFORM_EMAIL}", password: "${AD_PLATFORM_PASSWORD}"}
`
	if err := os.WriteFile(filepath.Join(b.dir, "adsync.yaml"), []byte(file), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// Within a token's life the second run does not log in again, where there is a key; nor does a run after the key was replaced.
func TestTokenKept(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			database := "sqlite:adsync.db"
			if engine == "postgres" {
				database = pgtest.New(t)
			}
			p := newPlatform(t, func(c *simulator.Config) { c.Quota, c.Campaigns = simulator.Quota{}, 20 })
			var mu sync.Mutex
			sent := map[string]string{}
			p.watch(func(r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if tok, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
					sent["token "+tok] = tok
				}
			}, nil)
			one, two := tokenKey(t), tokenKey(t)
			b := keyed(t, p, database, "env:KEY_ONE", "KEY_ONE="+one, "KEY_TWO="+two)
			said := ""
			runs := func(keys string, logins int64) {
				t.Helper()
				b.keys(database, keys)
				code, s, errs := b.sync("--migrate", "--log-level", "debug")
				if said += errs; code != 0 || s.Connections[0].Synced != 20 {
					t.Fatalf("exit %d\n%s", code, errs)
				}
				if n := p.Stats().TokensIssued; n != logins {
					t.Errorf("token_key %s: %d logins, want %d", keys, n, logins)
				}
			}
			runs("env:KEY_ONE", 1)
			runs("env:KEY_ONE", 1)
			runs("[env:KEY_ONE, env:KEY_TWO]", 1)
			runs("[env:KEY_TWO, env:KEY_ONE]", 1)
			runs("env:KEY_TWO", 1)

			// The first key opens nothing any more. That is said, before anything is asked of the platform.
			b.keys(database, "env:KEY_ONE")
			before := p.Stats().Requests
			code, _, errs := b.run("sync")
			if said += errs; code != 2 || !strings.Contains(errs, "were stored with the key") || !strings.Contains(errs, "behind the new one") {
				t.Errorf("exit %d\n%s", code, errs)
			}
			if n := p.Stats().Requests; n != before {
				t.Errorf("%d requests with the wrong key", n-before)
			}
			code, out, errs := b.run("check", "--json")
			var doc struct {
				Checks []struct {
					Check, Message string
					OK             bool
				}
			}
			if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 2 {
				t.Fatalf("exit %d, %v\n%s%s", code, err, out, errs)
			}
			for _, f := range doc.Checks {
				if f.OK == (f.Check == "tokens") {
					t.Errorf("%+v", f)
				}
			}
			said += out + errs

			// Without a key each process logs in for itself, and check says so.
			logins := p.Stats().TokensIssued
			runs("", logins+1)
			runs("", logins+2)
			_, out, _ = b.run("check")
			if said += out; !strings.Contains(out, "tokens are kept in memory") {
				t.Errorf("check does not say where tokens are kept:\n%s", out)
			}

			mu.Lock()
			defer mu.Unlock()
			if len(sent) < 2 {
				t.Fatalf("%d tokens were seen", len(sent))
			}
			sent["the first key"], sent["the second key"] = one, two
			scan, err := leaktest.New(sent)
			if err != nil {
				t.Fatal(err)
			}
			if f := scan.Scan([]byte(said)); len(f) > 0 {
				t.Errorf("in the output: %v", f)
			}
			found, err := scan.Files(b.dir)
			if err != nil {
				t.Fatal(err)
			}
			for name, f := range found {
				t.Errorf("%s: %v", name, f)
			}
		})
	}
}
