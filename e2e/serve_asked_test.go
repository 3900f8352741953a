package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// state is a connection as `adsync status` tells of it.
type state struct {
	Client string  `json:"client"`
	State  string  `json:"state"`
	Until  *string `json:"parked_until"`
	Reason *string `json:"parked_reason"`
}

// told is what a command line says of a client's connection, whoever it belongs to.
func (f *fleet) told(client string) state {
	f.t.Helper()
	_, out, errs := f.run("status", "--json")
	var doc struct {
		Connections []state `json:"connections"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		f.t.Fatalf("status: %v\n%s%s", err, out, errs)
	}
	for _, c := range doc.Connections {
		if c.Client == client {
			return c
		}
	}
	f.t.Fatalf("status does not know %s: %s", client, out)
	return state{}
}

// A server asks for a stay that is longer than a worker is held. The connection is parked; the process that parked it is killed, and another one waits for the
// rest: nothing is asked for early, what was done is not done again, and it is one run.
func TestServeParkedOverAKill(t *testing.T) {
	t.Parallel()
	const campaigns, wait = 12, 28 * time.Second // parked are those of more than 24
	p := newPlatform(t, func(c *simulator.Config) {
		c.Campaigns, c.Quota = campaigns, simulator.Quota{}
		c.Faults = []string{fmt.Sprintf("retry-after-date:client=acme,endpoint=sync,on=6,times=1,wait=%s", wait)}
	})
	f := newFleet(t, p, pgtest.New(t))
	f.configure(client{id: "acme"})
	a := f.serve()
	await(t, "a connection that is parked", func() bool { return f.count("SELECT count(*) FROM river_job WHERE state = 'scheduled'") == 1 })
	a.kill()
	had := committed{}
	had.note(f)
	calls := p.requests("acme")
	if len(had) == 0 {
		t.Error("nothing was committed before it was parked")
	}
	parked := f.told("acme") // with no process at all
	b := f.serve()
	for _, s := range []state{parked, f.told("acme")} {
		if s.State != "parked" || s.Until == nil || s.Reason == nil || *s.Reason == "" {
			t.Errorf("a parked connection is told as %+v", s)
		}
	}
	if n := p.requests("acme"); n != calls {
		t.Errorf("%d requests while it was parked", n-calls)
	}
	f.finished(1)
	had.check(f)
	f.once(1)
	if all := f.stored(); len(all) != campaigns {
		t.Errorf("%d campaigns stored", len(all))
	}
	if early := p.Stats().Clients["acme"].Early; early != 0 {
		t.Errorf("%d requests came too early", early)
	}
	if n := f.count("SELECT count(*) FROM river_job WHERE state NOT IN ('completed', 'cancelled') AND attempt > 1"); n != 0 {
		t.Errorf("the stay has cost an attempt of %d jobs", n)
	}
	b.stop()
}

// A run that the service has going is joined by whoever asks for one, by command line and by the API, and is not doubled. A sync of its own is refused, with
// who has the connection and since when; one that queues up comes after it.
func TestServeJoined(t *testing.T) {
	t.Parallel()
	const campaigns = 30
	p := newPlatform(t, windowed(8, campaigns))
	f := newFleet(t, p, pgtest.New(t))
	f.configure(client{id: "acme", quota: "8/2s"})
	s := f.serve()
	f.holds(3)
	code, out, errs := f.run("sync", "--ask", "--json")
	var doc struct {
		Asked   []answer `json:"asked"`
		Workers int      `json:"workers"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 0 || doc.Workers != 1 || len(doc.Asked) != 1 || !doc.Asked[0].Joined || doc.Asked[0].State != "running" {
		t.Errorf("sync --ask: exit %d, %v\n%s%s", code, err, out, errs)
	}
	if a := s.ask("acme"); !a.Joined || a.State != "running" {
		t.Errorf("the API: %+v", a)
	}
	code, _, errs = f.run("sync")
	if code != 7 || !strings.Contains(errs, fmt.Sprintf("pid %d", s.cmd.Process.Pid)) || !strings.Contains(errs, "since") {
		t.Errorf("a sync of its own: exit %d\n%s", code, errs)
	}
	if n := f.complete(); n != 0 {
		t.Fatal("the run was over too soon for this test")
	}
	code, sum, errs := f.sync("--wait")
	if code != 0 || len(sum.Connections) != 1 || sum.Connections[0].Unchanged != campaigns {
		t.Errorf("sync --wait: exit %d, %+v\n%s", code, sum, errs)
	}
	f.sound(1, campaigns)
	f.once(2)
	s.stop()
}

// What failed is tried again on demand, beside a service that is at work, and by the service when it is due: each alone, with nothing else of its client.
func TestServeFailuresRetried(t *testing.T) {
	t.Parallel()
	const campaigns = 10
	p := newPlatform(t, func(c *simulator.Config) {
		c.Campaigns, c.Quota = campaigns, simulator.Quota{}
		c.Faults = []string{"rule:endpoint=sync,id=campaign_3|campaign_5,times=0,do=404"}
	})
	f := newFleet(t, p, pgtest.New(t))
	f.configure(client{id: "acme"}, client{id: "other"})
	s := f.serve()
	open := func(client string) int {
		return f.count("SELECT count(*) FROM failures WHERE resolved_at IS NULL AND client_id = $1", client)
	}
	await(t, "failures of both", func() bool {
		return open("acme") == 2 && open("other") == 2 && f.count("SELECT count(*) FROM adsync_locks WHERE holder_id IS NOT NULL") == 0
	})
	if err := p.Control(simulator.Command{Client: "acme", FaultsOff: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	before := p.called()
	code, out, errs := f.run("failures", "retry", "--client", "acme", "--class", "transient")
	if code != 0 || !strings.Contains(out, "Nothing to retry") || open("acme") != 2 {
		t.Errorf("of another class: exit %d\n%s%s", code, out, errs)
	}
	code, out, errs = f.run("failures", "retry", "--client", "acme")
	if code != 0 || open("acme") != 0 || open("other") != 2 {
		t.Errorf("failures retry: exit %d, %d are left, and %d of the other\n%s%s", code, open("acme"), open("other"), out, errs)
	}
	if _, err := f.rows().ExecContext(t.Context(), "UPDATE failures SET next_retry_at = now() WHERE client_id = 'other'"); err != nil {
		t.Fatal(err)
	}
	await(t, "those of the other, which are due", func() bool { return open("other") == 0 })
	for id, n := range p.called() {
		failed := strings.HasSuffix(id, "/campaign_3") || strings.HasSuffix(id, "/campaign_5")
		if again := n - before[id]; failed != (again > 0) || again > 1 {
			t.Errorf("%s was tried %d times more", id, again)
		}
	}
	if all := f.stored(); len(all) != 2*campaigns {
		t.Errorf("%d campaigns stored", len(all))
	}
	s.stop()
}

// A machine sleeps over several slots of a schedule: they are one run, and then it goes on slot by slot.
func TestServeAsleep(t *testing.T) {
	t.Parallel()
	const every, slots = 2 * time.Second, 6
	p := newPlatform(t, func(c *simulator.Config) { c.Campaigns, c.Quota = 3, simulator.Quota{} })
	f := newFleet(t, p, pgtest.New(t))
	f.configure(client{id: "acme", schedule: "every " + every.String()})
	s := f.serve()
	const ended = "SELECT count(*) FROM runs WHERE outcome = 'complete'"
	await(t, "two runs by the schedule", func() bool { return f.count(ended) >= 2 })
	s.signal(syscall.SIGSTOP)
	asleep := f.now()
	await(t, "slots to go by", func() bool { return f.now().Sub(asleep) > slots*every })
	if n := f.count("SELECT count(*) FROM runs WHERE started_at > $1", asleep); n != 0 {
		t.Fatalf("%d runs of a process that is stopped", n)
	}
	s.signal(syscall.SIGCONT)
	woken := f.now()
	await(t, "three runs more", func() bool {
		return f.count("SELECT count(*) FROM runs WHERE started_at > $1 AND outcome = 'complete'", woken) >= 3
	})
	runs := f.count("SELECT count(*) FROM runs WHERE started_at > $1", woken)
	if passed := int(f.now().Sub(woken)/every) + 1; runs > passed+1 {
		t.Errorf("%d runs in the %d slots since it woke: those that it slept through came one by one", runs, passed)
	}
	if n := f.count("SELECT count(*) FROM runs WHERE trigger <> 'schedule'"); n != 0 {
		t.Errorf("%d runs are not the schedule's", n)
	}
	s.stop()
}
