// Package report is what people and scripts see of a sync: log lines, live progress, the closing summary, the metrics file, and the
// tables of status and failures.
//
// It subscribes to the events of package observe; the core never prints. It imports ads, engine (for the shape of a summary), observe,
// secret and store (for the shapes of rows), and must not import a connector, a database, the client or the configuration.
//
// Nothing here may hold a sync up: all that goes to stderr passes a bounded queue that one goroutine of its own writes (Console), and what
// a slow reader has no room for is dropped and counted.
package report
