package storetest

import (
	"fmt"
	"slices"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// modelRow is a row of campaigns as the comments of package store say it must be.
type modelRow struct {
	name                   string
	first, changed, synced time.Time
	removed                ads.Opt[time.Time]
}

type modelItem struct {
	id, name string
	pass     int
	state    int // 0 waits, 1 done, 2 failed, 3 held
}

// modelFailure is an open failure.
type modelFailure struct {
	first, last, next time.Time // next zero: never
	attempts          int
	badRecord         bool
}

// model is what a run does, kept in maps.
type model struct {
	rows   map[string]*modelRow
	items  map[int64]*modelItem
	open   map[string]*modelFailure
	direct bool
	pass   int
	start  time.Time // of the run
	passAt time.Time
	next   int64
	now    time.Time
	swept  bool
}

func (m *model) write(id, name string) (unchanged bool) {
	r := m.rows[id]
	if r == nil {
		m.rows[id] = &modelRow{name: name, first: m.now, changed: m.now, synced: m.now}
		return false
	}
	unchanged = r.name == name && !r.removed.Set
	if !unchanged {
		r.changed = m.now
	}
	r.name, r.synced, r.removed = name, m.now, ads.Opt[time.Time]{}
	return unchanged
}

// modelBackoff gives a failure up at its third time.
var modelBackoff = store.Backoff{First: time.Minute, Most: 3 * time.Minute, Limit: 9}

// fail is another time that a record failed.
func (m *model) fail(id string, attempts int, badRecord bool) {
	f := m.open[id]
	if f == nil {
		f = &modelFailure{first: m.now}
		m.open[id] = f
	}
	f.last, f.next, f.badRecord = m.now, time.Time{}, badRecord
	f.attempts += attempts
	if !badRecord && f.attempts < 9 {
		f.next = m.now.Add(min(max(m.now.Sub(f.first), time.Minute), 3*time.Minute))
	}
}

func (m *model) list(records []ads.Entity, hold bool) (res store.Result) {
	for _, e := range records {
		seq := m.next
		m.next++
		if m.direct {
			delete(m.open, e.ID)
			r := m.rows[e.ID]
			seen := r != nil && !r.synced.Before(m.start)
			if seen {
				res.SeenInRun++
				if !r.synced.Before(m.passAt) {
					res.SeenInPass++
				}
			}
			if same := m.write(e.ID, e.Name); !seen {
				res.Written++
				if same {
					res.Unchanged++
				}
			}
			continue
		}
		var it *modelItem
		for _, old := range m.items {
			if old.id == e.ID {
				it = old
			}
		}
		if it == nil {
			it = &modelItem{id: e.ID, name: e.Name, pass: m.pass}
			m.items[seq] = it
			if f := m.open[e.ID]; hold && f != nil && !f.badRecord && (f.next.IsZero() || f.next.After(m.now)) {
				it.state = 3
				res.Held++
			}
			continue
		}
		res.SeenInRun++
		if it.pass == m.pass {
			res.SeenInPass++
		}
		it.pass = m.pass
		if it.state == 0 || it.state == 3 {
			it.name = e.Name
		}
	}
	return res
}

// A run made of any steps in any order leaves what the model says, however often it is closed and opened again.
func testModel(t *testing.T, db Database) {
	s := open(t, db)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		ref := ads.Ref{ClientID: fmt.Sprint("client", n), Connection: "c"}
		m := &model{rows: map[string]*modelRow{}, open: map[string]*modelFailure{}, now: at(0)}
		var x *session
		runs := 0
		beginRun := func(fresh bool) {
			runs++
			o := newRun(fmt.Sprintf("run %d.%d", n, runs), m.now)
			o.Fresh = fresh
			x = begin(t, s, ref, o)
		}
		newOne := func() {
			m.now = m.now.Add(time.Second)
			beginRun(true)
			m.direct = rapid.Bool().Draw(rt, "direct")
			m.items, m.pass, m.next, m.swept = map[int64]*modelItem{}, 1, 1, false
			m.start, m.passAt = x.run.StartedAt, x.run.StartedAt
		}
		newOne()
		id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
		waiting := func() (seqs []int64) {
			for seq, it := range m.items {
				if it.state == 0 {
					seqs = append(seqs, seq)
				}
			}
			slices.Sort(seqs)
			return seqs
		}
		rt.Repeat(map[string]func(*rapid.T){
			"list": func(rt *rapid.T) {
				var records []ads.Entity
				for _, id := range rapid.SliceOfNDistinct(id, 1, 5, rapid.ID[string]).Draw(rt, "ids") {
					e := entity(id)
					e.Name = rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "name")
					records = append(records, e)
				}
				m.now = m.now.Add(rapid.SampledFrom([]time.Duration{time.Millisecond, 30 * time.Second, 2 * time.Minute}).Draw(rt, "pause"))
				l := x.listedDirect(records...)
				l.Direct, l.FirstSeq, l.Pass, l.PassStart = m.direct, m.next, m.pass, m.passAt
				l.HoldFailed = rapid.Bool().Draw(rt, "hold")
				got := x.commit(store.Commit{Stamp: m.now, Listed: l})
				if want := m.list(records, l.HoldFailed); got != want {
					rt.Fatalf("list: %+v, want %+v", got, want)
				}
			},
			"done": func(rt *rapid.T) {
				w := waiting()
				if len(w) == 0 {
					return
				}
				seqs := rapid.SliceOfNDistinct(rapid.SampledFrom(w), 1, len(w), rapid.ID[int64]).Draw(rt, "seqs")
				m.now = m.now.Add(time.Millisecond)
				want := store.Result{Written: int64(len(seqs))}
				for _, seq := range seqs {
					it := m.items[seq]
					it.state = 1
					delete(m.open, it.id)
					if m.write(it.id, it.name) {
						want.Unchanged++
					}
				}
				if got := x.commit(store.Commit{Stamp: m.now, Done: seqs}); got != want {
					rt.Fatalf("done: %+v, want %+v", got, want)
				}
			},
			"fail": func(rt *rapid.T) {
				w := waiting()
				if len(w) == 0 {
					return
				}
				seq := rapid.SampledFrom(w).Draw(rt, "seq")
				m.now = m.now.Add(time.Millisecond)
				m.items[seq].state = 2
				m.fail(m.items[seq].id, 3, false)
				x.commit(store.Commit{Stamp: m.now, Failed: []store.ItemFailure{{Seq: seq, Class: ads.ClassTransient, Message: "m", Attempts: 3, Backoff: modelBackoff}}})
			},
			"problem": func(rt *rapid.T) {
				id := id.Draw(rt, "id")
				m.now = m.now.Add(time.Millisecond)
				m.fail(id, 1, true)
				x.commit(store.Commit{Stamp: m.now, Problems: []ads.Problem{{EntityID: id, Message: "m"}}})
			},
			"unhold": func(rt *rapid.T) {
				m.now = m.now.Add(time.Millisecond)
				var want store.Result
				for _, it := range m.items {
					if it.state == 3 {
						it.state = 0
						want.Unheld++
					}
				}
				if got := x.commit(store.Commit{Stamp: m.now, Unhold: true}); got != want {
					rt.Fatalf("unhold: %+v, want %+v", got, want)
				}
			},
			"next pass": func(*rapid.T) {
				m.pass++
				m.now = m.now.Add(time.Millisecond)
				m.passAt = m.now
			},
			"sweep": func(rt *rapid.T) {
				if m.swept {
					return
				}
				m.swept = true
				share := rapid.SampledFrom([]float64{0, 0.3, 1}).Draw(rt, "share")
				m.now = m.now.Add(time.Millisecond)
				var want store.SweepResult
				var gone []*modelRow
				for id, r := range m.rows {
					if r.removed.Set {
						continue
					}
					want.Present++
					isGone := r.synced.Before(m.passAt)
					if !m.direct {
						isGone = true
						for _, it := range m.items {
							if it.id == id && it.pass == m.pass {
								isGone = false
							}
						}
					}
					if isGone {
						gone = append(gone, r)
					}
				}
				want.Gone = int64(len(gone))
				if want.Gone == 0 || float64(want.Gone) <= share*float64(want.Present) {
					want.Marked = want.Gone
					for _, r := range gone {
						r.removed, r.changed = ads.Some(m.now), m.now
					}
					m.resolveUnmet()
				}
				got := x.sweep(store.Sweep{Direct: m.direct, Pass: m.pass, PassStart: m.passAt, Stamp: m.now, MaxShare: share})
				if got != want {
					rt.Fatalf("sweep: %+v, want %+v", got, want)
				}
			},
			"again": func(*rapid.T) {
				x.release()
				beginRun(false)
				if !x.run.Resumed || !x.run.StartedAt.Equal(m.start) {
					rt.Fatalf("%+v", x.run)
				}
			},
			"new run": func(rt *rapid.T) {
				x.finish(rapid.SampledFrom([]ads.Outcome{ads.Complete, ads.Partial, ads.Failed}).Draw(rt, "outcome"), m.now)
				newOne()
			},
			"": func(rt *rapid.T) { m.compare(rt, t, db, ref, x) },
		})
		x.finish(ads.Complete, m.now)
	})
}

