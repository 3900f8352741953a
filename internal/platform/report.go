package platform

import (
	"context"
	"time"

	"adsync/internal/ads"
)

// Reporter is a Platform that gives daily figures.
type Reporter interface {
	Platform

	// Report does one step of reading a slice, from the place that s.Cursor names (empty: the beginning), and calls emit once for each row.
	// A step is one page, or one move of a report job: to ask for it, to look whether it is ready, to read a page of what it made. The job is
	// named in the cursor, which is stored before the next step, so that it outlives the process. A step done twice emits the same rows, or
	// asks for the job anew. Errors that mean something to the engine:
	//
	//	ads.ClassTooLarge    the slice is cut in two; a slice of one day is asked for again with s.Shrink raised
	//	ads.ClassStaleCursor the slice is read from its beginning, a bounded number of times
	//	ads.ClassDenied, ads.ClassPermanent  the slice has failed for good; all others go on
	//
	// An error of emit is returned as it is.
	Report(ctx context.Context, api Caller, s Slice, emit func(ads.DailyMetrics) error) (Progress, error)
}

// Reports says what daily figures a platform gives: data.
type Reports struct {
	Levels []Level // in the order in which they are read: ads.LevelAccount first where there is one
	// History is how many days back from today the platform serves; what is older is never asked for and never touched. 0: without end.
	History int
	// Restated is for how many days after a day its figures still move. A day that was read later than that is final.
	Restated int
	// Reread says how often a day that is not final is read again, by its age: the first entry that covers it holds.
	Reread []Reread
	// Tolerance is by which share the sum of a day's campaigns may differ from the account's own figure: 0.005.
	Tolerance float64
}

// Level is one level of daily figures.
type Level struct {
	Name string // ads.LevelCampaign
	Days int    // that one slice may span at most
}

// Reread is a part of the cadence: days of up to that age are read again when the last time is so long ago. Every 0: in each run.
type Reread struct {
	Age   int // days before today
	Every time.Duration
}

// Slice is what one Report works on: a level of an account over some days of the account's own calendar, both ends included.
type Slice struct {
	Account  ads.Account
	Level    string
	From, To ads.Date
	RunID    string
	Cursor   string
	Shrink   int       // how often it was too large although it is one day: ask for half as many rows at a time, or fewer fields, each time
	Now      time.Time // for a connector that bounds the life of its job
}

// Progress is what a step learnt about its place in the slice.
type Progress struct {
	Cursor   string // the next step; meaningless when Done
	Done     bool   // the slice was read to its end, and the platform said so
	Wait     time.Duration
	Message  string        // why it waits, for people: "the report is 42 % done"
	Findings []ads.Problem // for the run's notes
}
