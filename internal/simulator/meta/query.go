package meta

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"adsync/internal/simulator/internal/world"
)

// historyMonths is how far back insights reach.
const historyMonths = 37

// period is the days that one row covers.
type period struct{ from, to world.Day }

// query is what insights are asked for, at once or by a job.
type query struct {
	account  int
	obj      object
	level    world.Level
	span     period // all that was asked for
	periods  []period
	cols     []rowColumn
	windows  []string
	split    []breakdown
	combos   int
	closed   bool // a breakdown that an account must opt in to: no rows, and no error
	filters  []condition
	on       []world.Level // what each filter is about
	deep     world.Level   // the lowest level that matters
	statused bool          // a filter of the level's own effective status is set
}

var queryParams = []string{
	"fields", "level", "time_range", "date_preset", "time_increment", "breakdowns", "action_breakdowns", "action_attribution_windows", "filtering", "limit", "after",
	"use_unified_attribution_setting", "use_account_attribution_setting", "action_report_time",
}

// windowValues are taken; the last two have not been returned since January 2026.
var windowValues = []string{"1d_click", "7d_click", "28d_click", "1d_view", "1d_ev", "default", "7d_view", "28d_view"}

func (s *Server) query(rq *request, today world.Day) (*query, *graphError) {
	if e := rq.only(queryParams...); e != nil {
		return nil, e
	}
	q := &query{account: rq.obj.account, obj: rq.obj, level: rq.obj.level}
	if rq.obj.kind == aThing {
		if _, ok := s.w.At(rq.obj.account, rq.obj.level, rq.obj.serial); !ok {
			return nil, notThere("", rq.segs[0])
		}
	}
	if v := rq.p.Get("level"); v != "" {
		n := slices.Index(levelNames[:], v)
		if n < 0 {
			return nil, invalid("level must be one of the following values: ad, adset, campaign, account")
		}
		if world.Level(n) < rq.obj.level {
			return nil, invalid("level %s is above the object that is asked for", v)
		}
		q.level = world.Level(n)
	}
	if e := q.dates(rq, today); e != nil {
		return nil, e
	}
	var e *graphError
	if q.cols, e = rowColumns(rq); e != nil {
		return nil, e
	}
	if v := rq.p.Get("action_attribution_windows"); v != "" {
		if q.windows, e = texts("action_attribution_windows", v); e != nil {
			return nil, e
		}
		if e := oneOf("action_attribution_windows", q.windows, windowValues); e != nil {
			return nil, e
		}
	}
	if v := rq.p.Get("action_breakdowns"); v != "" {
		have, e := list("action_breakdowns", v)
		if e != nil {
			return nil, e
		}
		if e := oneOf("action_breakdowns", have, []string{"action_type"}); e != nil {
			return nil, e
		}
	}
	for name, allowed := range map[string][]string{
		"use_unified_attribution_setting": {"true", "false"}, "use_account_attribution_setting": {"true", "false"}, "action_report_time": {"impression", "conversion", "mixed"},
	} {
		if v := rq.p.Get(name); v != "" && !contains(allowed, v) {
			return nil, invalid("param %s must be one of the following values: %s", name, strings.Join(allowed, ", "))
		}
	}
	if e := q.breakdowns(rq); e != nil {
		return nil, e
	}
	return q, q.conditions(rq)
}

// list reads a JSON list, or names with commas.
func list(name, v string) ([]string, *graphError) {
	if strings.HasPrefix(strings.TrimSpace(v), "[") {
		return texts(name, v)
	}
	return strings.Split(v, ","), nil
}

