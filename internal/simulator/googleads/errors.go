package googleads

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"adsync/internal/simulator/internal/dice"
	"adsync/internal/simulator/internal/stage"
)

// apiError is the body of a refusal.
type apiError struct {
	status        int
	family, value string // empty: a refusal by the front end, without GoogleAdsFailure
	message       string
	field         string // of the location
	reason        string // of an ErrorInfo, where there is no family
	outcome       stage.Outcome
	scope, rate   string // of quota errors
	retry         time.Duration
}

// statuses of google.rpc and what goes with them.
var statuses = map[int][2]string{
	400: {"INVALID_ARGUMENT", "Request contains an invalid argument."},
	401: {"UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."},
	403: {"PERMISSION_DENIED", "The caller does not have permission"},
	404: {"NOT_FOUND", "Requested entity was not found."},
	429: {"RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."},
	500: {"INTERNAL", "Internal error encountered."},
	503: {"UNAVAILABLE", "The service is currently unavailable."},
	504: {"DEADLINE_EXCEEDED", "Deadline exceeded"},
}

func refusal(status int, family, value, format string, args ...any) *apiError {
	return &apiError{status: status, family: family, value: value, message: fmt.Sprintf(format, args...)}
}

func (e *apiError) append(b []byte, version int, requestID string) []byte {
	rpc, ok := statuses[e.status]
	if !ok {
		rpc = [2]string{"UNKNOWN", http.StatusText(e.status)}
	}
	top := rpc[1]
	if e.family == "" && e.message != "" {
		top = e.message
	}
	b = append(b, `{"error":{"code":`...)
	b = strconv.AppendInt(b, int64(e.status), 10)
	b = append(b, `,"message":`...)
	b = stage.Quote(b, top)
	b = append(b, `,"status":"`+rpc[0]+`"`...)
	switch {
	case e.family != "":
		b = fmt.Appendf(b, `,"details":[{"@type":"type.googleapis.com/google.ads.googleads.v%d.errors.GoogleAdsFailure","errors":[{"errorCode":{%q:%q},"message":`, version, e.family, e.value)
		b = stage.Quote(b, e.message)
		if e.field != "" {
			b = fmt.Appendf(b, `,"location":{"fieldPathElements":[{"fieldName":%q}]}`, e.field)
		}
		if e.scope != "" {
			b = fmt.Appendf(b, `,"details":{"quotaErrorDetails":{"rateScope":%q,"rateName":%q,"retryDelay":"%ss"}}`, e.scope, e.rate, strconv.FormatFloat(e.retry.Seconds(), 'f', -1, 64))
		}
		b = append(b, `}],"requestId":"`+requestID+`"}]`...)
	case e.reason != "":
		b = fmt.Appendf(b, `,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%q,"domain":"googleapis.com"}]`, e.reason)
	}
	return append(b, "}}"...)
}

// fail answers with an error; a stream's is wrapped in a list.
func (s *Server) fail(c *stage.Call, e *apiError) *stage.Reply {
	rq := c.State.(*request)
	b := e.append(nil, rq.versionOr(), s.requestID(c))
	if c.Endpoint == "stream" {
		b = append(append([]byte{'['}, b...), ']')
	}
	return (&stage.Reply{Status: e.status, Type: stage.JSON, Body: b, Outcome: e.outcome}).With("Request-Id", s.requestID(c))
}

// requestID is what support asks for. It is the same all over one answer.
func (s *Server) requestID(c *stage.Call) string {
	rq := c.State.(*request)
	if rq.id == "" {
		rq.id = fmt.Sprintf("R%015x", dice.Mix(s.cfg.Seed+uint64(s.serial.Add(1)))>>4)
	}
	return rq.id
}

func invalid(f *queryFault) *apiError {
	e := refusal(http.StatusBadRequest, "queryError", f.value, "%s", f.message)
	e.field = "query"
	return e
}
