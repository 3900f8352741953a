package googleads

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

func failureOf(status int, rpc string, errs ...string) platform.Reply {
	return text(status, fmt.Sprintf(`{"error":{"code":%d,"message":"Top.","status":%q,"details":[{"@type":"type.googleapis.com/google.ads.googleads.v25.errors.GoogleAdsFailure","errors":[%s],"requestId":"req-1"}]}}`, status, rpc, strings.Join(errs, ",")))
}

func one(family, value string) string {
	return fmt.Sprintf(`{"errorCode":{%q:%q},"message":"Said."}`, family, value)
}

func limited(value, scope, delay string) string {
	return fmt.Sprintf(`{"errorCode":{"quotaError":%q},"message":"Too many.","details":{"quotaErrorDetails":{"rateScope":%q,"rateName":"n","retryDelay":%q}}}`, value, scope, delay)
}

// The table of the platform's errors: the family and value first, else the status; the worst of several; waits and whose quota it is.
func TestClassify(t *testing.T) {
	none := time.Duration(-1)
	for _, x := range []struct {
		name     string
		endpoint string
		reply    platform.Reply
		class    ads.Class
		code     string
		wait     time.Duration
		whole    bool
		hint     string // a part of it
	}{
		{"token ended", "", failureOf(401, "UNAUTHENTICATED", one("authenticationError", "OAUTH_TOKEN_EXPIRED")), ads.ClassTokenDead, "OAUTH_TOKEN_EXPIRED", none, false, "log in"},
		{"token unknown", "", failureOf(401, "UNAUTHENTICATED", one("authenticationError", "OAUTH_TOKEN_INVALID")), ads.ClassTokenDead, "OAUTH_TOKEN_INVALID", none, false, ""},
		{"plain 401", "", text(401, `{"error":{"code":401,"message":"Invalid.","status":"UNAUTHENTICATED"}}`), ads.ClassTokenDead, "http_401", none, false, ""},
		{"401 without words", "", text(401, ``), ads.ClassTokenDead, "http_401", none, false, ""},
		{"a value of tomorrow, 401", "", failureOf(401, "UNAUTHENTICATED", one("authenticationError", "NEWER")), ads.ClassTokenDead, "NEWER", none, false, ""},
		{"revoked", "", failureOf(401, "UNAUTHENTICATED", one("authenticationError", "OAUTH_TOKEN_REVOKED")), ads.ClassAuth, "OAUTH_TOKEN_REVOKED", none, false, "adsync auth google"},
		{"no user of ads", "", failureOf(403, "PERMISSION_DENIED", one("authenticationError", "NOT_ADS_USER")), ads.ClassAuth, "NOT_ADS_USER", none, false, "invite"},
		{"two steps", "", failureOf(401, "UNAUTHENTICATED", one("authenticationError", "TWO_STEP_VERIFICATION_NOT_ENROLLED")), ads.ClassAuth, "TWO_STEP_VERIFICATION_NOT_ENROLLED", none, false, "two-step"},
		{"no such customer", "", failureOf(400, "INVALID_ARGUMENT", one("authenticationError", "CUSTOMER_NOT_FOUND")), ads.ClassDenied, "CUSTOMER_NOT_FOUND", none, false, "five minutes"},
		{"no permission", "", failureOf(403, "PERMISSION_DENIED", one("authorizationError", "USER_PERMISSION_DENIED")), ads.ClassDenied, "USER_PERMISSION_DENIED", none, false, "login_customer_id"},
		{"wrong root", "", failureOf(403, "PERMISSION_DENIED", one("authorizationError", "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION")), ads.ClassDenied, "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION", none, false, "login_customer_id"},
		{"no root", "", failureOf(400, "INVALID_ARGUMENT", one("requestError", "LOGIN_CUSTOMER_ID_PARAMETER_MISSING")), ads.ClassDenied, "LOGIN_CUSTOMER_ID_PARAMETER_MISSING", none, false, "login_customer_id"},
		{"root not valid", "", failureOf(400, "INVALID_ARGUMENT", one("headerError", "INVALID_LOGIN_CUSTOMER_ID")), ads.ClassDenied, "INVALID_LOGIN_CUSTOMER_ID", none, false, ""},
		{"closed", "", failureOf(403, "PERMISSION_DENIED", one("authorizationError", "CUSTOMER_NOT_ENABLED")), ads.ClassDenied, "CUSTOMER_NOT_ENABLED", none, false, "closed"},
		{"test access", "", failureOf(403, "PERMISSION_DENIED", one("authorizationError", "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION")), ads.ClassAuth, "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION", none, false, "access level"},
		{"project off", "", failureOf(403, "PERMISSION_DENIED", one("authorizationError", "PROJECT_DISABLED")), ads.ClassAuth, "PROJECT_DISABLED", none, false, "ask for a run"},
		{"developer token wanted", "", failureOf(400, "INVALID_ARGUMENT", one("requestError", "DEVELOPER_TOKEN_PARAMETER_MISSING")), ads.ClassAuth, "DEVELOPER_TOKEN_PARAMETER_MISSING", none, false, "developer_token"},
		{"figures not for him", "", failureOf(403, "PERMISSION_DENIED", one("authorizationError", "METRIC_ACCESS_DENIED")), ads.ClassPermanent, "METRIC_ACCESS_DENIED", none, false, ""},
		{"day's quota", "", failureOf(429, "RESOURCE_EXHAUSTED", one("quotaError", "RESOURCE_EXHAUSTED")), ads.ClassThrottled, "RESOURCE_EXHAUSTED", 30 * time.Minute, true, "access level"},
		{"day's quota, told", "", failureOf(429, "RESOURCE_EXHAUSTED", limited("RESOURCE_EXHAUSTED", "DEVELOPER", "7200.5s")), ads.ClassThrottled, "RESOURCE_EXHAUSTED", 7200500 * time.Millisecond, true, ""},
		{"pace of an account", "", failureOf(429, "RESOURCE_EXHAUSTED", limited("RESOURCE_TEMPORARILY_EXHAUSTED", "ACCOUNT", "5s")), ads.ClassThrottled, "RESOURCE_TEMPORARILY_EXHAUSTED", 5 * time.Second, false, ""},
		{"pace of the project", "", failureOf(429, "RESOURCE_EXHAUSTED", limited("RESOURCE_TEMPORARILY_EXHAUSTED", "DEVELOPER", "1.0004s")), ads.ClassThrottled, "RESOURCE_TEMPORARILY_EXHAUSTED", 1001 * time.Millisecond, true, ""},
		{"pace, nothing told", "", failureOf(429, "RESOURCE_EXHAUSTED", one("quotaError", "RESOURCE_TEMPORARILY_EXHAUSTED")), ads.ClassThrottled, "RESOURCE_TEMPORARILY_EXHAUSTED", none, true, ""},
		{"expensive", "", failureOf(429, "RESOURCE_EXHAUSTED", one("quotaError", "EXCESSIVE_SHORT_TERM_QUERY_RESOURCE_CONSUMPTION")), ads.ClassThrottled, "EXCESSIVE_SHORT_TERM_QUERY_RESOURCE_CONSUMPTION", 5 * time.Minute, false, "shorter"},
		{"expensive all day", "", failureOf(429, "RESOURCE_EXHAUSTED", one("quotaError", "EXCESSIVE_LONG_TERM_QUERY_RESOURCE_CONSUMPTION")), ads.ClassThrottled, "EXCESSIVE_LONG_TERM_QUERY_RESOURCE_CONSUMPTION", 4 * time.Hour, false, ""},
		{"several waits", "", failureOf(429, "RESOURCE_EXHAUSTED", limited("RESOURCE_TEMPORARILY_EXHAUSTED", "ACCOUNT", "5s"), limited("RESOURCE_TEMPORARILY_EXHAUSTED", "ACCOUNT", "9s")), ads.ClassThrottled, "RESOURCE_TEMPORARILY_EXHAUSTED", 9 * time.Second, false, ""},
		{"429 of the front end", "", text(429, `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"12s"}]}}`), ads.ClassThrottled, "http_429", 12 * time.Second, true, ""},
		{"passes", "", failureOf(500, "INTERNAL", one("internalError", "TRANSIENT_ERROR")), ads.ClassTransient, "TRANSIENT_ERROR", none, false, ""},
		{"internal", "", failureOf(500, "INTERNAL", one("internalError", "INTERNAL_ERROR")), ads.ClassTransient, "INTERNAL_ERROR", none, false, ""},
		{"503", "", text(503, `<html>`), ads.ClassTransient, "http_503", none, false, ""},
		{"504", endpointReport, text(504, `<html>`), ads.ClassTransient, "http_504", none, false, ""},
		{"a report too slow", endpointReport, failureOf(504, "DEADLINE_EXCEEDED", one("internalError", "DEADLINE_EXCEEDED")), ads.ClassTooLarge, "DEADLINE_EXCEEDED", none, false, ""},
		{"a report too slow for the gateway", endpointReport, text(504, `{"error":{"code":504,"message":"Deadline exceeded","status":"DEADLINE_EXCEEDED"}}`), ads.ClassTooLarge, "http_504", none, false, ""},
		{"a listing too slow", "list ads", failureOf(504, "DEADLINE_EXCEEDED", one("internalError", "DEADLINE_EXCEEDED")), ads.ClassTransient, "DEADLINE_EXCEEDED", none, false, ""},
		{"deadline too short", endpointReport, failureOf(400, "INVALID_ARGUMENT", one("requestError", "RPC_DEADLINE_TOO_SHORT")), ads.ClassTooLarge, "RPC_DEADLINE_TOO_SHORT", none, false, ""},
		{"too many days", endpointReport, failureOf(400, "INVALID_ARGUMENT", one("queryError", "DATE_RANGE_TOO_WIDE")), ads.ClassTooLarge, "DATE_RANGE_TOO_WIDE", none, false, ""},
		{"page token ended", "list ads", failureOf(400, "INVALID_ARGUMENT", one("requestError", "EXPIRED_PAGE_TOKEN")), ads.ClassStaleCursor, "EXPIRED_PAGE_TOKEN", none, false, ""},
		{"page token unknown", endpointReport, failureOf(400, "INVALID_ARGUMENT", one("requestError", "INVALID_PAGE_TOKEN")), ads.ClassStaleCursor, "INVALID_PAGE_TOKEN", none, false, ""},
		{"page size", "", failureOf(400, "INVALID_ARGUMENT", one("requestError", "PAGE_SIZE_NOT_SUPPORTED")), ads.ClassPermanent, "PAGE_SIZE_NOT_SUPPORTED", none, false, ""},
		{"field", "", failureOf(400, "INVALID_ARGUMENT", one("queryError", "UNRECOGNIZED_FIELD")), ads.ClassPermanent, "UNRECOGNIZED_FIELD", none, false, "version"},
		{"figures of a manager", "", failureOf(400, "INVALID_ARGUMENT", one("queryError", "REQUESTED_METRICS_FOR_MANAGER")), ads.ClassPermanent, "REQUESTED_METRICS_FOR_MANAGER", none, false, "manager"},
		{"version", "", failureOf(400, "INVALID_ARGUMENT", one("requestError", "UNSUPPORTED_VERSION")), ads.ClassPermanent, "UNSUPPORTED_VERSION", none, false, DefaultVersion},
		{"no page", "", platform.Reply{Status: 404, Header: http.Header{"Content-Type": {"text/html; charset=UTF-8"}}, Body: []byte("<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>")}, ads.ClassPermanent, "http_404", none, false, "url"},
		{"not enabled", "", text(403, `{"error":{"code":403,"message":"Not used before.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED","domain":"googleapis.com"}]}}`), ads.ClassAuth, "SERVICE_DISABLED", none, false, "enable the Google Ads API"},
		{"scope", "", text(403, `{"error":{"code":403,"message":"m","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}`), ads.ClassAuth, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", none, false, "auth/adwords"},
		{"403 in a list", endpointReport, text(403, `[{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED","details":[]}}]`), ads.ClassDenied, "http_403", none, false, ""},
		{"the worst of several", "", failureOf(400, "INVALID_ARGUMENT", one("internalError", "TRANSIENT_ERROR"), one("authorizationError", "USER_PERMISSION_DENIED"), one("queryError", "BAD_FIELD_NAME")), ads.ClassDenied, "USER_PERMISSION_DENIED", none, false, ""},
		{"an unknown family", "", failureOf(400, "INVALID_ARGUMENT", one("somethingNewError", "X")), ads.ClassPermanent, "X", none, false, ""},
		{"an unknown family, 503", "", failureOf(503, "UNAVAILABLE", one("somethingNewError", "X")), ads.ClassTransient, "X", none, false, ""},
		{"a number where an error should be", "", failureOf(403, "PERMISSION_DENIED", `7`, one("authorizationError", "CUSTOMER_NOT_ENABLED")), ads.ClassDenied, "CUSTOMER_NOT_ENABLED", none, false, ""},
		{"details of another kind", "", text(429, `{"error":{"code":"429","message":["x"],"status":"RESOURCE_EXHAUSTED","details":"none"}}`), ads.ClassThrottled, "http_429", none, true, ""},
		{"an error with 200", "list ads", text(200, `{"error":{"code":503,"message":"Gone.","status":"UNAVAILABLE"}}`), ads.ClassTransient, "http_200", none, false, ""},
		{"a stream that ends in an error", endpointReport, text(200, `[{"results":[],"fieldMask":"x"},{"error":{"code":500,"message":"m","status":"INTERNAL","details":[{"@type":"a/google.ads.googleads.v26.errors.GoogleAdsFailure","errors":[`+one("internalError", "INTERNAL_ERROR")+`]}]}}]`), ads.ClassTransient, "INTERNAL_ERROR", none, false, ""},
		{"a stream that is throttled", endpointReport, text(200, `[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"@type":"a/google.ads.googleads.v26.errors.GoogleAdsFailure","errors":[`+limited("RESOURCE_EXHAUSTED", "DEVELOPER", "60s")+`]}]}}]`), ads.ClassThrottled, "RESOURCE_EXHAUSTED", time.Minute, true, ""},
		{"good", "list ads", text(200, `{"results":[{"campaign":{"id":"1","name":"{\"error\":{}}"}}]}`), ads.ClassOK, "", none, false, ""},
		{"a good stream", endpointReport, text(200, `[{"results":[{"campaign":{"name":"{\"error\":{}}"}}],"fieldMask":"x"}]`), ads.ClassOK, "", none, false, ""},
		{"teapot", "", text(418, ``), ads.ClassPermanent, "http_418", none, false, ""},

		{"grant", endpointToken, text(400, `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`), ads.ClassAuth, "invalid_grant", none, false, "seven days"},
		{"session", endpointToken, text(400, `{"error":"invalid_grant","error_subtype":"invalid_rapt"}`), ads.ClassAuth, "invalid_grant", none, false, "adsync auth google"},
		{"client", endpointToken, text(401, `{"error":"invalid_client","error_description":"The OAuth client was not found."}`), ads.ClassAuth, "invalid_client", none, false, "client_secret"},
		{"token page down", endpointToken, text(503, `<html>`), ads.ClassTransient, "http_503", none, false, ""},
		{"token page busy", endpointToken, text(429, ``), ads.ClassThrottled, "http_429", none, true, ""},
		{"token page elsewhere", endpointToken, text(403, `<html>Log in to the hotel's network`), ads.ClassPermanent, "http_403", none, false, "reached"},
		{"a token", endpointToken, text(200, `{"access_token":"x"}`), ads.ClassOK, "", none, false, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := made(t, Options{Version: "v24"})
			x.reply.Endpoint = x.endpoint
			v := p.Classify(x.reply)
			wait := none
			if v.Wait.Set {
				wait = v.Wait.Value
			}
			if v.Class != x.class || v.Code != x.code || wait != x.wait || v.Whole != x.whole || !strings.Contains(v.Hint, x.hint) {
				t.Errorf("got %q %q, wait %s, whole %t, hint %q", v.Class, v.Code, wait, v.Whole, v.Hint)
			}
			if (v.Message == "") != (v.Class == ads.ClassOK) {
				t.Errorf("message %q", v.Message)
			}
			if v.Class != ads.ClassOK && strings.Contains(string(x.reply.Body), "req-1") && v.RequestID != "req-1" {
				t.Errorf("request id %q", v.RequestID)
			}
			if strings.Contains(string(x.reply.Body), "UNSUPPORTED_VERSION") && !strings.Contains(v.Message, "v24") {
				t.Errorf("the version is not named: %s", v.Message)
			}
		})
	}
	p := made(t, Options{})
	if v := p.Classify(platform.Reply{Status: 500, Header: http.Header{"Request-Id": {"from-header\x1b"}}}); v.RequestID != "from-header " {
		t.Errorf("request id %q", v.RequestID)
	}
}

// What the platform says is shown, and cannot do harm where it is shown.
func TestClassifyWords(t *testing.T) {
	v := made(t, Options{}).Classify(failureOf(400, "INVALID_ARGUMENT", `{"errorCode":{"queryError":"UNRECOGNIZED_FIELD"},"message":"Unrecognized field: 'x'.\u001b[31m\n`+strings.Repeat("é", 500)+`"}`))
	if !strings.Contains(v.Message, "400 Bad Request") || !strings.Contains(v.Message, "queryError UNRECOGNIZED_FIELD: Unrecognized field: 'x'.") || strings.ContainsAny(v.Message, "\x1b\n") || len(v.Message) > 400 {
		t.Errorf("%q", v.Message)
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"5s": 5 * time.Second, "3.5s": 3500 * time.Millisecond, "0.0001s": time.Millisecond, "0s": 0, "-4s": 0, "1e99s": (1 << 33) * time.Second, " 7s ": 7 * time.Second,
		"": -1, "5": -1, "5m": -1, "s": -1, "NaNs": -1, "five": -1,
	} {
		got, ok := duration(scalar{in, '"'})
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