var presets = map[string]func(today world.Day) (from, to world.Day){
	"today":     func(t world.Day) (world.Day, world.Day) { return t, t },
	"yesterday": func(t world.Day) (world.Day, world.Day) { return t - 1, t - 1 },
	"last_3d":   func(t world.Day) (world.Day, world.Day) { return t - 3, t - 1 },
	"last_7d":   func(t world.Day) (world.Day, world.Day) { return t - 7, t - 1 },
	"last_14d":  func(t world.Day) (world.Day, world.Day) { return t - 14, t - 1 },
	"last_28d":  func(t world.Day) (world.Day, world.Day) { return t - 28, t - 1 },
	"last_30d":  func(t world.Day) (world.Day, world.Day) { return t - 30, t - 1 },
	"last_90d":  func(t world.Day) (world.Day, world.Day) { return t - 90, t - 1 },
	"maximum":   func(t world.Day) (world.Day, world.Day) { return t.Back(historyMonths), t },
}

// maxIncrement is the longest time_increment in days.
const maxIncrement = 90

func (q *query) dates(rq *request, today world.Day) *graphError {
	from, to := presets["last_30d"](today)
	if v := rq.p.Get("date_preset"); v != "" {
		f, ok := presets[v]
		if !ok {
			return invalid("date_preset must be one of the following values: today, yesterday, last_3d, last_7d, last_14d, last_28d, last_30d, last_90d, maximum")
		}
		from, to = f(today)
	}
	if v := rq.p.Get("time_range"); v != "" {
		var r struct {
			Since string `json:"since"`
			Until string `json:"until"`
		}
		dec := json.NewDecoder(strings.NewReader(v))
		dec.DisallowUnknownFields()
		if dec.Decode(&r) != nil || dec.More() {
			return invalid("param time_range must be an object with since and until")
		}
		var err, err2 error
		from, err = world.ParseDay(r.Since)
		to, err2 = world.ParseDay(r.Until)
		switch {
		case err != nil:
			return invalid("Must be a date representation in the format YYYY-MM-DD: time_range[since]")
		case err2 != nil:
			return invalid("Must be a date representation in the format YYYY-MM-DD: time_range[until]")
		case from > to:
			return invalid("time_range[since] must be before time_range[until]")
		}
	}
	if from < today.Back(historyMonths) {
		return &graphError{code: 3018, message: "(#3018) The start date of the time range cannot be beyond 37 months from the current date", outcome: invalid("").outcome}
	}
	q.span = period{from, to}
	step := 0
	switch v := rq.p.Get("time_increment"); v {
	case "", "all_days":
		q.periods = []period{{from, to}}
		return nil
	case "monthly":
	default:
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxIncrement {
			return invalid("param time_increment must be all_days, monthly or a number of days from 1 to %d", maxIncrement)
		}
		step = n
	}
	to = min(to, today+1) // the future has no rows
	for d := from; d <= to; {
		last := d + world.Day(step) - 1
		if step == 0 {
			for last = d; (last + 1).Month() == d.Month(); {
				last++
			}
		}
		q.periods = append(q.periods, period{d, min(last, to)})
		d = last + 1
	}
	return nil
}

// conditions checks filtering against what rows can be filtered by.
func (q *query) conditions(rq *request) *graphError {
	var e *graphError
	if q.filters, e = parseFiltering(rq.p.Get("filtering")); e != nil {
		return e
	}
	q.deep = q.level
	for i := range q.filters {
		x := &q.filters[i]
		name, rest, dotted := strings.Cut(x.field, ".")
		level := world.Level(max(0, slices.Index(levelNames[:], name)))
		number := false
		switch {
		case !dotted && (x.field == "impressions" || x.field == "clicks" || x.field == "spend"):
			level, number = q.level, true
		case dotted && level > world.OfAccount && (rest == "id" || rest == "name"):
			x.field = rest
		case dotted && level > world.OfAccount && rest == "effective_status":
			if e := oneOf("filtering["+strconv.Itoa(i)+"][value]", x.values, effectiveValues[level]); e != nil {
				return e
			}
			x.field = rest
			q.statused = q.statused || level == q.level
		default:
			return invalid("filtering[%d][field] must be one of campaign.id, campaign.name, campaign.effective_status (or of adset, ad), impressions, clicks, spend", i)
		}
		if e := x.check(i, number); e != nil {
			return e
		}
		q.on = append(q.on, level)
		q.deep = max(q.deep, level)
	}
	return nil
}
