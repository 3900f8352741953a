package googleads

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"adsync/internal/simulator/internal/world"
)

// query is one that was held against the fields that there are, for one customer.
type query struct {
	*gaql
	text     string
	level    world.Level
	cols     []*field
	metrics  []*field // selected
	figures  bool     // metrics or segments are selected
	unit     string   // segments.date, segments.week or segments.month; empty: the whole range
	segments bool     // any is selected
	splits   []int
	combos   int
	conds    []test
	dated    bool // a range of days is given
	span     period
	tree     *object
	mask     string
}

// test is a condition ready to be held against rows.
type test struct {
	f    *field
	op   string
	vals []string
	nums []float64
	re   *regexp.Regexp
}

// historyMonths is how far back days reach; allYears is about how far sums do.
const (
	historyMonths = 37
	allYears      = 11 * 12
)

// lookUp is the field of a name, if rows of the resource have it.
func lookUp(name, from string) (*field, *queryFault) {
	f := fields[name]
	r := resources[from]
	switch {
	case f == nil:
		return nil, wrong("UNRECOGNIZED_FIELD", "Unrecognized field in the query: '%.80s'.", name)
	case f.metric && !r.figures:
		return nil, wrong("PROHIBITED_METRIC_IN_SELECT_OR_WHERE_CLAUSE", "Cannot select or filter on the following metrics: '%s', since the resource is incompatible with the resource in the FROM clause.", name)
	case f.segment() && !r.figures:
		return nil, wrong("PROHIBITED_SEGMENT_IN_SELECT_OR_WHERE_CLAUSE", "Cannot select or filter on the following segments: '%s', since the resource is incompatible with the resource in the FROM clause.", name)
	case !f.metric && !f.segment() && f.resource() != from && !slices.Contains(r.shows, f.resource()):
		return nil, wrong("PROHIBITED_RESOURCE_TYPE_IN_SELECT_CLAUSE", "Cannot select fields from the following resources: '%s', since the resource is incompatible with the resource in FROM clause.", strings.ToUpper(f.resource()))
	}
	return f, nil
}

func (s *Server) compile(text string, customer node) (*query, *queryFault) {
	g, f := parse(text)
	if f != nil {
		return nil, f
	}
	r, ok := resources[g.from]
	if !ok {
		return nil, wrong("BAD_RESOURCE_TYPE_IN_FROM_CLAUSE", "'%.60s' is not a valid resource name; here there are %s.", g.from, strings.Join(resourceNames(), ", "))
	}
	q := &query{gaql: g, text: text, level: r.level, combos: 1}
	var names []string
	for _, name := range g.fields {
		f, fault := lookUp(name, g.from)
		if fault != nil {
			return nil, fault
		}
		if slices.Contains(q.cols, f) {
			continue
		}
		q.cols = append(q.cols, f)
		names = append(names, camelPath(name))
		switch {
		case f.metric:
			q.metrics = append(q.metrics, f)
		case f.segment() && f.split >= 0:
			q.splits = append(q.splits, f.split)
			q.combos *= len(splits[f.split].values)
		case f.segment():
			q.unit = finer(q.unit, name)
		}
		q.segments = q.segments || f.segment()
	}
	q.figures = q.segments || len(q.metrics) > 0
	if slices.Contains(q.cols, fields["segments.conversion_action"]) {
		for _, m := range q.metrics {
			if !slices.Contains(unsplit, m.name) {
				return nil, wrong("PROHIBITED_SEGMENT_WITH_METRIC_IN_SELECT_OR_WHERE_CLAUSE", "Cannot select or filter on the following metrics: '%s' with the segment 'segments.conversion_action'.", m.name)
			}
		}
	}
	if q.figures && customer.account == 0 {
		return nil, wrong("REQUESTED_METRICS_FOR_MANAGER", "Metrics cannot be requested for a manager account. To retrieve metrics, issue separate requests against each client account under the manager account.")
	}
	q.mask = strings.Join(names, ",")
	if f := s.filters(q, customer); f != nil {
		return nil, f
	}
	for _, o := range g.order {
		f, fault := lookUp(o.field, g.from)
		if fault != nil {
			return nil, fault
		}
		if f.kind == someTexts {
			return nil, wrong("PROHIBITED_FIELD_IN_ORDER_BY_CLAUSE", "Cannot order by '%s'.", o.field)
		}
		if !slices.Contains(q.cols, f) {
			return nil, wrong("EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE", "The following field must be present in SELECT clause: '%s'.", o.field)
		}
	}
	q.tree = plan(q)
	return q, nil
}

var units = []string{"segments.date", "segments.week", "segments.month", ""}

func finer(a, b string) string {
	return units[min(slices.Index(units, a), slices.Index(units, b))]
}

