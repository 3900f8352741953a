package e2e

import (
	"fmt"
	"strings"
	"testing"

	"adsync/internal/pgtest"
	"adsync/internal/simulator"
)

// Clients that hang, that are refused, that answer garbage and one that is huge and has no quota share a process with others: each of the others
// becomes complete, once, within its quota, while the huge one is still at it, and none of the sick ones is called complete.
func TestServeSickClientsApart(t *testing.T) {
	t.Parallel()
	const kinds, sick, campaigns = 3, 8, 15
	well := clients(60-kinds*sick-1, client{quota: "8/2s"})
	var hang, garbage, refused []client
	named := func(prefix string, into *[]client, c client) string {
		var ids []string
		for i := range sick {
			c.id = fmt.Sprintf("%s%d", prefix, i)
			*into, ids = append(*into, c), append(ids, c.id)
		}
		return strings.Join(ids, "|")
	}
	hangs, spoils := named("hang", &hang, client{quota: "8/2s"}), named("garbage", &garbage, client{quota: "8/2s"})
	named("refused", &refused, client{quota: "8/2s", password: "not-the-password"})
	p := newPlatform(t, func(c *simulator.Config) {
		windowed(8, campaigns)(c)
		c.Faults = []string{"hang:endpoint=api,on=1-,times=0,client=" + hangs, "html-200:endpoint=api,on=1-,times=0,client=" + spoils}
	})
	huge := newPlatform(t, func(c *simulator.Config) { c.Campaigns, c.Quota = 1_000_000, simulator.Quota{} })
	f := newFleet(t, p, pgtest.New(t))
	all := append(append(append(well, hang...), garbage...), refused...)
	f.configure(append(all, client{id: "huge", url: huge.URL})...)
	s := f.serve()
	const ill = "(client_id LIKE 'hang%' OR client_id LIKE 'garbage%' OR client_id LIKE 'refused%' OR client_id = 'huge')"
	await(t, "the clients that are well", func() bool {
		return f.count("SELECT count(*) FROM runs WHERE outcome = 'complete' AND client_id LIKE 'c0%'") >= len(well)
	})
	if n := f.count("SELECT count(DISTINCT client_id) FROM runs WHERE client_id LIKE 'c0%' AND outcome = 'complete' AND listed = $1 AND synced = $1", campaigns); n != len(well) {
		t.Errorf("%d of %d have everything", n, len(well))
	}
	if n := f.count("SELECT count(*) FROM runs WHERE client_id LIKE 'c0%'"); n != len(well) {
		t.Errorf("%d runs of %d clients that are well", n, len(well))
	}
	await(t, "all sick ones to have been tried", func() bool {
		return f.count("SELECT count(DISTINCT client_id) FROM runs WHERE "+ill) == kinds*sick+1
	})
	if n := f.count("SELECT count(*) FROM runs WHERE outcome = 'complete' AND " + ill); n != 0 {
		t.Errorf("%d sick ones are called complete", n)
	}
	await(t, "the huge one to get its share", func() bool {
		return f.count("SELECT count(*) FROM campaigns WHERE client_id = 'huge'") > 0
	})
	if s.ended() {
		t.Error("the process ended")
	}
	f.within()
}
