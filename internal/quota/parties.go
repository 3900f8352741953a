package quota

import (
	"cmp"
	"slices"
	"time"
)

// party is one process that waits for slots of a bucket, as the ledger knows it. Processes are served like their owners were in one queue: each free
// slot is for the one that has had the fewest turns, a turn being one slot for each of its owners.
type party struct {
	id     uint64
	owners int   // that wait
	wants  int   // requests of theirs
	turns  int64 // that it has had more than the one that has had the fewest, in parts of turn; one at most
	back   int64 // when it will have looked again; what it wanted is nothing to others after that
}

const (
	turn       = 1 << 20
	maxParties = 64
	maxWaiting = 1 << 20
	slack      = int64(20 * time.Millisecond / time.Microsecond) // by which a process may be late
	maxWalk    = 512                                             // slots that a process looks through for one of its own
)

// claim is what a process asks of a bucket.
type claim struct {
	id            uint64
	owners, wants int   // that wait, and their requests
	extra         int   // slots that it will have use for in a moment, and takes where nobody waits for them
	most          int   // slots that its own log has room for
	late, lag     int64 // µs: how much later than it can be used a slot is logged, and how long the ledger takes
	leaves        bool  // nobody waits any more, though others may think so
}

// grant is what it gets.
type grant struct {
	room         // the quota, after it
	at   []int64 // from when each slot can be used, in order, none before now
	logs []int64 // for when each is logged
	look int64   // when to look again; 0: all wants are met
	told int64   // what the server named
}

// grant gives out what a process may have now, logs it, and notes what the process still waits for. It reports whether anything changed.
//
// Of the slots that are free, or will be in a moment, the process gets those that are its turn. What is another's turn is left to that one for as
// long as the grace. When the process is a whole turn ahead of others that want nothing for the moment, it lets half as long pass: they may be about to
// ask again. Then a slot is anybody's.
func (s *state) grant(now int64, limits []Limit, c claim) (g grant, changed bool) {
	s.adopt(now, limits)
	g.room, g.told = s.room(now, limits), s.told
	if len(limits) == 0 {
		if g.server {
			g.look = g.next
			return g, false
		}
		g.at = slices.Repeat([]int64{now}, c.wants)
		return g, false
	}
	me, known := s.party(c.id)
	me.owners, me.wants = min(max(c.owners, 1), maxWaiting), min(c.wants, maxWaiting)
	others := s.others(c.id, now)
	want := min(c.wants, c.most)
	if len(others) == 0 {
		want = min(c.wants+c.extra, c.most)
	}
	ahead, grace := limits[0].ahead(), g.limit.grace()
	horizon := now + ahead
	if s.until > now {
		horizon = 0
	}
	come := func(at int64) { // to look at a time too
		if g.look == 0 || at < g.look {
			g.look = at
		}
	}
	last, free := now, s.slots(limits)
	for range maxWalk {
		if len(g.at) >= want && len(g.at) >= c.wants {
			break
		}
		at, ok := free.next()
		if !ok { // the whole window is spoken for
			come(last + s.hold(g.limit))
			break
		}
		since := at
		at = max(at, now, s.until)
		last = at
		if rival := rival(others, me.turns); rival != nil && since+grace > now {
			rival.turns += turn / int64(rival.owners)
			rival.wants--
			come(at + max(grace, ahead))
			continue
		}
		if since+grace/2 > now && behind(others, me.turns-turn) {
			come(at + max(grace/2, ahead/4))
			continue
		}
		if at > horizon || len(g.at) >= want {
			come(at)
			break
		}
		g.at = append(g.at, at)
		me.turns += turn / int64(me.owners)
	}
	if me.wants = max(me.wants-len(g.at), 0); me.wants == 0 {
		g.look = 0
	} else if g.look == 0 {
		g.look = last
	}
	for _, at := range g.at {
		g.logs = append(g.logs, max(at, now+c.lag)+c.late)
	}
	if len(g.at) > 0 {
		s.take(now, g.logs, limits)
		g.room = s.room(now, limits)
	}
	return g, s.note(now, me, known, g.look) || len(g.at) > 0
}

// party finds a process among those that are known; one that is not is as far as the one that has had the fewest turns.
func (s *state) party(id uint64) (p party, known bool) {
	for _, p := range s.parties {
		if p.id == id {
			return p, true
		}
	}
	return party{id: id}, false
}

// others are the other processes that wait now, and those that did a moment ago: these want nothing.
func (s *state) others(id uint64, now int64) (out []party) {
	for _, p := range s.parties {
		if p.id == id || p.back < now-slack {
			continue
		}
		if !p.waits(now) {
			p.wants = 0
		}
		out = append(out, p)
	}
	return out
}

func (p party) waits(now int64) bool { return p.wants > 0 && p.back >= now }

// rival is the party that wants something and has had the fewest turns, and fewer than that; nil: there is none.
func rival(ps []party, turns int64) (out *party) {
	for i := range ps {
		if p := &ps[i]; p.wants > 0 && p.turns < turns {
			out, turns = p, p.turns
		}
	}
	return out
}

// behind says whether any party has had that few turns.
func behind(ps []party, turns int64) bool {
	return slices.ContainsFunc(ps, func(p party) bool { return p.turns <= turns })
}

// note writes down how a process stands after a look, and reports whether that is news to others.
func (s *state) note(now int64, me party, known bool, look int64) (news bool) {
	if me.wants > 0 {
		me.back = look + slack
	} else {
		me.back = now
	}
	i := slices.IndexFunc(s.parties, func(p party) bool { return p.id == me.id })
	switch {
	case i < 0 && me.wants == 0 && len(s.parties) == 0:
		return false
	case i < 0:
		s.parties = append(s.parties, me)
		news = true
	default:
		was := s.parties[i]
		news = was.owners != me.owners || was.turns != me.turns || (was.wants > 0) != (me.wants > 0) || (me.wants > 0 && was.back < me.back-slack/2)
		s.parties[i] = me
	}
	s.level(now)
	return news
}

// refund takes back turns for slots that were not used.
func (s *state) refund(id uint64, slots int) {
	for i := range s.parties {
		if p := &s.parties[i]; p.id == id {
			p.turns = max(p.turns-int64(slots)*turn/int64(p.owners), 0)
		}
	}
}

// leave says that a process waits for nothing any more. It reports whether it was known.
func (s *state) leave(id uint64, now int64) bool {
	i := slices.IndexFunc(s.parties, func(p party) bool { return p.id == id })
	if i < 0 {
		return false
	}
	s.parties[i].wants, s.parties[i].back = 0, now
	s.level(now)
	return true
}

// level counts turns from those of the process that waits and has had the fewest, and forgets whoever does not wait and is not ahead of it, or was not
// seen for two windows. Nobody is more than a turn ahead: who had more took what nobody else wanted.
func (s *state) level(now int64) {
	floor := int64(-1)
	for _, p := range s.parties {
		if p.waits(now) && (floor < 0 || p.turns < floor) {
			floor = p.turns
		}
	}
	if floor < 0 {
		floor = turn // nobody waits
	}
	gone := now - 2*s.longest()
	s.parties = slices.DeleteFunc(s.parties, func(p party) bool {
		return !p.waits(now) && (p.turns <= floor && p.back < now-slack || p.back < gone)
	})
	for i := range s.parties {
		s.parties[i].turns = min(max(s.parties[i].turns-floor, 0), turn)
	}
	if over := len(s.parties) - maxParties; over > 0 {
		slices.SortFunc(s.parties, func(x, y party) int { return cmp.Compare(x.back, y.back) })
		s.parties = slices.Delete(s.parties, 0, over)
	}
}
