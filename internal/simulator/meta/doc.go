// Package meta is a stand-in for Meta's Marketing API: accounts, campaigns, ad sets and ads with cursors, insights at once and by report
// jobs, tokens and their exchange, scores and usage headers, error bodies, and a catalogue of what goes wrong.
//
// It is built from what Meta documents and not from our connector, with which it shares no code: it must import nothing of adsync except
// the simulators' own inner rooms. Where the documents leave a choice, it does one thing, and the other by a flag.
package meta
