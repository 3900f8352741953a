package meta

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"adsync/internal/ads"
	"adsync/internal/platform"
)

// scalar is a text, a number or a truth value as it is written; anything else, and null, is as if it were not there. The platform changes between texts and
// numbers from field to field.
type scalar string

// UnmarshalJSONFrom reads any value.
func (s *scalar) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	v, err := dec.ReadValue()
	if err != nil {
		return err
	}
	switch v.Kind() {
	case '"':
		b, err := jsontext.AppendUnquote(nil, v)
		if err != nil && len(b) == 0 {
			return nil
		}
		*s = scalar(b)
	case '0', 't', 'f':
		*s = scalar(v)
	}
	return nil
}

var decoding = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

func badReply(endpoint, code, format string, args ...any) error {
	return &ads.Error{Class: ads.ClassBadReply, Code: code, Endpoint: endpoint, Message: fmt.Sprintf(format, args...)}
}

// list is a page of anything: {"data": [...], "paging": {"cursors": {"after"}, "next"}}.
type list struct {
	rows  []jsontext.Value // parts of the body, which is theirs
	after string
	more  bool // there is a next page: the platform gives a cursor with the last one, too
}

// parseList reads a page. Without data an answer is none: it must never look like the end of a listing.
func parseList(r platform.Reply) (list, error) {
	bad := func(format string, args ...any) (list, error) {
		return list{}, badReply(r.Endpoint, "shape", format, args...)
	}
	if len(bytes.TrimSpace(r.Body)) == 0 {
		return bad("the answer has no body (status %d)", r.Status)
	}
	var l list
	var paging struct {
		Cursors struct {
			After scalar `json:"after"`
		} `json:"cursors"`
		Next scalar `json:"next"`
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(r.Body), decoding)
	if dec.PeekKind() != '{' {
		return bad("the answer is not an object with data (%d bytes)", len(r.Body))
	}
	sawData := false
	err := func() error {
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		for dec.PeekKind() != '}' {
			name, err := dec.ReadToken()
			if err != nil {
				return err
			}
			switch name.String() {
			case "data":
				if dec.PeekKind() != '[' {
					return errors.New("data is not a list")
				}
				sawData = true
				if l.rows, err = rowsOf(dec, r.Body); err != nil {
					return err
				}
			case "paging":
				if dec.PeekKind() != '{' {
					if err := dec.SkipValue(); err != nil {
						return err
					}
					continue
				}
				if err := json.UnmarshalDecode(dec, &paging); err != nil {
					return err
				}
			default:
				if err := dec.SkipValue(); err != nil {
					return err
				}
			}
		}
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		if _, tail := dec.ReadToken(); !errors.Is(tail, io.EOF) {
			return errors.New("something follows the answer")
		}
		return nil
	}()
	switch {
	case err != nil:
		return bad("the answer cannot be read (%d bytes): %s", len(r.Body), ads.Printable(err.Error(), 200))
	case !sawData:
		return bad("the answer has no data (%d bytes)", len(r.Body))
	}
	l.after, l.more = string(paging.Cursors.After), paging.Next != ""
	if l.more && l.after == "" {
		// The link itself is never followed: it may carry the token, or lead elsewhere.
		if u, err := url.Parse(string(paging.Next)); err == nil {
			l.after = u.Query().Get("after")
		}
		if l.after == "" {
			return bad("the answer names a next page without a cursor")
		}
	}
	return l, nil
}

// rowsOf slices the rows out of the body without copying.
func rowsOf(dec *jsontext.Decoder, body []byte) (rows []jsontext.Value, err error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		end := dec.InputOffset()
		rows = append(rows, body[end-int64(len(v)):end:end])
	}
	_, err = dec.ReadToken()
	return rows, err
}

// object reads a single object.
func object(r platform.Reply, into any) error {
	if b := bytes.TrimSpace(r.Body); len(b) == 0 || b[0] != '{' {
		return badReply(r.Endpoint, "shape", "the answer is not an object (status %d, %d bytes)", r.Status, len(r.Body))
	}
	if err := json.Unmarshal(r.Body, into, decoding); err != nil {
		return badReply(r.Endpoint, "shape", "the answer cannot be read (%d bytes): %s", len(r.Body), ads.Printable(err.Error(), 200))
	}
	return nil
}

// answeredBy says whether the platform has answered in another version than was asked for, as it may for one that has been switched off.
func (p *Platform) answeredBy(h http.Header) []ads.Problem {
	got := h.Get("Facebook-Api-Version")
	if got == "" || got == p.o.Version {
		return nil
	}
	return []ads.Problem{{
		Code: "version_changed", Message: "the platform answers in version " + ads.Printable(got, 20) + " where " + p.o.Version + " was asked for",
		Hint: "that version has been switched off: set api_version to one that works",
	}}
}
