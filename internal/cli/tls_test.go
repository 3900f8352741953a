package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"adsync/internal/simulator"
)

// Fault 54: a platform whose certificate no known authority vouches for is never talked to, and with its authority in a file it is as any other.
func TestPrivateAuthority(t *testing.T) {
	t.Parallel()
	sim, url := startPlatform(t, func(c *simulator.Config) { c.TLS = true })
	url = strings.Replace(url, "http:", "https:", 1)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, string(sim.CAPEM()))
	r := run(t, within(t), environ(t, url), "sync", "-q")
	if r.code != 5 || !strings.Contains(r.stderr, "cannot be trusted") || sim.Stats().Requests != 0 {
		t.Errorf("exit %d, %d requests\n%s", r.code, sim.Stats().Requests, r.stderr)
	}
	for _, cmd := range [][]string{{"check"}, {"sync"}} {
		if r := run(t, within(t), environ(t, url, "AD_PLATFORM_CA_FILE="+ca), cmd...); r.code != 0 {
			t.Errorf("%v: exit %d\n%s%s", cmd, r.code, r.stdout, r.stderr)
		}
	}
}