// limits narrow a range of days.
type limits struct {
	from, to   world.Day
	above, low bool // whether each end is set
}

func (l *limits) atLeast(d world.Day) { l.from, l.low = max(l.from, d), true }
func (l *limits) atMost(d world.Day)  { l.to, l.above = min(l.to, d), true }

func (s *Server) filters(q *query, customer node) *queryFault {
	today := s.w.Moment(max(1, customer.account), s.host.Now()).Today
	l := limits{from: -world.Far, to: world.Far}
	for _, c := range q.where {
		f, fault := lookUp(c.field, q.from)
		if fault != nil {
			return fault
		}
		if f.kind == aDate {
			if fault := l.narrow(c, today); fault != nil {
				return fault
			}
			q.dated = true
			continue
		}
		if (f.segment() || f.metric) && !slices.Contains(q.cols, f) {
			return wrong("EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE", "The following field must be present in SELECT clause: '%s'.", c.field)
		}
		t, fault := ready(f, c)
		if fault != nil {
			return fault
		}
		q.conds = append(q.conds, t)
	}
	switch {
	case (q.dated || q.unit != "") && !(l.low && l.above):
		return wrong("EXPECTED_FILTERS_ON_DATE_RANGE", "A finite range of dates is expected in WHERE: both a first and a last day.")
	case q.dated && l.from > l.to:
		return wrong("DATE_RANGE_TOO_NARROW", "The first day comes after the last.")
	case q.unit == "segments.date" && s.cfg.MaxDays > 0 && int(l.to-l.from) >= s.cfg.MaxDays:
		return wrong("DATE_RANGE_TOO_WIDE", "Date filters fail to restrict date to a range of at most %d days.", s.cfg.MaxDays)
	case q.dated:
		q.span = period{l.from, l.to}
	default:
		q.span = period{today.Back(allYears), today}
	}
	q.span.to = min(q.span.to, today)
	if q.unit == "segments.date" || q.unit == "segments.week" {
		q.span.from = max(q.span.from, today.Back(historyMonths))
	}
	return nil
}

func (l *limits) narrow(c condition, today world.Day) *queryFault {
	if c.op == "DURING" {
		from, to, ok := during(strings.ToUpper(c.vals[0]), today)
		if !ok {
			return wrong("INVALID_VALUE_WITH_DURING_OPERATOR", "'%.40s' is not a range that DURING knows.", c.vals[0])
		}
		l.atLeast(from)
		l.atMost(to)
		return nil
	}
	if !slices.Contains([]string{"=", "<", "<=", ">", ">=", "BETWEEN"}, c.op) {
		return wrong("OPERATOR_FIELD_MISMATCH", "The operator %s cannot be used with '%s'.", c.op, c.field)
	}
	var days []world.Day
	for _, v := range c.vals {
		if len(v) == 8 && isID(v) {
			v = v[:4] + "-" + v[4:6] + "-" + v[6:]
		}
		d, err := world.ParseDay(v)
		if err != nil {
			return wrong("INVALID_DATE_FORMAT", "Invalid date format '%.40s'. Expected YYYY-MM-DD.", v)
		}
		days = append(days, d)
	}
	first, last := days[0], days[len(days)-1]
	if c.field != "segments.date" {
		if c.op != "=" {
			return wrong("OPERATOR_FIELD_MISMATCH", "The operator %s cannot be used with '%s'.", c.op, c.field)
		}
		switch {
		case c.field == "segments.week" && first.Monday() == first:
			last = first + 6
		case c.field == "segments.month" && (first-1).Month() != first.Month():
			for (last + 1).Month() == first.Month() {
				last++
			}
		default:
			return wrong("MISALIGNED_DATE_FOR_FILTER", "'%s' is not the first day of its period.", first)
		}
	}
	switch c.op {
	case "=", "BETWEEN":
		l.atLeast(first)
		l.atMost(last)
	case ">":
		l.atLeast(first + 1)
	case ">=":
		l.atLeast(first)
	case "<":
		l.atMost(first - 1)
	case "<=":
		l.atMost(first)
	}
	return nil
}

// during are the ranges that have names. Those of last days end yesterday.
func during(name string, t world.Day) (from, to world.Day, ok bool) {
	month := t
	for (month - 1).Month() == t.Month() {
		month--
	}
	sunday := t - world.Day((t.Weekday()+1)%7)
	switch name {
	case "TODAY":
		return t, t, true
	case "YESTERDAY":
		return t - 1, t - 1, true
	case "LAST_7_DAYS":
		return t - 7, t - 1, true
	case "LAST_14_DAYS":
		return t - 14, t - 1, true
	case "LAST_30_DAYS":
		return t - 30, t - 1, true
	case "THIS_MONTH":
		return month, t, true
	case "LAST_MONTH":
		return month.Back(1), month - 1, true
	case "THIS_WEEK_MON_TODAY":
		return t.Monday(), t, true
	case "THIS_WEEK_SUN_TODAY":
		return sunday, t, true
	case "LAST_WEEK_MON_SUN":
		return t.Monday() - 7, t.Monday() - 1, true
	case "LAST_WEEK_SUN_SAT":
		return sunday - 7, sunday - 1, true
	case "LAST_BUSINESS_WEEK":
		return t.Monday() - 7, t.Monday() - 3, true
	}
	return 0, 0, false
}

