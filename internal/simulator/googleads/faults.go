package googleads

import (
	"net/http"

	"adsync/internal/simulator/internal/stage"
)

// second is where faults of the transport play by default.
const second = "endpoint=api,on=2"

// catalogue is all that this platform can be made to do wrong.
func catalogue(s *Server) *stage.Catalogue {
	var faults []stage.Fault
	for _, section := range [][]stage.Fault{quotaFaults(), authFaults(), s.answerFaults(), reportFaults(), stage.Transport(second, s.broken)} {
		faults = append(faults, section...)
	}
	return &stage.Catalogue{Faults: faults, Endpoints: endpoints, Groups: groups, Levels: resourceNames()}
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
			Name: "throttle", Section: section, Help: "queries are refused for a while, though the quota is not spent: the customer's, or the project's with scope=DEVELOPER",
			Default: "endpoint=api,on=3", Params: []stage.Param{
				{Name: "value", Default: "RESOURCE_TEMPORARILY_EXHAUSTED", Help: "of quotaError", Values: []string{"RESOURCE_EXHAUSTED", "RESOURCE_TEMPORARILY_EXHAUSTED", "EXCESSIVE_SHORT_TERM_QUERY_RESOURCE_CONSUMPTION", "EXCESSIVE_LONG_TERM_QUERY_RESOURCE_CONSUMPTION"}},
				{Name: "scope", Default: "ACCOUNT", Help: "whose quota", Values: []string{"ACCOUNT", "DEVELOPER"}},
				{Name: "wait", Default: "5s", Help: "how long", Kind: stage.Duration},
			},
		},
		{
			Name: "too-expensive", Section: section, Help: "a query for figures uses too many resources", Default: "endpoint=queries,on=2,times=1",
			Params: []stage.Param{{Name: "wait", Default: "300s", Help: "retryDelay", Kind: stage.Duration}},
		},
	}
}

func authFaults() []stage.Fault {
	const section = "credentials"
	return []stage.Fault{
		{Name: "token-expired", Section: section, Help: "the access token is refused as expired", Default: "endpoint=api,on=3,times=1"},
		{Name: "refresh-revoked", Section: section, Help: "the refresh token is revoked, and with it every access token", Default: "endpoint=token,on=2,times=1"},
		{Name: "permission", Section: section, Help: "a customer gives no permission", Default: "account=" + node{account: 2}.text()},
		{Name: "login-denied", Section: section, Help: "the person does not agree", Default: "endpoint=dialog"},
		{Name: "version-sunset", Section: section, Help: "the version that is asked for has been switched off", Default: "endpoint=any"},
	}
}

func (s *Server) answerFaults() []stage.Fault {
	const section = "answers"
	refused := func(name, help, family, value string, status int) stage.Fault {
		return stage.Fault{
			Name: name, Section: section, Help: help, Default: second,
			Instead: func(c *stage.Call, _ *stage.Active) *stage.Reply {
				e := refusal(status, family, value, "An error has been asked for.")
				e.outcome = stage.Failed
				return s.fail(c, e)
			},
		}
	}
	return []stage.Fault{
		refused("transient", "a failure that passes: TRANSIENT_ERROR", "internalError", "TRANSIENT_ERROR", http.StatusInternalServerError),
		refused("internal", "INTERNAL_ERROR", "internalError", "INTERNAL_ERROR", http.StatusInternalServerError),
		refused("deadline", "the query takes too long: DEADLINE_EXCEEDED", "internalError", "DEADLINE_EXCEEDED", http.StatusGatewayTimeout),
		{
			Name: "service-disabled", Section: section, Help: "the front end refuses: the API is not enabled in the project", Default: "endpoint=api",
			Instead: func(c *stage.Call, _ *stage.Active) *stage.Reply {
				return s.fail(c, &apiError{status: http.StatusForbidden, reason: "SERVICE_DISABLED", message: "Google Ads API has not been used in project 123456789012 before or it is disabled.", outcome: stage.Forbidden})
			},
		},
	}
}

func reportFaults() []stage.Fault {
	const section = "queries"
	return []stage.Fault{
		{Name: "token-expired-page", Section: section, Help: "the page token has expired", Default: "endpoint=search,page=2,times=1"},
		{Name: "duplicate", Section: section, Help: "a page begins with the last rows of the one before", Default: "endpoint=search,page=2", Params: []stage.Param{number("rows", "1", "how many")}},
		{Name: "stream-cut", Section: section, Help: "a stream ends early, without its last bracket, though the HTTP is whole", Default: "endpoint=stream,on=1,times=1", Params: []stage.Param{number("chunks", "1", "after how many")}},
		{Name: "stream-error", Section: section, Help: "a stream with status 200 ends in an error", Default: "endpoint=stream,on=1,times=1", Params: []stage.Param{number("chunks", "1", "after how many chunks")}},
		{Name: "restated", Section: section, Help: "figures of long ago change", Default: "endpoint=queries,on=8,times=1", Params: []stage.Param{
			number("back", "60", "how many days ago they begin"), number("days", "7", "how many days"), number("per-mille", "1100", "what becomes of them"),
		}},
		{Name: "totals-disagree", Section: section, Help: "the customer's totals are not the sum of its campaigns", Default: "endpoint=queries,level=customer", Params: []stage.Param{
			{Name: "day", Default: "", Help: "on which day, such as 2026-11-20; empty: on every one"}, number("per-mille", "900", "of what they should be"),
		}},
	}
}

// broken is the API when it is down.
func (s *Server) broken(c *stage.Call, code int) *stage.Reply {
	e := &apiError{status: code, outcome: stage.Failed}
	if code < http.StatusInternalServerError {
		e.outcome = stage.Bad
	}
	return s.fail(c, e)
}
