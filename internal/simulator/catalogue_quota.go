package simulator

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

func refusedFor(def string) Param {
	return Param{Name: "wait", Default: def, Help: "how long requests are refused then", kind: duration}
}

func quotaFaults() []Fault {
	const (
		section = "quota"
		fifth   = "endpoint=api,on=5,times=1"
	)
	type shape = func(c *call, f *activeFault, wait time.Duration) (*reply, time.Duration)
	refusal := func(name string, numbers []int, help, wait string, refuse shape, params ...Param) Fault {
		return Fault{
			Name: name, Numbers: numbers, Section: section, Help: help, Default: fifth,
			Params: append([]Param{refusedFor(wait)}, params...), hooks: hooks{refuse: refuse},
		}
	}
	// header tells the truth, in whole seconds, in the header only.
	header := func(_ *call, _ *activeFault, wait time.Duration) (*reply, time.Duration) {
		s := ceilSeconds(wait)
		return silent429().with("Retry-After", strconv.FormatInt(s, 10)), time.Duration(s) * time.Second
	}
	date := func(c *call, wait time.Duration) (*reply, time.Duration) {
		now := c.wall().Truncate(time.Second)
		until := now.Add(time.Duration(ceilSeconds(wait)) * time.Second)
		return silent429().with("Date", now.Format(http.TimeFormat)).with("Retry-After", until.Format(http.TimeFormat)), until.Sub(now)
	}
	return []Fault{
		refusal("retry-after-seconds", []int{21}, "a 429 whose Retry-After gives seconds", "5s", header),
		refusal("retry-after-date", []int{22}, "a 429 whose Retry-After is an HTTP date", "5s",
			func(c *call, _ *activeFault, wait time.Duration) (*reply, time.Duration) { return date(c, wait) }),
		refusal("retry-after-date-skewed", []int{23}, "the same from a clock that is a day off", "5s",
			func(c *call, f *activeFault, wait time.Duration) (*reply, time.Duration) {
				c.skew += f.dur("by")
				defer func() { c.skew -= f.dur("by") }() // the answer carries its own Date
				return date(c, wait)
			}, by("how much the clock is off", "24h")),
		refusal("retry-after-body", []int{24}, "a 429 that tells its wait in the body only", "5s",
			func(_ *call, _ *activeFault, wait time.Duration) (*reply, time.Duration) {
				s := ceilSeconds(wait)
				return failure(http.StatusTooManyRequests, "Rate limit exceeded", "Too many requests", field{"retry_after", strconv.FormatInt(s, 10)}), time.Duration(s) * time.Second
			}),
		refusal("retry-after-none", []int{25}, "a 429 that tells nothing", "2s",
			func(*call, *activeFault, time.Duration) (*reply, time.Duration) { return silent429(), 0 }),
		refusal("retry-after-odd", []int{26}, "a 429 whose Retry-After makes no sense", "2s",
			func(_ *call, f *activeFault, _ time.Duration) (*reply, time.Duration) {
				return silent429().with("Retry-After", f.str("value")), 0
			}, Param{Name: "value", Default: "0", Help: "what it says: 0, -5, soon, 1.5, …"}),
		refusal("retry-after-huge", []int{27}, "a 429 whose Retry-After is beyond reason", "2s",
			func(_ *call, f *activeFault, _ time.Duration) (*reply, time.Duration) {
				return silent429().with("Retry-After", f.str("value")), maxTold
			}, Param{Name: "value", Default: "1000000000", Help: "what it says; 99999999999999999999 is past 64 bits"}),
		refusal("throttle-403", []int{28}, "refused for quota by 403 and Retry-After", "5s",
			func(c *call, f *activeFault, wait time.Duration) (*reply, time.Duration) {
				rp, toldWait := header(c, f, wait)
				rp.status = http.StatusForbidden
				return rp, toldWait
			}),
		refusal("throttle-200", []int{29}, "refused for quota by 200 and an error object", "5s",
			func(_ *call, _ *activeFault, wait time.Duration) (*reply, time.Duration) {
				s := ceilSeconds(wait)
				return failure(http.StatusOK, "Rate limit exceeded", "Too many requests", field{"retry_after", strconv.FormatInt(s, 10)}), time.Duration(s) * time.Second
			}),
		{
			Name: "usage-header", Numbers: []int{30}, Section: section, Help: "good answers say how much of the quota is used", Default: "endpoint=api",
			Params: []Param{{Name: "percent", Default: "0", Help: "what they say; 0: the truth", kind: number}},
			hooks: hooks{finish: func(c *call, f *activeFault, r *reply) {
				used, limit, reset := c.usage()
				percent := f.num("percent")
				if percent == 0 && limit > 0 {
					percent = int64(100 * used / limit)
				}
				if percent > 0 && limit > 0 {
					used = int(percent) * limit / 100
				}
				r.with("X-App-Usage", fmt.Sprintf(`{"call_count":%d,"total_cputime":0,"total_time":0}`, percent))
				r.with("X-RateLimit-Limit", strconv.Itoa(limit)).with("X-RateLimit-Remaining", strconv.Itoa(max(0, limit-used)))
				r.with("X-RateLimit-Reset", strconv.FormatInt(ceilSeconds(reset), 10))
			}},
		},
		{
			Name: "ratelimit-fields", Numbers: []int{31}, Section: section, Help: "good answers carry RateLimit and RateLimit-Policy fields", Default: "endpoint=api",
			Params: []Param{{Name: "value", Default: "", Help: "what RateLimit says; empty: the truth"}, {Name: "policy", Default: "", Help: "what RateLimit-Policy says; empty: the truth"}},
			hooks: hooks{finish: func(c *call, f *activeFault, r *reply) {
				used, limit, reset := c.usage()
				value, policy := f.str("value"), f.str("policy")
				if value == "" {
					value = fmt.Sprintf(`"default";r=%d;t=%d`, max(0, limit-used), ceilSeconds(reset))
				}
				if policy == "" {
					policy = fmt.Sprintf(`"default";q=%d;w=%d`, limit, ceilSeconds(c.s.cfg.Quota.Window))
				}
				r.with("RateLimit", value).with("RateLimit-Policy", policy)
			}},
		},
		{
			Name: "quota-shared", Numbers: []int{32}, Section: section, Help: "another program draws on the same quota, evenly", Default: "endpoint=api",
			Params: []Param{{Name: "percent", Default: "50", Help: "how much of the quota it asks for", kind: number}},
			hooks:  hooks{shared: func(f *activeFault) float64 { return float64(min(max(f.num("percent"), 1), 1000)) / 100 }},
		},
		{
			Name: "early-restarts", Numbers: []int{33}, Section: section, Help: "a request that comes before a told wait is over starts it anew", Default: fifth,
			Params: []Param{refusedFor("5s")}, hooks: hooks{refuse: header, restart: true},
		},
	}
}

// silent429 is a refusal without a word about when to come back.
func silent429() *reply {
	return failure(http.StatusTooManyRequests, "Rate limit exceeded", "Too many requests")
}

// usage is how much of the quota is used, and when the next slot is free.
func (c *call) usage() (used, limit int, reset time.Duration) {
	q := c.s.cfg.Quota
	if q.N == 0 || c.cl == nil {
		return 0, 0, 0
	}
	c.cl.mu.Lock()
	defer c.cl.mu.Unlock()
	now := c.s.since()
	used = c.cl.quota.count(now)
	if used > 0 {
		reset = c.cl.quota.oldest() + q.Window - now
	}
	return used, q.N, reset
}
