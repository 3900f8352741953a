// Package world is the advertising that the simulators of Meta and Google Ads show: accounts, campaigns, groups, ads, and what they did
// on each day. It imports only dice of adsync.
//
// Nothing of it is stored: every name, state and figure is computed from a seed and a position, so that memory does not grow with
// ads or days. Figures are made for a campaign and a day and then shared out exactly over its groups and their ads, so that every level
// adds up to the same sum. They hang on the moment at which they are asked for, as real ones do: a day fills up by the hour, is corrected
// for some days, and goes on gaining conversions for weeks.
package world
