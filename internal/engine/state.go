package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// stateVersion is raised when an older state can no longer be read; a run with another version starts its listings anew.
const stateVersion = 1

// state is what a run knows and stores with each commit. Only the committer changes it.
type state struct {
	Version   int                 `json:"v"`
	Listings  map[string]*listing `json:"listings"` // by account and stream
	NextSeq   int64               `json:"next_seq"`
	LastStamp time.Time           `json:"last_stamp"`
	Listed    int64               `json:"listed"` // usable records, each once in the run
	Written   int64               `json:"written"`
	Unchanged int64               `json:"unchanged"`
	Failed    int64               `json:"failed"` // items that failed or are held, and records that the database refused
	Held      int64               `json:"held"`
	Removed   int64               `json:"removed"`
	Pages     int64               `json:"pages"`
	Slices    map[string]*slice   `json:"slices,omitempty"` // under way, by account and stream
	Faults    int64               `json:"faults,omitempty"` // accounts and slices that failed for good
	Wrong     []string            `json:"wrong,omitempty"`  // why the run cannot be complete, the first few
	Earlier   ads.Figures         `json:"earlier"`          // requests, throttled, retries and waited of earlier lives
}

func newState(startedAt time.Time) *state {
	return &state{Version: stateVersion, Listings: map[string]*listing{}, LastStamp: startedAt, NextSeq: 1}
}

// loadState goes on from a stored state. The counts that only the client keeps come from the run's figures.
func loadState(run store.Run) (*state, error) {
	st := newState(run.StartedAt)
	if len(run.State) > 0 {
		if err := json.Unmarshal(run.State, st); err != nil {
			return nil, fmt.Errorf("the state of run %s cannot be read: %w", run.ID, err)
		}
		if st.Version != stateVersion {
			return nil, fmt.Errorf("the state of run %s is of version %d, this binary knows %d: sync with --fresh", run.ID, st.Version, stateVersion)
		}
	}
	if st.Listings == nil {
		st.Listings = map[string]*listing{}
	}
	for key, l := range st.Listings {
		if l == nil {
			account, stream := splitListingKey(key)
			return nil, fmt.Errorf("the state of run %s has lost the place in %s of %s: sync with --fresh", run.ID, ads.Printable(stream, 40), ads.Printable(account, 40))
		}
	}
	for key, l := range st.Slices {
		if l == nil {
			delete(st.Slices, key) // it is read from its beginning
		}
	}
	f := run.Figures
	st.Earlier = ads.Figures{Requests: f.Requests, Throttled: f.Throttled, Retries: f.Retries, Waited: f.Waited, Told: f.Told, Writing: f.Writing}
	return st, nil
}

func (s *state) clone() *state {
	c := *s
	c.Listings = make(map[string]*listing, len(s.Listings))
	for k, l := range s.Listings {
		if !l.Done { // what is done stays as it is
			l = new(*l)
		}
		c.Listings[k] = l
	}
	c.Slices = make(map[string]*slice, len(s.Slices))
	for k, l := range s.Slices {
		lc := *l
		c.Slices[k] = &lc
	}
	c.Wrong = slices.Clone(s.Wrong)
	return &c
}

// wrong notes why the run cannot be complete.
func (s *state) wrong(why string) {
	s.Faults++
	if len(s.Wrong) < maxWrong {
		s.Wrong = append(s.Wrong, ads.Printable(why, 300))
	}
}

// maxWrong bounds the reasons that are told one by one.
const maxWrong = 5

func (s *state) encode() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a struct of plain values
	}
	return b
}

// stamp is the time of a commit: never before an earlier one of the run, so that synced_at tells what this run has written.
func (s *state) stamp(now time.Time) time.Time {
	now = now.UTC().Truncate(time.Microsecond)
	if now.Before(s.LastStamp) {
		return s.LastStamp
	}
	return now
}

func (s *state) problems() (n int64) {
	for _, l := range s.Listings {
		n += l.Problems
	}
	return n
}

func (s *state) figures(life ads.Figures) ads.Figures {
	p := s.problems()
	return ads.Figures{
		Listed: s.Listed + p, Synced: s.Written, Unchanged: s.Unchanged, Failed: s.Failed + p, Removed: s.Removed, Pages: s.Pages,
		Requests: s.Earlier.Requests + life.Requests, Throttled: s.Earlier.Throttled + life.Throttled,
		Retries: s.Earlier.Retries + life.Retries, Waited: s.Earlier.Waited + life.Waited, Told: s.Earlier.Told + life.Told, Writing: s.Earlier.Writing + life.Writing,
	}
}

// listingKey names a listing within a run's state.
func listingKey(account, stream string) string { return account + "\x1f" + stream }

func splitListingKey(key string) (account, stream string) {
	account, stream, _ = strings.Cut(key, "\x1f")
	return account, stream
}
