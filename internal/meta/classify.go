package meta

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// Codes of errors that a connector's own code looks at.
const (
	codeReduce      = "reduce"
	codeNotThere    = "100/33"
	codeNotComplete = "2601"
)

// rule is what an error of the platform means. The texts that come with one are translated for each user; the codes are not.
type rule struct {
	class ads.Class
	whole bool          // it is about the app, not the account
	wait  time.Duration // of a throttle that tells none
	hint  string
}

const (
	anySub = 0

	hintLogin   = "somebody has to log in again: adsync auth meta, and configure the new access_token"
	hintRights  = "give the token's user the ads_read permission, and at least the right to analyse this ad account"
	hintSecret  = "check credentials.app_secret: it must be the secret of the app that the token belongs to"
	hintVersion = "set api_version to one that works: adsync platforms lists them"
	hintPolicy  = "the platform has blocked the app for a while: look at its dashboard before anything else"
)

// rules are by code and subcode; anySub holds for a code's other subcodes.
var rules = map[[2]int]rule{
	{190, anySub}: {class: ads.ClassTokenDead, hint: hintLogin},
	{102, anySub}: {class: ads.ClassTokenDead, hint: hintLogin},
	{104, anySub}: {class: ads.ClassAuth, hint: hintSecret},

	{10, anySub}: {class: ads.ClassDenied, hint: hintRights},
	{3, anySub}:  {class: ads.ClassDenied, hint: hintRights},
	{100, 33}:    {class: ads.ClassDenied, hint: hintRights},

	{100, 1487534}: {class: ads.ClassTooLarge},
	{100, 1504018}: {class: ads.ClassTooLarge},
	{2, 1504038}:   {class: ads.ClassTooLarge},
	{100, anySub}:  {class: ads.ClassPermanent},

	{1, anySub}:    {class: ads.ClassTransient},
	{2, anySub}:    {class: ads.ClassTransient},
	{2, 1504041}:   {class: ads.ClassPermanent},
	{2, 1504042}:   {class: ads.ClassPermanent},
	{960, anySub}:  {class: ads.ClassTransient},
	{2601, anySub}: {class: ads.ClassPermanent},

	{4, anySub}:   {class: ads.ClassThrottled, whole: true, wait: 5 * time.Minute},
	{341, anySub}: {class: ads.ClassThrottled, whole: true, wait: 15 * time.Minute},
	{368, anySub}: {class: ads.ClassThrottled, whole: true, wait: 15 * time.Minute, hint: hintPolicy},
	{17, anySub}:  {class: ads.ClassThrottled},
	{32, anySub}:  {class: ads.ClassThrottled},
	{613, anySub}: {class: ads.ClassThrottled},

	{2635, anySub}: {class: ads.ClassPermanent, hint: hintVersion},
}

// ruleOf is the rule of an error; its class is ads.ClassOK where none is known.
func ruleOf(code, sub int) rule {
	if r, ok := rules[[2]int{code, sub}]; ok {
		return r
	}
	if r, ok := rules[[2]int{code, anySub}]; ok {
		return r
	}
	switch {
	case code >= 200 && code <= 299:
		return rule{class: ads.ClassDenied, hint: hintRights}
	case code >= 80000 && code <= 80014:
		return rule{class: ads.ClassThrottled}
	case code < 0:
		return rule{class: ads.ClassTransient}
	}
	return rule{}
}

func codeText(code, sub int) string {
	if sub == 0 {
		return strconv.Itoa(code)
	}
	return strconv.Itoa(code) + "/" + strconv.Itoa(sub)
}

// refusal is an error object. Any part may be missing, or of another type.
type refusal struct {
	Message   scalar `json:"message"`
	Type      scalar `json:"type"`
	Code      scalar `json:"code"`
	Sub       scalar `json:"error_subcode"`
	Transient scalar `json:"is_transient"`
	Title     scalar `json:"error_user_title"`
	User      scalar `json:"error_user_msg"`
	Trace     scalar `json:"fbtrace_id"`
}

// maxRefusal is the largest body that is looked at for an error.
const maxRefusal = 64 << 10

// readRefusal finds the error of an answer. A page of data, which may be large, is told by how it begins.
func readRefusal(body []byte) (f refusal, ok bool) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' {
		return f, false
	}
	if first := bytes.TrimLeft(body[1:], " \t\r\n"); len(body) > maxRefusal || bytes.HasPrefix(first, []byte(`"data"`)) {
		return f, false
	}
	var x struct {
		Error jsontext.Value `json:"error"`
	}
	if json.Unmarshal(body, &x, decoding) != nil || x.Error.Kind() != '{' {
		return f, false
	}
	return f, json.Unmarshal(x.Error, &f, decoding) == nil
}

