package quota

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Manager has the buckets of this process, by name: connections that name the same bucket share it.
type Manager struct {
	ledger  Ledger
	mu      sync.Mutex
	buckets map[string]*Bucket
}

// NewManager keeps buckets whose state is in ledger.
func NewManager(ledger Ledger) *Manager {
	return &Manager{ledger: ledger, buckets: map[string]*Bucket{}}
}

// Bucket gives the bucket of that name. Limits that it did not have are added: all declared ones hold. label names it for people.
func (m *Manager) Bucket(name, label string, limits ...Limit) *Bucket {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.buckets[name]
	if b == nil {
		b = &Bucket{
			name: name, label: label, ledger: m.ledger, local: &state{}, begin: time.Now(),
			kick: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		}
		m.buckets[name] = b
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := slices.Clone(b.limits)
	for _, l := range limits {
		if !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(x, y Limit) int { return cmp.Or(cmp.Compare(x.Window, y.Window), cmp.Compare(x.N, y.N)) })
	b.limits = all
	return b
}
