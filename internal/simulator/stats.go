package simulator

import (
	"maps"
	"time"
)

const (
	maxSyncedIDs = 10_000 // ids whose call counts Stats names one by one
	maxStrays    = 50
)

// Stats is how the clients behaved since the start or the last reset.
type Stats struct {
	Since                      time.Time               `json:"since"`
	Requests                   int64                   `json:"requests"` // all but those to pages of the simulator's own
	TokensIssued               int64                   `json:"tokens_issued"`
	MaxConcurrentTokenRequests int                     `json:"max_concurrent_token_requests"`
	MaxConcurrent              int                     `json:"max_concurrent"`
	Connections                int64                   `json:"connections"`    // opened, under Serve
	DuringOutage               int64                   `json:"during_outage"`  // requests that met an outage
	Strays                     []string                `json:"strays"`         // paths asked for that the platform does not have, the first 50
	StrayRequests              int64                   `json:"stray_requests"` // how many there were
	ForeignRequests            int64                   `json:"foreign_requests"`
	CredentialsSentAbroad      int64                   `json:"credentials_sent_abroad"` // requests to the other origin that carried an Authorization or a token
	FaultsPlayed               map[string]int64        `json:"faults_played"`
	Clients                    map[string]*ClientStats `json:"clients"` // by X-Client-ID, "" for none
}

// ClientStats is how one client behaved. Arrivals are listing and sync requests that the token let in; of these the counted ones spent quota.
type ClientStats struct {
	Requests                   map[string]int64 `json:"requests"` // by endpoint: token, list, sync
	Arrivals                   int64            `json:"arrivals"`
	Counted                    int64            `json:"counted"`
	Window                     Duration         `json:"window"` // the quota's, or 1m where there is none
	Limit                      int              `json:"limit"`  // 0: none
	MaxArrivalsInWindow        int              `json:"max_arrivals_in_window"`
	MaxCountedInWindow         int              `json:"max_counted_in_window"`
	Throttled                  int64            `json:"throttled"`      // 429s, or whatever else refused for quota
	Unauthorized               int64            `json:"unauthorized"`   // 401s to listing and sync
	TokensRefused              int64            `json:"tokens_refused"` // 401s of the token endpoint
	Unavailable                int64            `json:"unavailable"`    // 503s
	Silences                   int64            `json:"silences"`       // requests left without an answer
	GaveUp                     int64            `json:"gave_up"`        // requests that the client left before their answer
	MaxConcurrent              int              `json:"max_concurrent"`
	TokensIssued               int64            `json:"tokens_issued"` // to token requests that carried this X-Client-ID
	TokensUsed                 int              `json:"tokens_used"`   // different tokens on its other requests
	MaxConcurrentTokenRequests int              `json:"max_concurrent_token_requests"`
	Early                      int64            `json:"early"`             // requests that came before a told wait was over
	EarlyInFlight              int64            `json:"early_in_flight"`   // the same, but so soon that they were on their way already
	RepeatedKeys               int64            `json:"repeated_keys"`     // Idempotency-Keys seen before
	SyncCalls                  int64            `json:"sync_calls"`        // per-campaign calls that were counted
	Syncs                      int64            `json:"syncs"`             // work done: a repeated key does none
	SyncDistribution           map[int64]int64  `json:"sync_distribution"` // how many campaigns were synced 0, 1, 2, … times
	Synced                     map[string]int64 `json:"synced"`            // syncs done by id, at most 10,000 ids
	Called                     map[string]int64 `json:"called"`            // per-campaign calls by id, successful or not, at most 10,000 ids
	First                      time.Time        `json:"first_arrival,omitzero"`
	Last                       time.Time        `json:"last_arrival,omitzero"`
}

// Duration is a time.Duration that is written as text ("1m0s").
type Duration time.Duration

// MarshalText is the duration as time.Duration writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// tracker is a client's running count; its client's mutex guards it.
type tracker struct {
	s         ClientStats
	all       arrivals
	counted   arrivals
	inFlight  int
	tokensNow int
	tokens    map[string]struct{}
	synced    map[string]int64
	called    map[string]int64
	toldBy    map[string]*told // by what a wait is about: api, token, list, sync
}

func newTracker(window time.Duration) tracker {
	if window <= 0 {
		window = time.Minute
	}
	return tracker{
		s:      ClientStats{Requests: map[string]int64{}},
		all:    arrivals{window: window},
		tokens: map[string]struct{}{}, synced: map[string]int64{}, called: map[string]int64{},
		counted: arrivals{window: window}, toldBy: map[string]*told{},
	}
}

// reset forgets the counts but not what is going on: requests in flight, waits told, and arrivals still inside the window.
func (t *tracker) reset() {
	fresh := newTracker(t.all.window)
	fresh.inFlight, fresh.tokensNow, fresh.toldBy = t.inFlight, t.tokensNow, t.toldBy
	fresh.all, fresh.counted = t.all, t.counted
	fresh.all.most, fresh.counted.most = t.all.n, t.counted.n
	*t = fresh
}

func (t *tracker) tell(about string, now, wait time.Duration) {
	if t.toldBy[about] == nil {
		t.toldBy[about] = &told{}
	}
	t.toldBy[about].tell(now, wait)
}

// arrive notes whether a request ignores a wait; about are the waits that touch it.
func (t *tracker) arrive(now time.Duration, about ...string) {
	early, inFlight := false, false
	for _, a := range about {
		if w := t.toldBy[a]; w != nil {
			e, f := w.early(now)
			early, inFlight = early || e, inFlight || f
		}
	}
	switch {
	case early:
		t.s.Early++
	case inFlight:
		t.s.EarlyInFlight++
	}
}

func capped(m map[string]int64) map[string]int64 {
	out := make(map[string]int64, min(len(m), maxSyncedIDs))
	for k, v := range m {
		if len(out) == maxSyncedIDs {
			break
		}
		out[k] = v
	}
	return out
}

// snapshot is the client's figures now. The caller holds the client's lock.
func (c *client) snapshot(limit int) *ClientStats {
	s := c.track.s
	s.Requests = maps.Clone(s.Requests)
	s.Window = Duration(c.track.all.window)
	s.Limit = limit
	s.MaxArrivalsInWindow, s.MaxCountedInWindow = c.track.all.most, c.track.counted.most
	s.TokensUsed = len(c.track.tokens)
	s.SyncDistribution = map[int64]int64{}
	there := int64(0)
	for id, n := range c.track.synced {
		s.SyncDistribution[n]++
		if c.find(id) != 0 {
			there++
		}
	}
	if never := int64(c.set.total()) - there; never > 0 {
		s.SyncDistribution[0] = never
	}
	s.Synced, s.Called = capped(c.track.synced), capped(c.track.called)
	return &s
}