// Classify implements platform.Platform. What an answer means stands in its body, whatever its status is.
func (p *Platform) Classify(r platform.Reply) platform.Verdict {
	v := platform.Verdict{RequestID: ads.Printable(cmp.Or(r.Header.Get("X-Fb-Trace-Id"), r.Header.Get("X-Fb-Request-Id")), 80)}
	u := usageOf(r.Header, r.Endpoint)
	f, failed := readRefusal(r.Body)
	switch {
	case failed:
		p.judge(r, f, u, &v)
		return v
	case r.Status/100 == 2:
		if b := bytes.TrimSpace(r.Body); len(b) > 0 && b[0] != '{' && b[0] != '[' {
			v.Class, v.Code, v.Message = ads.ClassTransient, "not_json", "the platform answered with a text instead of JSON: "+ads.Printable(string(b[:min(len(b), 120)]), 80)
			return v
		}
		v.Usage, v.Hold = u.app, u.hold()
		return v
	}
	v.Code = "http_" + strconv.Itoa(r.Status)
	v.Message = strings.TrimSpace(strconv.Itoa(r.Status)+" "+http.StatusText(r.Status)) + " without an error object"
	switch {
	case r.Status == http.StatusTooManyRequests:
		v.Class, v.Wait = ads.ClassThrottled, u.wait()
	case r.Status >= 500 && r.Status != http.StatusNotImplemented, r.Status == http.StatusRequestTimeout:
		v.Class = ads.ClassTransient
	case r.Status == http.StatusUnauthorized:
		v.Class, v.Hint = ads.ClassTokenDead, hintLogin
	case r.Status == http.StatusForbidden:
		v.Class, v.Hint = ads.ClassDenied, hintRights
	default:
		v.Class = ads.ClassPermanent
		if r.Status == http.StatusNotFound {
			v.Hint = "check the connection's url: the API is not at this address"
		}
	}
	return v
}

func (p *Platform) judge(r platform.Reply, f refusal, u usage, v *platform.Verdict) {
	code, _ := strconv.Atoi(string(f.Code))
	sub, _ := strconv.Atoi(string(f.Sub))
	known := ruleOf(code, sub)
	v.Class, v.Hint, v.Whole = known.class, known.hint, known.whole
	v.Code = codeText(code, sub)
	v.Message = said(r.Status, f)
	v.RequestID = ads.Printable(cmp.Or(string(f.Trace), v.RequestID), 80)
	reduce := strings.Contains(strings.ToLower(string(f.Message)), "reduce the amount of data")
	switch {
	case code == 1 && reduce:
		v.Class, v.Code = ads.ClassTooLarge, codeReduce
	case r.Endpoint == endpointToken && v.Class != ads.ClassThrottled:
		p.judgeToken(r.Status, code, f, v)
		return
	case v.Class == ads.ClassOK && r.Status >= 500, f.Transient == "true" && (v.Class == ads.ClassOK || v.Class == ads.ClassPermanent):
		v.Class = ads.ClassTransient
	case v.Class == ads.ClassOK && r.Status == http.StatusTooManyRequests:
		v.Class = ads.ClassThrottled
	case v.Class == ads.ClassOK:
		v.Class = ads.ClassPermanent
	}
	switch {
	case v.Class == ads.ClassThrottled:
		v.Wait = u.wait()
		if !v.Wait.Set {
			v.Wait = ads.Some(cmp.Or(known.wait, u.block()))
		}
	case code == 2635:
		v.Code, v.Message = "version_off", p.sunsetText()
	case code == 100 && sub == 33 && (r.Endpoint == endpointJob || r.Endpoint == endpointRows):
		v.Class, v.Hint = ads.ClassPermanent, "" // of a report, not of a right
	case code == 100 && strings.Contains(string(f.Message), "in summary param"):
		v.Class = ads.ClassTransient // of a finished report, now and then
	}
}

// judgeToken is about an exchange: what is refused there is refused for good.
func (p *Platform) judgeToken(status, code int, f refusal, v *platform.Verdict) {
	switch {
	case f.Transient == "true", code == 2, status >= 500 && code != 1:
		v.Class = ads.ClassTransient
	case code == 190 || code == 102:
		v.Class, v.Hint = ads.ClassAuth, "the token has ended and cannot be exchanged: "+hintLogin
	case code == 101:
		v.Class, v.Hint = ads.ClassAuth, "check app_id"
	case code == 2635:
		v.Class, v.Code, v.Message, v.Hint = ads.ClassPermanent, "version_off", p.sunsetText(), hintVersion
	default:
		v.Class, v.Hint = ads.ClassAuth, hintSecret
	}
}

func (p *Platform) sunsetText() string {
	for _, known := range Versions() {
		if known.Name == p.o.Version && !known.Sunset.IsZero() {
			return fmt.Sprintf("Meta has switched off version %s of the Marketing API on %s", p.o.Version, known.Sunset)
		}
	}
	return "Meta no longer answers version " + p.o.Version + " of the Marketing API"
}

// said puts a refusal in words: the platform's own.
func said(status int, f refusal) string {
	text := string(f.Message)
	if f.User != "" && f.User != f.Message {
		text = strings.TrimSuffix(text, ".") + ": " + string(f.User)
	}
	if text == "" {
		return fmt.Sprintf("the platform refuses with status %d and no words", status)
	}
	return "the platform says: " + ads.Printable(text, 300)
}
