package meta

import (
	"fmt"
	"net/http"
	"strconv"

	"adsync/internal/simulator/internal/dice"
	"adsync/internal/simulator/internal/stage"
)

// graphError is the body of a refusal.
type graphError struct {
	status    int
	code      int
	sub       int
	kind      string // OAuthException where empty
	message   string
	title     string
	user      string
	transient bool
	outcome   stage.Outcome
}

func (s *Server) fail(c *stage.Call, e graphError) *stage.Reply {
	if e.status == 0 {
		e.status = http.StatusBadRequest
	}
	if e.kind == "" {
		e.kind = "OAuthException"
	}
	trace := traceID(s, c)
	b := []byte(`{"error":{"message":`)
	b = stage.Quote(b, e.message)
	b = append(b, `,"type":"`...)
	b = append(b, e.kind...)
	b = append(b, '"')
	if e.transient {
		b = append(b, `,"is_transient":true`...)
	}
	b = append(b, `,"code":`...)
	b = strconv.AppendInt(b, int64(e.code), 10)
	if e.sub != 0 {
		b = append(b, `,"error_subcode":`...)
		b = strconv.AppendInt(b, int64(e.sub), 10)
	}
	if e.title != "" {
		b = append(b, `,"error_user_title":`...)
		b = stage.Quote(b, e.title)
		b = append(b, `,"error_user_msg":`...)
		b = stage.Quote(b, e.user)
	}
	b = append(b, `,"fbtrace_id":"`...)
	b = append(b, trace...)
	b = append(b, `"}}`...)
	return &stage.Reply{Status: e.status, Type: stage.JSON, Body: b, Outcome: e.outcome}
}

// traceID is what support asks for. It is the same for the error body and the headers of one answer.
func traceID(s *Server, c *stage.Call) string {
	rq := c.State.(*request)
	if rq.trace == "" {
		rq.trace = fmt.Sprintf("A%015x", dice.Mix(s.cfg.Seed+uint64(s.serial.Add(1)))>>4)
	}
	return rq.trace
}

func invalid(format string, args ...any) *graphError {
	return &graphError{code: 100, message: fmt.Sprintf("(#100) "+format, args...), outcome: stage.Bad}
}

// notThere is what a client gets for an object that does not exist or that its token cannot see.
func notThere(method, id string) *graphError {
	verb := "get"
	if method == http.MethodPost {
		verb = "post"
	}
	return &graphError{code: 100, sub: 33, kind: "GraphMethodException", outcome: stage.Bad, message: fmt.Sprintf(
		"Unsupported %s request. Object with ID '%s' does not exist, cannot be loaded due to missing permissions, or does not support this operation", verb, id)}
}

var (
	errReduce = &graphError{
		status: http.StatusInternalServerError, code: 1, message: "Please reduce the amount of data you're asking for, then retry your request", outcome: stage.Bad,
	}
	errTooMuch = &graphError{
		code: 100, sub: 1487534, message: "Invalid parameter", outcome: stage.Bad, title: "Too much data was requested",
		user: "Please reduce the amount of data you're asking for, then retry your request",
	}
	errSyncTimeout = &graphError{
		code: 100, sub: 1504018, message: "Invalid parameter", outcome: stage.Bad, title: "Your request timed out", user: "Please try a smaller date range, fetch less data, or use async jobs",
	}
	errNoPermission = &graphError{
		status: http.StatusForbidden, code: 200, outcome: stage.Forbidden,
		message: "(#200) Ad account owner has NOT grant ads_management or ads_read permission",
	}
	errNotGranted = &graphError{
		status: http.StatusForbidden, code: 10, outcome: stage.Forbidden, message: "(#10) Application does not have permission for this action",
	}
	errNoBusiness = &graphError{
		status: http.StatusForbidden, code: 200, outcome: stage.Forbidden, message: "(#200) Requires business_management permission to manage the object",
	}
)
