package postgres

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"

	"adsync/internal/ads"
)

// What is written as PostgreSQL's number reads as the number that it was.
func TestAppendNumeric(t *testing.T) {
	m := pgtype.NewMap()
	rapid.Check(t, func(t *rapid.T) {
		d := ads.Decimal{
			Coef:  rapid.OneOf(rapid.Int64(), rapid.Int64Range(-100_000, 100_000), rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64, 0, 10_000, 100_000_000})).Draw(t, "coefficient"),
			Scale: rapid.Uint8Range(0, ads.MaxScale).Draw(t, "scale"),
		}
		b := appendNumeric(nil, d)
		if n := binary.BigEndian.Uint32(b); int(n) != len(b)-4 {
			t.Fatalf("%s: length %d of %d bytes", d, n, len(b)-4)
		}
		var got pgtype.Numeric
		if err := m.Scan(pgtype.NumericOID, pgtype.BinaryFormatCode, b[4:], &got); err != nil {
			t.Fatal(err)
		}
		var want pgtype.Numeric
		if err := want.Scan(d.String()); err != nil {
			t.Fatal(err)
		}
		g, _ := got.MarshalJSON()
		w, _ := want.MarshalJSON()
		if d2, err := ads.ParseDecimal(string(g)); err != nil || d2.String() != trimmed(d) {
			t.Fatalf("%s became %s (%v), want %s", d, g, err, w)
		}
	})
}

// The stream is the same however it is read, and holds every record that is not left out.
func TestCopyStream(t *testing.T) {
	var records []ads.Entity
	for i := range 3000 {
		records = append(records, ads.Entity{ID: string(rune('a' + i%26)), Raw: bytes.Repeat([]byte("x"), i%300)})
	}
	records[7].Raw = bytes.Repeat([]byte("y"), 200_000)
	for _, n := range []int{0, 1, 2, 3000} {
		s := &copyStream{records: records[:n], tail: appendText(nil, "constant"), tailCount: 1}
		s.begin()
		whole, err := io.ReadAll(s)
		if err != nil {
			t.Fatal(err)
		}
		rest := whole[len(copyHeader):]
		count := 0
		for {
			fields := int16(binary.BigEndian.Uint16(rest))
			rest = rest[2:]
			if fields == -1 {
				break
			}
			if fields != entityColumnCount+1 {
				t.Fatalf("a row of %d fields", fields)
			}
			for range fields {
				size := int32(binary.BigEndian.Uint32(rest))
				rest = rest[4:]
				if size > 0 {
					rest = rest[size:]
				}
			}
			count++
		}
		if count != n || len(rest) != 0 {
			t.Errorf("%d rows of %d, %d bytes behind the end", count, n, len(rest))
		}
		s.begin()
		again, err := io.ReadAll(iotest.HalfReader(s))
		if err != nil || !bytes.Equal(whole, again) {
			t.Errorf("%d records: read in halves it is another stream (%v)", n, err)
		}
	}
}
