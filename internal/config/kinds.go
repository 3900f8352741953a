package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"adsync/internal/quota"
)

// fault is what is wrong with a value. It never repeats the value: whether it may be shown is the field's property.
type fault struct{ message, cure string }

func faultf(cure, message string, args ...any) *fault {
	return &fault{fmt.Sprintf(message, args...), cure}
}

// kind is a type of setting: how it is read, and how it is described to people and to editors.
type kind struct {
	name    string                          // for people: "duration"
	allowed string                          // for people: "a length of time from 100ms to 10m, such as 30s or 1m30s"
	list    bool                            // several may be given: as a YAML list
	join    func(items []any) (any, *fault) // makes one value of a list's
	empty   bool                            // an empty value means something
	parse   func(text string) (any, *fault)
	schema  map[string]any // JSON Schema of a value in the file, apart from ${…}
	// refs says that a value may be a secret reference.
	refs bool
}

// cure says what is allowed.
func (k *kind) cure() string { return "write " + k.allowed }

func wholeNumber(low, high int) *kind {
	k := &kind{name: "whole number", allowed: fmt.Sprintf("a whole number from %d to %d", low, high)}
	k.schema = map[string]any{"anyOf": []any{
		map[string]any{"type": "integer", "minimum": low, "maximum": high},
		map[string]any{"type": "string", "pattern": "^[0-9]+$"},
	}}
	k.parse = func(s string) (any, *fault) {
		n, err := strconv.ParseInt(s, 10, 64)
		switch {
		case err == nil && (n < int64(low) || n > int64(high)):
			return nil, faultf(k.cure(), "is not between %d and %d", low, high)
		case err == nil && s[0] != '+':
			return int(n), nil
		case digitsOnly(strings.TrimPrefix(s, "-")):
			return nil, faultf(k.cure(), "is not between %d and %d", low, high)
		}
		return nil, faultf(k.cure(), "is not a whole number")
	}
	return k
}

func digitsOnly(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

var boolean = &kind{
	name: "true or false", allowed: "true or false",
	schema: map[string]any{"anyOf": []any{
		map[string]any{"type": "boolean"},
		map[string]any{"type": "string", "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy][Ee][Ss]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff])$"},
	}},
	parse: func(s string) (any, *fault) {
		switch strings.ToLower(s) {
		case "true", "yes", "on", "1":
			return true, nil
		case "false", "no", "off", "0":
			return false, nil
		}
		return nil, faultf("write true or false", "is neither true nor false")
	},
}

const durationPattern = `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`

var durationForm = regexp.MustCompile(durationPattern)

// duration is a length of time within bounds. There is no value that means for ever.
func duration(low, high time.Duration) *kind {
	k := &kind{name: "duration", allowed: fmt.Sprintf("a length of time from %s to %s, such as 500ms, 30s, 5m or 1m30s", short(low), short(high))}
	k.schema = map[string]any{"type": "string", "pattern": durationPattern}
	k.parse = func(s string) (any, *fault) {
		d, f := parseDuration(s, k.cure())
		if f == nil && (d < low || d > high) {
			f = faultf(k.cure(), "is not between %s and %s", short(low), short(high))
		}
		if f != nil {
			return nil, f
		}
		return d, nil
	}
	return k
}

func parseDuration(s, cure string) (time.Duration, *fault) {
	switch {
	case durationForm.MatchString(s):
		d, err := time.ParseDuration(s)
		if err != nil {
			return math.MaxInt64, nil // of the right form, so only too long
		}
		return d, nil
	case digitsOnly(s) || digitsOnly(strings.Replace(s, ".", "", 1)):
		return 0, faultf(cure, "has no unit")
	case strings.HasPrefix(s, "-"):
		return 0, faultf(cure, "is negative")
	}
	return 0, faultf(cure, "is not a length of time")
}

// short writes 1m for 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// text is a word or two: printable, without blanks around it, of at most limit bytes.
func text(name, allowed string, limit int, check func(string) *fault) *kind {
	k := &kind{name: name, allowed: allowed, schema: map[string]any{"type": []any{"string", "integer", "number"}, "minLength": 1}}
	k.parse = func(s string) (any, *fault) {
		switch {
		case len(s) > limit:
			return nil, faultf(k.cure(), "is longer than %d bytes", limit)
		case strings.TrimSpace(s) != s:
			return nil, faultf(k.cure(), "begins or ends with a blank")
		case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(s):
			return nil, faultf(k.cure(), "holds a character that cannot be printed")
		}
		if check != nil {
			if f := check(s); f != nil {
				return nil, f
			}
		}
		return s, nil
	}
	return k
}

var clientID = text("text", "a name of up to 200 bytes, such as acme", 200, nil)

var connectionName = text("text", "a name of up to 100 bytes without a /", 100, func(s string) *fault {
	if strings.Contains(s, "/") {
		return faultf("write it without a /: client/connection is how a connection is shown", "holds a /")
	}
	return nil
})

// credential is taken byte for byte; only what cannot be sent is refused.
var credential = &kind{
	name: "text or secret reference", allowed: "${NAME}, or a secret reference such as env:NAME or file:/run/secrets/name", refs: true,
	schema: map[string]any{"type": []any{"string", "integer", "number"}, "minLength": 1},
	parse: func(s string) (any, *fault) {
		switch {
		case len(s) > 4096:
			return nil, faultf("check where it comes from: a whole file may have been taken for it", "is longer than 4096 bytes")
		case strings.ContainsAny(s, "\x00\r\n"):
			return nil, faultf("check where it comes from: a line break or NUL cannot be part of it", "holds a line break or a NUL")
		}
		return s, nil
	},
}

// login is a credential that is half of a "name:password" pair.
var login = func() *kind {
	k := *credential
	k.parse = func(s string) (any, *fault) {
		if v, f := credential.parse(s); f != nil {
			return v, f
		}
		if strings.Contains(s, ":") {
			return nil, faultf("HTTP Basic ends the name at the first colon, so the platform could not read it", "holds a colon")
		}
		return s, nil
	}
	return &k
}()

var headerValue = func() *kind {
	k := &kind{name: "text", allowed: "text that an HTTP header can carry, or \"\" to send none", empty: true, schema: map[string]any{"type": []any{"string", "integer", "number", "null"}}}
	k.parse = func(s string) (any, *fault) {
		switch {
		case len(s) > 256:
			return nil, faultf(k.cure(), "is longer than 256 bytes")
		case strings.TrimSpace(s) != s:
			return nil, faultf(k.cure(), "begins or ends with a blank")
		case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }):
			return nil, faultf(k.cure(), "holds a control character")
		}
		return s, nil
	}
	return k
}()

