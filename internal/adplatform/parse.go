package adplatform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// maxIDBytes bounds a campaign's id: longer ones are no ids, and they would not fit an index.
const maxIDBytes = 1024

// page is a listing's answer.
type page struct {
	records       []ads.Record
	number, limit ads.Opt[int64]
	total         ads.Opt[int64]
	more          ads.Opt[bool]
}

func badReply(endpoint, code, format string, args ...any) error {
	return &ads.Error{Class: ads.ClassBadReply, Code: code, Endpoint: endpoint, Message: fmt.Sprintf(format, args...)}
}

// parsePage reads {"data": [...], "pagination": {...}}. An answer without either is no page: null is not empty, and an absent
// pagination block must never look like the end of the list.
func parsePage(r platform.Reply, number int) (page, error) {
	bad := func(code, format string, args ...any) (page, error) {
		return page{}, badReply(endpointList, code, "page %d: "+format, append([]any{number}, args...)...)
	}
	if len(bytes.TrimSpace(r.Body)) == 0 {
		return bad("empty_body", "the answer has no body (status %d)", r.Status)
	}
	if !isJSON(r) && bytes.TrimSpace(r.Body)[0] != '{' {
		return bad("not_json", "the answer is not JSON (%s)", bodyKind(r))
	}
	p := page{}
	dec := jsontext.NewDecoder(bytes.NewBuffer(r.Body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if dec.PeekKind() != '{' {
		return bad("shape", "the answer is not an object with data and pagination (%s)", bodyKind(r))
	}
	var sawData, sawPagination bool
	err := eachMember(dec, func(name string) error {
		switch name {
		case "data":
			if sawData {
				return errors.New("data comes twice")
			}
			if k := dec.PeekKind(); k != '[' {
				return fmt.Errorf("data is %s, not a list", kindName(k))
			}
			sawData = true
			return p.readData(dec, r.Body, number)
		case "pagination":
			if sawPagination {
				return errors.New("pagination comes twice")
			}
			if k := dec.PeekKind(); k != '{' {
				return fmt.Errorf("pagination is %s, not an object", kindName(k))
			}
			sawPagination = true
			return p.readPagination(dec)
		}
		return dec.SkipValue()
	})
	if err == nil {
		if _, tail := dec.ReadToken(); !errors.Is(tail, io.EOF) {
			err = errors.New("something follows the answer")
		}
	}
	switch {
	case err != nil:
		return bad("shape", "the answer cannot be read (%s): %s", bodyKind(r), jsonReason(err))
	case !sawData:
		return bad("shape", "the answer has no data (%s)", bodyKind(r))
	case !sawPagination:
		return bad("shape", "the answer has no pagination")
	case !p.more.Set && !p.total.Set:
		return bad("shape", "the answer's pagination has neither has_more nor total")
	}
	return p, nil
}

// readData slices the records out of the body without copying; the body belongs to us and lives as long as they do.
func (p *page) readData(dec *jsontext.Decoder, body []byte, number int) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for pos := 1; dec.PeekKind() != ']'; pos++ {
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		end := dec.InputOffset()
		p.records = append(p.records, decodeRecord(body[end-int64(len(v)):end:end], number, pos))
	}
	_, err := dec.ReadToken()
	return err
}

// readPagination takes each field as it comes: a number or a string of digits, a boolean or its name. A field of another kind is as
// if it were missing.
func (p *page) readPagination(dec *jsontext.Decoder) error {
	return eachMember(dec, func(name string) error {
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		switch name {
		case "page":
			p.number = looseInt(v)
		case "limit":
			p.limit = looseInt(v)
		case "total":
			if t := looseInt(v); t.Value >= 0 {
				p.total = t
			}
		case "has_more":
			p.more = looseBool(v)
		}
		return nil
	})
}

func looseInt(v jsontext.Value) ads.Opt[int64] {
	if n, err := ads.ParseInt(strings.TrimSpace(plain(v))); err == nil {
		return ads.Some(n)
	}
	return ads.Opt[int64]{}
}

func looseBool(v jsontext.Value) ads.Opt[bool] {
	switch strings.ToLower(plain(v)) {
	case "true", "1", "yes":
		return ads.Some(true)
	case "false", "0", "no":
		return ads.Some(false)
	}
	return ads.Opt[bool]{}
}

// eachMember reads an object and calls fn after each name; fn reads the value.
func eachMember(dec *jsontext.Decoder, fn func(name string) error) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if err := fn(known(v)); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// names are the keys that are read; for these no string is made anew.
var names = func() map[string]string {
	m := map[string]string{}
	for _, n := range []string{
		"data", "pagination", "page", "limit", "total", "has_more",
		"id", "name", "status", "budget", "impressions", "clicks", "conversions", "created_at", "updated_at",
	} {
		m[`"`+n+`"`] = n
	}
	return m
}()

// known is the text of a key.
func known(v jsontext.Value) string {
	if n, ok := names[string(v)]; ok {
		return n
	}
	return plain(v)
}

// recordDecoder is a decoder that refuses duplicate keys and invalid UTF-8, with its source, for use again and again.
type recordDecoder struct {
	jsontext.Decoder
	src bytes.Reader
}

var strict = sync.Pool{New: func() any { return new(recordDecoder) }}

// decodeRecord turns one item of a listing into a record. Everything about it that cannot be kept exactly makes it a problem.
func decodeRecord(raw []byte, pageNumber, pos int) ads.Record {
	problem := func(id, code, message string) ads.Record {
		if id == "" {
			place := fmt.Sprintf("page %d, position %d", pageNumber, pos)
			id, message = place, message+" ("+place+")"
		}
		return ads.Record{Problem: &ads.Problem{
			EntityID: id, Code: code, Message: message, Raw: raw[:min(len(raw), ads.MaxRawKept)],
			Hint: "the platform sent a record that cannot be stored as it is; its JSON is kept with the failure. It is tried again with the next listing",
		}}
	}
	if jsontext.Value(raw).Kind() != '{' {
		return problem("", "not_object", "a record is "+kindName(jsontext.Value(raw).Kind())+", not an object")
	}
	e := ads.Entity{Status: ads.StatusUnknown, Raw: raw}
	var sawID bool
	var wrong string
	note := func(field string, err error) {
		if wrong == "" && err != nil {
			wrong = field + " " + err.Error()
		}
	}
	dec := strict.Get().(*recordDecoder)
	defer strict.Put(dec)
	dec.src.Reset(raw)
	dec.Reset(&dec.src)
	err := eachMember(&dec.Decoder, func(name string) error {
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		switch name {
		case "id":
			e.ID, sawID = idOf(v)
		case "name":
			e.Name, err = textOf(v)
		case "status":
			e.PlatformStatus, err = textOf(v)
			e.Status = statusOf(e.PlatformStatus)
		case "budget":
			e.Budget, err = numberOf(v, ads.ParseMicros)
		case "impressions":
			e.Impressions, err = numberOf(v, ads.ParseInt)
		case "clicks":
			e.Clicks, err = numberOf(v, ads.ParseInt)
		case "conversions":
			e.Conversions, err = numberOf(v, ads.ParseDecimal)
		case "created_at":
			e.CreatedAt = timeOf(v)
		case "updated_at":
			e.PlatformUpdatedAt = timeOf(v)
		}
		note(name, err)
		return nil
	})
	switch {
	case err != nil:
		id := ""
		if sawID {
			id = e.ID
		}
		return problem(id, jsonCode(err), "the record cannot be read: "+jsonReason(err))
	case !sawID:
		return problem("", "no_id", "the record has no id that can be used")
	case wrong != "":
		return problem(e.ID, "bad_value", wrong)
	}
	return ads.Record{Entity: e}
}

// idOf accepts a string, or a whole number as it is written. Anything else is no id.
func idOf(v jsontext.Value) (string, bool) {
	var id string
	switch v.Kind() {
	case '"':
		id = plain(v)
	case '0':
		id = string(v)
		if strings.ContainsAny(id, ".eE") {
			return "", false
		}
	}
	ok := id != "" && len(id) <= maxIDBytes && utf8.ValidString(id) && !strings.ContainsRune(id, 0)
	if !ok {
		return "", false
	}
	return id, true
}

func textOf(v jsontext.Value) (string, error) {
	switch v.Kind() {
	case '"':
		return ads.Text(plain(v)), nil
	case 'n':
		return "", nil
	}
	return "", errors.New("is " + kindName(v.Kind()) + ", not a text")
}

// numberOf reads a number or a string that holds one; null is absent.
func numberOf[T any](v jsontext.Value, parse func(string) (T, error)) (o ads.Opt[T], err error) {
	switch v.Kind() {
	case 'n':
		return o, nil
	case '0':
		o.Value, err = parse(string(v))
	case '"':
		o.Value, err = parse(strings.TrimSpace(plain(v)))
	default:
		return o, errors.New("is " + kindName(v.Kind()) + ", not a number")
	}
	o.Set = err == nil
	return o, err
}

// layouts of times, tried in this order. A time without a zone is taken as UTC, the zone of the API's own examples.
var layouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", time.DateOnly}

// timeOf reads a date of the years 1970 to 9999. Whatever cannot be read for sure (an epoch of unknown unit, zeros) is absent; raw keeps it.
func timeOf(v jsontext.Value) (o ads.Opt[time.Time]) {
	if v.Kind() != '"' {
		return o
	}
	s := strings.TrimSpace(plain(v))
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			if t = t.UTC(); t.Year() >= 1970 && t.Year() <= 9999 && t.Unix() > 0 {
				return ads.Some(t)
			}
			return o
		}
	}
	return o
}

