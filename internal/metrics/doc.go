// Package metrics keeps figures of a running process for Prometheus: it listens to the one stream of events, measures the database on the way to it,
// and answers a scrape. Labels come from closed sets and from the configuration only; nothing that a platform made up ever becomes one.
//
// It imports ads, observe and store, and must not import an engine, a connector, a database or anything that prints.
package metrics
