package server

import (
	"strconv"
	"strings"
	"time"

	"adsync/internal/store"
)

// part is a share of a run's time, in the order in which they stand.
type part struct {
	Name  string // for people
	Short string // below the others
	Class string // for the style
	Took  time.Duration
	X, W  float64 // of 100
}

// partsOf says where a run's time went, each moment once. A run of an older version knows only whether it waited.
func partsOf(r store.RunRecord) (out []part) {
	f, took := r.Figures, r.Active
	waited := min(f.Waited, took)
	told := min(f.Told, waited)
	writing := min(f.Writing, took-waited)
	parts := []part{
		{Name: "fetching", Short: "fetching", Class: "fetch", Took: took - waited - writing},
		{Name: "waiting for quota", Short: "quota", Class: "quota", Took: waited - told},
		{Name: "waiting because the server said so", Short: "server", Class: "told", Took: told},
		{Name: "writing", Short: "writing", Class: "write", Took: writing},
	}
	if !r.Split {
		parts = []part{{Name: "at work", Short: "at work", Class: "fetch", Took: took - waited}, {Name: "waiting", Short: "waiting", Class: "quota", Took: waited}}
	}
	x := 0.0
	for _, p := range parts {
		if p.Took <= 0 {
			continue
		}
		p.X, p.W = x, 100*float64(p.Took)/float64(took)
		x += p.W
		out = append(out, p)
	}
	return out
}

// sayParts reads a timeline out.
func sayParts(ps []part) string {
	var words []string
	for _, p := range ps {
		words = append(words, p.Name+" "+strconv.Itoa(int(p.W+0.5))+" %")
	}
	return strings.Join(words, ", ")
}
