package adplatform

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// failure is the body of a refusal. Any part may be missing, of another type, or the whole may not be JSON.
type failure struct {
	Error      jsontext.Value `json:"error"`
	Message    jsontext.Value `json:"message"`
	RetryAfter jsontext.Value `json:"retry_after"`
	Data       jsontext.Value `json:"data"`
}

// Classify implements platform.Platform.
func (p *Platform) Classify(r platform.Reply) platform.Verdict {
	v := platform.Verdict{RequestID: requestID(r.Header)}
	if r.Status/100 == 2 {
		return classifyGood(r, v)
	}
	f, _ := readFailure(r.Body)
	v.Code = "http_" + strconv.Itoa(r.Status)
	v.Message = describe(r, f)
	v.Wait = waitOf(f.RetryAfter)
	switch {
	case r.Status == http.StatusTooManyRequests || (r.Status == http.StatusForbidden && saysThrottled(r, f)):
		v.Class, v.NotCounted = ads.ClassThrottled, true
	case r.Endpoint == endpointToken && (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden || r.Status == http.StatusBadRequest):
		v.Class = ads.ClassAuth
		v.Hint = "check e-mail and password of this connection; they are not tried again until they change"
	case r.Status == http.StatusUnauthorized:
		v.Class, v.NotCounted = ads.ClassTokenDead, true
	case r.Status == http.StatusForbidden:
		v.Class = ads.ClassDenied
		v.Hint = "the credentials are good but lack the right to this: ask the platform's administrator"
	case r.Status == http.StatusGone && r.Endpoint == endpointList:
		v.Class = ads.ClassStaleCursor
	case r.Status == http.StatusNotFound && r.Endpoint == endpointSync:
		v.Class, v.Code = ads.ClassPermanent, "not_found"
		v.Hint = "the platform listed this campaign but does not know it any more; the next complete listing settles it"
	case r.Status == http.StatusNotFound:
		v.Class = ads.ClassPermanent
		v.Hint = "check the connection's url: the API is not at this address"
	case r.Status == http.StatusBadRequest && r.Endpoint == endpointList:
		v.Class = ads.ClassPermanent
		v.Hint = fmt.Sprintf("the platform may not accept pages of %d: try a smaller page_size", p.o.PageSize)
	case r.Status == http.StatusRequestTimeout || r.Status == http.StatusConflict || r.Status == http.StatusTooEarly,
		r.Status >= 500 && r.Status != http.StatusNotImplemented:
		v.Class = ads.ClassTransient
	default:
		v.Class = ads.ClassPermanent
	}
	return v
}

// classifyGood finds refusals that came with a 200. Only a small body can be one, so large pages are not read twice.
func classifyGood(r platform.Reply, v platform.Verdict) platform.Verdict {
	if len(r.Body) > 4<<10 || r.Endpoint == endpointToken {
		return v
	}
	f, ok := readFailure(r.Body)
	if !ok || len(f.Error) == 0 || f.Error.Kind() == 'n' || f.Error.Kind() == 'f' || len(f.Data) > 0 {
		return v
	}
	if r.Endpoint == endpointSync && !saysThrottled(r, f) {
		return v // parseSync reads "success" and the platform's words
	}
	v.Message = describe(r, f)
	v.Code = "error_in_200"
	if saysThrottled(r, f) {
		v.Class, v.NotCounted, v.Wait = ads.ClassThrottled, true, waitOf(f.RetryAfter)
		return v
	}
	v.Class = ads.ClassBadReply
	return v
}

// saysThrottled recognises a refusal for quota under another status.
func saysThrottled(r platform.Reply, f failure) bool {
	if r.Header.Get("Retry-After") != "" || (len(f.RetryAfter) > 0 && f.RetryAfter.Kind() != 'n') {
		return true
	}
	text := strings.ToLower(plain(f.Error) + " " + plain(f.Message))
	return strings.Contains(text, "rate limit") || strings.Contains(text, "too many requests") || strings.Contains(text, "quota")
}

func readFailure(body []byte) (f failure, ok bool) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' || len(body) > 64<<10 {
		return f, false
	}
	err := json.Unmarshal(body, &f, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return f, err == nil
}

// plain is a JSON string's text, or a scalar as written; "" for anything else.
func plain(v jsontext.Value) string {
	switch v.Kind() {
	case '"':
		if bytes.IndexByte(v, '\\') < 0 && utf8.Valid(v) {
			return string(v[1 : len(v)-1])
		}
		b, err := jsontext.AppendUnquote(nil, v)
		if err != nil && len(b) == 0 {
			return ""
		}
		return string(b)
	case '0', 't', 'f':
		return string(v)
	}
	return ""
}

// describe puts a refusal in words: the platform's own where it has any.
func describe(r platform.Reply, f failure) string {
	head := strconv.Itoa(r.Status)
	if t := http.StatusText(r.Status); t != "" {
		head += " " + t
	}
	said := plain(f.Message)
	if e := plain(f.Error); e != "" && e != said {
		said = strings.TrimSuffix(e+": "+said, ": ")
	}
	if said != "" {
		return head + ", the platform says: " + ads.Printable(said, 200)
	}
	if len(r.Body) > 0 && !isJSON(r) {
		return fmt.Sprintf("%s (%s)", head, bodyKind(r))
	}
	return head
}

// waitOf reads retry_after: a number or a string of seconds, rounded up. Anything else is as if it were not there; a value of zero
// or less is kept, so that the client sees that something was said.
func waitOf(v jsontext.Value) ads.Opt[time.Duration] {
	s := strings.TrimSpace(plain(v))
	if s == "" || v.Kind() == 't' || v.Kind() == 'f' {
		return ads.Opt[time.Duration]{}
	}
	secs, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(secs, 0) || math.IsNaN(secs) {
		return ads.Opt[time.Duration]{}
	}
	const most = 1 << 33 // seconds; time.Duration ends a little above
	return ads.Some(time.Duration(math.Ceil(min(max(secs, 0), most))) * time.Second)
}

func requestID(h http.Header) string {
	return ads.Printable(cmp.Or(h.Get("X-Request-Id"), h.Get("X-Correlation-Id"), h.Get("Request-Id"), h.Get("X-Trace-Id")), 80)
}

func isJSON(r platform.Reply) bool {
	ct := r.Header.Get("Content-Type")
	if ct == "" {
		b := bytes.TrimSpace(r.Body)
		return len(b) > 0 && (b[0] == '{' || b[0] == '[')
	}
	mt, _, err := mime.ParseMediaType(ct)
	return err == nil && (mt == "application/json" || strings.HasSuffix(mt, "+json"))
}

// bodyKind names a body without printing it: "text/html, 5120 bytes".
func bodyKind(r platform.Reply) string {
	ct := r.Header.Get("Content-Type")
	mt, _, err := mime.ParseMediaType(ct)
	if err != nil {
		mt = cmp.Or(ct, "no content type")
	}
	return fmt.Sprintf("%s, %d bytes", ads.Printable(mt, 60), len(r.Body))
}
