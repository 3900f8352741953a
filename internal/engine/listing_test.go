package engine

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"adsync/internal/ads"
)

// host is a pure stand-in for a platform's listing: page n of what it holds now, with claims that a script may twist.
type host struct {
	ids   []string
	size  int
	calls int
	// before runs ahead of each call; twist changes an answer.
	before func(h *host, page int)
	twist  func(h *host, page int, a *answer)
}

type answer struct {
	ids   []string
	more  ads.Opt[bool]
	total ads.Opt[int64]
}

func (h *host) page(n int) answer {
	h.calls++
	if h.before != nil {
		h.before(h, n)
	}
	from := min((n-1)*h.size, len(h.ids))
	to := min(from+h.size, len(h.ids))
	a := answer{ids: h.ids[from:to:to], more: ads.Some(to < len(h.ids)), total: ads.Some(int64(len(h.ids)))}
	if h.twist != nil {
		h.twist(h, n, &a)
	}
	return a
}

// read runs a whole listing against h, as listStream does, and gives the guard's last state and all ids seen in the run.
func read(t interface{ Fatalf(string, ...any) }, h *host, slack int) (listing, map[string]bool) {
	all, pass := map[string]bool{}, map[string]bool{}
	l := firstPass(time.Time{})
	page := 1
	for {
		if h.calls > 5000 {
			t.Fatalf("no end after %d pages: %+v", h.calls, l)
		}
		switch l.next(slack) {
		case ended:
			l.Done = true
			return l, all
		case readAgain:
			l = l.restart(time.Time{})
			l.Again++
			page, pass = 1, map[string]bool{}
			continue
		}
		a := h.page(page)
		page++
		fresh := 0
		for _, id := range a.ids {
			if !pass[id] {
				fresh++
			}
			pass[id], all[id] = true, true
		}
		l.apply(pageRead{Pages: 1, Rows: len(a.ids), MaxRows: len(a.ids), Records: int64(len(a.ids)), New: int64(fresh), Cursor: fmt.Sprint(page), More: a.more, Total: a.total})
	}
}

func ids(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("c%d", i+1)
	}
	return out
}

