package server

import (
	"time"

	"adsync/internal/report"
)

// explain puts an error into words. What a page says to do next must make sense to somebody without a command line.
func explain(err error) report.Explanation {
	x := report.ExplainError(err, time.Now())
	if x.Next == "Run the same command again to resume." {
		x.Next = "Load this page again in a moment."
	}
	return x
}
