// Package trace makes OpenTelemetry traces of the one stream of events: a run, its pages, requests and attempts, with waits as spans. It is off unless the
// standard OTEL_ variables ask for it.
//
// It imports ads and observe, and must not import what it traces. Spans carry labels, ids, counts and classes of errors, never a URL, a header or the text of
// an answer.
package trace