// word is one of a fixed set.
func word(words ...string) *kind {
	k := &kind{name: "one of " + strings.Join(words, ", "), allowed: "one of " + strings.Join(words, ", ")}
	var enum []any
	for _, w := range words {
		enum = append(enum, w)
	}
	k.schema = map[string]any{"type": "string", "enum": enum}
	k.parse = func(s string) (any, *fault) {
		for _, w := range words {
			if s == w {
				return s, nil
			}
		}
		cure := k.cure()
		if n := nearest(s, words); n != "" {
			cure = "did you mean " + n + "? It can be " + k.allowed
		} else if len(s) >= 3 {
			for _, w := range words {
				if strings.HasPrefix(w, strings.ToLower(s)) {
					cure = "did you mean " + w + "? It can be " + k.allowed
				}
			}
		}
		return nil, &fault{"is not known", cure}
	}
	return k
}

// choice of an automatic value or a number.
func autoOr(number *kind) *kind {
	k := *number
	k.name, k.allowed = "auto or "+number.name, "auto, or "+number.allowed
	k.schema = map[string]any{"anyOf": []any{map[string]any{"const": "auto"}, number.schema}}
	k.parse = func(s string) (any, *fault) {
		if s == "auto" {
			return 0, nil
		}
		v, f := number.parse(s)
		if f != nil {
			f.cure = k.cure()
		}
		return v, f
	}
	return &k
}

const quotaPattern = `^\s*(none|[0-9]+\s*/\s*[0-9smhd.]+(\s*,\s*[0-9]+\s*/\s*[0-9smhd.]+)*)\s*$`

// quotas is none, or one or more limits. The value is a []quota.Limit, empty for none.
var quotas = &kind{
	name: "quota", allowed: "10/1m (10 requests in any window of one minute), several as 10/1m, 1000/1d or a list, or none", list: true, join: joinQuotas,
	schema: map[string]any{"anyOf": []any{
		map[string]any{"type": "string", "pattern": quotaPattern},
		map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"type": "string", "pattern": quotaPattern + `|\$\{`}},
	}},
	parse: func(s string) (any, *fault) {
		if strings.EqualFold(strings.TrimSpace(s), "none") {
			return []quota.Limit{}, nil
		}
		var limits []quota.Limit
		for part := range strings.SplitSeq(s, ",") {
			l, err := quota.ParseLimit(part)
			if err != nil {
				_, why, _ := strings.Cut(err.Error(), " is not a quota: ")
				why, _, _ = strings.Cut(why, ";")
				return nil, faultf("write 10/1m (10 requests in any window of one minute), several as 10/1m, 1000/1d, or none", "is not a quota: %s", why)
			}
			limits = append(limits, l)
		}
		return limits, nil
	},
}

// joinQuotas makes one set of limits of the items of a list.
func joinQuotas(items []any) (any, *fault) {
	all := []quota.Limit{}
	windows := map[time.Duration]bool{}
	none := false
	for _, it := range items {
		limits := it.([]quota.Limit)
		none = none || len(limits) == 0
		for _, l := range limits {
			if windows[l.Window] {
				return nil, faultf("keep the one that the platform has", "gives two quotas for the same window of %s", short(l.Window))
			}
			windows[l.Window] = true
			all = append(all, l)
		}
	}
	switch {
	case none && len(all) > 0:
		return nil, faultf("remove none, or the quotas beside it", "says none and gives a quota")
	case len(all) > 16:
		return nil, faultf("keep those that the platform has", "gives more than 16 quotas")
	}
	return all, nil
}
