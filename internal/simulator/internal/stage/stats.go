package stage

import (
	"maps"
	"sync"
	"time"
)

const maxStrays = 50

// Count is how requests of one kind went.
type Count struct {
	Requests      int64 `json:"requests"`
	Good          int64 `json:"good"`
	Throttled     int64 `json:"throttled"`
	Unauthorized  int64 `json:"unauthorized"`
	Forbidden     int64 `json:"forbidden"`
	Bad           int64 `json:"bad"`    // refused for what was asked
	Failed        int64 `json:"failed"` // the platform's own failure
	Silences      int64 `json:"silences"`
	GaveUp        int64 `json:"gave_up"`         // the client left before the answer, or a fault cut it off
	Early         int64 `json:"early"`           // came before a told wait was over
	EarlyInFlight int64 `json:"early_in_flight"` // the same, but so soon that they were on their way already
	MaxConcurrent int   `json:"max_concurrent"`
	Rows          int64 `json:"rows"` // in good answers
	now           int
}

func (n *Count) note(c *Call, r *Reply) {
	switch {
	case c.silent:
		n.Silences++
	case r == Gone || r.send != nil && r.Status == 0:
		n.GaveUp++
	default:
		switch r.outcome() {
		case Good:
			n.Good++
			n.Rows += r.Rows
		case Throttled:
			n.Throttled++
		case Unauthorized:
			n.Unauthorized++
		case Forbidden:
			n.Forbidden++
		case Bad:
			n.Bad++
		case Failed:
			n.Failed++
		case Unsaid:
		}
	}
}

// Stats is how clients behaved since the start or the last reset.
type Stats struct {
	Since                 time.Time         `json:"since"`
	Total                 Count             `json:"total"`
	Connections           int64             `json:"connections"` // opened, under Serve
	DuringOutage          int64             `json:"during_outage"`
	Strays                []string          `json:"strays"` // what was asked for and is not there, the first 50
	StrayRequests         int64             `json:"stray_requests"`
	ForeignRequests       int64             `json:"foreign_requests"` // to the other origin that redirects lead to
	CredentialsSentAbroad int64             `json:"credentials_sent_abroad"`
	Misplaced             map[string]int64  `json:"misplaced_secrets"` // secrets where they do not belong, by what and where
	FaultsPlayed          map[string]int64  `json:"faults_played"`
	Endpoints             map[string]*Count `json:"endpoints"`
	Accounts              map[string]*Count `json:"accounts"`
	Apps                  map[string]*Count `json:"apps"` // or projects
	Extra                 any               `json:"platform,omitempty"`
}

type stats struct {
	mu     sync.Mutex
	s      Stats
	waits  map[string]*told
	played map[string]int64 // by faults that are no longer on
}

func (s *stats) init(now time.Time) {
	s.s = Stats{Since: now.UTC(), Endpoints: map[string]*Count{}, Accounts: map[string]*Count{}, Apps: map[string]*Count{}, Misplaced: map[string]int64{}}
	if s.waits == nil {
		s.waits = map[string]*told{}
	}
	s.played = map[string]int64{}
}

func count(m map[string]*Count, key string) *Count {
	n := m[key]
	if n == nil {
		if len(m) >= maxKeys {
			key = "others"
		}
		if n = m[key]; n == nil {
			n = &Count{}
			m[key] = n
		}
	}
	return n
}

// of are the counts that a request touches; the app joins when it is known. The caller holds s.mu.
func (s *stats) of(c *Call) []*Count {
	out := make([]*Count, 1, 3)
	out[0] = &s.s.Total
	if c.Endpoint != "" {
		out = append(out, count(s.s.Endpoints, c.Endpoint))
	}
	if c.Account != "" {
		out = append(out, count(s.s.Accounts, c.Account))
	}
	return out
}

func (s *stats) begin(c *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.of(c) {
		n.Requests++
		n.now++
		n.MaxConcurrent = max(n.MaxConcurrent, n.now)
	}
	if c.Endpoint == "" {
		s.s.StrayRequests++
		if len(s.s.Strays) < maxStrays {
			p := c.R.URL.EscapedPath()
			s.s.Strays = append(s.s.Strays, c.R.Method+" "+p[:min(len(p), 200)])
		}
	}
}

func (s *stats) end(c *Call, r *Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.of(c) {
		n.now = max(0, n.now-1)
		n.note(c, r)
	}
	if c.Who != "" {
		n := count(s.s.Apps, c.Who)
		n.Requests++
		n.note(c, r)
	}
}

func (s *stats) connection() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Connections++
}

func (s *stats) playedBefore(name string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.played[name] += n
}

// Tell notes a wait that an answer asks for, and what it is about: app, account, account and kind.
func (c *Call) Tell(about string, wait time.Duration) {
	s := &c.Host.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waits[about]
	if w == nil {
		if len(s.waits) >= maxKeys {
			return
		}
		w = &told{}
		s.waits[about] = w
	}
	w.tell(c.Now, wait)
}

// Arrive notes whether the request ignores a wait; about are the waits that touch it.
func (c *Call) Arrive(about ...string) {
	s := &c.Host.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	early, inFlight := false, false
	for _, a := range about {
		if w := s.waits[a]; w != nil {
			e, f := w.early(c.Now)
			early, inFlight = early || e, inFlight || f
		}
	}
	if !early && !inFlight {
		return
	}
	ns := s.of(c)
	if c.Who != "" {
		ns = append(ns, count(s.s.Apps, c.Who))
	}
	for _, n := range ns {
		if early {
			n.Early++
		} else {
			n.EarlyInFlight++
		}
	}
}

// Misplace notes a secret that came where it does not belong; what is a kind and a place, never the secret.
func (c *Call) Misplace(what string) {
	s := &c.Host.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Misplaced[what]++
}

func (c *Call) outage() {
	s := &c.Host.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.DuringOutage++
}

func cloned(m map[string]*Count) map[string]*Count {
	out := make(map[string]*Count, len(m))
	for k, v := range m {
		n := *v
		out[k] = &n
	}
	return out
}

// Stats is how clients behaved since the start or the last reset; reset starts the figures anew. Waits that were told stay.
func (h *Host) Stats(reset bool) Stats {
	s := &h.stats
	s.mu.Lock()
	out := s.s
	out.Strays = append([]string{}, s.s.Strays...)
	out.Endpoints, out.Accounts, out.Apps = cloned(s.s.Endpoints), cloned(s.s.Accounts), cloned(s.s.Apps)
	out.Misplaced, out.FaultsPlayed = maps.Clone(s.s.Misplaced), maps.Clone(s.played)
	if reset {
		now := s.s.Total.now
		s.init(time.Now())
		s.s.Total.now = now
	}
	s.mu.Unlock()
	h.mu.Lock()
	t := h.trap
	h.mu.Unlock()
	if t != nil {
		out.ForeignRequests, out.CredentialsSentAbroad = t.counts(reset)
	}
	for _, f := range *h.faults.Load() {
		f.mu.Lock()
		out.FaultsPlayed[f.def.Name] += f.played
		if reset {
			f.played = 0
		}
		f.mu.Unlock()
	}
	out.Extra = h.p.Extra(reset)
	return out
}
