package simulator

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Param is a setting of one fault, beside the selectors that every fault has.
type Param struct {
	Name    string   `json:"name"`
	Default string   `json:"default"`
	Help    string   `json:"help"`
	Values  []string `json:"values,omitempty"` // the only ones allowed; none: any of its kind
	kind    paramKind
}

type paramKind int

const (
	text paramKind = iota
	number
	duration
	link
	length // of time, or a number of requests
)

// Fault is one entry of the catalogue: something that goes wrong out there and can be played here.
type Fault struct {
	Name    string  `json:"name"`
	Numbers []int   `json:"numbers,omitempty"` // of the list of faults that the tests go by; none for the general ones
	Section string  `json:"section"`           // what it is about: general, auth, quota, transport, payload, records, pagination, sync
	Help    string  `json:"help"`
	Default string  `json:"default"` // the selectors that hold where none are given
	Params  []Param `json:"params,omitempty"`
	hooks
}

// hooks is what a fault does; exactly one is set. Each is asked at its own moment of a request, and only when the selectors agree.
type hooks struct {
	// arrive comes first, before the token is looked at: a reply ends the request, uncounted.
	arrive func(*call, *activeFault) *reply
	// refuse gives a refusal for quota its shape, and what it tells the client to wait. A fault with it also draws a refusal by itself
	// where its selectors say so.
	refuse func(c *call, f *activeFault, wait time.Duration) (*reply, time.Duration)
	// shared says that somebody else draws on the same quota: the share of it.
	shared func(*activeFault) float64
	// restart says that a request that comes too early starts the wait anew.
	restart bool
	// instead takes the place of the work, after the request was counted.
	instead func(*call, *activeFault) *reply
	// token changes a token that is about to be issued.
	token func(*call, *activeFault, *tokenAnswer)
	// beyond says that it lists campaigns past the true end; their syncs work too.
	beyond bool
	// plan changes which rows a page has, page what is made of them.
	plan func(*call, *activeFault, *listing)
	page func(*call, *activeFault, *listing)
	// row changes one record, for as long as the selectors say.
	row func(*activeFault, *record)
	// finish changes a good answer (200) before it is sent.
	finish func(*call, *activeFault, *reply)
	// expand names the faults that this one stands for.
	expand func(Spec) ([]string, error)
	// server changes how the listener is set up; nothing is asked while it runs.
	server bool
	// host makes the fault's counts and times those of the whole host, not of each client.
	host bool
}

// Selectors are the parameters that every fault has.
func Selectors() []Param {
	return []Param{
		{Name: "endpoint", Help: "token, list, sync, health, api (list and sync) or any; several with |"},
		{Name: "client", Help: "X-Client-ID it plays for; several with |"},
		{Name: "email", Help: "account it plays for; several with |"},
		{Name: "page", Help: "page of the listing: 2, 2-4, 3- or 1|5"},
		{Name: "id", Help: "campaign; several with |"},
		{Name: "on", Help: "which of the client's requests that match so far, from 1: 3, 3-5, 4- or 1|7"},
		{Name: "every", Help: "every n-th of them (for a fault of records: every n-th campaign)"},
		{Name: "p", Help: "probability, by the seed"},
		{Name: "times", Help: "how often at most, for each client; 0 for ever"},
		{Name: "after", Help: "not before so many requests that match, or so long after the first of them"},
		{Name: "for", Help: "for so many requests, or for so long, from its beginning"},
	}
}

// Catalogue is every fault that can be played, in the order of its sections.
func Catalogue() []Fault { return slices.Clone(catalogue) }

