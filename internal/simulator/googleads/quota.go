package googleads

import (
	"math"
	"net/http"
	"time"

	"adsync/internal/simulator/internal/stage"
)

// daily is how many operations an access level has in 24 hours; 0: no limit.
var daily = map[string]int64{"test": 15_000, "explorer": 2_880, "basic": 15_000, "standard": 0, "none": 0}

// pace is a customer's bucket of queries.
type pace struct {
	tokens float64
	at     time.Duration
}

// burst is how many queries may come at once.
const burst = 5

// quotas are what the project and its customers drew. The server's mutex guards them.
type quotas struct {
	ops      stage.Window
	refused  int64
	paces    map[int64]*pace
	most     int64
	byDemand map[string]*stop
}

// stop is a refusal that a fault asked for.
type stop struct {
	value string
	until time.Duration
}

const maxPaces = 100_000

func (s *Server) operations() int64 {
	if s.cfg.Operations > 0 {
		return s.cfg.Operations
	}
	return daily[s.cfg.Access]
}

func exhausted(value, scope, rate, message string, retry time.Duration) *apiError {
	return &apiError{
		status: http.StatusTooManyRequests, family: "quotaError", value: value, message: message, scope: scope, rate: rate, retry: retry, outcome: stage.Throttled,
	}
}

// charge draws a query on the quotas, or gives the refusal. Further pages are part of the operation that began them.
func (s *Server) charge(c *stage.Call, page bool) *apiError {
	about := []string{"project"}
	if c.Account != "" {
		about = append(about, c.Account)
	}
	c.Arrive(about...)
	if f := c.Play("throttle"); f != nil {
		key := c.Account
		if f.Str("scope") == "DEVELOPER" {
			key = "project"
		}
		s.mu.Lock()
		s.quota.byDemand[key] = &stop{f.Str("value"), c.Now + f.Dur("wait")}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range about {
		if st := s.quota.byDemand[key]; st != nil && c.Now < st.until {
			scope := "ACCOUNT"
			if key == "project" {
				scope = "DEVELOPER"
			}
			wait := roundUp(st.until - c.Now)
			c.Tell(key, st.until-c.Now)
			return exhausted(st.value, scope, "Requests asked for by a fault", "Too many requests. Retry in "+wait.String()+".", wait)
		}
	}
	if limit := s.operations(); limit > 0 && !page {
		if s.quota.ops.Sum(c.Now) >= limit {
			s.quota.refused++
			left := s.quota.ops.Until(c.Now, limit)
			c.Tell("project", left)
			return exhausted("RESOURCE_EXHAUSTED", "DEVELOPER", "Number of operations for "+s.cfg.Access+" access", "Too many requests. Retry in "+roundUp(left).String()+".", roundUp(left))
		}
	}
	if s.cfg.QPS > 0 && c.Account != "" {
		if wait := s.pace(c); wait > 0 {
			c.Tell(c.Account, wait)
			return exhausted("RESOURCE_TEMPORARILY_EXHAUSTED", "ACCOUNT", "Requests per account", "Too many requests. Retry in "+roundUp(wait).String()+".", roundUp(wait))
		}
	}
	if !page {
		s.quota.ops.Add(c.Now, 1)
		s.quota.most = max(s.quota.most, s.quota.ops.Sum(c.Now))
	}
	return nil
}

func roundUp(d time.Duration) time.Duration {
	return time.Duration(math.Ceil(d.Seconds())) * time.Second
}

// pace is how long a customer has to wait for its next query. The caller holds s.mu.
func (s *Server) pace(c *stage.Call) time.Duration {
	rq := c.State.(*request)
	id := rq.customer.id()
	p := s.quota.paces[id]
	if p == nil {
		if len(s.quota.paces) >= maxPaces {
			clear(s.quota.paces)
		}
		p = &pace{tokens: burst, at: c.Now}
		s.quota.paces[id] = p
	}
	p.tokens = min(burst, p.tokens+(c.Now-p.at).Seconds()*s.cfg.QPS)
	p.at = c.Now
	if p.tokens < 1 {
		return time.Duration((1 - p.tokens) / s.cfg.QPS * float64(time.Second))
	}
	p.tokens--
	return 0
}