// operators are those that each kind of field takes, apart from IS NULL and IS NOT NULL.
var operators = map[kind][]string{
	aText:     {"=", "!=", "IN", "NOT IN", "LIKE", "NOT LIKE", "REGEXP_MATCH", "NOT REGEXP_MATCH"},
	anEnum:    {"=", "!=", "IN", "NOT IN"},
	anInt:     {"=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "BETWEEN"},
	aDouble:   {"=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "BETWEEN"},
	aBool:     {"=", "!="},
	someTexts: {"CONTAINS ANY", "CONTAINS ALL", "CONTAINS NONE"},
}

func ready(f *field, c condition) (test, *queryFault) {
	t := test{f: f, op: c.op, vals: c.vals}
	if c.op == "IS NULL" || c.op == "IS NOT NULL" {
		return t, nil
	}
	if !slices.Contains(operators[f.kind], c.op) {
		return t, wrong("OPERATOR_FIELD_MISMATCH", "The operator %s cannot be used with '%s'.", c.op, f.name)
	}
	for _, v := range c.vals {
		switch f.kind {
		case anInt, aDouble:
			n, err := strconv.ParseFloat(v, 64)
			if err != nil {
				return t, wrong("BAD_NUMBER", "'%.40s' is not a number.", v)
			}
			t.nums = append(t.nums, n)
		case anEnum:
			if !slices.Contains(f.enum, v) && v != "UNKNOWN" && v != "UNSPECIFIED" {
				return t, wrong("BAD_ENUM_CONSTANT", "Invalid enum value cannot be included in WHERE clause: '%.60s'.", v)
			}
		case aBool:
			if !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") {
				return t, wrong("BAD_VALUE", "'%.40s' is neither TRUE nor FALSE.", v)
			}
		case aText, aDate, someTexts:
		}
	}
	if strings.HasSuffix(c.op, "REGEXP_MATCH") {
		re, err := regexp.Compile("^(?:" + c.vals[0] + ")$")
		if err != nil {
			return t, wrong("BAD_VALUE", "'%.60s' is not a regular expression.", c.vals[0])
		}
		t.re = re
	}
	if strings.HasSuffix(c.op, "LIKE") {
		t.re = like(c.vals[0])
	}
	return t, nil
}

// like makes a pattern of one with % and _.
func like(s string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?is)^")
	for _, r := range s {
		switch r {
		case '%':
			b.WriteString(".*")
		case '_':
			b.WriteByte('.')
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return regexp.MustCompile(b.String() + "$")
}

func (t *test) holds(r *row) bool {
	v := t.f.get(r)
	switch t.op {
	case "IS NULL":
		return !v.has
	case "IS NOT NULL":
		return v.has
	}
	if t.f.kind == someTexts {
		n := 0
		for _, want := range t.vals {
			if slices.Contains(v.list, want) {
				n++
			}
		}
		return t.op == "CONTAINS ANY" && n > 0 || t.op == "CONTAINS ALL" && n == len(t.vals) || t.op == "CONTAINS NONE" && n == 0
	}
	if !v.has {
		return false
	}
	switch t.f.kind {
	case anInt, aDouble:
		n := v.d
		if t.f.kind == anInt {
			n = float64(v.n)
		}
		return t.number(n)
	case aBool:
		return (strconv.FormatBool(v.n == 1) == strings.ToLower(t.vals[0])) == (t.op == "=")
	}
	switch t.op {
	case "=", "IN":
		return slices.Contains(t.vals, v.s)
	case "!=", "NOT IN":
		return !slices.Contains(t.vals, v.s)
	case "LIKE", "REGEXP_MATCH":
		return t.re.MatchString(v.s)
	}
	return !t.re.MatchString(v.s)
}

func (t *test) number(n float64) bool {
	switch t.op {
	case "=", "IN":
		return slices.Contains(t.nums, n)
	case "!=", "NOT IN":
		return !slices.Contains(t.nums, n)
	case "<":
		return n < t.nums[0]
	case "<=":
		return n <= t.nums[0]
	case ">":
		return n > t.nums[0]
	case ">=":
		return n >= t.nums[0]
	}
	return t.nums[0] <= n && n <= t.nums[1]
}
