// Package googleads is a stand-in for the Google Ads API over REST: a token endpoint, managers and their clients, search and searchStream
// with queries in GAQL, operations per day, error bodies, and a catalogue of what goes wrong.
//
// It is built from what Google documents and not from our connector, with which it shares no code: it must import nothing of adsync except
// the simulators' own inner rooms. Where the documents leave a choice, it does one thing, and the other by a flag.
package googleads
