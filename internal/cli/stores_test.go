package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"adsync/internal/vaults/fakevault"
)

// Credentials that a store keeps: read by an own login, which ends with the command; in no output; and what is wrong is named with its cure.
func TestSecretStore(t *testing.T) {
	_, url := startPlatform(t, nil)
	v := fakevault.New()
	v.Policy("ads", "secret/data/*")
	role := v.AddRole("", "approle", "role-1", fakevault.Role{Secret: "c4n4ry-secret-id", Token: fakevault.Token{Policies: []string{"ads"}, TTL: time.Hour, Renewable: true}})
	v.Put("", "secret/acme", map[string]any{"email": testEmail, "password": testPassword})
	dir := t.TempDir()
	file := filepath.Join(dir, "adsync.yaml")
	write(t, filepath.Join(dir, "secret-id"), "c4n4ry-secret-id\n")
	config := func(key string) {
		write(t, file, fmt.Sprintf(`environment: production
database: sqlite:%s
secrets:
  vault: {role_id: role-1, secret_id: "file:secret-id"}
clients:
  - id: acme
    connections:
      - platform: adplatform
        url: %s
        credentials: {email: "vault:secret/data/acme#email", password: "vault:secret/data/acme#%s"}
        quota: none
`, filepath.ToSlash(filepath.Join(dir, "adsync.db")), url, key))
	}
	env := []string{"VAULT_ADDR=" + v.Serve(t).URL}
	token := func() (last string) {
		for _, r := range v.Requests() {
			if r.Token != "" {
				last = r.Token
			}
		}
		return last
	}

	config("password")
	if r := run(t, within(t), env, "check", "--offline", "--config", file); r.code != 0 || len(v.Requests()) != 0 {
		t.Errorf("offline: exit %d, %d requests\n%s", r.code, len(v.Requests()), r.stderr)
	}
	for _, cmd := range []string{"check", "sync"} {
		r := run(t, within(t), env, cmd, "--config", file)
		if r.code != 0 {
			t.Errorf("%s: exit %d\n%s%s", cmd, r.code, r.stdout, r.stderr)
		}
		for _, s := range []string{"c4n4ry", token()} {
			if strings.Contains(r.stdout+r.stderr, s) {
				t.Errorf("%s says %q:\n%s%s", cmd, s, r.stdout, r.stderr)
			}
		}
		if token() == "" || v.Known(token()) {
			t.Errorf("%s leaves its login behind", cmd)
		}
	}
	if n, _ := v.Logins(role); n != 2 || v.Count("secret/") != 2 {
		t.Errorf("%d logins and %d readings by two commands", n, v.Count("secret/"))
	}

	config("pasword")
	r := run(t, within(t), env, "check", "--config", file)
	want := `"vault:secret/data/acme#pasword" could not be read: there is no such key; there are: email, password`
	if r.code != 2 || !strings.Contains(r.stdout+r.stderr, want) {
		t.Errorf("exit %d, want 2 with %s\n%s%s", r.code, want, r.stdout, r.stderr)
	}
	v.Seal(true)
	r = run(t, within(t), env, "sync", "--config", file)
	if r.code != 2 || !strings.Contains(r.stderr, "is sealed") || !strings.Contains(r.stderr, "unseal") {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
}
