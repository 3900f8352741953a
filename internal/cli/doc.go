// Package cli has adsync's commands. It is the one place that knows concrete types: it reads the configuration, opens the database, builds the
// client and the connector of each connection, and hands them to the engine; and it turns how that ended into words and an exit code.
//
// Nothing imports it but cmd/adsync. Main runs a whole command in process, so that tests can.
package cli
