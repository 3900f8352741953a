package server

import (
	"encoding/json"
	"time"

	"adsync/internal/live"
	"adsync/internal/store"
)

// series are what the charts of a connection draw: columns of numbers, times in seconds since 1970. What is not known is null.
type series struct {
	Recent struct {
		At       []int64 `json:"at"`
		Requests []int   `json:"requests"`
		Refused  []int   `json:"refused"`
		Used     []*int  `json:"used"`
		Limit    []*int  `json:"limit"`
	} `json:"recent"`
	Runs struct {
		At       []int64 `json:"at"`
		Requests []int64 `json:"requests"`
		Refused  []int64 `json:"refused"`
	} `json:"runs"`
	Step int64 `json:"step"` // seconds
}

func newSeries(ms []live.Moment, runs []store.RunRecord, now time.Time) *series {
	s := &series{Step: int64(live.Step / time.Second)}
	if len(ms) > 0 {
		s.recent(ms, now)
	}
	for i := len(runs) - 1; i >= 0; i-- {
		r, at := &runs[i], runs[i].StartedAt.Unix()
		if n := len(s.Runs.At); n > 0 && at <= s.Runs.At[n-1] {
			at = s.Runs.At[n-1] + 1 // a chart's times must grow
		}
		s.Runs.At = append(s.Runs.At, at)
		s.Runs.Requests = append(s.Runs.Requests, r.Figures.Requests)
		s.Runs.Refused = append(s.Runs.Refused, r.Figures.Throttled)
	}
	return s
}

// recent has every moment of the last live.Span. Between two moments the window stands as the first of them left it, until all that was sent has left it.
func (s *series) recent(ms []live.Moment, now time.Time) {
	first := now.Truncate(live.Step).Add(live.Step - live.Span)
	var used, limit *int
	var known time.Time
	window := ms[0].Window
	zero := new(int)
	for at := first; !at.After(now); at = at.Add(live.Step) {
		var m live.Moment
		if len(ms) > 0 && !ms[0].At.After(at) {
			m, ms = ms[0], ms[1:]
		}
		if m.Limit > 0 {
			used, limit, known = &m.Used, &m.Limit, at
		} else if limit != nil && at.Sub(known) > window {
			used = zero
		}
		x := &s.Recent
		x.At = append(x.At, at.Unix())
		x.Requests, x.Refused = append(x.Requests, m.Requests), append(x.Refused, m.Refused)
		x.Used, x.Limit = append(x.Used, used), append(x.Limit, limit)
	}
}

// JSON is for an attribute of the page; the template makes it harmless there.
func (s *series) JSON() (string, error) {
	b, err := json.Marshal(s)
	return string(b), err
}