// WriteCatalogue prints the catalogue for people.
func WriteCatalogue(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	section := ""
	for _, f := range catalogue {
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
	for _, p := range Selectors() {
		fmt.Fprintf(tw, "  %s=\t%s\n", p.Name, p.Help)
	}
	return tw.Flush()
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

func find(name string) *Fault {
	for i := range catalogue {
		if catalogue[i].Name == name {
			return &catalogue[i]
		}
	}
	return nil
}

// compile turns the texts into faults ready to play.
func compile(texts []string, seed uint64) ([]*activeFault, error) {
	var out []*activeFault
	var errs []string
	for _, t := range texts {
		fs, err := compileOne(t, seed, true)
		if err != nil {
			errs = append(errs, err.Error())
		}
		out = append(out, fs...)
	}
	if errs != nil {
		return nil, fmt.Errorf("simulator: %s", strings.Join(errs, "\nsimulator: "))
	}
	return out, nil
}

func compileOne(t string, seed uint64, expand bool) ([]*activeFault, error) {
	spec, err := ParseSpec(t)
	if err != nil {
		return nil, err
	}
	def := find(spec.Name)
	if def == nil {
		return nil, fmt.Errorf("fault %q: there is none of that name%s; --list-faults names them", spec.Name, nearest(spec.Name))
	}
	if def.expand == nil {
		f, err := newActive(def, spec, t, seed)
		if err != nil {
			return nil, fmt.Errorf("fault %q: %w", t, err)
		}
		return []*activeFault{f}, nil
	}
	if !expand {
		return nil, fmt.Errorf("fault %q: cannot stand inside another", spec.Name)
	}
	texts, err := def.expand(spec)
	if err != nil {
		return nil, fmt.Errorf("fault %q: %w", t, err)
	}
	var out []*activeFault
	for _, part := range texts {
		fs, err := compileOne(part, seed, false)
		if err != nil {
			return nil, fmt.Errorf("fault %q: %w", t, err)
		}
		for _, f := range fs {
			f.alias = spec.Name
		}
		out = append(out, fs...)
	}
	return out, nil
}

// nearest suggests the name that shares the longest beginning or contains what was written.
func nearest(name string) string {
	best, most := "", 2
	for _, f := range catalogue {
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

// whichKeys choose the request; giving one of them puts aside the fault's own choice.
var whichKeys = []string{"on", "every", "page", "id", "p"}

func newActive(def *Fault, spec Spec, written string, seed uint64) (*activeFault, error) {
	f := &activeFault{
		def: def, text: written, seed: hashText(seed, "fault", written),
		vals: map[string]string{}, durs: map[string]time.Duration{}, nums: map[string]int64{}, state: map[string]*progress{},
	}
	defaults, err := ParseSpec(def.Name + ":" + def.Default)
	if def.Default == "" {
		defaults, err = Spec{Values: map[string]string{}}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, k := range whichKeys {
		if _, given := spec.Values[k]; given {
			for _, w := range whichKeys {
				delete(defaults.Values, w)
			}
			break
		}
	}
	if spec.Values["p"] != "" || spec.Values["every"] != "" {
		delete(defaults.Values, "times")
	}
	sel := defaults.Values
	params := map[string]Param{}
	for _, p := range def.Params {
		params[p.Name] = p
		f.vals[p.Name] = p.Default
	}
	selectable := map[string]bool{}
	for _, p := range Selectors() {
		selectable[p.Name] = true
	}
	for k, v := range spec.Values {
		switch {
		case params[k].Name != "":
			f.vals[k] = v
		case selectable[k]:
			sel[k] = v
		default:
			return nil, fmt.Errorf("%s is not a setting of it; it takes %s", k, strings.Join(settings(def), ", "))
		}
	}
	for name, p := range params {
		if err := f.check(p, f.vals[name]); err != nil {
			return nil, err
		}
	}
	f.sel, err = parseSelector(sel)
	return f, err
}

func settings(def *Fault) []string {
	var names []string
	for _, p := range def.Params {
		names = append(names, p.Name)
	}
	for _, p := range Selectors() {
		names = append(names, p.Name)
	}
	return names
}

func (f *activeFault) check(p Param, v string) error {
	if p.Values != nil && !slices.Contains(p.Values, v) {
		return fmt.Errorf("%s=%s: want one of %s", p.Name, v, strings.Join(p.Values, ", "))
	}
	switch p.kind {
	case duration:
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("%s=%s: want a length of time such as 3s", p.Name, v)
		}
		f.durs[p.Name] = d
	case number:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("%s=%s: want a whole number", p.Name, v)
		}
		f.nums[p.Name] = n
	case link:
		if v == "" {
			return nil
		}
		if u, err := url.Parse(v); err != nil || u.Scheme == "" {
			return fmt.Errorf("%s: want a URL such as http://127.0.0.1:9999/", p.Name)
		}
	case length:
		e, err := parseExtent(p.Name, v)
		if err != nil {
			return err
		}
		f.durs[p.Name], f.nums[p.Name] = e.d, int64(e.n)
	case text:
	}
	return nil
}
