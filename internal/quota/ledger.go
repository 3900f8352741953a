// Package quota keeps the promise that no quota is exceeded by our doing and no slot is left unused.
//
// A bucket is a quota that some server counts, such as "10 requests in any 60 seconds for X-Client-ID acme". Its state is a log of send
// times, and who is ahead of whom. The arithmetic is pure; what makes it durable and shared by processes is a Ledger, which the store implements.
//
// It imports ads, observe and platform, and must not import a database, the client or anything that prints.
package quota

import (
	"context"
	"time"
)

// Ledger keeps the state of buckets for all processes that share a database.
type Ledger interface {
	// UpdateQuota runs fn on the state of a bucket (nil for a bucket that is new) and stores what it returns. Calls for
	// one bucket are serialised over all processes, and a change is durable against the death of the process before
	// UpdateQuota returns. now is the clock that all processes of this database share, in UTC. fn may be called again
	// when a transaction has to be repeated, so it has no other effect; when it returns the state it was given
	// (the same slice) nothing is written. fn's error is returned as it is and nothing is written.
	UpdateQuota(ctx context.Context, bucket string, fn func(state []byte, now time.Time) ([]byte, error)) error
}
