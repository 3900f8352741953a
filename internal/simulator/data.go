package simulator

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Campaign is a campaign as the platform has it. Numbers are JSON number texts where they need not be whole.
type Campaign struct {
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	Status      string      `json:"status"`
	Budget      json.Number `json:"budget"`
	Impressions int64       `json:"impressions"`
	Clicks      int64       `json:"clicks"`
	Conversions int64       `json:"conversions"`
	CreatedAt   string      `json:"created_at"`
}

const idPrefix = "campaign_"

// statuses are what a campaign of the platform can be; most are active.
var statuses = [...]string{"active", "active", "active", "active", "active", "active", "active", "paused", "paused", "ended"}

// days are the dates on which campaigns were created, ready to be copied into a record.
var days = func() (d [512]string) {
	first := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range d {
		d[i] = first.AddDate(0, 0, i).Format(time.DateOnly)
	}
	return d
}()

// mix is splitmix64's finaliser: one step of it makes any number as good as random.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashText is a number for a text under a seed.
func hashText(seed uint64, parts ...string) uint64 {
	h := mix(seed)
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = mix(h)
	}
	return h
}

// share turns a hash into a number in [0, 1).
func share(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// figures are the numbers of a generated campaign at a moment; tick is how many calls the client made so far.
type figures struct {
	budgetCents                     int64
	impressions, clicks, conversion int64
	status                          string
	day                             string
	minute                          int
}

func figuresOf(base uint64, n int, tick int64) figures {
	h := mix(base + uint64(n)*0x9e3779b97f4a7c15)
	f := figures{
		budgetCents: (1000+100*int64(n%900))*100 + int64(h%9)*1000,
		impressions: 1000 + int64(h>>8%100_000),
		status:      statuses[h>>24%10],
		day:         days[h>>28%512],
		minute:      int(h >> 40 % 1440),
	}
	if h>>52%8 == 0 {
		f.budgetCents += int64(h>>55%99) + 1
	}
	f.clicks = f.impressions / int64(20+h>>16%60)
	f.conversion = f.clicks / int64(10+h>>20%30)
	f.impressions += tick * int64(2+h>>32%9)
	f.clicks += tick
	f.conversion += tick
	return f
}

func appendCents(b []byte, cents int64) []byte {
	b = strconv.AppendInt(b, cents/100, 10)
	switch c := cents % 100; {
	case c == 0:
	case c%10 == 0:
		b = append(b, '.', byte('0'+c/10))
	default:
		b = append(b, '.', byte('0'+c/10), byte('0'+c%10))
	}
	return b
}

func (f figures) appendCreated(b []byte) []byte {
	h, m := f.minute/60, f.minute%60
	b = append(b, f.day...)
	b = append(b, 'T', byte('0'+h/10), byte('0'+h%10), ':', byte('0'+m/10), byte('0'+m%10))
	return append(b, ":00.000Z"...)
}

// appendGenerated writes campaign n as the listing gives it, without a detour: the way of the benchmarks.
func appendGenerated(b []byte, base uint64, n int, nameTail string, tick int64) []byte {
	f := figuresOf(base, n, tick)
	b = append(b, `{"id":"campaign_`...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, `","name":"Campaign `...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, nameTail...)
	b = append(b, `","status":"`...)
	b = append(b, f.status...)
	b = append(b, `","budget":`...)
	b = appendCents(b, f.budgetCents)
	b = append(b, `,"impressions":`...)
	b = strconv.AppendInt(b, f.impressions, 10)
	b = append(b, `,"clicks":`...)
	b = strconv.AppendInt(b, f.clicks, 10)
	b = append(b, `,"conversions":`...)
	b = strconv.AppendInt(b, f.conversion, 10)
	b = append(b, `,"created_at":"`...)
	b = f.appendCreated(b)
	return append(b, `"}`...)
}

// generated is campaign n as a value.
func generated(base uint64, client string, n int, tick int64) Campaign {
	f := figuresOf(base, n, tick)
	name := "Campaign " + strconv.Itoa(n)
	if client != "" {
		name += " of " + client
	}
	return Campaign{
		ID: idPrefix + strconv.Itoa(n), Name: name, Status: f.status,
		Budget:      json.Number(appendCents(nil, f.budgetCents)),
		Impressions: f.impressions, Clicks: f.clicks, Conversions: f.conversion,
		CreatedAt: string(f.appendCreated(nil)),
	}
}

// numberOf is the n of campaign_n, or 0 for any other id.
func numberOf(id string) int {
	digits, ok := strings.CutPrefix(id, idPrefix)
	if !ok || digits == "" || digits[0] == '0' || digits[0] == '+' || len(digits) > 9 {
		return 0
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 {
		return 0
	}
	return n
}

// field is one member of a record on its way out, its value as JSON text. Faults edit a record as a list of these.
type field struct{ key, raw string }

type record struct {
	number int    // which campaign of the client it is
	id     string // its true id, whatever a fault makes of the record
	fields []field
	whole  string // when set: sent instead of the fields
}

func recordOf(n int, c Campaign) *record {
	return &record{number: n, id: c.ID, fields: []field{
		{"id", quote(c.ID)},
		{"name", quote(c.Name)},
		{"status", quote(c.Status)},
		{"budget", string(c.Budget)},
		{"impressions", strconv.FormatInt(c.Impressions, 10)},
		{"clicks", strconv.FormatInt(c.Clicks, 10)},
		{"conversions", strconv.FormatInt(c.Conversions, 10)},
		{"created_at", quote(c.CreatedAt)},
	}}
}

// quote is a JSON string. HTML characters stay as they are: the names must reach the client as given.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (r *record) set(key, raw string) {
	for i := range r.fields {
		if r.fields[i].key == key {
			r.fields[i].raw = raw
			return
		}
	}
	r.fields = append(r.fields, field{key, raw})
}

func (r *record) drop(key string) {
	for i := range r.fields {
		if r.fields[i].key == key {
			r.fields = append(r.fields[:i], r.fields[i+1:]...)
			return
		}
	}
}

func (r *record) bytes() []byte {
	if r.whole != "" {
		return []byte(r.whole)
	}
	b := []byte{'{'}
	for i, f := range r.fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, quote(f.key)...)
		b = append(b, ':')
		b = append(b, f.raw...)
	}
	return append(b, '}')
}
