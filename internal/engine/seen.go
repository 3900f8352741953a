package engine

import "hash/maphash"

// seen remembers in bounded memory which ids may have come before in a run. It never forgets one; now and then it takes a new id
// for an old one, and the database decides. So a page is checked against the database only where there is something to check.
type seen struct {
	bits []uint64
	seed maphash.Seed
	all  bool // earlier lives or passes have listed ids that are not in bits
}

const (
	seenMinWords = 1 << 9  // 4 KiB
	seenMaxWords = 1 << 18 // 2 MiB: at a million ids one in 400 is asked about for nothing
	seenPerID    = 16      // bits
)

// newSeen sizes the filter for about n ids.
func newSeen(n int64, all bool) *seen {
	words := seenMinWords
	for words < seenMaxWords && int64(words)*64 < n*seenPerID {
		words *= 2
	}
	return &seen{bits: make([]uint64, words), seed: maphash.MakeSeed(), all: all}
}

// add reports whether the id may have come before, and keeps it.
func (s *seen) add(account, id string) bool {
	var h maphash.Hash
	h.SetSeed(s.seed)
	h.WriteString(account)
	h.WriteByte(0)
	h.WriteString(id)
	a := h.Sum64()
	b := a>>32 | 1
	mask := uint64(len(s.bits))*64 - 1
	before := true
	for i := range uint64(4) {
		at := (a + i*b) & mask
		bit := uint64(1) << (at & 63)
		before = before && s.bits[at>>6]&bit != 0
		s.bits[at>>6] |= bit
	}
	return before || s.all
}
