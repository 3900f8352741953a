package secret

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Shortest is the length below which a value is not looked for in texts: masking every "ab" would garble them and protect nothing.
const Shortest = 4

// Forms are the ways in which v appears where encoders have been at work, the longest first: as it is, escaped for URLs, JSON, Go and HTML, in hex,
// and in base64 wherever in a longer text it stands. None is shorter than Shortest.
func Forms(v string) []string {
	if len(v) < Shortest {
		return nil
	}
	b := []byte(v)
	x := hex.EncodeToString(b)
	query, path := url.QueryEscape(v), url.PathEscape(v)
	forms := []string{v, query, path, lowerEscapes(query), lowerEscapes(path), x, strings.ToUpper(x), html.EscapeString(v), inner(strconv.Quote(v)), inner(strconv.QuoteToASCII(v))}
	if q, err := json.Marshal(v); err == nil {
		forms = append(forms, inner(string(q)), strings.ReplaceAll(inner(string(q)), "/", `\/`))
	}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			// Characters at the ends carry bits of what stands beside it, and are left alone.
			all := enc.EncodeToString(append(make([]byte, shift), b...))
			from, to := (shift*8+5)/6, (shift+len(b))*8/6
			forms = append(forms, all[from:to])
		}
		forms = append(forms, enc.EncodeToString(b)) // alone, it has its last character too
	}
	slices.SortFunc(forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	forms = slices.Compact(forms)
	return slices.DeleteFunc(forms, func(f string) bool { return len(f) < Shortest })
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// lowerEscapes writes %2f for %2F.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
			i += 2
		}
	}
	return string(b)
}

// Bounds of looking through escapes: layers on top of each other, and texts that come of taking them off in different orders.
const (
	mostEscapes = 3
	mostReads   = 48
)

// Clean is text without any of the secrets: a mask stands where they were. A text in which one stays under escapes, in clear or as one of its forms,
// is all mask. It is for what others say, who may give our own credentials back; what is long costs time, so cut it first.
func Clean(text string, secrets ...Text) string {
	var forms []string
	for _, s := range secrets {
		forms = append(forms, Forms(s.Reveal())...)
	}
	if len(forms) == 0 {
		return text
	}
	for _, f := range forms {
		text = strings.ReplaceAll(text, f, mask)
	}
	reads := []string{text}
	for first, layer := 0, 0; layer < mostEscapes; layer++ {
		last := len(reads)
		for _, read := range reads[first:last] {
			for _, peel := range peels {
				next := peel(read)
				if len(reads) >= mostReads || slices.Contains(reads, next) {
					continue
				}
				if slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(next, f) }) {
					return mask
				}
				reads = append(reads, next)
			}
		}
		first = last
	}
	return text
}

// peels each take off one layer of one kind of escapes. What is no escape stays.
var peels = []func(string) string{
	html.UnescapeString,
	unescapeURL,
	func(s string) string { return unescapeURL(strings.ReplaceAll(s, "+", " ")) }, // as forms have it
	unescapeString,
}

func unescapeURL(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// unescapeString reads backslashes as JSON, JavaScript and Go do.
func unescapeString(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		digits := map[byte]int{'u': 4, 'x': 2}[s[i]]
		v, err := strconv.ParseUint(s[i+1:min(i+1+digits, len(s))], 16, 16)
		switch at := strings.IndexByte("ntrbfav", s[i]); {
		case digits == 2 && err == nil:
			b = append(b, byte(v))
			i += digits
		case digits == 4 && err == nil:
			b = append(b, string(rune(v))...)
			i += digits
		case at >= 0:
			b = append(b, "\n\t\r\b\f\a\v"[at])
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}
