package meta

import (
	"fmt"
	"slices"
	"strings"

	"adsync/internal/simulator/internal/world"
)

// breakdown is a way to split rows; the weights say how the figures are shared out.
type breakdown struct {
	name    string
	values  []string
	weights []int64
}

var splits = []breakdown{
	{"age", []string{"18-24", "25-34", "35-44", "45-54", "55-64", "65+"}, []int64{14, 27, 22, 17, 12, 8}},
	{"gender", []string{"female", "male", "unknown"}, []int64{52, 45, 3}},
	{"country", []string{"US", "DE", "JP", "GB"}, []int64{60, 20, 12, 8}},
	{"publisher_platform", []string{"facebook", "instagram", "audience_network", "messenger"}, []int64{55, 35, 6, 4}},
	{"device_platform", []string{"mobile_app", "desktop", "mobile_web"}, []int64{70, 20, 10}},
	hours(),
}

func hours() breakdown {
	b := breakdown{name: "hourly_stats_aggregated_by_advertiser_time_zone"}
	for h := range 24 {
		b.values = append(b.values, fmt.Sprintf("%02d:00:00 - %02[1]d:59:59", h))
		b.weights = append(b.weights, 2+int64(min(h, 24-h)))
	}
	return b
}

// optIn are breakdowns that only accounts with an agreement get rows for.
var optIn = []string{"impression_device", "hourly_stats_aggregated_by_audience_time_zone", "frequency_value"}

const maxCombos = 500

func (q *query) breakdowns(rq *request) *graphError {
	q.combos = 1
	v := rq.p.Get("breakdowns")
	if v == "" {
		return nil
	}
	have, e := list("breakdowns", v)
	if e != nil {
		return e
	}
	for i, name := range have {
		at := slices.IndexFunc(splits, func(b breakdown) bool { return b.name == name })
		switch {
		case slices.Contains(optIn, name):
			q.closed = true
		case at < 0:
			names := slices.Clone(optIn)
			for _, b := range splits {
				names = append(names, b.name)
			}
			return invalid("breakdowns[%d] must be one of the following values: %s", i, strings.Join(names, ", "))
		case slices.ContainsFunc(q.split, func(b breakdown) bool { return b.name == name }):
			return invalid("breakdowns[%d] is given twice", i)
		default:
			q.split = append(q.split, splits[at])
			q.combos *= len(splits[at].values)
		}
	}
	if q.combos > maxCombos {
		return &graphError{code: 2, sub: 1504041, outcome: invalid("").outcome, message: "Invalid breakdown combination", title: "Invalid breakdown", user: "The breakdowns cannot be combined"}
	}
	return nil
}

// part is the share of combination i, and the index of each breakdown's value in it.
func (q *query) part(f *world.Figures, i int, at []int) world.Figures {
	out := *f
	for k := range q.split {
		b := &q.split[k]
		n := i % len(b.values)
		i /= len(b.values)
		at[k] = n
		var from, all int64
		for j, w := range b.weights {
			if j < n {
				from += w
			}
			all += w
		}
		out = out.Part(from, from+b.weights[n], all)
	}
	return out
}
