package e2e

import (
	"strings"
	"syscall"
	"testing"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// reload has a process read the configuration again, waits for what it says in the end, and gives all that it has said.
func (s *server) reload(says string) string {
	s.f.t.Helper()
	from := len(s.log.String())
	s.signal(syscall.SIGHUP)
	await(s.f.t, says, func() bool { return strings.Contains(s.log.String()[from:], says) })
	return s.log.String()[from:]
}

// requests counts what a platform has got from a client, tokens included.
func (p *platform) requests(client string) (n int64) {
	if c := p.Stats().Clients[client]; c != nil {
		for _, k := range c.Requests {
			n += k
		}
	}
	return n
}

// A configuration that is read again: a broken one changes nothing and is told with place and cure; connections that are gone, that have moved, that have
// another quota or another schedule stop in good order and go on as they are now: from their place, unless they have moved. What has not changed is left alone.
func TestServeReload(t *testing.T) {
	t.Parallel()
	const campaigns = 12
	unlimited := func(c *simulator.Config) { c.Campaigns, c.Quota = campaigns, simulator.Quota{} }
	p, q := newPlatform(t, unlimited), newPlatform(t, unlimited)
	f := newFleet(t, p, pgtest.New(t))
	slow := "3/2s"
	same := client{id: "same", quota: slow}
	f.configure(same, client{id: "gone", quota: slow}, client{id: "freed", quota: slow}, client{id: "moved", quota: slow}, client{id: "timed"})
	s := f.serve()
	going := func(id string) int {
		return f.count("SELECT count(*) FROM adsync_locks WHERE client_id = $1 AND holder_id IS NOT NULL", id)
	}
	await(t, "all of them at work", func() bool {
		return f.count("SELECT count(DISTINCT client_id) FROM campaigns WHERE client_id <> 'timed'") == 4 && f.complete() == 1
	})

	f.write("database: " + f.database + "\nclients:\n  - id: same\n    connections:\n      - {platform: adplatform, shedule: every 1h}\n")
	said := s.reload("the configuration stays as it was")
	if !strings.Contains(said, "adsync.yaml:5:") || !strings.Contains(said, "shedule") || !strings.Contains(said, "schedule") {
		t.Errorf("it tells not both the place and the cure: %s", said)
	}
	for _, id := range []string{"same", "gone", "freed", "moved"} {
		if going(id) != 1 {
			t.Errorf("%s was stopped by a broken file", id)
		}
	}

	had := committed{}
	f.configure(same, client{id: "freed"}, client{id: "moved", url: q.URL}, client{id: "timed", schedule: "every 1s"}, client{id: "new"})
	s.reload("the configuration is taken on: 1 added, 3 changed, 1 removed")
	await(t, "the removed one to end", func() bool { return going("gone") == 0 })
	had.note(f)
	asked, left := p.requests("gone"), p.requests("moved")
	for _, id := range []string{"freed", "moved", "new"} {
		await(t, id+" complete", func() bool {
			return f.count("SELECT count(*) FROM runs WHERE client_id = $1 AND outcome = 'complete'", id) == 1
		})
	}
	await(t, "the new schedule", func() bool {
		return f.count("SELECT count(*) FROM runs WHERE client_id = 'timed' AND outcome = 'complete'") >= 3
	})
	await(t, "what is as it was", func() bool {
		return f.count("SELECT count(*) FROM runs WHERE client_id = 'same' AND outcome = 'complete'") == 1
	})
	for id := range had {
		if strings.HasPrefix(id, "timed/") {
			delete(had, id) // it has runs of its own
		}
	}
	had.check(f)
	for id, want := range map[string]int{"same": 1, "freed": 1, "moved": 2, "new": 1} { // what has moved has no place to go on from
		if n := f.count("SELECT count(*) FROM runs WHERE client_id = $1", id); n != want {
			t.Errorf("%d runs of %s, not %d", n, id, want)
		}
	}
	if n := f.count("SELECT count(*) FROM runs WHERE client_id = 'gone' AND outcome <> 'interrupted'"); n != 0 {
		t.Error("the removed one did not stop in good order")
	}
	if n := p.requests("gone") - asked; n != 0 {
		t.Errorf("%d requests for the one that is gone", n)
	}
	if n := p.requests("moved") - left; n != 0 || q.requests("moved") == 0 {
		t.Errorf("%d requests at the place that it has left, %d at the new one", n, q.requests("moved"))
	}
	if n := p.Stats().Clients["same"].Requests["list"]; n != 2 {
		t.Errorf("%d listing requests for what has not changed", n)
	}
	s.stop()
}
