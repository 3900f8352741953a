package common

import (
	"slices"
	"strings"

	"adsync/internal/ads"
	"adsync/internal/store"
)

// DayOf is what is known of a day after a slice of it was closed.
func DayOf(m *store.Metrics, d ads.Date, rows int64) store.Day {
	day := store.Day{Date: d, Rows: rows, State: store.DayProvisional}
	note, partial := m.End.Partial[d]
	switch {
	case m.End.Failed != "":
		day.State, day.Note = store.DayPartial, m.End.Failed
	case partial:
		day.State, day.Note = store.DayPartial, note
	case rows == 0:
		day.State = store.DayEmpty
	case d.Before(m.FinalBefore):
		day.State = store.DayFinal
	}
	return day
}

// SortMetrics gives rows in the order of the table's key, without changing what was given.
func SortMetrics(rows []ads.DailyMetrics) []ads.DailyMetrics {
	by := func(a, b ads.DailyMetrics) int {
		if c := strings.Compare(a.EntityID, b.EntityID); c != 0 {
			return c
		}
		return a.Date.Sub(b.Date)
	}
	if slices.IsSortedFunc(rows, by) {
		return rows
	}
	rows = slices.Clone(rows)
	slices.SortFunc(rows, by)
	return rows
}

// FromFault is the failure that a fault becomes. It is not tried by itself: what it is about is read again by the next run.
func FromFault(f *store.Fault) Failure {
	return Failure{
		EntityID: EntityID(f.EntityID), Class: f.Class, Code: f.Code, Message: f.Message, Hint: f.Hint, RequestID: f.RequestID, Attempts: int64(max(1, f.Attempts)), Raw: CutRaw(f.Raw),
	}
}
