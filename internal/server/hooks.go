package server

import (
	"net/http"
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

// csrf is what a form has to carry.
func (s *Server) csrf(*http.Request) string { return "" }

// checkCSRF says whether a form may have come from a page of this server. Forms that a browser sends for another site are refused before.
func (s *Server) checkCSRF(*http.Request) bool { return true }
