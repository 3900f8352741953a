package report

import (
	"time"

	"adsync/internal/ads"
)

// Answer is the document about one run that was asked for.
type Answer struct {
	Client     string  `json:"client"`
	Connection string  `json:"connection"`
	Joined     bool    `json:"joined"` // the run was asked for, or going, already
	State      string  `json:"state"`  // queued, running, parked, paused
	Until      *string `json:"parked_until"`
	Reason     *string `json:"parked_reason"` // of a paused one: who paused it, and when
}

// NewAnswer makes one. until and reason are of a run that stays parked, reason also of a connection that is paused.
func NewAnswer(ref ads.Ref, joined bool, state string, until time.Time, reason string) Answer {
	a := Answer{Client: ref.ClientID, Connection: ref.Connection, Joined: joined, State: state}
	switch state {
	case "parked":
		a.Until, a.Reason = stamp(until), text(reason)
	case "paused":
		a.Reason = text(reason)
	}
	return a
}
