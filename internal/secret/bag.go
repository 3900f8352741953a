package secret

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
)

// Bag is a few secrets by name, such as what a connection logs in with. It is a value: With gives another one. The zero Bag is empty.
type Bag struct {
	_ [0]func()
	m map[string]Text
}

// With is the bag with one more secret, or another one of that name.
func (b Bag) With(name string, t Text) Bag {
	m := maps.Clone(b.m)
	if m == nil {
		m = map[string]Text{}
	}
	m[name] = t
	return Bag{m: m}
}

// Get is the secret of that name; an empty one where there is none.
func (b Bag) Get(name string) Text { return b.m[name] }

// Names are in order.
func (b Bag) Names() []string { return slices.Sorted(maps.Keys(b.m)) }

// All are the secrets, in the order of their names.
func (b Bag) All() []Text {
	out := make([]Text, 0, len(b.m))
	for _, n := range b.Names() {
		out = append(out, b.m[n])
	}
	return out
}

// Equal reports whether both have the same names with the same values.
func (b Bag) Equal(c Bag) bool {
	return maps.EqualFunc(b.m, c.m, Text.Equal)
}

// String, Format, GoString, LogValue and the Marshal methods all hide the values.
func (b Bag) String() string               { return mask }
func (b Bag) GoString() string             { return mask }
func (b Bag) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(mask)) }
func (b Bag) LogValue() slog.Value         { return slog.StringValue(mask) }
func (b Bag) MarshalText() ([]byte, error) { return []byte(mask), nil }
func (b Bag) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }
func (b Bag) MarshalYAML() (any, error)    { return mask, nil }
