package quota

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// The stored form: a version, then varints. Version 2 had no parties and wrote every entry as time and number.
const (
	stateVersion = 3
	oldVersion   = 2
	maxEntries   = 4096           // of a log: at most 2,000 requests, or the slots of two windows
	maxTime      = int64(1) << 60 // of any time or sum of turns
)

var errState = errors.New("the stored state of a quota cannot be read")

func (s *state) encode() []byte {
	size := 128 + 24*len(s.parties)
	for i := range s.logs {
		size += 40 + 4*len(s.logs[i].entries)
	}
	b := append(make([]byte, 0, size), stateVersion)
	for _, v := range []int64{
		s.until, s.since, s.told, int64(s.refused), int64(s.scarce.N), int64(s.scarce.Window), int64(s.allowed), int64(s.before), s.learnt,
		int64(s.step), s.suspect, int64(s.widen), s.widened, int64(btoi(s.pending)), int64(len(s.logs)),
	} {
		b = binary.AppendVarint(b, v)
	}
	for i := range s.logs {
		b = s.logs[i].encode(b)
	}
	b = binary.AppendVarint(b, int64(len(s.parties)))
	for _, p := range s.parties {
		b = binary.LittleEndian.AppendUint64(b, p.id)
		for _, v := range []int64{int64(p.owners), int64(p.wants), p.turns, p.back} {
			b = binary.AppendVarint(b, v)
		}
	}
	return b
}

// encode writes each entry as the steps of the log's resolution since the one before, times two, and one more where a number of requests other than one
// follows.
func (s *sends) encode(b []byte) []byte {
	b = binary.AppendVarint(b, int64(s.limit.N))
	b = binary.AppendVarint(b, int64(s.limit.Window))
	b = binary.AppendVarint(b, s.seen)
	b = binary.AppendVarint(b, int64(len(s.entries)))
	last, grain := int64(0), s.limit.grain()
	for _, e := range s.entries {
		at := (e.at + grain - 1) / grain
		d := uint64(at-last) << 1
		last = at
		if e.n == 1 {
			b = binary.AppendUvarint(b, d)
			continue
		}
		b = binary.AppendUvarint(b, d|1)
		b = binary.AppendUvarint(b, uint64(e.n))
	}
	return b
}

// reader reads numbers from a stored state. The first one that is not there or out of its range makes it bad, and all further ones the least.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) int(lo, hi int64) int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 || v < lo || v > hi {
		r.bad = true
	}
	if r.bad {
		return lo
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) uint(hi uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > hi {
		r.bad = true
	}
	if r.bad {
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) id() (id uint64) {
	if r.bad = r.bad || len(r.b) < 8; r.bad {
		return 0
	}
	id, r.b = binary.LittleEndian.Uint64(r.b), r.b[8:]
	return id
}

// decode reads a stored state; nil is a bucket that is new. What it returns has been checked whole: it may come from anywhere.
func decode(b []byte) (*state, error) {
	s := &state{}
	if len(b) == 0 {
		return s, nil
	}
	version := b[0]
	if version != stateVersion && version != oldVersion {
		return nil, errState
	}
	r := &reader{b: b[1:]}
	s.until, s.since, s.told, s.refused = r.int(0, maxTime), r.int(0, maxTime), r.int(0, maxTime), int(r.int(0, MaxN))
	s.scarce = Limit{N: int(r.int(0, MaxN)), Window: time.Duration(r.int(0, int64(MaxWindow)))}
	s.allowed, s.before, s.learnt, s.step = int(r.int(0, MaxN)), int(r.int(0, MaxN)), r.int(0, maxTime), int(r.int(0, MaxN))
	s.suspect, s.widen, s.widened, s.pending = r.int(0, maxTime), int(r.int(0, maxWiden)), r.int(0, maxTime), r.int(0, 1) == 1
	if s.allowed > 0 && s.scarce.check() != nil || s.pending && s.widen == 0 {
		return nil, errState
	}
	for range r.int(0, maxLogs) {
		lg, ok := r.log(version)
		if !ok || slices.ContainsFunc(s.logs, func(o sends) bool { return o.limit == lg.limit }) {
			return nil, errState
		}
		s.logs = append(s.logs, lg)
	}
	if version != oldVersion {
		for range r.int(0, maxParties) {
			p := party{id: r.id(), owners: int(r.int(1, maxWaiting)), wants: int(r.int(0, maxWaiting)), turns: r.int(0, turn), back: r.int(0, maxTime)}
			if r.bad || slices.ContainsFunc(s.parties, func(o party) bool { return o.id == p.id }) {
				return nil, errState
			}
			s.parties = append(s.parties, p)
		}
	}
	if r.bad || len(r.b) > 0 {
		return nil, errState
	}
	return s, nil
}

func (r *reader) log(version byte) (lg sends, ok bool) {
	lg.limit = Limit{N: int(r.int(1, MaxN)), Window: time.Duration(r.int(int64(MinWindow), int64(MaxWindow)))}
	if version != oldVersion {
		lg.seen = r.int(0, maxTime)
	}
	count := r.int(0, maxEntries)
	if r.bad || count > int64(len(r.b)) { // an entry has at least one byte
		return lg, false
	}
	lg.entries = make([]entry, 0, count)
	last, grain := int64(0), lg.limit.grain()
	for range count {
		e := entry{n: 1}
		if version == oldVersion {
			last += r.int(0, maxTime)
			e.at = lg.round(min(last, maxTime))
			e.n = int(r.int(1, MaxN))
		} else {
			d := r.uint(uint64(2*maxTime + 1))
			if last += int64(d >> 1); last > maxTime/grain {
				return lg, false
			}
			e.at = last * grain
			if d&1 == 1 {
				e.n = int(r.uint(MaxN))
			}
		}
		lg.total += e.n
		if r.bad || e.n < 1 || last > maxTime || lg.total > 2*lg.limit.N {
			return lg, false
		}
		lg.entries = append(lg.entries, e)
	}
	if version == oldVersion && len(lg.entries) > 0 {
		lg.seen = lg.entries[len(lg.entries)-1].at
	}
	return lg, true
}
