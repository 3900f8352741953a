package simulator

import (
	"bytes"
	"net/http"
	"strings"
)

func payloadFaults() []Fault {
	const section = "payload"
	bodies := func(name string, number int, help string, change func(*reply)) Fault {
		return Fault{
			Name: name, Numbers: []int{number}, Section: section, Help: help, Default: anyOnce,
			hooks: hooks{finish: func(_ *call, _ *activeFault, r *reply) { change(r) }},
		}
	}
	pages := func(name string, number int, help string, change func(*listing)) Fault {
		return Fault{
			Name: name, Numbers: []int{number}, Section: section, Help: help, Default: anyOnce,
			hooks: hooks{page: func(_ *call, _ *activeFault, l *listing) { change(l) }},
		}
	}
	return []Fault{
		bodies("html-200", 59, "an HTML page with status 200", func(r *reply) {
			page := htmlPage(http.StatusOK)
			r.ctype, r.body = page.ctype, page.body
		}),
		bodies("empty-200", 59, "status 200 and nothing in it", func(r *reply) { r.body = nil }),
		bodies("no-content", 59, "status 204", func(r *reply) { r.status, r.ctype, r.body = http.StatusNoContent, "", nil }),
		pages("data-null", 60, "data is null", func(l *listing) { l.data = "null" }),
		pages("bare-array", 60, "the rows as a bare array", func(l *listing) {
			inner := listing{rows: l.rows}
			l.whole = strings.TrimSuffix(strings.TrimPrefix(string(inner.bytes()), `{"data":`), "}")
		}),
		pages("no-pagination", 60, "no pagination block", func(l *listing) { l.pagination = nil }),
		bodies("cut-json", 61, "the JSON ends in the middle, the HTTP does not", func(r *reply) { r.body = r.body[:len(r.body)*2/3] }),
		bodies("two-documents", 61, "two JSON documents one after the other", func(r *reply) { r.body = append(append(bytes.Clone(r.body), '\n'), r.body...) }),
		bodies("deep-nesting", 61, "200,000 arrays inside each other", func(r *reply) {
			r.body = []byte(`{"data":` + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + `,"pagination":{"page":1,"limit":10,"total":0,"has_more":false}}`)
		}),
	}
}
