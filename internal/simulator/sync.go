package simulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
)

// job is what the server remembers of an Idempotency-Key.
type job struct {
	campaign string
	running  chan struct{} // closed when the work in hand ends; nil: no work in hand
	answer   []byte        // of the work done; nil: not done yet
}

// maxJobs bounds the keys remembered, over all clients; the oldest are forgotten first.
const maxJobs = 100_000

type jobs struct {
	byKey map[string]*job
	order []string
}

func newJobs() jobs { return jobs{byKey: map[string]*job{}} }

func jobKey(c *call) string {
	k := c.r.Header.Get("Idempotency-Key")
	if k == "" || len(k) > 256 {
		return ""
	}
	return c.clientID + "\x00" + k
}

// seenKey remembers the request's Idempotency-Key and says whether it came before.
func (s *Server) seenKey(c *call) bool {
	key := jobKey(c)
	if key == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs.byKey[key] != nil {
		return true
	}
	s.jobs.byKey[key] = &job{campaign: c.id}
	s.jobs.order = append(s.jobs.order, key)
	for len(s.jobs.byKey) > maxJobs {
		delete(s.jobs.byKey, s.jobs.order[0])
		s.jobs.order = s.jobs.order[1:]
	}
	return false
}

func (c *call) serveSync() *reply {
	var body struct {
		CampaignID *string `json:"campaign_id"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil || body.CampaignID == nil {
		return failure(http.StatusBadRequest, "Invalid body", `Send JSON: {"campaign_id": "<id>"}`)
	}
	if *body.CampaignID != c.id {
		return failure(http.StatusBadRequest, "Invalid body", "campaign_id differs from the id in the path")
	}
	c.cl.mu.Lock()
	there := c.cl.find(c.id) != 0 || c.beyondEnd()
	c.cl.mu.Unlock()
	if !there {
		return failure(http.StatusNotFound, "Campaign not found", "There is no campaign of that id")
	}
	j := c.s.job(c)
	if j == nil {
		return c.work()
	}
	if j.campaign != c.id {
		return failure(http.StatusUnprocessableEntity, "Idempotency-Key reused", "The key belongs to another campaign's sync")
	}
	for {
		c.s.mu.Lock()
		answer, running := j.answer, j.running
		mine := answer == nil && running == nil
		if mine {
			running = make(chan struct{})
			j.running = running
		}
		c.s.mu.Unlock()
		switch {
		case answer != nil:
			return jsonReply(http.StatusOK, answer)
		case mine:
			rp := c.work()
			c.s.mu.Lock()
			if rp != gone {
				j.answer = rp.body
			}
			j.running = nil
			c.s.mu.Unlock()
			close(running)
			return rp
		}
		// Each turn ends with an answer, with the client leaving, or with the work becoming this request's.
		select {
		case <-running:
		case <-c.r.Context().Done():
			return gone
		case <-c.s.stopped:
			return gone
		}
	}
}

// beyondEnd says that the campaign is one that a fault lists past the true end.
func (c *call) beyondEnd() bool {
	for _, f := range c.faults {
		if f.def.beyond && !f.isOff() && numberOf(c.id) > 0 && (f.sel.clients == nil || slices.Contains(f.sel.clients, c.clientID)) {
			return true
		}
	}
	return false
}

func (s *Server) job(c *call) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs.byKey[jobKey(c)]
}

// work is the sync itself. A client that leaves before it is over has nothing done.
func (c *call) work() *reply {
	if !c.wait(c.s.cfg.SyncLatency) {
		return gone
	}
	cl := c.cl
	cl.mu.Lock()
	cl.tick++
	cl.track.s.Syncs++
	cl.track.synced[c.id]++
	cl.mu.Unlock()
	return jsonReply(http.StatusOK, (&record{fields: []field{
		{"success", "true"},
		{"campaign_id", quote(c.id)},
		{"synced_at", quote(c.wall().Format("2006-01-02T15:04:05.000Z"))},
		{"message", quote("Campaign synced")},
	}}).bytes())
}

// maxAliases bounds the made-up ids that a client's campaigns are found by.
const maxAliases = 100_000

// learnAlias remembers the id that a fault gave to a campaign, so that its sync finds it. The caller holds the client's lock.
func (c *client) learnAlias(r *record) {
	if r.whole != "" {
		return
	}
	for _, f := range r.fields {
		if f.key != "id" {
			continue
		}
		id, ok := idText(f.raw)
		if ok && id != "" && id != r.id && len(c.alias) < maxAliases {
			if c.alias == nil {
				c.alias = map[string]int{}
			}
			c.alias[id] = r.number
		}
		return
	}
}

// idText is an id as a client would put it into a path: a string's text, or a number as it is written.
func idText(raw string) (string, bool) {
	var s string
	if json.Unmarshal([]byte(raw), &s) == nil {
		return s, true // null leaves it empty, and an empty id finds nothing
	}
	if _, err := strconv.ParseFloat(raw, 64); err == nil {
		return raw, true
	}
	return "", false
}
