// Package secret has the type that credentials travel in. Every way of printing it gives ***.
package secret

import (
	"crypto/subtle"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
)

const mask = "***"

// Text is a secret. Its value leaves it only by Reveal. The zero value is no secret at all.
//
// The value is behind a pointer, since fmt prints a struct's fields raw where it meets one that it may not call methods on. So == would compare
// places and not values: it does not compile, Equal does.
type Text struct {
	_ [0]func()
	v *string
}

// New makes a secret of v.
func New(v string) Text {
	if v == "" {
		return Text{}
	}
	return Text{v: &v}
}

// Reveal gives the value. Call it at the edge where the value is used and nowhere else.
func (t Text) Reveal() string {
	if t.v == nil {
		return ""
	}
	return *t.v
}

// Equal reports whether both have the same value.
func (t Text) Equal(u Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(u.Reveal())) == 1
}

// Empty reports whether there is no value.
func (t Text) Empty() bool { return t.v == nil }

// String, Format, GoString, LogValue and the Marshal methods all hide the value.
func (t Text) String() string               { return mask }
func (t Text) GoString() string             { return mask }
func (t Text) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(mask)) }
func (t Text) LogValue() slog.Value         { return slog.StringValue(mask) }
func (t Text) MarshalText() ([]byte, error) { return []byte(mask), nil }
func (t Text) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }
func (t Text) MarshalYAML() (any, error)    { return mask, nil }

// Value refuses: a database is no place for a secret, and stars in one would be taken for it.
func (t Text) Value() (driver.Value, error) { return nil, errStored }

var errStored = errors.New("a secret is not stored")
