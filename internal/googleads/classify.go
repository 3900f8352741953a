package googleads

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// failure is the body of a refusal. Any part may be missing, or of another type.
type failure struct {
	Code    scalar   `json:"code"`
	Message scalar   `json:"message"`
	Status  scalar   `json:"status"`
	Details []detail `json:"details"`
}

// detail is one of several kinds, told by their type: GoogleAdsFailure of any version, google.rpc.ErrorInfo, google.rpc.RetryInfo.
type detail struct {
	Type      scalar         `json:"@type"`
	Errors    jsontext.Value `json:"errors"`
	RequestID scalar         `json:"requestId"`
	Reason    scalar         `json:"reason"`
	Retry     scalar         `json:"retryDelay"`
}

type adsError struct {
	Code    map[string]scalar `json:"errorCode"`
	Message scalar            `json:"message"`
	Details struct {
		Quota struct {
			Scope scalar `json:"rateScope"`
			Name  scalar `json:"rateName"`
			Retry scalar `json:"retryDelay"`
		} `json:"quotaErrorDetails"`
	} `json:"details"`
}

// maxFailure bounds a body that is read as a refusal.
const maxFailure = 256 << 10

// readFailure finds the error of a body: {"error": {…}}, the same in a list, as searchStream gives it.
func readFailure(body []byte) (f failure, ok bool) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || len(body) > maxFailure {
		return f, false
	}
	type holder struct {
		Error jsontext.Value `json:"error"`
	}
	var hs []holder
	switch body[0] {
	case '{':
		var h holder
		if json.Unmarshal(body, &h, loose) != nil {
			return f, false
		}
		hs = append(hs, h)
	case '[':
		if json.Unmarshal(body, &hs, loose) != nil {
			return f, false
		}
	}
	for _, h := range hs {
		if h.Error.Kind() != '{' {
			continue
		}
		if json.Unmarshal(h.Error, &f, loose) == nil {
			return f, true
		}
		// One part is of another kind than it should be: what can be told without it.
		var less struct {
			Message scalar `json:"message"`
			Status  scalar `json:"status"`
		}
		_ = json.Unmarshal(h.Error, &less, loose)
		return failure{Message: less.Message, Status: less.Status}, true
	}
	return f, false
}

// Classify implements platform.Platform.
func (p *Platform) Classify(r platform.Reply) platform.Verdict {
	v := platform.Verdict{RequestID: ads.Printable(r.Header.Get("Request-Id"), 80)}
	if r.Endpoint == endpointToken {
		return classifyToken(r, v)
	}
	if r.Status/100 == 2 {
		return p.classifyGood(r, v)
	}
	f, ok := readFailure(r.Body)
	return p.judge(r, f, ok, v)
}

// classifyGood finds an error in an answer with status 200: alone, or as the last element of a stream. Only the end of a large body is looked at.
func (p *Platform) classifyGood(r platform.Reply, v platform.Verdict) platform.Verdict {
	const most = 32 << 10
	body := bytes.TrimSpace(r.Body)
	if len(body) == 0 {
		return v
	}
	if body[0] == '{' {
		if len(body) > most {
			return v
		}
		if f, ok := readFailure(body); ok {
			return p.judge(r, f, true, v)
		}
		return v
	}
	tail := body[max(0, len(body)-most):]
	i := bytes.LastIndex(tail, []byte(`{"error"`))
	if body[0] != '[' || i < 0 || body[len(body)-1] != ']' {
		return v
	}
	if f, ok := readFailure(append([]byte{'['}, tail[i:]...)); ok {
		return p.judge(r, f, true, v)
	}
	return v
}

// judge says what an error means: the worst of those that the API names, else what the front end or the status says.
func (p *Platform) judge(r platform.Reply, f failure, known bool, v platform.Verdict) platform.Verdict {
	worst := rule{}
	said, scope := "", ""
	for _, d := range f.Details {
		switch kind := d.Type.text; {
		case strings.HasSuffix(kind, "GoogleAdsFailure"):
			v.RequestID = cmp.Or(ads.Printable(d.RequestID.text, 80), v.RequestID)
			for _, e := range adsErrors(d.Errors) {
				family, value := e.code()
				x := ruleOf(family, value)
				if x.class == ads.ClassOK {
					x = byStatus(r.Status, f.Status.text)
				}
				if wait, ok := duration(e.Details.Quota.Retry); ok && (!v.Wait.Set || wait > v.Wait.Value) {
					v.Wait = ads.Some(wait)
				}
				if severity[x.class] <= severity[worst.class] {
					continue
				}
				worst, v.Code, scope = x, value, e.Details.Quota.Scope.text
				said = strings.TrimSpace(family + " " + value + ": " + e.Message.text)
			}
		case strings.HasSuffix(kind, "ErrorInfo"):
			if x, ok := reasons[d.Reason.text]; ok && severity[x.class] > severity[worst.class] {
				worst, v.Code, said = x, d.Reason.text, d.Reason.text+": "+f.Message.text
			}
		case strings.HasSuffix(kind, "RetryInfo"):
			if wait, ok := duration(d.Retry); ok && !v.Wait.Set {
				v.Wait = ads.Some(wait)
			}
		}
	}
	if worst.class == ads.ClassOK {
		worst = byStatus(r.Status, f.Status.text)
	}
	v.Class, v.Hint = worst.class, worst.hint
	if v.Code == "" {
		v.Code = "http_" + strconv.Itoa(r.Status)
	}
	v.Message = describe(r, cmp.Or(said, f.Message.text, f.Status.text))
	switch {
	case v.Class == ads.ClassTooLarge && r.Endpoint != endpointReport:
		v.Class = ads.ClassTransient // a listing has no days to take away
	case v.Class == ads.ClassThrottled:
		v.Whole = scope == "DEVELOPER" || scope != "ACCOUNT" && !strings.HasPrefix(v.Code, "EXCESSIVE_")
		if !v.Wait.Set && worst.wait > 0 {
			v.Wait = ads.Some(worst.wait)
		}
	case v.Code == codeVersion:
		v.Message += "; this connection asks for " + p.o.Version
		v.Hint = hintVersion
	case r.Status == http.StatusNotFound && !known:
		v.Message += "; there is no such page: version " + p.o.Version + " of the API may have been switched off"
		v.Hint = hintVersion + "; and check the connection's url"
	}
	return v
}

