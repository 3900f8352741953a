// Package quotatest has a ledger in memory, for tests of what needs a ledger and no database.
package quotatest

import (
	"context"
	"sync"
	"time"
)

// Memory is a quota.Ledger that lives as long as its process. Several managers may share one, as several processes share a database.
type Memory struct {
	// Offset is added to the clock, to play a clock that is wrong.
	Offset time.Duration

	mu     sync.Mutex
	states map[string][]byte
	writes int
}

// NewMemory is an empty one.
func NewMemory() *Memory { return &Memory{states: map[string][]byte{}} }

// UpdateQuota implements quota.Ledger.
func (m *Memory) UpdateQuota(ctx context.Context, bucket string, fn func([]byte, time.Time) ([]byte, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out, err := fn(m.states[bucket], time.Now().Add(m.Offset).UTC())
	if err != nil {
		return err
	}
	m.states[bucket] = append([]byte(nil), out...)
	m.writes++
	return nil
}

// Set stores a state as it is, to play one that was damaged.
func (m *Memory) Set(bucket string, state []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states[bucket] = state
}
