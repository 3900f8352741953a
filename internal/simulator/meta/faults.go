package meta

import (
	"net/http"
	"strconv"

	"adsync/internal/simulator/internal/stage"
	"adsync/internal/simulator/internal/world"
)

// second is where faults of the transport play by default.
const second = "endpoint=api,on=2"

// catalogue is all that this platform can be made to do wrong.
func catalogue(s *Server) *stage.Catalogue {
	var faults []stage.Fault
	for _, section := range [][]stage.Fault{quotaFaults(), authFaults(), s.answerFaults(), listFaults(), reportFaults(), stage.Transport(second, s.broken)} {
		faults = append(faults, section...)
	}
	return &stage.Catalogue{Faults: faults, Endpoints: endpoints, Groups: groups, Levels: levelNames[:]}
}

// Catalogue names what can go wrong, for people and for pages.
func Catalogue() *stage.Catalogue { return catalogue(&Server{}) }

func number(name, def, help string) stage.Param {
	return stage.Param{Name: name, Default: def, Help: help, Kind: stage.Number}
}

func quotaFaults() []stage.Fault {
	const section = "quota"
	return []stage.Fault{
		{
			Name: "throttle", Section: section, Help: "calls are refused for a while, though the quota is not spent: the account's, or the whole app's with code=4 or 341; status=200 tells it inside a 200",
			Default: "endpoint=api,on=3", Params: []stage.Param{
				{Name: "code", Default: "17", Help: "of the error", Values: []string{"4", "17", "32", "341", "368", "613", "80000", "80001", "80002", "80003", "80004"}, Kind: stage.Number},
				{Name: "wait", Default: "60s", Help: "how long", Kind: stage.Duration},
				number("status", "0", "HTTP status; 0: the usual"),
			},
		},
		{Name: "usage-header", Section: section, Help: "the usage headers tell of a quota that is almost spent", Default: "endpoint=api", Params: []stage.Param{number("percent", "95", "what they say")}},
	}
}

func authFaults() []stage.Fault {
	const section = "credentials"
	return []stage.Fault{
		{Name: "token-revoked", Section: section, Help: "the token dies: 458 app removed, 459 checkpoint, 460 password changed, 463 expired, 467 invalid", Default: "endpoint=api,on=5,times=1", Params: []stage.Param{
			{Name: "subcode", Default: "460", Help: "of error 190", Values: []string{"458", "459", "460", "463", "467"}, Kind: stage.Number},
		}},
		{Name: "permission", Section: section, Help: "an account gives no permission", Default: "account=act_" + accountID(2), Params: []stage.Param{
			{Name: "code", Default: "200", Help: "of the error", Values: []string{"10", "200"}, Kind: stage.Number},
		}},
		{Name: "login-denied", Section: section, Help: "the person does not agree", Default: "endpoint=dialog"},
		{Name: "version-sunset", Section: section, Help: "the version that is asked for has been switched off", Default: "endpoint=any"},
	}
}

func (s *Server) answerFaults() []stage.Fault {
	const section = "answers"
	return []stage.Fault{
		{
			Name: "transient", Section: section, Help: "a failure that passes: code 1 or 2", Default: second, Params: []stage.Param{
				number("code", "2", "of the error"), number("subcode", "0", "of the error"), number("status", "500", "HTTP status"),
				{Name: "told", Default: "true", Help: "is_transient says so", Values: []string{"true", "false"}},
			},
			Instead: func(c *stage.Call, f *stage.Active) *stage.Reply {
				return s.fail(c, graphError{
					status: int(min(max(f.Num("status"), 200), 599)), code: int(f.Num("code")), sub: int(f.Num("subcode")), transient: f.Str("told") == "true",
					message: "An unexpected error has occurred. Please retry your request later.", outcome: stage.Failed,
				})
			},
		},
		{
			Name: "reduce", Section: section, Help: "pages of more than so many rows are too much", Default: "endpoint=api", Params: []stage.Param{number("above", "50", "the largest limit that works")},
			Instead: func(c *stage.Call, f *stage.Active) *stage.Reply {
				limit, _ := strconv.Atoi(c.State.(*request).p.Get("limit"))
				if int64(limit) <= f.Num("above") {
					return nil
				}
				return s.fail(c, *errReduce)
			},
		},
		{
			Name: "text-200", Section: section, Help: "status 200 with the words Service Unavailable", Default: second,
			Instead: func(*stage.Call, *stage.Active) *stage.Reply {
				return &stage.Reply{Status: http.StatusOK, Type: "text/plain; charset=utf-8", Body: []byte("Service Unavailable"), Outcome: stage.Failed}
			},
		},
		{
			Name: "error-200", Section: section, Help: "status 200 with an error object", Default: second,
			Instead: func(c *stage.Call, _ *stage.Active) *stage.Reply {
				rp := s.fail(c, graphError{code: 2, message: "Service temporarily unavailable", transient: true, outcome: stage.Failed})
				rp.Status = http.StatusOK
				return rp
			},
		},
		{Name: "batch-null", Section: section, Help: "half of a batch is not run", Default: "endpoint=batch,on=1"},
	}
}