// adsErrors reads a list of errors one by one: one that cannot be read must not hide the others.
func adsErrors(v jsontext.Value) (out []adsError) {
	var parts []jsontext.Value
	if v.Kind() != '[' || json.Unmarshal(v, &parts, loose) != nil {
		return nil
	}
	for _, part := range parts {
		var e adsError
		if json.Unmarshal(part, &e, loose) == nil {
			out = append(out, e)
		}
	}
	return out
}

// code is the one key of errorCode and its value; of several, the first in order, so that the answer is always the same.
func (e *adsError) code() (family, value string) {
	for k, v := range e.Code {
		if family == "" || k < family {
			family, value = k, v.text
		}
	}
	return ads.Printable(family, 80), ads.Printable(value, 120)
}

// byStatus is what an answer means that gives no error of the API: by the status of HTTP, or, with a 200, by that of gRPC.
func byStatus(status int, rpc string) rule {
	if status/100 == 2 {
		status = statuses[rpc]
	}
	switch {
	case status == http.StatusUnauthorized:
		return rule{class: ads.ClassTokenDead, hint: hintLogin}
	case status == http.StatusForbidden:
		return rule{class: ads.ClassDenied, hint: hintRights}
	case status == http.StatusTooManyRequests:
		return rule{class: ads.ClassThrottled}
	case rpc == "DEADLINE_EXCEEDED":
		return rule{class: ads.ClassTooLarge}
	case status == http.StatusRequestTimeout || status == http.StatusConflict || status == http.StatusTooEarly, status >= 500 && status != http.StatusNotImplemented, status == 0:
		return rule{class: ads.ClassTransient}
	}
	return rule{class: ads.ClassPermanent}
}

// statuses of HTTP that go with those of gRPC.
var statuses = map[string]int{
	"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ABORTED": 409, "RESOURCE_EXHAUSTED": 429,
	"CANCELLED": 500, "INTERNAL": 500, "UNKNOWN": 500, "DATA_LOSS": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}

// duration reads "3.5s", rounded up to milliseconds.
func duration(s scalar) (time.Duration, bool) {
	digits, ok := strings.CutSuffix(strings.TrimSpace(s.text), "s")
	if !ok && s.kind != '0' {
		return 0, false
	}
	secs, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsNaN(secs) {
		return 0, false
	}
	const most = 1 << 33 // seconds; time.Duration ends a little above
	return time.Duration(math.Ceil(min(max(secs, 0), most)*1000)) * time.Millisecond, true
}

// describe puts a refusal in words: the platform's own where it has any.
func describe(r platform.Reply, said string) string {
	head := strconv.Itoa(r.Status)
	if t := http.StatusText(r.Status); t != "" {
		head += " " + t
	}
	if said = strings.TrimSpace(said); said != "" {
		return head + ", the platform says: " + ads.Printable(said, 250)
	}
	if len(r.Body) > 0 {
		return fmt.Sprintf("%s (%s)", head, bodyKind(r))
	}
	return head
}

// bodyKind names a body without printing it.
func bodyKind(r platform.Reply) string {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return fmt.Sprintf("%s, %d bytes", ads.Printable(cmp.Or(strings.TrimSpace(kind), "no content type"), 60), len(r.Body))
}

// classifyToken judges an answer of the token endpoint.
func classifyToken(r platform.Reply, v platform.Verdict) platform.Verdict {
	if r.Status/100 == 2 {
		return v
	}
	var f struct {
		Error   jsontext.Value `json:"error"`
		Why     scalar         `json:"error_description"`
		Subtype scalar         `json:"error_subtype"`
	}
	name, why := "", ""
	if body := bytes.TrimSpace(r.Body); len(body) > 0 && body[0] == '{' && len(body) <= maxFailure && json.Unmarshal(body, &f, loose) == nil && f.Error.Kind() == '"' {
		var s scalar
		_ = json.Unmarshal(f.Error, &s, loose)
		name, why = s.text, f.Why.text
	}
	v.Code = cmp.Or(ads.Printable(name, 60), "http_"+strconv.Itoa(r.Status))
	v.Message = describe(r, strings.TrimSuffix(name+": "+why, ": "))
	if f.Subtype.text == "invalid_rapt" {
		v.Message += " (the organisation wants its users to log in again)"
	}
	switch {
	case r.Status == http.StatusTooManyRequests:
		v.Class, v.Whole = ads.ClassThrottled, true
	case r.Status >= 500 || r.Status == http.StatusRequestTimeout, name == "temporarily_unavailable", name == "internal_failure", name == "server_error":
		v.Class = ads.ClassTransient
	case name != "":
		v.Class, v.Hint = ads.ClassAuth, cmp.Or(hintsToken[name], hintLogin)
	default: // somebody else than the token endpoint has answered: it says nothing about the credentials
		v.Class, v.Hint = ads.ClassPermanent, "check that the token endpoint can be reached from here, and that nothing on the way answers in its place"
	}
	return v
}
