package googleads

import (
	"strings"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// DefaultVersion is the one that is asked for where nobody names another.
const DefaultVersion = "v26"

// Versions are the major versions of the API, the newest first. Minor ones appear under the major one's name.
func Versions() []platform.Version {
	return []platform.Version{
		{Name: "v26", Released: date("2026-10-14")},
		{Name: "v25", Released: date("2026-07-22")},
		{Name: "v24", Released: date("2026-04-22")},
		{Name: "v23"},
		{Name: "v22", Sunset: date("2026-10-07")},
		{Name: "v21", Sunset: date("2026-08-05")},
		{Name: "v20", Sunset: date("2026-06-10")},
	}
}

func date(s string) ads.Date {
	d, err := ads.ParseDate(s)
	if err != nil {
		panic(err) // a constant of this file
	}
	return d
}

// isVersion says whether a name has the form of a major version.
func isVersion(name string) bool {
	digits, ok := strings.CutPrefix(name, "v")
	return ok && len(digits) <= 3 && isID(digits) && digits[0] != '0'
}

// isID says whether a text is a customer's id: digits only.
func isID(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 19
}

// bare is an id as the API wants it: people write 123-456-7890.
func bare(id string) string { return strings.ReplaceAll(strings.TrimSpace(id), "-", "") }
