package e2e

import (
	"fmt"
	"strings"
	"testing"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// Credentials that are refused are tried once, by one of all processes, and not again after a start with the same ones; others are tried at once.
func TestServeRefused(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, func(c *simulator.Config) { c.Campaigns, c.Quota = 5, simulator.Quota{} })
	f := newFleet(t, p, pgtest.New(t))
	configure := func(password, more string) {
		f.configure(client{id: "locked", password: password}, client{id: "open", schedule: "every 2s"}, client{id: more})
	}
	turns := 0
	// Whatever the processes would do by themselves, they have done when each has seen to other work for a while.
	later := func(ss ...*server) {
		t.Helper()
		turns++
		more := fmt.Sprintf("more%d", turns)
		configure("not-the-password", more)
		for _, s := range ss {
			s.reload("the configuration is taken on")
		}
		runs := f.count("SELECT count(*) FROM runs WHERE client_id = 'open'")
		await(t, "other work", func() bool {
			return f.count("SELECT count(*) FROM runs WHERE client_id = $1 AND outcome = 'complete'", more) == 1 &&
				f.count("SELECT count(*) FROM runs WHERE client_id = 'open' AND outcome = 'complete'") >= runs+2
		})
	}
	refusals := func() (n int64) {
		for _, c := range p.Stats().Clients {
			n += c.TokensRefused
		}
		return n
	}
	configure("not-the-password", "more0")
	a, b := f.serve(), f.serve()
	parked := func() bool {
		return f.count("SELECT count(*) FROM adsync_locks WHERE client_id = 'locked' AND wait_until > now() AND wait_mark LIKE 'auth:%'") == 1
	}
	await(t, "a refusal", parked)
	later(a, b)
	if n := refusals(); n != 1 {
		t.Errorf("tried %d times", n)
	}
	a.stop()
	b.kill()
	a = f.serve()
	later(a)
	if n := refusals(); n != 1 || !parked() {
		t.Errorf("tried %d times after a new start; parked: %t", n, parked())
	}
	code, doc, _ := f.run("status", "--json", "--client", "locked")
	if code != 0 || !strings.Contains(doc, `"parked"`) || !strings.Contains(doc, "refused") {
		t.Errorf("exit %d\n%s", code, doc)
	}
	configure("${AD_PLATFORM_PASSWORD}", "more0")
	a.reload("the configuration is taken on")
	await(t, "the right ones to be tried", func() bool {
		return f.count("SELECT count(*) FROM runs WHERE client_id = 'locked' AND outcome = 'complete'") == 1
	})
	if n := refusals(); n != 1 {
		t.Errorf("refused %d times in all", n)
	}
	a.stop()
}