// resolveUnmet is what a sweep does with failures: those stay open that this run has met again, or has held in the pass that counts.
func (m *model) resolveUnmet() {
	held := map[string]bool{}
	for _, it := range m.items {
		held[it.id] = it.state == 3 && it.pass == m.pass
	}
	for id, f := range m.open {
		if f.last.Before(m.start) && !held[id] {
			delete(m.open, id)
		}
	}
}

func (m *model) compare(rt *rapid.T, t testing.TB, db Database, ref ads.Ref, x *session) {
	var want []string
	for id, r := range m.rows {
		gone := "NULL"
		if r.removed.Set {
			gone = text(r.removed.Value)
		}
		want = append(want, fmt.Sprint([]string{id, r.name, text(r.first), text(r.changed), text(r.synced), gone}))
	}
	for id, f := range m.open {
		next := "NULL"
		if !f.next.IsZero() {
			next = text(f.next)
		}
		want = append(want, fmt.Sprint([]string{"failure", id, text(f.first), text(f.last), next, fmt.Sprint(f.attempts)}))
	}
	for seq, it := range m.items {
		if it.state == 0 {
			want = append(want, fmt.Sprint([]string{"waits", fmt.Sprint(seq), it.id}))
		}
	}
	var got []string
	for _, r := range db.Rows(t, fmt.Sprintf(`SELECT id, name, first_seen_at, changed_at, synced_at, removed_at FROM campaigns WHERE client_id = '%[1]s'
`, ref.ClientID)) {
		got = append(got, fmt.Sprint(r))
	}
	for _, r := range db.Rows(t, fmt.Sprintf("SELECT 'failure', entity_id, first_failed_at, last_failed_at, next_retry_at, attempts FROM failures WHERE client_id = '%s' AND resolved_at IS NULL", ref.ClientID)) {
		got = append(got, fmt.Sprint(r))
	}
	for _, it := range x.pending() {
		got = append(got, fmt.Sprint([]string{"waits", fmt.Sprint(it.Seq), it.ID}))
	}
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		rt.Fatalf("\n got %q\nwant %q", got, want)
	}
}
