package quota

import (
	"cmp"
	"slices"
	"sync"
)

// Manager has the buckets of this process, by name: whoever names the same bucket shares it.
//
// A bucket's limits are what those who declared it say, all together. A bucket that nobody declares any more is forgotten as soon as nobody uses
// it; until then what was declared last holds.
type Manager struct {
	ledger  Ledger
	mu      sync.Mutex
	buckets map[string]*declared
	owners  map[string][]declaration
	leaving map[string]*declared // nobody declares them
}

// declared is a bucket and what is said of it.
type declared struct {
	bucket *Bucket
	by     int       // owners that declare it
	kept   bool      // by Bucket: for good
	limits []counted // each with the number of those who say it
}

type counted struct {
	limit Limit
	by    int
}

type declaration struct {
	name   string
	limits []Limit
}

// NewManager keeps buckets whose state is in ledger.
func NewManager(ledger Ledger) *Manager {
	return &Manager{ledger: ledger, buckets: map[string]*declared{}, owners: map[string][]declaration{}, leaving: map[string]*declared{}}
}

// Declare gives the bucket of that name, with what owner says of its limits now in place of what owner said before. None is one too: owner knows of
// no limit. Others' limits hold beside it. label names the bucket for people.
func (m *Manager) Declare(owner, name, label string, limits []Limit) *Bucket {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	d := m.bucket(name, label)
	ds := m.owners[owner]
	if i := slices.IndexFunc(ds, func(x declaration) bool { return x.name == name }); i >= 0 {
		if slices.Equal(ds[i].limits, limits) {
			return d.bucket
		}
		d.count(ds[i].limits, -1)
		ds[i].limits = slices.Clone(limits)
	} else {
		m.owners[owner] = append(ds, declaration{name: name, limits: slices.Clone(limits)})
		d.by++
	}
	d.count(limits, 1)
	d.apply()
	return d.bucket
}

// Retire takes back what owner declared, except of the buckets named in keep. Who moves from one bucket to another declares the new one first.
func (m *Manager) Retire(owner string, keep ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var stay []declaration
	for _, x := range m.owners[owner] {
		if slices.Contains(keep, x.name) {
			stay = append(stay, x)
			continue
		}
		d := m.buckets[x.name]
		if d.by--; d.by == 0 && !d.kept {
			d.limits = nil
			m.leaving[x.name] = d
			continue // who still uses it keeps to its limits
		}
		d.count(x.limits, -1)
		d.apply()
	}
	if m.owners[owner] = stay; len(stay) == 0 {
		delete(m.owners, owner)
	}
	m.sweep()
}

// Bucket is Declare for a bucket that nobody ever retires: limits that it did not have are added.
func (m *Manager) Bucket(name, label string, limits ...Limit) *Bucket {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.bucket(name, label)
	d.kept = true
	for _, l := range limits {
		if !slices.ContainsFunc(d.limits, func(c counted) bool { return c.limit == l }) {
			d.count([]Limit{l}, 1)
		}
	}
	d.apply()
	return d.bucket
}

// Len is the number of buckets in memory.
func (m *Manager) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.buckets)
}

// bucket finds or makes one. m.mu is held.
func (m *Manager) bucket(name, label string) *declared {
	d := m.buckets[name]
	if d == nil {
		d = &declared{bucket: newBucket(m.ledger, name, label)}
		m.buckets[name] = d
	}
	delete(m.leaving, name)
	return d
}

// sweep forgets buckets that nobody declares and nobody uses. m.mu is held.
func (m *Manager) sweep() {
	for name, d := range m.leaving {
		if d.bucket.idle() {
			delete(m.leaving, name)
			delete(m.buckets, name)
		}
	}
}

func (d *declared) count(limits []Limit, by int) {
	for _, l := range limits {
		i := slices.IndexFunc(d.limits, func(c counted) bool { return c.limit == l })
		if i < 0 {
			d.limits = append(d.limits, counted{limit: l})
			i = len(d.limits) - 1
		}
		d.limits[i].by += by
	}
	d.limits = slices.DeleteFunc(d.limits, func(c counted) bool { return c.by <= 0 })
}

// apply tells the bucket its limits: shortest window first.
func (d *declared) apply() {
	all := make([]Limit, len(d.limits))
	for i, c := range d.limits {
		all[i] = c.limit
	}
	slices.SortFunc(all, func(x, y Limit) int { return cmp.Or(cmp.Compare(x.Window, y.Window), cmp.Compare(x.N, y.N)) })
	d.bucket.limit(all)
}
