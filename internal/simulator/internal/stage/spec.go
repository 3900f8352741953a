package stage

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Spec is a fault as asked for: NAME[:key=value,…].
type Spec struct {
	Name   string
	Values map[string]string
}

// maxSpec bounds what is parsed; no fault needs a tenth of it.
const maxSpec = 4096

// ParseSpec takes a fault's text apart. It does not look at whether there is such a fault.
func ParseSpec(s string) (Spec, error) {
	if len(s) > maxSpec {
		return Spec{}, fmt.Errorf("fault %.40q…: longer than %d bytes", s, maxSpec)
	}
	name, rest, has := strings.Cut(s, ":")
	spec := Spec{Name: name, Values: map[string]string{}}
	if name == "" {
		return Spec{}, fmt.Errorf("fault %q: want NAME[:key=value,…]", s)
	}
	if !has {
		return spec, nil
	}
	for part := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || key == "" {
			return Spec{}, fmt.Errorf("fault %q: %q is not key=value", s, part)
		}
		if _, twice := spec.Values[key]; twice {
			return Spec{}, fmt.Errorf("fault %q: %s is given twice", s, key)
		}
		spec.Values[key] = value
	}
	return spec, nil
}

// Span is a range of whole numbers, both ends in it.
type Span struct{ From, To int }

// Spans are several of them.
type Spans []Span

// Has says whether n is in one of them.
func (s Spans) Has(n int) bool {
	return slices.ContainsFunc(s, func(r Span) bool { return r.From <= n && n <= r.To })
}

// ParseSpans reads "3", "3-5", "4-" and several of them with |.
func ParseSpans(key, v string) (Spans, error) {
	var out Spans
	for part := range strings.SplitSeq(v, "|") {
		from, to, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		b := a
		if err == nil && ranged {
			b = math.MaxInt
			if to != "" {
				b, err = strconv.Atoi(to)
			}
		}
		if err != nil || a < 1 || b < a {
			return nil, fmt.Errorf("%s=%s: want 3, 3-5, 4- or several with |", key, v)
		}
		out = append(out, Span{a, b})
	}
	return out, nil
}

// Extent is a number of requests or a length of time; the zero value is neither.
type Extent struct {
	N int
	D time.Duration
}

// ParseExtent reads "20" or "8s".
func ParseExtent(key, v string) (Extent, error) {
	if n, err := strconv.Atoi(v); err == nil && n >= 0 {
		return Extent{N: n}, nil
	}
	if d, err := time.ParseDuration(v); err == nil && d >= 0 {
		return Extent{D: d}, nil
	}
	return Extent{}, fmt.Errorf("%s=%s: want a number of requests such as 20, or a length of time such as 8s", key, v)
}
