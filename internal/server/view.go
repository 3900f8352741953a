package server

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"adsync/internal/ads"
	"adsync/internal/live"
	"adsync/internal/observe"
	"adsync/internal/report"
	"adsync/internal/store"
)

// standing is a connection's condition on the dashboard, in one word.
type standing string

// The standings, trouble first: this is the order of the overview.
const (
	isFailed  standing = "failed"
	isPartial standing = "partial"
	isRefused standing = "refused" // parked until its credentials change
	isStale   standing = "stale"   // its last complete run is older than two intervals
	isStopped standing = "stopped" // interrupted; the next run resumes
	isPaused  standing = "paused"
	isParked  standing = "parked"
	isRunning standing = "running"
	isFresh   standing = "fresh"
	isNever   standing = "never"
)

var standings = []standing{isFailed, isPartial, isRefused, isStale, isStopped, isPaused, isParked, isRunning, isFresh, isNever}

const (
	rowsPerPage    = 200
	staleIntervals = 2
	maxQuery       = 200 // characters of a search
)

// known is what a row is made of.
type known struct {
	store.ConnectionStatus
	Configured bool
	Platform   string
	Schedule   string
	Interval   time.Duration
	Next       time.Time
	Live       live.Progress
}

// row is a connection on the overview.
type row struct {
	known
	State  standing
	Reason string
	URL    string
}

// Stale says that the data is older than it should be, whatever else is the matter.
func (k *known) stale(now time.Time) bool {
	return k.Configured && k.Interval > 0 && !k.LastComplete.IsZero() && now.Sub(k.LastComplete) > staleIntervals*k.Interval
}

// paused says that somebody has paused the connection; a run of it may still be stopping, or be somebody's own.
func (k *known) paused() bool { return !k.Pause.At.IsZero() }

// Paused is for the buttons.
func (r row) Paused() bool { return r.paused() }

func newRow(k known, now time.Time) row {
	r := row{known: k, URL: connectionURL(k.Ref)}
	r.State, r.Reason = k.standing(now)
	if report.TokenNear(k.TokenEnd, now) {
		r.Reason = strings.TrimPrefix(r.Reason+"; "+report.TokenEnds(k.TokenEnd, k.TokenWhy, now), "; ")
	}
	if !k.Configured {
		r.Reason = strings.TrimPrefix(r.Reason+"; not in the configuration", "; ")
	}
	return r
}

func (k *known) standing(now time.Time) (standing, string) {
	parked := k.Wait.Until.After(now)
	failure := ""
	if k.Last != nil {
		failure = k.Last.Error
	}
	mark, _, _ := strings.Cut(k.Wait.Mark, ":") // what follows tells credentials apart
	switch {
	case k.Running || k.Live.Running:
		return isRunning, k.doing(now)
	case k.paused():
		return isPaused, "by " + k.Pause.By + ", " + relative(k.Pause.At, now)
	case parked && mark == string(observe.ParkAuth):
		return isRefused, "credentials refused, waits until they change: " + k.Wait.Reason
	case parked && mark == string(observe.ParkFailed):
		return isFailed, "next try " + relative(k.Wait.Until, now) + ": " + k.Wait.Reason
	case parked && k.stale(now):
		return isStale, "parked until " + absolute(k.Wait.Until) + ": " + k.Wait.Reason
	case parked:
		return isParked, "until " + absolute(k.Wait.Until) + ": " + k.Wait.Reason
	case k.Last == nil:
		return isNever, "not synced yet"
	case k.Last.Outcome == ads.Failed:
		return isFailed, failure
	case k.Last.Outcome == ads.Partial:
		return isPartial, failure
	case k.stale(now):
		return isStale, "last complete run " + relative(k.LastComplete, now) + ", should be every " + span(k.Interval)
	case k.Last.Outcome == ads.Complete:
		return isFresh, ""
	}
	return isStopped, "the next run resumes it"
}

// doing says what a run is at.
func (k *known) doing(now time.Time) string {
	if w := k.Live.Wait; w.Reason != "" {
		return waitWords(w, now)
	}
	if !k.Live.Running { // another process has it
		s := "by " + k.Holder
		if k.Wait.Until.After(now) {
			s += ", waits until " + absolute(k.Wait.Until) + ": " + k.Wait.Reason
		}
		return s
	}
	f := k.Live.Figures
	s := number(f.Synced+f.Failed) + " of " + number(max(f.Listed, k.Live.Total.Value)) + " done"
	if k.Live.Page > 0 {
		s += ", page " + strconv.Itoa(k.Live.Page)
	}
	return s
}