func statusOf(s string) ads.Status {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "active", "enabled", "running", "live":
		return ads.StatusActive
	case "paused", "inactive", "disabled":
		return ads.StatusPaused
	case "ended", "completed", "finished", "expired":
		return ads.StatusEnded
	case "draft", "pending":
		return ads.StatusDraft
	case "removed", "deleted", "archived":
		return ads.StatusRemoved
	}
	return ads.StatusUnknown
}

// parseSync reads the answer to a per-campaign sync. A campaign counts as synced only when the answer says so, and about this campaign.
func parseSync(r platform.Reply, id string) error {
	var a struct {
		Success    jsontext.Value `json:"success"`
		CampaignID jsontext.Value `json:"campaign_id"`
		Message    jsontext.Value `json:"message"`
		Error      jsontext.Value `json:"error"`
	}
	body := bytes.TrimSpace(r.Body)
	if len(body) == 0 || body[0] != '{' {
		return badReply(endpointSync, "not_json", "the answer is not a JSON object (%s)", bodyKind(r))
	}
	if err := json.Unmarshal(body, &a, jsontext.AllowInvalidUTF8(true)); err != nil {
		return badReply(endpointSync, "shape", "the answer cannot be read (%s): %s", bodyKind(r), jsonReason(err))
	}
	done := looseBool(a.Success)
	switch {
	case !done.Set:
		return badReply(endpointSync, "shape", "the answer does not say whether the sync succeeded")
	case !done.Value:
		said := plain(a.Message)
		if said == "" {
			said = plain(a.Error)
		}
		msg := "the platform says that the sync did not succeed"
		if said != "" {
			msg += ": " + ads.Printable(said, 200)
		}
		return &ads.Error{Class: ads.ClassPermanent, Code: "not_successful", Endpoint: endpointSync, Message: msg}
	}
	if got := plain(a.CampaignID); got != "" && got != id {
		return &ads.Error{
			Class: ads.ClassPermanent, Code: "other_campaign", Endpoint: endpointSync,
			Message: fmt.Sprintf("the answer is about campaign %q", ads.Printable(got, 80)),
		}
	}
	return nil
}