func TestListingEnds(t *testing.T) {
	insertFront := func(at int) func(*host, int) {
		done := false
		return func(h *host, page int) {
			if page == at && !done {
				done = true
				h.ids = append([]string{"new"}, h.ids...)
			}
		}
	}
	deleteFirst := func(at int) func(*host, int) {
		done := false
		return func(h *host, page int) {
			if page == at && !done {
				done = true
				h.ids = h.ids[1:]
			}
		}
	}
	tests := []struct {
		name     string
		h        host
		want     int // distinct ids
		clean    bool
		maxCalls int
	}{
		{"plain", host{ids: ids(100), size: 10}, 100, true, 10},
		{"empty", host{size: 10}, 0, true, 1},
		{"one short page", host{ids: ids(3), size: 10}, 3, true, 1},
		{"another page size than asked", host{ids: ids(100), size: 7}, 100, true, 15},
		{"fault 76: has_more for ever, empty pages", host{ids: ids(30), size: 10, twist: func(_ *host, _ int, a *answer) { a.more = ads.Some(true) }}, 30, true, 3 + 20},
		{"fault 76: has_more for ever, the last page repeated", host{ids: ids(30), size: 10, twist: func(h *host, n int, a *answer) {
			a.more = ads.Some(true)
			if n > 3 {
				a.ids = h.ids[20:30]
			}
		}}, 30, true, 3 + 20},
		{"fault 76: the same without a total", host{ids: ids(30), size: 10, twist: func(_ *host, _ int, a *answer) {
			a.more, a.total = ads.Some(true), ads.Opt[int64]{}
		}}, 30, false, 3 + 20},
		{"fault 77: new rows for ever", host{ids: ids(30), size: 10, twist: func(_ *host, n int, a *answer) {
			a.more, a.total, a.ids = ads.Some(true), ads.Some(int64(30)), []string{fmt.Sprintf("x%d", n), fmt.Sprintf("y%d", n)}
		}}, 70, false, 35},
		{"fault 78: a page repeated once", host{ids: ids(100), size: 10, twist: func(h *host, n int, a *answer) {
			if n == 4 && h.calls < 10 {
				a.ids = h.ids[20:30]
			}
		}}, 100, true, 20},
		{"fault 78: the last page repeated once", host{ids: ids(100), size: 10, twist: func(h *host, n int, a *answer) {
			if n == 10 && h.calls < 11 {
				a.ids = h.ids[80:90]
			}
		}}, 100, true, 20},
		{"fault 79: an empty page in the middle", host{ids: ids(100), size: 10, twist: func(h *host, n int, a *answer) {
			if n == 4 && h.calls < 10 {
				a.ids, a.more = nil, ads.Some(true)
			}
		}}, 100, true, 20},
		{"fault 80: total too high", host{ids: ids(100), size: 10, twist: func(_ *host, _ int, a *answer) { a.total = ads.Some(int64(120)) }}, 100, false, 10 + 20},
		{"fault 80: total too low", host{ids: ids(100), size: 10, twist: func(_ *host, _ int, a *answer) { a.total = ads.Some(int64(80)) }}, 100, false, 10},
		{"fault 81: has_more missing", host{ids: ids(100), size: 10, twist: func(_ *host, _ int, a *answer) { a.more = ads.Opt[bool]{} }}, 100, true, 10},
		{"has_more false on every page", host{ids: ids(100), size: 10, twist: func(_ *host, _ int, a *answer) { a.more = ads.Some(false) }}, 100, true, 10},
		{"no total, honest has_more", host{ids: ids(100), size: 10, twist: func(_ *host, _ int, a *answer) { a.total = ads.Opt[int64]{} }}, 100, true, 10},
		{"fault 82: has_more computed for pages of 10", host{ids: ids(1000), size: 100, twist: func(_ *host, n int, a *answer) {
			a.total, a.more = ads.Some(int64(100)), ads.Some(n < 10)
		}}, 1000, false, 10},
		{"fault 84: insert at the front while listing", host{ids: ids(100), size: 10, before: insertFront(5)}, 101, true, 22},
		{"fault 84: insert at the end while listing", host{ids: ids(100), size: 10, before: func(h *host, n int) {
			if n == 5 && len(h.ids) == 100 {
				h.ids = append(h.ids[:100:100], "new")
			}
		}}, 101, true, 11},
		{"fault 85: delete while listing", host{ids: ids(100), size: 10, before: deleteFirst(5)}, 100, true, 20},
		{"a list that never stands still", host{ids: ids(100), size: 10, before: func(h *host, n int) {
			if n%3 == 0 && len(h.ids) > 20 {
				h.ids = h.ids[1:]
			}
		}}, -1, false, 30},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, seen := read(t, &tt.h, 20)
			if tt.want >= 0 && len(seen) != tt.want {
				t.Errorf("%d records came, want %d", len(seen), tt.want)
			}
			if l.clean() != tt.clean {
				t.Errorf("clean = %v, want %v; findings %+v", l.clean(), tt.clean, l.findings())
			}
			if tt.h.calls > tt.maxCalls {
				t.Errorf("%d pages were read, want at most %d", tt.h.calls, tt.maxCalls)
			}
		})
	}
}

// Whatever changes between pages and whatever is claimed: a listing ends, and one that calls itself clean has every record
// that was there from beginning to end.
func TestListingProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 60).Draw(t, "records")
		h := &host{ids: ids(n), size: rapid.IntRange(1, 12).Draw(t, "size")}
		stay := map[string]bool{}
		for _, id := range h.ids {
			stay[id] = true
		}
		changes := rapid.IntRange(0, 4).Draw(t, "changes")
		lies := rapid.SampledFrom([]string{"none", "more true", "more false", "more missing"}).Draw(t, "lie")
		h.before = func(h *host, _ int) {
			if changes == 0 || !rapid.Bool().Draw(t, "now") {
				return
			}
			changes--
			at := rapid.IntRange(0, len(h.ids)).Draw(t, "at")
			if rapid.Bool().Draw(t, "insert") || len(h.ids) == 0 {
				h.ids = append(append(append([]string(nil), h.ids[:at]...), fmt.Sprintf("n%d", h.calls)), h.ids[at:]...)
				return
			}
			at = min(at, len(h.ids)-1)
			delete(stay, h.ids[at])
			h.ids = append(append([]string(nil), h.ids[:at]...), h.ids[at+1:]...)
		}
		h.twist = func(_ *host, _ int, a *answer) {
			switch lies {
			case "more true":
				a.more = ads.Some(true)
			case "more false":
				a.more = ads.Some(false)
			case "more missing":
				a.more = ads.Opt[bool]{}
			}
		}
		inserts := false
		l, seen := read(t, h, 20)
		if !l.clean() {
			return
		}
		for id := range seen {
			inserts = inserts || id[0] == 'n'
		}
		if l.Grew && l.Fell {
			return
		}
		for id := range stay {
			if !seen[id] && !inserts {
				t.Fatalf("clean, but %s is missing: %+v", id, l)
			}
		}
	})
}
