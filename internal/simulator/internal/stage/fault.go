package stage

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"adsync/internal/simulator/internal/dice"
)

// Kind is what the value of a setting must look like.
type Kind int

// The kinds.
const (
	Text Kind = iota
	Number
	Duration
	Link
)

// Param is a setting of one fault, beside the selectors that every fault has.
type Param struct {
	Name    string   `json:"name"`
	Default string   `json:"default"`
	Help    string   `json:"help"`
	Values  []string `json:"values,omitempty"` // the only ones allowed; none: any of its kind
	Kind    Kind     `json:"-"`
}

// Fault is one entry of a catalogue: something that goes wrong out there and can be played here. One without hooks is asked for by its
// name at the place where it matters.
type Fault struct {
	Name    string  `json:"name"`
	Numbers []int   `json:"numbers,omitempty"` // of the list of faults that the tests go by
	Section string  `json:"section"`
	Help    string  `json:"help"`
	Default string  `json:"default"` // the selectors that hold where none are given
	Params  []Param `json:"params,omitempty"`

	Arrive  func(*Call, *Active) *Reply  `json:"-"` // comes before credentials are looked at: a reply ends the request, uncounted
	Instead func(*Call, *Active) *Reply  `json:"-"` // takes the place of the work, after quotas were charged
	Finish  func(*Call, *Active, *Reply) `json:"-"` // changes a good answer before it is sent
	Host    bool                         `json:"-"` // counts and times are those of the whole host, not of each account
}

// Catalogue is what a platform can play.
type Catalogue struct {
	Faults    []Fault
	Endpoints []string            // names that the selector endpoint= takes
	Groups    map[string][]string // names for several of them; any stands for all
	Levels    []string            // names that the selector level= takes
}

// MarshalJSON gives the faults.
func (k *Catalogue) MarshalJSON() ([]byte, error) { return json.Marshal(k.Faults) }

// Selectors are the settings that every fault has.
func (k *Catalogue) Selectors() []Param {
	names := slices.Clone(k.Endpoints)
	for name, parts := range k.Groups {
		names = append(names, name+" ("+strings.Join(parts, ", ")+")")
	}
	slices.Sort(names[len(k.Endpoints):])
	return []Param{
		{Name: "endpoint", Help: strings.Join(names, ", ") + " or any; several with |"},
		{Name: "account", Help: "account that the request is about; several with |"},
		{Name: "level", Help: strings.Join(k.Levels, ", ") + "; several with |"},
		{Name: "page", Help: "page of a listing or report: 2, 2-4, 3- or 1|5"},
		{Name: "on", Help: "which of the account's requests that match so far, from 1: 3, 3-5, 4- or 1|7"},
		{Name: "every", Help: "every n-th of them"},
		{Name: "p", Help: "probability, by the seed"},
		{Name: "times", Help: "how often at most, for each account; 0 for ever"},
		{Name: "after", Help: "not before so many requests that match, or so long after the first of them"},
		{Name: "for", Help: "for so many requests, or for so long, from its beginning"},
	}
}

// Write prints the catalogue for people.
func (k *Catalogue) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	section := ""
	for _, f := range k.Faults {
		if f.Section != section {
			if section != "" {
				fmt.Fprintln(tw)
			}
			section = f.Section
			fmt.Fprintf(tw, "%s\n", strings.ToUpper(section))
		}
		fmt.Fprintf(tw, "  %s\t%s\n", f.usage(), f.Help)
	}
	fmt.Fprintf(tw, "\nEVERY FAULT TAKES\n")
	for _, p := range k.Selectors() {
		fmt.Fprintf(tw, "  %s=\t%s\n", p.Name, p.Help)
	}
	return tw.Flush()
}