func listFaults() []stage.Fault {
	const section = "pages"
	const next = "endpoint=adaccounts|campaigns|adsets|ads|insights|job_insights,page=2"
	return []stage.Fault{
		{Name: "cursor-expired", Section: section, Help: "the cursor is refused", Default: next + ",times=1"},
		{Name: "duplicate", Section: section, Help: "a page begins with the last rows of the one before", Default: next, Params: []stage.Param{number("rows", "1", "how many")}},
		{Name: "empty-page", Section: section, Help: "a page without rows that has a next one", Default: "endpoint=adaccounts|campaigns|adsets|ads|insights|job_insights,on=1,times=1"},
		{Name: "foreign-next", Section: section, Help: "paging.next leads to another origin, which counts who comes", Default: "endpoint=api"},
	}
}

func reportFaults() []stage.Fault {
	const section = "insights"
	return []stage.Fault{
		{Name: "too-much", Section: section, Help: "insights at once are too much data", Default: "endpoint=insights,on=1,times=1"},
		{Name: "sync-timeout", Section: section, Help: "insights at once take too long", Default: "endpoint=insights,on=1,times=1"},
		{Name: "job-too-much", Section: section, Help: "a report fails as too much data", Default: "endpoint=job_create,on=1,times=1"},
		{Name: "job-failed", Section: section, Help: "a report fails", Default: "endpoint=job_create,on=1,times=1"},
		{Name: "job-skipped", Section: section, Help: "a report is skipped", Default: "endpoint=job_create,on=1,times=1"},
		{Name: "job-stuck", Section: section, Help: "a report gets nowhere, and fails after an hour", Default: "endpoint=job_create,on=1,times=1", Params: []stage.Param{number("percent", "0", "where it stands")}},
		{Name: "job-not-found", Section: section, Help: "a report that was just made is not there yet", Default: "endpoint=job,on=1,times=1"},
		{Name: "job-early", Section: section, Help: "a report says that it is complete before it is", Default: "endpoint=job", Params: []stage.Param{number("from", "50", "from how many per cent")}},
		{Name: "job-expired", Section: section, Help: "the rows of a report are gone", Default: "endpoint=job_insights,on=1,times=1"},
		{Name: "restated", Section: section, Help: "figures of long ago change", Default: "endpoint=insights|job_create,on=5,times=1", Params: []stage.Param{
			number("back", "60", "how many days ago they begin"), number("days", "7", "how many days"), number("per-mille", "1100", "what becomes of them"),
		}},
		{Name: "totals-disagree", Section: section, Help: "the account's totals are not the sum of its campaigns", Default: "endpoint=reports", Params: []stage.Param{
			{Name: "day", Default: "", Help: "on which day, such as 2026-11-20; empty: on every one"}, number("per-mille", "900", "of what they should be"),
		}},
	}
}

// restate changes figures of long ago where a fault asks for it.
func (s *Server) restate(c *stage.Call, today world.Day) {
	f := c.Play("restated")
	if f == nil {
		return
	}
	from := today - world.Day(f.Num("back"))
	// Beyond the bound of edits the figures stay: the fault has then been seen often enough.
	_ = s.w.Restate(world.Restatement{Account: c.State.(*request).obj.account, From: from, To: from + world.Day(f.Num("days")) - 1, PerMille: f.Num("per-mille")})
}
