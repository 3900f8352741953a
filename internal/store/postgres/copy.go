package postgres

import (
	"encoding/binary"
	"io"
	"time"

	"adsync/internal/ads"
	"adsync/internal/store/internal/common"
)

// entityColumns are what a record brings, in the order in which they are sent.
const entityColumns = "id, name, status, platform_status, objective, budget_micros, budget_period, currency, impressions, clicks, conversions, created_at, platform_updated_at, raw"

const entityColumnCount = 14

// copyStream writes records in PostgreSQL's binary COPY format as they are read from it, so that encoding and sending go side by side and
// no more than a buffer is held.
type copyStream struct {
	records []ads.Entity
	skip    []bool // by index; nil: none
	// constants, already encoded, that follow the columns of each row
	tail      []byte
	tailCount int

	next int
	buf  []byte
	off  int
	done bool
}

var copyHeader = append([]byte("PGCOPY\n\xff\r\n\x00"), make([]byte, 8)...)

// copyChunk is how much is encoded ahead of what is read.
const copyChunk = 60 << 10

func (s *copyStream) begin() {
	s.buf = append(s.buf[:0], copyHeader...)
	s.off, s.next, s.done = 0, 0, false
}

// Read implements io.Reader.
func (s *copyStream) Read(p []byte) (int, error) {
	if s.off == len(s.buf) {
		if s.done {
			return 0, io.EOF
		}
		s.buf, s.off = s.buf[:0], 0
		s.fill()
	} else if s.off == 0 && s.next == 0 {
		s.fill()
	}
	n := copy(p, s.buf[s.off:])
	s.off += n
	return n, nil
}

func (s *copyStream) fill() {
	for len(s.buf) < copyChunk && s.next < len(s.records) {
		i := s.next
		s.next++
		if s.skip != nil && s.skip[i] {
			continue
		}
		s.buf = binary.BigEndian.AppendUint16(s.buf, uint16(entityColumnCount+s.tailCount))
		s.buf = appendEntity(s.buf, &s.records[i])
		s.buf = append(s.buf, s.tail...)
	}
	if s.next == len(s.records) && !s.done {
		s.buf = binary.BigEndian.AppendUint16(s.buf, 0xffff)
		s.done = true
	}
}

func appendEntity(b []byte, e *ads.Entity) []byte {
	b = appendText(b, e.ID)
	b = appendText(b, e.Name)
	b = appendText(b, string(e.Status))
	b = appendOptText(b, e.PlatformStatus)
	b = appendOptText(b, e.Objective)
	b = appendOptInt(b, int64(e.Budget.Value), e.Budget.Set)
	b = appendOptText(b, e.BudgetPeriod)
	b = appendOptText(b, e.Currency)
	b = appendOptInt(b, e.Impressions.Value, e.Impressions.Set)
	b = appendOptInt(b, e.Clicks.Value, e.Clicks.Set)
	if e.Conversions.Set {
		b = appendNumeric(b, e.Conversions.Value)
	} else {
		b = appendNull(b)
	}
	b = appendOptTime(b, e.CreatedAt)
	b = appendOptTime(b, e.PlatformUpdatedAt)
	if e.Raw == nil {
		return appendNull(b)
	}
	raw := common.Raw(e.Raw)
	b = binary.BigEndian.AppendUint32(b, uint32(len(raw)))
	return append(b, raw...)
}

func appendNull(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff) }

func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

func appendOptText(b []byte, s string) []byte {
	if s == "" {
		return appendNull(b)
	}
	return appendText(b, s)
}

func appendOptInt(b []byte, v int64, set bool) []byte {
	if !set {
		return appendNull(b)
	}
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v))
}

// pgEpoch is where PostgreSQL counts microseconds from.
const pgEpoch = 946_684_800_000_000

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(t.UnixMicro()-pgEpoch))
}

func appendOptTime(b []byte, t ads.Opt[time.Time]) []byte {
	if !t.Set || t.Value.IsZero() {
		return appendNull(b)
	}
	return appendTime(b, t.Value)
}

// appendNumeric writes a number as PostgreSQL's digits to the base of 10,000, without zeros behind the point.
func appendNumeric(b []byte, d ads.Decimal) []byte {
	const base = 10_000
	scale := int(d.Scale)
	u := uint64(d.Coef)
	sign := uint16(0)
	if d.Coef < 0 {
		u, sign = -u, 0x4000
	}
	for scale > 0 && u%10 == 0 {
		u, scale = u/10, scale-1
	}
	if u == 0 {
		return append(b, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	// The coefficient is split where the point is; the fraction is filled up to whole digits.
	pow := uint64(1)
	for range scale {
		pow *= 10
	}
	whole, frac := u/pow, u%pow
	fracDigits := (scale + 3) / 4
	for range fracDigits*4 - scale {
		frac *= 10 // fits: below 10^9 before, and at most 10^12 after
	}
	var digits [8]uint16
	n := len(digits)
	put := func(v uint64) {
		n--
		digits[n] = uint16(v)
	}
	for range fracDigits {
		put(frac % base)
		frac /= base
	}
	wholeDigits := 0
	for whole > 0 {
		put(whole % base)
		whole /= base
		wholeDigits++
	}
	weight := wholeDigits - 1
	used := digits[n:]
	for len(used) > 0 && used[0] == 0 { // only a fraction can begin with zeros
		used = used[1:]
		weight--
	}
	for len(used) > 0 && used[len(used)-1] == 0 {
		used = used[:len(used)-1]
	}
	b = binary.BigEndian.AppendUint32(b, uint32(8+2*len(used)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(used)))
	b = binary.BigEndian.AppendUint16(b, uint16(int16(weight)))
	b = binary.BigEndian.AppendUint16(b, sign)
	b = binary.BigEndian.AppendUint16(b, uint16(scale))
	for _, v := range used {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}
