package cli

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"adsync/internal/simulator"
)

type checks struct {
	OK     bool
	Checks []struct {
		Check, Subject, Message string
		OK                      bool
		Blame, Cure             *string
	}
}

// check says for each thing whether it works and, where not, whose fault that is.
func TestCheck(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		name   string
		change func(*simulator.Config)
		env    []string
		args   []string
		code   int
		failed string // the check
		blame  string
		cure   string
	}{
		{name: "all well"},
		{name: "offline", args: []string{"--offline"}, env: []string{"AD_PLATFORM_API_URL=http://" + closed.Addr().String()}},
		{name: "password", change: func(s *simulator.Config) { s.Password = "another" }, code: 4, failed: "login", blame: "yours"},
		{
			name: "closed port", env: []string{"AD_PLATFORM_API_URL=http://" + closed.Addr().String(), "AD_PLATFORM_MAX_ELAPSED=1s"}, code: 5, failed: "login",
			blame: "the network's", cure: "is the platform running",
		},
		{
			name: "login page", change: func(s *simulator.Config) { s.Faults = []string{"token-html"} }, env: []string{"AD_PLATFORM_MAX_ELAPSED=1s"}, code: 5,
			failed: "login", blame: "the platform's",
		},
		{name: "database", env: []string{"DATABASE_URL=sqlite:" + junk(t)}, code: 6, failed: "database", blame: "yours"},
		{name: "configuration", env: []string{"AD_PLATFORM_QUOTA=10"}, code: 2, failed: "configuration", blame: "yours", cure: "10/1m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sim, url := startPlatform(t, c.change)
			env := environ(t, url, c.env...)
			r := run(t, within(t), env, append([]string{"check", "--json"}, c.args...)...)
			var got checks
			if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
				t.Fatalf("%v\n%s", err, r.stdout)
			}
			if r.code != c.code || got.OK != (c.code == 0) {
				t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			for _, f := range got.Checks {
				switch {
				case f.OK && f.Blame == nil:
				case f.OK || f.Check != c.failed || f.Blame == nil || *f.Blame != c.blame || f.Cure == nil || !strings.Contains(*f.Cure, c.cure):
					t.Errorf("%s", r.stdout)
				}
			}
			human := run(t, within(t), env, append([]string{"check"}, c.args...)...)
			if human.code != c.code || strings.Count(human.stdout, "FAIL") != min(c.code, 1) {
				t.Errorf("exit %d\n%s", human.code, human.stdout)
			}
			if s := sim.Stats().Clients[""]; s != nil && s.Arrivals != 0 {
				t.Errorf("a check spends quota: %+v", s)
			}
		})
	}
}

// Connections that log in alike are asked once.
func TestCheckSharesLogins(t *testing.T) {
	t.Parallel()
	sim, url := startPlatform(t, nil)
	file := filepath.Join(t.TempDir(), "adsync.yaml")
	write(t, file, "database: sqlite:"+filepath.Join(t.TempDir(), "x.db")+"\ndefaults:\n  url: "+url+"\n  credentials: {email: "+testEmail+
		", password: \"${PW}\"}\nclients:\n  - id: acme\n    connections: [{platform: adplatform}]\n  - id: globex\n    connections: [{platform: adplatform}]\n")
	r := run(t, within(t), []string{"PW=" + testPassword}, "check", "--config", file)
	if r.code != 0 || strings.Count(r.stdout, "ok    login") != 2 || sim.Stats().TokensIssued != 1 {
		t.Errorf("exit %d, %d tokens\n%s%s", r.code, sim.Stats().TokensIssued, r.stdout, r.stderr)
	}
}