// ParseToken implements platform.Authenticator.
func (p *Platform) ParseToken(r platform.Reply) (platform.Token, error) {
	var a struct {
		AccessToken jsontext.Value `json:"access_token"`
		TokenType   jsontext.Value `json:"token_type"`
		ExpiresIn   jsontext.Value `json:"expires_in"`
	}
	body := bytes.TrimSpace(r.Body)
	if len(body) == 0 || body[0] != '{' {
		return platform.Token{}, badReply(endpointToken, "not_json", "the token answer is not JSON (%s)", bodyKind(r))
	}
	if err := json.Unmarshal(body, &a, jsontext.AllowInvalidUTF8(true)); err != nil {
		return platform.Token{}, badReply(endpointToken, "shape", "the token answer cannot be read (%s)", bodyKind(r))
	}
	if a.AccessToken.Kind() != '"' {
		return platform.Token{}, badReply(endpointToken, "no_token", "the token answer has no access_token")
	}
	if tt := plain(a.TokenType); tt != "" && !strings.EqualFold(strings.TrimSpace(tt), "bearer") {
		return platform.Token{}, badReply(endpointToken, "token_type", "the token is of a type other than bearer")
	}
	return platform.Token{Value: plain(a.AccessToken), Life: lifeOf(a.ExpiresIn)}, nil
}

// lifeOf reads expires_in: seconds as a number or a string. What cannot be read, is zero or less, counts as unknown; what is beyond a
// century is cut there, far from where a duration wraps.
func lifeOf(v jsontext.Value) time.Duration {
	secs, err := strconv.ParseFloat(strings.TrimSpace(plain(v)), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || !(secs > 0) {
		return 0
	}
	const century = 100 * 365 * 24 * 3600
	return time.Duration(min(secs, century) * float64(time.Second))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a text"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return "nothing that can be read"
}

// jsonReason puts a decoder's error in words without the data it stumbled over.
func jsonReason(err error) string {
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			return "a key comes twice"
		case errors.Is(err, io.ErrUnexpectedEOF):
			return "it is cut short"
		}
		return fmt.Sprintf("not valid JSON at byte %d", se.ByteOffset)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return "it is cut short"
	}
	return ads.Printable(err.Error(), 120)
}

func jsonCode(err error) string {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return "duplicate_key"
	}
	return "bad_json"
}
