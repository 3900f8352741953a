package simulator

import "net/http"

func syncFaults() []Fault {
	const section = "sync"
	instead := func(name string, number int, help string, do func(*call) *reply) Fault {
		return Fault{
			Name: name, Numbers: []int{number}, Section: section, Help: help, Default: oneSync,
			hooks: hooks{instead: func(c *call, _ *activeFault) *reply { return do(c) }},
		}
	}
	return []Fault{
		{
			Name: "done-then-lost", Numbers: []int{90}, Section: section, Help: "the sync is done, then the connection is reset before the answer", Default: "endpoint=sync,on=1,times=1",
			hooks: hooks{finish: func(_ *call, _ *activeFault, r *reply) { r.send = sendReset }},
		},
		instead("sync-always-500", 91, "one campaign's sync always fails with 500", func(*call) *reply {
			return failure(http.StatusInternalServerError, "Internal error", "Sync failed")
		}),
		instead("sync-hangs", 91, "one campaign's sync is never answered", func(c *call) *reply { return c.silence() }),
		instead("sync-404", 92, "one listed campaign is not found", func(*call) *reply {
			return failure(http.StatusNotFound, "Campaign not found", "There is no campaign of that id")
		}),
		instead("sync-success-false", 93, "200, but success is false", func(c *call) *reply {
			return jsonReply(http.StatusOK, []byte(`{"success":false,"campaign_id":`+quote(c.id)+`,"message":"Campaign could not be synced"}`))
		}),
		instead("sync-other-id", 93, "200, but for another campaign", func(c *call) *reply {
			return jsonReply(http.StatusOK, []byte(`{"success":true,"campaign_id":"campaign_evil","synced_at":`+quote(c.wall().Format("2006-01-02T15:04:05.000Z"))+`,"message":"Campaign synced"}`))
		}),
	}
}
