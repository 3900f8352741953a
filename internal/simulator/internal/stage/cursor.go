package stage

import (
	"encoding/base64"
	"encoding/binary"

	"adsync/internal/simulator/internal/dice"
)

// Seal makes an opaque text of numbers that only Open with the same seed and kind takes: a cursor, a page token.
func Seal(seed uint64, kind string, vals ...int64) string {
	b := make([]byte, 8, 8+len(vals)*3)
	for _, v := range vals {
		b = binary.AppendVarint(b, v)
	}
	binary.BigEndian.PutUint64(b, dice.Text(seed, "cursor", kind, string(b[8:])))
	return base64.RawURLEncoding.EncodeToString(b)
}

// maxCursor bounds what Open looks at; Seal never makes a longer one.
const maxCursor = 256

// Open gives the n numbers that were sealed; false for anything else.
func Open(seed uint64, kind, text string, n int) ([]int64, bool) {
	if len(text) > maxCursor {
		return nil, false
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 8 || binary.BigEndian.Uint64(b) != dice.Text(seed, "cursor", kind, string(b[8:])) {
		return nil, false
	}
	out := make([]int64, 0, n)
	for b = b[8:]; len(b) > 0; {
		v, k := binary.Varint(b)
		if k <= 0 {
			return nil, false
		}
		out, b = append(out, v), b[k:]
	}
	return out, len(out) == n
}