// Markdown is the catalogue as a page has it.
func (k *Catalogue) Markdown() string {
	var b strings.Builder
	cell := strings.NewReplacer("|", `\|`, "\n", " ").Replace
	b.WriteString("\n| setting | meaning |\n|---|---|\n")
	for _, p := range k.Selectors() {
		fmt.Fprintf(&b, "| `%s=` | %s |\n", p.Name, cell(p.Help))
	}
	b.WriteString("\n| fault | number | what happens | plays by default | own settings |\n|---|---|---|---|---|\n")
	for _, f := range k.Faults {
		var numbers, params []string
		for _, n := range f.Numbers {
			numbers = append(numbers, strconv.Itoa(n))
		}
		for _, p := range f.Params {
			s := "`" + p.Name + "=" + p.Default + "` " + p.Help
			if p.Values != nil {
				s += ": " + strings.Join(p.Values, ", ")
			}
			params = append(params, s)
		}
		def := ""
		if f.Default != "" {
			def = "`" + f.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", f.Name, strings.Join(numbers, ", "), cell(f.Help), cell(def), cell(strings.Join(params, "<br>")))
	}
	return b.String() + "\n"
}

// usage is the fault with its defaults, as it would be written.
func (f Fault) usage() string {
	var parts []string
	if f.Default != "" {
		parts = append(parts, f.Default)
	}
	for _, p := range f.Params {
		parts = append(parts, p.Name+"="+p.Default)
	}
	if len(parts) == 0 {
		return f.Name
	}
	return f.Name + ":" + strings.Join(parts, ",")
}

func (k *Catalogue) find(name string) *Fault {
	for i := range k.Faults {
		if k.Faults[i].Name == name {
			return &k.Faults[i]
		}
	}
	return nil
}

// nearest suggests the name that shares the longest beginning or contains what was written.
func (k *Catalogue) nearest(name string) string {
	best, most := "", 2
	for _, f := range k.Faults {
		n := 0
		for n < len(f.Name) && n < len(name) && f.Name[n] == name[n] {
			n++
		}
		if strings.Contains(f.Name, name) {
			n = len(name)
		}
		if n > most {
			best, most = f.Name, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// Compile turns texts into faults ready to play; it reports every bad one.
func (k *Catalogue) Compile(texts []string, seed uint64) ([]*Active, error) {
	var out []*Active
	var errs []string
	for _, t := range texts {
		f, err := k.compile(t, seed)
		if err != nil {
			errs = append(errs, err.Error())
			continue
		}
		out = append(out, f)
	}
	if errs != nil {
		return nil, fmt.Errorf("simulator: %s", strings.Join(errs, "\nsimulator: "))
	}
	return out, nil
}

// whichKeys choose the request; giving one of them puts aside the fault's own choice.
var whichKeys = []string{"on", "every", "page", "p"}

func (k *Catalogue) compile(written string, seed uint64) (*Active, error) {
	spec, err := ParseSpec(written)
	if err != nil {
		return nil, err
	}
	def := k.find(spec.Name)
	if def == nil {
		return nil, fmt.Errorf("fault %q: there is none of that name%s; --list-faults names them", spec.Name, k.nearest(spec.Name))
	}
	f := &Active{
		def: def, text: written, seed: dice.Text(seed, "fault", written),
		vals: map[string]string{}, durs: map[string]time.Duration{}, nums: map[string]int64{}, state: map[string]*progress{},
	}
	sel := map[string]string{}
	if def.Default != "" {
		own, err := ParseSpec(def.Name + ":" + def.Default)
		if err != nil {
			return nil, err
		}
		sel = own.Values
	}
	for _, key := range whichKeys {
		if _, given := spec.Values[key]; given {
			for _, w := range whichKeys {
				delete(sel, w)
			}
			break
		}
	}
	if spec.Values["p"] != "" || spec.Values["every"] != "" {
		delete(sel, "times")
	}
	params := map[string]Param{}
	for _, p := range def.Params {
		params[p.Name] = p
		f.vals[p.Name] = p.Default
	}
	var names []string
	for _, p := range slices.Concat(def.Params, k.Selectors()) {
		names = append(names, p.Name)
	}
	for key, v := range spec.Values {
		switch {
		case params[key].Name != "":
			f.vals[key] = v
		case slices.Contains(names, key):
			sel[key] = v
		default:
			return nil, fmt.Errorf("fault %q: %s is not a setting of it; it takes %s", written, key, strings.Join(names, ", "))
		}
	}
	for _, p := range def.Params {
		if err := f.check(p, f.vals[p.Name]); err != nil {
			return nil, fmt.Errorf("fault %q: %w", written, err)
		}
	}
	if f.sel, err = k.parseSelector(sel); err != nil {
		return nil, fmt.Errorf("fault %q: %w", written, err)
	}
	return f, nil
}

func (f *Active) check(p Param, v string) error {
	if p.Values != nil && !slices.Contains(p.Values, v) {
		return fmt.Errorf("%s=%s: want one of %s", p.Name, v, strings.Join(p.Values, ", "))
	}
	switch p.Kind {
	case Duration:
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("%s=%s: want a length of time such as 3s", p.Name, v)
		}
		f.durs[p.Name] = d
	case Number:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("%s=%s: want a whole number", p.Name, v)
		}
		f.nums[p.Name] = n
	case Link:
		if v == "" {
			return nil
		}
		if u, err := url.Parse(v); err != nil || u.Scheme == "" {
			return fmt.Errorf("%s: want a URL such as http://127.0.0.1:9999/", p.Name)
		}
	case Text:
	}
	return nil
}

// selector says which requests a fault plays on.
type selector struct {
	endpoints, accounts, levels []string
	pages, on                   Spans
	every, times                int
	p                           float64 // below 0: not asked
	after, dur                  Extent
}

func (k *Catalogue) parseSelector(vals map[string]string) (selector, error) {
	s := selector{p: -1}
	for key, v := range vals {
		var err error
		switch key {
		case "endpoint":
			for e := range strings.SplitSeq(v, "|") {
				switch {
				case e == "any":
					s.endpoints = append(s.endpoints, k.Endpoints...)
				case k.Groups[e] != nil:
					s.endpoints = append(s.endpoints, k.Groups[e]...)
				case slices.Contains(k.Endpoints, e):
					s.endpoints = append(s.endpoints, e)
				default:
					err = fmt.Errorf("endpoint=%s: want one of %s, any", v, strings.Join(k.Endpoints, ", "))
				}
			}
		case "account":
			s.accounts = strings.Split(v, "|")
		case "level":
			s.levels = strings.Split(v, "|")
			for _, l := range s.levels {
				if !slices.Contains(k.Levels, l) {
					err = fmt.Errorf("level=%s: want one of %s", v, strings.Join(k.Levels, ", "))
				}
			}
		case "page":
			s.pages, err = ParseSpans(key, v)
		case "on":
			s.on, err = ParseSpans(key, v)
		case "every":
			s.every, err = strconv.Atoi(v)
			if err != nil || s.every < 1 {
				err = fmt.Errorf("every=%s: want a whole number from 1", v)
			}
		case "times":
			s.times, err = strconv.Atoi(v)
			if err != nil || s.times < 0 {
				err = fmt.Errorf("times=%s: want a whole number, 0 for ever", v)
			}
		case "p":
			s.p, err = strconv.ParseFloat(v, 64)
			if err != nil || !(s.p >= 0 && s.p <= 1) {
				err = fmt.Errorf("p=%s: want a probability from 0 to 1", v)
			}
		case "after":
			s.after, err = ParseExtent(key, v)
		case "for":
			s.dur, err = ParseExtent(key, v)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *selector) allows(c *Call) bool {
	return (s.endpoints == nil || slices.Contains(s.endpoints, c.Endpoint)) &&
		(s.accounts == nil || slices.Contains(s.accounts, c.Account)) &&
		(s.levels == nil || slices.Contains(s.levels, c.Level)) &&
		(s.pages == nil || s.pages.Has(c.Page))
}

// progress is how far a fault has come with one account.
type progress struct {
	seen, hits int
	first      time.Duration // of the requests that match
	began      time.Duration // of the hits
}

// Active is a fault being played. It is safe for concurrent use.
type Active struct {
	def  *Fault
	text string // as written
	seed uint64
	sel  selector
	vals map[string]string
	durs map[string]time.Duration
	nums map[string]int64

	mu     sync.Mutex
	off    bool
	state  map[string]*progress
	played int64
}

// Str is a setting as written.
func (f *Active) Str(key string) string { return f.vals[key] }

// Dur is a setting that is a length of time.
func (f *Active) Dur(key string) time.Duration { return f.durs[key] }

// Num is a setting that is a number.
func (f *Active) Num(key string) int64 { return f.nums[key] }

// maxProgress bounds what a fault remembers; beyond it accounts share one count.
const maxProgress = 100_000

// hit counts a request against the selectors and says whether the fault plays on it.
func (f *Active) hit(c *Call) bool {
	if !f.sel.allows(c) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return false
	}
	key := c.Account
	if f.def.Host || (f.state[key] == nil && len(f.state) >= maxProgress) {
		key = ""
	}
	p := f.state[key]
	if p == nil {
		p = &progress{first: c.Now}
		f.state[key] = p
	}
	s := &f.sel
	p.seen++
	nth := p.seen
	if nth <= s.after.N || (s.after.D > 0 && c.Now-p.first < s.after.D) {
		return false
	}
	switch {
	case s.dur.N > 0 && nth > s.after.N+s.dur.N,
		s.dur.D > 0 && p.hits > 0 && c.Now-p.began >= s.dur.D,
		s.on != nil && !s.on.Has(nth),
		s.every > 0 && nth%s.every != 0,
		s.p >= 0 && dice.Share(dice.Text(f.seed+uint64(nth), key)) >= s.p,
		s.times > 0 && p.hits >= s.times:
		return false
	}
	if p.hits == 0 {
		p.began = c.Now
	}
	p.hits++
	f.played++
	return true
}
