package tokens

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"adsync/internal/ads"
)

// Memory is a Ledger of this process alone, for where there is no key. It holds no more than mostInMemory tokens; the oldest go first.
type Memory struct {
	mu   sync.Mutex
	root Sealed
	rows map[string]*memoryRow
	ends map[ads.Ref]End
}

type memoryRow struct {
	Row
	got    time.Time
	holder string
	until  time.Time
}

const mostInMemory = 10_000

// NewMemory is an empty one.
func NewMemory() *Memory { return &Memory{rows: map[string]*memoryRow{}, ends: map[ads.Ref]End{}} }

func same(a, b Sealed) bool { return a.Key == b.Key && bytes.Equal(a.Box, b.Box) }

// TokenRoot implements Ledger.
func (m *Memory) TokenRoot(_ context.Context, first Sealed) (Sealed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.root.Box == nil {
		m.root = first
	}
	return m.root, nil
}

// SwapTokenRoot implements Ledger.
func (m *Memory) SwapTokenRoot(_ context.Context, was, now Sealed) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ok := same(m.root, was)
	if ok {
		m.root = now
	}
	return ok, nil
}

func (r *memoryRow) now() Row {
	out := r.Row
	if out.Generation > 0 {
		out.Age = time.Since(r.got)
	}
	if r.holder != "" {
		out.Held = time.Until(r.until)
	}
	return out
}

// ReadToken implements Ledger.
func (m *Memory) ReadToken(_ context.Context, id string) (Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.rows[id]; r != nil {
		return r.now(), nil
	}
	return Row{}, nil
}

// LeaseToken implements Ledger.
func (m *Memory) LeaseToken(_ context.Context, id string, l Lease) (Row, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[id]
	if r == nil {
		if l.Generation != 0 {
			return Row{}, false, nil
		}
		m.makeRoom()
		r = &memoryRow{Row: Row{ID: id, Platform: l.Platform}, got: time.Now()}
		m.rows[id] = r
	}
	was := r.now()
	if was.Held > 0 && r.holder != l.Holder || r.Generation != l.Generation {
		return was, false, nil
	}
	r.holder, r.until, r.Began = l.Holder, time.Now().Add(l.Life), time.Now()
	return was, true, nil
}

func (m *Memory) makeRoom() {
	for len(m.rows) >= mostInMemory {
		oldest := ""
		for id, r := range m.rows {
			if oldest == "" || r.got.Before(m.rows[oldest].got) {
				oldest = id
			}
		}
		delete(m.rows, oldest)
	}
}

// ExtendToken implements Ledger.
func (m *Memory) ExtendToken(_ context.Context, id, holder string, life time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[id]
	if r == nil || r.holder != holder {
		return false, nil
	}
	r.until = time.Now().Add(life)
	return true, nil
}

// FreeToken implements Ledger.
func (m *Memory) FreeToken(_ context.Context, id, holder string, settled bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.rows[id]; r != nil && r.holder == holder {
		if r.holder = ""; settled {
			r.Began = time.Time{}
		}
	}
	return nil
}

// KeepToken implements Ledger.
func (m *Memory) KeepToken(_ context.Context, id string, k Keep) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[id]
	switch {
	case r == nil:
		return false, nil
	case r.Generation == k.Generation+1 && same(r.Sealed, k.Sealed):
		return true, nil
	case r.Generation != k.Generation:
		return false, nil
	}
	r.Sealed, r.got, r.Generation, r.Began, r.holder = k.Sealed, time.Now().Add(-k.Age), k.Generation+1, time.Time{}, ""
	return true, nil
}

// TokensNotOf implements Ledger.
func (m *Memory) TokensNotOf(_ context.Context, key, after string, limit int) (out []Row, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.rows {
		if r.Generation > 0 && r.Sealed.Key != key && r.ID > after {
			out = append(out, r.now())
		}
	}
	slices.SortFunc(out, func(a, b Row) int { return cmp.Compare(a.ID, b.ID) })
	return out[:min(limit, len(out))], nil
}

// SwapToken implements Ledger.
func (m *Memory) SwapToken(_ context.Context, id string, generation int64, now Sealed) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[id]
	if r == nil || r.Generation != generation {
		return false, nil
	}
	r.Sealed = now
	return true, nil
}

// NoteTokenEnd implements Ledger.
func (m *Memory) NoteTokenEnd(_ context.Context, e End) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.ends[e.Ref]
	switch {
	case e.At.IsZero():
		delete(m.ends, e.Ref)
		return nil
	case ok && SameEnd(old.At, e.At):
		e.Warned = old.Warned
	default:
		e.Warned = 0
	}
	m.ends[e.Ref] = e
	return nil
}

// TokenEnds implements Ledger.
func (m *Memory) TokenEnds(context.Context) (out []End, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.ends {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b End) int { return cmp.Compare(a.Ref.String(), b.Ref.String()) })
	return out, nil
}

// ClaimTokenWarning implements Ledger.
func (m *Memory) ClaimTokenWarning(_ context.Context, e End, days int) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.ends[e.Ref]
	if !ok || !SameEnd(old.At, e.At) || old.Warned != 0 && old.Warned <= days {
		return false, nil
	}
	old.Warned = days
	m.ends[e.Ref] = old
	return true, nil
}