func waitWords(w live.Wait, now time.Time) string {
	s := map[observe.WaitReason]string{
		observe.WaitQuota: "waits for its quota", observe.WaitServer: "waits because the platform asked for it", observe.WaitCircuit: "the platform does not answer", observe.WaitReport: "the platform prepares a report",
		observe.WaitWorker: "waits for other connections of this process", observe.WaitBusy: "somebody else syncs it",
	}[w.Reason]
	if w.Until.After(now) {
		s += ", goes on " + relative(w.Until, now)
	}
	if w.Note != "" {
		s += " (" + w.Note + ")"
	}
	return s
}

// Bar is how much of a run is done, in percent; 0 where nobody can say.
func (r row) Bar() int {
	share, _ := r.Live.Share()
	return int(share * 100)
}

// asking is what a visitor of the overview asked for.
type asking struct {
	Q     string
	State standing // empty: all
	Sort  string
	Page  int // from 1
}

var sorts = []string{"trouble", "name", "age", "campaigns", "failures"}

func askingOf(v url.Values) asking {
	a := asking{Q: clip(strings.TrimSpace(v.Get("q")), maxQuery), State: standing(v.Get("state")), Sort: v.Get("sort"), Page: 1}
	if !slices.Contains(standings, a.State) {
		a.State = ""
	}
	if !slices.Contains(sorts, a.Sort) {
		a.Sort = sorts[0]
	}
	if n, err := strconv.Atoi(v.Get("page")); err == nil && n > 1 {
		a.Page = min(n, 1<<20)
	}
	return a
}

// link is the overview's address for the same question on another page.
func (a asking) link(path string, page int) string {
	v := url.Values{}
	for key, val := range map[string]string{"q": a.Q, "state": string(a.State), "sort": a.Sort} {
		if val != "" && val != sorts[0] {
			v.Set(key, val)
		}
	}
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// tile is a state's count above the table.
type tile struct {
	State standing
	N     int
	URL   string
	On    bool
}

// overview is the first page.
type overview struct {
	asking
	Rows           []row
	Found, All     int
	From, To       int
	Tiles          []tile
	Prev, Next     string
	Live           string // where a fresh table comes from
	Now            time.Time
	States, Orders []string
}

func newOverview(all []known, a asking, now time.Time) overview {
	o := overview{asking: a, All: len(all), Now: now, Orders: sorts}
	counts := map[standing]int{}
	q := strings.ToLower(a.Q)
	var rows []row
	for _, k := range all {
		r := newRow(k, now)
		counts[r.State]++
		if a.State != "" && r.State != a.State {
			continue
		}
		if q != "" && !strings.Contains(strings.ToLower(r.Ref.ClientID+" "+r.Ref.Connection+" "+r.Platform), q) {
			continue
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, a.order)
	for _, s := range standings {
		if o.States = append(o.States, string(s)); counts[s] > 0 || a.State == s {
			b := asking{Q: a.Q, Sort: a.Sort, State: s}
			if a.State == s {
				b.State = ""
			}
			o.Tiles = append(o.Tiles, tile{s, counts[s], b.link("/", 1), a.State == s})
		}
	}
	o.Found = len(rows)
	last := max((len(rows)+rowsPerPage-1)/rowsPerPage, 1)
	o.Page = min(a.Page, last)
	from := (o.Page - 1) * rowsPerPage
	o.Rows = rows[from:min(from+rowsPerPage, len(rows))]
	o.From, o.To = min(from+1, len(rows)), from+len(o.Rows)
	if o.Page > 1 {
		o.Prev = a.link("/", o.Page-1)
	}
	if o.Page < last {
		o.Next = a.link("/", o.Page+1)
	}
	o.Live = a.link("/rows", o.Page)
	return o
}

func (a asking) order(x, y row) int {
	name := cmp.Or(cmp.Compare(x.Ref.ClientID, y.Ref.ClientID), cmp.Compare(x.Ref.Connection, y.Ref.Connection))
	switch a.Sort {
	case "name":
		return name
	case "age":
		return cmp.Or(x.LastComplete.Compare(y.LastComplete), name)
	case "campaigns":
		return cmp.Or(cmp.Compare(y.Campaigns, x.Campaigns), name)
	case "failures":
		return cmp.Or(cmp.Compare(y.OpenFailures, x.OpenFailures), name)
	}
	return cmp.Or(cmp.Compare(slices.Index(standings, x.State), slices.Index(standings, y.State)), name)
}

func connectionURL(ref ads.Ref) string {
	return "/c/" + url.PathEscape(ref.ClientID) + "/" + url.PathEscape(ref.Connection)
}
